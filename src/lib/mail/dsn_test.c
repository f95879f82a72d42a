/* Tests of delivery status notifications, in the form of RFC 3464, RFC 6522 and RFC 6533. */
#include "mail/dsn.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kit/kit.h"
#include "mail/header.h"

static struct {
	struct arena *a;
	struct envelope env;
	struct dsn_rcpt rcpts[2];
	struct dsn_notice n;
	struct buf out;
} t;

static void
setup(enum dsn_kind kind)
{
	memset(&t, 0, sizeof(t));
	setenv("TZ", "UTC0", 1);
	tzset();
	t.a = arena_new(1 << 20);
	buf_init(&t.out, 1 << 20);
	t.env = (struct envelope){ .sender = SPAN("joe user@example.org"), .arrival_us = 1763632800000000,
		.size = 100, .envid = SPAN("QQ+2B1"), .message_id = SPAN("<1@x>") };
	t.rcpts[0] = (struct dsn_rcpt){ .addr = SPAN("c@final.example"), .orig = SPAN("a@b.example"),
		.orcpt = SPAN("rfc822;a+2Bx@b.example"), .action = kind == DSN_DELAY ? DSN_DELAYED : DSN_FAILED,
		.status = SPAN("5.1.1"), .reason = SPAN("host mx[192.0.2.1] said: 550 5.1.1 no\nsuch user"),
		.remote_mta = SPAN("mx.final.example"), .remote_reply = SPAN("550 5.1.1 no such user") };
	t.n = (struct dsn_notice){ .kind = kind, .env = &t.env, .qid = SPAN("QIDOLD"),
		.bounce_qid = SPAN("QIDNEW"), .rcpts = t.rcpts, .rcpt_count = 1, .myhostname = SPAN("mx.example.org"),
		.mail_name = SPAN("Signet"), .to = SPAN("joe user@example.org"), .now_us = 1763632900000000,
		.size_limit = 50000, .delay_time_s = 4 * 3600, .lifetime_s = 5 * 86400 };
}

static void
teardown(void)
{
	buf_release(&t.out);
	arena_free(&t.a);
	unsetenv("TZ");
}

static void
compose(struct span original, size_t piece)
{
	struct dsn d;

	buf_clear(&t.out);
	dsn_begin(&d, &t.n, t.a, &t.out);
	for (size_t at = 0; at < original.n; at += piece)
		if (!dsn_feed(&d, span_slice(original, at, at + piece), &t.out))
			break;
	dsn_end(&d, &t.out);
	assert_false(t.out.full);
}

static void
has(const char *text)
{
	if (span_find(buf_span(&t.out), span_str(text)) < 0)
		fail_msg("\"%s\" is not in:\n%.*s", text, SPAN_ARG(buf_span(&t.out)));
}

static void
has_not(const char *text)
{
	if (span_find(buf_span(&t.out), span_str(text)) >= 0)
		fail_msg("\"%s\" is in:\n%.*s", text, SPAN_ARG(buf_span(&t.out)));
}

