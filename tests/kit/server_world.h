/* A peer of the server engine that answers its questions and keeps what it says. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "kit/kit.h"
#include "smtp/server.h"
#include "smtp/server_private.h"

#define IDS 64

/* A peer that answers: accepts unless the address begins with "no". */
struct peer {
	struct smtps *s;
	struct buf out, content, news;
	int64_t now_us;
	bool late;              /* keep questions until answer_all() */
	bool quiet;             /* early input is no news */
	bool closed;
	enum smtps_why why;
	struct { uint32_t id; enum smtps_event_kind kind; bool refuse; } kept[IDS];
	size_t n_kept;
	const struct smtps_reply *data_reply, *eom_reply, *helo_reply, *connect_reply;
};

static inline struct smtps_config
config(void)
{
	return (struct smtps_config){ .hostname = SPAN("mx.example"), .noop_commands = SPAN(""),
		.size_limit = 1000, .line_limit = 2048, .rcpt_limit = 3, .rcpt_overshoot_limit = 1,
		.soft_error_limit = 10, .hard_error_limit = 20, .junk_limit = 100, .error_sleep_us = 1000000,
		.bare_lf_code = 550, .smtputf8 = true, .forbid_pipelining = true, .replace_stray_cr = true };
}

static const struct smtps_reply refused = { 554, "5.7.1", { "no", 2 }, false, 0 };

static inline void
answer(struct peer *p, uint32_t id, enum smtps_event_kind kind, bool refuse)
{
	const struct smtps_reply *r = refuse ? &refused : NULL;

	if (kind == SMTPS_ASK_DATA && p->data_reply != NULL)
		r = p->data_reply;
	if (kind == SMTPS_ASK_EOM && p->eom_reply != NULL)
		r = p->eom_reply;
	if (kind == SMTPS_ASK_HELO && p->helo_reply != NULL)
		r = p->helo_reply;
	if (kind == SMTPS_ASK_CONNECT && p->connect_reply != NULL)
		r = p->connect_reply;
	if (r != NULL)
		smtps_refuse(p->s, id, r, p->now_us);
	else
		smtps_accept(p->s, id, kind == SMTPS_ASK_EOM ? SPAN("queued as QID") : SPAN(""), p->now_us);
}

static inline void
note(struct peer *p, const struct smtps_event *ev)
{
	static const char *const names[] = { [SMTPS_TELL_RESET] = "reset", [SMTPS_TELL_PIPELINING] = "early",
		[SMTPS_TELL_DISCARD] = "discard", [SMTPS_TELL_BARE_LF] = "bare", [SMTPS_TELL_IMPROPER_X] = "improper", [SMTPS_TELL_NOTICE] = "notice", [SMTPS_TELL_CLOSE] = "close" };

	if (!p->quiet || ev->kind != SMTPS_TELL_PIPELINING)
		buf_addf(&p->news, "%s %d %.*s\n", names[ev->kind], (int)ev->why, SPAN_ARG(ev->text));
	if (ev->kind == SMTPS_TELL_RESET)
		buf_clear(&p->content);
	if (ev->kind == SMTPS_TELL_CLOSE) {
		p->closed = true;
		p->why = ev->why;
	}
}

/* One event; true when something happened. */
static inline bool
one_event(struct peer *p)
{
	struct smtps_event ev;
	bool refuse;

	if (!smtps_next(p->s, &ev))
		return false;
	if (ev.kind >= SMTPS_TELL_RESET) {
		note(p, &ev);
		return true;
	}
	refuse = (ev.kind == SMTPS_ASK_RCPT && span_starts(ev.rcpt.to, SPAN("no"))) ||
	    (ev.kind == SMTPS_ASK_MAIL && span_starts(ev.mail->from, SPAN("no")));
	if (!p->late) {
		answer(p, ev.id, ev.kind, refuse);
		return true;
	}
	assert_true(p->n_kept < IDS);
	p->kept[p->n_kept].id = ev.id;
	p->kept[p->n_kept].kind = ev.kind;
	p->kept[p->n_kept++].refuse = refuse;
	return true;
}

static inline void
drain(struct peer *p)
{
	bool moved = true;

	while (moved) {
		struct span c = smtps_content(p->s);

		moved = one_event(p);
		c = smtps_content(p->s);
		if (c.n > 0) {
			buf_add_span(&p->content, c);
			smtps_content_taken(p->s, c.n, p->now_us);
			moved = true;
		}
		c = smtps_output(p->s);
		if (c.n > 0) {
			buf_add_span(&p->out, c);
			smtps_output_taken(p->s, c.n, p->now_us);
			moved = true;
		}
		if (smtps_wake_us(p->s) != INT64_MAX) {
			p->now_us = smtps_wake_us(p->s);
			smtps_tick(p->s, p->now_us);
			moved = true;
		}
	}
}

/* Answers in reverse order, as the slowest lookup comes first. */
static inline void
answer_all(struct peer *p)
{
	while (p->n_kept > 0) {
		p->n_kept--;
		answer(p, p->kept[p->n_kept].id, p->kept[p->n_kept].kind, p->kept[p->n_kept].refuse);
	}
	drain(p);
}

static inline void
peer_open(struct peer *p, const struct smtps_config *c, const struct smtps_client *cl)
{
	static const struct smtps_client plain = { .bare_lf = SMTPS_BARE_LF_NORMALIZE };

	p->s = smtps_new(c, 0);
	buf_init(&p->out, 1 << 20);
	buf_init(&p->content, 1 << 20);
	buf_init(&p->news, 1 << 20);
	smtps_set_client(p->s, cl != NULL ? cl : &plain);
	drain(p);
}

static inline void
peer_close(struct peer *p)
{
	smtps_free(&p->s);
	buf_release(&p->out);
	buf_release(&p->content);
	buf_release(&p->news);
}

static inline void
feed(struct peer *p, struct span bytes)
{
	while (bytes.n > 0 && smtps_wants_input(p->s)) {
		struct span piece = span_slice(bytes, 0, 16384);

		smtps_feed(p->s, piece, p->now_us);
		drain(p);
		bytes = span_from(bytes, piece.n);
	}
}

/* Feed `in` in pieces cut at `cut`, then every `step` bytes; the whole transcript goes to `all`. */
static inline void
run(const struct smtps_config *c, const struct smtps_client *cl, struct span in, size_t cut, size_t step, struct buf *all)
{
	struct peer p = { .quiet = !c->forbid_pipelining };

	peer_open(&p, c, cl);
	feed(&p, span_slice(in, 0, cut));
	in = span_from(in, cut);
	while (in.n > 0) {
		feed(&p, span_slice(in, 0, step));
		in = span_from(in, step);
	}
	smtps_eof(p.s, p.now_us);
	drain(&p);
	buf_add_span(all, buf_span(&p.out));
	buf_addf(all, "--content--\n%.*s--news--\n%.*s", SPAN_ARG(buf_span(&p.content)), SPAN_ARG(buf_span(&p.news)));
	peer_close(&p);
}

#define HELLO "220 mx.example ESMTP\r\n"
#define EHLO_REPLY                                                                             \
	"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-VRFY\r\n250-ETRN\r\n"        \
	"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
#define EHLO "EHLO c.example\r\n"
#define TX EHLO "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n"
#define TX_REPLY HELLO EHLO_REPLY "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"
#define R354 "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED "250 2.0.0 Ok: queued as QID\r\n"
#define BYE "221 2.0.0 Bye\r\n"
