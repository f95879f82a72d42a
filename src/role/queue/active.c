/* One attempt of a message: loaded, routed, delivered, reported, and back to rest. */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/rand.h"
#include "log/lines_qmgr.h"
#include "mail/address.h"
#include "role/queue/queue.h"

enum { SUSPECTS_AT_ONCE = 10, RELOAD_US = 60 * 1000000, CRASH_US = 5 * 1000000 };

static void
run_next(void *ctx)
{
	struct active *a = ctx;

	if (a->phase == PHASE_RUN)
		active_check(a);
}

struct active *
active_new(struct queue *q, struct message *m)
{
	struct arena *arena = arena_new(QUEUE_ARENA_MAX);
	struct active *a = ARENA_NEW(arena, struct active);

	a->q = q;
	a->m = m;
	a->arena = arena;
	a->fd = -1;
	list_init(&a->jobs);
	list_init(&a->waiting);
	loop_task_init(&a->next, run_next, a);
	return a;
}

void
active_drop_content(struct queue *q, struct active *a)
{
	if (a->content == NULL)
		return;
	q->cache_bytes -= a->content_bytes;
	free(a->content);
	a->content = NULL;
}

void
active_free(struct queue *q, struct message *m)
{
	struct active *a = m->active;
	struct arena *arena;

	if (a == NULL)
		return;
	ensure(a->running == 0 && !a->busy);
	m->active = NULL;
	active_drop_content(q, a);
	loop_task_cancel(&a->next);
	list_remove(&a->waiting);
	asks_free(&a->asks);
	fd_close(&a->fd);
	arena = a->arena;
	arena_free(&arena);
}

/* Out of the active queue. */
static void
leave(struct active *a)
{
	struct queue *q = a->q;
	struct message *m = a->m;

	q->active_count--;
	if (a->alone) {
		q->suspects_running--;
		q->suspect_alone = false;
	}
	m->want_hold = m->flush = false;
	active_free(q, m);
}

/* ---- the end of an attempt */

/* What failed for good because its time is over; true when there was something. */
static bool
expire_rcpts(struct active *a, bool forced)
{
	bool any = false;

	for (uint32_t i = 0; i < a->st.n; i++) {
		struct rcpt_state *r = &a->st.rcpts[i];

		if (r->stage != RCPT_TODO || (r->dsn.n == 0 && !forced))
			continue;
		if (r->dsn.n == 0) {
			r->dsn = SPAN("4.3.0");
			r->text = SPAN("message was expired by the administrator");
		}
		r->stage = RCPT_FAILED;
		state_write_rcpts(journal_records(a->q, a->m), &a->st, &i, 1);
		any = true;
	}
	return any;
}

static struct retry_params
retry_params(const struct active *a)
{
	const struct params *p = a->q->params;
	bool bounce = a->env.sender.n == 0;

	return (struct retry_params){
		.backoff_min_us = p->minimal_backoff_time_ms * US_PER_MS,
		.backoff_max_us = p->maximal_backoff_time_ms * US_PER_MS,
		.lifetime_us = (bounce ? p->bounce_queue_lifetime_ms : p->maximal_queue_lifetime_ms) * US_PER_MS,
		.warning_us = p->delay_warning_time_ms * US_PER_MS,
	};
}

/* Every recipient of this attempt has an outcome. */
static void
finish_pass(struct active *a)
{
	struct log l = message_log(a->m);
	const struct retry_params p = retry_params(a);

	if (a->m->want_delete) {
		active_settle(a);
		return;
	}
	if (a->m->expire || retry_expired(&p, a->m->arrival_us, clock_wall_us()))
		if (expire_rcpts(a, a->m->expire))
			log_qmgr_expired(&l, address_external(a->env.sender, a->arena), a->m->expire);
	a->phase = PHASE_REPORT;
	bounce_begin(a);
}

void
active_check(struct active *a)
{
	if (a->phase == PHASE_RUN && a->left == 0 && a->running == 0)
		finish_pass(a);
}

void
active_cancel(struct active *a)
{
	struct queue *q = a->q;

	if (a->phase == PHASE_ROUTE) {
		asks_free(&a->asks);
		a->left = 0;
		a->phase = PHASE_RUN;
	}
	LIST_EACH(n, &a->jobs) {
		struct job *j = LIST_ITEM(n, struct job, node);

		if (j->sj.dest == NULL)
			continue;
		a->left -= j->sj.n - j->sj.taken;
		sched_cancel(q->sched, &j->sj, loop_now_us(q->loop));
	}
	loop_defer(q->loop, &a->next);
}

