/* AUTH in the server engine: RFC 4954's exchanges whole and in every split, order, limits, and what is wiped or withheld. */
#include <stdio.h>

#include "kit/kit.h"
#include "smtp/server.h"
#include "smtp/server_private.h"

#define HELLO "220 mx.example ESMTP\r\n"
#define EHLO_AUTH                                                                                             \
	"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-VRFY\r\n250-ETRN\r\n250-AUTH PLAIN LOGIN\r\n" \
	"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
#define EHLO "EHLO c.example\r\n"
#define OK235 "235 2.7.0 Authentication successful\r\n"
#define U334 "334 VXNlcm5hbWU6\r\n"
#define P334 "334 UGFzc3dvcmQ6\r\n"

static const struct smtps_config config = { .hostname = { "mx.example", 10 }, .size_limit = 1000, .line_limit = 512,
	.rcpt_limit = 5, .soft_error_limit = 50, .hard_error_limit = 100, .junk_limit = 50, .bare_lf_code = 550,
	.smtputf8 = true, .auth_line_limit = 600 };

/* An owner with two mechanisms; am9l is joe, everything else is nobody. */
struct owner {
	struct smtps *s;
	struct buf out, told;
	unsigned step;
	bool clear_only;                /* tls_only, and no TLS: for that test */
};

static void
answer_auth(struct owner *o, const struct smtps_event *ev)
{
	static const struct smtps_reply no = { 535, "5.7.8", { "Error: authentication failed: no", 32 }, false, 0 },
		unknown = { 504, "5.5.4", { "Error: unknown", 14 }, false, 0 };

	if (ev->kind == SMTPS_ASK_AUTH)
		o->step = 0;
	buf_addf(&o->told, "%s %.*s%s%.*s\n", ev->kind == SMTPS_ASK_AUTH ? "auth" : "response", SPAN_ARG(ev->mech),
	    ev->initial ? " " : " - ", SPAN_ARG(ev->text));
	if (span_eq_ci(ev->mech, SPAN("LOGIN")) && o->step < 2) {
		smtps_challenge(o->s, ev->id, o->step++ == 0 ? SPAN("VXNlcm5hbWU6") : SPAN("UGFzc3dvcmQ6"), 0);
	} else if (span_eq_ci(ev->mech, SPAN("PLAIN")) && !ev->initial && o->step++ == 0) {
		smtps_challenge(o->s, ev->id, SPAN(""), 0);
	} else if (!span_eq_ci(ev->mech, SPAN("LOGIN")) && !span_eq_ci(ev->mech, SPAN("PLAIN"))) {
		smtps_refuse(o->s, ev->id, &unknown, 0);
	} else if (span_eq(ev->text, SPAN("am9l"))) {
		smtps_accept(o->s, ev->id, SPAN(""), 0);
	} else {
		smtps_refuse(o->s, ev->id, &no, 0);
	}
}

static void
take(struct owner *o, const struct smtps_event *ev)
{
	const struct smtps_auth a = { .mechs = SPAN("PLAIN LOGIN"), .enabled = true, .tls_only = o->clear_only };

	if (ev->kind == SMTPS_ASK_AUTH || ev->kind == SMTPS_ASK_AUTH_RESPONSE) {
		answer_auth(o, ev);
		return;
	}
	if (ev->kind == SMTPS_ASK_HELO)
		smtps_set_auth(o->s, &a);
	if (ev->kind == SMTPS_TELL_AUTH_END)
		buf_addf(&o->told, "end: %.*s\n", SPAN_ARG(ev->text));
	if (ev->kind == SMTPS_TELL_PIPELINING)
		buf_addf(&o->told, "early: %.*s\n", SPAN_ARG(ev->text));
	if (ev->kind == SMTPS_TELL_CLOSE)
		buf_addf(&o->told, "close %d %s\n", (int)ev->why, smtps_where(o->s));
	if (ev->id != 0)
		smtps_accept(o->s, ev->id, SPAN(""), 0);
	if (ev->kind == SMTPS_ASK_STARTTLS)
		smtps_tls_started(o->s, 0);
}

static void
drain(struct owner *o)
{
	struct smtps_event ev;

	while (smtps_next(o->s, &ev))
		take(o, &ev);
	buf_add_span(&o->out, smtps_output(o->s));
	smtps_output_taken(o->s, smtps_output(o->s).n, 0);
	while (smtps_next(o->s, &ev))
		take(o, &ev);
}

