/* What became of each recipient: collected after each session, logged when decided, reported at the end. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "log/lines_smtp.h"
#include "mail/address.h"
#include "role/common/status_filter.h"
#include "role/smtpc/smtpc.h"

static struct span
shown(struct delivery *d, struct span addr)
{
	if (strcmp(d->svc->p->info_log_address_format, "internal") == 0)
		return addr;
	return address_external(addr, d->arena);
}

static enum log_status
log_status(const struct delivery *d, const struct outcome *o)
{
	if (d->probe)
		return o->status == OUT_SENT ? LOG_DELIVERABLE : LOG_UNDELIVERABLE;
	if (o->softened)
		return LOG_SOFTBOUNCE;
	return o->status == OUT_SENT ? LOG_SENT : o->status == OUT_BOUNCED ? LOG_BOUNCED : LOG_DEFERRED;
}

static void
log_one(struct delivery *d, const struct ipc_rcpt *r, const struct outcome *o)
{
	struct log_delivery ev = {
		.to = shown(d, r->addr), .orig_to = r->orig.n > 0 ? shown(d, r->orig) : r->orig,
		.relay = d->relay, .conn_use = d->conn_use,
		.begun_us = d->env.begun_us > 0 ? d->env.begun_us : d->arrival_us,
		.active_us = d->active_us, .handed_us = d->handed_us,
		.connected_us = d->connected_us > 0 ? d->connected_us : d->failed_us,
		.done_us = clock_wall_us(),
		.resolution = d->svc->p->delay_logging_resolution_limit,
		.dsn = o->dsn, .status = log_status(d, o), .reason = o->text,
	};

	if (d->svc->p->smtp_log_tls_feature_status)
		ev.tls = d->tls_state;
	log_delivered(&d->log, &ev);
}

/* smtp_delivery_status_filter. */
static void
filter_status(struct delivery *d, struct outcome *o)
{
	char param[40];

	snprintf(param, sizeof(param), "%s_delivery_status_filter", d->svc->prefix);
	if (status_filter(d->svc->status_filter, param, &d->log, d->arena, o->dsn, &o->text) && o->status != OUT_SENT)
		o->status = o->dsn[0] == '5' ? OUT_BOUNCED : OUT_DEFERRED;
}

static void
decide(struct delivery *d, size_t i, enum outcome_status status, const char *dsn, struct span text)
{
	struct outcome *o = &d->outcomes[i];

	o->status = status;
	o->text = text;
	snprintf(o->dsn, sizeof(o->dsn), "%s", dsn);
	filter_status(d, o);
	if (o->status == OUT_BOUNCED && d->svc->p->soft_bounce) {
		o->status = OUT_DEFERRED;
		o->softened = true;
		o->dsn[0] = '4';
	}
	if (status == OUT_SENT) {
		d->role->total_sent++;
		d->role->tls.sent += d->under_tls;
		d->role->tls.sent_forward_secret += d->forward_secret;
	}
	log_one(d, &d->rcpts[i], o);
}

/* Which success report the sender may have asked for (RFC 3461 section 5.2.2). */
static unsigned
success_flag(const struct delivery *d)
{
	if (d->server_dsn)
		return 0;               /* the next host takes care of it */
	return d->svc->lmtp && d->svc->p->lmtp_assume_final ? 2 : 1;
}

static void
take_reply(struct delivery *d, size_t i)
{
	struct outcome *o = &d->outcomes[i];
	const struct smtpc_rcpt *r = &d->tx_rcpts[i];

	o->reply = arena_dup(d->arena, r->reply);
	o->mta = r->reply.n > 0 ? d->mta : SPAN("");
}

static void
take_sent(struct delivery *d, size_t i)
{
	const struct smtpc_rcpt *r = &d->tx_rcpts[i];

	take_reply(d, i);
	d->outcomes[i].flags = success_flag(d);
	if (r->outcome == SMTPC_ACCEPTED)       /* a probe */
		decide(d, i, OUT_SENT, "2.1.5", arena_printf(d->arena, "delivery via %.*s: %.*s", SPAN_ARG(d->relay),
		    SPAN_ARG(r->reply)));
	else
		decide(d, i, OUT_SENT, r->dsn, r->text);
}

