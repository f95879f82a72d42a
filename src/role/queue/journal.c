/* Records of a message on their way to the disk: one operation at a time for each message, none lost when the disk is full. */
#include <stdlib.h>

#include "base/fd.h"
#include "log/lines_qmgr.h"
#include "role/queue/queue.h"

enum { STUCK_MS = 10000 };

struct journal {
	struct list node;               /* in queue->stuck */
	struct queue *q;
	struct message *m;
	struct buf records;             /* for the next operation */
	struct buf sending;             /* in this one */
	struct store_op op;
	bool busy, remove, stuck;
	bool replace;                   /* `records` say everything */
	bool replacing;                 /* so does `sending` */
};

static void start(struct journal *j);

static struct journal *
journal_of(struct queue *q, struct message *m)
{
	struct journal *j = m->journal;

	if (j != NULL)
		return j;
	j = calloc(1, sizeof(*j));
	ensure(j != NULL);
	list_init(&j->node);
	j->q = q;
	j->m = m;
	buf_init(&j->records, QUEUE_RECORDS_MAX);
	buf_init(&j->sending, QUEUE_RECORDS_MAX);
	m->journal = j;
	return j;
}

void
journal_drop(struct queue *q, struct message *m)
{
	struct journal *j = m->journal;

	(void)q;
	if (j == NULL)
		return;
	m->journal = NULL;
	list_remove(&j->node);
	buf_release(&j->records);
	buf_release(&j->sending);
	free(j);
}

struct buf *
journal_records(struct queue *q, struct message *m)
{
	return &journal_of(q, m)->records;
}

/* The disk would not take it: what is known stays in memory, and is tried again. */
static void
get_stuck(struct journal *j)
{
	struct log l = message_log(j->m);
	struct buf both;

	log_warning(&l, "cannot update the queue file: %s", fd_error(j->op.result));
	buf_init(&both, 2 * (size_t)QUEUE_RECORDS_MAX);
	if (!j->replace) {
		buf_add_span(&both, buf_span(&j->sending));
		j->replace = j->replacing;
	}
	buf_add_span(&both, buf_span(&j->records));
	both.max = QUEUE_RECORDS_MAX;
	buf_release(&j->sending);
	buf_release(&j->records);
	j->records = both;
	buf_init(&j->sending, QUEUE_RECORDS_MAX);
	j->stuck = true;
	list_push_back(&j->q->stuck, &j->node);
	if (!loop_timer_pending(&j->q->stuck_timer))
		loop_timer_set_ms(&j->q->stuck_timer, STUCK_MS);
}

void
journal_retry(void *ctx)
{
	struct queue *q = ctx;
	struct list again, *n;

	list_init(&again);
	while ((n = list_pop_front(&q->stuck)) != NULL)
		list_push_back(&again, n);
	while ((n = list_pop_front(&again)) != NULL) {
		struct journal *j = LIST_ITEM(n, struct journal, node);

		j->stuck = false;
		start(j);
	}
}

static void
update_done(void *ctx, struct store_op *op)
{
	struct journal *j = ctx;
	struct queue *q = j->q;
	struct message *m = j->m;

	j->busy = false;
	m->place = op->place;
	if (op->result < 0 && !j->remove) {
		get_stuck(j);
		return;
	}
	buf_clear(&j->sending);
	if (j->records.n > 0 || j->remove) {
		start(j);
		return;
	}
	journal_drop(q, m);
	queue_wake(q);
}

static void
remove_done(void *ctx, struct store_op *op)
{
	struct journal *j = ctx;
	struct queue *q = j->q;
	struct message *m = j->m;

	j->busy = false;
	if (op->result < 0) {
		get_stuck(j);
		return;
	}
	journal_drop(q, m);
	q->removed++;
	message_free(q, m);
	queue_wake(q);
}

static void
start(struct journal *j)
{
	struct message *m = j->m;
	struct buf swap = j->sending;

	if (j->busy || j->stuck)
		return;
	store_op_init(&j->op, j->remove ? STORE_REMOVE : STORE_UPDATE, span_str(m->qid),
	    j->remove ? remove_done : update_done, j);
	j->op.place = m->place;
	if (!j->remove) {
		if (j->records.n == 0) {
			journal_drop(j->q, m);
			return;
		}
		j->sending = j->records;
		j->records = swap;
		buf_clear(&j->records);
		j->op.records = buf_span(&j->sending);
		j->op.replace = j->replacing = j->replace;
		j->replace = false;
	}
	j->busy = true;
	store_submit(j->q->store, &j->op);
}

void
journal_send(struct queue *q, struct message *m)
{
	(void)q;
	if (m->journal != NULL)
		start(m->journal);
}

void
journal_replace(struct queue *q, struct message *m, const struct mail_state *st)
{
	struct journal *j = journal_of(q, m);

	buf_clear(&j->records);
	state_write_all(st, &j->records);
	j->replace = true;
}

void
journal_remove(struct queue *q, struct message *m)
{
	struct log l = message_log(m);
	struct journal *j = journal_of(q, m);

	log_qmgr_removed(&l);
	message_stage(q, m, STAGE_REMOVING, 0);
	j->remove = true;
	if (j->stuck) {
		list_remove(&j->node);
		j->stuck = false;
	}
	start(j);
}