static void
test_failure_whole(void **state)
{
	(void)state;
	setup(DSN_FAILURE);
	compose(SPAN("Subject: x\r\n\r\nbody\r\n"), 1000);
	assert_span(buf_span(&t.out),
	    "Received: by mx.example.org (Signet)\r\n\tid QIDNEW; Thu, 20 Nov 2025 10:01:40 +0000 (UTC)\r\n"
	    "Date: Thu, 20 Nov 2025 10:01:40 +0000 (UTC)\r\n"
	    "From: MAILER-DAEMON@mx.example.org (Mail Delivery System)\r\n"
	    "Subject: Undelivered Mail Returned to Sender\r\n"
	    "To: \"joe user\"@example.org\r\n"
	    "Auto-Submitted: auto-replied\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	    "\tboundary=\"QIDNEW.1763632900/mx.example.org\"\r\n"
	    "Message-Id: <QIDNEW@mx.example.org>\r\n"
	    "\r\n"
	    "This is a MIME-encapsulated message.\r\n"
	    "\r\n--QIDNEW.1763632900/mx.example.org\r\n"
	    "Content-Description: Notification\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n"
	    "\r\n"
	    "This is the mail system at host mx.example.org.\r\n\r\n"
	    "Your message could not be delivered to the recipients listed below. What is\r\n"
	    "known of it comes back with this report.\r\n\r\n"
	    "If you need help, write to postmaster at this host and include this report; your\r\n"
	    "own text you may leave out.\r\n\r\n"
	    "                   The mail system\r\n"
	    "\r\n"
	    "<c@final.example> (expanded from <a@b.example>): host mx[192.0.2.1] said: 550\r\n"
	    " 5.1.1 no such user\r\n"
	    "\r\n--QIDNEW.1763632900/mx.example.org\r\n"
	    "Content-Description: Delivery report\r\n"
	    "Content-Type: message/delivery-status\r\n"
	    "\r\n"
	    "Reporting-MTA: dns; mx.example.org\r\n"
	    "Original-Envelope-Id: QQ+1\r\n"
	    "X-Signet-Queue-ID: QIDOLD\r\n"
	    "X-Signet-Sender: rfc822; \"joe user\"@example.org\r\n"
	    "Arrival-Date: Thu, 20 Nov 2025 10:00:00 +0000 (UTC)\r\n"
	    "\r\n"
	    "Final-Recipient: rfc822; c@final.example\r\n"
	    "Original-Recipient: rfc822;a+x@b.example\r\n"
	    "Action: failed\r\n"
	    "Status: 5.1.1\r\n"
	    "Remote-MTA: dns; mx.final.example\r\n"
	    "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
	    "\r\n--QIDNEW.1763632900/mx.example.org\r\n"
	    "Content-Description: Undelivered Message\r\n"
	    "Content-Type: message/rfc822\r\n"
	    "\r\n"
	    "Subject: x\r\n\r\nbody\r\n"
	    "\r\n--QIDNEW.1763632900/mx.example.org--\r\n");
	teardown();
}

static void
test_what_comes_back(void **state)
{
	static const char original[] = "A: b\r\nSubject: secret\r\n\r\nbody\r\n\r\nmore\r\n";
	static const struct {
		enum dsn_kind kind;
		enum envelope_ret ret;
		uint64_t size;
		bool requiretls, body;
	} rows[] = {
		{ DSN_FAILURE, ENVELOPE_RET_NONE, 50000, false, true },
		{ DSN_FAILURE, ENVELOPE_RET_FULL, 50000, false, true },
		{ DSN_FAILURE, ENVELOPE_RET_FULL, 50001, false, false },
		{ DSN_FAILURE, ENVELOPE_RET_HDRS, 10, false, false },
		{ DSN_FAILURE, ENVELOPE_RET_FULL, 10, true, false },
		{ DSN_DELAY, ENVELOPE_RET_FULL, 10, false, false },
		{ DSN_SUCCESS, ENVELOPE_RET_FULL, 10, false, false },
		{ DSN_DOUBLE, ENVELOPE_RET_NONE, 10, false, true },
		{ DSN_POSTMASTER, ENVELOPE_RET_NONE, 10, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t piece = 1; piece < sizeof(original); piece++) {
			setup(rows[i].kind);
			t.env.ret = rows[i].ret;
			t.env.size = rows[i].size;
			t.env.requiretls = rows[i].requiretls;
			compose(span_str(original), piece);
			has("A: b\r\nSubject: secret\r\n\r\n");
			if (rows[i].body)
				has("body\r\n\r\nmore\r\n");
			else
				has_not("body\r\n");
			has(rows[i].body ? "Content-Type: message/rfc822\r\n" :
			    "Content-Type: text/rfc822-headers\r\n");
			teardown();
		}
	}
}

static void
test_delay(void **state)
{
	(void)state;
	setup(DSN_DELAY);
	t.rcpts[0].retry_until_us = 1764064800000000;
	t.rcpts[0].remote_mta = SPAN("");
	t.rcpts[0].status = SPAN("4.4.1");
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("Subject: Delayed Mail (still being retried)\r\n");
	has("more than\r\n4 hour(s). Delivery will be tried until it is\r\n5 day(s) old.");
	has("Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: X-Signet; host mx[192.0.2.1] said: 550 5.1.1 no such user\r\n"
	    "Will-Retry-Until: Tue, 25 Nov 2025 10:00:00 +0000 (UTC)\r\n");
	has_not("Remote-MTA");
	teardown();
}

