/* XCLIENT and XFORWARD in the server engine, at every split. */
#include <stdio.h>

#include "kit/kit.h"
#include "smtp/server.h"

static const struct smtps_config config = { .hostname = { "mx.example", 10 }, .line_limit = 2048, .hard_error_limit = 100,
	.soft_error_limit = 100, .junk_limit = 100 };

#define GREETING "220 mx.example ESMTP\n"

static const struct {
	const char *name, *in, *want;   /* replies without EHLO's lines, and what was asked and told */
} rows[] = {
	{ "everything of XCLIENT", "XCLIENT NAME=a.example ADDR=192.0.2.1 PORT=7 PROTO=esmtp HELO=h+2Bx LOGIN=u DESTADDR=IPV6:::1 DESTPORT=25 "
	    "REVERSE_NAME=[TEMPUNAVAIL]\r\n",
	    GREETING "X 0=a.example 1=? 2=192.0.2.1 3=7 4=esmtp 5=h+x 6=u 7=::1 8=25\nCONNECT helo=h+x\n" GREETING },
	{ "HELO is forgotten", "EHLO c\r\nXCLIENT ADDR=[UNAVAILABLE]\r\nNOOP\r\n",
	    GREETING "250-\nX 2=-\nCONNECT helo=\n" GREETING "250 2.0.0 Ok\n" },
	{ "twice", "XCLIENT HELO=a\r\nXCLIENT PORT=1\r\n", GREETING "X 5=a\nCONNECT helo=a\n" GREETING "X 3=1\nCONNECT helo=\n" GREETING },
	{ "not in a transaction", "MAIL FROM:<a@x.example>\r\nXCLIENT HELO=a\r\nXFORWARD HELO=a\r\n",
	    GREETING "250 2.1.0 Ok\n503 5.5.1 Error: MAIL transaction in progress\n503 5.5.1 Error: MAIL transaction in progress\n" },
	{ "a bad value changes nothing", "EHLO c\r\nXCLIENT HELO=a PORT=x\r\nMAIL FROM:<a@x.example>\r\n",
	    GREETING "250-\n501 5.5.4 Bad PORT syntax: x\nimproper XCLIENT: Bad PORT syntax: x\n250 2.1.0 Ok\n" },
	{ "XFORWARD holds until a reset", "EHLO c\r\nXFORWARD IDENT=1 SOURCE=LOCAL\r\nRSET\r\nRSET\r\n",
	    GREETING "250-\nX 9=LOCAL 10=1\n250 2.0.0 Ok\n250 2.0.0 Ok\n250 2.0.0 Ok\nresets: 1\n" },
	{ "or a new HELO", "EHLO c\r\nXFORWARD IDENT=1\r\nEHLO d\r\n", GREETING "250-\nX 10=1\n250 2.0.0 Ok\n250-\nresets: 1\n" },
	{ "controls become question marks", "XFORWARD HELO=a+0Ab+0D\r\n", GREETING "X 5=a?b?\n250 2.0.0 Ok\n" },
	{ "the later one counts", "XCLIENT PORT=1 PORT=[UNAVAILABLE]\r\n", GREETING "X 3=-\nCONNECT helo=\n" GREETING },
};

static void
print_x(const struct smtps_x *x, struct buf *out)
{
	buf_add_str(out, "X");
	for (unsigned i = 0; i < SMTPS_X_ATTRS; i++) {
		if (!(x->given & 1u << i))
			continue;
		if (x->value[i].n > 0)
			buf_addf(out, " %u=%.*s", i, SPAN_ARG(x->value[i]));
		else
			buf_addf(out, " %u=%s", i, x->temporary & 1u << i ? "?" : "-");
	}
	buf_addc(out, '\n');
}

static void
take_output(struct smtps *s, struct buf *out)
{
	struct span rest = smtps_output(s), line;
	size_t n = rest.n;

	while (span_cut(rest, '\n', &line, &rest)) {
		line = span_trim(line);
		if (span_starts(line, SPAN("250-")))
			buf_add_str(out, "250-\n");
		else if (!span_starts(line, SPAN("250 CHUNKING")))
			buf_addf(out, "%.*s\n", SPAN_ARG(line));
		while (span_starts(line, SPAN("250-")) && span_cut(rest, '\n', &line, &rest))
			line = span_starts(line, SPAN("250-")) ? SPAN("250-") : SPAN("");
	}
	smtps_output_taken(s, n, 0);
}

static unsigned resets;

static void
drain(struct smtps *s, struct buf *out, bool first)
{
	struct smtps_event ev;

	take_output(s, out);
	while (smtps_next(s, &ev)) {
		if (ev.x != NULL && ev.kind != SMTPS_ASK_CONNECT)
			print_x(ev.x, out);
		if (ev.kind == SMTPS_ASK_CONNECT && !first)
			buf_addf(out, "CONNECT helo=%.*s\n", SPAN_ARG(smtps_helo(s)));
		if (ev.kind == SMTPS_TELL_IMPROPER_X)
			buf_addf(out, "improper %s: %.*s\n", smtps_verb_name(ev.verb), SPAN_ARG(ev.text));
		if (ev.kind == SMTPS_TELL_RESET)
			resets++;
		if (ev.kind < SMTPS_TELL_RESET)
			smtps_accept(s, ev.id, SPAN(""), 0);
		take_output(s, out);
	}
}

static void
dialogues_at_every_split(void **state)
{
	const struct smtps_client client = { .xclient = true, .xforward = true };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step <= strlen(rows[i].in); step += step < 4 ? 1 : 13) {
			struct smtps *s = smtps_new(&config, 0);
			struct span in = span_str(rows[i].in);
			struct buf out;

			resets = 0;
			buf_init(&out, 1 << 16);
			smtps_set_client(s, &client);
			drain(s, &out, true);
			for (; in.n > 0; in = span_from(in, step)) {
				smtps_feed(s, span_slice(in, 0, step), 0);
				drain(s, &out, false);
			}
			if (resets > 0)
				buf_addf(&out, "resets: %u\n", resets);
			if (strcmp(buf_cstr(&out), rows[i].want) != 0)
				fail_msg("%s (by %zu):\n%s", rows[i].name, step, buf_cstr(&out));
			buf_release(&out);
			smtps_free(&s);
		}
}

static void
strangers_are_refused(void **state)
{
	const struct smtps_client client = { .xclient = false };
	struct smtps *s = smtps_new(&config, 0);
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 16);
	smtps_set_client(s, &client);
	drain(s, &out, true);
	smtps_feed(s, SPAN("EHLO c\r\n"), 0);
	assert_true(span_find(smtps_output(s), SPAN("XCLIENT")) < 0);
	drain(s, &out, false);
	assert_true(span_find(smtps_output(s), SPAN("XFORWARD")) < 0);
	buf_clear(&out);
	smtps_feed(s, SPAN("XCLIENT ADDR=192.0.2.1\r\nXFORWARD NONSENSE\r\n"), 0);
	drain(s, &out, false);
	assert_string_equal(buf_cstr(&out), "550 5.7.0 Error: insufficient authorization\n550 5.7.0 Error: insufficient authorization\n"
	    "improper XCLIENT: \nimproper XFORWARD: \n");
	buf_release(&out);
	smtps_free(&s);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(dialogues_at_every_split),
	KIT_TEST(strangers_are_refused),
};

KIT_MAIN(tests)
