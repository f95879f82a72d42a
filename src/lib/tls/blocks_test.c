/* Large blocks of the TLS library: apart from each other, wiped where commands lie, given back to the kernel, never more than there are. */
#include "tls/blocks.h"

#include <stdint.h>
#include <sys/mman.h>

#include "kit/kit.h"
#include "tls/sanitizer.h"

static void *all[BLOCKS_MAX + 1];

/* Sanitizers leave all to malloc(). */
static bool
works(void)
{
	void *p = block_take(BLOCK_BYTES);

	if (p != NULL)
		block_give(p);
	return p != NULL;
}

static void
test_sizes(void **state)
{
	int other;

	(void)state;
	assert_true(block_take(0) == NULL && block_take(BLOCK_LEAST - 1) == NULL && block_take(BLOCK_BYTES + 1) == NULL && block_take(SIZE_MAX) == NULL);
	assert_true(!block_is(&other) && !block_is(NULL));
	assert_true(works() == !SANITIZED);
	if (!works())
		return;
	for (size_t n = BLOCK_LEAST; n <= BLOCK_BYTES; n += 512) {
		char *p = block_take(n);

		assert_true(p != NULL && block_is(p) && block_is(p + BLOCK_BYTES - 1));
		memset(p, 'x', BLOCK_BYTES);
		block_give(p);
	}
}

static void
test_a_command_is_wiped(void **state)
{
	static const char zeros[4096];
	char *p = works() ? block_take(17000) : NULL;

	(void)state;
	if (p == NULL)
		return;
	memset(p, 's', BLOCK_BYTES);
	block_give(p);
	assert_true(block_take(17000) == p);          /* the last one is warm */
	assert_true(memcmp(p, zeros, sizeof(zeros)) == 0);
	block_give(p);
}

static size_t
resident(void *const *blocks, size_t n)
{
	size_t pages = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char in[BLOCK_BYTES / 4096];

		assert_true(mincore(blocks[i], BLOCK_BYTES, in) == 0);
		for (size_t k = 0; k < sizeof(in); k++)
			pages += in[k] & 1u;
	}
	return pages;
}

/* As many as there are, each with its own number in it from end to end; then one more; then all back, and again. */
static void
test_all_of_them(void **state)
{
	(void)state;
	for (int round = 0; works() && round < 2; round++) {
		for (uintptr_t i = 0; i < BLOCKS_MAX; i++) {
			assert_true((all[i] = block_take(BLOCK_BYTES)) != NULL && (uintptr_t)all[i] % 16 == 0);
			((uintptr_t *)all[i])[0] = ((uintptr_t *)all[i])[BLOCK_BYTES / sizeof(uintptr_t) - 1] = i;
		}
		assert_true(block_take(BLOCK_BYTES) == NULL);
		for (uintptr_t i = 0; i < BLOCKS_MAX; i++)
			assert_true(((uintptr_t *)all[i])[0] == i && ((uintptr_t *)all[i])[BLOCK_BYTES / sizeof(uintptr_t) - 1] == i);
		for (size_t i = 0; i < BLOCKS_MAX; i++)
			block_give(all[i]);
		assert_true(resident(all, BLOCKS_MAX) <= BLOCKS_KEPT * (BLOCK_BYTES / 4096));
	}
}

static void *
worker(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		uintptr_t *a = block_take(16384), *b = block_take(20000);

		if (a == NULL || b == NULL || a == b)
			return arg;
		a[2000] = b[2000] = (uintptr_t)arg;
		a[0] = b[0] = (uintptr_t)i;
		if (a[2000] != (uintptr_t)arg || b[2000] != (uintptr_t)arg || a[0] != (uintptr_t)i)
			return arg;
		block_give(a);
		block_give(b);
	}
	return NULL;
}

static void
test_threads(void **state)
{
	(void)state;
	if (works())
		kit_threads(worker);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_sizes),
	KIT_TEST(test_a_command_is_wiped),
	KIT_TEST(test_all_of_them),
	KIT_TEST(test_threads),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
