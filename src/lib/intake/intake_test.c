/* Tests of intake: content through checks and completion, at every split, with local and remote tables. */
#include "intake/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/loop.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "kit/kit.h"
#include "maps/asks.h"
#include "maps/maps.h"

static struct {
	struct conf_report report;
	struct conf *conf;
	struct intake_conf ic;
	struct maps_env env;
	struct arena *a;
	struct envelope e;
	struct buf out;
	struct intake_verdict verdict;
	/* remote tables */
	struct loop *loop;
	struct asks_link *link;
	struct asks *asks;
	uint64_t ids[4096];
	char keys[4096][80];
	size_t asked, answered;
} t;

static bool
send_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)table;
	t.ids[t.asked] = id;
	snprintf(t.keys[t.asked++], sizeof(t.keys[0]), "%.*s", SPAN_ARG(key));
	return true;
}

static bool
send_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	(void)ctx;
	(void)id;
	(void)name;
	(void)type;
	return false;
}

static const struct asks_ops ops = { send_map, send_dns };

static void
on_ready(void *ctx)
{
	(void)ctx;
}

static void
setup(const char *main_cf)
{
	struct fault why = { 0 };

	memset(&t, 0, sizeof(t));
	setenv("TZ", "UTC0", 1);
	tzset();
	conf_report_init(&t.report);
	conf_parse(span_str(main_cf), SPAN(""), &t.conf, &t.report);
	assert_non_null(t.conf);
	t.env = (struct maps_env){ .data_directory = "/nonexistent", .default_database_type = "hash",
		.alias_tables = "" };
	if (!intake_conf_init(&t.ic, t.conf->params, &t.env, &why))
		fail_msg("%s", why.text);
	t.loop = loop_new();
	t.link = asks_link_new(t.loop, &ops, NULL, 60000);
	t.asks = asks_new(t.link, on_ready, NULL);
	t.a = arena_new((size_t)64 << 20);
	buf_init(&t.out, 1 << 22);
	t.e.sender = SPAN("sender@example.org");
	t.e.client_protocol = SPAN("ESMTP");
	t.e.client_helo = SPAN("client");
}

static void
teardown(void)
{
	asks_free(&t.asks);
	asks_link_free(&t.link);
	loop_free(&t.loop);
	buf_release(&t.out);
	arena_free(&t.a);
	intake_conf_release(&t.ic);
	conf_unref(&t.conf);
	conf_report_release(&t.report);
	unsetenv("TZ");
}

/* The remote table (keys folded): "x-map: VALUE" is answered with VALUE, "x-map: bad" fails. */
static void
answer_all(void)
{
	for (; t.answered < t.asked; t.answered++) {
		const char *key = t.keys[t.answered];
		struct fault why = { 0 };

		if (strcmp(key, "x-map: bad") == 0)
			asks_answer_map(t.link, t.ids[t.answered], MAP_DEFER, SPAN(""), &why);
		else if (strncmp(key, "x-map: ", 7) == 0)
			asks_answer_map(t.link, t.ids[t.answered], MAP_FOUND, span_str(key + 7), NULL);
		else
			asks_answer_map(t.link, t.ids[t.answered], MAP_ABSENT, SPAN(""), NULL);
	}
}

static void
sink(void *ctx, struct span bytes)
{
	(void)ctx;
	assert_true(buf_add_span(&t.out, bytes));
}

static struct intake_input
input(void)
{
	static struct log l = { .tag = "postfix/cleanup", .qid = "QID" };

	return (struct intake_input){ .conf = &t.ic, .asks = t.asks, .arena = t.a, .log = &l,
		.qid = SPAN("QID"), .now_us = 1763632800000000, .env = &t.e,
		.origin = SPAN("unknown[192.0.2.1]"), .sink = sink };
}

static void
feed(struct intake *i, struct span content)
{
	size_t used;

	while (intake_feed(i, content, &used) == INTAKE_WAIT) {
		assert_true(asks_waiting(t.asks) > 0);
		answer_all();
		content = span_from(content, used);
	}
	assert_int_equal(used, content.n);
}