/* When to try again; the message is held instead when its agents keep dying. */
static int64_t
next_attempt(struct active *a, int64_t now)
{
	const struct retry_params p = retry_params(a);

	if (a->m->flush)
		return now;
	if (a->crashed)
		return now + CRASH_US * (a->m->crashes + 1);
	return retry_next_us(&p, a->m->arrival_us, now, rand_below(UINT32_MAX));
}

static bool
long_records(const struct store_place *p)
{
	uint64_t envelope = p->envelope_off + p->envelope_bytes, content = p->content_off + p->content_bytes;

	return p->tail > (envelope > content ? envelope : content) + QUEUE_COMPACT_BYTES;
}

void
active_settle(struct active *a)
{
	struct queue *q = a->q;
	struct message *m = a->m;
	int64_t now = clock_wall_us();
	bool held = m->want_hold;
	struct buf *records;

	if (m->want_delete || state_count(&a->st, RCPT_DONE) == a->st.n) {
		leave(a);
		journal_remove(q, m);
		return;
	}
	a->st.attempts++;
	a->st.next_us = next_attempt(a, now);
	a->st.hold = held;
	records = journal_records(q, m);
	if (long_records(&m->place))
		journal_replace(q, m, &a->st);
	else
		buf_addf(records, "next %lld %u\n%s", (long long)a->st.next_us, a->st.attempts, held ? "hold\n" : "");
	message_set_sites(m, &a->env, &a->st);
	now = a->st.next_us;
	leave(a);
	message_stage(q, m, held ? STAGE_HELD : STAGE_DEFERRED, now);
	journal_send(q, m);
}

/* ---- the beginning */

static struct span
text_without_rcpts(struct active *a)
{
	struct envelope bare = a->env;
	struct buf b;
	struct span s;

	bare.rcpts = NULL;
	bare.rcpt_count = bare.rcpt_cap = 0;
	buf_init(&b, STORE_ENVELOPE_MAX);
	envelope_write(&bare, &b);
	s = arena_dup(a->arena, buf_span(&b));
	buf_release(&b);
	return s;
}

/* Action REDIRECT: all recipients become this one; the first stands for it, in the records too. */
static void
redirect(struct active *a)
{
	if (a->env.redirect.n == 0)
		return;
	a->env.rcpts[0].addr = a->env.redirect;
	for (size_t i = 1; i < a->st.n; i++)
		a->st.rcpts[i].stage = RCPT_DONE;
}

static void
start_pass(struct active *a)
{
	struct log l = message_log(a->m);
	size_t todo;

	redirect(a);
	todo = state_count(&a->st, RCPT_TODO);
	a->active_us = clock_wall_us();
	a->env_text = text_without_rcpts(a);
	a->phase = PHASE_RUN;
	if (todo > 0)
		log_qmgr_active(&l, address_external(a->env.sender, a->arena), a->m->place.content_bytes, todo);
	if (todo == 0 || a->m->expire || a->m->want_hold || a->m->want_delete) {
		loop_defer(a->q->loop, &a->next);
		return;
	}
	a->left = (uint32_t)todo;
	route_begin(a);
}

/* Forget the message; its file is gone, or on its way to corrupt/. */
static void
forget(struct active *a)
{
	struct queue *q = a->q;
	struct message *m = a->m;

	leave(a);
	message_free(q, m);
}

static void
move_done(void *ctx, struct store_op *op)
{
	struct log l = { .tag = NULL };

	(void)ctx;
	memcpy(l.qid, op->qid, sizeof(op->qid));
	if (op->result < 0)
		log_warning(&l, "cannot move the damaged queue file: %s", fd_error(op->result));
	free(op);
}

static void
load_failed(struct active *a, int result)
{
	struct queue *q = a->q;
	struct message *m = a->m;
	struct log l = message_log(m);
	struct store_op *op;

	if (result == -ENOENT) {
		/* the scan may have seen it just before it was removed */
		if (!m->unverified)
			log_warning(&l, "the queue file is gone");
		forget(a);
	} else if (result == -EBADMSG) {
		log_warning(&l, "damaged queue file, moved to the directory corrupt");
		op = calloc(1, sizeof(*op));
		ensure(op != NULL);
		store_op_init(op, STORE_CORRUPT, span_str(m->qid), move_done, NULL);
		forget(a);
		store_submit(q->store, op);
	} else {
		log_warning(&l, "cannot read the queue file: %s", fd_error(result));
		leave(a);
		message_stage(q, m, STAGE_DEFERRED, clock_wall_us() + RELOAD_US);
	}
}

