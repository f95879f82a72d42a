/* Listing the queue, some messages at a time; what is not in memory is read from its file. */
#include <stdlib.h>

#include "role/queue/queue.h"

enum {
	AT_ONCE = 50,
	ENTRY_BYTES = 100000,           /* of one message's recipients: fifty of these fit into a frame */
	SAVED = 16,
};

struct listing {
	struct list node;
	struct queue *q;
	struct ipc_from from;
	struct arena *arena;
	struct ipc_qentry entries[AT_ONCE];
	bool gone[AT_ONCE];
	unsigned n, waiting;
	bool more;
	struct load {
		struct listing *l;
		unsigned at;
		struct store_op op;
	} loads[AT_ONCE];
};

/* Where a listing that wants more goes on, by the id that it got last. */
static struct saved {
	struct cursor at;
	char qid[STORE_QID_MAX + 1];
} saved[SAVED];
static unsigned saved_next;

static void
save_place(struct queue *q, const struct message *last, struct message *next)
{
	struct saved *s = &saved[saved_next++ % SAVED];

	if (s->qid[0] != '\0')
		cursor_stop(&s->at);
	memcpy(s->qid, last->qid, sizeof(s->qid));
	cursor_start(q, &s->at, next);
}

static struct message *
go_on_after(struct queue *q, struct span qid)
{
	struct message *m = message_find(q, qid);

	if (qid.n == 0)
		return list_empty(&q->all) ? NULL : LIST_ITEM(q->all.next, struct message, all);
	if (m != NULL)
		return m->all.next == &q->all ? NULL : LIST_ITEM(m->all.next, struct message, all);
	for (unsigned i = 0; i < SAVED; i++)
		if (span_eq(span_str(saved[i].qid), qid))
			return saved[i].at.next;
	return NULL;
}

/* The recipients that are not done, with their reasons, within the room for one entry. */
static void
fill(struct ipc_qentry *e, struct arena *a, const struct envelope *env, const struct mail_state *st)
{
	size_t room = ENTRY_BYTES, left = 0;

	e->sender = arena_dup(a, env->sender);
	e->rcpts = ARENA_ARRAY(a, struct ipc_qrcpt, env->rcpt_count + 1);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		const struct envelope_rcpt *r = &env->rcpts[i];
		struct span reason = span_slice(st->rcpts[i].text, 0, 1000);
		size_t need = r->addr.n + r->orig.n + reason.n + 12;

		if (st->rcpts[i].stage == RCPT_DONE)
			continue;
		if (left > 0 || need > room) {
			left++;
			continue;
		}
		room -= need;
		e->rcpts[e->n_rcpts++] = (struct ipc_qrcpt){ .addr = arena_dup(a, r->addr), .orig = arena_dup(a, r->orig),
			.reason = arena_dup(a, reason) };
	}
	if (left > 0)
		e->rcpts[e->n_rcpts++].addr = arena_printf(a, "(and %zu more recipients)", left);
}

static void
finish(struct listing *l)
{
	struct ipc_queue_listed m = { .more = l->more, .entries = l->entries };

	for (unsigned i = 0; i < l->n; i++)
		if (!l->gone[i])
			l->entries[m.n_entries++] = l->entries[i];
	ipc_reply_queue_listed(l->q->role->hub, l->from, &m);
	arena_free(&l->arena);
	list_remove(&l->node);
	free(l);
}

static bool
fill_from_file(struct listing *l, struct ipc_qentry *e, const struct store_op *op)
{
	struct arena *scratch = arena_new(QUEUE_ARENA_MAX);
	struct mail_state st;
	struct envelope env;
	struct fault why;
	bool ok = envelope_read(op->envelope, scratch, &env, &why);

	if (ok) {
		state_init(&st, env.rcpt_count, scratch);
		state_apply(&st, op->records, scratch);
		fill(e, l->arena, &env, &st);
	}
	arena_free(&scratch);
	return ok;
}

static void
loaded(void *ctx, struct store_op *op)
{
	struct load *d = ctx;
	struct listing *l = d->l;

	l->gone[d->at] = op->result != 0 || !fill_from_file(l, &l->entries[d->at], op);
	store_op_release(op);
	if (--l->waiting == 0)
		finish(l);
}

static void
add(struct listing *l, struct message *m)
{
	unsigned at = l->n++;
	struct ipc_qentry *e = &l->entries[at];
	struct load *d = &l->loads[at];

	*e = (struct ipc_qentry){
		.qid = arena_dup(l->arena, span_str(m->qid)),
		.state = admin_state(m),
		.forced = m->expire,
		.arrival_s = (uint64_t)(m->arrival_us / US_PER_S),
		.next_s = m->stage == STAGE_DEFERRED ? (uint64_t)(m->due.key / US_PER_S) : 0,
		.size = m->place.content_bytes,
	};
	if (m->active != NULL && m->active->env.rcpt_count > 0) {
		fill(e, l->arena, &m->active->env, &m->active->st);
		return;
	}
	d->l = l;
	d->at = at;
	store_op_init(&d->op, STORE_LOAD, span_str(m->qid), loaded, d);
	l->waiting++;
	store_submit(l->q->store, &d->op);
}

void
list_request(void *ctx, struct ipc_from from, struct ipc_queue_list *in)
{
	struct role *r = ctx;
	struct queue *q = r->state;
	struct listing *l = calloc(1, sizeof(*l));
	struct message *m = go_on_after(q, in->after), *last = NULL;
	unsigned max = in->max < AT_ONCE ? in->max : AT_ONCE;

	ensure(l != NULL);
	l->q = q;
	l->from = from;
	l->arena = arena_new(QUEUE_ARENA_MAX);
	list_push_back(&q->listings, &l->node);
	while (m != NULL && l->n < max) {
		if (m->stage != STAGE_WRITING && m->stage != STAGE_REMOVING)
			add(l, m);
		last = m;
		m = m->all.next == &q->all ? NULL : LIST_ITEM(m->all.next, struct message, all);
	}
	l->more = m != NULL;
	if (l->more && l->n > 0)
		save_place(q, last, m);
	if (l->waiting == 0)
		finish(l);
}

void
list_forget(struct queue *q)
{
	(void)q;
	for (unsigned i = 0; i < SAVED; i++) {
		if (saved[i].qid[0] != '\0')
			cursor_stop(&saved[i].at);
		saved[i].qid[0] = '\0';
	}
}
