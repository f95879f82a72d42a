/* Ends of commands: codes and texts as log parsers know them. */
#include "role/local/exits.h"

#include "kit/kit.h"

static const struct exits_row {
	const char *name;
	int status;
	const char *output;
	enum exits_result result;
	const char *dsn, *text;
} exits_rows[] = {
	{ "no such user", 67, "", EXITS_BOUNCED, "5.1.1", "user unknown" },
	{ "try again", 75, "busy ", EXITS_DEFERRED, "4.3.0", "temporary failure. Command output: busy " },
	{ "no row for it", 1, "some output text ", EXITS_BOUNCED, "5.3.0",
	    "Command died with status 1: \"cmd\". Command output: some output text " },
	{ "silent", 1, "", EXITS_BOUNCED, "5.3.0", "Command died with status 1: \"cmd\"" },
	{ "its own code", 1, "4.2.9 try later please ", EXITS_DEFERRED, "4.2.9", "try later please " },
	{ "its own code against the status", 75, "5.7.1 never", EXITS_BOUNCED, "5.7.1", "never" },
	{ "a code of success is none", 1, "2.0.0 ok", EXITS_BOUNCED, "5.3.0",
	    "Command died with status 1: \"cmd\". Command output: 2.0.0 ok" },
	{ "an address is no code", 1, "4.2.9.1 x", EXITS_BOUNCED, "5.3.0",
	    "Command died with status 1: \"cmd\". Command output: 4.2.9.1 x" },
	{ "a code too long", 1, "5.1234.1 x", EXITS_BOUNCED, "5.3.0",
	    "Command died with status 1: \"cmd\". Command output: 5.1234.1 x" },
	{ "the longest code", 1, "5.123.456", EXITS_BOUNCED, "5.123.456", "" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(exits_rows) / sizeof(exits_rows[0]); i++) {
		const struct exits_row *row = &exits_rows[i];
		struct fault why = { 0 };

		if (exits_status(row->status, SPAN("cmd"), span_str(row->output), &why) != row->result)
			fail_msg("%s: result", row->name);
		if (strcmp(why.dsn, row->dsn) != 0 || strcmp(why.text, row->text) != 0)
			fail_msg("%s: %s %s", row->name, why.dsn, why.text);
	}
}

static void
test_others(void **state)
{
	struct fault why = { 0 };

	(void)state;
	assert_int_equal(exits_status(0, SPAN("cmd"), SPAN("x"), &why), EXITS_SENT);
	assert_int_equal(exits_signal(9, SPAN("kill -9 $$"), SPAN(""), &why), EXITS_DEFERRED);
	assert_string_equal(why.text, "Command died with signal 9: \"kill -9 $$\"");
	assert_int_equal(exits_time_limit(SPAN("sleep 9"), SPAN("zzz"), &why), EXITS_BOUNCED);
	assert_string_equal(why.text, "Command time limit exceeded: \"sleep 9\". Command output: zzz");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_rows),
		KIT_TEST(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
