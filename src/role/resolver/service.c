/* Questions: the same one is asked once, everybody waits with a deadline, answers come from the loop. */
#include "role/resolver/service_private.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/panic.h"

enum { QUESTIONS_MAX = 20000, WAITERS_MAX = 100000, REFUSAL_ARENA = 1 << 16 };

/* --- waiters --- */

static void
waiter_free(struct resolver *r, struct waiter *w)
{
	list_remove(&w->of_question);
	list_remove(&w->due);
	r->n_waiters--;
	free(w);
}

static void
question_free(struct resolver *r, struct question *q)
{
	hmap_remove(&r->questions, &q->node);
	free(q);
}

static void
reply_to_all(struct resolver *r, struct question *q, const struct dns_answer *d)
{
	LIST_EACH(n, &q->waiters) {
		struct waiter *w = LIST_ITEM(n, struct waiter, of_question);

		r->reply(r->reply_ctx, w->from, d);
		waiter_free(r, w);
	}
}

static void
on_answer(void *ctx, const struct dns_answer *d)
{
	struct question *q = ctx;
	struct resolver *r = q->resolver;

	r->by_status[d->status]++;
	reply_to_all(r, q, d);
	question_free(r, q);
}

void
resolver_question_start(struct question *q)
{
	struct resolver *r = q->resolver;
	struct span name = span_of(q->name, q->name_bytes);

	q->started = true;
	if (q->native)
		native_ask(r->native, name, (enum dns_type)q->type, on_answer, q);
	else
		dns_client_ask(r->client, name, (enum dns_type)q->type, on_answer, q);
}

static void
fail_waiter(struct resolver *r, struct waiter *w, const char *why)
{
	struct arena *a = arena_new(REFUSAL_ARENA);
	struct question *q = w->question;
	struct dns_answer d;

	dns_answer_fail(&d, a, span_of(q->name, q->name_bytes), (enum dns_type)q->type, why);
	r->reply(r->reply_ctx, w->from, &d);
	waiter_free(r, w);
	arena_free(&a);
}

/* Nothing can be asked with these settings. */
void
resolver_fail_all(struct resolver *r, const char *why)
{
	HMAP_EACH(n, &r->questions) {
		struct question *q = HMAP_ENTRY(n, struct question, node);

		if (q->started)
			continue;
		LIST_EACH(w, &q->waiters)
			fail_waiter(r, LIST_ITEM(w, struct waiter, of_question), why);
		question_free(r, q);
	}
}

static void
arm_deadline(struct resolver *r)
{
	struct waiter *first;

	if (list_empty(&r->due)) {
		loop_timer_stop(&r->deadline);
		return;
	}
	first = LIST_ITEM(r->due.next, struct waiter, due);
	if (!loop_timer_pending(&r->deadline))
		loop_timer_set_ms(&r->deadline, (first->deadline_us - clock_mono_us()) / US_PER_MS + 1);
}

/* The question goes on without them: its answer, when it comes, is for the cache. */
static void
on_deadline(void *ctx)
{
	struct resolver *r = ctx;
	int64_t now_us = clock_mono_us();

	while (!list_empty(&r->due)) {
		struct waiter *w = LIST_ITEM(r->due.next, struct waiter, due);

		if (w->deadline_us > now_us)
			break;
		r->timeouts++;
		fail_waiter(r, w, "no answer in time");
	}
	arm_deadline(r);
}

/* --- asking --- */

static uint64_t
question_hash(struct span name, uint16_t type, bool native)
{
	return span_hash_ci(name) ^ hash_u64((uint64_t)type << 1 | native);
}

static struct question *
question_find(struct resolver *r, struct span name, uint16_t type, bool native)
{
	HMAP_EACH_HASH(n, &r->questions, question_hash(name, type, native)) {
		struct question *q = HMAP_ENTRY(n, struct question, node);

		if (q->type == type && q->native == native &&
		    span_eq_ci(span_of(q->name, q->name_bytes), name))
			return q;
	}
	return NULL;
}

static struct question *
question_new(struct resolver *r, struct span name, uint16_t type, bool native)
{
	struct question *q = calloc(1, size_add(sizeof(*q), name.n));

	ensure(q != NULL);
	q->resolver = r;
	q->type = type;
	q->native = native;
	q->name_bytes = name.n;
	if (name.n > 0)
		memcpy(q->name, name.p, name.n);
	list_init(&q->waiters);
	hmap_add(&r->questions, &q->node, question_hash(name, type, native));
	return q;
}

