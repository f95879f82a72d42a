/* Fuzz target: any bytes in any split, any answers; content lines stay CRLF and replies stay well-formed. */
#include <stdlib.h>

#include "base/arena.h"
#include "base/panic.h"
#include "smtp/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct smtps_config config = { .hostname = { "mx.example", 10 }, .noop_commands = { "XNOOP", 5 },
	.size_limit = 5000, .line_limit = 512, .rcpt_limit = 5, .rcpt_overshoot_limit = 2, .soft_error_limit = 50,
	.hard_error_limit = 100, .junk_limit = 50, .error_sleep_us = 1000, .bare_lf_code = 550, .smtputf8 = true, .auth_line_limit = 100,
	.replace_stray_cr = true };

/* The low bits of `dice` decide what the owner says. */
static void
answer(struct smtps *s, const struct smtps_event *ev, unsigned dice)
{
	const struct smtps_reply no = { 450 + (dice & 1) * 100, "5.7.1", { "no\nreally", 9 }, (dice & 30) == 30 };

	const struct smtps_auth auth = { .mechs = { "PLAIN X", 7 }, .enabled = (dice & 3) != 3, .equals_form = dice & 4 };

	if (ev->id == 0)
		return;
	if (ev->kind == SMTPS_ASK_HELO)
		smtps_set_auth(s, &auth);
	if ((dice & 7) == 7)
		smtps_refuse(s, ev->id, &no, 0);
	else if ((ev->kind == SMTPS_ASK_AUTH || ev->kind == SMTPS_ASK_AUTH_RESPONSE) && (dice & 3) != 0)
		smtps_challenge(s, ev->id, SPAN("QUJD"), 0);
	else
		smtps_accept(s, ev->id, SPAN("text"), 0);
	if (ev->kind == SMTPS_ASK_STARTTLS && (dice & 7) != 7)
		smtps_tls_started(s, 0);
}

/* Filters and footers that make something of everything. */
static enum smtps_edit_result
edit_command(void *ctx, struct span line, struct arena *a, struct span *line_r)
{
	(void)ctx;
	*line_r = arena_printf(a, "%.*s%.*s", SPAN_ARG(span_from(line, 1)), SPAN_ARG(line));
	return (enum smtps_edit_result)(line.n % 3);
}

static bool
edit_reply(void *ctx, struct span reply, struct arena *a, struct span *reply_r)
{
	(void)ctx;
	(void)a;
	*reply_r = span_from(reply, reply.n % 5);
	return reply.n % 2;
}

static struct span
edit_footer(void *ctx, struct span reply, struct arena *a)
{
	(void)ctx;
	return reply.n % 3 == 0 ? SPAN("") : arena_printf(a, "%s%.*s\\n\\", reply.n % 3 == 1 ? "\\c" : "", SPAN_ARG(reply));
}

static void
check_content(struct span c, char *last)
{
	for (size_t i = 0; i < c.n; i++) {
		ensure(c.p[i] != '\n' || *last == '\r');
		*last = c.p[i];
	}
}

static void
drain(struct smtps *s, unsigned dice, char *last)
{
	struct smtps_event ev;

	while (smtps_next(s, &ev))
		answer(s, &ev, dice++);
	while (smtps_content(s).n > 0 || smtps_output(s).n > 0) {
		check_content(smtps_content(s), last);
		smtps_content_taken(s, smtps_content(s).n, 0);
		smtps_output_taken(s, smtps_output(s).n, 0);
		if (smtps_wake_us(s) != INT64_MAX)
			smtps_tick(s, smtps_wake_us(s));
		while (smtps_next(s, &ev))
			answer(s, &ev, dice++);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtps *s = smtps_new(&config, 0);
	struct smtps_client cl = { .bare_lf = SMTPS_BARE_LF_NORMALIZE };
	struct span in = span_of(data, size);
	char last = '\0';

	if (in.n > 0) {
		cl.bare_lf = (enum smtps_bare_lf)(data[0] & 3);
		cl.tls_enabled = cl.tls_offered = data[0] & 4;
		cl.discard = (data[0] & 8) ? SMTPS_KW_CHUNKING | SMTPS_KW_ENHANCEDSTATUSCODES : 0;
		cl.xclient = cl.xforward = cl.verp = data[0] & 16;
		if (data[0] & 32)
			smtps_set_edit(s, &(struct smtps_edit){ edit_command, edit_reply, edit_footer, NULL });
		in = span_from(in, 1);
	}
	smtps_set_client(s, &cl);
	drain(s, 0, &last);
	while (in.n > 0 && smtps_wants_input(s)) {
		unsigned step = (unsigned char)in.p[0];
		struct span piece = span_slice(in, 0, step % 64 + 1);

		smtps_feed(s, piece, 0);
		drain(s, step >> 3, &last);
		in = span_from(in, piece.n);
	}
	smtps_eof(s, 0);
	smtps_free(&s);
	return 0;
}
