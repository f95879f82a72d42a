/* Golden tests of the lines of notices. */
#include "log/lines_bounce.h"

#include "kit/kit.h"

static void
test_lines(void **state)
{
	static const struct {
		enum log_bounce kind;
		const char *line;
	} rows[] = {
		{ LOG_BOUNCE_SENDER, "OLD: sender non-delivery notification: NEW" },
		{ LOG_BOUNCE_SENDER_DELAY, "OLD: sender delay notification: NEW" },
		{ LOG_BOUNCE_SENDER_STATUS, "OLD: sender delivery status notification: NEW" },
		{ LOG_BOUNCE_POSTMASTER, "OLD: postmaster non-delivery notification: NEW" },
		{ LOG_BOUNCE_POSTMASTER_DELAY, "OLD: postmaster delay notification: NEW" },
	};
	struct log l = { .tag = "postfix/bounce", .qid = "OLD" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		log_bounce_notice(&l, rows[i].kind, SPAN("NEW"));
		assert_true(kit_logged(rows[i].line));
	}
	expect_log("warning: OLD: undeliverable postmaster notification discarded");
	log_bounce_discarded(&l);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_lines),
};
KIT_MAIN(tests)
