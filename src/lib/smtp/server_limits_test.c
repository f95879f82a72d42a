/* The server engine: STARTTLS, limits, errors, the end of sessions, memory. */
#include "smtp/server.h"

#include "kit/server_world.h"

static void
test_starttls(void **state)
{
	struct smtps_config c = config();
	struct smtps_client cl = { .tls_enabled = true, .tls_offered = true, .tls_required = true, .bare_lf = SMTPS_BARE_LF_NORMALIZE };
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, &cl);
	feed(&p, SPAN(EHLO));
	assert_true(span_find(buf_span(&p.out), SPAN("250-STARTTLS\r\n")) > 0);
	buf_clear(&p.out);
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRSET\r\nBDAT 6\r\nQUIT\r\n"));
	feed(&p, SPAN("XCLIENT ADDR=192.0.2.1\r\nXFORWARD HELO=x\r\n"));
	feed(&p, SPAN("STARTTLS\r\nNOOP\r\n"));
	assert_span(buf_span(&p.out), "530 5.7.0 Must issue a STARTTLS command first\r\n"
	    "530 5.7.0 Must issue a STARTTLS command first\r\n530 5.7.0 Must issue a STARTTLS command first\r\n"
	    "550 5.7.0 Error: insufficient authorization\r\n530 5.7.0 Must issue a STARTTLS command first\r\n220 2.0.0 Ready to start TLS\r\n");
	assert_false(smtps_wants_input(p.s));
	smtps_tls_started(p.s, 0);
	buf_clear(&p.out);
	drain(&p);
	assert_span(buf_span(&p.out), "");      /* the NOOP in clear is gone (RFC 3207 section 4.2) */
	assert_span(smtps_helo(p.s), "");
	feed(&p, SPAN(EHLO));
	assert_true(span_find(buf_span(&p.out), SPAN("STARTTLS")) < 0);
	buf_clear(&p.out);
	feed(&p, SPAN("STARTTLS\r\n"));
	assert_span(buf_span(&p.out), "554 5.5.1 Error: TLS already active\r\n");
	feed(&p, SPAN("MAIL FROM:<a@x>\r\n"));
	assert_non_null(smtps_mail(p.s));
	peer_close(&p);
}

static void
test_starttls_without_handshake_does_not_count(void **state)
{
	struct smtps_config c = config();
	struct smtps_client cl = { .tls_enabled = true, .tls_offered = true, .bare_lf = SMTPS_BARE_LF_NORMALIZE };

	(void)state;
	for (int timeout = 0; timeout < 2; timeout++) {
		struct peer p = { .now_us = 0 };

		peer_open(&p, &c, &cl);
		feed(&p, SPAN(EHLO));
		feed(&p, SPAN("STARTTLS\r\n"));
		if (timeout)
			smtps_timeout(p.s, 0);
		else
			smtps_eof(p.s, 0);
		assert_int_equal(smtps_count(p.s, SMTPS_STARTTLS).total, 1);
		assert_int_equal(smtps_count(p.s, SMTPS_STARTTLS).ok, 0);
		peer_close(&p);
	}
}

static void
test_refused_after_the_handshake(void **state)
{
	struct smtps_reply no = { .code = 554, .dsn = "5.7.1", .text = SPAN("mx.test Error: No client certificate presented") };
	struct smtps_client cl = { .tls_enabled = true, .tls_offered = true, .tls_required = true, .bare_lf = SMTPS_BARE_LF_NORMALIZE };
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, &cl);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("STARTTLS\r\n"));
	smtps_tls_refused(p.s, &no, 0);
	buf_clear(&p.out);
	feed(&p, SPAN("EHLO c\r\n"));
	feed(&p, SPAN("MAIL FROM:<a@b.example>\r\n"));
	feed(&p, SPAN("NOOP\r\n"));
	feed(&p, SPAN("WHAT\r\n"));
	feed(&p, SPAN("QUIT\r\n"));
	assert_span(buf_span(&p.out), "554 5.7.1 mx.test Error: No client certificate presented\r\n"
	    "554 5.7.1 mx.test Error: No client certificate presented\r\n"
	    "554 5.7.1 mx.test Error: No client certificate presented\r\n"
	    "554 5.7.1 mx.test Error: No client certificate presented\r\n221 2.0.0 Bye\r\n");
	peer_close(&p);
}

