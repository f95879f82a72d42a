/* Questions that the rules of lib/hop and lib/route ask, one at a time, from the command line. */
#include <stdlib.h>

#include "base/panic.h"
#include "conf/conf.h"
#include "maps/maps.h"
#include "signet/tls.h"

enum { ASK_MS = 60000 };

struct question {
	struct list node;
	struct asks_link *link;
	uint64_t id;
	uint16_t type;
	struct span name;               /* behind the struct */
};

static bool
resolve(struct tls_asks *q, const struct question *one, struct arena *a, struct dns_answer *d_r)
{
	const struct ipc_resolver_ask m = { .name = one->name, .rrtype = one->type,
		.native = one->link == q->native_link };
	struct ipc_resolver_answer answer;
	struct span payload;
	struct buf b;
	bool ok;

	if (!q->connected)
		return false;
	buf_init(&b, 65536);
	ipc_encode_resolver_ask(&b, &m);
	ok = control_ask(&q->control, IPC_RESOLVER_ASK, buf_span(&b), IPC_RESOLVER_ANSWER, ASK_MS, &payload, NULL, &q->why) &&
	    ipc_decode_resolver_answer(payload, a, &answer) && dns_answer_read(answer.answer, a, d_r);
	buf_release(&b);
	return ok;
}

static void
answer_all(void *ctx)
{
	struct tls_asks *q = ctx;
	struct list *n;

	while ((n = list_pop_front(&q->questions)) != NULL) {
		struct question *one = LIST_ITEM(n, struct question, node);
		struct arena *a = asks_answer_arena(one->link, one->id);

		if (a != NULL) {
			struct dns_answer *d = ARENA_NEW(a, struct dns_answer);

			if (!resolve(q, one, a, d))
				dns_answer_fail(d, a, one->name, one->type, arena_printf(a, "%s", q->why.text).p);
			asks_answer_dns(one->link, one->id, d);
		}
		free(one);
	}
}

static bool
ask_by(struct tls_asks *q, struct asks_link *link, uint64_t id, struct span name, uint16_t type)
{
	struct question *one = calloc(1, size_add(sizeof(*one), name.n));

	ensure(one != NULL);
	one->link = link;
	one->id = id;
	one->type = type;
	memcpy(one + 1, name.p, name.n);
	one->name = span_of((const char *)(one + 1), name.n);
	list_init(&one->node);
	list_push_back(&q->questions, &one->node);
	loop_defer(q->loop, &q->answer);
	q->asked_dns = true;
	return true;
}

static bool
ask_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	struct tls_asks *q = ctx;

	return ask_by(q, q->link, id, name, type);
}

static bool
ask_native(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	struct tls_asks *q = ctx;

	return ask_by(q, q->native_link, id, name, type);
}

/* Every table that can be opened is opened in this process. */
static bool
ask_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)id;
	(void)table;
	(void)key;
	return false;
}

static const struct asks_ops ops = { ask_map, ask_dns }, native_ops = { ask_map, ask_native };

static void
on_ready(void *ctx)
{
	struct tls_asks *q = ctx;

	q->ready = true;
}

void
tls_asks_open(struct tls_asks *q, const struct conf *conf)
{
	const struct params *p = conf->params;

	*q = (struct tls_asks){ .loop = loop_new() };
	list_init(&q->questions);
	loop_task_init(&q->answer, answer_all, q);
	q->link = asks_link_new(q->loop, &ops, q, ASK_MS);
	q->asks = asks_new(q->link, on_ready, q);
	q->native_link = asks_link_new(q->loop, &native_ops, q, ASK_MS);
	q->native = asks_new(q->native_link, on_ready, q);
	q->env = (struct maps_env){ .data_directory = p->data_directory, .default_database_type = p->default_database_type,
		.alias_tables = "", .direct = true };
	q->connected = control_open(&q->control, conf, &q->why);
}

void
tls_asks_close(struct tls_asks *q)
{
	struct list *n;

	asks_free(&q->asks);
	asks_link_free(&q->link);
	asks_free(&q->native);
	asks_link_free(&q->native_link);
	while ((n = list_pop_front(&q->questions)) != NULL)
		free(LIST_ITEM(n, struct question, node));
	loop_task_cancel(&q->answer);
	if (q->connected)
		control_close(&q->control);
	loop_free(&q->loop);
}

struct asks *
tls_asks_native(void *q)
{
	return ((struct tls_asks *)q)->native;
}

enum map_result
tls_asks_run(struct tls_asks *q, enum map_result (*step)(void *ctx), void *ctx)
{
	enum map_result r;

	while ((r = step(ctx)) == MAP_WAIT) {
		q->ready = false;
		while (!q->ready)
			loop_turn(q->loop, 100);
	}
	return r;
}

struct one_name {
	struct tls_asks *q;
	struct span name;
	uint16_t type;
	const struct dns_answer *answer;
};

static enum map_result
ask_once(void *ctx)
{
	struct one_name *o = ctx;

	return asks_dns(o->q->asks, o->name, o->type, &o->answer);
}

const struct dns_answer *
tls_asks_dns(struct tls_asks *q, struct span name, uint16_t type)
{
	struct one_name o = { q, name, type, NULL };

	(void)tls_asks_run(q, ask_once, &o);
	ensure(o.answer != NULL);
	return o.answer;
}