static void
refuse(struct resolver *r, struct ipc_from from, struct span name, uint16_t type, const char *why)
{
	struct arena *a = arena_new(REFUSAL_ARENA);
	struct dns_answer d;

	dns_answer_fail(&d, a, name, (enum dns_type)type, why);
	r->refused++;
	r->reply(r->reply_ctx, from, &d);
	arena_free(&a);
}

static void
add_waiter(struct resolver *r, struct question *q, struct ipc_from from)
{
	struct waiter *w = calloc(1, sizeof(*w));

	ensure(w != NULL);
	w->question = q;
	w->from = from;
	w->deadline_us = clock_mono_us() + r->deadline_ms * US_PER_MS;
	list_push_back(&q->waiters, &w->of_question);
	list_push_back(&r->due, &w->due);
	r->n_waiters++;
	arm_deadline(r);
}

void
resolver_ask(struct resolver *r, struct ipc_from from, struct span name, uint16_t type, bool native)
{
	struct question *q = question_find(r, name, type, native);

	r->asked++;
	if (name.n > DNS_NAME_MAX || r->n_waiters >= WAITERS_MAX || (q == NULL && r->questions.count >= QUESTIONS_MAX)) {
		refuse(r, from, name, type, "too many questions are waiting");
		return;
	}
	if (q != NULL)
		r->coalesced++;
	else
		q = question_new(r, name, type, native);
	add_waiter(r, q, from);
	if (q->started)
		return;
	if (native || r->client != NULL)
		resolver_question_start(q);
	else if (r->mode == RESOLVER_BROKEN)
		resolver_fail_all(r, r->broken.text);
}

void
resolver_forget(struct resolver *r, uint64_t peer_id)
{
	LIST_EACH(n, &r->due) {
		struct waiter *w = LIST_ITEM(n, struct waiter, due);

		if (w->from.peer_id == peer_id)
			waiter_free(r, w);
	}
}

/* --- life --- */

struct resolver *
resolver_new(struct loop *l, const struct resolver_settings *s, resolver_reply_fn *reply, void *ctx)
{
	struct resolver *r = calloc(1, sizeof(*r));

	ensure(r != NULL);
	r->loop = l;
	r->reply = reply;
	r->reply_ctx = ctx;
	hmap_init(&r->questions);
	list_init(&r->due);
	loop_timer_init(&r->deadline, l, on_deadline, r);
	r->native = native_new(l);
	resolver_servers_init(r);
	resolver_reconf(r, s);
	return r;
}

void
resolver_free(struct resolver **rp)
{
	struct resolver *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	resolver_servers_release(r);
	native_free(&r->native);
	HMAP_EACH(n, &r->questions) {
		struct question *q = HMAP_ENTRY(n, struct question, node);

		LIST_EACH(w, &q->waiters)
			waiter_free(r, LIST_ITEM(w, struct waiter, of_question));
		question_free(r, q);
	}
	hmap_release(&r->questions);
	loop_timer_release(&r->deadline);
	free(r);
}

enum resolver_mode
resolver_mode(const struct resolver *r)
{
	return r->mode;
}

bool
resolver_validates(const struct resolver *r)
{
	return r->validates;
}

const char *
resolver_mode_name(enum resolver_mode mode)
{
	switch (mode) {
	case RESOLVER_DECIDING: return "deciding";
	case RESOLVER_CONFIGURED: return "dns_servers";
	case RESOLVER_FORWARDING: return "resolv.conf";
	case RESOLVER_RECURSING: return "recursion";
	case RESOLVER_UNVALIDATED: return "resolv.conf without DNSSEC";
	case RESOLVER_BROKEN: return "broken";
	}
	return "?";
}

void
resolver_status(const struct resolver *r, struct buf *json)
{
	buf_addf(json, "\"mode\": \"%s\", \"dnssec\": %s, \"signatures\": \"%s\", \"servers\": \"%s\", \"asked\": %llu, \"coalesced\": %llu, "
	    "\"waiting\": %zu, \"secure\": %llu, \"insecure\": %llu, \"bogus\": %llu, \"failed\": %llu, "
	    "\"timeouts\": %llu, \"refused\": %llu", resolver_mode_name(r->mode), r->validates ? "true" : "false",
	    r->signatures, r->in_use, (unsigned long long)r->asked, (unsigned long long)r->coalesced, r->n_waiters,
	    (unsigned long long)r->by_status[DNS_SECURE], (unsigned long long)r->by_status[DNS_INSECURE],
	    (unsigned long long)r->by_status[DNS_BOGUS], (unsigned long long)r->by_status[DNS_FAILED],
	    (unsigned long long)r->timeouts, (unsigned long long)r->refused);
}
