/*
 * The roll call. An answer of an agent can be lost although its link lives: it forgot a delivery, or could not
 * send. So each agent is asked once a minute what it has in hand. Messages of a link keep their order: a delivery
 * that was given before the question, and is neither answered nor in the list, will never be answered.
 *
 * An agent that answers nothing at all for ten minutes (daemon_timeout, if that is less) hangs: master ends it, and its
 * deliveries go to another.
 */
#include <stdlib.h>

#include "ipc/messages.h"
#include "role/queue/queue.h"

enum { HANGS_MS = 600 * 1000, CALLS = 10, CALL_MIN_MS = 1000 };

struct roll {
	struct list node;
	struct queue *q;
	uint64_t peer_id, id;           /* id 0 = not asked now */
	int64_t silent_since_us;        /* monotonic; 0 = it answers */
};

static int64_t
hangs_ms(const struct queue *q)
{
	return q->params->daemon_timeout_ms < HANGS_MS ? q->params->daemon_timeout_ms : HANGS_MS;
}

static int64_t
call_ms(const struct queue *q)
{
	int64_t ms = hangs_ms(q) / CALLS;

	return ms > CALL_MIN_MS ? ms : CALL_MIN_MS;
}

static struct roll *
roll_find(struct queue *q, uint64_t peer_id)
{
	LIST_EACH(n, &q->rolls) {
		struct roll *c = LIST_ITEM(n, struct roll, node);

		if (c->peer_id == peer_id)
			return c;
	}
	return NULL;
}

static void
roll_free(struct roll *c)
{
	list_remove(&c->node);
	free(c);
}

static void
silent(struct roll *c)
{
	struct ipc_hub *hub = c->q->role->hub;
	int64_t ms = (loop_now_us(c->q->loop) - c->silent_since_us) / 1000;
	struct ipc_peer *p = ipc_peer_find(hub, c->peer_id);
	struct ipc_role_hung m = { 0 };

	if (p == NULL || ms < hangs_ms(c->q))
		return;
	m.role = (uint8_t)ipc_peer_role(p);
	m.index = (uint16_t)ipc_peer_index(p);
	log_error(NULL, "the process %s (number %u) has not answered for %llds: it is ended and started anew",
	    ipc_role_name(m.role), m.index, (long long)(ms / 1000));
	ipc_send_role_hung(ipc_peer_at(hub, IPC_ROLE_MASTER, 0), &m);
}

static void
on_rolled(void *ctx, enum ipc_result result, struct ipc_deliver_rolled *m)
{
	struct roll *c = ctx;
	uint64_t id = c->id;

	c->id = 0;
	switch (result) {
	case IPC_OK:
		c->silent_since_us = 0;
		deliver_check_roll(c->q, c->peer_id, id, m);
		return;
	case IPC_LOST:
		roll_free(c);
		return;
	case IPC_TIMEOUT:
		silent(c);
		return;
	}
}

static void
ask(struct queue *q, struct ipc_peer *p)
{
	const struct ipc_deliver_roll m = { 0 };
	struct roll *c = roll_find(q, ipc_peer_id(p));

	if (c == NULL) {
		c = calloc(1, sizeof(*c));
		ensure(c != NULL);
		*c = (struct roll){ .q = q, .peer_id = ipc_peer_id(p) };
		list_push_back(&q->rolls, &c->node);
	}
	if (c->id != 0)
		return;
	c->id = ipc_ask_deliver_roll(p, &m, call_ms(q), on_rolled, c);
	if (c->silent_since_us == 0)
		c->silent_since_us = loop_now_us(q->loop);
}

static void
ask_all(struct queue *q, unsigned role)
{
	unsigned left = ipc_peer_count(q->role->hub, role);

	for (unsigned i = 0; left > 0 && i <= UINT16_MAX; i++) {
		struct ipc_peer *p = ipc_peer_at(q->role->hub, role, i);

		if (p == NULL)
			continue;
		left--;
		ask(q, p);
	}
}

/* Agents that went while they were not asked. */
static void
forget_gone(struct queue *q)
{
	LIST_EACH(n, &q->rolls) {
		struct roll *c = LIST_ITEM(n, struct roll, node);

		if (c->id == 0 && ipc_peer_find(q->role->hub, c->peer_id) == NULL)
			roll_free(c);
	}
}

void
roll_call(void *ctx)
{
	struct queue *q = ctx;

	forget_gone(q);
	ask_all(q, IPC_ROLE_SMTPC);
	ask_all(q, IPC_ROLE_LOCAL);
	loop_timer_set_ms(&q->roll_timer, call_ms(q));
}

void
roll_heard(struct queue *q, uint64_t peer_id)
{
	struct roll *c = roll_find(q, peer_id);

	if (c != NULL)
		c->silent_since_us = 0;
}

void
roll_release(struct queue *q)
{
	struct list *n;

	while ((n = list_pop_front(&q->rolls)) != NULL) {
		struct roll *c = LIST_ITEM(n, struct roll, node);

		ipc_forget(q->role->hub, c->id);
		free(c);
	}
}
