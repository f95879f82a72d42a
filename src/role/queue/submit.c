/* Taking mail in: nothing is acknowledged that is not durable. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "mail/qid.h"
#include "role/queue/queue.h"

enum { TMPS_MAX = 2000, FRESH_MAX = 20000, TMP_LIFE_MS = 24 * 3600 * 1000 };

/* A file in tmp/ that a sender writes into. */
struct tmp {
	struct list node;
	char qid[STORE_QID_MAX + 1];
	uint64_t peer_id;
	int64_t made_us;                /* loop's clock */
	char name[STORE_QID_MAX + 1];
};

/* A create under way, and who waits for it. */
struct submit {
	struct queue *q;
	struct message *m;
	struct ipc_from from;
	struct store_op op;
};

static void
answer(struct queue *q, struct ipc_from from, bool ok, const char *dsn, const char *text)
{
	const struct ipc_queue_submitted m = { .ok = ok, .dsn = span_str(dsn), .text = span_str(text) };

	ipc_reply_queue_submitted(q->role->hub, from, &m);
}

static struct tmp *
tmp_find(struct queue *q, struct span qid, uint64_t peer_id)
{
	LIST_EACH(n, &q->tmps) {
		struct tmp *t = LIST_ITEM(n, struct tmp, node);

		if (t->peer_id == peer_id && span_eq(span_str(t->qid), qid))
			return t;
	}
	return NULL;
}

static void
tmp_free(struct queue *q, struct tmp *t)
{
	q->n_tmps--;
	list_remove(&t->node);
	free(t);
}

/* Is there room for more mail? Fills `why` with the 4xx. */
static bool
has_room(struct queue *q, uint64_t bytes, struct fault *why)
{
	uint64_t free_bytes = store_free_bytes(q->store), need = q->params->message_size_limit;

	if (q->role->draining)
		return fault_set(why, "4.3.2", "Service unavailable: shutting down");
	need += need / 2;
	if (need < q->params->queue_minfree)
		need = q->params->queue_minfree;
	if (free_bytes < need || free_bytes < bytes)
		return fault_set(why, "4.3.1", "Insufficient system storage");
	if (q->pending_bytes + bytes > QUEUE_PENDING_BYTES)
		return fault_set(why, "4.3.2", "Queue is busy, try again later");
	return true;
}

/* ---- large content */

static int
tmp_new(struct queue *q, struct ipc_from from, struct span qid)
{
	struct tmp *t = calloc(1, sizeof(*t));
	int fd;

	ensure(t != NULL);
	fd = store_tmp(q->store, t->name);
	if (fd < 0) {
		free(t);
		return fd;
	}
	memcpy(t->qid, qid.p, qid.n);
	t->peer_id = from.peer_id;
	t->made_us = loop_now_us(q->loop);
	list_push_back(&q->tmps, &t->node);
	q->n_tmps++;
	if (!loop_timer_pending(&q->tmp_timer))
		loop_timer_set_ms(&q->tmp_timer, TMP_LIFE_MS);
	lseek(fd, STORE_TMP_CONTENT, SEEK_SET);
	return fd;
}

void
submit_tmp(void *ctx, struct ipc_from from, struct ipc_queue_tmp *m)
{
	struct role *r = ctx;
	struct queue *q = r->state;
	struct ipc_queue_tmp_ready a = { .file = -1, .offset = STORE_TMP_CONTENT };
	struct fault why = { 0 };
	int fd = -1;

	if (!qid_valid(m->qid) || m->qid.n > STORE_QID_MAX || tmp_find(q, m->qid, from.peer_id) != NULL)
		fault_set(&why, "4.3.0", "bad queue id");
	else if (q->n_tmps >= TMPS_MAX)
		fault_set(&why, "4.3.2", "too many large messages at once");
	else if (has_room(q, 0, &why) && (fd = tmp_new(q, from, m->qid)) < 0)
		fault_set(&why, "4.3.0", "queue file write error: %s", fd_error(fd));
	a.ok = fd >= 0;
	a.file = fd;
	a.text = span_str(why.text);
	ipc_reply_queue_tmp_ready(r->hub, from, &a);
	fd_close(&fd);
}

void
submit_tmp_drop(void *ctx, struct ipc_from from, struct ipc_queue_tmp_drop *m)
{
	struct role *r = ctx;
	struct queue *q = r->state;
	struct tmp *t = tmp_find(q, m->qid, from.peer_id);

	if (t == NULL)
		return;
	store_tmp_drop(q->store, t->name);
	tmp_free(q, t);
}

/* Nobody writes a message for a day: its sender forgot it, or could not say so. */
void
submit_expire(void *ctx)
{
	struct queue *q = ctx;

	LIST_EACH(n, &q->tmps) {
		struct tmp *t = LIST_ITEM(n, struct tmp, node);
		int64_t left_ms = TMP_LIFE_MS - (loop_now_us(q->loop) - t->made_us) / US_PER_MS;

		if (left_ms > 0) {      /* the others are younger */
			loop_timer_set_ms(&q->tmp_timer, left_ms);
			return;
		}
		store_tmp_drop(q->store, t->name);
		tmp_free(q, t);
	}
}

