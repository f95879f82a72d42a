/* The memo of questions, and the pending ones of a process by their id. */
#include "maps/asks.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/loop.h"
#include "base/panic.h"
#include "dns/dns.h"
#include "maps/maps.h"

#define ARENA_SLACK (4u << 20)          /* one DNS answer being decoded */

/*
 * Tables are local: what takes longer than LOOKUP_US is stuck. Then all that is asked fails at once for a sixth of that time, or work
 * that asks several tables one after the other would wait for each of them; behind it one question tries again, with a sixth of the time.
 */
#define LOOKUP_US (30 * US_PER_S)
#define SILENT_PART 6

enum ask_kind { ASK_MAP, ASK_DNS, ASK_OTHER };

struct question {
	struct hmap_node in_memo;
	struct hmap_node in_link;       /* while waiting, by id */
	struct asks *owner;
	uint64_t id;
	int64_t deadline_us;
	enum ask_kind kind;
	uint16_t type;                  /* DNS */
	enum map_result result;         /* MAP_WAIT until answered */
	struct span table, key;
	struct span value;
	struct fault *why;              /* DEFER */
	const struct dns_answer *answer;
	const struct asks_way *way;     /* OTHER: how it is sent */
};

struct asks_link {
	struct loop *loop;
	const struct asks_ops *ops;
	void *ctx;
	int64_t timeout_us;
	bool map_silent;                /* a table was not answered in time, and none since */
	int64_t map_rest_us;            /* until then nothing is asked */
	uint64_t last_id;
	struct hmap pending;
};

struct asks {
	struct asks_link *link;
	void (*ready)(void *ctx);
	void *ctx;
	struct arena *a;
	struct hmap memo;
	size_t waiting;
	int64_t due_us;                 /* of the timer */
	struct loop_task task;
	struct loop_timer timer;
};

struct asks_link *
asks_link_new(struct loop *loop, const struct asks_ops *ops, void *ctx, int64_t timeout_ms)
{
	struct asks_link *l = calloc(1, sizeof(*l));

	if (l == NULL)
		panic("out of memory");
	*l = (struct asks_link){ .loop = loop, .ops = ops, .ctx = ctx, .timeout_us = timeout_ms * 1000 };
	hmap_init(&l->pending);
	return l;
}

void
asks_link_free(struct asks_link **link)
{
	if (*link == NULL)
		return;
	ensure((*link)->pending.count == 0);
	hmap_release(&(*link)->pending);
	free(*link);
	*link = NULL;
}

static struct question *
pending(const struct asks_link *l, uint64_t id)
{
	HMAP_EACH_HASH(n, &l->pending, hash_u64(id)) {
		struct question *q = HMAP_ENTRY(n, struct question, in_link);

		if (q->id == id)
			return q;
	}
	return NULL;
}

/* An answer is in: nobody is called from here, `ready` comes with the next turn. */
static void
settle(struct question *q, enum map_result result)
{
	struct asks *s = q->owner;

	q->result = result;
	hmap_remove(&s->link->pending, &q->in_link);
	if (--s->waiting == 0) {
		loop_timer_stop(&s->timer);
		loop_defer(s->link->loop, &s->task);
	}
}

static void
fail_answer(struct question *q, const char *text)
{
	struct asks *s = q->owner;

	q->why = ARENA_NEW(s->a, struct fault);
	fault_set(q->why, "4.3.0", "%.*s%s%s", SPAN_ARG(q->table), q->kind == ASK_DNS ? "" : ": ", text);
	if (q->kind == ASK_DNS) {
		struct dns_answer *d = ARENA_NEW(s->a, struct dns_answer);

		dns_answer_fail(d, s->a, q->key, (enum dns_type)q->type, text);
		q->answer = d;
	}
}

static void
settle_failed(struct question *q, const char *text)
{
	fail_answer(q, text);
	settle(q, q->kind == ASK_DNS ? MAP_FOUND : MAP_DEFER);
}

