/*
 * What a conversation's events mean: the outcome matrix of TLS (doc: tls-client.md 1.1, 1.2, 20), login,
 * mail, and when the next server's turn comes.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "hop/outcome.h"
#include "hop/verdict.h"
#include "log/lines_smtp.h"
#include "log/lines_tls.h"
#include "role/smtpc/smtpc.h"

/* Lines about a connection carry no queue id, as in Postfix. */
static struct log
conn_log(const struct conn *c)
{
	return (struct log){ .tag = c->svc->cs->log_tag };
}

static int64_t
now_us(const struct conn *c)
{
	return loop_now_us(c->role->loop);
}

/* ---- the tls= field */

/* What follows when this happens, and what the log says of TLS from now on. */
static struct hop_outcome
outcome(struct conn *c, enum hop_event ev)
{
	struct hop_outcome o;

	hop_outcome(&c->decision, ev, c->l.peer, &o);
	memcpy(c->tls_state, o.field, sizeof(c->tls_state));
	return o;
}

/* ---- ends */

static void
take_facts(struct delivery *d, struct conn *c)
{
	why_note(d, c);
	d->relay = arena_dup(d->arena, span_str(c->l.peer_port));
	d->mta = arena_dup(d->arena, c->l.addr.host);
	d->tls_state = arena_dup(d->arena, span_str(c->tls_state));
	d->under_tls = c->tls_done;
	d->forward_secret = c->forward_secret;
	d->conn_use = c->l.engine_ready ? c->l.engine.uses : 0;
	d->server_dsn = c->l.engine_ready && (c->l.engine.caps.bits & SMTPC_CAP_DSN) != 0;
	if (d->connected_us == 0)
		d->connected_us = clock_wall_us();
}

/* The server is out. With `polite` the connection ends with QUIT, else at once. Always false. */
static bool
give_up(struct conn *c, const char *dsn, const char *text, unsigned flags, bool polite)
{
	struct delivery *d = c->d;
	struct fault why;

	fault_set(&why, dsn, "%s", text);
	take_facts(d, c);
	if (polite)
		conn_quit(c);
	else
		conn_free(c);
	deliver_session_over(d, &why, flags);
	return false;
}

void
session_connect_failed(struct conn *c, const char *reason)
{
	struct log l = conn_log(c);
	char text[500];

	snprintf(text, sizeof(text), "connect to %s: %s", c->l.peer_port, reason);
	log_smtp_connect_failed(&l, span_str(text));
	outcome(c, HOP_EVENT_LOST);
	c->d->tls_state = arena_dup(c->d->arena, span_str(c->tls_state));
	if (c->d->connected_us == 0)
		c->d->failed_us = clock_wall_us();
	struct delivery *d = c->d;
	struct fault why;

	fault_set(&why, "4.4.1", "%s", text);
	why_note(d, c);
	conn_free(c);
	deliver_session_over(d, &why, FAIL_THROTTLE);
}

/* ---- clear-text retry at `may` (tls-client.md 1.2) */

static bool
may_retry_in_clear(const struct conn *c)
{
	const struct delivery *d = c->d;
	int64_t waited = d->active_us - d->arrival_us;

	return c->decision.level == TLS_LEVEL_MAY && c->decision.on_handshake_failure == TLS_NEXT_CLEAR_LATER &&
	    !c->decision.wrapper && !d->env.requiretls && !d->login.found &&
	    (d->probe || waited >= c->svc->p->minimal_backoff_time_ms * US_PER_MS);
}

/* The same address once more: with plainer TLS, or in clear. `reason` is for the record. */
static bool
retry(struct conn *c, bool clear, const char *dsn, const char *reason)
{
	struct delivery *d = c->d;
	struct fault why;

	fault_set(&why, dsn, "%s", reason);
	take_facts(d, c);
	d->retried = arena_dup(d->arena, c->l.addr.text);
	d->retried_port = c->l.addr.port;
	conn_free(c);
	d->clear_now = clear;
	deliver_session_over(d, &why, FAIL_SAME_AGAIN);
	return false;
}

/* ---- TLS */

static void
log_summary(struct conn *c, const struct tls_verdict *v)
{
	struct log l = conn_log(c);
	unsigned log = c->tls_log;
	struct hop_telling tell = { .summary = log & LOG_TLS_SUMMARY, .peercert = log & LOG_TLS_PEERCERT,
		.matches = log & LOG_TLS_CERTMATCH, .untrusted = log & LOG_TLS_UNTRUSTED, .sessions = log & LOG_TLS_CACHE };

	if (c->svc->md5_by_default && ((log & LOG_TLS_PEERCERT) || c->decision.level == TLS_LEVEL_FINGERPRINT)) {
		log_tls_md5_default(&l, c->svc->lmtp ? "lmtp_tls_fingerprint_digest" : "smtp_tls_fingerprint_digest");
		c->svc->md5_by_default = false;
	}
	if (log != 0)
		hop_log_verdict(&l, &c->l.stream, &c->decision, v, span_str(c->l.peer_port), &tell, c->arena);
}