/* Feed in pieces of `piece` bytes; the result is in t.out, t.verdict, t.e. */
static void
run_pieces(const struct intake_input *in, struct span own, struct span content, size_t piece)
{
	struct intake *i = intake_new(in);

	buf_clear(&t.out);
	t.e.message_id = t.e.resent_message_id = t.e.filter = t.e.redirect = SPAN("");
	t.e.rcpt_count = 0;
	t.e.hold = t.e.eightbit = t.e.tls_optional = false;
	if (own.n > 0)
		while (intake_header(i, own) == INTAKE_WAIT)
			answer_all();
	for (size_t at = 0; at < content.n; at += piece)
		feed(i, span_slice(content, at, at + piece));
	while (intake_finish(i, &t.verdict) == INTAKE_WAIT)
		answer_all();
	intake_free(&i);
}

static void
check_at_all_splits(const struct intake_input *in, struct span content, const char *want)
{
	struct span own = SPAN("");

	for (size_t piece = 1; piece <= content.n + 1; piece++) {
		run_pieces(in, own, content, piece);
		if (!span_eq(buf_span(&t.out), span_str(want)))
			fail_msg("pieces of %zu: got \"%.*s\" want \"%s\"", piece,
			    SPAN_ARG(buf_span(&t.out)), want);
	}
}

static void
test_remote_mail_passes_unchanged(void **state)
{
	static const char text[] = "Received: x\r\n\tby y\r\nTo: me\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n.\r\n\r\nend\r\n";
	struct intake_input in;

	(void)state;
	setup("");
	in = input();
	check_at_all_splits(&in, span_str(text), text);
	assert_int_equal(t.verdict.action, INTAKE_ACCEPT);
	assert_span(t.e.message_id, "<1@x>");
	assert_int_equal(t.e.size, sizeof(text) - 1);
	assert_false(t.e.eightbit);
	assert_true(kit_logged("QID: message-id=<1@x>"));
	teardown();
}

static void
test_odd_shapes(void **state)
{
	static const char *const rows[][2] = {
		{ "", "" },
		{ "\r\n", "\r\n" },
		{ "body only\r\n", "\r\nbody only\r\n" },
		{ "A: b", "A: b\r\n" },
		{ "A: b\r\n", "A: b\r\n" },
		{ "A: b\r\nno header\r\nC: d\r\n", "A: b\r\n\r\nno header\r\nC: d\r\n" },
		{ " x\r\nA: b\r\n", "\r\n x\r\nA: b\r\n" },
		{ "From me Mon\r\nA: b\r\n\r\nx\r\n", "X-Mailbox-Line: From me Mon\r\nA: b\r\n\r\nx\r\n" },
		{ ">From me Mon\r\n\r\nFrom x\r\n", "X-Mailbox-Line: >From me Mon\r\n\r\nFrom x\r\n" },
		{ "A: b\rc\r\n\r\nd\ne\r\rf\r\n", "A: b c\r\n\r\nd e  f\r\n" },
		{ "A: b\r\n\r\nx\r", "A: b\r\n\r\nx \r\n" },
		{ "Bcc: a\r\nbcc: b\r\n c\r\nReturn-Path: <x>\r\nContent-Length: 5\r\nX: y\r\n\r\nBcc: d\r\n",
		  "X: y\r\n\r\nBcc: d\r\n" },
	};
	struct intake_input in;

	(void)state;
	setup("");
	in = input();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_at_all_splits(&in, span_str(rows[i][0]), rows[i][1]);
	teardown();
}

