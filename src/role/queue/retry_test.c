/* The retry schedule grows and spreads. */
#include "role/queue/retry.h"

#include "kit/kit.h"

enum { S = 1000000 };

static void
test_retry_schedule(void **state)
{
	const struct retry_params p = { .backoff_min_us = 300 * (int64_t)S, .backoff_max_us = 4000 * (int64_t)S,
		.lifetime_us = 86400 * (int64_t)S, .warning_us = 3600 * (int64_t)S };
	const struct retry_params narrow = { .backoff_min_us = 300 * (int64_t)S, .backoff_max_us = 310 * (int64_t)S };
	const struct retry_params crossed = { .backoff_min_us = 300 * (int64_t)S, .backoff_max_us = 200 * (int64_t)S };
	static const struct {
		int64_t age_s, least_s, most_s;
	} rows[] = {
		{ 0, 300, 375 }, { 300, 300, 375 }, { 320, 300, 380 }, { 1000, 875, 1125 }, { 3900, 3025, 4000 }, { 4000, 3000, 4000 },
		{ 80000, 3000, 4000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t now = rows[i].age_s * S;

		assert_true(retry_next_us(&p, 0, now, 0) >= now + rows[i].least_s * S);
		assert_true(retry_next_us(&p, 0, now, UINT32_MAX) <= now + rows[i].most_s * S);
		assert_true(retry_next_us(&p, 0, now, 0) < retry_next_us(&p, 0, now, UINT32_MAX));
	}
	/* a clock that went back is no reason to wait for ever */
	assert_true(retry_next_us(&p, 1000000 * (int64_t)S, 0, UINT32_MAX) <= 375 * (int64_t)S);
	/* limits that leave no room for the spread, or that contradict each other: the lower one holds */
	assert_true(retry_next_us(&narrow, 0, 1000 * (int64_t)S, 0) == 1300 * (int64_t)S);
	assert_true(retry_next_us(&narrow, 0, 1000 * (int64_t)S, UINT32_MAX) <= 1310 * (int64_t)S);
	assert_true(retry_next_us(&crossed, 0, 1000 * (int64_t)S, UINT32_MAX) == 1300 * (int64_t)S);
	assert_false(retry_expired(&p, 0, 86399 * (int64_t)S));
	assert_true(retry_expired(&p, 0, 86400 * (int64_t)S));
	assert_false(retry_warn(&p, 0, 3599 * (int64_t)S));
	assert_true(retry_warn(&p, 0, 3600 * (int64_t)S));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { KIT_TEST(test_retry_schedule) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
