/* What of a session the postmaster is told: transcripts, trouble, and what is left out. */
#include "kit/server_world.h"

static const char *
taken(struct peer *p, unsigned classes)
{
	static char text[TRANSCRIPT_MAX + 300];
	struct buf b;

	buf_init(&b, TRANSCRIPT_MAX + 256);
	assert_int_equal(smtps_notice_take(p->s, &b), classes);
	snprintf(text, sizeof(text), "%s", b.n > 0 ? buf_cstr(&b) : "");
	buf_release(&b);
	return text;
}

static void
test_transcript(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };
	const char *text;

	(void)state;
	c.notify = SMTP_NOTICE_PROTOCOL;
	c.history_lines = 100;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("FOO here\r\n"));
	feed(&p, SPAN("AUTH PLAIN c2VjcmV0\r\n"));
	feed(&p, SPAN("c2VjcmV0\r\n"));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"));
	feed(&p, SPAN("content\r\n.\r\n"));
	assert_int_equal(p.s->transcript.classes, 0);           /* it got through */
	feed(&p, SPAN("RCPT TO:<b@y>\r\n"));
	text = taken(&p, SMTP_NOTICE_PROTOCOL);
	assert_true(strncmp(text, " Out: 220 mx.example ESMTP\n In:  EHLO ", 38) == 0);
	assert_non_null(strstr(text, "\n In:  FOO here\n Out: 500 5.5.2 Error: command not recognized\n"));
	assert_non_null(strstr(text, "\n In:  AUTH (withheld)\n Out: 503 5.5.1 Error: authentication not enabled\n"
	    " In:  (withheld: no command)\n"));
	assert_non_null(strstr(text, "\n In:  DATA\n Out: 354 End data with <CR><LF>.<CR><LF>\n Out: 250 2.0.0 Ok: queued as QID\n"
	    " In:  RCPT TO:<b@y>\n Out: 503 5.5.1 Error: need MAIL command\n"));
	assert_null(strstr(text, "c2VjcmV0"));
	assert_null(strstr(text, "content"));
	assert_string_equal(taken(&p, 0), "");
	peer_close(&p);
}

/* Trouble with mail to a postmaster about mail is told to nobody. */
static void
test_no_notice_about_notices(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	c.notify = SMTP_NOTICE_PROTOCOL;
	c.notice_sender = SPAN("double-bounce");
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<double-bounce@far.example>\r\nRCPT junk\r\nDATA x\r\n"));
	feed(&p, SPAN("FOO\r\n"));
	taken(&p, 0);
	feed(&p, SPAN("RSET\r\nRCPT TO:<b@y>\r\n"));
	taken(&p, SMTP_NOTICE_PROTOCOL);
	peer_close(&p);
}

/* smtpd_history_flush_threshold */
static void
test_long_transcripts_are_told(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	c.notify = SMTP_NOTICE_PROTOCOL;
	c.history_lines = 20;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	for (unsigned i = 0; i < 8; i++)
		feed(&p, SPAN("NOOP\r\n"));
	assert_true(p.s->transcript.lines > 20);
	feed(&p, SPAN("RSET\r\n"));
	assert_int_equal(p.s->transcript.lines, 0);             /* nothing happened */
	feed(&p, SPAN("FOO\r\n"));
	for (unsigned i = 0; i < 10; i++)
		feed(&p, SPAN("NOOP\r\n"));
	assert_null(strstr(buf_cstr(&p.news), "notice"));
	feed(&p, SPAN("RSET\r\n"));
	assert_non_null(strstr(buf_cstr(&p.news), "notice"));
	taken(&p, SMTP_NOTICE_PROTOCOL);
	assert_int_equal(p.s->transcript.lines, 0);
	peer_close(&p);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_transcript),
	KIT_TEST(test_no_notice_about_notices),
	KIT_TEST(test_long_transcripts_are_told),
};

KIT_MAIN(tests)