static void
test_starttls_without_certificate(void **state)
{
	struct smtps_config c = config();
	struct smtps_client cl = { .tls_enabled = true };
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, &cl);
	feed(&p, SPAN(EHLO));
	assert_true(span_find(buf_span(&p.out), SPAN("STARTTLS")) < 0);
	buf_clear(&p.out);
	feed(&p, SPAN("STARTTLS\r\n"));
	assert_span(buf_span(&p.out), "454 4.7.0 TLS not available due to local problem\r\n");
	peer_close(&p);
}

static void
test_errors(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(p.now_us, i <= 10 ? 0 : (i - 10) * 1000000);
		feed(&p, SPAN("FOO\r\n"));
	}
	assert_true(p.closed);
	assert_true(p.why == SMTPS_WHY_ERRORS);
	assert_true(span_ends(buf_span(&p.out), SPAN("421 4.7.0 mx.example Error: too many errors\r\n")));
	peer_close(&p);
}

static void
test_junk_and_long_lines(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };
	static char line[5000];

	(void)state;
	c.junk_limit = 2;
	c.hard_error_limit = 3;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	memset(line, 'x', sizeof(line));
	line[4998] = '\r';
	line[4999] = '\n';
	buf_clear(&p.out);
	feed(&p, span_of(line, 5000));
	feed(&p, span_of(line + 2952, 2048));
	assert_span(buf_span(&p.out), "500 5.5.2 mx.example Error: command too long\r\n500 5.5.2 Error: command not recognized\r\n");
	feed(&p, SPAN("RSET\r\nRSET\r\n"));
	assert_false(p.closed);
	feed(&p, SPAN("RSET\r\n"));
	assert_true(p.closed);
	peer_close(&p);
}

static void
test_too_big(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };
	static char body[1500];

	(void)state;
	memset(body, 'x', sizeof(body));
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"));
	buf_clear(&p.out);
	feed(&p, span_of(body, sizeof(body)));
	feed(&p, SPAN("\r\n.\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 600\r\n"));
	feed(&p, span_of(body, 600));
	feed(&p, SPAN("BDAT 600\r\n"));
	feed(&p, span_of(body, 600));
	feed(&p, SPAN("BDAT 2 LAST\r\nab"));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\n"));
	assert_span(buf_span(&p.out), "552 5.3.4 Error: message file too big\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"
	    "250 2.0.0 Ok: 600 bytes\r\n552 5.3.4 Chunk exceeds message size limit\r\n"
	    "551 5.0.0 Discarded 2 bytes after earlier error\r\n250 2.1.0 Ok\r\n");
	peer_close(&p);
}

static void
test_content_waits_for_its_taker(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };
	static char line[10000];
	struct smtps_event ev;
	size_t fed = 0, got = 0;

	(void)state;
	c.size_limit = 0;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"));
	memset(line, 'y', sizeof(line));
	while (smtps_wants_input(p.s) && fed < 1000000) {
		smtps_feed(p.s, span_of(line, sizeof(line)), 0);
		fed += sizeof(line);
	}
	assert_true(fed < 200000);
	assert_true(smtps_bytes(p.s) < 400000);
	while (smtps_content(p.s).n > 0) {
		got += smtps_content(p.s).n;
		smtps_content_taken(p.s, smtps_content(p.s).n, 0);
	}
	assert_int_equal(got, fed);
	smtps_feed(p.s, SPAN("\r\n.\r\n"), 0);
	assert_false(smtps_next(p.s, &ev));
	smtps_content_taken(p.s, smtps_content(p.s).n, 0);
	assert_true(smtps_next(p.s, &ev));
	assert_int_equal(ev.kind, SMTPS_ASK_EOM);
	assert_int_equal(ev.bytes, fed + 2);
	peer_close(&p);
}

