/*
 * One request of the queue from start to end: next hop after next hop, address after address, until every
 * recipient is decided. Runs again from the top of its stage whenever answers come in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "log/lines_smtp.h"
#include "mail/address.h"
#include "role/smtpc/smtpc.h"

#define DELIVERIES_MAX 4000u
/* Tables and texts; per recipient the replies of every session (mx_session_limit, fallbacks). */
#define ARENA_BASE ((size_t)64 << 20)
#define ARENA_PER_RCPT ((size_t)64 * 1024)

/* ---- begin and end */

static void
release(struct delivery *d)
{
	struct smtpc_role *s = d->role;

	ensure(d->conn == NULL);
	report_leave(d);
	content_release(d);
	checks_release(d);
	asks_free(&d->native);
	asks_free(&d->asks);
	loop_task_cancel(&d->task);
	fd_close(&d->file);
	list_remove(&d->node);
	s->n_deliveries--;
	struct arena *a = d->arena;

	arena_free(&a);         /* the delivery is its first allocation */
	smtpc_idle_check(s);
}

void
deliver_drop(struct delivery *d)
{
	if (d->conn != NULL)
		conn_free(d->conn);
	release(d);
}

static void
finish(struct delivery *d)
{
	d->stage = STAGE_DONE;
	outcome_report(d);
	release(d);
}

static void
on_task(void *ctx)
{
	deliver_run(ctx);
}

void
deliver_ready(void *delivery)
{
	deliver_run(delivery);
}

void
deliver_wake(struct delivery *d)
{
	loop_defer(d->role->loop, &d->task);
}

static struct span
wire_address(struct delivery *d, struct span addr)
{
	return d->svc->p->smtp_quote_rfc821_envelope ? address_external(addr, d->arena) : addr;
}

static struct span
orcpt_of(const struct delivery *d, size_t i)
{
	return d->rcpts[i].orcpt;
}

/* Where the message came from first; its name there, else ours. */
static const struct smtpc_xforward *
xforward_of(struct delivery *d)
{
	const struct envelope *e = &d->env;
	struct smtpc_xforward *xf = ARENA_NEW(d->arena, struct smtpc_xforward);

	xf->value[SMTPC_XF_NAME] = e->client_name;
	xf->value[SMTPC_XF_ADDR] = e->client_addr;
	xf->value[SMTPC_XF_PORT] = e->client_port;
	xf->value[SMTPC_XF_PROTO] = e->client_protocol;
	xf->value[SMTPC_XF_HELO] = e->client_helo;
	xf->value[SMTPC_XF_IDENT] = e->log_ident.n > 0 ? e->log_ident : d->qid;
	xf->value[SMTPC_XF_SOURCE] = e->local_origin ? SPAN("LOCAL") : SPAN("REMOTE");
	return xf;
}

/* The transaction, the same for every server; generic_envelope may change the addresses before. */
static void
make_tx(struct delivery *d)
{
	static const char *const rets[] = { "", "FULL", "HDRS" };

	d->tx = (struct smtpc_tx){
		.sender = wire_address(d, d->tx_sender), .ret = span_str(rets[d->env.ret <= 2 ? d->env.ret : 0]),
		.envid = d->env.envid, .bytes = d->size, .rcpts = d->tx_rcpts, .n_rcpts = d->n_rcpts,
		.arena = d->arena, .probe = d->probe, .notice = delivery_is_notice(d),
	};
	d->tx.xforward = d->svc->p->smtp_send_xforward_command ? xforward_of(d) : NULL;
	for (size_t i = 0; i < d->n_rcpts; i++) {
		d->tx_rcpts[i].addr = wire_address(d, d->rcpt_out[i]);
		d->tx_rcpts[i].notify = span_str(envelope_notify_text(d->rcpts[i].notify));
		d->tx_rcpts[i].orcpt = orcpt_of(d, i);
	}
}

static void
copy_rcpts(struct delivery *d, const struct ipc_deliver_start *m)
{
	struct arena *a = d->arena;

	d->n_rcpts = m->n_rcpts;
	d->rcpts = ARENA_ARRAY(a, struct ipc_rcpt, m->n_rcpts + 1);
	d->tx_rcpts = ARENA_ARRAY(a, struct smtpc_rcpt, m->n_rcpts + 1);
	d->outcomes = ARENA_ARRAY(a, struct outcome, m->n_rcpts + 1);
	d->rcpt_out = ARENA_ARRAY(a, struct span, m->n_rcpts + 1);
	for (size_t i = 0; i < m->n_rcpts; i++) {
		const struct ipc_rcpt *r = &m->rcpts[i];

		d->rcpts[i] = (struct ipc_rcpt){ .index = r->index, .addr = arena_dup(a, r->addr),
			.orig = arena_dup(a, r->orig), .orcpt = arena_dup(a, r->orcpt), .notify = r->notify };
		d->rcpt_out[i] = d->rcpts[i].addr;
	}
}

