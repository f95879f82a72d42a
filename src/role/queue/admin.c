/* What an administrator may ask of messages: flush, hold, release, requeue, delete, expire, look. */
#include <stdlib.h>

#include "base/fd.h"
#include "log/lines_qmgr.h"
#include "role/queue/queue.h"

/* As in table/messages.tab. */
enum op { OP_FLUSH_ALL, OP_FLUSH_ONE, OP_FLUSH_SITE, OP_HOLD, OP_RELEASE, OP_REQUEUE, OP_DELETE, OP_EXPIRE, OP_COUNT };

enum { STEP = 500, PENDING_MAX = 1000 };

/* A request about all messages, some at a time. */
struct sweep {
	struct list node;
	struct cursor at;
	enum op op;
	uint32_t site;
	unsigned states;                /* bits 1 << admin_state(): only these */
	uint32_t count;
	struct ipc_from from;
};

static void
answer(struct queue *q, struct ipc_from from, bool ok, uint32_t count, const char *text)
{
	const struct ipc_queue_admin_done m = { .ok = ok, .count = count, .text = span_str(text) };

	ipc_reply_queue_admin_done(q->role->hub, from, &m);
}

uint8_t
admin_state(const struct message *m)
{
	return m->stage == STAGE_ACTIVE ? 0 : m->stage == STAGE_DEFERRED ? 2 : m->stage == STAGE_HELD ? 3 : 1;
}

/* In the log it is postsuper's doing, as in Postfix: who looks for a message finds that a person took it away. True. */
static bool
tell(const struct queue *q, const struct message *m, enum log_postsuper did)
{
	struct log l = message_log(m);

	l.tag = q->postsuper_tag;
	log_postsuper(&l, did);
	return true;
}

/* ---- one message: each true when it did something */

static bool
flush(struct queue *q, struct message *m)
{
	if (m->stage == STAGE_ACTIVE)
		m->flush = true;
	else if (m->stage == STAGE_DEFERRED)
		message_stage(q, m, STAGE_DEFERRED, 0);
	return m->stage == STAGE_ACTIVE || m->stage == STAGE_DEFERRED;
}

static bool
hold(struct queue *q, struct message *m)
{
	if (m->stage == STAGE_ACTIVE) {
		m->want_hold = true;
		active_cancel(m->active);
		return true;
	}
	if (m->stage != STAGE_DEFERRED && m->stage != STAGE_INCOMING)
		return false;
	active_free(q, m);
	message_stage(q, m, STAGE_HELD, 0);
	buf_add_str(journal_records(q, m), "hold\n");
	journal_send(q, m);
	return true;
}

static bool
release(struct queue *q, struct message *m)
{
	if (m->stage == STAGE_ACTIVE && m->want_hold) {
		m->want_hold = false;
		m->flush = true;
		return true;
	}
	if (m->stage != STAGE_HELD)
		return false;
	m->crashes = 0;
	buf_add_str(journal_records(q, m), "release\ncrash 0\n");
	message_stage(q, m, STAGE_DEFERRED, 0);
	journal_send(q, m);
	return true;
}

static bool
delete(struct queue *q, struct message *m)
{
	if (m->stage == STAGE_WRITING || m->stage == STAGE_REMOVING)
		return false;
	tell(q, m, LOG_POSTSUPER_REMOVED);
	if (m->stage == STAGE_ACTIVE) {
		m->want_delete = true;
		active_cancel(m->active);
		return true;
	}
	active_free(q, m);
	journal_remove(q, m);
	return true;
}

static bool
expire(struct queue *q, struct message *m)
{
	if (m->stage == STAGE_WRITING || m->stage == STAGE_REMOVING || m->expire)
		return false;
	m->expire = true;
	buf_add_str(journal_records(q, m), "expire\n");
	if (m->stage == STAGE_DEFERRED)
		message_stage(q, m, STAGE_DEFERRED, 0);
	journal_send(q, m);
	return true;
}

static bool
apply(struct queue *q, struct message *m, enum op op)
{
	switch (op) {
	case OP_FLUSH_ALL:
	case OP_FLUSH_ONE:
	case OP_FLUSH_SITE:
		return flush(q, m);
	case OP_HOLD:
		return hold(q, m) && tell(q, m, LOG_POSTSUPER_HELD);
	case OP_RELEASE:
		return release(q, m) && tell(q, m, LOG_POSTSUPER_RELEASED);
	case OP_REQUEUE:        /* every attempt routes anew, so this is to try now, held or not */
		return (release(q, m) || flush(q, m)) && tell(q, m, LOG_POSTSUPER_REQUEUED);
	case OP_DELETE:
		return delete(q, m);
	case OP_EXPIRE:
		return expire(q, m) && tell(q, m, LOG_POSTSUPER_EXPIRED);
	case OP_COUNT:
		break;
	}
	return false;
}

/* ---- all of them */

static bool
has_site(const struct message *m, uint32_t site)
{
	for (uint32_t i = 0; i < m->n_sites; i++)
		if (m->sites[i] == site)
			return true;
	return false;
}

/* True when it has reached the end. */
static bool
sweep_step(struct queue *q, struct sweep *s)
{
	for (int i = 0; i < STEP && store_pending(q->store) < PENDING_MAX; i++) {
		struct message *m = cursor_next(q, &s->at);

		if (m == NULL)
			return true;
		if ((s->op != OP_FLUSH_SITE || has_site(m, s->site)) && (s->states & 1u << admin_state(m)) != 0)
			s->count += apply(q, m, s->op);
	}
	return false;
}

