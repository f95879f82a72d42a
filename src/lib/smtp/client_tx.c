/*
 * A transaction: RSET if the last one was left open, MAIL, RCPT for each recipient, DATA and the dot
 * or BDAT. What may be sent before an answer came is one rule (may_send); what an answer means is one
 * function per step.
 */
#include <stdio.h>

#include "base/panic.h"
#include "smtp/client_private.h"

/* Commands waiting to be written: more are rendered when these have left. */
#define OUT_MARK ((size_t)32 * 1024)
/* Content up to this size goes out by BDAT before the answers to RCPT are known: it saves a round trip. */
#define EAGER_MAX ((uint64_t)32 * 1024)

static bool
before(struct smtpc_cursor a, struct smtpc_cursor b)
{
	return a.step != b.step ? a.step < b.step : a.i < b.i;
}

static bool
outstanding(const struct smtpc *c)
{
	return before(c->recv, c->send);
}

static bool
has_cap(const struct smtpc *c, unsigned bit)
{
	return (c->caps.bits & bit) != 0;
}

/* Control bytes in an address or parameter would be a second command. */
static bool
safe(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 32 || s.p[i] == 127)
			return false;
	return true;
}

static void
refuse(struct smtpc *c, struct smtpc_rcpt *r, enum smtpc_step at, const char *dsn, struct span text)
{
	r->outcome = SMTPC_REFUSED;
	r->at = at;
	r->text = text;
	r->code = c->reply.code;
	r->reply = SPAN("");
	snprintf(r->dsn, sizeof(r->dsn), "%s", dsn);
}

/* How the answer to a step is named in texts. */
static const char *
command_name(enum smtpc_step step)
{
	if (step == SMTPC_RCPT)
		return "RCPT TO command";
	if (step == SMTPC_DATA)
		return "DATA command";
	if (step == SMTPC_MAIL)
		return "MAIL FROM command";
	if (step == SMTPC_RSET)
		return "RSET command";
	return "end of DATA command";
}

/* The reply as one line for texts; at most 1 kB. */
static struct span
one_line(struct arena *a, struct span text)
{
	struct span s = span_slice(text, 0, 1024);
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		if (p[i] == '\n')
			p[i] = ' ';
	return span_of(p, s.n);
}

/* Every recipient with `outcome` is refused with the reply at hand. */
static void
refuse_all(struct smtpc *c, enum smtpc_outcome outcome, enum smtpc_step at)
{
	struct smtpc_tx *tx = c->tx;
	struct span reply = one_line(tx->arena, c->reply.text);
	struct span text = arena_printf(tx->arena, "host %s said: %.*s (in reply to %s)", c->opt.peer,
	    SPAN_ARG(reply), command_name(at));
	char dsn[10];

	smtpc_note_refusal(c);
	snprintf(dsn, sizeof(dsn), "%s", c->reply.dsn);
	if (c->reply.code < 400)        /* an answer that fits no step: try again later */
		snprintf(dsn, sizeof(dsn), "4.5.0");
	for (size_t i = 0; i < tx->n_rcpts; i++) {
		if (tx->rcpts[i].outcome != outcome)
			continue;
		refuse(c, &tx->rcpts[i], at, dsn, text);
		tx->rcpts[i].reply = reply;
	}
}

/* Recipients and senders that cannot be written as a command are refused here, for good. */
static void
refuse_unsafe(struct smtpc *c)
{
	struct smtpc_tx *tx = c->tx;
	bool sender_ok = safe(tx->sender) && safe(tx->envid) && safe(tx->ret);

	c->reply = (struct smtp_reply){ 0 };
	for (size_t i = 0; i < tx->n_rcpts; i++) {
		struct smtpc_rcpt *r = &tx->rcpts[i];

		r->asked = false;
		if (r->outcome == SMTPC_ACCEPTED)       /* by a session that failed later */
			r->outcome = SMTPC_PENDING;
		if (r->outcome != SMTPC_PENDING)
			continue;
		if (!sender_ok)
			refuse(c, r, SMTPC_MAIL, "5.1.7", SPAN("sender address has control characters"));
		else if (!safe(r->addr) || !safe(r->notify) || !safe(r->orcpt))
			refuse(c, r, SMTPC_RCPT, "5.1.3", SPAN("recipient address has control characters"));
	}
}

