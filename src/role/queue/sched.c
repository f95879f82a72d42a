/* Destinations with windows, transports with limits, turns for everybody. */
#include "role/queue/sched.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/panic.h"

enum { IDLE_US = 10000000, WINDOW_MAX = 100000, RETRY_TURN = 4 };

struct sched {
	sched_limits_fn *limits;
	void *ctx;
	struct hmap transports, dests;
	struct list ready;              /* transports */
	struct list idle;               /* destinations that are only remembered, oldest first */
	struct heap dest_wake, transport_wake;
	int64_t seen_us;                /* latest time we were told */
};

/* ---- feedback */

static double
square_root(double x)
{
	double r = x > 1 ? x : 1;

	for (int i = 0; i < 40; i++)
		r = (r + x / r) / 2;
	return r;
}

static bool
decimal(struct span s, double *v_r)
{
	struct span whole, part = { 0 };
	uint64_t w = 0, p = 0;
	double scale = 1;

	span_cut(s, '.', &whole, &part);
	if ((whole.n == 0 && part.n == 0) || part.n > 9 ||
	    (whole.n > 0 && !span_u64(whole, 1000000, &w)) || (part.n > 0 && !span_u64(part, 999999999, &p)))
		return false;
	for (size_t i = 0; i < part.n; i++)
		scale *= 10;
	*v_r = (double)w + (double)p / scale;
	return true;
}

bool
sched_feedback_parse(struct span s, struct sched_feedback *f_r)
{
	struct span number, per;
	bool divided = span_cut(span_trim(s), '/', &number, &per);

	*f_r = (struct sched_feedback){ 1, SCHED_FEEDBACK_FIXED };
	per = span_trim(per);
	if (divided && span_eq(per, SPAN("concurrency")))
		f_r->form = SCHED_FEEDBACK_PER;
	else if (divided && span_eq(per, SPAN("sqrt_concurrency")))
		f_r->form = SCHED_FEEDBACK_PER_SQRT;
	else if (divided)
		return false;
	return decimal(span_trim(number), &f_r->value) && f_r->value <= 1;
}

static double
feedback(const struct sched_feedback *f, unsigned window)
{
	switch (f->form) {
	case SCHED_FEEDBACK_FIXED:
		return f->value;
	case SCHED_FEEDBACK_PER:
		return f->value / (double)window;
	case SCHED_FEEDBACK_PER_SQRT:
		return f->value / square_root((double)window);
	}
	panic("feedback");
}

/* ---- who may go on */

/* When the destination may start something: now or before = yes, INT64_MAX = when something ends. */
static int64_t
dest_ready_at(const struct sched_dest *d)
{
	if (d->dead_until_us != 0)
		return 0;               /* its jobs are handed back at once */
	if (d->transport->limits.dest_delay_us > 0)
		return d->busy > 0 ? INT64_MAX : d->not_before_us;
	return d->busy < d->window ? 0 : INT64_MAX;
}

/* Retries do not take all deliveries of a transport. */
static bool
retries_may_go(const struct sched_transport *t)
{
	return !list_empty(&t->retries) && (t->limits.retries == 0 || t->down_until_us != 0 ||
	    t->busy_retries < t->limits.retries);
}

static int64_t
transport_ready_at(const struct sched_transport *t)
{
	if (list_empty(&t->ready) && !retries_may_go(t))
		return INT64_MAX;
	if (t->down_until_us != 0)
		return 0;
	if (t->limits.processes > 0 && t->busy >= t->limits.processes)
		return INT64_MAX;
	if (t->limits.transport_delay_us > 0 && t->busy > 0)
		return INT64_MAX;
	return t->not_before_us;
}

static void
wake_at(struct heap *h, struct heap_node *n, int64_t at_us)
{
	if (at_us == 0 || at_us == INT64_MAX)
		heap_remove(h, n);
	else
		heap_move(h, n, at_us);
}

/* Put the transport in or out of the turn. */
static void
place_transport(struct sched *s, struct sched_transport *t, int64_t now_us)
{
	int64_t at = transport_ready_at(t);

	if (at <= now_us && list_empty(&t->node))
		list_push_back(&s->ready, &t->node);
	else if (at > now_us)
		list_remove(&t->node);
	if (t->down_until_us != 0)
		wake_at(&s->transport_wake, &t->wake, t->down_until_us);
	else
		wake_at(&s->transport_wake, &t->wake, at <= now_us ? 0 : at);
}

