/* Deliveries: starting them at the agents, and what comes back. */
#include "role/queue/deliver.h"

#include <stdio.h>
#include <stdlib.h>

#include "log/lines_bounce.h"
#include "log/lines_smtp.h"
#include "mail/address.h"
#include "role/queue/queue.h"

enum {
	DELIVERY_MS = 24 * 3600 * 1000,         /* so long we believe an agent that it is still at it (roll.c) */
	DISPATCH_BUDGET = 200,
	CHOKED_BYTES = 4 << 20,                 /* queued to one agent: the rest can wait */
	BUSY_US = 200000,
	STARTING_US = 1000000,                  /* no agent there: look again */
	STARTING_MAX_US = 10000000,             /* then the transport is down */
	OUTCOME_PASSED = 3,                     /* status of an outcome (messages.tab) */
};

struct delivery {
	struct list node;               /* queue->handed, in the order of their ids */
	struct queue *q;
	struct active *a;
	struct job *job;
	struct sched_dest *dest;
	uint64_t peer_id, id;
	const uint32_t *rcpts;
	uint32_t n;
};

/* ---- outcomes */

static void
log_suspended(struct active *a, uint32_t rcpt, const struct fault *why)
{
	const struct envelope_rcpt *r = &a->env.rcpts[rcpt];
	struct log l = message_log(a->m);
	int64_t now = clock_wall_us();
	struct log_delivery ev = {
		.to = address_external(r->addr, a->arena),
		.orig_to = address_external(r->orig, a->arena),
		.begun_us = a->env.begun_us != 0 ? a->env.begun_us : a->m->arrival_us,
		.active_us = a->active_us,
		.handed_us = now,
		.done_us = now,
		.resolution = a->q->params->delay_logging_resolution_limit,
		.dsn = why->dsn[0] != '\0' ? why->dsn : "4.3.0",
		.status = LOG_DEFERRED,
		.reason = span_str(why->text),
	};

	l.tag = a->q->error_tag;
	log_delivered(&l, &ev);
}

/* Note a new reason; true when it is another than before (and must be written down). */
static bool
set_reason(struct active *a, struct rcpt_state *r, struct span dsn, struct span text)
{
	bool same = span_eq(r->dsn, dsn) && span_eq(r->text, text);

	if (!same) {
		r->dsn = arena_dup(a->arena, dsn);
		r->text = arena_dup(a->arena, text);
	}
	return !same;
}

void
deliver_defer(struct active *a, const uint32_t *rcpts, size_t n, const struct fault *why)
{
	for (size_t i = 0; i < n; i++) {
		struct rcpt_state *r = &a->st.rcpts[rcpts[i]];

		log_suspended(a, rcpts[i], why);
		if (set_reason(a, r, span_str(why->dsn[0] != '\0' ? why->dsn : "4.3.0"), span_str(why->text)))
			state_write_rcpts(journal_records(a->q, a->m), &a->st, &rcpts[i], 1);
	}
	a->left -= (uint32_t)n;
	loop_defer(a->q->loop, &a->next);
}

void
deliver_discard(struct active *a, uint32_t rcpt)
{
	struct log l = message_log(a->m);

	log_bounce_discarded(&l);
	a->st.rcpts[rcpt].stage = RCPT_DONE;
	state_write_rcpts(journal_records(a->q, a->m), &a->st, &rcpt, 1);
	a->left--;
	loop_defer(a->q->loop, &a->next);
}

/* confirm_delay_cleared: whoever was told of the delay hears that it is over. */
static bool
clears_delay(const struct active *a, const struct envelope_rcpt *r)
{
	unsigned notify = r->notify != 0 ? r->notify : ENVELOPE_NOTIFY_DELAY;

	return a->st.warned && a->q->params->confirm_delay_cleared && (notify & ENVELOPE_NOTIFY_NEVER) == 0 &&
	    (notify & ENVELOPE_NOTIFY_DELAY) != 0;
}

