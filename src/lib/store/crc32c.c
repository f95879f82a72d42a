/* CRC32C: SSE4.2's instruction, else a table. */
#include "store/crc32c.h"

#include <pthread.h>

static uint32_t table[256];
static bool by_processor;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
prepare(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = (c & 1) != 0 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
		table[i] = c;
	}
#if defined(__x86_64__)
	__builtin_cpu_init();
	by_processor = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

static uint32_t
by_table(uint32_t crc, const unsigned char *p, size_t n)
{
	for (; n > 0; n--)
		crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
by_sse(uint32_t crc, const unsigned char *p, size_t n)
{
	uint64_t c = crc, word;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&word, p, 8);
		c = __builtin_ia32_crc32di(c, word);
	}
	crc = (uint32_t)c;
	for (; n > 0; n--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}
#endif

uint32_t
crc32c(uint32_t crc, struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p;

	pthread_once(&once, prepare);
	crc = ~crc;
#if defined(__x86_64__)
	if (by_processor)
		return ~by_sse(crc, p, s.n);
#endif
	return ~by_table(crc, p, s.n);
}