/* The send cursor's recipient: on to the next one that still has to be asked. */
static void
skip_settled(struct smtpc *c)
{
	while (c->send.i < c->tx->n_rcpts && c->tx->rcpts[c->send.i].outcome != SMTPC_PENDING)
		c->send.i++;
	if (c->send.i >= c->tx->n_rcpts)
		c->send = (struct smtpc_cursor){ c->bdat ? SMTPC_CHUNK : SMTPC_DATA, 0 };
}

static bool
anyone_pending(const struct smtpc_tx *tx)
{
	for (size_t i = 0; i < tx->n_rcpts; i++)
		if (tx->rcpts[i].outcome == SMTPC_PENDING)
			return true;
	return false;
}

/* The step behind RSET and the first `done` commands XFORWARD. */
static struct smtpc_cursor
behind_reset(const struct smtpc *c, size_t done)
{
	return (struct smtpc_cursor){ done < c->n_xforward ? SMTPC_XFORWARD : SMTPC_MAIL, done < c->n_xforward ? done : 0 };
}

void
smtpc_begin(struct smtpc *c, struct smtpc_tx *tx, int64_t now_us)
{
	ensure(smtpc_idle(c));
	c->tx = tx;
	c->transcript.muted = tx->notice;
	c->accepted = c->chunks_sent = 0;
	c->piece = c->xforward_said = SPAN("");
	c->content = SMTPC_CONTENT_NONE;
	c->cut = c->ends_cr = false;
	c->line_start = c->ends_crlf = true;
	c->bdat = tx->exact && has_cap(c, SMTPC_CAP_CHUNKING);
	refuse_unsafe(c);
	c->request_us = c->active_us = now_us;
	c->send = c->recv = (struct smtpc_cursor){ SMTPC_END, 0 };
	if (!anyone_pending(tx))
		return;
	c->uses++;
	smtpc_xforward_plan(c);
	c->send = c->recv = c->must_reset ? (struct smtpc_cursor){ SMTPC_RSET, 0 } : behind_reset(c, 0);
}

static void
render_mail(struct smtpc *c)
{
	const struct smtpc_tx *tx = c->tx;
	struct buf *b = &c->out;

	buf_addf(b, "MAIL FROM:<%.*s>", SPAN_ARG(tx->sender));
	if (has_cap(c, SMTPC_CAP_SIZE) && tx->bytes > 0)
		buf_addf(b, " SIZE=%llu", (unsigned long long)tx->bytes);
	if (has_cap(c, SMTPC_CAP_8BITMIME) && (tx->body_8bit || tx->smtputf8))
		buf_add_str(b, " BODY=8BITMIME");
	if (has_cap(c, SMTPC_CAP_DSN)) {
		if (tx->ret.n > 0)
			buf_addf(b, " RET=%.*s", SPAN_ARG(tx->ret));
		if (tx->envid.n > 0)
			buf_addf(b, " ENVID=%.*s", SPAN_ARG(tx->envid));
	}
	if (has_cap(c, SMTPC_CAP_SMTPUTF8) && tx->smtputf8)
		buf_add_str(b, " SMTPUTF8");
	if (has_cap(c, SMTPC_CAP_AUTH) && tx->auth_empty)
		buf_add_str(b, " AUTH=<>");
	if (tx->requiretls)
		buf_add_str(b, " REQUIRETLS");
	buf_add_str(b, "\r\n");
}

static void
render_rcpt(struct smtpc *c, struct smtpc_rcpt *r)
{
	struct buf *b = &c->out;

	r->asked = true;
	buf_addf(b, "RCPT TO:<%.*s>", SPAN_ARG(r->addr));
	if (has_cap(c, SMTPC_CAP_DSN)) {
		if (r->notify.n > 0)
			buf_addf(b, " NOTIFY=%.*s", SPAN_ARG(r->notify));
		if (r->orcpt.n > 0)
			buf_addf(b, " ORCPT=%.*s", SPAN_ARG(r->orcpt));
	}
	buf_add_str(b, "\r\n");
}

/*
 * May the step at the send cursor go out now? Behind DATA nothing may (RFC 2920 section 3.1);
 * content under BDAT waits for a recipient unless it is small.
 */