static void
take_sent(struct active *a, const struct ipc_outcome *o, struct rcpt_state *r)
{
	const struct envelope_rcpt *rcpt = &a->env.rcpts[o->index];
	bool reportable = o->flags != REPORT_NONE && o->flags <= REPORT_EXPANDED;

	r->stage = RCPT_DONE;
	if ((rcpt->notify & ENVELOPE_NOTIFY_SUCCESS) != 0 && reportable) {
		r->stage = RCPT_REPORT;
		r->report = (enum rcpt_report)o->flags;
	} else if (clears_delay(a, rcpt)) {
		r->stage = RCPT_REPORT;
		r->report = reportable ? (enum rcpt_report)o->flags : REPORT_RELAYED;
	}
}

/* True when there is something to write down. */
static bool
take_outcome(struct active *a, const struct ipc_outcome *o)
{
	struct rcpt_state *r = &a->st.rcpts[o->index];
	bool news = set_reason(a, r, o->dsn.n > 0 ? o->dsn : SPAN("4.0.0"), o->text);

	r->remote_mta = arena_dup(a->arena, o->remote_mta);
	r->diagnostic = arena_dup(a->arena, o->diagnostic);
	r->final = arena_dup(a->arena, o->final);
	if (o->status == 0)
		take_sent(a, o, r);
	else if (o->status == 2)
		r->stage = RCPT_FAILED;
	return news || r->stage != RCPT_TODO;
}

static bool
is_mine(const struct delivery *d, uint32_t rcpt)
{
	uint32_t from = 0, until = d->n;        /* in ascending order */

	while (from < until) {
		uint32_t mid = from + (until - from) / 2;

		if (d->rcpts[mid] == rcpt)
			return true;
		if (d->rcpts[mid] < rcpt)
			from = mid + 1;
		else
			until = mid;
	}
	return false;
}

/* What the agent said of each recipient; one that it forgot is deferred. */
static void
take_outcomes(struct delivery *d, const struct ipc_deliver_done *m)
{
	struct active *a = d->a;
	uint32_t *changed = calloc(d->n, sizeof(*changed)), *hit = calloc(a->st.n / 32 + 1, sizeof(*hit));
	uint32_t *passed = calloc(d->n, sizeof(*passed));
	size_t n = 0, n_passed = 0;

	ensure(changed != NULL && hit != NULL && passed != NULL);
	for (size_t i = 0; i < m->n_outcomes; i++) {
		uint32_t at = m->outcomes[i].index;

		/* an agent speaks once of each recipient that it was given */
		if (at >= a->st.n || (hit[at / 32] >> at % 32 & 1) != 0 || !is_mine(d, at))
			continue;
		hit[at / 32] |= UINT32_C(1) << at % 32;
		if (m->outcomes[i].status == OUTCOME_PASSED && m->pass.n > 0 && !d->job->passed)
			passed[n_passed++] = at;
		else if (take_outcome(a, &m->outcomes[i]))
			changed[n++] = at;
	}
	if (n > 0)
		state_write_rcpts(journal_records(a->q, a->m), &a->st, changed, n);
	for (uint32_t i = 0; i < d->n; i++)
		if ((hit[d->rcpts[i] / 32] >> d->rcpts[i] % 32 & 1) == 0) {
			struct ipc_outcome o = { .index = d->rcpts[i], .status = 1, .dsn = SPAN("4.3.0"),
				.text = SPAN("unknown mail transport error") };

			if (take_outcome(a, &o))
				state_write_rcpts(journal_records(a->q, a->m), &a->st, &o.index, 1);
		}
	a->left -= d->n - (uint32_t)n_passed;
	if (n_passed > 0)
		route_pass(a, passed, n_passed, m->pass, d->job->nexthop);
	free(changed);
	free(hit);
	free(passed);
}

/* ---- the end of a delivery */

static void
hint_push(struct sched_dest *d, uint64_t peer_id)
{
	if (d->n_hints == SCHED_HINTS) {
		memmove(d->hints, d->hints + 1, sizeof(d->hints) - sizeof(d->hints[0]));
		d->n_hints--;
	}
	d->hints[d->n_hints++] = peer_id;
}