static bool
room_for(const struct asks *s, size_t n)
{
	return arena_bytes(s->a) + n <= ASKS_BYTES;
}

bool
asks_answer_map(struct asks_link *link, uint64_t id, enum map_result result, struct span value,
    const struct fault *why)
{
	struct question *q = pending(link, id);

	if (result != MAP_DEFER && (q == NULL || q->kind == ASK_MAP))
		link->map_silent = false;       /* late is an answer, too */
	if (q == NULL || q->kind == ASK_DNS)
		return false;
	if (result != MAP_FOUND && result != MAP_ABSENT) {
		settle_failed(q, why != NULL && why->text[0] != '\0' ? why->text : "the lookup failed");
	} else if (result == MAP_FOUND && (value.n > MAPS_VALUE_MAX || !room_for(q->owner, value.n))) {
		settle_failed(q, "the value is too long");
	} else {
		q->value = arena_dup(q->owner->a, value);
		settle(q, result);
	}
	return true;
}

struct arena *
asks_answer_arena(struct asks_link *link, uint64_t id)
{
	struct question *q = pending(link, id);

	if (q == NULL || q->kind != ASK_DNS)
		return NULL;
	if (room_for(q->owner, 0))
		return q->owner->a;
	settle_failed(q, "too many lookups at once");
	return NULL;
}

bool
asks_answer_dns(struct asks_link *link, uint64_t id, const struct dns_answer *answer)
{
	struct question *q = pending(link, id);

	if (q == NULL || q->kind != ASK_DNS)
		return false;
	if (answer == NULL) {
		settle_failed(q, "the answer cannot be read");
	} else {
		q->answer = answer;
		settle(q, MAP_FOUND);
	}
	return true;
}

static void
lost(struct asks_link *l, enum ask_kind kind, const char *text)
{
	HMAP_EACH(n, &l->pending) {
		struct question *q = HMAP_ENTRY(n, struct question, in_link);

		if (q->kind == kind)
			settle_failed(q, text);
	}
}

void
asks_lost_map(struct asks_link *link)
{
	link->map_silent = false;       /* the next one may be well */
	lost(link, ASK_MAP, "the lookup service went away");
}

void
asks_lost_dns(struct asks_link *link)
{
	lost(link, ASK_DNS, "the resolver went away");
}

static void
on_ready(void *ctx)
{
	struct asks *s = ctx;

	if (s->waiting == 0)
		s->ready(s->ctx);
}

/* The timer is for the question that is due first. */
static void
arm(struct asks *s)
{
	int64_t now = loop_now_us(s->link->loop), next = INT64_MAX;

	HMAP_EACH(n, &s->memo) {
		const struct question *q = HMAP_ENTRY(n, struct question, in_memo);

		if (q->result == MAP_WAIT && q->deadline_us < next)
			next = q->deadline_us;
	}
	s->due_us = next;
	loop_timer_set_ms(&s->timer, next <= now ? 0 : (next - now) / 1000 + 1);
}

static int64_t
lookup_limit(const struct asks_link *l)
{
	return l->timeout_us < LOOKUP_US ? l->timeout_us : LOOKUP_US;
}

static void
fall_silent(struct asks_link *l, int64_t now)
{
	l->map_silent = true;
	l->map_rest_us = now + lookup_limit(l) / SILENT_PART;
}

/* Fail what is overdue; wait for the next. */
static void
on_deadline(void *ctx)
{
	struct asks *s = ctx;
	int64_t now = loop_now_us(s->link->loop);

	HMAP_EACH(n, &s->memo) {
		struct question *q = HMAP_ENTRY(n, struct question, in_memo);

		if (q->result != MAP_WAIT || q->deadline_us > now)
			continue;
		if (q->kind == ASK_MAP)
			fall_silent(s->link, now);
		settle_failed(q, "lookup timed out");
	}
	if (s->waiting > 0)
		arm(s);
}