static void
owner_open(struct owner *o, const struct smtps_config *c, const struct smtps_client *cl)
{
	*o = (struct owner){ .s = smtps_new(c, 0) };
	buf_init(&o->out, 1u << 20);
	buf_init(&o->told, 1u << 20);
	smtps_set_client(o->s, cl);
	drain(o);
}

static void
owner_close(struct owner *o)
{
	smtps_free(&o->s);
	buf_release(&o->out);
	buf_release(&o->told);
}

static void
feed(struct owner *o, struct span in, size_t step)
{
	for (; in.n > 0 && smtps_wants_input(o->s); in = span_from(in, step)) {
		smtps_feed(o->s, span_slice(in, 0, step), 0);
		drain(o);
	}
}

static const struct dialogue {
	const char *name, *in, *out, *told;
} dialogues[] = {
	{ "an initial response", EHLO "AUTH PLAIN am9l\r\nAUTH PLAIN am9l\r\n", HELLO EHLO_AUTH OK235 "503 5.5.1 Error: already authenticated\r\n",
	    "auth PLAIN am9l\nclose 4 AUTH\n" },
	{ "an empty challenge", EHLO "AUTH plain\r\nam9l\r\n", HELLO EHLO_AUTH "334 \r\n" OK235, "auth plain - \nresponse plain - am9l\nclose 4 AUTH\n" },
	{ "an empty initial response is none of the missing ones", EHLO "AUTH PLAIN =\r\n",
	    HELLO EHLO_AUTH "535 5.7.8 Error: authentication failed: no\r\n", "auth PLAIN \nclose 4 AUTH\n" },
	{ "two challenges", EHLO "AUTH LOGIN\r\nYW5u\r\nam9l\r\nNOOP\r\n", HELLO EHLO_AUTH U334 P334 OK235 "250 2.0.0 Ok\r\n",
	    "auth LOGIN - \nresponse LOGIN - YW5u\nresponse LOGIN - am9l\nclose 4 NOOP\n" },
	{ "empty responses are responses", EHLO "AUTH LOGIN\r\n\r\n\r\n", HELLO EHLO_AUTH U334 P334 "535 5.7.8 Error: authentication failed: no\r\n",
	    "auth LOGIN - \nresponse LOGIN - \nresponse LOGIN - \nclose 4 AUTH\n" },
	{ "the client aborts", EHLO "AUTH LOGIN\r\n*\r\nNOOP\r\n", HELLO EHLO_AUTH U334 "501 5.7.0 Authentication aborted\r\n250 2.0.0 Ok\r\n",
	    "auth LOGIN - \nend: aborted by the client\nclose 4 NOOP\n" },
	{ "a response that is no base64", EHLO "AUTH LOGIN\r\nQUIT!\r\n", HELLO EHLO_AUTH U334 "501 5.5.2 Error: the response is not base64\r\n",
	    "auth LOGIN - \nend: response is not base64\nclose 4 AUTH\n" },
	{ "commands in the place of a response are not run", EHLO "AUTH LOGIN\r\nRSET\r\nam9l\r\n", HELLO EHLO_AUTH U334 P334 OK235,
	    "auth LOGIN - \nresponse LOGIN - RSET\nresponse LOGIN - am9l\nclose 4 AUTH\n" },
	{ "syntax", EHLO "AUTH\r\nAUTH PLAIN a\r\nAUTH PLAIN am9l am9l\r\nAUTH PL/AIN\r\nAUTH NOPE\r\n",
	    HELLO EHLO_AUTH "501 5.5.4 Syntax: AUTH mechanism\r\n501 5.5.2 Error: the initial response is not base64\r\n"
	    "501 5.5.4 Syntax: AUTH mechanism\r\n501 5.5.4 Syntax: AUTH mechanism\r\n504 5.5.4 Error: unknown\r\n",
	    "auth NOPE - \nclose 4 AUTH\n" },
	{ "order", "AUTH PLAIN am9l\r\n" EHLO "MAIL FROM:<a@x>\r\nAUTH PLAIN am9l\r\nRSET\r\nAUTH PLAIN am9l\r\n",
	    HELLO "503 5.5.1 Error: send HELO/EHLO first\r\n" EHLO_AUTH "250 2.1.0 Ok\r\n503 5.5.1 Error: MAIL transaction in progress\r\n"
	    "250 2.0.0 Ok\r\n" OK235, "auth PLAIN am9l\nclose 4 AUTH\n" },
	{ "lost between two lines", EHLO "AUTH LOGIN\r\n", HELLO EHLO_AUTH U334, "auth LOGIN - \nclose 4 AUTH\n" },
	{ "lost within a response", EHLO "AUTH LOGIN\r\nYW5", HELLO EHLO_AUTH U334, "auth LOGIN - \nclose 4 AUTH\n" },
};