void
admin_sweep(struct queue *q)
{
	LIST_EACH(n, &q->sweeps) {
		struct sweep *s = LIST_ITEM(n, struct sweep, node);

		if (!sweep_step(q, s))
			continue;
		answer(q, s->from, true, s->count, "");
		list_remove(n);
		cursor_stop(&s->at);
		free(s);
	}
	if (!list_empty(&q->sweeps))
		queue_wake(q);
}

void
admin_release(struct queue *q)
{
	LIST_EACH(n, &q->sweeps) {
		struct sweep *s = LIST_ITEM(n, struct sweep, node);

		list_remove(n);
		cursor_stop(&s->at);
		free(s);
	}
}

static void
sweep_all(struct queue *q, struct ipc_from from, enum op op, struct span site, unsigned states)
{
	struct sweep *s = calloc(1, sizeof(*s));

	ensure(s != NULL);
	s->op = op;
	s->states = states;
	s->from = from;
	s->site = message_site_hash(span_starts(site, SPAN("@")) ? span_from(site, 1) : site);
	cursor_start(q, &s->at, NULL);
	list_push_back(&q->sweeps, &s->node);
	queue_wake(q);
}

/* "ALL deferred hold": behind the first word, in which queues; without, in all. False at a queue that does not exist. */
static bool
take_states(struct span *which, unsigned *states_r)
{
	static const char *const names[] = { "active", "incoming", "deferred", "hold" };       /* by admin_state() */
	struct span rest = *which, word;

	*states_r = 0;
	span_token(&rest, " ", which);
	while (span_token(&rest, " ", &word)) {
		unsigned i = 0;

		while (i < 4 && !span_eq(word, span_str(names[i])))
			i++;
		if (i == 4)
			return false;
		*states_r |= 1u << i;
	}
	if (*states_r == 0)
		*states_r = 15;
	return true;
}

/* Why nothing was done with this one. */
static const char *
idle_text(const struct message *m, enum op op)
{
	if (m->stage == STAGE_HELD)
		return op == OP_HOLD ? "is on hold already" : "is on hold: release it, then it is tried";
	if (m->stage == STAGE_WRITING || m->stage == STAGE_REMOVING)
		return m->stage == STAGE_WRITING ? "is just being accepted" : "is just being removed";
	return op == OP_RELEASE ? "is not on hold" : op == OP_EXPIRE ? "is expired already" : "is under way";
}

void
admin_request(void *ctx, struct ipc_from from, struct ipc_queue_admin *in)
{
	struct role *r = ctx;
	struct queue *q = r->state;
	struct message *m;
	unsigned states = 15;
	bool did;

	if (in->op >= OP_COUNT) {
		answer(q, from, false, 0, "unknown operation");
		return;
	}
	if (in->op != OP_FLUSH_SITE && !take_states(&in->which, &states)) {
		answer(q, from, false, 0, "no such queue: active, incoming, deferred or hold");
		return;
	}
	if (in->op <= OP_FLUSH_SITE)
		sched_revive(q->sched, loop_now_us(q->loop));
	if (in->op == OP_FLUSH_ALL || in->op == OP_FLUSH_SITE || span_eq_ci(in->which, SPAN("ALL"))) {
		sweep_all(q, from, (enum op)in->op, in->which, states);
		return;
	}
	m = message_find(q, in->which);
	if (m == NULL || (states & 1u << admin_state(m)) == 0) {
		answer(q, from, false, 0, q->scanning ? "no such message (still reading the spool)" : "no such message");
		return;
	}
	did = apply(q, m, (enum op)in->op);
	answer(q, from, true, did, did ? "" : idle_text(m, (enum op)in->op));
	queue_wake(q);
}

/* ---- one message's content */

struct cat {
	struct queue *q;
	struct ipc_from from;
	uint8_t state;
	struct store_op op;
};

static void
cat_loaded(void *ctx, struct store_op *op)
{
	struct cat *c = ctx;
	struct ipc_queue_cat_done m = { .ok = op->result == 0, .file = op->fd, .state = c->state };

	if (op->result == 0) {
		m.envelope = op->envelope;
		m.size = op->place.content_bytes;
		m.offset = op->place.content_off;
	} else {
		m.text = span_str(fd_error(op->result));
	}
	ipc_reply_queue_cat_done(c->q->role->hub, c->from, &m);
	store_op_release(op);
	free(c);
}

void
admin_cat(void *ctx, struct ipc_from from, struct ipc_queue_cat *in)
{
	struct role *r = ctx;
	struct queue *q = r->state;
	struct message *m = message_find(q, in->qid);
	struct cat *c;

	if (m == NULL || m->stage == STAGE_WRITING || m->stage == STAGE_REMOVING) {
		ipc_reply_queue_cat_done(r->hub, from,
		    &(struct ipc_queue_cat_done){ .file = -1, .text = SPAN("no such message") });
		return;
	}
	c = calloc(1, sizeof(*c));
	ensure(c != NULL);
	c->q = q;
	c->from = from;
	c->state = admin_state(m);
	store_op_init(&c->op, STORE_LOAD, in->qid, cat_loaded, c);
	c->op.want_fd = true;
	store_submit(q->store, &c->op);
}
