/* Records say what was written. */
#include "store/state.h"

#include "kit/kit.h"

static void
test_what_is_written_is_read(void **state)
{
	struct arena *a = arena_new(1 << 20);
	const uint32_t some[] = { 0, 1, 2, 5, 7, 8 };
	struct rcpt_state r = { .dsn = SPAN("4.4.1"), .text = SPAN("connect to mx[192.0.2.1]:25: 100% refused\r\n"),
		.remote_mta = SPAN("mx.example"), .diagnostic = SPAN("450 4.4.1 x"), .final = SPAN("b@c") };
	struct mail_state s, t;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	state_init(&s, 10, a);
	state_write(&b, "later", some, 6, &r);
	assert_true(span_starts(buf_span(&b), SPAN("later 0-2,5,7-8 dsn=4.4.1 text=connect%20to%20mx[192.0.2.1]:25:%20100%25%20")));
	r.report = REPORT_EXPANDED;
	state_write(&b, "report", some + 3, 1, &r);
	state_write(&b, "failed", some + 4, 1, &r);
	state_write(&b, "sent", some, 2, NULL);
	buf_add_str(&b, "next 1790000000000000 3\nhold\nwarned\nexpire\ncrash 2\nnovelty 1 2 3\nlater\nsent 99,3-4000000000,x\n");
	state_apply(&s, buf_span(&b), a);
	assert_int_equal(s.rcpts[0].stage, RCPT_DONE);
	assert_int_equal(s.rcpts[2].stage, RCPT_TODO);
	assert_true(span_eq(s.rcpts[2].text, r.text));
	assert_span(s.rcpts[2].diagnostic, "450 4.4.1 x");
	assert_int_equal(s.rcpts[9].stage, RCPT_DONE);
	assert_true(s.next_us == 1790000000000000 && s.attempts == 3 && s.hold && s.warned && s.expire && s.crashes == 2);
	/* the short form says the same */
	buf_clear(&b);
	state_write_all(&s, &b);
	state_init(&t, 10, a);
	state_apply(&t, buf_span(&b), a);
	for (size_t i = 0; i < 10; i++) {
		assert_int_equal(t.rcpts[i].stage, s.rcpts[i].stage);
		assert_int_equal(t.rcpts[i].report, s.rcpts[i].report);
		assert_true(span_eq(t.rcpts[i].text, s.rcpts[i].text));
	}
	assert_true(t.next_us == s.next_us && t.hold && t.warned && t.expire && t.crashes == 2);
	buf_release(&b);
	arena_free(&a);
}

static void
test_reports_that_are_due_survive(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct mail_state s;

	(void)state;
	state_init(&s, 3, a);
	state_apply(&s, SPAN("report 0 action=relayed dsn=2.0.0\nfailed 1 dsn=5.1.1 text=unknown%20user\n"), a);
	assert_int_equal(s.rcpts[0].stage, RCPT_REPORT);
	assert_int_equal(s.rcpts[0].report, REPORT_RELAYED);
	assert_int_equal(s.rcpts[1].stage, RCPT_FAILED);
	assert_span(s.rcpts[1].text, "unknown user");
	state_apply(&s, SPAN("told 0-1\n"), a);
	assert_int_equal(state_count(&s, RCPT_DONE), 2);
	assert_int_equal(state_count(&s, RCPT_TODO), 1);
	arena_free(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_what_is_written_is_read),
		KIT_TEST(test_reports_that_are_due_survive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