static void
test_dialogues(void **state)
{
	static const struct smtps_client plain = { .bare_lf = SMTPS_BARE_LF_NORMALIZE };

	(void)state;
	for (size_t i = 0; i < sizeof(dialogues) / sizeof(dialogues[0]); i++) {
		const struct dialogue *d = &dialogues[i];

		for (size_t step = 1; step <= 20; step++) {
			struct owner o;

			owner_open(&o, &config, &plain);
			feed(&o, span_str(d->in), step);
			smtps_eof(o.s, 0);
			drain(&o);
			/* Input in one piece is early input: told, but not refused in this configuration. */
			if (strstr(buf_cstr(&o.told), "early") == NULL && strcmp(buf_cstr(&o.told), d->told) != 0)
				fail_msg("%s: told \"%s\"", d->name, buf_cstr(&o.told));
			if (strcmp(buf_cstr(&o.out), d->out) != 0)
				fail_msg("%s in pieces of %zu: \"%s\"", d->name, step, buf_cstr(&o.out));
			owner_close(&o);
		}
	}
}

static void
test_not_for_everybody(void **state)
{
	static const struct smtps_client plain = { 0 }, hidden = { .discard = SMTPS_KW_AUTH | SMTPS_KW_SILENT };
	struct owner o;

	(void)state;
	owner_open(&o, &config, &plain);
	o.clear_only = true;
	feed(&o, SPAN(EHLO), 1);
	assert_null(strstr(buf_cstr(&o.out), "AUTH"));
	feed(&o, SPAN("AUTH PLAIN am9l\r\n"), 1);
	assert_non_null(strstr(buf_cstr(&o.out), "504 5.5.4 Encryption required for requested authentication mechanism\r\n"));
	owner_close(&o);
	owner_open(&o, &config, &hidden);
	feed(&o, SPAN(EHLO "AUTH PLAIN am9l\r\n"), 1);
	assert_null(strstr(buf_cstr(&o.out), "250-AUTH"));
	assert_non_null(strstr(buf_cstr(&o.out), "503 5.5.1 Error: authentication not enabled\r\n"));
	owner_close(&o);
}

static void
test_starttls_forgets(void **state)
{
	static const struct smtps_client tls = { .tls_enabled = true, .tls_offered = true };
	struct owner o;

	(void)state;
	owner_open(&o, &config, &tls);
	feed(&o, SPAN(EHLO "AUTH PLAIN am9l\r\n"), 1);
	assert_true(smtps_authenticated(o.s));
	feed(&o, SPAN("STARTTLS\r\n"), 1);
	assert_false(smtps_authenticated(o.s));
	buf_clear(&o.out);
	feed(&o, SPAN("AUTH PLAIN am9l\r\n" EHLO "AUTH PLAIN am9l\r\n"), 1);
	assert_string_equal(buf_cstr(&o.out), "503 5.5.1 Error: send HELO/EHLO first\r\n" EHLO_AUTH OK235);
	owner_close(&o);
}

static void
test_limits(void **state)
{
	static const struct smtps_client plain = { .bare_lf = SMTPS_BARE_LF_REJECT };
	static char line[2000];

	(void)state;
	memset(line, 'A', sizeof(line));
	for (size_t step = 1; step <= 2000; step += 333) {
		struct owner o;

		owner_open(&o, &config, &plain);
		feed(&o, SPAN(EHLO "AUTH LOGIN\r\n"), 1);
		feed(&o, span_of(line, 600), step);
		feed(&o, SPAN("\r\n"), step);
		assert_non_null(strstr(buf_cstr(&o.out), U334 P334));
		feed(&o, span_of(line, 2000), step);
		assert_true(smtps_wants_input(o.s));
		feed(&o, SPAN("\r\nNOOP\r\n"), step);
		assert_non_null(strstr(buf_cstr(&o.out), P334 "500 5.5.6 Error: the response is too long\r\n250 2.0.0 Ok\r\n"));
		assert_non_null(strstr(buf_cstr(&o.told), "end: SASL response limit exceeded"));
		feed(&o, SPAN("AUTH LOGIN\r\nam9l\n"), 1);
		assert_non_null(strstr(buf_cstr(&o.out), U334 "550 5.5.2 mx.example Error: bare <LF> received\r\n"));
		owner_close(&o);
	}
}