void
submit_peer_down(struct queue *q, uint64_t peer_id)
{
	LIST_EACH(n, &q->tmps) {
		struct tmp *t = LIST_ITEM(n, struct tmp, node);

		if (t->peer_id != peer_id)
			continue;
		store_tmp_drop(q->store, t->name);
		tmp_free(q, t);
	}
}

void
submit_release(struct queue *q)
{
	LIST_EACH(n, &q->tmps)
		tmp_free(q, LIST_ITEM(n, struct tmp, node));
}

/* ---- the message */

static void
refused(struct submit *s, int result)
{
	struct queue *q = s->q;
	struct message *m = s->m;
	struct log l = message_log(m);

	log_warning(&l, "queue file write error: %s", fd_error(result));
	if (result == -ENOSPC || result == -EDQUOT)
		answer(q, s->from, false, "4.3.1", "Insufficient system storage");
	else
		answer(q, s->from, false, "4.3.0", "Error: queue file write error");
	active_free(q, m);
	message_free(q, m);
}

static void
created(void *ctx, struct store_op *op)
{
	struct submit *s = ctx;
	struct queue *q = s->q;
	struct message *m = s->m;
	struct active *a = m->active;

	q->pending_bytes -= op->content.n;
	if (op->result < 0) {
		refused(s, op->result);
		free(s);
		return;
	}
	answer(q, s->from, true, "2.0.0", "Ok");
	q->accepted++;
	m->place = op->place;
	free(s);
	a->env_text = span_of("", 0);
	if (q->cache_bytes > QUEUE_CACHE_BYTES)
		active_drop_content(q, a);
	if (a->env.hold || q->count[STAGE_INCOMING] > FRESH_MAX)
		active_free(q, m);
	message_stage(q, m, m->want_hold ? STAGE_HELD : STAGE_INCOMING, 0);
	m->want_hold = false;
}

/* Read the envelope now: what cannot be read later must not be acknowledged. */
static bool
take_envelope(struct queue *q, struct active *a, const struct ipc_queue_submit *in, struct fault *why)
{
	struct span text = arena_dup(a->arena, in->envelope);

	if (!envelope_read(text, a->arena, &a->env, why))
		return false;
	if (a->env.rcpt_count == 0)
		return fault_set(why, "4.3.0", "envelope without recipients");
	active_state_init(a);
	a->env_text = text;
	a->m->arrival_us = a->env.arrival_us != 0 ? a->env.arrival_us : clock_wall_us();
	a->m->want_hold = a->env.hold;
	if (in->tmp || in->content.n == 0)
		return true;
	a->content = malloc(in->content.n);
	ensure(a->content != NULL);
	memcpy(a->content, in->content.p, in->content.n);
	a->content_bytes = in->content.n;
	q->cache_bytes += in->content.n;
	return true;
}

static bool
check(struct queue *q, struct ipc_from from, const struct ipc_queue_submit *in, struct tmp **tmp_r,
    struct fault *why)
{
	*tmp_r = in->tmp ? tmp_find(q, in->qid, from.peer_id) : NULL;
	if (!qid_valid(in->qid) || in->qid.n > STORE_QID_MAX || in->envelope.n > STORE_ENVELOPE_MAX ||
	    (in->tmp && *tmp_r == NULL) || (in->tmp ? in->content.n != 0 : in->content.n != in->size))
		return fault_set(why, "4.3.0", "Error: internal error: submission");
	if (message_find(q, in->qid) != NULL)
		return fault_set(why, "4.3.0", "Error: internal error: queue id is in use");
	return has_room(q, in->content.n, why);
}

static void
submit_create(struct queue *q, struct ipc_from from, const struct ipc_queue_submit *in, const struct tmp *tmp,
    struct message *m)
{
	struct submit *s = calloc(1, sizeof(*s));

	ensure(s != NULL);
	s->q = q;
	s->m = m;
	s->from = from;
	store_op_init(&s->op, STORE_CREATE, in->qid, created, s);
	s->op.envelope = m->active->env_text;
	s->op.content = span_of(m->active->content, in->content.n);
	if (tmp != NULL) {
		memcpy(s->op.tmp_name, tmp->name, sizeof(tmp->name));
		s->op.tmp_bytes = in->size;
	}
	q->pending_bytes += in->content.n;
	store_submit(q->store, &s->op);
}

void
submit_message(void *ctx, struct ipc_from from, struct ipc_queue_submit *in)
{
	struct role *r = ctx;
	struct queue *q = r->state;
	struct fault why = { 0 };
	struct message *m = NULL;
	struct tmp *tmp;
	bool ok = check(q, from, in, &tmp, &why);

	if (ok) {
		m = message_new(q, in->qid);
		m->active = active_new(q, m);
		ok = take_envelope(q, m->active, in, &why);
	}
	if (ok) {
		submit_create(q, from, in, tmp, m);
	} else {
		answer(q, from, false, why.dsn[0] != '\0' ? why.dsn : "4.3.0", why.text);
		if (m != NULL) {
			active_free(q, m);
			message_free(q, m);
		}
		if (tmp != NULL)
			store_tmp_drop(q->store, tmp->name);
	}
	if (tmp != NULL)
		tmp_free(q, tmp);
}
