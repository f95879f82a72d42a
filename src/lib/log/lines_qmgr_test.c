/* The queue manager's lines, to the letter. */
#include "log/lines_qmgr.h"

#include "kit/kit.h"

static void
test_lines(void **state)
{
	const struct log l = { .qid = "4bXyZ10rTqz1" };

	(void)state;
	log_qmgr_active(&l, SPAN("a@example.org"), 1234, 2);
	log_qmgr_removed(&l);
	log_qmgr_expired(&l, SPAN(""), false);
	log_qmgr_expired(&l, SPAN("\"a b\"@example.org"), true);
	log_postsuper(&l, LOG_POSTSUPER_HELD);
	log_postsuper(&l, LOG_POSTSUPER_RELEASED);
	log_postsuper(&l, LOG_POSTSUPER_REQUEUED);
	log_postsuper(&l, LOG_POSTSUPER_EXPIRED);
	assert_true(kit_logged("4bXyZ10rTqz1: placed on hold"));
	assert_true(kit_logged("4bXyZ10rTqz1: released from hold"));
	assert_true(kit_logged("4bXyZ10rTqz1: requeued"));
	assert_true(kit_logged("4bXyZ10rTqz1: expired"));
	assert_true(kit_logged("4bXyZ10rTqz1: from=<a@example.org>, size=1234, nrcpt=2 (queue active)"));
	assert_true(kit_logged("4bXyZ10rTqz1: removed"));
	assert_true(kit_logged("4bXyZ10rTqz1: from=<>, status=expired, returned to sender"));
	assert_true(kit_logged("4bXyZ10rTqz1: from=<\"a b\"@example.org>, status=force-expired, returned to sender"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { KIT_TEST(test_lines) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