static void
test_success_and_verify(void **state)
{
	(void)state;
	setup(DSN_SUCCESS);
	t.rcpts[0].action = DSN_EXPANDED;
	t.rcpts[1] = t.rcpts[0];
	t.rcpts[1].action = DSN_RELAYED;
	t.n.rcpt_count = 2;
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("Subject: Successful Mail Delivery Report\r\n");
	has("Action: expanded\r\n");
	has("\r\n\r\nFinal-Recipient: rfc822; c@final.example\r\nOriginal-Recipient: rfc822;a+x@b.example\r\n"
	    "Action: relayed\r\n");
	has("Content-Description: Message Headers\r\n");
	t.n.kind = DSN_VERIFY;
	t.rcpts[0].action = DSN_DELIVERABLE;
	compose(SPAN(""), 100);
	has("Subject: Mail Delivery Status Report\r\n");
	has("Action: deliverable\r\n");
	teardown();
}

static void
test_utf8(void **state)
{
	(void)state;
	setup(DSN_FAILURE);
	t.rcpts[0].addr = SPAN("\xc3\xa4@x.example");
	t.rcpts[0].orcpt = SPAN("utf-8;\\x{E4}@x.example");
	t.rcpts[0].reason = t.rcpts[0].remote_reply = SPAN("kein Empf\xc3\xa4nger");
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("Final-Recipient: utf-8; \\x{E4}@x.example\r\n");
	has("Original-Recipient: utf-8;\\x{E4}@x.example\r\n");
	has("smtp; kein Empf?" "?nger\r\n");
	assert_true(span_is_ascii(buf_span(&t.out)));
	t.n.smtputf8 = true;
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("Final-Recipient: utf-8; \xc3\xa4@x.example\r\n");
	has("report-type=global-delivery-status;");
	has("Content-Type: message/global-delivery-status\r\n");
	has("Content-Type: message/global\r\n");
	has("charset=utf-8\r\n");
	assert_true(span_is_utf8(buf_span(&t.out)));
	teardown();
}

static void
test_nothing_from_outside_breaks_lines(void **state)
{
	static char text[3000];
	struct span rest, line;

	(void)state;
	setup(DSN_FAILURE);
	memset(text, 'x', sizeof(text));
	memcpy(text, "a\r\nAction: delivered\r\n\r\nFinal-Recipient: y", 43);
	t.rcpts[0].reason = t.rcpts[0].remote_reply = span_of(text, sizeof(text));
	t.rcpts[0].remote_mta = SPAN("mx\r\nStatus: 2.0.0");
	t.rcpts[0].orcpt = SPAN("rfc822;a+0D+0AStatus:+202.0.0");
	t.env.envid = SPAN("x+0D+0A+0D+0Ay");
	compose(SPAN("A: b\r\n\r\n"), 100);
	has_not("\nAction: delivered");
	has_not("\nStatus: 2");
	rest = buf_span(&t.out);
	while (rest.n > 0) {
		span_cut(rest, '\n', &line, &rest);
		assert_true(line.n < 998);
	}
	teardown();
}

static void
test_envelope(void **state)
{
	struct envelope e;

	(void)state;
	setup(DSN_FAILURE);
	dsn_envelope(&t.n, t.a, &e);
	assert_int_equal(e.kind, ENVELOPE_BOUNCE);
	assert_int_equal(e.sender.n, 0);
	assert_int_equal(e.rcpt_count, 1);
	assert_span(e.rcpts[0].addr, "joe user@example.org");
	assert_int_equal(e.rcpts[0].notify, ENVELOPE_NOTIFY_NEVER);
	assert_int_equal(e.ret, ENVELOPE_RET_NONE);
	t.n.kind = DSN_DOUBLE;
	t.n.double_bounce = SPAN("double-bounce@example.org");
	dsn_envelope(&t.n, t.a, &e);
	assert_int_equal(e.kind, ENVELOPE_DOUBLE_BOUNCE);
	assert_span(e.sender, "double-bounce@example.org");
	teardown();
}