struct asks *
asks_new(struct asks_link *link, void (*ready)(void *ctx), void *ctx)
{
	struct asks *s = calloc(1, sizeof(*s));

	if (s == NULL)
		panic("out of memory");
	s->link = link;
	s->ready = ready;
	s->ctx = ctx;
	s->a = arena_new(ASKS_BYTES + ARENA_SLACK);
	hmap_init(&s->memo);
	loop_task_init(&s->task, on_ready, s);
	loop_timer_init(&s->timer, link->loop, on_deadline, s);
	return s;
}

void
asks_clear(struct asks *s)
{
	HMAP_EACH(n, &s->memo) {
		struct question *q = HMAP_ENTRY(n, struct question, in_memo);

		if (q->result == MAP_WAIT)
			hmap_remove(&s->link->pending, &q->in_link);
	}
	hmap_release(&s->memo);
	hmap_init(&s->memo);
	arena_clear(s->a);
	s->waiting = 0;
	loop_task_cancel(&s->task);
	loop_timer_stop(&s->timer);
}

void
asks_free(struct asks **asks)
{
	struct asks *s = *asks;

	if (s == NULL)
		return;
	asks_clear(s);
	loop_timer_release(&s->timer);
	hmap_release(&s->memo);
	arena_free(&s->a);
	free(s);
	*asks = NULL;
}

size_t
asks_waiting(const struct asks *s)
{
	return s->waiting;
}

static uint64_t
memo_hash(enum ask_kind kind, uint16_t type, struct span table, struct span key)
{
	return hash_u64(span_hash(table) + (uint64_t)kind) ^ span_hash(key) ^ type;
}

static struct question *
recall(const struct asks *s, enum ask_kind kind, uint16_t type, struct span table, struct span key)
{
	HMAP_EACH_HASH(n, &s->memo, memo_hash(kind, type, table, key)) {
		struct question *q = HMAP_ENTRY(n, struct question, in_memo);

		if (q->kind == kind && q->type == type && span_eq(q->table, table) && span_eq(q->key, key))
			return q;
	}
	return NULL;
}

static bool
send_question(struct question *q)
{
	const struct asks_link *l = q->owner->link;

	if (q->kind == ASK_MAP && l->map_silent && loop_now_us(l->loop) < l->map_rest_us)
		return false;
	if (q->kind == ASK_OTHER)
		return q->way->send(q->way->ctx, q->id, q->table, q->key);
	return q->kind == ASK_MAP ? l->ops->map(l->ctx, q->id, q->table, q->key) :
	    l->ops->dns(l->ctx, q->id, q->key, q->type);
}

static const char *
cannot_send(const struct asks_link *l, enum ask_kind kind)
{
	switch (kind) {
	case ASK_MAP:
		return l->map_silent ? "the lookup service does not answer" : "the lookup service cannot be reached";
	case ASK_DNS:
		return "the resolver cannot be reached";
	case ASK_OTHER:
		return "the service cannot be reached";
	}
	panic("ask_kind");
}

/* Send it; nobody waits for one that cannot be. */
static struct question *
dispatch(struct question *q)
{
	struct asks *s = q->owner;

	if (!send_question(q)) {
		fail_answer(q, cannot_send(s->link, q->kind));
		q->result = q->kind == ASK_DNS ? MAP_FOUND : MAP_DEFER;
		return q;
	}
	hmap_add(&s->link->pending, &q->in_link, hash_u64(q->id));
	if (s->waiting++ == 0 || q->deadline_us < s->due_us) {
		s->due_us = q->deadline_us;
		loop_timer_set_ms(&s->timer, (q->deadline_us - loop_now_us(s->link->loop)) / 1000 + 1);
	}
	return q;
}

