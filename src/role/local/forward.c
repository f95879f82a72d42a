/* Forwarding: the message again, with a Delivered-To of its own, as a new message in the queue. */
#include "base/clock.h"
#include "base/log.h"
#include "mail/address.h"
#include "mail/received.h"
#include "role/local/delivery.h"
#include "role/local/submit.h"

/* All targets of this message: the same sender. */
static bool
belongs(const struct plan_action *x, const struct plan_action *first)
{
	return x->kind == PLAN_FORWARD && !x->done && span_eq(x->sender, first->sender);
}

static size_t
count_targets(const struct plan_action *first)
{
	size_t n = 0;

	for (const struct plan_action *x = first; x != NULL; x = x->next)
		n += belongs(x, first);
	return n;
}

/*
 * DSN parameters (RFC 3461 section 5.2.7): a list (other sender) ends them here; one target takes them along;
 * of several, success is reported here as "expanded" and no longer asked for.
 */
static unsigned
notify_of(const struct delivery *d, const struct plan_action *first, size_t targets, unsigned notify)
{
	if (!span_eq(first->sender, d->env.sender))
		return 0;
	if (targets == 1 || notify == 0 || (notify & ENVELOPE_NOTIFY_NEVER))
		return notify;
	notify &= ~(unsigned)ENVELOPE_NOTIFY_SUCCESS;
	return notify != 0 ? notify : ENVELOPE_NOTIFY_NEVER;
}

static enum outcome_report
report_of(const struct delivery *d, const struct plan_action *first, size_t targets)
{
	if (!span_eq(first->sender, d->env.sender))
		return REPORT_DELIVERED;
	return targets > 1 || d->plan.count > 1 ? REPORT_EXPANDED : REPORT_NONE;
}

static void
fill_envelope(struct delivery *d, struct plan_action *first, struct envelope *env)
{
	const struct ipc_rcpt *r = &delivery_rcpt(d)->in;
	size_t targets = d->plan.count > 1 ? 2 : count_targets(first);
	bool list = !span_eq(first->sender, d->env.sender);

	envelope_copy(env, &d->env, d->arena);
	env->sender = first->sender;
	env->arrival_us = env->begun_us = clock_wall_us();
	env->delay_warned = env->hold = false;
	env->filter = env->redirect = env->verp = (struct span){ 0 };
	env->message_id = env->resent_message_id = (struct span){ 0 };  /* noted, and logged, as for all mail */
	if (list) {
		env->envid = (struct span){ 0 };
		env->ret = ENVELOPE_RET_NONE;
	}
	for (struct plan_action *x = first; x != NULL; x = x->next) {
		struct envelope_rcpt rcpt = { .addr = x->text, .notify = notify_of(d, first, targets, r->notify) };

		if (!belongs(x, first))
			continue;
		if (!list) {
			rcpt.orig = r->orig.n > 0 ? r->orig : r->addr;
			rcpt.orcpt = r->orcpt;
		}
		rcpt.addr = address_complete(rcpt.addr, d->p->myorigin, d->arena);
		envelope_add_rcpt(env, d->arena, &rcpt);
	}
}

static void
on_submitted(void *ctx, const struct submit_result *r)
{
	struct delivery *d = ctx;
	struct plan_action *first = d->plan.first;

	d->submission = NULL;
	while (first != NULL && (first->kind != PLAN_FORWARD || first->done))
		first = first->next;
	if (first == NULL)
		return;
	if (r->ok)
		delivery_outcome(d, first->to, OUTCOME_SENT, report_of(d, first, count_targets(first)), "2.0.0",
		    arena_printf(d->arena, "forwarded as %s", r->qid));
	else
		delivery_failed(d, first->to, &r->why);
	for (struct plan_action *x = first->next; x != NULL; x = x->next)
		if (belongs(x, first))
			x->done = true;
	first->done = true;
	delivery_go(d);
}

static struct span
received_header(struct delivery *d, const char *qid)
{
	struct received rec = {
		.by_host = span_str(d->p->myhostname), .mail_name = span_str(d->p->mail_name),
		.qid = arena_dup(d->arena, span_str(qid)), .when_us = clock_wall_us(), .hide_client = true,
	};
	struct span text;
	struct buf b;

	buf_init(&b, 8192);
	received_write(&rec, d->arena, &b);
	text = arena_dup(d->arena, buf_span(&b));
	buf_release(&b);
	return text;
}

void
delivery_forward(struct delivery *d, struct plan_action *first)
{
	struct envelope env;
	struct submit_input in = { .env = &env, .fd = d->fd, .off = d->off, .size = d->size, .origin = SPAN("local"),
		.no_bcc = true, .header_checks_off = true, .done = on_submitted, .ctx = d };
	char qid[QID_MAX];

	fill_envelope(d, first, &env);
	local_make_qid(d->l, qid);
	in.headers[0] = received_header(d, qid);
	if (d->conf->delivered_in_forward)
		in.headers[1] = delivery_head(d, HEAD_DELIVERED_TO, first->sender, SPAN("\r\n"));
	d->submission = submit(d->l, qid, &in);
}