static void
copy_request(struct delivery *d, struct ipc_deliver_start *m)
{
	struct arena *a = d->arena;

	d->qid = arena_dup(a, m->qid);
	d->nexthop = arena_dup(a, m->nexthop);
	d->arrival_us = m->arrival_us;
	d->active_us = m->active_us;
	d->handed_us = clock_wall_us();
	d->backlog = m->backlog;
	d->probe = m->probe;
	d->passed = m->passed;
	d->size = m->size;
	d->offset = m->offset;
	if (m->inline_content)
		d->content = arena_dup(a, m->content);
	d->file = m->file;
	m->file = -1;
	d->log.tag = d->svc->cs->log_tag;
	snprintf(d->log.qid, sizeof(d->log.qid), "%.*s", SPAN_ARG(d->qid));
}

static struct delivery *
delivery_new(struct smtpc_role *s, struct service *svc, struct ipc_from from, struct ipc_deliver_start *m)
{
	struct arena *a = arena_new(size_add(ARENA_BASE, size_mul(m->n_rcpts, ARENA_PER_RCPT)));
	struct delivery *d = ARENA_NEW(a, struct delivery);

	*d = (struct delivery){ .role = s, .svc = svc, .from = from, .arena = a, .file = -1 };
	loop_task_init(&d->task, on_task, d);
	list_push_back(&s->deliveries, &d->node);
	s->n_deliveries++;
	copy_request(d, m);
	copy_rcpts(d, m);
	d->asks = asks_new(s->role->asks, deliver_ready, d);
	d->facts = (struct hop){ .svc = &svc->hop, .own = &s->own, .arena = a, .asks = d->asks, .native = native_asks,
		.native_ctx = d };
	return d;
}

/* Requests that cannot even begin are answered with the same outcome for everyone. */
static void
refuse(struct smtpc_role *s, struct ipc_from from, const struct ipc_deliver_start *m, const char *dsn,
    const char *text)
{
	struct arena *a = arena_new(size_add(1 << 16, size_mul(m->n_rcpts, 256)));
	struct ipc_deliver_done done = { .outcomes = ARENA_ARRAY(a, struct ipc_outcome, m->n_rcpts + 1),
		.n_outcomes = m->n_rcpts };

	for (size_t i = 0; i < m->n_rcpts; i++)
		done.outcomes[i] = (struct ipc_outcome){ .index = m->rcpts[i].index, .status = 1,
			.dsn = span_str(dsn), .text = span_str(text) };
	(void)ipc_reply_deliver_done(s->role->hub, from, &done);
	arena_free(&a);
}

static bool
content_complete(const struct ipc_deliver_start *m)
{
	return m->inline_content ? m->content.n == m->size : m->file >= 0 || m->size == 0;
}

void
deliver_on_start(void *ctx, struct ipc_from from, struct ipc_deliver_start *m)
{
	struct role *r = ctx;
	struct smtpc_role *s = r->state;
	struct service *svc = service_find(s, m->service);
	struct delivery *d;
	struct fault why;

	if (r->draining || s->n_deliveries >= DELIVERIES_MAX) {
		struct ipc_deliver_done done = { .busy = true };

		(void)ipc_reply_deliver_done(r->hub, from, &done);
		return;
	}
	if (svc == NULL || !content_complete(m)) {
		refuse(s, from, m, "4.3.0", svc == NULL ? "mail transport unavailable" : "damaged request");
		return;
	}
	d = delivery_new(s, svc, from, m);
	if (!envelope_read(arena_dup(d->arena, m->envelope), d->arena, &d->env, &why)) {
		refuse(s, from, m, "4.3.0", why.text);
		release(d);
		return;
	}
	d->tx_sender = d->env.sender;
	d->facts.tls_required_no = d->env.tls_optional;
	hop_list(&svc->hop, d->nexthop, d->arena, &d->hops);
	deliver_wake(d);
}

void
deliver_on_roll(void *ctx, struct ipc_from from, struct ipc_deliver_roll *m)
{
	struct role *r = ctx;
	struct smtpc_role *s = r->state;
	struct arena *a = arena_new(1 << 20);
	struct ipc_deliver_rolled answer = { .under_way = ARENA_ARRAY(a, struct ipc_under_way, s->n_deliveries + 1) };

	(void)m;
	LIST_EACH(n, &s->deliveries) {
		const struct delivery *d = LIST_ITEM(n, struct delivery, node);

		if (d->from.peer_id == from.peer_id)
			answer.under_way[answer.n_under_way++].id = d->from.id;
	}
	(void)ipc_reply_deliver_rolled(r->hub, from, &answer);
	arena_free(&a);
}

