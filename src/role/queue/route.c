/* Where each recipient goes; recipients of one destination make one job. */
#include <stdlib.h>

#include "mail/address.h"
#include "role/queue/deliver.h"
#include "role/queue/queue.h"
#include "role/queue/resolve.h"

/* One recipient's way. */
struct routed {
	uint32_t rcpt;
	struct sched_transport *transport;
	struct span addr;               /* normalised */
	struct span key, nexthop;
	struct fault why;               /* text set: not now */
	bool discard;
};

static int
by_destination(const void *x, const void *y)
{
	const struct routed *a = x, *b = y;
	size_t n = a->key.n < b->key.n ? a->key.n : b->key.n;

	if (a->transport != b->transport)
		return a->transport < b->transport ? -1 : 1;
	for (size_t i = 0; i < n; i++) {
		char c = ascii_lower(a->key.p[i]), d = ascii_lower(b->key.p[i]);

		if (c != d)
			return c < d ? -1 : 1;
	}
	if (a->key.n != b->key.n)
		return a->key.n < b->key.n ? -1 : 1;
	return a->rcpt < b->rcpt ? -1 : a->rcpt > b->rcpt;
}

static bool
same_destination(const struct routed *a, const struct routed *b)
{
	return a->transport == b->transport && span_eq_ci(a->key, b->key);
}

static struct job *
add_job(struct active *a, const struct routed *r, size_t n)
{
	struct queue *q = a->q;
	struct job *j = ARENA_NEW(a->arena, struct job);
	uint32_t *rcpts = ARENA_ARRAY(a->arena, uint32_t, n);

	for (size_t i = 0; i < n; i++)
		rcpts[i] = r[i].rcpt;
	j->a = a;
	j->transport = r->transport;
	j->key = r->key;
	j->nexthop = r->nexthop;
	j->sj = (struct sched_job){ .rcpts = rcpts, .n = (uint32_t)n, .retry = a->st.attempts > 0, .owner = j };
	list_init(&j->sj.node);
	list_push_back(&a->jobs, &j->node);
	sched_add(q->sched, &j->sj, j->transport, j->key, j->nexthop, loop_now_us(q->loop));
	return j;
}

/* With one recipient per delivery, limits count per recipient (mta-core section 6). */
static struct span
key_of(struct active *a, struct span addr, const struct sched_transport *t, struct span nexthop)
{
	struct span local, domain;

	if (t->limits.recipients != 1)
		return nexthop;
	address_split(addr, &local, &domain);
	return arena_printf(a->arena, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(nexthop));
}

/* VERP: each recipient has a sender address of its own. */
static bool
one_by_one(const struct active *a)
{
	return a->env.verp.n > 0;
}

static void
queue_jobs(struct active *a, struct routed *r, size_t n)
{
	qsort(r, n, sizeof(*r), by_destination);
	for (size_t i = 0; i < n;) {
		size_t j = i + 1;

		while (j < n && !one_by_one(a) && same_destination(&r[i], &r[j]))
			j++;
		add_job(a, &r[i], j - i);
		i = j;
	}
	queue_wake(a->q);
	loop_defer(a->q->loop, &a->next);
}

static const struct fault deferred_transport = { "4.3.2", "deferred transport" };

/* Where recipient `i` goes, or why it cannot now. Empty while answers are missing. */
static void
route_one(struct active *a, uint32_t i, struct routed *r)
{
	struct queue *q = a->q;
	struct resolved to;
	struct fault *why = &r->why;

	*r = (struct routed){ .rcpt = i };
	switch (resolve_rcpt(q->resolve, &a->env, a->env.rcpts[i].addr, a->asks, a->arena, &to, why)) {
	case MAP_WAIT:
		return;
	case MAP_FOUND:
		r->transport = sched_transport(q->sched, to.transport);
		r->addr = to.rcpt;
		r->nexthop = arena_dup(a->arena, to.nexthop);   /* the tables may be replaced meanwhile */
		r->key = key_of(a, to.rcpt, r->transport, r->nexthop);
		r->discard = to.discard;
		if (transport_deferred(r->transport))
			*why = deferred_transport;
		return;
	case MAP_ABSENT:
	case MAP_DEFER:
		if (why->text[0] == '\0')
			fault_set(why, "4.3.0", "address resolver failure");
		return;
	}
	panic("map_result");
}

/* Everything is known. */
static void
take_routes(struct active *a, struct routed *r, size_t n)
{
	size_t good = 0;

	asks_free(&a->asks);
	a->phase = PHASE_RUN;
	for (size_t i = 0; i < n; i++)
		if (r[i].discard) {
			deliver_discard(a, r[i].rcpt);
		} else if (r[i].why.text[0] != '\0') {
			deliver_defer(a, &r[i].rcpt, 1, &r[i].why);
		} else {
			a->env.rcpts[r[i].rcpt].addr = arena_dup(a->arena, r[i].addr);
			r[good++] = r[i];
		}
	queue_jobs(a, r, good);
}

void
route_pass(struct active *a, const uint32_t *rcpts, size_t n, struct span to, struct span nexthop)
{
	struct span name, hop;

	if (a->m->want_hold || a->m->want_delete) {
		a->left -= (uint32_t)n;
		return;
	}
	span_cut(span_trim(to), ':', &name, &hop);
	hop = span_trim(hop);
	for (size_t i = 0; i < n; i++) {
		struct routed r = { .rcpt = rcpts[i], .transport = sched_transport(a->q->sched, name),
			.addr = a->env.rcpts[rcpts[i]].addr };

		r.nexthop = arena_dup(a->arena, hop.n > 0 ? hop : nexthop);
		r.key = key_of(a, r.addr, r.transport, r.nexthop);
		add_job(a, &r, 1)->passed = true;
	}
	queue_wake(a->q);
}

/* All recipients, again from the start when answers were missing: what is known answers at once. */
static void
route(void *ctx)
{
	struct active *a = ctx;
	struct routed *r = calloc(a->st.n, sizeof(*r));
	size_t n = 0;

	ensure(r != NULL);
	for (uint32_t i = 0; i < a->st.n; i++)
		if (a->st.rcpts[i].stage == RCPT_TODO)
			route_one(a, i, &r[n++]);
	if (asks_waiting(a->asks) == 0)
		take_routes(a, r, n);
	free(r);
}

void
route_begin(struct active *a)
{
	a->phase = PHASE_ROUTE;
	a->asks = asks_new(a->q->role->asks, route, a);
	route(a);
}