static void
test_local_mail_is_completed(void **state)
{
	struct intake_input in;

	(void)state;
	setup("myhostname=mx.example.org\nmyorigin=example.org\nappend_dot_mydomain=no\n");
	in = input();
	in.rewrite_headers = true;
	in.full_name = SPAN("Joe, User");
	t.e.sender = SPAN("joe");
	check_at_all_splits(&in, SPAN("To: a, \"B\" <b@c.d> (x)\r\nSubject: a\r\n\r\nhi\r\n"),
	    "To: a@example.org, \"B\" <b@c.d> (x)\r\nSubject: a\r\nMessage-Id: <QID@mx.example.org>\r\n"
	    "Date: Thu, 20 Nov 2025 10:00:00 +0000 (UTC)\r\nFrom: \"Joe, User\" <joe@example.org>\r\n\r\nhi\r\n");
	assert_span(t.e.message_id, "<QID@mx.example.org>");
	check_at_all_splits(&in, SPAN("Resent-To: a@b.c\r\nFrom: x@y.z\r\n\r\n"),
	    "Resent-To: a@b.c\r\nFrom: x@y.z\r\nResent-Message-Id: <QID@mx.example.org>\r\n"
	    "Resent-Date: Thu, 20 Nov 2025 10:00:00 +0000 (UTC)\r\n"
	    "Resent-From: \"Joe, User\" <joe@example.org>\r\n\r\n");
	teardown();
}

#define CHECKS "header_checks = inline:{ " \
	"{ X-Rej: 1 = REJECT no thanks } { X-Rej: 2 = REJECT 4.7.1 later } { X-Rej: 3 = REJECT } " \
	"{ X-Dis: 1 = DISCARD spam } { X-Ign: 1 = IGNORE } { X-Strip: 1 = STRIP gone } " \
	"{ X-Pre: 1 = PREPEND X-New: me } { X-Rep: 1 = REPLACE To: x } { X-Hold: 1 = HOLD why } " \
	"{ X-Fil: 1 = FILTER smtp:[127.0.0.1]:10 } { X-Red: 1 = REDIRECT r@x.y } " \
	"{ X-Bcc: 1 = BCC b@x.y } { X-Pass: 1 = PASS trusted } { X-Warn: 1 = WARN careful } " \
	"{ X-Info: 1 = INFO } { X-Dunno: 1 = DUNNO } { X-Bad: 1 = EXPLODE } { X-Bad: 2 = FILTER x } }\n" \
	"body_checks = inline:{ { rej = REJECT body } { ign = IGNORE } { pre = PREPEND before } " \
	"{ rep = REPLACE after } { --b = WARN delimiter } }\n"

static void
check_one(const char *text, const char *want)
{
	struct intake_input in = input();

	t.e.client_helo = SPAN("client");
	run_pieces(&in, SPAN(""), span_str(text), 1000);
	if (!span_eq(buf_span(&t.out), span_str(want)))
		fail_msg("%s: got \"%.*s\"", text, SPAN_ARG(buf_span(&t.out)));
}

static void
test_header_actions(void **state)
{
	(void)state;
	setup(CHECKS);
	check_one("X-Ign: 1\r\nA: b\r\nX-Strip: 1\r\n\r\nx\r\n", "A: b\r\n\r\nx\r\n");
	assert_true(kit_logged("QID: strip: header X-Strip: 1 from unknown[192.0.2.1]; "
	    "from=<sender@example.org> proto=ESMTP helo=<client>: gone"));
	check_one("X-Pre: 1\r\nX-Rep: 1\r\nX-Dunno: 1\r\n\r\n", "X-New: me\r\nX-Pre: 1\r\nTo: x\r\nX-Dunno: 1\r\n\r\n");
	check_one("X-Hold: 1\r\nX-Fil: 1\r\nX-Red: 1\r\nX-Bcc: 1\r\nX-Bcc: 1\r\n\r\n",
	    "X-Hold: 1\r\nX-Fil: 1\r\nX-Red: 1\r\nX-Bcc: 1\r\nX-Bcc: 1\r\n\r\n");
	assert_true(t.e.hold);
	assert_span(t.e.filter, "smtp:[127.0.0.1]:10");
	assert_span(t.e.redirect, "r@x.y");
	assert_int_equal(t.e.rcpt_count, 1);
	assert_span(t.e.rcpts[0].addr, "b@x.y");
	assert_int_equal(t.e.rcpts[0].notify, ENVELOPE_NOTIFY_NEVER);
	check_one("X-Warn: 1\r\nX-Info: 1\r\n\r\n", "X-Warn: 1\r\nX-Info: 1\r\n\r\n");
	assert_true(kit_logged("QID: warning: header X-Warn: 1 from"));
	assert_true(kit_logged("QID: info: header X-Info: 1 from unknown[192.0.2.1]; from=<sender@example.org>"));
	check_one("X-Pass: 1\r\nX-Rej: 1\r\n\r\nrej\r\n", "X-Pass: 1\r\nX-Rej: 1\r\n\r\nrej\r\n");
	assert_int_equal(t.verdict.action, INTAKE_ACCEPT);
	teardown();
}