static void
dest_free(struct sched *s, struct sched_dest *d)
{
	list_remove(&d->node);
	heap_remove(&s->dest_wake, &d->wake);
	hmap_remove(&s->dests, &d->by_key);
	d->transport->dests--;
	free(d);
}

/* Put the destination in or out of its transport's turn, or among the idle ones. */
static void
place_dest(struct sched *s, struct sched_dest *d, int64_t now_us)
{
	bool has_work = d->jobs_count > 0;
	int64_t at = has_work ? dest_ready_at(d) : INT64_MAX;

	/* one that is in the right turn already keeps its place */
	if (at > now_us || !d->in_turn || d->in_retries != (d->fresh_count == 0)) {
		list_remove(&d->node);
		d->in_turn = at <= now_us;
		d->in_retries = d->fresh_count == 0;
		if (d->in_turn) {
			list_push_back(d->in_retries ? &d->transport->retries : &d->transport->ready, &d->node);
		} else if (!has_work && d->busy == 0 && d->dead_until_us == 0) {
			d->idle_us = now_us;
			list_push_back(&s->idle, &d->node);
		}
	}
	if (d->dead_until_us != 0)
		wake_at(&s->dest_wake, &d->wake, d->dead_until_us);
	else
		wake_at(&s->dest_wake, &d->wake, at <= now_us ? 0 : at);
	place_transport(s, d->transport, now_us);
}

/* Let time pass: what was dead revives, what waited may go, what was idle long is forgotten. */
static void
advance(struct sched *s, int64_t now_us)
{
	struct heap_node *n;

	while ((n = heap_min(&s->dest_wake)) != NULL && n->key <= now_us) {
		struct sched_dest *d = HEAP_ENTRY(n, struct sched_dest, wake);

		if (d->dead_until_us != 0 && d->dead_until_us <= now_us) {
			d->dead_until_us = 0;
			d->cohorts = d->credit = 0;
			d->window = d->busy > 0 ? d->busy : d->transport->limits.initial;
		}
		place_dest(s, d, now_us);
	}
	while ((n = heap_min(&s->transport_wake)) != NULL && n->key <= now_us) {
		struct sched_transport *t = HEAP_ENTRY(n, struct sched_transport, wake);

		if (t->down_until_us <= now_us)
			t->down_until_us = 0;
		place_transport(s, t, now_us);
	}
	while (!list_empty(&s->idle)) {
		struct sched_dest *d = LIST_ITEM(s->idle.next, struct sched_dest, node);

		if (d->idle_us + IDLE_US > now_us)
			break;
		dest_free(s, d);
	}
	s->seen_us = now_us;
}

/* ---- transports, destinations, jobs */

struct sched *
sched_new(sched_limits_fn *fn, void *ctx)
{
	struct sched *s = calloc(1, sizeof(*s));

	ensure(s != NULL);
	s->limits = fn;
	s->ctx = ctx;
	hmap_init(&s->transports);
	hmap_init(&s->dests);
	list_init(&s->ready);
	list_init(&s->idle);
	heap_init(&s->dest_wake);
	heap_init(&s->transport_wake);
	return s;
}

void
sched_free(struct sched **sp)
{
	struct sched *s = *sp;

	if (s == NULL)
		return;
	HMAP_EACH(n, &s->dests) {
		struct sched_dest *d = HMAP_ENTRY(n, struct sched_dest, by_key);

		ensure(d->jobs_count == 0);
		dest_free(s, d);
	}
	HMAP_EACH(n, &s->transports)
		free(HMAP_ENTRY(n, struct sched_transport, by_name));
	hmap_release(&s->transports);
	hmap_release(&s->dests);
	heap_release(&s->dest_wake);
	heap_release(&s->transport_wake);
	free(s);
	*sp = NULL;
}

static void
fetch_limits(struct sched *s, struct sched_transport *t)
{
	s->limits(s->ctx, t->name, &t->limits, &t->user);
	if (t->limits.initial == 0)
		t->limits.initial = 1;
	if (t->limits.concurrency != 0 && t->limits.initial > t->limits.concurrency)
		t->limits.initial = t->limits.concurrency;
}

void
sched_reload(struct sched *s)
{
	HMAP_EACH(n, &s->transports)
		fetch_limits(s, HMAP_ENTRY(n, struct sched_transport, by_name));
	HMAP_EACH(n, &s->dests) {
		struct sched_dest *d = HMAP_ENTRY(n, struct sched_dest, by_key);
		unsigned limit = d->transport->limits.concurrency;

		if (limit != 0 && d->window > limit)
			d->window = limit;
		if (d->jobs_count > 0)
			place_dest(s, d, s->seen_us);
	}
}

