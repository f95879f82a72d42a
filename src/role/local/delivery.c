/* Deliveries: from the queue's request to its answer, and the log lines between. */
#include "role/local/delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "log/lines_smtp.h"
#include "mail/address.h"
#include "mail/header.h"
#include "role/common/status_filter.h"
#include "role/local/submit.h"

#define ARENA_MAX ((size_t)256 << 20)
#define HEADER_MAX ((size_t)1 << 20)
#define DELIVERED_TO_MAX 1000

static const struct agent *const agents[] = {
	&agent_local, &agent_virtual, &agent_pipe, &agent_error, &agent_discard,
};

/* ---- the end */

void
delivery_free(struct delivery *d)
{
	struct local *l = d->l;
	struct arena *a = d->arena;

	list_remove(&d->node);
	l->n_deliveries--;
	loop_task_cancel(&d->turn);
	if (d->run_id != 0)
		ipc_forget(l->role->hub, d->run_id);
	for (struct delivery_read *r = d->reads; r != NULL; r = r->next)
		if (r->ask_id != 0)
			ipc_forget(l->role->hub, r->ask_id);
	submit_cancel(&d->submission);
	asks_free(&d->asks);
	fd_close(&d->fd);
	arena_free(&a);
}

static void
answer(struct delivery *d)
{
	struct ipc_outcome *v = ARENA_ARRAY(d->arena, struct ipc_outcome, d->n_rcpts + 1);
	struct ipc_deliver_done m = { .outcomes = v, .n_outcomes = d->n_rcpts };
	struct local *l = d->l;

	for (size_t i = 0; i < d->n_rcpts; i++) {
		const struct delivery_rcpt *r = &d->rcpts[i];

		v[i] = (struct ipc_outcome){
			.index = r->in.index, .status = (uint8_t)r->outcome, .flags = r->report,
			.dsn = span_str(r->dsn), .text = r->text,
		};
	}
	ipc_reply_deliver_done(l->role->hub, d->from, &m);
	l->delivered += d->n_rcpts;
	delivery_free(d);
	local_check_idle(l);
}

static void
on_turn(void *ctx)
{
	struct delivery *d = ctx;

	if (d->at >= d->n_rcpts)
		answer(d);
	else
		d->agent->work(d);
}

void
delivery_go(struct delivery *d)
{
	loop_defer(d->l->role->loop, &d->turn);
}

/* ---- outcomes */

static int
weight(enum outcome o)
{
	return o == OUTCOME_DEFERRED ? 2 : o == OUTCOME_BOUNCED ? 1 : 0;
}

static enum log_status
log_status_of(const struct delivery *d, enum outcome o, bool soft)
{
	switch (o) {
	case OUTCOME_SENT:
		return d->probe ? LOG_DELIVERABLE : LOG_SENT;
	case OUTCOME_DEFERRED:
		return soft ? LOG_SOFTBOUNCE : LOG_DEFERRED;
	case OUTCOME_BOUNCED:
		return d->probe ? LOG_UNDELIVERABLE : LOG_BOUNCED;
	}
	return LOG_DEFERRED;
}

static void
log_outcome(struct delivery *d, struct span to, enum outcome outcome, bool soft, const char *dsn, struct span text)
{
	struct delivery_rcpt *r = delivery_rcpt(d);
	struct span orig = span_eq_ci(to, r->in.addr) ? r->in.orig : r->in.orig.n > 0 ? r->in.orig : r->in.addr;
	struct log_delivery ev = {
		.to = address_external(to, d->arena),
		.orig_to = orig.n > 0 ? address_external(orig, d->arena) : orig,
		.relay = span_str(d->agent->relay != NULL ? d->agent->relay : d->service->name),
		.begun_us = d->env.begun_us != 0 ? d->env.begun_us : d->env.arrival_us,
		.active_us = d->active_us, .handed_us = d->handed_us, .done_us = clock_wall_us(),
		.resolution = d->p->delay_logging_resolution_limit,
		.dsn = dsn, .status = log_status_of(d, outcome, soft), .reason = text,
	};

	log_delivered(&d->log, &ev);
}

