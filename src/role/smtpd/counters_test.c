/* Counters: workers count together, a dead worker's connections are forgotten, rates begin anew. */
#include "role/smtpd/counters.h"

#include <sys/mman.h>
#include <unistd.h>

#include "kit/kit.h"

static int
memory(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, 1 << 16) == 0);
	return fd;
}

static void
test_two_workers(void **state)
{
	int fd = memory();
	struct counters *a = counters_open(fd, 0), *b = counters_open(fd, 1);
	struct counters_slot *x = counters_find(a, "smtp", SPAN("\x0a\x01\x02\x03"), 32, 1000);
	struct counters_slot *y = counters_find(b, "smtp", SPAN("\x0a\x01\x02\x03"), 32, 1000);

	(void)state;
	assert_int_equal(counters_connect(a, x), 1);
	assert_int_equal(counters_connect(b, y), 2);
	counters_disconnect(a, x);
	assert_int_equal(counters_connect(a, x), 2);
	counters_close(&a);
	a = counters_open(fd, 0);       /* worker 0 died and came back */
	x = counters_find(a, "smtp", SPAN("\x0a\x01\x02\x03"), 32, 1000);
	assert_int_equal(counters_connect(a, x), 2);
	counters_close(&a);
	counters_close(&b);
	close(fd);
}

static void
test_keys(void **state)
{
	int fd = memory();
	struct counters *c = counters_open(fd, 0);
	struct counters_slot *x = counters_find(c, "smtp", SPAN("\x0a\x01\x02\x03"), 24, 1000);

	(void)state;
	assert_true(x == counters_find(c, "smtp", SPAN("\x0a\x01\x02\xff"), 24, 1000));
	assert_true(x != counters_find(c, "smtp", SPAN("\x0a\x01\x03\x03"), 24, 1000));
	assert_true(x != counters_find(c, "submission", SPAN("\x0a\x01\x02\x03"), 24, 1000));
	counters_close(&c);
	close(fd);
}

static void
test_rates(void **state)
{
	int fd = memory();
	struct counters *c = counters_open(fd, 0);
	struct counters_slot *s = counters_find(c, "smtp", SPAN("\x0a\x01\x02\x03"), 32, 1000);

	(void)state;
	assert_int_equal(counters_add(s, COUNTERS_MESSAGES, 1000, 60), 1);
	assert_int_equal(counters_add(s, COUNTERS_MESSAGES, 1059, 60), 2);
	assert_int_equal(counters_add(s, COUNTERS_RECIPIENTS, 1059, 60), 1);
	assert_int_equal(counters_add(s, COUNTERS_MESSAGES, 1060, 60), 1);
	counters_close(&c);
	close(fd);
}

static void
test_full_table_counts_nobody(void **state)
{
	int fd = memory();
	struct counters *c = counters_open(fd, 0);
	char addr[4];
	unsigned lost = 0;

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		struct counters_slot *s;

		memcpy(addr, &i, 4);
		s = counters_find(c, "smtp", span_of(addr, 4), 32, 1000);
		counters_connect(c, s);
		lost += s == NULL;
	}
	assert_true(lost > 0);
	counters_close(&c);
	c = counters_open(-1, 0);
	assert_null(counters_find(c, "smtp", SPAN("abcd"), 32, 1000));
	assert_int_equal(counters_connect(c, NULL), 1);
	counters_close(&c);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_two_workers),
	KIT_TEST(test_keys),
	KIT_TEST(test_rates),
	KIT_TEST(test_full_table_counts_nobody),
};
KIT_MAIN(tests)