/* Their place behind the recipients is the same in every pass: records speak of it (RFC 3461 section 5.2.7.3). */
void
active_state_init(struct active *a)
{
	size_t n = a->env.rcpt_count;

	for (size_t i = 0; i < a->env.expanded_count; i++)
		envelope_add_rcpt(&a->env, a->arena, &a->env.expanded[i]);
	state_init(&a->st, a->env.rcpt_count, a->arena);
	for (size_t i = n; i < a->st.n; i++)
		a->st.rcpts[i] = (struct rcpt_state){ .stage = RCPT_REPORT, .report = REPORT_EXPANDED,
			.dsn = SPAN("2.0.0"), .text = SPAN("alias expanded") };
}

static bool
take_envelope(struct active *a, const struct store_op *op)
{
	struct fault why;

	if (a->env.rcpt_count > 0)
		return true;            /* fresh: only the content was missing */
	if (!envelope_read(arena_dup(a->arena, op->envelope), a->arena, &a->env, &why) || a->env.rcpt_count == 0)
		return false;
	active_state_init(a);
	a->st.hold = a->env.hold;
	a->st.warned = a->env.delay_warned;
	state_apply(&a->st, op->records, a->arena);
	return true;
}

static void
loaded(void *ctx, struct store_op *op)
{
	struct active *a = ctx;
	struct queue *q = a->q;
	struct message *m = a->m;
	int result = op->result;

	a->busy = false;
	if (result == 0 && !take_envelope(a, op))
		result = -EBADMSG;
	if (result == 0) {
		m->place = op->place;
		m->unverified = false;
		a->fd = op->fd;
		a->fd_offset = op->place.content_off;
		op->fd = -1;
		if (op->content_loaded && op->content.n > 0) {
			a->content = malloc(op->content.n);
			ensure(a->content != NULL);
			memcpy(a->content, op->content.p, op->content.n);
			a->content_bytes = op->content.n;
			q->cache_bytes += op->content.n;
		}
	}
	store_op_release(op);
	if (result < 0)
		load_failed(a, result);
	else
		start_pass(a);
}

static bool
has_content(const struct active *a)
{
	return a->content != NULL || a->fd >= 0 || a->m->place.content_bytes == 0;
}

static void
go_on(struct active *a)
{
	struct message *m = a->m;

	if (a->env.rcpt_count > 0 && has_content(a)) {
		start_pass(a);
		return;
	}
	a->phase = PHASE_LOAD;
	a->busy = true;
	store_op_init(&a->load, STORE_LOAD, span_str(m->qid), loaded, a);
	a->load.verify = m->unverified;
	a->load.content_max = QUEUE_INLINE_MAX;
	a->load.want_fd = m->place.content_bytes > QUEUE_INLINE_MAX;
	store_submit(a->q->store, &a->load);
}

/*
 * Messages that were in flight when an agent died run apart: a few at a time after the first
 * death, quite alone after the second, so that the next one tells which of them it was.
 */
static bool
may_run(struct queue *q, const struct message *m)
{
	if (m->crashes == 0)
		return true;
	return !q->suspect_alone &&
	    q->suspects_running < (m->crashes == 1 ? (unsigned)SUSPECTS_AT_ONCE : 1u);
}

static void
run(struct active *a)
{
	struct queue *q = a->q;

	if (a->m->crashes > 0) {
		a->alone = true;
		q->suspects_running++;
		q->suspect_alone = a->m->crashes > 1;
	}
	go_on(a);
}

void
active_run_suspects(struct queue *q)
{
	LIST_EACH(n, &q->suspects) {
		struct active *a = LIST_ITEM(n, struct active, waiting);

		if (!may_run(q, a->m))
			continue;
		list_remove(n);
		run(a);
	}
}

void
active_begin(struct queue *q, struct message *m)
{
	struct active *a;

	if (m->active == NULL)
		m->active = active_new(q, m);
	a = m->active;
	message_stage(q, m, STAGE_ACTIVE, 0);
	q->active_count++;
	if (may_run(q, m))
		run(a);
	else
		list_push_back(&q->suspects, &a->waiting);
}