static void
filter_status(struct delivery *d, enum outcome *outcome, char *code, struct span *text)
{
	const char *param;
	struct maps *m = d->conf == NULL || d->agent->filter == NULL ? NULL : d->agent->filter(d->conf, &param);

	if (m != NULL && status_filter(m, param, &d->log, d->arena, code, text) && *outcome != OUTCOME_SENT)
		*outcome = code[0] == '5' ? OUTCOME_BOUNCED : OUTCOME_DEFERRED;
}

void
delivery_outcome(struct delivery *d, struct span to, enum outcome outcome, enum outcome_report report,
    const char *dsn, struct span text)
{
	struct delivery_rcpt *r = delivery_rcpt(d);
	char code[STATUS_DSN_MAX];
	bool soft;

	snprintf(code, sizeof(code), "%s", dsn);
	filter_status(d, &outcome, code, &text);
	soft = outcome == OUTCOME_BOUNCED && d->p->soft_bounce && !d->probe;
	if (soft) {
		outcome = OUTCOME_DEFERRED;
		code[0] = '4';
	}
	log_outcome(d, to, outcome, soft, code, text);
	if (r->settled && weight(outcome) <= weight(r->outcome))
		return;
	r->settled = true;
	r->outcome = outcome;
	r->report = (uint8_t)report;
	snprintf(r->dsn, sizeof(r->dsn), "%s", code);
	r->text = arena_dup(d->arena, text);
}

void
delivery_failed(struct delivery *d, struct span to, const struct fault *why)
{
	const char *dsn = why->dsn[0] != '\0' ? why->dsn : "4.3.0";

	delivery_outcome(d, to, dsn[0] == '5' ? OUTCOME_BOUNCED : OUTCOME_DEFERRED, REPORT_NONE, dsn,
	    span_str(why->text));
}

void
delivery_rcpt_done(struct delivery *d)
{
	if (!delivery_rcpt(d)->settled) {
		struct fault why;

		fault_set(&why, "4.3.0", "internal error: no outcome");
		delivery_failed(d, delivery_rcpt(d)->in.addr, &why);
	}
	d->at++;
	d->begun = false;
	d->action = NULL;
	d->plan = (struct plan){ 0 };
	delivery_go(d);
}

void
delivery_all_done(struct delivery *d)
{
	while (d->at + 1 < d->n_rcpts && delivery_rcpt(d)->settled)
		d->at++;
	delivery_rcpt_done(d);
}

/* ---- the message */

bool
delivery_looped(const struct delivery *d, struct span addr)
{
	for (size_t i = 0; i < d->n_delivered_to; i++)
		if (span_eq_ci(d->delivered_to[i], addr))
			return true;
	return false;
}

/* The header block, as far as it fits. */
static struct span
read_header(struct delivery *d)
{
	size_t n = d->size < HEADER_MAX ? (size_t)d->size : HEADER_MAX;
	char *p = arena_alloc(d->arena, n + 1);
	size_t have = 0;
	ptrdiff_t end = -1;

	while (have < n && end < 0) {
		size_t piece = n - have < 16384 ? n - have : 16384;

		if (fd_pread_all(d->fd, p + have, piece, d->off + have) < 0)
			break;
		have += piece;
		end = span_find(span_of(p, have), SPAN("\r\n\r\n"));
	}
	return span_of(p, end >= 0 ? (size_t)end + 2 : have);
}

static void
find_delivered_to(struct delivery *d)
{
	struct span rest = read_header(d), header, name, value;

	d->delivered_to = ARENA_ARRAY(d->arena, struct span, DELIVERED_TO_MAX);
	while (d->n_delivered_to < DELIVERED_TO_MAX && header_next(&rest, &header))
		if (header_split(header, &name, &value) && span_eq_ci(name, SPAN("Delivered-To")))
			d->delivered_to[d->n_delivered_to++] = address_internal(header_unfold(value, d->arena), d->arena);
}

