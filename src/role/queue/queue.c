/* The queue role's main page: what it opens, whom it answers, and the turn of its loop. */
#include <stdio.h>
#include <stdlib.h>

#include "role/queue/queue.h"
#include "role/queue/resolve.h"
#include "role/roles.h"
#include "store/io.h"

/*
 * Each of them waits for one sync after the other, and syncs that run at the same time share a journal commit: 32 give
 * 2.5 to 4 times the rate of 4 (ext4 with and without a journal), at the same processor time per message.
 */
enum { SYNC_THREADS = 32 };
enum { ACTIVATE_BUDGET = 200, BUSY_JOURNAL_US = 1000000, CHOKED_MS = 5, STATUS_DESTS = 200 };

/* ---- the turn: what may become active does, what may be delivered is */

/* Room among the active goes to new and to deferred mail in alternation. */
/* Retries leave a fifth of the active queue to fresh mail. */
static bool
room_for_retries(const struct queue *q)
{
	unsigned limit = (unsigned)q->params->qmgr_message_active_limit;

	return q->active_count < limit && q->active_retries < limit - limit / 5;
}

static struct message *
next_to_activate(struct queue *q)
{
	struct heap_node *h = heap_min(&q->due);
	bool due = h != NULL && h->key <= clock_wall_us() && room_for_retries(q);
	bool fresh = !list_empty(&q->incoming);

	if (!due && !fresh)
		return NULL;
	q->take_deferred = !q->take_deferred;
	if (due && (!fresh || q->take_deferred))
		return HEAP_ENTRY(h, struct message, due);
	return LIST_ITEM(q->incoming.next, struct message, line);
}

static void
activate(struct queue *q)
{
	unsigned limit = (unsigned)q->params->qmgr_message_active_limit;

	for (int i = 0; i < ACTIVATE_BUDGET && q->active_count < limit && !q->role->draining; i++) {
		struct message *m = next_to_activate(q);

		if (m == NULL)
			return;
		if (m->journal != NULL)         /* its last records are still being written */
			message_stage(q, m, STAGE_DEFERRED, clock_wall_us() + BUSY_JOURNAL_US);
		else
			active_begin(q, m);
	}
	if (q->active_count < limit)
		queue_wake(q);
}

/* When to look again if nothing happens. */
static void
set_timer(struct queue *q)
{
	struct heap_node *h = heap_min(&q->due);
	int64_t wait = INT64_MAX, at = sched_wake_us(q->sched);

	if (h != NULL && room_for_retries(q))
		wait = h->key - clock_wall_us();
	if (at != INT64_MAX && at - loop_now_us(q->loop) < wait)
		wait = at - loop_now_us(q->loop);
	if (q->choked && wait > CHOKED_MS * US_PER_MS)
		wait = CHOKED_MS * US_PER_MS;
	if (wait < US_PER_MS)
		wait = US_PER_MS;
	if (wait != INT64_MAX)
		loop_timer_set_ms(&q->timer, wait / US_PER_MS < 3600000 ? wait / US_PER_MS + 1 : 3600000);
}

static void
finish_drain(struct queue *q)
{
	if (q->role->draining && q->deliveries == 0 && q->notices_running == 0 && store_pending(q->store) == 0)
		role_done(q->role);
}

static void
work(void *ctx)
{
	struct queue *q = ctx;

	admin_sweep(q);
	active_run_suspects(q);
	activate(q);
	deliver_dispatch(q);
	set_timer(q);
	finish_drain(q);
}

void
queue_wake(struct queue *q)
{
	loop_defer(q->loop, &q->work);
}

static void
on_timer(void *ctx)
{
	queue_wake(ctx);
}

/* ---- life of the role */

static void
queue_open(struct role *r)
{
	struct queue *q = calloc(1, sizeof(*q));
	struct fault why = { 0 };

	ensure(q != NULL);
	r->state = q;
	role_allow_dir(r, r->conf->params->queue_directory, true);
	q->resolve = resolve_new(r, &why);
	if (q->resolve == NULL)
		fatal("%s", why.text);
}

/* What other people's deeds are logged as. */
static void
set_tags(struct queue *q)
{
	char tag[300];

	free(q->error_tag);
	free(q->postsuper_tag);
	snprintf(tag, sizeof(tag), "%s/error", q->params->syslog_name);
	q->error_tag = strdup(tag);
	snprintf(tag, sizeof(tag), "%s/postsuper", q->params->syslog_name);
	q->postsuper_tag = strdup(tag);
}

static void
queue_start(struct role *r)
{
	struct queue *q = r->state;
	struct fault why = { 0 };

	q->role = r;
	q->loop = r->loop;
	q->params = r->conf->params;
	hmap_init(&q->messages);
	heap_init(&q->due);
	for (struct list **l = (struct list *[]){ &q->all, &q->incoming, &q->cursors, &q->stuck, &q->suspects,
	         &q->reporters, &q->sweeps, &q->listings, &q->tmps, &q->handed, &q->rolls, NULL }; *l != NULL; l++)
		list_init(*l);
	set_tags(q);
	q->transports = transports_new(q);
	q->sched = sched_new(transport_limits, q);
	loop_task_init(&q->work, work, q);
	loop_timer_init(&q->timer, r->loop, on_timer, q);
	loop_timer_init(&q->stuck_timer, r->loop, journal_retry, q);
	loop_timer_init(&q->tmp_timer, r->loop, submit_expire, q);
	loop_timer_init(&q->roll_timer, r->loop, roll_call, q);
	q->store = store_open(q->params->queue_directory, q->disk == NULL ? SYNC_THREADS : 0, r->loop,
	    q->disk == NULL ? &store_io_disk : q->disk, &why);
	if (q->store == NULL)
		fatal("%s", why.text);
	recover_begin(q);
	roll_call(q);
}

