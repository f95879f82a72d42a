/* The spool without the daemon: read-only listing, and changes under the spool's lock. */
#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "mail/envelope.h"
#include "signet/cli.h"
#include "signet/queue.h"
#include "store/io.h"
#include "store/state.h"
#include "store/store.h"

enum { ENTRY_MAX = 256 << 20 };

struct each {
	queue_entry_fn *fn;
	void *ctx;
	bool stopped;
};

static void
fill(struct ipc_qentry *e, struct arena *a, const struct envelope *env, const struct mail_state *st)
{
	e->state = st->hold ? 3 : st->attempts > 0 ? 2 : 1;
	e->forced = st->expire;
	e->arrival_s = (uint64_t)(env->arrival_us / 1000000);
	e->next_s = (uint64_t)(st->next_us / 1000000);
	e->sender = env->sender;
	e->rcpts = ARENA_ARRAY(a, struct ipc_qrcpt, env->rcpt_count);
	for (size_t i = 0; i < env->rcpt_count; i++)
		if (st->rcpts[i].stage != RCPT_DONE)
			e->rcpts[e->n_rcpts++] = (struct ipc_qrcpt){ env->rcpts[i].addr, env->rcpts[i].orig, st->rcpts[i].text };
}

static void
on_entry(void *ctx, const struct store_entry *found, int result)
{
	struct each *each = ctx;
	struct arena *a;
	struct mail_state st;
	struct envelope env;
	struct fault why;

	(void)result;
	if (found == NULL || each->stopped || found->found != STORE_FOUND_GOOD)
		return;
	a = arena_new(ENTRY_MAX);
	if (envelope_read(found->envelope, a, &env, &why)) {
		struct ipc_qentry e = { .qid = span_str(found->qid), .size = found->place.content_bytes };

		state_init(&st, env.rcpt_count, a);
		st.hold = env.hold;
		state_apply(&st, found->records, a);
		fill(&e, a, &env, &st);
		each->stopped = !each->fn(each->ctx, &e);
	}
	arena_free(&a);
}

bool
queue_offline_each(const struct conf *conf, queue_entry_fn *fn, void *ctx, struct fault *why)
{
	struct each each = { .fn = fn, .ctx = ctx };
	int r = store_scan_dir(conf->params->queue_directory, on_entry, &each);

	return r == 0 || fault_set(why, NULL, "signetd does not run, and the spool %s cannot be read: %s",
	    conf->params->queue_directory, fd_error(r));
}

/* ---- changes */

struct change {
	struct store *store;
	enum queue_op op;
	struct span which, queues;      /* "ALL" or an id; "" = all queues */
	uint32_t count;
	int result;
};

static void
done(void *ctx, struct store_op *op)
{
	*(int *)ctx = op->result;
}

static int
run(struct store *s, struct store_op *op)
{
	int result = 0;

	op->done = done;
	op->ctx = &result;
	store_submit(s, op);
	store_run(s);
	return result;
}

/* The record that says it; NULL = remove. */
static const char *
record_of(enum queue_op op)
{
	switch (op) {
	case QUEUE_HOLD:
		return "hold\n";
	case QUEUE_RELEASE:
	case QUEUE_REQUEUE:
		return "release\ncrash 0\nnext 0 0\n";
	case QUEUE_EXPIRE:
		return "expire\nnext 0 0\n";
	case QUEUE_FLUSH_ALL:
	case QUEUE_FLUSH_ONE:
	case QUEUE_FLUSH_SITE:
		return "next 0 0\n";
	case QUEUE_DELETE:
		break;
	}
	return NULL;
}

/* Is it in one of the queues that were named? Without the daemon nothing is active. */
static bool
is_within(const struct change *c, const struct store_entry *e)
{
	struct span rest = c->queues, word;
	struct ipc_qentry shown = { 0 };
	struct arena *a;
	struct mail_state st;
	struct envelope env;
	struct fault why;

	if (c->queues.n == 0)
		return true;
	a = arena_new(ENTRY_MAX);
	if (envelope_read(e->envelope, a, &env, &why)) {
		state_init(&st, env.rcpt_count, a);
		st.hold = env.hold;
		state_apply(&st, e->records, a);
		fill(&shown, a, &env, &st);
	}
	arena_free(&a);
	while (span_token(&rest, " ", &word))
		if (span_eq(word, span_str(queue_names[shown.state])))
			return true;
	return false;
}

static void
change_one(void *ctx, const struct store_entry *e, int result)
{
	struct change *c = ctx;
	const char *record = record_of(c->op);
	struct store_op op;
	int r;

	(void)result;
	if (e == NULL || e->found != STORE_FOUND_GOOD || c->result < 0 ||
	    (!span_eq(c->which, SPAN("ALL")) && !span_eq(c->which, span_str(e->qid))) || !is_within(c, e))
		return;
	store_op_init(&op, record == NULL ? STORE_REMOVE : STORE_UPDATE, span_str(e->qid), NULL, NULL);
	op.place = e->place;
	op.records = span_str(record);
	r = run(c->store, &op);
	if (r < 0)
		c->result = r;
	else
		c->count++;
}

bool
queue_offline_admin(const struct conf *conf, enum queue_op op, const char *which, uint32_t *count_r,
    struct fault *why)
{
	const char *dir = conf->params->queue_directory;
	struct change c = { .op = op, .queues = span_str(which) };
	int r;

	*count_r = 0;
	span_token(&c.queues, " ", &c.which);
	if (op == QUEUE_FLUSH_ALL || op == QUEUE_FLUSH_SITE)
		return fault_set(why, NULL, "signetd does not run: nothing can be flushed");
	c.store = store_open(dir, 0, NULL, &store_io_disk, why);
	if (c.store == NULL)
		return false;
	r = store_scan_dir(dir, change_one, &c);
	store_close(&c.store);
	*count_r = c.count;
	if (c.result < 0 || r < 0)
		return fault_set(why, NULL, "%s: %s", dir, fd_error(c.result < 0 ? c.result : r));
	return c.count > 0 || span_eq(c.which, SPAN("ALL")) || fault_set(why, NULL, "no such message");
}