/* ---- next hops */

/* best_mx_transport: we are the best server of a domain that is not configured here, by our address or by the name it says. Only once, or it would go round. */
static bool
passes(const struct delivery *d, const struct fault *why)
{
	return (d->facts.ours || d->met_myself) && strcmp(why->dsn, "5.4.6") == 0 && d->svc->p->best_mx_transport[0] != '\0' && !d->svc->lmtp &&
	    !d->passed && !d->probe;
}

static void
nobody_left(struct delivery *d)
{
	struct fault why = d->fault;

	if (why.dsn[0] == '\0' && outcome_remembered(d) && outcome_all_decided(d)) {
		finish(d);
		return;
	}
	if (why.dsn[0] == '\0')
		fault_set(&why, "4.3.0", "server unavailable or unable to receive mail");
	if (why.dsn[0] == '4')
		d->throttle = why;
	if (passes(d, &why))
		outcome_pass(d);
	else
		outcome_rest(d, &why);
	finish(d);
}

/* This next hop is used up. False: it was the last, and the delivery is over. */
static bool
next_hop(struct delivery *d)
{
	d->hop++;
	d->resolved = false;
	d->clear_now = false;
	if (d->hop >= d->hops.count) {
		nobody_left(d);
		return false;
	}
	d->stage = STAGE_BEGIN;
	return true;
}

/* ---- stages: each returns true when the next one may run */

/* Facts that a table cannot give: the whole delivery waits for better times. */
static bool
postpone(struct delivery *d, const struct fault *why)
{
	outcome_rest(d, why);
	finish(d);
	return false;
}

static bool
stage_begin(struct delivery *d)
{
	struct fault why;
	enum map_result policy, login, generic, checks;

	report_leave(d);
	hop_begin(&d->facts, d->hops.hop[d->hop]);
	policy = hop_table(&d->facts);
	fault_clear(&why);
	login = sasl_login_by_hop(d, d->facts.key, &why);
	generic = generic_envelope(d, &why);
	checks = checks_run(d, &why);
	if (policy == MAP_WAIT || login == MAP_WAIT || generic == MAP_WAIT || checks == MAP_WAIT)
		return false;
	if (login == MAP_DEFER || generic == MAP_DEFER || checks == MAP_DEFER) {
		fault_set(&why, "4.3.0", "Temporary lookup error");
		return postpone(d, &why);
	}
	if (d->tx.rcpts == NULL)
		make_tx(d);
	d->final = false;
	d->discard = d->svc->discard;
	if (reuse_take(d)) {
		d->stage = STAGE_SESSION;
		d->tried = d->conn->l.addr;
		d->tried.text = arena_dup(d->arena, d->tried.text);
		if (session_begin(d->conn))
			hop_link_pump(&d->conn->l);
		return false;
	}
	d->stage = STAGE_RESOLVE;
	return true;
}

/* A cached connection has had its turn at this server already. */
static void
drop_tried(struct delivery *d)
{
	struct hop *f = &d->facts;
	size_t out = 0;

	if (d->tried.text.n == 0 || d->clear_now) {
		d->tried.text = SPAN("");
		return;                 /* a retry in clear is for that very server */
	}
	for (size_t i = 0; i < f->count; i++)
		if (f->list[i].port != d->tried.port || !span_eq(f->list[i].text, d->tried.text))
			f->list[out++] = f->list[i];
	f->count = out;
	d->tried.text = SPAN("");
}

static bool
stage_resolve(struct delivery *d)
{
	struct span mistake;
	struct fault why;
	enum map_result r = hop_resolve(&d->facts, &why);

	report_begin(d);
	if (r != MAP_WAIT)
		policy_log_facts(d);
	if (r == MAP_ABSENT || r == MAP_DEFER)
		report_unresolved(d);
	hop_list_found(&d->hops, d->hop, &d->facts);
	switch (r) {
	case MAP_FOUND:
		d->resolved = true;
		drop_tried(d);
		d->addr = 0;
		d->sessions = 0;
		d->stage = STAGE_ADDRESS;
		return true;
	case MAP_WAIT:
		return false;
	case MAP_ABSENT:
	case MAP_DEFER:
		break;
	}
	mistake = hop_list_leads_nowhere(&d->hops, d->hop, &why, d->arena);
	if (mistake.n > 0)
		log_warning(&d->log, "%.*s", SPAN_ARG(mistake));
	if (d->hop + 1 < d->hops.count)
		why_next_hop(d, &why);
	if (d->fault.dsn[0] == '\0' || why.dsn[0] == '4' || d->hop == 0)
		d->fault = why;
	return next_hop(d);
}

static bool
used_up(const struct delivery *d)
{
	int limit = d->svc->p->smtp_mx_session_limit;

	return d->addr >= d->facts.count || (limit > 0 && d->sessions >= limit);
}

