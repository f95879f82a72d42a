/* Lines that several processes say alike: which are written. */
#include "role/log/once.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "kit/kit.h"

static bool
said(struct once *o, int64_t at_s, uint32_t pid, const char *text)
{
	return once_is_new(o, at_s * US_PER_S, pid, span_str(text));
}

static void
test_rounds(void **state)
{
	struct once o = { .next = 0 };

	(void)state;
	assert_true(said(&o, 1000, 11, "a mistake"));
	assert_false(said(&o, 1002, 12, "a mistake"));
	assert_false(said(&o, 1030, 13, "a mistake"));
	assert_false(said(&o, 999, 14, "a mistake"));   /* lines come in order of time, but not always */
	assert_true(said(&o, 1030, 13, "another one"));
	assert_true(said(&o, 1031, 12, "a mistake"));   /* it has happened again */
	assert_false(said(&o, 1031, 11, "a mistake"));
	assert_false(said(&o, 1041, 13, "a mistake"));
	assert_true(said(&o, 1091, 15, "a mistake"));   /* a process that was started later */
	once_clear(&o);
	assert_true(said(&o, 1092, 16, "a mistake"));   /* a reload */
	once_clear(&o);
}

/* What is too much is written once more, and never left out. */
static void
test_limits(void **state)
{
	struct once o = { .next = 0 };
	char text[20];

	(void)state;
	for (unsigned i = 0; i <= ONCE_LINES; i++) {
		snprintf(text, sizeof(text), "line %u", i);
		assert_true(said(&o, 1000, 1, text));
	}
	assert_true(said(&o, 1000, 2, "line 0"));
	assert_false(said(&o, 1000, 2, "line 2"));
	for (uint32_t pid = 100; pid < 100 + ONCE_PIDS - 2; pid++)
		assert_false(said(&o, 1001, pid, "line 2"));
	assert_true(said(&o, 1001, 99, "line 2"));
	once_clear(&o);
}

/* What a process says again while it starts does not even reach the logger. */
static void
test_starting(void **state)
{
	(void)state;
	expect_log("a mistake of two services");
	log_set_starting(true);
	log_warning_once(NULL, "a mistake of two services");
	kit_log_mark();
	log_warning_once(NULL, "a mistake of two services");
	assert_false(kit_logged("a mistake of two services"));
	log_set_starting(false);
	log_warning_once(NULL, "a mistake of two services");
	assert_true(kit_logged("a mistake of two services"));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_rounds),
	KIT_TEST(test_limits),
	KIT_TEST(test_starting),
};
KIT_MAIN(tests)