static void
end_delivery(struct delivery *d, enum sched_verdict verdict, const struct fault *why)
{
	struct queue *q = d->q;
	struct active *a = d->a;

	if (verdict == SCHED_WORKS)
		hint_push(d->dest, d->peer_id);
	sched_done(q->sched, d->dest, verdict, why, loop_now_us(q->loop));
	list_remove(&d->node);
	q->deliveries--;
	a->running--;
	if (a->left > 0)
		journal_send(q, a->m);  /* others are still under way: what is known must survive */
	free(d);
	queue_wake(q);
	active_check(a);
}

/* Nobody tried: the recipients go back into the scheduler. */
static void
give_back(struct delivery *d, int64_t pause_us)
{
	struct queue *q = d->q;
	struct active *a = d->a;
	struct job *j = ARENA_NEW(a->arena, struct job);
	int64_t now = loop_now_us(q->loop);

	*j = *d->job;
	j->sj = (struct sched_job){ .rcpts = d->rcpts, .n = d->n, .retry = a->st.attempts > 0, .owner = j };
	list_init(&j->sj.node);
	list_init(&j->node);
	list_push_back(&a->jobs, &j->node);
	if (pause_us > 0)
		sched_transport_pause(q->sched, j->transport, now + pause_us, now);
	if (a->m->want_hold || a->m->want_delete)
		a->left -= d->n;
	else
		sched_add(q->sched, &j->sj, j->transport, j->key, j->nexthop, now);
	end_delivery(d, SCHED_UNTRIED, NULL);
}

/* The agent died (or hung): perhaps because of this message. */
static void
agent_died(struct delivery *d)
{
	struct active *a = d->a;
	struct message *m = a->m;
	struct log l = message_log(m);
	const struct ipc_deliver_done none = { .n_outcomes = 0 };

	if (!a->crashed) {
		a->crashed = true;
		m->crashes++;
		a->st.crashes = m->crashes;
		buf_addf(journal_records(d->q, m), "crash %u\n", m->crashes);
	}
	if (m->crashes >= QUEUE_CRASHES_MAX && !m->want_hold) {
		log_error(&l, "held: %u times the agent that was delivering it died; look at the message, then release it "
		    "(signet queue release %s)", m->crashes, m->qid);
		m->want_hold = true;
		active_cancel(a);
	}
	take_outcomes(d, &none);
	for (uint32_t i = 0; i < d->n; i++)
		log_suspended(a, d->rcpts[i], &(struct fault){ "4.3.0", "unknown mail transport error" });
	end_delivery(d, SCHED_UNTRIED, NULL);
}

static void
delivery_done(void *ctx, enum ipc_result result, struct ipc_deliver_done *m)
{
	struct delivery *d = ctx;
	struct fault why = { 0 };

	d->id = 0;
	if (result != IPC_OK) {
		agent_died(d);
		return;
	}
	roll_heard(d->q, d->peer_id);
	if (m->busy) {
		give_back(d, BUSY_US);
		return;
	}
	if (d->a->m->crashes > 0) {
		d->a->m->crashes = 0;
		d->a->st.crashes = 0;
		buf_add_str(journal_records(d->q, d->a->m), "crash 0\n");
	}
	take_outcomes(d, m);
	if (m->throttle.n > 0)
		fault_set(&why, "4.4.1", "delivery temporarily suspended: %.*s", SPAN_ARG(span_slice(m->throttle, 0, 450)));
	if (m->throttle_dsn.n > 0 && m->throttle_dsn.n < sizeof(why.dsn))
		snprintf(why.dsn, sizeof(why.dsn), "%.*s", SPAN_ARG(m->throttle_dsn));
	end_delivery(d, m->throttle.n > 0 ? SCHED_THROTTLE : SCHED_WORKS, &why);
}

