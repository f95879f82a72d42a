/*
 * The SMTP client's session: greeting, EHLO, STARTTLS, AUTH, RSET, QUIT, each alone on the wire; output,
 * deadlines and the end. Transactions are in client_tx.c.
 */
#include "smtp/client.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/panic.h"
#include "base/text.h"
#include "smtp/client_private.h"

/* 1000 recipients' commands are 32 kB at a time; an AUTH response of 12288 bytes fits in base64. */
#define OUT_MAX ((size_t)256 * 1024)

void
smtpc_init(struct smtpc *c, const struct smtpc_options *opt, int64_t now_us)
{
	*c = (struct smtpc){ .opt = *opt };
	smtp_replies_init(&c->replies);
	transcript_init(&c->transcript, opt->notify);
	c->replies.filter = opt->filter;
	c->replies.filter_ctx = opt->filter_ctx;
	buf_init(&c->out, OUT_MAX);
	c->recv = (struct smtpc_cursor){ SMTPC_GREETING, 0 };
	c->send = (struct smtpc_cursor){ SMTPC_END, 0 };
	c->request_us = c->active_us = c->now_us = now_us;
}

void
smtpc_release(struct smtpc *c)
{
	smtp_replies_release(&c->replies);
	transcript_release(&c->transcript);
	buf_release(&c->out);
}

const char *
smtpc_step_doing(const struct smtpc *c, enum smtpc_step step)
{
	switch (step) {
	case SMTPC_GREETING:
		return "receiving the initial server greeting";
	case SMTPC_EHLO:
		return c->opt.lmtp ? "performing the LHLO handshake" : "performing the EHLO handshake";
	case SMTPC_HELO:
		return "performing the HELO handshake";
	case SMTPC_STARTTLS:
		return "receiving the STARTTLS response";
	case SMTPC_AUTH:
		return "performing the EHLO handshake";         /* as Postfix names it */
	case SMTPC_QUIT:
		return "sending QUIT";
	case SMTPC_RSET:
		return "sending RSET probe";
	case SMTPC_XFORWARD:
		return "sending XFORWARD name/address";
	case SMTPC_MAIL:
		return "sending MAIL FROM";
	case SMTPC_RCPT:
		return "sending RCPT TO";
	case SMTPC_DATA:
		return "sending DATA command";
	case SMTPC_CHUNK:
		return "sending message body";
	case SMTPC_DOT:
		return c->content != SMTPC_CONTENT_NONE ? "sending message body" :
		    "sending end of data -- message may be sent more than once";
	case SMTPC_END:
		return "waiting";
	}
	panic("smtpc_step");
}

