/* Fuzz: answers from another process; what is accepted must be written back the same. */
#include "dns/dns.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new(16 << 20);
	struct dns_answer d;
	struct buf b;

	if (dns_answer_read(span_of(p, n), a, &d)) {
		buf_init(&b, 8 << 20);
		ensure(dns_answer_write(&b, &d));
		ensure(span_eq(buf_span(&b), span_of(p, n)));
		buf_release(&b);
	}
	arena_free(&a);
	return 0;
}