static bool
is_listed(const struct ipc_deliver_rolled *m, uint64_t id)
{
	size_t from = 0, until = m->n_under_way;        /* in ascending order, as they were given */

	while (from < until) {
		size_t mid = from + (until - from) / 2;

		if (m->under_way[mid].id == id)
			return true;
		if (m->under_way[mid].id < id)
			from = mid + 1;
		else
			until = mid;
	}
	return false;
}

void
deliver_check_roll(struct queue *q, uint64_t peer_id, uint64_t roll_id, const struct ipc_deliver_rolled *m)
{
	LIST_EACH(n, &q->handed) {
		struct delivery *d = LIST_ITEM(n, struct delivery, node);
		struct log l = message_log(d->a->m);

		if (d->peer_id != peer_id || d->id > roll_id || is_listed(m, d->id))
			continue;
		log_warning(&l, "the agent's answer was lost: trying again, and who had the message already gets it twice");
		ipc_forget(q->role->hub, d->id);
		d->id = 0;
		agent_died(d);
	}
}

/* ---- the start of one */

/* The agent that has a connection to this destination, else the next in turn. */
static struct ipc_peer *
choose_peer(struct queue *q, struct sched_dest *d, unsigned role)
{
	while (d->n_hints > 0) {
		struct ipc_peer *p = ipc_peer_find(q->role->hub, d->hints[--d->n_hints]);

		if (p != NULL && ipc_peer_role(p) == role)
			return p;
	}
	return ipc_peer_any(q->role->hub, role);
}

/* VERP: owner@origin becomes owner+user=domain@origin. */
static struct span
verp_text(struct active *a, uint32_t rcpt)
{
	struct envelope one = a->env;
	struct buf b;
	struct span s;

	one.rcpt_count = one.rcpt_cap = 0;
	one.rcpts = NULL;
	one.sender = deliver_verp_sender(a, rcpt);
	buf_init(&b, STORE_ENVELOPE_MAX);
	envelope_write(&one, &b);
	s = arena_dup(a->arena, buf_span(&b));
	buf_release(&b);
	return s;
}

struct span
deliver_verp_sender(struct active *a, uint32_t rcpt)
{
	struct span local, domain, user, host;

	if (a->env.verp.n != 2 || a->env.sender.n == 0 || !address_split(a->env.sender, &local, &domain) ||
	    !address_split(a->env.rcpts[rcpt].addr, &user, &host))
		return a->env.sender;
	return arena_printf(a->arena, "%.*s%c%.*s%c%.*s@%.*s", SPAN_ARG(local), a->env.verp.p[0], SPAN_ARG(user),
	    a->env.verp.p[1], SPAN_ARG(host), SPAN_ARG(domain));
}

static struct ipc_rcpt *
rcpts_of(const struct delivery *d, struct arena *scratch)
{
	struct ipc_rcpt *v = ARENA_ARRAY(scratch, struct ipc_rcpt, d->n);

	for (uint32_t i = 0; i < d->n; i++) {
		const struct envelope_rcpt *r = &d->a->env.rcpts[d->rcpts[i]];

		v[i] = (struct ipc_rcpt){ .index = d->rcpts[i], .addr = r->addr, .orig = r->orig,
			.orcpt = r->orcpt, .notify = (uint8_t)r->notify };
	}
	return v;
}

static bool
send_delivery(struct delivery *d, struct ipc_peer *to)
{
	struct active *a = d->a;
	struct message *m = a->m;
	struct arena *scratch = arena_new(QUEUE_ARENA_MAX);
	bool in_memory = a->fd < 0;
	struct ipc_deliver_start s = {
		.qid = span_str(m->qid),
		.service = d->job->transport->name,
		.nexthop = d->job->nexthop,
		.envelope = a->env.verp.n > 0 ? verp_text(a, d->rcpts[0]) : a->env_text,
		.arrival_us = m->arrival_us,
		.active_us = a->active_us,
		.attempt = a->st.attempts,
		.probe = a->env.kind == ENVELOPE_PROBE,
		.passed = d->job->passed,
		.backlog = d->dest->jobs_count > 0 || d->dest->busy > 1,
		.size = m->place.content_bytes,
		.offset = in_memory ? 0 : a->fd_offset,
		.inline_content = in_memory,
		.content = in_memory ? span_of(a->content, m->place.content_bytes) : span_of("", 0),
		.file = a->fd,
		.rcpts = rcpts_of(d, scratch),
		.n_rcpts = d->n,
	};

	d->id = ipc_ask_deliver_start(to, &s, DELIVERY_MS, delivery_done, d);
	arena_free(&scratch);
	return d->id != 0;
}

