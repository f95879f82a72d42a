/* Small pieces of the TLS library's memory: of the right size, apart, wiped, given back to the kernel, and no end of the process when there are no more. */
#include "tls/cells.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit/kit.h"
#include "tls/sanitizer.h"

enum { SPAN = 65536 };

static char *all[CELL_SPANS * 16];

/* Sanitizers leave all to malloc(). */
static bool
works(void)
{
	void *p = cell_take(1);

	if (p != NULL)
		cell_give(p);
	return p != NULL;
}

static void
test_sizes(void **state)
{
	int other;

	(void)state;
	assert_true(cell_take(0) == NULL && cell_take(CELL_MOST + 1) == NULL && cell_take(SIZE_MAX) == NULL);
	assert_true(!cell_is(&other) && !cell_is(NULL));
	assert_true(works() == !SANITIZED);
	if (!works())
		return;
	for (size_t n = 1; n <= CELL_MOST; n++) {
		char *p = cell_take(n), *q = cell_take(n);

		assert_true(p != NULL && cell_is(p) && (uintptr_t)p % 16 == 0 && cell_bytes(p) >= n && cell_bytes(p) < n + (n <= 1024 ? 16 : 256));
		assert_true(q != NULL && (size_t)(q > p ? q - p : p - q) >= cell_bytes(p));
		memset(p, 'p', cell_bytes(p));
		memset(q, 'q', cell_bytes(q));
		assert_true(p[0] == 'p' && p[cell_bytes(p) - 1] == 'p');
		cell_give(p);
		assert_true(q[0] == 'q' && q[cell_bytes(q) - 1] == 'q');
		cell_give(q);
	}
}

static void
test_what_was_there_is_wiped(void **state)
{
	static const char zeros[CELL_MOST];

	(void)state;
	for (size_t n = 1; works() && n <= CELL_MOST; n += 7) {
		char *p = cell_take(n), *q = cell_take(n);
		size_t bytes = cell_bytes(p);

		memset(p, 's', bytes);
		cell_give(p);
		assert_true(cell_take(n) == p);               /* the lowest one */
		assert_true(memcmp(p, zeros, bytes) == 0);
		cell_give(p);
		cell_give(q);
	}
}

/* Of the pages from `from`, where one begins, to `to`. */
static size_t
resident_pages(char *from, char *to)
{
	static unsigned char in[CELL_SPANS * (SPAN / 4096) + 1];
	size_t pages = 0, n = ((size_t)(to - from) + 4095) / 4096;

	assert_true(n <= sizeof(in) && mincore(from, n * 4096, in) == 0);
	for (size_t i = 0; i < n; i++)
		pages += in[i] & 1u;
	return pages;
}

/* All there are, each with its own number in it; then one more; then back, every other one first, and the same in another size. */
static void
test_all_of_them(void **state)
{
	static const size_t sizes[] = { 4096, 6, 4000 };
	size_t n = 0;
	char *lowest, *highest;

	(void)state;
	for (size_t round = 0; works() && round < sizeof(sizes) / sizeof(sizes[0]); round++) {
		for (n = 0; n < sizeof(all) / sizeof(all[0]) && (all[n] = cell_take(sizes[round])) != NULL; n++)
			memcpy(all[n], &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
		/* the other tests left a span here and there for another size */
		assert_true(sizes[round] < 16 ? n == sizeof(all) / sizeof(all[0]) : n > (CELL_SPANS - 256) * 16 && cell_take(sizes[round]) == NULL);
		lowest = highest = all[0];
		for (size_t i = 0; i < n; i++) {
			assert_true(memcmp(all[i], &(uint32_t){ (uint32_t)i }, sizeof(uint32_t)) == 0);
			lowest = all[i] < lowest ? all[i] : lowest;
			highest = all[i] > highest ? all[i] : highest;
		}
		for (size_t odd = 0; odd < 2; odd++)
			for (size_t i = odd; i < n; i += 2)
				cell_give(all[i]);
		lowest -= (uintptr_t)lowest % 4096;
		/* one span of this size keeps its pages, and those of other sizes in between */
		assert_true(resident_pages(lowest, highest) <= 256 * (SPAN / 4096));
	}
}

static void
give_twice(char *p)
{
	cell_give(p);
	cell_give(p);
}

static void
give_the_middle(char *p)
{
	cell_give(p + 16);
}

/* What a caller does that has lost its way ends the process, before another caller's bytes are touched. */
static void
test_mistakes(void **state)
{
	static void (*const mistakes[])(char *p) = { give_twice, give_the_middle };

	(void)state;
	for (size_t i = 0; works() && i < 2; i++) {
		pid_t pid = fork();
		int status = 0;

		assert_true(pid >= 0);
		if (pid == 0) {
			close(STDERR_FILENO);
			signal(SIGABRT, SIG_DFL);
			mistakes[i](cell_take(100));
			_exit(0);
		}
		assert_true(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}

static void *
worker(void *arg)
{
	uint64_t mine = (uint64_t)(uintptr_t)arg, lot = mine;
	char *kept[64] = { NULL };

	for (int i = 0; i < 200000; i++) {
		unsigned k;
		size_t n;

		lot = lot * 6364136223846793005u + 1442695040888963407u;
		k = lot >> 32 & 63;
		n = 8 + (lot >> 40 & 511);
		if (kept[k] != NULL) {
			if (memcmp(kept[k], &mine, sizeof(mine)) != 0)
				return arg;
			cell_give(kept[k]);
		}
		kept[k] = cell_take(n);
		if (kept[k] == NULL)
			return arg;
		memcpy(kept[k], &mine, sizeof(mine));
	}
	for (int k = 0; k < 64; k++)
		if (kept[k] != NULL)
			cell_give(kept[k]);
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
	KIT_TEST(test_what_was_there_is_wiped),
	KIT_TEST(test_mistakes),
	KIT_TEST(test_threads),
	KIT_TEST(test_all_of_them),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