/* Passed over, but if no other server turns up this was the answer. */
static void
remember(struct delivery *d, size_t i)
{
	struct outcome *o = &d->outcomes[i];
	const struct smtpc_rcpt *r = &d->tx_rcpts[i];

	take_reply(d, i);
	o->passed_over = true;
	o->text = r->text;
	snprintf(o->dsn, sizeof(o->dsn), "%s", r->dsn);
	fault_clear(&d->fault);
}

static void
take_refused(struct delivery *d, size_t i)
{
	struct smtpc_rcpt *r = &d->tx_rcpts[i];

	if (smtpc_rcpt_soft(r) && !d->final) {
		if (d->passed_over.p != r->text.p)      /* one line for an answer to the whole message */
			log_smtp_passed_over(&d->log, r->text);
		d->passed_over = r->text;
		remember(d, i);
		r->outcome = SMTPC_PENDING;
		return;
	}
	take_reply(d, i);
	decide(d, i, smtpc_rcpt_soft(r) ? OUT_DEFERRED : OUT_BOUNCED, r->dsn, r->text);
}

void
outcome_collect(struct delivery *d)
{
	d->passed_over = SPAN("");
	for (size_t i = 0; i < d->n_rcpts; i++) {
		if (d->outcomes[i].status != OUT_NONE)
			continue;
		switch (d->tx_rcpts[i].outcome) {
		case SMTPC_SENT:
			take_sent(d, i);
			break;
		case SMTPC_REFUSED:
			take_refused(d, i);
			break;
		case SMTPC_ACCEPTED:
			if (d->probe)
				take_sent(d, i);
			break;
		case SMTPC_PENDING:
			break;
		}
	}
}

bool
outcome_all_decided(const struct delivery *d)
{
	for (size_t i = 0; i < d->n_rcpts; i++)
		if (d->outcomes[i].status == OUT_NONE)
			return false;
	return true;
}

void
outcome_rest(struct delivery *d, const struct fault *why)
{
	struct span text = arena_dup(d->arena, span_str(why->text));

	for (size_t i = 0; i < d->n_rcpts; i++) {
		if (d->outcomes[i].status != OUT_NONE)
			continue;
		d->outcomes[i].reply = d->outcomes[i].mta = SPAN("");
		decide(d, i, why->dsn[0] == '5' ? OUT_BOUNCED : OUT_DEFERRED, why->dsn, text);
	}
}

void
outcome_pass(struct delivery *d)
{
	for (size_t i = 0; i < d->n_rcpts; i++)
		if (d->outcomes[i].status == OUT_NONE) {
			d->outcomes[i].status = OUT_PASSED;
			d->outcomes[i].told = true;
		}
	d->pass = span_str(d->svc->p->best_mx_transport);
}

bool
outcome_remembered(struct delivery *d)
{
	bool any = false;

	for (size_t i = 0; i < d->n_rcpts; i++) {
		const struct outcome o = d->outcomes[i];

		if (o.status != OUT_NONE || o.text.n == 0)
			continue;
		decide(d, i, OUT_DEFERRED, o.dsn, o.text);
		any = true;
	}
	return any;
}

void
outcome_report(struct delivery *d)
{
	struct ipc_deliver_done done = {
		.pass = d->pass, .throttle_dsn = span_str(d->throttle.dsn), .throttle = span_str(d->throttle.text),
		.outcomes = ARENA_ARRAY(d->arena, struct ipc_outcome, d->n_rcpts + 1), .n_outcomes = d->n_rcpts,
	};

	for (size_t i = 0; i < d->n_rcpts; i++) {
		const struct outcome *o = &d->outcomes[i];

		done.outcomes[i] = (struct ipc_outcome){
			.index = d->rcpts[i].index,
			.status = o->status == OUT_PASSED ? 3 : o->status == OUT_SENT ? 0 : o->status == OUT_DEFERRED ? 1 : 2,
			.flags = o->status == OUT_SENT ? (uint8_t)o->flags : 0,
			.dsn = span_str(o->dsn), .text = span_slice(o->text, 0, 4096),
			.remote_mta = span_slice(o->mta, 0, 512), .diagnostic = span_slice(o->reply, 0, 2048),
		};
	}
	(void)ipc_reply_deliver_done(d->role->role->hub, d->from, &done);
	why_over(d);
}