static void
test_who_wants_what(void **state)
{
	(void)state;
	assert_true(dsn_wanted(0, DSN_FAILURE));
	assert_true(dsn_wanted(0, DSN_DELAY));
	assert_false(dsn_wanted(0, DSN_SUCCESS));
	assert_false(dsn_wanted(ENVELOPE_NOTIFY_NEVER, DSN_FAILURE));
	assert_false(dsn_wanted(ENVELOPE_NOTIFY_FAILURE, DSN_DELAY));
	assert_false(dsn_wanted(ENVELOPE_NOTIFY_SUCCESS, DSN_FAILURE));
	assert_true(dsn_wanted(ENVELOPE_NOTIFY_SUCCESS, DSN_SUCCESS));
}

/* --- templates --- */

static bool
value(void *ctx, struct span name, struct arena *a, struct span *value_r)
{
	(void)ctx;
	(void)a;
	if (!span_eq(name, SPAN("bounce_notice_recipient")))
		return false;
	*value_r = SPAN("boss");
	return true;
}

static void
test_own_templates(void **state)
{
	static const char text[] =
	    "# comment\n\nfailure_template = <<EOF\nCharset: utf-8\nFrom: Robot <r@x>\nSubject: Nope\n"
	    "Postmaster-Subject: Copy\n\nHi from ${myhostname}, $bounce_notice_recipient, $$5, $unknown,\n"
	    "$(delay_warning_time_minutes) $maximal_queue_lifetime_weeks gr\xc3\xbc\xc3\x9f" "e\nEOF\n";
	struct dsn_templates ts;
	struct fault why;

	(void)state;
	setup(DSN_FAILURE);
	assert_true(dsn_templates_parse(span_str(text), t.a, &ts, &why));
	t.n.templates = &ts;
	t.n.value = value;
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("From: Robot <r@x>\r\nSubject: Nope\r\n");
	has("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
	    "Hi from mx.example.org, boss, $5, $unknown,\r\n240 1 gr\xc3\xbc\xc3\x9f" "e\r\n");
	t.n.kind = DSN_POSTMASTER;
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("Subject: Copy\r\n");
	has("Auto-Submitted: auto-generated\r\n");
	has_not("Hi from");     /* what is said to the sender */
	t.n.kind = DSN_SUCCESS;
	compose(SPAN("A: b\r\n\r\n"), 100);
	has("Subject: Successful Mail Delivery Report\r\n");
	teardown();
}

static void
test_bad_templates(void **state)
{
	static const char *const bad[] = {
		"x_template = <<E\nSubject: a\n\nb\nE\n",
		"failure_template = text\n",
		"failure_template = <<\n",
		"failure_template = <<E\nSubject: a\n\nb\n",
		"failure_template = <<E\nNo header\n\nb\nE\n",
		"failure_template = <<E\nX-Other: a\n\nb\nE\n",
		"failure_template = <<E\nSubject: a\nE\n",
		"failure_template = <<E\nSubject: a\n\n\xc3\xa4\nE\n",
	};
	struct arena *a = arena_new(65536);
	struct dsn_templates ts;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (dsn_templates_parse(span_str(bad[i]), a, &ts, &why))
			fail_msg("taken: %s", bad[i]);
	assert_true(dsn_templates_parse(SPAN(""), a, &ts, &why));
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_failure_whole),
	KIT_TEST(test_what_comes_back),
	KIT_TEST(test_delay),
	KIT_TEST(test_success_and_verify),
	KIT_TEST(test_utf8),
	KIT_TEST(test_nothing_from_outside_breaks_lines),
	KIT_TEST(test_envelope),
	KIT_TEST(test_who_wants_what),
	KIT_TEST(test_own_templates),
	KIT_TEST(test_bad_templates),
};
KIT_MAIN(tests)