/* The limit of a response may be far above what is usually buffered. */
static void
test_long_response(void **state)
{
	static const struct smtps_client plain = { 0 };
	struct smtps_config c = config;
	static char line[SMTPS_FEED_MAX];
	struct owner o;

	(void)state;
	c.auth_line_limit = SMTPS_AUTH_LINE_MAX;
	memset(line, 'A', sizeof(line));
	owner_open(&o, &c, &plain);
	feed(&o, SPAN(EHLO "AUTH LOGIN\r\n"), 1);
	for (unsigned i = 0; i < 2; i++) {
		feed(&o, span_of(line, SMTPS_AUTH_LINE_MAX), 5000);
		feed(&o, SPAN("\r\n"), 2);
	}
	assert_non_null(strstr(buf_cstr(&o.out), P334 "535 5.7.8"));
	/* As much as may be waiting, and as much as may come at once on top of it. */
	feed(&o, SPAN("AUTH LOGIN\r\n"), 12);
	feed(&o, span_of(line, SMTPS_AUTH_LINE_MAX + 1), SMTPS_FEED_MAX);
	assert_true(smtps_wants_input(o.s));
	feed(&o, span_of(line, SMTPS_FEED_MAX), SMTPS_FEED_MAX);
	feed(&o, SPAN("\r\n"), 2);
	assert_non_null(strstr(buf_cstr(&o.out), U334 "500 5.5.6"));
	owner_close(&o);
}

static void
test_withheld(void **state)
{
	static const struct smtps_client plain = { 0 };
	struct smtps_config c = config;
	struct owner o;

	(void)state;
	c.forbid_pipelining = true;
	owner_open(&o, &c, &plain);
	feed(&o, SPAN(EHLO), 100);
	feed(&o, SPAN("AUTH LOGIN\r\nc2VjcmV0\r\n"), 100);
	assert_non_null(strstr(buf_cstr(&o.told), "early: (withheld)\n"));
	assert_non_null(strstr(buf_cstr(&o.out), "554 5.5.0 Error: SMTP protocol synchronization"));
	owner_close(&o);
	owner_open(&o, &c, &plain);
	feed(&o, SPAN(EHLO "auth PLAIN c2VjcmV0\r\n"), 100);
	assert_non_null(strstr(buf_cstr(&o.told), "early: AUTH (withheld)\n"));
	assert_null(strstr(buf_cstr(&o.told), "c2VjcmV0"));
	owner_close(&o);
}

/* What was read of a password is not in the input buffer any more. */
static void
test_wiped(void **state)
{
	static const struct smtps_client plain = { 0 };
	struct owner o;

	(void)state;
	owner_open(&o, &config, &plain);
	feed(&o, SPAN(EHLO "AUTH LOGIN\r\n"), 1);
	feed(&o, SPAN("c2VjcmV0"), 3);
	assert_int_equal(o.s->in.n, 8);
	/* What is behind it keeps the buffer alive. */
	feed(&o, SPAN("\r\nYW"), 4);
	assert_non_null(strstr(buf_cstr(&o.out), P334));
	assert_int_equal(o.s->in.n, 2);
	assert_true(o.s->in.cap > 10);
	assert_true(span_find(span_of(o.s->in.p, o.s->in.cap), SPAN("VjcmV0")) < 0);
	for (size_t k = 2; k < 10; k++)
		assert_int_equal(o.s->in.p[k], 0);
	owner_close(&o);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_dialogues),
	KIT_TEST(test_not_for_everybody),
	KIT_TEST(test_starttls_forgets),
	KIT_TEST(test_limits),
	KIT_TEST(test_long_response),
	KIT_TEST(test_withheld),
	KIT_TEST(test_wiped),
};
KIT_MAIN(tests)