struct sched_transport *
sched_transport(struct sched *s, struct span name)
{
	uint64_t h = span_hash(name);
	struct sched_transport *t;

	HMAP_EACH_HASH(n, &s->transports, h) {
		t = HMAP_ENTRY(n, struct sched_transport, by_name);
		if (span_eq(t->name, name))
			return t;
	}
	t = calloc(1, size_add(sizeof(*t), name.n));
	ensure(t != NULL);
	list_init(&t->node);
	list_init(&t->ready);
	list_init(&t->retries);
	memcpy(t + 1, name.p, name.n);
	t->name = span_of(t + 1, name.n);
	hmap_add(&s->transports, &t->by_name, h);
	fetch_limits(s, t);
	return t;
}

static uint64_t
dest_hash(const struct sched_transport *t, struct span key)
{
	return hash_u64(span_hash_ci(key) ^ (uint64_t)(uintptr_t)t);
}

static struct sched_dest *
dest_get(struct sched *s, struct sched_transport *t, struct span key, struct span nexthop)
{
	uint64_t h = dest_hash(t, key);
	struct sched_dest *d;
	char *text;

	HMAP_EACH_HASH(n, &s->dests, h) {
		d = HMAP_ENTRY(n, struct sched_dest, by_key);
		if (d->transport == t && span_eq_ci(d->key, key))
			return d;
	}
	d = calloc(1, size_add(sizeof(*d), size_add(key.n, nexthop.n)));
	ensure(d != NULL);
	list_init(&d->node);
	list_init(&d->jobs);
	text = (char *)(d + 1);
	memcpy(text, key.p, key.n);
	d->key = span_of(text, key.n);
	memcpy(text + key.n, nexthop.p, nexthop.n);
	d->nexthop = span_of(text + key.n, nexthop.n);
	d->transport = t;
	d->window = t->limits.initial;
	hmap_add(&s->dests, &d->by_key, h);
	t->dests++;
	return d;
}

void
sched_add(struct sched *s, struct sched_job *job, struct sched_transport *t, struct span key,
    struct span nexthop, int64_t now_us)
{
	struct sched_dest *d = dest_get(s, t, key, nexthop);

	ensure(job->n > job->taken);
	job->dest = d;
	list_push_back(&d->jobs, &job->node);
	d->jobs_count++;
	d->fresh_count += !job->retry;
	place_dest(s, d, now_us);
}

static void
job_leave(struct sched_job *job)
{
	list_remove(&job->node);
	job->dest->fresh_count -= !job->retry;
	job->dest->jobs_count--;
	job->dest = NULL;
}

void
sched_cancel(struct sched *s, struct sched_job *job, int64_t now_us)
{
	struct sched_dest *d = job->dest;

	if (d == NULL)
		return;
	job_leave(job);
	place_dest(s, d, now_us);
}

/* Recipients of the job at the head; the job goes behind the others, or leaves. */
static void
pick_from(struct sched_dest *d, struct sched_pick *p_r)
{
	struct sched_job *job = LIST_ITEM(d->jobs.next, struct sched_job, node);
	uint32_t n = job->n - job->taken, limit = d->transport->limits.recipients;

	if (limit != 0 && n > limit && p_r->suspended == NULL)
		n = limit;
	p_r->job = job;
	p_r->dest = d;
	p_r->rcpts = job->rcpts + job->taken;
	p_r->n = n;
	job->taken += n;
	list_remove(&job->node);
	list_push_back(&d->jobs, &job->node);
	if (job->taken == job->n)
		job_leave(job);
}

/* Retries get every fourth turn while there is fresh mail. */
static struct sched_dest *
whose_turn(struct sched_transport *t)
{
	bool retries = retries_may_go(t), fresh = !list_empty(&t->ready);

	if (retries && fresh)
		fresh = ++t->turn % RETRY_TURN != 0;
	return LIST_ITEM(fresh ? t->ready.next : t->retries.next, struct sched_dest, node);
}