static bool
handshake_failed(struct conn *c, const char *reason)
{
	const struct stream_failure *f = stream_failure(&c->l.stream);
	struct log l = conn_log(c);
	struct hop_outcome o;

	c->why_failure = arena_dup(c->arena, span_str(f->n_library > 0 ? f->library[0] : reason));
	hop_log_handshake_failed(&l, &c->l.stream, span_str(c->l.peer_port), reason);
	o = outcome(c, HOP_EVENT_HANDSHAKE);
	if (ladder_again(c))
		return retry(c, false, o.dsn, "Cannot start TLS: handshake failure; again with plainer TLS");
	if (may_retry_in_clear(c))
		return retry(c, true, o.dsn, "Cannot start TLS: handshake failure; again in clear");
	return give_up(c, o.dsn, o.text, c->decision.level == TLS_LEVEL_MAY ? 0 : FAIL_THROTTLE, false);
}

static bool
begin_engine(struct conn *c)
{
	struct smtpc_options opt;

	hop_link_options(c->svc->p, c->svc->lmtp, &opt);
	opt.peer = c->l.peer;
	opt.notify = smtp_notice_classes(span_str(c->svc->p->notify_classes));
	opt.discard = c->d->discard;
	if (c->svc->reply_filter != NULL) {
		opt.filter = conn_filter_reply;
		opt.filter_ctx = c;
	}
	hop_link_talk(&c->l, &opt);
	c->l.engine.transcript.muted = delivery_is_notice(c->d);
	return true;
}

/* The peer is known now: is it who the policy wants? RFC 3207 section 4.1: decide at once. */
static bool
judge_peer(struct conn *c)
{
	const struct tls_verdict *v = stream_verdict(&c->l.stream, clock_wall_us() / US_PER_S);
	struct log l = conn_log(c);

	c->tls_done = true;
	c->matched = v->matched && c->decision.must_match;
	hop_log_mismatch(&l, &c->decision, v, span_str(c->l.peer_port));
	log_summary(c, v);
	report_event(c, TLS_REPORT_AT_VERDICT, v);
	ladder_done(c, v->matched);
	outcome(c, v->matched ? HOP_EVENT_SECURED : HOP_EVENT_MISMATCH);
	return v->matched;
}

bool
session_tls_done(struct conn *c, bool ok, const char *reason)
{
	bool wrapper = c->l.phase == HOP_LINK_WRAPPER;

	if (!ok) {
		/* without a session it could not even begin: our own trouble */
		report_event(c, stream_is_tls(&c->l.stream) ? TLS_REPORT_AT_HANDSHAKE : TLS_REPORT_AT_OTHER, NULL);
		return handshake_failed(c, reason);
	}
	if (!judge_peer(c)) {
		const struct hop_outcome o = outcome(c, HOP_EVENT_MISMATCH);

		if (!wrapper)
			c->l.phase = HOP_LINK_TALK;
		return give_up(c, o.dsn, o.text, FAIL_THROTTLE, !wrapper);
	}
	if (wrapper)
		return begin_engine(c);
	c->l.phase = HOP_LINK_TALK;
	smtpc_tls_started(&c->l.engine, now_us(c));
	return true;
}

bool
session_ready(struct conn *c)
{
	if (!c->decision.wrapper)
		return begin_engine(c);
	conn_start_tls(c, HOP_LINK_WRAPPER);
	return false;           /* it pumps by itself */
}

/* ---- after EHLO */

/* What is wanted and what is offered. True: go on in clear (or with nothing more to do). */
static bool
want_starttls(const struct conn *c)
{
	return c->decision.try_tls && !c->tls_off && !c->tls_done && c->svc->tls_ctx != NULL;
}

static bool
no_starttls(struct conn *c)
{
	const struct hop_outcome o = outcome(c, HOP_EVENT_NOT_OFFERED);

	report_event(c, TLS_REPORT_AT_NOT_OFFERED, NULL);
	if (o.next == TLS_NEXT_CLEAR)
		return session_begin(c);
	return give_up(c, o.dsn, o.text, FAIL_THROTTLE, true);
}

/* Is the server among the best of its domain? */
static bool
is_best(const struct conn *c)
{
	const struct hop *h = &c->d->facts;

	for (size_t i = 0; i < h->count; i++)
		if (h->list[i].pref < c->l.addr.pref)
			return false;
	return true;
}

