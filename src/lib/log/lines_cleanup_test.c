/* Golden tests of the intake's lines. */
#include "log/lines_cleanup.h"

#include "kit/kit.h"

static void
test_lines(void **state)
{
	struct log l = { .tag = "postfix/cleanup", .qid = "4Pw1y93jKXz3w" };
	struct log_cleanup_check ev = { .action = "reject", .what = "header",
		.content = SPAN("Subject: buy\n now"), .origin = SPAN("unknown[192.0.2.1]"),
		.have_sender = true, .sender = SPAN("a@b"), .recipient = SPAN("c@d"),
		.protocol = SPAN("ESMTP"), .helo = SPAN("x"), .text = SPAN("5.7.1 no thanks") };

	(void)state;
	log_cleanup_check(&l, &ev);
	assert_true(kit_logged("4Pw1y93jKXz3w: reject: header Subject: buy? now from unknown[192.0.2.1]; "
	    "from=<a@b> to=<c@d> proto=ESMTP helo=<x>: 5.7.1 no thanks"));
	ev = (struct log_cleanup_check){ .action = "info", .what = "body", .content = SPAN("line"),
		.origin = SPAN("local"), .have_sender = true };
	log_cleanup_check(&l, &ev);
	assert_true(kit_logged("4Pw1y93jKXz3w: info: body line from local; from=<>"));
	log_cleanup_message_id(&l, SPAN("<x@y>"), false);
	assert_true(kit_logged("4Pw1y93jKXz3w: message-id=<x@y>"));
	log_cleanup_message_id(&l, SPAN("<x@y>"), true);
	assert_true(kit_logged("4Pw1y93jKXz3w: resent-message-id=<x@y>"));
	expect_log("warning: 4Pw1y93jKXz3w: message rejected: hopcount exceeded");
	log_cleanup_warning(&l, "message rejected: %s", "hopcount exceeded");
	log_cleanup_removed(&l, false);
	assert_true(kit_logged("4Pw1y93jKXz3w: removed (canceled)"));
	log_cleanup_removed(&l, true);
	assert_true(kit_logged("4Pw1y93jKXz3w: removed (discarded)"));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_lines),
};
KIT_MAIN(tests)
