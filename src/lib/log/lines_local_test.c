/* Golden lines of pickup and bounce. */
#include "log/lines_local.h"

#include "kit/kit.h"

static void
test_lines(void **state)
{
	struct log l = { .tag = "postfix/pickup", .qid = "4bXYZ" };

	(void)state;
	log_pickup(&l, 1000, SPAN("alice@example.org"));
	log_pickup(&l, 0, SPAN(""));
	log_notice(&l, LOG_NOTICE_FAILURE, "4c1");
	log_notice(&l, LOG_NOTICE_DELAY, "4c2");
	log_notice(&l, LOG_NOTICE_SUCCESS, "4c3");
	log_notice(&l, LOG_NOTICE_POSTMASTER, "4c4");
	log_notice(&l, LOG_NOTICE_POSTMASTER_DELAY, "4c5");
	assert_true(kit_logged("4bXYZ: uid=1000 from=<alice@example.org>"));
	assert_true(kit_logged("4bXYZ: uid=0 from=<>"));
	assert_true(kit_logged("4bXYZ: sender non-delivery notification: 4c1"));
	assert_true(kit_logged("4bXYZ: sender delay notification: 4c2"));
	assert_true(kit_logged("4bXYZ: sender delivery status notification: 4c3"));
	assert_true(kit_logged("4bXYZ: postmaster non-delivery notification: 4c4"));
	assert_true(kit_logged("4bXYZ: postmaster delay notification: 4c5"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { KIT_TEST(test_lines) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