static bool
on_caps(struct conn *c)
{
	struct log l = conn_log(c);
	bool offered = (c->l.engine.caps.bits & SMTPC_CAP_STARTTLS) != 0;

	if (c->l.engine.said_my_name) {
		log_smtp_my_own_name(&l, span_str(c->l.peer), span_str(c->svc->p->myhostname));
		if (c->l.addr.from_mx && !c->svc->lmtp) {
			char text[400];

			snprintf(text, sizeof(text), "mail for %.*s loops back to myself",
			    SPAN_ARG(span_slice(c->d->facts.domain, 0, 300)));
			c->d->met_myself |= is_best(c);
			return give_up(c, "5.4.6", text, 0, true);
		}
	}
	if (c->tls_done)
		return session_begin(c);
	if (offered && c->decision.level == TLS_LEVEL_NONE && c->svc->p->smtp_tls_note_starttls_offer)
		log_tls_offer(&l, c->l.addr.host);
	if (!want_starttls(c) || !offered)
		return no_starttls(c);
	smtpc_starttls(&c->l.engine, now_us(c));
	return true;
}

static bool
on_tls_refused(struct conn *c)
{
	struct fault why;

	report_event(c, TLS_REPORT_AT_REFUSED, NULL);
	if (c->l.engine.reply.code == 421)      /* going away: as if the handshake had failed */
		return handshake_failed(c, "STARTTLS was answered by 421");
	outcome(c, HOP_EVENT_REFUSED);
	if (hop_starttls_refused(&c->decision, c->l.peer, c->l.engine.reply.text, &why))
		return session_begin(c);
	return give_up(c, why.dsn, why.text, FAIL_THROTTLE, true);
}

/* ---- mail */

/* The server cannot take this message at all: every recipient gets the same answer, the connection lives. */
static bool
unfit(struct conn *c, const struct fault *why)
{
	struct delivery *d = c->d;

	take_facts(d, c);
	content_release(d);
	d->conn = NULL;
	c->d = NULL;
	if (!reuse_give(c, d))
		conn_quit(c);
	deliver_session_over(d, why, FAIL_MESSAGE);
	return false;
}

static bool
has_cap(const struct conn *c, unsigned bit)
{
	return (c->l.engine.caps.bits & bit) != 0;
}

static bool
needs_smtputf8(const struct delivery *d)
{
	if (!span_is_ascii(d->tx.sender))
		return true;
	for (size_t i = 0; i < d->tx.n_rcpts; i++)
		if (d->tx_rcpts[i].outcome == SMTPC_PENDING && !span_is_ascii(d->tx_rcpts[i].addr))
			return true;
	return false;
}

static bool
begin_mail(struct conn *c)
{
	struct delivery *d = c->d;
	struct fault why;

	if (has_cap(c, SMTPC_CAP_SIZE) && c->l.engine.caps.size_max > 0 && d->size > c->l.engine.caps.size_max) {
		fault_set(&why, "5.3.4", "message size %llu exceeds size limit %llu of server %s",
		    (unsigned long long)d->size, (unsigned long long)c->l.engine.caps.size_max, c->l.peer);
		return unfit(c, &why);
	}
	if (!has_cap(c, SMTPC_CAP_SMTPUTF8) && needs_smtputf8(d)) {
		fault_set(&why, "5.6.7", "SMTPUTF8 is required, but was not offered by host %s", c->l.peer);
		return unfit(c, &why);
	}
	if (!content_prepare(d, c, &why))
		return unfit(c, &why);
	if (c->svc->p->smtp_tls_block_early_mail_reply && c->tls_done &&
	    (smtp_replies_pending(&c->l.engine.replies) || stream_pending(&c->l.stream)))
		return give_up(c, "4.7.0", "unexpected server message", FAIL_THROTTLE, false);
	take_facts(d, c);
	d->conn_use = c->l.engine.uses + 1;
	d->sessions++;
	d->tx.smtputf8 = has_cap(c, SMTPC_CAP_SMTPUTF8) && d->env.smtputf8;
	d->tx.auth_empty = c->authenticated && (c->svc->p->smtp_send_dummy_mail_auth || d->env.sasl_sender.n > 0);
	smtpc_begin(&c->l.engine, &d->tx, now_us(c));
	return true;
}

/* Ready for mail, except for login (RFC 4954). */
bool
session_begin(struct conn *c)
{
	struct delivery *d = c->d;
	struct fault why;

	if (!d->login.found || c->authenticated || !has_cap(c, SMTPC_CAP_AUTH))
		return begin_mail(c);
	if (!sasl_begin(c, &d->login, &why))
		return give_up(c, why.dsn, why.text, FAIL_THROTTLE, true);
	return true;
}

static bool
login_refused(struct conn *c)
{
	struct fault why;

	sasl_refused(c, &why);
	return give_up(c, why.dsn, why.text, FAIL_THROTTLE, true);
}

