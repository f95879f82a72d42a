/* What was in the spool when we started: taken up in the background, while new mail comes in. */
#include <stdlib.h>

#include "base/fd.h"
#include "role/queue/queue.h"

struct cleanup {
	struct store_op op;
};

static void
cleaned(void *ctx, struct store_op *op)
{
	struct cleanup *c = ctx;
	struct log l = { .tag = NULL };

	memcpy(l.qid, op->qid, sizeof(op->qid));
	if (op->result < 0)
		log_warning(&l, "cannot %s the damaged queue file: %s",
		    op->kind == STORE_REMOVE ? "remove" : "move", fd_error(op->result));
	free(c);
}

/*
 * A file without a byte of ours was never acknowledged. One that is cut short was not either, unless the file system
 * lost its end later (a repair after a crash does that): so it is kept for a human, like one that is damaged.
 */
static void
clean_up(struct queue *q, const struct store_entry *e)
{
	struct log l = { .tag = NULL };
	struct cleanup *c = calloc(1, sizeof(*c));
	bool empty = e->found == STORE_FOUND_TORN && e->place.envelope_bytes == 0;

	ensure(c != NULL);
	memcpy(l.qid, e->qid, sizeof(e->qid));
	if (empty)
		log_info(&l, "removed (empty, never acknowledged)");
	else if (e->found == STORE_FOUND_TORN)
		log_warning(&l, "incomplete queue file, moved to the directory corrupt (never acknowledged, unless a repair of "
		    "the file system cut it)");
	else
		log_warning(&l, "damaged queue file, moved to the directory corrupt");
	store_op_init(&c->op, empty ? STORE_REMOVE : STORE_CORRUPT, span_str(e->qid), cleaned, c);
	store_submit(q->store, &c->op);
}

/* False when envelope or records make no sense. */
static bool
take_up(struct queue *q, const struct store_entry *e)
{
	struct arena *a = arena_new(QUEUE_ARENA_MAX);
	struct mail_state st;
	struct envelope env;
	struct fault why;
	struct message *m;
	bool ok = e->envelope.n > 0 && envelope_read(e->envelope, a, &env, &why) && env.rcpt_count > 0;

	if (ok) {
		m = message_new(q, span_str(e->qid));
		state_init(&st, env.rcpt_count, a);
		st.hold = env.hold;
		state_apply(&st, e->records, a);
		m->place = e->place;
		m->unverified = true;
		m->arrival_us = env.arrival_us;
		m->crashes = st.crashes < QUEUE_CRASHES_MAX ? (uint8_t)st.crashes : QUEUE_CRASHES_MAX;
		m->expire = st.expire;
		message_set_sites(m, &env, &st);
		message_stage(q, m, st.hold ? STAGE_HELD : STAGE_DEFERRED, st.next_us);
	}
	arena_free(&a);
	return ok;
}

static void
found(void *ctx, const struct store_entry *e, int result)
{
	struct queue *q = ctx;
	struct store_entry bad;

	if (e == NULL) {
		q->scanning = false;
		if (result < 0)
			log_error(NULL, "reading the spool: %s; what could not be read is left alone", fd_error(result));
		return;
	}
	/* made since we started, or being made just now */
	if (message_find(q, span_str(e->qid)) != NULL)
		return;
	if (e->found == STORE_FOUND_GOOD && take_up(q, e))
		return;
	bad = *e;
	if (bad.found == STORE_FOUND_GOOD)
		bad.found = STORE_FOUND_BAD;
	clean_up(q, &bad);
}

void
recover_begin(struct queue *q)
{
	q->scanning = true;
	store_scan(q->store, found, q);
}
