/* Tests of queue ids. */
#include "mail/qid.h"

#include "base/rand.h"
#include "kit/kit.h"

static void
test_long_form(void **state)
{
	char id[QID_MAX];

	(void)state;
	qid_make(0, 0, id);
	assert_string_equal(id, "0000000000z0");
	qid_make(51 * 1000000 + 53, 51, id);
	assert_string_equal(id, "00000z0011z10");
	qid_make(19770609663999999, UINT64_MAX, id);
	assert_true(strlen(id) < QID_MAX);
	assert_true(qid_valid(span_str(id)));
}

static void
test_time_comes_back(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		int64_t us = (int64_t)rand_below(UINT32_MAX) * 1000000 + rand_below(1000000);
		uint64_t tag = (uint64_t)rand_below(UINT32_MAX) << 32 | rand_below(UINT32_MAX);
		char id[QID_MAX];

		qid_make(us, tag, id);
		assert_true(qid_valid(span_str(id)));
		assert_int_equal(qid_time_us(span_str(id)), us);
	}
}

static void
test_order_of_time_is_order_of_ids(void **state)
{
	char x[QID_MAX], y[QID_MAX];

	(void)state;
	qid_make(1763632800000001, 7, x);
	qid_make(1763632800000002, 3, y);
	assert_true(strcmp(x, y) < 0);
}

static void
test_what_is_no_id(void **state)
{
	static const char *const bad[] = { "", "..", "../../etc/passwd", "0000000000z", "A",
		"0000000000zE", "000000000z0", "4Zx/00000z11", "abcdef", "0000000000z000000000000000000",
		"3FFA z" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(qid_valid(span_str(bad[i])));
	assert_true(qid_valid(SPAN("3FF0A12B9C")));
	assert_true(qid_valid(SPAN("4Pw1y93jKXz3w")));
	assert_int_equal(qid_time_us(SPAN("3FF0A12B9C")), 0);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_long_form),
	KIT_TEST(test_time_comes_back),
	KIT_TEST(test_order_of_time_is_order_of_ids),
	KIT_TEST(test_what_is_no_id),
};
KIT_MAIN(tests)