/* A server that has had enough of this connection (421 to MAIL or RCPT) has not judged the message. */
static bool
only_tired(const struct conn *c)
{
	const struct delivery *d = c->d;
	bool tired = false;

	if (c->taken == 0)
		return false;
	for (size_t i = 0; i < d->n_rcpts; i++) {
		const struct smtpc_rcpt *r = &d->tx_rcpts[i];

		if (!r->asked && r->outcome != SMTPC_REFUSED)
			continue;
		if (r->outcome != SMTPC_REFUSED || (r->at == SMTPC_MAIL && r->code != 421))
			return false;
		tired |= r->code == 421;
	}
	return tired;
}

/* The message is as it was: a fresh connection shall try. */
static bool
take_back(struct conn *c)
{
	struct delivery *d = c->d;

	for (size_t i = 0; i < d->n_rcpts; i++)
		if (d->outcomes[i].status == OUT_NONE)
			d->tx_rcpts[i].outcome = SMTPC_PENDING;
	content_release(d);
	conn_free(c);
	deliver_session_over(d, NULL, FAIL_STALE);
	return false;
}

static bool
on_done(struct conn *c)
{
	struct delivery *d = c->d;

	if (c->l.engine.xforward_said.n > 0)
		log_warning(&d->log, "host %s said: %.*s (in reply to XFORWARD command)", c->l.peer,
		    SPAN_ARG(log_esc(c->l.engine.xforward_said)));
	if (only_tired(c))
		return take_back(c);
	take_facts(d, c);
	content_release(d);
	c->d = NULL;
	d->conn = NULL;
	if (!smtpc_idle(&c->l.engine))
		conn_free(c);
	else if (!reuse_give(c, d))
		conn_quit(c);
	deliver_session_over(d, NULL, 0);
	return false;
}

/*
 * A connection from the cache that breaks before content was due: the server had closed it, or was about
 * to. Nothing happened.
 */
static bool
was_stale(const struct conn *c)
{
	enum smtpc_step at = c->l.engine.failed_at;

	return c->taken > 0 && (!c->l.answered || at == SMTPC_RSET || at == SMTPC_XFORWARD || at == SMTPC_MAIL || at == SMTPC_RCPT);
}

static bool
on_failed(struct conn *c)
{
	const struct smtpc *e = &c->l.engine;
	char dsn[10], text[502];

	if (was_stale(c))
		return take_back(c);
	content_release(c->d);
	if (e->failed_at == SMTPC_STARTTLS && strcmp(e->fault.dsn, "4.4.2") == 0)
		return handshake_failed(c, "no answer to STARTTLS");
	if (c->tls_done && may_retry_in_clear(c) && strcmp(e->fault.dsn, "4.4.2") == 0)
		return retry(c, true, e->fault.dsn, e->fault.text);
	if (c->tls_state[0] == '\0')
		outcome(c, HOP_EVENT_LOST);
	snprintf(dsn, sizeof(dsn), "%s", e->fault.dsn);
	snprintf(text, sizeof(text), "%s", e->fault.text);
	return give_up(c, dsn, text, FAIL_THROTTLE, false);
}

/* Events of a connection that nobody owns. */
static bool
unowned(struct conn *c, enum smtpc_event ev)
{
	if (ev == SMTPC_CLOSED || ev == SMTPC_FAILED) {
		if (c->l.fd >= 0)
			(void)stream_shutdown(&c->l.stream);
		conn_free(c);
		return false;
	}
	return true;
}

bool
session_event(struct conn *c, enum smtpc_event ev)
{
	if (c->d == NULL)
		return unowned(c, ev);
	switch (ev) {
	case SMTPC_CAPS:
		return on_caps(c);
	case SMTPC_TLS_START:
		conn_start_tls(c, HOP_LINK_HANDSHAKE);
		return false;
	case SMTPC_TLS_REFUSED:
		return on_tls_refused(c);
	case SMTPC_AUTH_STEP:
		return sasl_step(c) || login_refused(c);
	case SMTPC_AUTH_OK:
		c->authenticated = true;
		return begin_mail(c);
	case SMTPC_AUTH_REFUSED:
		return login_refused(c);
	case SMTPC_CONTENT:
		if (content_give(c))
			return true;
		transcript_trouble(&c->l.engine.transcript, SMTP_NOTICE_DATA);
		return give_up(c, "4.3.0", "reading the message from the queue failed", FAIL_THROTTLE, false);
	case SMTPC_TX_DONE:
		return on_done(c);
	case SMTPC_FAILED:
		return on_failed(c);
	case SMTPC_WAIT:
	case SMTPC_RESET_OK:
	case SMTPC_CLOSED:
		return true;
	}
	return true;
}