/* A new question; NULL when this piece of work has asked too much. */
static struct question *
question_new(struct asks *s, enum ask_kind kind, uint16_t type, struct span table, struct span key, int64_t timeout_us)
{
	struct question *q;

	if (s->memo.count >= ASKS_MAX || !room_for(s, table.n + key.n + sizeof(*q)))
		return NULL;
	q = ARENA_NEW(s->a, struct question);
	*q = (struct question){
		.owner = s, .id = ++s->link->last_id, .kind = kind, .type = type, .result = MAP_WAIT,
		.table = arena_dup(s->a, table), .key = arena_dup(s->a, key),
		.deadline_us = loop_now_us(s->link->loop) + timeout_us,
	};
	hmap_add(&s->memo, &q->in_memo, memo_hash(kind, type, table, key));
	return q;
}

static int64_t
time_limit(const struct asks_link *l, enum ask_kind kind)
{
	if (kind != ASK_MAP)
		return l->timeout_us;
	return l->map_silent ? lookup_limit(l) / SILENT_PART : lookup_limit(l);
}

static struct question *
ask(struct asks *s, enum ask_kind kind, uint16_t type, struct span table, struct span key)
{
	struct question *q = question_new(s, kind, type, table, key, time_limit(s->link, kind));

	return q != NULL ? dispatch(q) : NULL;
}

/* The answer of a table or a service, or that there is none yet. `q` may be NULL: it could not be asked. */
static enum map_result
answer_of(const struct asks *s, const struct question *q, struct span table, struct arena *a, struct span *value_r,
    struct fault *why)
{
	*value_r = span_str(NULL);
	if (q == NULL) {
		fault_set(why, "4.3.0", "%.*s: %s", SPAN_ARG(table),
		    s == NULL ? "this table cannot be asked here" : "too many lookups at once");
		return MAP_DEFER;
	}
	if (q->result == MAP_FOUND)
		*value_r = arena_dup(a, q->value);
	if (q->result == MAP_DEFER && why != NULL)
		*why = *q->why;
	return q->result;
}

enum map_result
asks_map(struct asks *s, struct span table, struct span key, struct arena *a, struct span *value_r,
    struct fault *why)
{
	struct question *q = s == NULL ? NULL : recall(s, ASK_MAP, 0, table, key);

	if (s != NULL && q == NULL)
		q = ask(s, ASK_MAP, 0, table, key);
	return answer_of(s, q, table, a, value_r, why);
}

enum map_result
asks_other(struct asks *s, const struct asks_way *way, struct span who, struct span key, struct arena *a,
    struct span *value_r, struct fault *why)
{
	struct question *q = s == NULL ? NULL : recall(s, ASK_OTHER, 0, who, key);

	if (s != NULL && q == NULL) {
		q = question_new(s, ASK_OTHER, 0, who, key, way->timeout_ms * 1000);
		if (q != NULL) {
			q->way = way;
			dispatch(q);
		}
	}
	return answer_of(s, q, who, a, value_r, why);
}

bool
asks_wants(const struct asks_link *link, uint64_t id)
{
	return pending(link, id) != NULL;
}

/* What cannot even be asked is a failed answer, of which one for the whole process is enough. */
static const struct dns_answer *
no_answer(void)
{
	static const struct dns_answer none = {
		.name = { "", 0 }, .canon = { "", 0 }, .status = DNS_FAILED, .rcode = DNS_RCODE_SERVFAIL,
		.why = { "too many lookups at once", 24 },
	};

	return &none;
}

enum map_result
asks_dns(struct asks *s, struct span name, uint16_t type, const struct dns_answer **answer_r)
{
	char lower[DNS_NAME_MAX];
	struct span key = { lower, 0 };
	struct question *q;

	*answer_r = no_answer();
	if (s == NULL || name.n > sizeof(lower))
		return MAP_FOUND;
	for (; key.n < name.n; key.n++)
		lower[key.n] = ascii_lower(name.p[key.n]);
	q = recall(s, ASK_DNS, type, span_str(NULL), key);
	if (q == NULL)
		q = ask(s, ASK_DNS, type, span_str(NULL), key);
	if (q == NULL)
		return MAP_FOUND;
	if (q->result == MAP_FOUND)
		*answer_r = q->answer;
	return q->result;
}