/* ---- the beginning */

static void
on_ready(void *ctx)
{
	struct delivery *d = ctx;

	if (d->reads_waiting == 0)
		delivery_go(d);
}

static const struct agent *
find_agent(const char *command)
{
	for (size_t i = 0; i < sizeof(agents) / sizeof(agents[0]); i++)
		if (strcmp(agents[i]->command, command) == 0)
			return agents[i];
	return NULL;
}

static void
take_rcpts(struct delivery *d, const struct ipc_deliver_start *m)
{
	d->n_rcpts = m->n_rcpts;
	d->rcpts = ARENA_ARRAY(d->arena, struct delivery_rcpt, m->n_rcpts + 1);
	for (size_t i = 0; i < m->n_rcpts; i++) {
		d->rcpts[i].in = m->rcpts[i];
		d->rcpts[i].in.addr = arena_dup(d->arena, m->rcpts[i].addr);
		d->rcpts[i].in.orig = arena_dup(d->arena, m->rcpts[i].orig);
		d->rcpts[i].in.orcpt = arena_dup(d->arena, m->rcpts[i].orcpt);
	}
}

static bool
take_content(struct delivery *d, struct ipc_deliver_start *m, struct fault *why)
{
	d->size = m->size;
	if (m->inline_content) {
		d->size = m->content.n;
		d->fd = fd_sealed("message", m->content);
	} else {
		d->fd = m->file;
		d->off = m->offset;
		m->file = -1;
	}
	return d->fd >= 0 || fault_set(why, "4.3.0", "cannot open the message: %s", fd_error(d->fd));
}

static bool
prepare(struct delivery *d, struct ipc_deliver_start *m, struct fault *why)
{
	const struct conf *c = d->l->role->conf;
	const char *name = arena_cstr(d->arena, m->service);

	take_rcpts(d, m);
	d->service = conf_find_service(c, name, false);
	if (d->service == NULL)
		d->service = c->none;
	d->p = d->service->params;
	d->log.tag = d->service->log_tag;
	d->agent = find_agent(d->service->command != NULL ? d->service->command : "");
	if (d->agent == NULL)
		return fault_set(why, "4.3.0", "mail transport unavailable");
	d->conf = local_agent_conf(d->l, d->p, why);
	if (d->conf == NULL || !take_content(d, m, why))
		return false;
	if (!envelope_read(arena_dup(d->arena, m->envelope), d->arena, &d->env, why)) {
		fault_set(why, "4.3.0", "damaged envelope");
		return false;
	}
	find_delivered_to(d);
	return true;
}

/* Nothing can be done for any recipient. */
static void
refuse(struct delivery *d, const struct fault *why)
{
	if (d->agent == NULL)
		d->agent = &agent_error;
	while (d->at < d->n_rcpts) {
		delivery_failed(d, delivery_rcpt(d)->in.addr, why);
		d->at++;
	}
	delivery_go(d);
}

void
delivery_begin(struct local *l, struct ipc_from from, struct ipc_deliver_start *m)
{
	struct arena *a = arena_new(ARENA_MAX);
	struct delivery *d = ARENA_NEW(a, struct delivery);
	struct fault why = { 0 };

	d->arena = a;
	d->l = l;
	d->from = from;
	d->fd = -1;
	d->handed_us = clock_wall_us();
	d->active_us = m->active_us;
	d->probe = m->probe;
	d->nexthop = arena_dup(a, m->nexthop);
	snprintf(d->qid, sizeof(d->qid), "%.*s", SPAN_ARG(m->qid));
	snprintf(d->log.qid, sizeof(d->log.qid), "%s", d->qid);
	loop_task_init(&d->turn, on_turn, d);
	list_push_back(&l->deliveries, &d->node);
	l->n_deliveries++;
	d->asks = asks_new(l->role->asks, on_ready, d);
	if (prepare(d, m, &why))
		delivery_go(d);
	else
		refuse(d, &why);
}