/* Nobody serves it. Agents that are just starting get a moment. */
static void
no_agent(struct delivery *d, unsigned role)
{
	static const struct fault unavailable = { "4.3.0", "mail transport unavailable" };
	struct queue *q = d->q;
	struct sched_transport *t = d->job->transport;
	int64_t now = loop_now_us(q->loop);

	if (role != IPC_ROLE_COUNT && q->alone_since_us[role] == 0)
		q->alone_since_us[role] = now;
	if (role != IPC_ROLE_COUNT && now - q->alone_since_us[role] < STARTING_MAX_US) {
		give_back(d, STARTING_US);
		return;
	}
	log_warning(NULL, "transport %.*s: %s; trying again in %llds", SPAN_ARG(t->name),
	    role == IPC_ROLE_COUNT ? "no such service in master.cf, or one that Signet does not know" : "its processes do not run",
	    (long long)(q->params->transport_retry_time_ms / 1000));
	sched_transport_down(q->sched, t, now + q->params->transport_retry_time_ms * US_PER_MS, &unavailable, now);
	deliver_defer(d->a, d->rcpts, d->n, &unavailable);
	end_delivery(d, SCHED_UNTRIED, NULL);
}

static void
start_delivery(struct queue *q, const struct sched_pick *p)
{
	struct job *job = p->job->owner;
	struct delivery *d = calloc(1, sizeof(*d));
	unsigned role = transport_role(job->transport);
	struct ipc_peer *to;

	ensure(d != NULL);
	*d = (struct delivery){ .q = q, .a = job->a, .job = job, .dest = p->dest, .rcpts = p->rcpts, .n = p->n };
	list_init(&d->node);
	q->deliveries++;
	job->a->running++;
	to = role == IPC_ROLE_COUNT ? NULL : choose_peer(q, p->dest, role);
	if (to == NULL) {
		no_agent(d, role);
		return;
	}
	q->alone_since_us[role] = 0;
	d->peer_id = ipc_peer_id(to);
	if (send_delivery(d, to))
		list_push_back(&q->handed, &d->node);
	else
		give_back(d, BUSY_US);
}

/* Too much is queued to the agents already. */
static bool
choked(const struct queue *q)
{
	for (unsigned i = 0; i < q->role->workers + 8; i++)
		for (unsigned role = IPC_ROLE_SMTPC; role <= IPC_ROLE_LOCAL; role++) {
			const struct ipc_peer *p = ipc_peer_at(q->role->hub, role, i);

			if (p != NULL && ipc_peer_backlog(p) > CHOKED_BYTES)
				return true;
		}
	return false;
}

void
deliver_dispatch(struct queue *q)
{
	struct sched_pick p;

	q->choked = choked(q);
	for (int i = 0; i < DISPATCH_BUDGET; i++) {
		if (q->role->draining || q->choked || !sched_next(q->sched, loop_now_us(q->loop), &p))
			return;
		if (p.suspended == NULL) {
			start_delivery(q, &p);
			continue;
		}
		struct job *job = p.job->owner;

		deliver_defer(job->a, p.rcpts, p.n, p.suspended);
	}
	queue_wake(q);
}

void
deliver_peer_up(struct queue *q, struct ipc_peer *p)
{
	unsigned role = ipc_peer_role(p);

	if (role != IPC_ROLE_SMTPC && role != IPC_ROLE_LOCAL)
		return;
	q->alone_since_us[role] = 0;
	queue_wake(q);
}