static void
test_end_of_sessions(void **state)
{
	static const struct smtps_reply no = { 554, "5.7.1", { "Client host rejected", 20 }, false, 0 };
	static const struct smtps_reply go = { 421, "4.3.2", { "later", 5 }, false, 0 };
	struct smtps_config c = config();
	struct peer p = { .connect_reply = &no }, q = { .now_us = 0 }, r = { .data_reply = &go };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN("EHLO x\r\n"));
	feed(&p, SPAN("QUIT\r\n"));
	assert_span(buf_span(&p.out), "554 5.7.1 Client host rejected\r\n503 5.7.0 Error: access denied\r\n" BYE);
	peer_close(&p);

	peer_open(&q, &c, NULL);
	feed(&q, SPAN(EHLO));
	feed(&q, SPAN("MAIL FROM:<a@x>\r\n"));
	buf_clear(&q.out);
	smtps_drain(q.s, 0);
	drain(&q);
	assert_span(buf_span(&q.out), "");
	feed(&q, SPAN("RSET\r\n"));
	assert_span(buf_span(&q.out), "250 2.0.0 Ok\r\n421 4.3.2 mx.example Service shutting down\r\n");
	peer_close(&q);

	peer_open(&r, &c, NULL);
	feed(&r, SPAN(EHLO));
	feed(&r, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 100\r\nxx"));
	assert_true(span_ends(buf_span(&r.out), SPAN("421 4.3.2 later\r\n")));
	assert_true(r.closed);
	peer_close(&r);
}

static void
test_timeout_and_eof(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 }, q = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"));
	feed(&p, SPAN("12345\r\n"));
	assert_string_equal(smtps_where(p.s), "DATA (7 bytes)");
	buf_clear(&p.out);
	smtps_timeout(p.s, 0);
	drain(&p);
	assert_span(buf_span(&p.out), "421 4.4.2 mx.example Error: timeout exceeded\r\n");
	assert_true(p.why == SMTPS_WHY_TIMEOUT);
	peer_close(&p);

	/* What came before the end of input is still done. */
	peer_open(&q, &c, NULL);
	feed(&q, SPAN(EHLO));
	q.late = true;
	feed(&q, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nQUIT\r\n"));
	smtps_eof(q.s, 0);
	answer_all(&q);
	answer_all(&q);
	assert_true(q.closed);
	assert_true(q.why == SMTPS_WHY_QUIT);
	peer_close(&q);
}

static void
test_discard(void **state)
{
	struct smtps_config c = config();
	struct span unknown;
	struct smtps_client cl = { .discard = smtps_keywords(SPAN("chunking, dsn ENHANCEDSTATUSCODES foo"), &unknown) };
	struct peer p = { .now_us = 0 };

	(void)state;
	assert_span(unknown, "foo");
	c.size_limit = 0;
	peer_open(&p, &c, &cl);
	buf_clear(&p.out);
	feed(&p, SPAN(EHLO));
	assert_span(buf_span(&p.out),
	    "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-VRFY\r\n250-ETRN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n");
	assert_span(buf_span(&p.news), "discard 0 ENHANCEDSTATUSCODES DSN CHUNKING\n");
	buf_clear(&p.out);
	feed(&p, SPAN("MAIL FROM:<a@x> RET=FULL\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n"));
	assert_span(buf_span(&p.out),
	    "555 Unsupported option: RET=FULL\r\n250 Ok\r\n250 Ok\r\n502 Error: command not implemented\r\n250 Ok\r\n");
	peer_close(&p);
}

static void
test_idle_memory(void **state)
{
	struct smtps_config c = config();
	struct peer p = { .now_us = 0 };

	(void)state;
	peer_open(&p, &c, NULL);
	feed(&p, SPAN(EHLO));
	feed(&p, SPAN("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"));
	feed(&p, SPAN("hello\r\n.\r\n"));
	assert_true(smtps_idle(p.s));
	assert_true(smtps_bytes(p.s) < 2048);
	peer_close(&p);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_starttls),
	KIT_TEST(test_starttls_without_handshake_does_not_count),
	KIT_TEST(test_refused_after_the_handshake),
	KIT_TEST(test_starttls_without_certificate),
	KIT_TEST(test_errors),
	KIT_TEST(test_junk_and_long_lines),
	KIT_TEST(test_too_big),
	KIT_TEST(test_content_waits_for_its_taker),
	KIT_TEST(test_end_of_sessions),
	KIT_TEST(test_timeout_and_eof),
	KIT_TEST(test_discard),
	KIT_TEST(test_idle_memory),
};
KIT_MAIN(tests)