static bool
may_send(const struct smtpc *c)
{
	if (c->cut || c->send.step == SMTPC_END || c->content != SMTPC_CONTENT_NONE || c->out.n > OUT_MARK)
		return false;
	if (c->tx->probe && c->send.step > SMTPC_RCPT)
		return false;
	if (!outstanding(c))
		return true;
	if (!has_cap(c, SMTPC_CAP_PIPELINING) || c->send.step == SMTPC_DOT)
		return false;
	if (c->send.step == SMTPC_CHUNK && c->recv.step < SMTPC_CHUNK)
		return !c->opt.lmtp && c->tx->bytes <= EAGER_MAX;
	return true;
}

static void
render_step(struct smtpc *c)
{
	switch (c->send.step) {
	case SMTPC_RSET:
		buf_add_str(&c->out, "RSET\r\n");
		c->send = behind_reset(c, 0);
		return;
	case SMTPC_XFORWARD:
		smtpc_xforward_render(c, c->send.i);
		c->send = behind_reset(c, c->send.i + 1);
		return;
	case SMTPC_MAIL:
		render_mail(c);
		c->send = (struct smtpc_cursor){ SMTPC_RCPT, 0 };
		skip_settled(c);
		return;
	case SMTPC_RCPT:
		render_rcpt(c, &c->tx->rcpts[c->send.i]);
		c->send.i++;
		skip_settled(c);
		return;
	case SMTPC_DATA:
		buf_add_str(&c->out, "DATA\r\n");
		c->send.step = SMTPC_DOT;
		return;
	case SMTPC_CHUNK:
	case SMTPC_DOT:
		c->content = SMTPC_CONTENT_WANTED;
		return;
	case SMTPC_GREETING:
	case SMTPC_EHLO:
	case SMTPC_HELO:
	case SMTPC_STARTTLS:
	case SMTPC_AUTH:
	case SMTPC_QUIT:
	case SMTPC_END:
		panic("step %d in a transaction", (int)c->send.step);
	}
}

void
smtpc_tx_render(struct smtpc *c)
{
	while (may_send(c))
		render_step(c);
}

void
smtpc_tx_piece_done(struct smtpc *c)
{
	bool last = c->content == SMTPC_CONTENT_LAST;

	if (last && !c->bdat) {
		buf_add_str(&c->out, c->ends_crlf ? ".\r\n" : "\r\n.\r\n");
		c->send = (struct smtpc_cursor){ SMTPC_END, 0 };
	}
	/* more is wanted when may_send says so: after a refused chunk never (RFC 3030 section 2) */
	c->content = SMTPC_CONTENT_NONE;
}

static void
note_line_end(struct smtpc *c, struct span piece)
{
	bool cr = piece.n > 1 ? piece.p[piece.n - 2] == '\r' : c->ends_cr;

	if (piece.n == 0)
		return;
	c->ends_crlf = cr && piece.p[piece.n - 1] == '\n';
	c->ends_cr = piece.p[piece.n - 1] == '\r';
}

static void
render_chunk(struct smtpc *c, struct span piece, bool last)
{
	if (piece.n == 0 && !last)
		return;                 /* BDAT 0 says nothing */
	buf_addf(&c->out, "BDAT %zu%s\r\n", piece.n, last ? " LAST" : "");
	if (!last)
		c->chunks_sent++;
	c->send = last ? (struct smtpc_cursor){ SMTPC_END, 0 } :
	    (struct smtpc_cursor){ SMTPC_CHUNK, c->chunks_sent };
}

void
smtpc_content(struct smtpc *c, struct span piece, bool last)
{
	ensure(c->content == SMTPC_CONTENT_ASKED);
	if (c->cut) {
		c->content = SMTPC_CONTENT_NONE;
		return;
	}
	c->piece = piece;
	c->content = last ? SMTPC_CONTENT_LAST : SMTPC_CONTENT_GIVEN;
	note_line_end(c, piece);
	if (c->bdat)
		render_chunk(c, piece, last);
	if (piece.n == 0 && c->out.n == 0)
		smtpc_tx_piece_done(c);
}