void
smtpc_fail(struct smtpc *c, enum smtpc_step at, const char *dsn, const char *fmt, ...)
{
	va_list ap;

	if (c->dead)
		return;
	fault_clear(&c->fault);
	snprintf(c->fault.dsn, sizeof(c->fault.dsn), "%s", dsn);
	va_start(ap, fmt);
	vsnprintf(c->fault.text, sizeof(c->fault.text), fmt, ap);
	va_end(ap);
	for (char *p = c->fault.text; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';
	c->failed_at = at;
	c->dead = true;
	c->queued = SMTPC_FAILED;
	c->tx = NULL;
	buf_clear(&c->out);
	c->piece = SPAN("");
}

/* ---- what was said */

void
smtpc_note_refusal(struct smtpc *c)
{
	int code = c->reply.code;

	if (code < 400 || (code >= 500 && code < 510) || code == 555)
		transcript_trouble(&c->transcript, SMTP_NOTICE_PROTOCOL);
}

/* Never a word of AUTH, challenges and responses alike. */
static bool
in_auth(const struct smtpc *c)
{
	return c->tx == NULL && c->recv.step == SMTPC_AUTH;
}

static void
show_sent(struct smtpc *c, size_t n)
{
	if (!in_auth(c))
		transcript_stream(&c->transcript, "Out:", span_slice(buf_span(&c->out), 0, n));
	else if (n > 0 && n == c->out.n)
		transcript_add(&c->transcript, "Out:", SPAN("AUTH (withheld)"));
}

static void
show_reply(struct smtpc *c)
{
	transcript_add(&c->transcript, "In: ", in_auth(c) && c->reply.code == 334 ? SPAN("334 (withheld)") : c->reply.text);
	if (c->reply.junk_before)
		transcript_trouble(&c->transcript, SMTP_NOTICE_PROTOCOL);
}

/* The step that a break of the connection interrupts. */
static enum smtpc_step
present_step(const struct smtpc *c)
{
	return c->recv.step == SMTPC_END && c->tx != NULL ? SMTPC_DOT : c->recv.step;
}

void
smtpc_eof(struct smtpc *c)
{
	enum smtpc_step at = present_step(c);

	if (c->dead)
		return;
	if (at == SMTPC_QUIT) {
		c->dead = true;
		c->queued = SMTPC_CLOSED;
		return;
	}
	smtpc_fail(c, at, "4.4.2", "lost connection with %s while %s", c->opt.peer,
	    smtpc_step_doing(c, at));
}

void
smtpc_timeout(struct smtpc *c)
{
	enum smtpc_step at = present_step(c);

	if (at == SMTPC_QUIT) {
		smtpc_eof(c);
		return;
	}
	smtpc_fail(c, at, "4.4.2", "conversation with %s timed out while %s", c->opt.peer,
	    smtpc_step_doing(c, at));
}

/* A command that is alone on the wire. */
static void
start(struct smtpc *c, enum smtpc_step step, int64_t now_us)
{
	c->recv = (struct smtpc_cursor){ step, 0 };
	c->send = (struct smtpc_cursor){ SMTPC_END, 0 };
	c->request_us = c->active_us = now_us;
}

static void
finish(struct smtpc *c, enum smtpc_event ev)
{
	c->recv = (struct smtpc_cursor){ SMTPC_END, 0 };
	c->queued = ev;
}

static void
say_hello(struct smtpc *c, bool extended)
{
	const char *verb = c->opt.lmtp ? "LHLO" : extended ? "EHLO" : "HELO";

	c->caps = (struct smtpc_caps){ 0 };
	buf_addf(&c->out, "%s %s\r\n", verb, c->opt.helo_name);
	start(c, extended || c->opt.lmtp ? SMTPC_EHLO : SMTPC_HELO, c->active_us);
}

/* First word of the greeting or of EHLO's answer: the server's idea of its name. */
static void
note_server_name(struct smtpc *c)
{
	struct span rest = c->reply.text, line, word;

	if (!smtp_reply_line(&rest, &line) || !span_token(&line, " \t", &word))
		return;
	snprintf(c->server_name, sizeof(c->server_name), "%.*s", SPAN_ARG(span_slice(word, 0, 255)));
	if (c->opt.my_name != NULL && span_eq_ci(word, span_str(c->opt.my_name)))
		c->said_my_name = true;
}

/* The server does not want to talk: the whole session ends here. */
static void
refused_to_talk(struct smtpc *c, bool soften)
{
	char dsn[10];

	smtpc_note_refusal(c);
	snprintf(dsn, sizeof(dsn), "%s", c->reply.code < 400 ? "4.5.0" : c->reply.dsn);
	if (soften)
		dsn[0] = '4';
	c->failed_code = c->reply.code;
	smtpc_fail(c, c->recv.step, dsn, "host %s refused to talk to me: %.*s", c->opt.peer,
	    SPAN_ARG(span_slice(c->reply.text, 0, 400)));
}

static bool
banner_says_esmtp(struct span text)
{
	struct span word;

	while (span_token(&text, " \t\n", &word))
		if (span_eq_ci(word, SPAN("ESMTP")))
			return true;
	return false;
}

static void
answer_greeting(struct smtpc *c)
{
	if (c->reply.code / 100 != 2) {
		refused_to_talk(c, c->opt.skip_5xx_greeting);
		return;
	}
	note_server_name(c);
	say_hello(c, !c->opt.never_ehlo && (c->opt.always_ehlo || banner_says_esmtp(c->reply.text)));
}

static void
answer_hello(struct smtpc *c)
{
	bool ehlo = c->recv.step == SMTPC_EHLO;

	if (c->reply.code / 100 == 2) {
		note_server_name(c);
		if (ehlo)
			smtpc_caps_parse(&c->caps, c->reply.text, c->opt.discard);
		finish(c, SMTPC_CAPS);
	} else if (ehlo && !c->opt.lmtp && c->reply.code / 100 == 5) {
		say_hello(c, false);    /* RFC 5321 section 3.2 */
	} else {
		refused_to_talk(c, false);
	}
}

static void
answer_starttls(struct smtpc *c)
{
	if (c->reply.code / 100 != 2) {
		finish(c, SMTPC_TLS_REFUSED);
		return;
	}
	/* what came behind the answer in clear is nobody's, and must not be read as if inside TLS */
	if (smtp_replies_pending(&c->replies)) {
		smtpc_fail(c, SMTPC_STARTTLS, "4.7.0", "host %s sent data in clear behind its answer to STARTTLS",
		    c->opt.peer);
		return;
	}
	finish(c, SMTPC_TLS_START);
}

static void
answer_auth(struct smtpc *c)
{
	if (c->reply.code == 334)
		finish(c, SMTPC_AUTH_STEP);
	else
		finish(c, c->reply.code / 100 == 2 ? SMTPC_AUTH_OK : SMTPC_AUTH_REFUSED);
}

static void
answer_reset(struct smtpc *c)
{
	if (c->reply.code / 100 != 2) {
		smtpc_fail(c, SMTPC_RSET, "4.5.0", "host %s said: %.*s (in reply to RSET command)", c->opt.peer,
		    SPAN_ARG(span_slice(c->reply.text, 0, 400)));
		return;
	}
	c->must_reset = false;
	finish(c, SMTPC_RESET_OK);
}

/* A reply arrived: to whom does it answer? */
static void
answer(struct smtpc *c)
{
	if (c->reply.junk_before)
		c->protocol_error = true;
	if (c->tx != NULL) {
		smtpc_tx_reply(c);
		return;
	}
	switch (c->recv.step) {
	case SMTPC_GREETING:
		answer_greeting(c);
		return;
	case SMTPC_EHLO:
	case SMTPC_HELO:
		answer_hello(c);
		return;
	case SMTPC_STARTTLS:
		answer_starttls(c);
		return;
	case SMTPC_AUTH:
		answer_auth(c);
		return;
	case SMTPC_QUIT:
		c->dead = true;
		finish(c, SMTPC_CLOSED);
		return;
	case SMTPC_RSET:
		answer_reset(c);
		return;
	case SMTPC_XFORWARD:
	case SMTPC_MAIL:
	case SMTPC_RCPT:
	case SMTPC_DATA:
	case SMTPC_CHUNK:
	case SMTPC_DOT:
	case SMTPC_END:
		/* nothing was asked: the server takes its leave */
		smtpc_fail(c, SMTPC_END, "4.4.2", "host %s said: %.*s", c->opt.peer,
		    SPAN_ARG(span_slice(c->reply.text, 0, 400)));
	}
}

void
smtpc_feed(struct smtpc *c, struct span bytes, int64_t now_us)
{
	if (c->dead)
		return;
	c->now_us = now_us;     /* single bytes are no progress: a reply has its time, however it drips in */
	if (!smtp_replies_feed(&c->replies, bytes))
		smtpc_fail(c, present_step(c), "4.5.0", "host %s sent too much while %s", c->opt.peer,
		    smtpc_step_doing(c, present_step(c)));
}

static enum smtpc_event
take_queued(struct smtpc *c)
{
	enum smtpc_event ev = c->queued;

	c->queued = SMTPC_WAIT;
	return ev;
}

/* What the transaction says without a further reply; false when it needs one. */
static bool
tx_event(struct smtpc *c)
{
	smtpc_tx_render(c);
	if (c->content == SMTPC_CONTENT_WANTED) {
		c->content = SMTPC_CONTENT_ASKED;
		c->queued = SMTPC_CONTENT;
		return true;
	}
	if (!smtpc_tx_ended(c))
		return false;
	c->tx = NULL;
	c->send = c->recv = (struct smtpc_cursor){ SMTPC_END, 0 };
	c->queued = SMTPC_TX_DONE;
	return true;
}

/*
 * While content goes out nothing may be due: what the server says early then counts as its answer to
 * the end of data. Otherwise a reply that nobody asked for ends the session.
 */
static bool
may_look(const struct smtpc *c)
{
	return c->tx == NULL || smtpc_tx_due(c) || c->content == SMTPC_CONTENT_NONE;
}

enum smtpc_event
smtpc_next(struct smtpc *c)
{
	for (;;) {
		if (c->queued != SMTPC_WAIT)
			return take_queued(c);
		if (c->dead)
			return SMTPC_WAIT;
		if (c->tx != NULL && tx_event(c))
			continue;
		if (!may_look(c))
			return SMTPC_WAIT;
		switch (smtp_replies_next(&c->replies, &c->reply)) {
		case SMTP_REPLY_MORE:
			return SMTPC_WAIT;
		case SMTP_REPLY_BAD:
			transcript_trouble(&c->transcript, SMTP_NOTICE_PROTOCOL);
			smtpc_fail(c, present_step(c), "4.5.0", "host %s broke the protocol while %s",
			    c->opt.peer, smtpc_step_doing(c, present_step(c)));
			break;
		case SMTP_REPLY_DONE:
			c->request_us = c->active_us = c->now_us;
			show_reply(c);
			answer(c);
			break;
		}
	}
}

int
smtpc_output(struct smtpc *c, struct iovec *v, int count)
{
	int n = 0;

	if (c->dead)
		return 0;
	if (c->tx != NULL)
		smtpc_tx_render(c);
	if (c->out.n > 0 && count > 0)
		v[n++] = (struct iovec){ .iov_base = c->out.p, .iov_len = c->out.n };
	return n + smtpc_content_output(c, v + n, count - n);
}

void
smtpc_sent(struct smtpc *c, size_t n, int64_t now_us)
{
	size_t commands = n < c->out.n ? n : c->out.n;

	c->active_us = now_us;
	show_sent(c, commands);
	buf_consume(&c->out, commands);
	if (n > commands)
		smtpc_content_sent(c, n - commands);
	if (c->piece.n == 0 && c->out.n == 0 &&
	    (c->content == SMTPC_CONTENT_GIVEN || c->content == SMTPC_CONTENT_LAST))
		smtpc_tx_piece_done(c);
	if (c->recv.step == SMTPC_QUIT && c->out.n == 0 && c->opt.skip_quit_reply) {
		c->dead = true;
		c->queued = SMTPC_CLOSED;
	}
}

static int64_t
step_limit_ms(const struct smtpc *c)
{
	switch (c->recv.step) {
	case SMTPC_GREETING:
	case SMTPC_EHLO:
	case SMTPC_HELO:
		return c->opt.helo_ms;
	case SMTPC_STARTTLS:
		return c->opt.starttls_ms;
	case SMTPC_AUTH:
		return c->opt.auth_ms;
	case SMTPC_QUIT:
		return c->opt.quit_ms;
	case SMTPC_RSET:
		return c->opt.rset_ms;
	case SMTPC_XFORWARD:
		return c->opt.xforward_ms;
	case SMTPC_MAIL:
		return c->opt.mail_ms;
	case SMTPC_RCPT:
		return c->opt.rcpt_ms;
	case SMTPC_DATA:
		return c->opt.data_init_ms;
	case SMTPC_CHUNK:
		return c->opt.data_xfer_ms;
	case SMTPC_DOT:
	case SMTPC_END:
		return c->opt.data_done_ms;
	}
	panic("smtpc_step");
}

int64_t
smtpc_deadline(const struct smtpc *c)
{
	bool sending = c->content == SMTPC_CONTENT_GIVEN || c->content == SMTPC_CONTENT_LAST;
	int64_t from = c->opt.per_request_deadline ? c->request_us : c->active_us;
	int64_t limit = sending ? c->opt.data_xfer_ms : step_limit_ms(c);

	if (c->dead || c->content == SMTPC_CONTENT_ASKED || (c->tx == NULL && c->recv.step == SMTPC_END))
		return INT64_MAX;
	if (sending && c->tx != NULL && c->opt.per_request_deadline && c->opt.min_data_rate > 0)
		limit += (int64_t)(c->tx->bytes / c->opt.min_data_rate) * 1000;
	return from + limit * US_PER_MS;
}

bool
smtpc_idle(const struct smtpc *c)
{
	return !c->dead && !c->useless && c->tx == NULL && c->recv.step == SMTPC_END &&
	    c->queued == SMTPC_WAIT;
}

void
smtpc_starttls(struct smtpc *c, int64_t now_us)
{
	ensure(smtpc_idle(c) && !c->tls);
	buf_add_str(&c->out, "STARTTLS\r\n");
	start(c, SMTPC_STARTTLS, now_us);
}

void
smtpc_tls_started(struct smtpc *c, int64_t now_us)
{
	c->tls = true;
	c->active_us = now_us;
	if (c->recv.step == SMTPC_GREETING) {
		c->request_us = now_us;
		return;
	}
	smtp_replies_clear(&c->replies);
	say_hello(c, true);
}

static void
add_base64(struct smtpc *c, struct span bytes)
{
	if (bytes.n == 0)
		buf_addc(&c->out, '=');
	else
		text_base64(&c->out, bytes);
}

void
smtpc_auth(struct smtpc *c, struct span mechanism, struct span initial, int64_t now_us)
{
	ensure(smtpc_idle(c));
	buf_addf(&c->out, "AUTH %.*s", SPAN_ARG(mechanism));
	if (initial.p != NULL) {
		buf_addc(&c->out, ' ');
		add_base64(c, initial);
	}
	buf_add_str(&c->out, "\r\n");
	start(c, SMTPC_AUTH, now_us);
}

void
smtpc_auth_respond(struct smtpc *c, struct span response, int64_t now_us)
{
	text_base64(&c->out, response);
	buf_add_str(&c->out, "\r\n");
	start(c, SMTPC_AUTH, now_us);
}

void
smtpc_auth_cancel(struct smtpc *c, int64_t now_us)
{
	buf_add_str(&c->out, "*\r\n");
	start(c, SMTPC_AUTH, now_us);
}

void
smtpc_reset(struct smtpc *c, int64_t now_us)
{
	ensure(smtpc_idle(c));
	buf_add_str(&c->out, "RSET\r\n");
	start(c, SMTPC_RSET, now_us);
}

void
smtpc_distrust(struct smtpc *c)
{
	c->must_reset = true;
}

void
smtpc_quit(struct smtpc *c, int64_t now_us)
{
	if (c->dead)
		return;
	ensure(c->tx == NULL);
	buf_add_str(&c->out, "QUIT\r\n");
	start(c, SMTPC_QUIT, now_us);
}