/* Facts about one host: its login, the keywords to ignore, what its TLS decision needs. */
static enum map_result
host_facts(struct delivery *d, struct hop_address *a, struct fault *why)
{
	struct login login;
	struct map_hit hit;
	enum map_result r = MAP_ABSENT;

	if (!d->login_by_hop) {
		r = sasl_login_by_host(d, a->host, &login, why);
		if (r == MAP_WAIT || r == MAP_DEFER)
			return r;
		d->login = login;
	}
	d->discard = d->svc->discard;
	if (d->svc->discard_by_address != NULL && a->family != AF_UNIX) {
		r = maps_find(d->svc->discard_by_address, a->text, d->asks, d->arena, &hit, why);
		if (r == MAP_WAIT || r == MAP_DEFER)
			return r;
		if (r == MAP_FOUND)
			d->discard = smtpc_cap_mask(hit.value);
	}
	if (trace_level(d, a) == MAP_WAIT)
		return MAP_WAIT;
	return hop_host(&d->facts, a);
}

/* The server of the attempt that failed under TLS? */
static bool
is_retried(const struct delivery *d, const struct hop_address *a)
{
	return a->port == d->retried_port && span_eq(a->text, d->retried);
}

static void
connect_to(struct delivery *d, const struct hop_address *a)
{
	struct conn *c;
	int limit = d->svc->p->smtp_mx_session_limit;

	d->final = d->hop + 1 >= d->hops.count && (d->addr + 1 >= d->facts.count || (limit > 0 && d->sessions + 1 >= limit));
	c = conn_new(d, a);
	/* Allowed for one server under one decision: never carried over to another one. */
	c->tls_off = d->clear_now && is_retried(d, a);
	c->tls_log = d->tls_log;
	d->clear_now = false;
	if (!policy_decide(d, a, c->arena, &c->decision)) {
		conn_free(c);
		d->addr++;
		deliver_wake(d);
		return;
	}
	c->tls_off = c->tls_off && c->decision.level == TLS_LEVEL_MAY;
	ladder_choose(d, c);
	d->relay = arena_dup(d->arena, SPAN(""));
	d->stage = STAGE_SESSION;
	hop_link_connect(&c->l, &d->role->bind);
}

static bool
stage_address(struct delivery *d)
{
	struct fault why;
	struct hop_address *a;

	if (used_up(d))
		return next_hop(d);
	a = &d->facts.list[d->addr];
	switch (host_facts(d, a, &why)) {
	case MAP_WAIT:
		return false;
	case MAP_DEFER:
		fault_set(&why, "4.3.0", "Temporary lookup error");
		return postpone(d, &why);
	case MAP_FOUND:
	case MAP_ABSENT:
		break;
	}
	connect_to(d, a);
	return false;
}

void
deliver_run(struct delivery *d)
{
	bool more = true;

	while (more) {
		switch (d->stage) {
		case STAGE_BEGIN:
			more = stage_begin(d);
			break;
		case STAGE_RESOLVE:
			more = stage_resolve(d);
			break;
		case STAGE_ADDRESS:
			more = stage_address(d);
			break;
		case STAGE_SESSION:
		case STAGE_DONE:
			return;
		}
	}
}

/* ---- after a session */

/* What broke the session is the outcome of whoever is still undecided, if no other server can try. */
static void
apply_fault(struct delivery *d, const struct fault *why, unsigned flags)
{
	bool hard = why->dsn[0] == '5', connecting = span_starts(span_str(why->text), SPAN("connect to "));

	d->fault = *why;
	if (hard || d->final) {
		if (!hard && (flags & FAIL_THROTTLE) != 0)
			d->throttle = *why;
		if (passes(d, why))
			outcome_pass(d);
		else
			outcome_rest(d, why);
	} else if (!connecting) {
		log_smtp_passed_over(&d->log, span_str(why->text));
	}
}

void
deliver_session_over(struct delivery *d, const struct fault *why, unsigned flags)
{
	ensure(d->conn == NULL);
	if ((flags & FAIL_STALE) != 0) {
		d->tried.text = SPAN("");
		d->stage = STAGE_BEGIN;
		deliver_wake(d);
		return;
	}
	outcome_collect(d);
	if (why != NULL && (flags & FAIL_SAME_AGAIN) == 0)
		apply_fault(d, why, flags);
	why_session(d, why, (flags & FAIL_SAME_AGAIN) != 0);
	if (outcome_all_decided(d)) {
		finish(d);
		return;
	}
	if ((flags & FAIL_SAME_AGAIN) == 0)
		d->addr++;
	d->stage = d->resolved ? STAGE_ADDRESS : STAGE_RESOLVE;
	deliver_wake(d);
}