static void
answer_mail(struct smtpc *c)
{
	if (c->reply.code / 100 == 2) {
		c->must_reset = true;
		return;
	}
	refuse_all(c, SMTPC_PENDING, SMTPC_MAIL);
	c->cut = true;
}

static void
answer_rcpt(struct smtpc *c, struct smtpc_rcpt *r)
{
	struct arena *a = c->tx->arena;
	struct span reply;

	if (r->outcome != SMTPC_PENDING)        /* MAIL was refused */
		return;
	if (c->reply.code / 100 == 2) {
		r->outcome = SMTPC_ACCEPTED;
		c->accepted++;
		if (c->tx->probe)
			r->reply = one_line(a, c->reply.text);
		return;
	}
	reply = one_line(a, c->reply.text);
	smtpc_note_refusal(c);
	refuse(c, r, SMTPC_RCPT, c->reply.code < 400 ? "4.5.0" : c->reply.dsn,
	    arena_printf(a, "host %s said: %.*s (in reply to RCPT TO command)", c->opt.peer,
	    SPAN_ARG(reply)));
	r->reply = reply;
	/* too many recipients, in the words of RFC 821 (RFC 5321 section 4.5.3.1.10), unless the server says that it means another thing */
	if (r->code == 552 && (strcmp(r->dsn, "5.0.0") == 0 || strcmp(r->dsn, "5.5.3") == 0)) {
		r->code = 452;
		r->dsn[0] = '4';
	}
}

static void
answer_data(struct smtpc *c)
{
	if (c->reply.code / 100 != 3) {         /* never content without a 354 (RFC 5321 section 3.3) */
		refuse_all(c, SMTPC_ACCEPTED, SMTPC_DATA);
		c->cut = true;
	} else if (c->accepted == 0) {       /* RFC 2920 section 3.1: the dot alone */
		buf_add_str(&c->out, ".\r\n");
		c->useless = c->opt.lmtp;       /* how many answers would come is nobody's guess */
		c->send = (struct smtpc_cursor){ SMTPC_END, 0 };
	}
}

static void
answer_chunk(struct smtpc *c)
{
	if (c->reply.code / 100 == 2)
		return;
	refuse_all(c, SMTPC_ACCEPTED, SMTPC_DOT);
	c->cut = true;
	if (c->content == SMTPC_CONTENT_WANTED)
		c->content = SMTPC_CONTENT_NONE;
}

static void
mark_sent(struct smtpc *c, struct smtpc_rcpt *r, struct span reply)
{
	r->outcome = SMTPC_SENT;
	r->at = SMTPC_DOT;
	r->code = c->reply.code;
	r->text = r->reply = reply;
	snprintf(r->dsn, sizeof(r->dsn), "%s", c->reply.dsn);
}

/* LMTP: one answer per accepted recipient, in order (RFC 2033 section 4.2). */
static void
answer_dot_lmtp(struct smtpc *c)
{
	struct smtpc_tx *tx = c->tx;
	struct span reply = one_line(tx->arena, c->reply.text);

	for (size_t i = 0; i < tx->n_rcpts; i++) {
		struct smtpc_rcpt *r = &tx->rcpts[i];

		if (r->outcome != SMTPC_ACCEPTED)
			continue;
		if (c->reply.code / 100 == 2) {
			mark_sent(c, r, reply);
			return;
		}
		smtpc_note_refusal(c);
		refuse(c, r, SMTPC_DOT, c->reply.code < 400 ? "4.5.0" : c->reply.dsn,
		    arena_printf(tx->arena, "host %s said: %.*s (in reply to end of DATA command)",
		    c->opt.peer, SPAN_ARG(reply)));
		r->reply = reply;
		return;
	}
}

static void
answer_dot(struct smtpc *c)
{
	struct smtpc_tx *tx = c->tx;
	bool ok = c->reply.code / 100 == 2;

	/* a failed BDAT leaves the transaction open (RFC 3030 section 2) */
	c->must_reset = c->bdat && !ok;
	if (c->opt.lmtp) {
		answer_dot_lmtp(c);
		return;
	}
	if (!ok) {
		refuse_all(c, SMTPC_ACCEPTED, SMTPC_DOT);
		return;
	}
	struct span reply = one_line(tx->arena, c->reply.text);

	for (size_t i = 0; i < tx->n_rcpts; i++)
		if (tx->rcpts[i].outcome == SMTPC_ACCEPTED)
			mark_sent(c, &tx->rcpts[i], reply);
}