bool
sched_next(struct sched *s, int64_t now_us, struct sched_pick *p_r)
{
	struct sched_transport *t;
	struct sched_dest *d;

	advance(s, now_us);
	*p_r = (struct sched_pick){ 0 };
	if (list_empty(&s->ready))
		return false;
	t = LIST_ITEM(s->ready.next, struct sched_transport, node);
	list_remove(&t->node);
	d = whose_turn(t);
	if (t->down_until_us != 0)
		p_r->suspended = &t->down;
	else if (d->dead_until_us != 0)
		p_r->suspended = &d->dead;
	list_remove(&d->node);
	d->in_turn = false;
	pick_from(d, p_r);
	if (p_r->suspended == NULL) {
		d->busy++;
		t->busy++;
		d->busy_retries += p_r->job->retry;
		t->busy_retries += p_r->job->retry;
	}
	place_dest(s, d, now_us);
	return true;
}

/* ---- what deliveries teach */

static void
on_success(struct sched_dest *d)
{
	const struct sched_limits *l = &d->transport->limits;

	d->cohorts = 0;
	if (d->dead_until_us != 0) {
		/* somebody got through before the others had given up on it */
		d->dead_until_us = 0;
		d->window = d->busy > 0 ? d->busy : l->initial;
	}
	if (d->window >= d->busy + 1 + l->initial)
		return;
	d->credit += feedback(&l->positive, d->window);
	for (; d->credit >= 1; d->credit -= 1)
		if (d->window < (l->concurrency != 0 ? l->concurrency : WINDOW_MAX))
			d->window++;
}

static void
on_failure(struct sched_dest *d, const struct fault *why, int64_t now_us)
{
	const struct sched_limits *l = &d->transport->limits;

	if (d->dead_until_us != 0)
		return;
	d->cohorts += 1.0 / (double)d->window;
	if (l->failed_cohorts > 0 && d->cohorts >= l->failed_cohorts - 1e-9) {
		d->dead_until_us = now_us + l->dead_us;
		d->dead = *why;
		return;
	}
	d->credit -= feedback(&l->negative, d->window);
	for (; d->credit < 0; d->credit += 1)
		if (d->window > 1)
			d->window--;
}

void
sched_done(struct sched *s, struct sched_dest *d, enum sched_verdict v, const struct fault *why, int64_t now_us)
{
	struct sched_transport *t = d->transport;

	ensure(d->busy > 0 && t->busy > 0);
	d->busy--;
	t->busy--;
	if (d->busy_retries > 0) {
		d->busy_retries--;
		t->busy_retries--;
	}
	switch (v) {
	case SCHED_WORKS:
		on_success(d);
		break;
	case SCHED_THROTTLE:
		on_failure(d, why, now_us);
		break;
	case SCHED_UNTRIED:
		break;
	}
	d->not_before_us = now_us + t->limits.dest_delay_us;
	if (t->limits.transport_delay_us > 0)
		t->not_before_us = now_us + t->limits.transport_delay_us;
	place_dest(s, d, now_us);
}

void
sched_transport_down(struct sched *s, struct sched_transport *t, int64_t until_us, const struct fault *why,
    int64_t now_us)
{
	t->down_until_us = until_us;
	t->down = *why;
	place_transport(s, t, now_us);
}

void
sched_transport_pause(struct sched *s, struct sched_transport *t, int64_t until_us, int64_t now_us)
{
	t->not_before_us = until_us;
	place_transport(s, t, now_us);
}

void
sched_revive(struct sched *s, int64_t now_us)
{
	HMAP_EACH(n, &s->dests) {
		struct sched_dest *d = HMAP_ENTRY(n, struct sched_dest, by_key);

		if (d->dead_until_us != 0)
			heap_move(&s->dest_wake, &d->wake, d->dead_until_us = now_us);
	}
	HMAP_EACH(n, &s->transports) {
		struct sched_transport *t = HMAP_ENTRY(n, struct sched_transport, by_name);

		if (t->down_until_us != 0)
			heap_move(&s->transport_wake, &t->wake, t->down_until_us = now_us);
		t->not_before_us = 0;
		place_transport(s, t, now_us);
	}
	advance(s, now_us);
}

int64_t
sched_wake_us(const struct sched *s)
{
	struct heap_node *d = heap_min(&s->dest_wake), *t = heap_min(&s->transport_wake);
	int64_t at = INT64_MAX;

	if (!list_empty(&s->ready))
		return 0;
	if (d != NULL)
		at = d->key;
	if (t != NULL && t->key < at)
		at = t->key;
	return at;
}

void
sched_each(const struct sched *s, sched_dest_fn *fn, void *ctx)
{
	HMAP_EACH(n, &s->dests)
		fn(ctx, HMAP_ENTRY(n, struct sched_dest, by_key));
}