static void
test_verdicts(void **state)
{
	static const struct {
		const char *text;
		enum intake_action action;
		const char *reply;
	} rows[] = {
		{ "X-Rej: 1\r\n\r\n", INTAKE_REJECT, "550 5.7.1 no thanks" },
		{ "X-Rej: 2\r\n\r\n", INTAKE_REJECT, "451 4.7.1 later" },
		{ "X-Rej: 3\r\n\r\n", INTAKE_REJECT, "550 5.7.1 message content rejected" },
		{ "X-Dis: 1\r\nX-Rej: 1\r\n\r\n", INTAKE_DISCARD, "250 2.0.0 Ok" },
		{ "\r\nfine\r\nrej\r\n", INTAKE_REJECT, "550 5.7.1 body" },
		{ "\r\nrej", INTAKE_REJECT, "550 5.7.1 body" },
		{ "X-Bad: 1\r\n\r\n", INTAKE_REJECT, "451 4.3.5 Error: server configuration error" },
	};

	(void)state;
	setup(CHECKS);
	expect_log("unknown action \"EXPLODE\"");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct intake_input in = input();

		run_pieces(&in, SPAN(""), span_str(rows[i].text), 3);
		assert_int_equal(t.verdict.action, rows[i].action);
		assert_span(t.verdict.reply, rows[i].reply);
	}
	assert_true(kit_logged("QID: reject: header X-Rej: 1 from unknown[192.0.2.1]; "
	    "from=<sender@example.org> proto=ESMTP helo=<client>: 5.7.1 no thanks"));
	assert_true(kit_logged("QID: discard: header X-Dis: 1 from"));
	assert_true(kit_logged("QID: reject: body rej from"));
	teardown();
}