/* Move the receive cursor over what needs no answer. */
static void
settle(struct smtpc *c)
{
	size_t dots = c->opt.lmtp ? c->accepted : 1;

	if (c->recv.step == SMTPC_RCPT) {
		while (outstanding(c) && c->recv.i < c->tx->n_rcpts && !c->tx->rcpts[c->recv.i].asked)
			c->recv.i++;
		if (outstanding(c) && c->recv.i >= c->tx->n_rcpts)
			c->recv = (struct smtpc_cursor){ c->bdat ? SMTPC_CHUNK : SMTPC_DATA, 0 };
	}
	if (c->recv.step == SMTPC_CHUNK && c->send.step == SMTPC_END && c->recv.i >= c->chunks_sent)
		c->recv = (struct smtpc_cursor){ SMTPC_DOT, 0 };
	if (c->recv.step == SMTPC_DOT && c->send.step == SMTPC_END && c->recv.i >= dots)
		c->recv = (struct smtpc_cursor){ SMTPC_END, 0 };
	/* everyone was refused before DATA or BDAT went out (or a probe has its answers): it never does */
	if (!outstanding(c) && (c->accepted == 0 || c->tx->probe) && c->content == SMTPC_CONTENT_NONE &&
	    (c->recv.step == SMTPC_DATA || c->recv.step == SMTPC_CHUNK))
		c->cut = true;
}

/* What the answer means, and which step waits for the next one. */
static void
answer(struct smtpc *c)
{
	switch (c->recv.step) {
	case SMTPC_RSET:
		c->must_reset = false;
		c->recv = behind_reset(c, 0);
		return;
	case SMTPC_XFORWARD:
		/* It is for logs alone: a server that refuses it gets the message all the same. */
		if (c->reply.code / 100 != 2)
			c->xforward_said = one_line(c->tx->arena, c->reply.text);
		c->recv = behind_reset(c, c->recv.i + 1);
		return;
	case SMTPC_MAIL:
		answer_mail(c);
		c->recv = (struct smtpc_cursor){ SMTPC_RCPT, 0 };
		return;
	case SMTPC_RCPT:
		answer_rcpt(c, &c->tx->rcpts[c->recv.i]);
		c->recv.i++;
		return;
	case SMTPC_DATA:
		answer_data(c);
		c->recv = (struct smtpc_cursor){ SMTPC_DOT, 0 };
		return;
	case SMTPC_CHUNK:
		answer_chunk(c);
		c->recv.i++;
		return;
	case SMTPC_DOT:
		answer_dot(c);
		c->recv.i++;
		return;
	case SMTPC_GREETING:
	case SMTPC_EHLO:
	case SMTPC_HELO:
	case SMTPC_STARTTLS:
	case SMTPC_AUTH:
	case SMTPC_QUIT:
	case SMTPC_END:
		panic("step %d in a transaction", (int)c->recv.step);
	}
}

void
smtpc_tx_reply(struct smtpc *c)
{
	if (c->reply.junk_before && has_cap(c, SMTPC_CAP_PIPELINING)) {
		/* which command an answer belongs to is known by counting alone */
		smtpc_fail(c, c->recv.step, "4.5.0", "host %s broke the protocol while %s", c->opt.peer,
		    smtpc_step_doing(c, c->recv.step));
		return;
	}
	if (c->recv.step == SMTPC_RSET && c->reply.code / 100 != 2) {
		smtpc_fail(c, SMTPC_RSET, "4.5.0", "host %s said: %.*s (in reply to %s)", c->opt.peer,
		    SPAN_ARG(span_slice(c->reply.text, 0, 300)), command_name(SMTPC_RSET));
		return;
	}
	settle(c);
	answer(c);
	settle(c);
}

bool
smtpc_tx_due(const struct smtpc *c)
{
	return outstanding(c);
}

bool
smtpc_tx_ended(const struct smtpc *c)
{
	return !outstanding(c) && c->content == SMTPC_CONTENT_NONE &&
	    (c->cut || c->send.step == SMTPC_END);
}