void
queue_release(struct role *r)
{
	struct queue *q = r->state;

	r->state = NULL;
	store_close(&q->store);
	admin_release(q);
	submit_release(q);
	LIST_EACH(n, &q->all) {
		struct message *m = LIST_ITEM(n, struct message, all);

		if (m->active != NULL)
			active_cancel(m->active);
		active_free(q, m);
		journal_drop(q, m);
		message_free(q, m);
	}
	list_forget(q);
	sched_free(&q->sched);
	transports_free(&q->transports);
	resolve_free(&q->resolve);
	loop_task_cancel(&q->work);
	loop_timer_release(&q->timer);
	loop_timer_release(&q->stuck_timer);
	loop_timer_release(&q->tmp_timer);
	loop_timer_release(&q->roll_timer);
	roll_release(q);
	hmap_release(&q->messages);
	heap_release(&q->due);
	free(q->error_tag);
	free(q->postsuper_tag);
	free(q);
}

static void
queue_reconf(struct role *r, const struct conf *old)
{
	struct queue *q = r->state;
	struct fault why = { 0 };
	struct resolve *new = resolve_new(r, &why);

	(void)old;
	q->params = r->conf->params;
	if (new == NULL) {
		log_error(NULL, "the new configuration cannot route mail (%s): routing stays as it was", why.text);
	} else {
		resolve_free(&q->resolve);
		q->resolve = new;
	}
	set_tags(q);
	transports_reload(q);
	queue_wake(q);
}

static void
queue_drain(struct role *r, bool stop)
{
	struct queue *q = r->state;

	(void)stop;
	queue_wake(q);
}

static void
queue_peer_up(struct role *r, struct ipc_peer *p)
{
	if (r->state != NULL)
		deliver_peer_up(r->state, p);
}

static void
queue_peer_down(struct role *r, struct ipc_peer *p)
{
	if (r->state == NULL)
		return;
	submit_peer_down(r->state, ipc_peer_id(p));
	queue_wake(r->state);
}

/* ---- signet status */

struct status {
	struct buf *json;
	int64_t now_us;
	unsigned n;
};

static void
json_text(struct buf *out, struct span s)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < ' ')
			buf_addf(out, "\\u%04x", c);
		else
			buf_addc(out, (char)c);
	}
	buf_addc(out, '"');
}

static void
status_dest(void *ctx, const struct sched_dest *d)
{
	struct status *s = ctx;

	if ((d->busy == 0 && d->jobs_count == 0 && d->dead_until_us == 0) || s->n++ >= STATUS_DESTS)
		return;
	buf_add_str(s->json, s->n == 1 ? "{\"transport\": " : ", {\"transport\": ");
	json_text(s->json, d->transport->name);
	buf_add_str(s->json, ", \"destination\": ");
	json_text(s->json, d->key);
	buf_addf(s->json, ", \"deliveries\": %u, \"window\": %u, \"waiting_messages\": %u", d->busy, d->window,
	    d->jobs_count);
	if (d->dead_until_us != 0) {
		buf_addf(s->json, ", \"suspended_for_s\": %lld, \"reason\": ",
		    (long long)((d->dead_until_us - s->now_us) / US_PER_S));
		json_text(s->json, span_str(d->dead.text));
	}
	buf_addc(s->json, '}');
}

static void
queue_status(struct role *r, struct buf *json)
{
	struct queue *q = r->state;
	struct status s = { json, loop_now_us(q->loop), 0 };

	buf_addf(json, "\"incoming\": %zu, \"active\": %zu, \"deferred\": %zu, \"hold\": %zu, \"accepted\": %llu, "
	    "\"removed\": %llu, \"deliveries\": %u, \"cached_bytes\": %llu, \"reading_spool\": %s, \"destinations\": [",
	    q->count[STAGE_INCOMING] + q->count[STAGE_WRITING], q->count[STAGE_ACTIVE], q->count[STAGE_DEFERRED],
	    q->count[STAGE_HELD], (unsigned long long)q->accepted, (unsigned long long)q->removed, q->deliveries,
	    (unsigned long long)q->cache_bytes, q->scanning ? "true" : "false");
	sched_each(q->sched, status_dest, &s);
	buf_addc(json, ']');
}

const struct role_spec queue_role = {
	.role = IPC_ROLE_QUEUE,
	.on = {
		.queue_submit = submit_message,
		.queue_tmp = submit_tmp,
		.queue_tmp_drop = submit_tmp_drop,
		.queue_list = list_request,
		.queue_admin = admin_request,
		.queue_cat = admin_cat,
	},
	.open = queue_open,
	.start = queue_start,
	.reconf = queue_reconf,
	.drain = queue_drain,
	.peer_up = queue_peer_up,
	.peer_down = queue_peer_down,
	.status = queue_status,
};