static void
test_body_actions(void **state)
{
	(void)state;
	setup(CHECKS);
	check_one("\r\nign\r\npre\r\nrep\r\nx\r\n", "\r\nbefore\r\npre\r\nafter\r\nx\r\n");
	check_one("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-Ign: 1\r\nY: z\r\n\r\nign\r\n",
	    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nY: z\r\n\r\n");
	assert_true(kit_logged("QID: warning: body --b from"));
	teardown();
}

static void
test_limits(void **state)
{
	struct intake_input in;

	(void)state;
	expect_log("warning: QID: message rejected: hopcount exceeded");
	setup("hopcount_limit=3\nmessage_size_limit=60\nheader_size_limit=20\nline_length_limit=512\nmailbox_size_limit=60\n");
	check_one("Received: 1\r\nReceived: 2\r\n\r\n", "Received: 1\r\nReceived: 2\r\n\r\n");
	check_one("Received: 1\r\nReceived: 2\r\nReceived: 3\r\n\r\n", "Received: 1\r\nReceived: 2\r\n");
	assert_span(t.verdict.reply, "554 5.4.0 Error: too many hops");
	check_one("A: 345678901234567890123456789\r\n cont\r\nB: c\r\n\r\n",
	    "A: 34567890123456789\r\nB: c\r\n\r\n");
	in = input();
	run_pieces(&in, SPAN(""),
	    SPAN("A: b\r\n\r\n0123456789012345678901234567890123456789012345678901234567890\r\n"), 10);
	assert_span(t.verdict.reply, "552 5.3.4 Error: message file too big");
	teardown();
}

static void
test_long_lines_pass_whole(void **state)
{
	char text[3000], want[3000];
	struct intake_input in;

	(void)state;
	setup("line_length_limit=512\n");
	memset(text, 'x', sizeof(text));
	memcpy(text, "A: b\r\n\r\n", 8);
	memcpy(text + 1500, "\r\n", 2);
	memcpy(text + 2998, "\r\n", 2);
	memcpy(want, text, sizeof(text));
	in = input();
	for (size_t piece = 1; piece < 1600; piece += 7) {
		run_pieces(&in, SPAN(""), span_of(text, sizeof(text)), piece);
		assert_true(span_eq(buf_span(&t.out), span_of(want, sizeof(want))));
	}
	teardown();
}

static void
test_own_header_comes_first(void **state)
{
	struct intake_input in;

	(void)state;
	setup("header_checks = inline:{ { Received: own = WARN seen } }\n");
	in = input();
	run_pieces(&in, SPAN("Received: own\r\n"), SPAN("From me\r\nA: b\r\n\r\nx\r\n"), 5);
	assert_span(buf_span(&t.out), "Received: own\r\nX-Mailbox-Line: From me\r\nA: b\r\n\r\nx\r\n");
	run_pieces(&in, SPAN("Received: own\r\n"), SPAN(" folded?\r\n"), 5);
	assert_span(buf_span(&t.out), "Received: own\r\n\r\n folded?\r\n");
	teardown();
}

static void
test_remote_tables_wait(void **state)
{
	struct intake_input in;

	(void)state;
	setup("header_checks = lmdb:/nowhere\nbody_checks = lmdb:/nowhere\n");
	in = input();
	check_at_all_splits(&in, SPAN("X-Map: IGNORE\r\nX: y\r\nX-Map: PREPEND A: b\r\n\r\none\r\ntwo"),
	    "X: y\r\na: b\r\nX-Map: PREPEND A: b\r\n\r\none\r\ntwo\r\n");
	expect_log("header checks map lookup problem");
	run_pieces(&in, SPAN(""), SPAN("X-Map: bad\r\n\r\n"), 3);
	assert_int_equal(t.verdict.action, INTAKE_REJECT);
	assert_span(t.verdict.reply, "451 4.3.0 Error: temporary lookup failure");
	teardown();
}

static void
test_extraction(void **state)
{
	struct intake_input in;

	(void)state;
	setup("");
	in = input();
	in.extract_rcpts = true;
	run_pieces(&in, SPAN(""), SPAN("To: a@b, c@d\r\nBcc: e@f\r\nFrom: x@y\r\n\r\n"), 4);
	assert_int_equal(t.e.rcpt_count, 3);
	assert_span(t.e.rcpts[2].addr, "e@f");
	run_pieces(&in, SPAN(""), SPAN("To: a@b\r\nResent-To: c@d\r\n\r\n"), 4);
	assert_int_equal(t.e.rcpt_count, 1);
	assert_span(t.e.rcpts[0].addr, "c@d");
	teardown();
}

static void
test_strictness(void **state)
{
	(void)state;
	setup("strict_7bit_headers=yes\nstrict_8bitmime_body=yes\nstrict_mime_encoding_domain=yes\n"
	    "message_reject_characters=\\0\nmessage_strip_characters=\\007\n");
	check_one("A: \xc3\xa4\r\n\r\n", "");
	assert_span(t.verdict.reply, "550 5.6.0 improper use of 8-bit data in message header");
	assert_true(kit_logged("QID: reject: mime-error improper use of 8-bit data in message header: A: "));
	check_one("\r\n\xc3\xa4\r\n", "\r\n");
	assert_span(t.verdict.reply, "550 5.6.0 improper use of 8-bit data in message body");
	check_one("Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n",
	    "Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n");
	assert_true(t.e.eightbit);
	check_one("\r\na\007b\r\n", "\r\nab\r\n");
	t.verdict.action = INTAKE_ACCEPT;
	{
		struct intake_input in = input();

		run_pieces(&in, SPAN(""), SPAN("\r\na\0b\r\n"), 2);
	}
	assert_int_equal(t.verdict.action, INTAKE_REJECT);
	check_one("Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n",
	    "Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n");
	assert_int_equal(t.verdict.action, INTAKE_REJECT);
	teardown();
}

static void
test_forced_conversion(void **state)
{
	static const char text[] = "From me\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n\r\nx \xc3\xa4\r\ny";
	struct intake_input in;

	(void)state;
	setup("force_mime_input_conversion=yes\nbody_checks=lmdb:/nowhere\n");
	in = input();
	check_at_all_splits(&in, span_str(text),
	    "X-Mailbox-Line: From me\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n\r\nx =C3=A4\r\ny\r\n");
	assert_false(t.e.eightbit);
	teardown();
}

static void
test_undisclosed_recipients(void **state)
{
	(void)state;
	setup("undisclosed_recipients_header=To: nobody in particular:;\n");
	check_one("A: b\r\n\r\n", "A: b\r\nTo: nobody in particular:;\r\n\r\n");
	check_one("Cc: b\r\n\r\n", "Cc: b\r\n\r\n");
	check_one("Bcc: b\r\n\r\n", "To: nobody in particular:;\r\n\r\n");
	teardown();
}

static void
test_tls_required_no(void **state)
{
	(void)state;
	setup("");
	check_one("TLS-Required: No\r\n\r\n", "TLS-Required: No\r\n\r\n");
	assert_true(t.e.tls_optional);
	t.e.requiretls = true;
	check_one("TLS-Required: No\r\n\r\n", "TLS-Required: No\r\n\r\n");
	assert_false(t.e.tls_optional);
	teardown();
}

#define MULTI "Content-Type: multipart/mixed; boundary=bb\r\n"

/* Content under one parameter, and without it. */
static void
test_parameters_of_content(void **state)
{
	static const struct {
		const char *conf, *text, *want, *reply;
	} rows[] = {
		{ "always_add_missing_headers = yes\nmyhostname = mx.example.org\nmyorigin = example.org\n", "To: a@b\r\n\r\n",
		    "To: a@b\r\nMessage-Id: <QID@mx.example.org>\r\nDate: Thu, 20 Nov 2025 10:00:00 +0000 (UTC)\r\nFrom: sender@example.org\r\n\r\n", "" },
		{ "message_drop_headers = x-secret\n", "Bcc: a@b\r\nX-Secret: 1\r\n\r\n", "Bcc: a@b\r\n\r\n", "" },
		{ "cleanup_replace_stray_cr_lf = no\n", "A: b\r\n\r\nd\re\r\n", "A: b\r\n\r\nd\re\r\n", "" },
		{ "body_checks = inline:{ { rej = REJECT body } }\n", "\r\n0123456789\r\nrej\r\n", NULL, "550 5.7.1 body" },
		{ "body_checks = inline:{ { rej = REJECT body } }\nbody_checks_size_limit = 10\n", "\r\n0123456789\r\nrej\r\n",
		    "\r\n0123456789\r\nrej\r\n", "" },
		/* header_checks see MIME headers, unless mime_header_checks have their own */
		{ "header_checks = inline:{ { Content-X: 1 = REJECT head } }\n", "Content-X: 1\r\n\r\n", NULL, "550 5.7.1 head" },
		{ "header_checks = inline:{ { Content-X: 1 = REJECT head } }\nmime_header_checks =\n", "Content-X: 1\r\n\r\n", "Content-X: 1\r\n\r\n", "" },
		{ "mime_header_checks = inline:{ { X: 1 = REJECT part } }\n", MULTI "\r\n--bb\r\nX: 1\r\n\r\n", NULL, "550 5.7.1 part" },
		{ "mime_header_checks = inline:{ { X: 1 = REJECT part } }\ndisable_mime_input_processing = yes\n", MULTI "\r\n--bb\r\nX: 1\r\n\r\n",
		    MULTI "\r\n--bb\r\nX: 1\r\n\r\n", "" },
		{ "nested_header_checks = inline:{ { Subject: in = REJECT nested } }\n", "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n",
		    NULL, "550 5.7.1 nested" },
		{ "header_checks = inline:{ { Subject: in = REJECT head } }\nnested_header_checks =\n", "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n",
		    "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n", "" },
		/* a boundary is compared as far as the limit */
		{ "mime_header_checks = inline:{ { X: 1 = REJECT part } }\nmime_boundary_length_limit = 1\n", MULTI "\r\n--b-other\r\nX: 1\r\n\r\n",
		    NULL, "550 5.7.1 part" },
		{ "strict_7bit_headers = yes\nmime_nesting_limit = 1\n", MULTI "\r\n--bb\r\nContent-Type: multipart/mixed; boundary=cc\r\n\r\n",
		    NULL, "550 5.6.0 MIME nesting exceeds safety limit" },
		{ "strict_8bitmime = yes\n", "A: \xc3\xa4\r\n\r\n", NULL, "550 5.6.0 improper use of 8-bit data in message header" },
		{ "strict_8bitmime = yes\n", "\r\n\xc3\xa4\r\n", NULL, "550 5.6.0 improper use of 8-bit data in message body" },
		{ "remote_header_rewrite_domain = away.example\n", "To: a, b@c.d\r\n\r\n", "To: a@away.example, b@c.d\r\n\r\n", "" },
		{ "remote_header_rewrite_domain = away.example\nheader_address_token_limit = 1\n", "To: a, b\r\n\r\n", NULL, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct intake_input in;

		setup(rows[i].conf);
		in = input();
		run_pieces(&in, SPAN(""), span_str(rows[i].text), 1000);
		if (rows[i].want != NULL && !span_eq(buf_span(&t.out), span_str(rows[i].want)))
			fail_msg("%s%s: got \"%.*s\"", rows[i].conf, rows[i].text, SPAN_ARG(buf_span(&t.out)));
		if (!span_eq(t.verdict.reply, span_str(rows[i].reply)))
			fail_msg("%s%s: reply %.*s", rows[i].conf, rows[i].text, SPAN_ARG(t.verdict.reply));
		if (strstr(rows[i].conf, "token_limit") != NULL)
			assert_true(span_find(buf_span(&t.out), SPAN("b@away.example")) < 0);
		teardown();
	}
}

static void
test_old_form_of_from(void **state)
{
	struct intake_input in;

	(void)state;
	setup("myhostname = mx.example.org\nmyorigin = example.org\nheader_from_format = obsolete\n");
	in = input();
	in.rewrite_headers = true;
	in.full_name = SPAN("Joe User");
	t.e.sender = SPAN("joe");
	run_pieces(&in, SPAN(""), SPAN("Message-Id: <1@x>\r\nDate: x\r\n\r\n"), 100);
	assert_span(buf_span(&t.out), "Message-Id: <1@x>\r\nDate: x\r\nFrom: joe@example.org (Joe User)\r\n\r\n");
	teardown();
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_remote_mail_passes_unchanged),
	KIT_TEST(test_odd_shapes),
	KIT_TEST(test_local_mail_is_completed),
	KIT_TEST(test_header_actions),
	KIT_TEST(test_verdicts),
	KIT_TEST(test_body_actions),
	KIT_TEST(test_limits),
	KIT_TEST(test_long_lines_pass_whole),
	KIT_TEST(test_own_header_comes_first),
	KIT_TEST(test_remote_tables_wait),
	KIT_TEST(test_extraction),
	KIT_TEST(test_strictness),
	KIT_TEST(test_forced_conversion),
	KIT_TEST(test_undisclosed_recipients),
	KIT_TEST(test_tls_required_no),
	KIT_TEST(test_parameters_of_content),
	KIT_TEST(test_old_form_of_from),
};
KIT_MAIN(tests)
