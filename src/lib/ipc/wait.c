/* Questions that wait for an answer: by id, with a deadline, lost with their peer. */
#include <stdlib.h>

#include "base/panic.h"
#include "ipc/peer_private.h"

static void
arm(struct ipc_hub *hub)
{
	struct heap_node *first = heap_min(&hub->due);

	if (first == NULL)
		loop_timer_stop(&hub->timer);
	else
		loop_timer_set_ms(&hub->timer, (first->key - loop_now_us(hub->loop)) / 1000 + 1);
}

/* Take it out of every list; the caller calls and frees. */
static void
unhook(struct ipc_hub *hub, struct ipc_wait *w)
{
	hmap_remove(&hub->waits, &w->by_id);
	heap_remove(&hub->due, &w->due);
	list_remove(&w->of_peer);
}

static void
finish(struct ipc_hub *hub, struct ipc_wait *w, enum ipc_result result, struct span payload, int *fd)
{
	int none = -1;

	unhook(hub, w);
	ipc_wait_call(w->asked, w->fn, w->ctx, result, payload, fd != NULL ? fd : &none, hub->scratch);
	arena_clear(hub->scratch);
	free(w);
}

static void
on_deadline(void *ctx)
{
	struct ipc_hub *hub = ctx;
	int64_t now = loop_now_us(hub->loop);

	for (;;) {
		struct heap_node *first = heap_min(&hub->due);

		if (first == NULL || first->key > now)
			break;
		finish(hub, HEAP_ENTRY(first, struct ipc_wait, due), IPC_TIMEOUT, SPAN(""), NULL);
	}
	arm(hub);
}

void
ipc_waits_init(struct ipc_hub *hub)
{
	hmap_init(&hub->waits);
	heap_init(&hub->due);
	loop_timer_init(&hub->timer, hub->loop, on_deadline, hub);
}

void
ipc_waits_release(struct ipc_hub *hub)
{
	HMAP_EACH(n, &hub->waits) {
		struct ipc_wait *w = HMAP_ENTRY(n, struct ipc_wait, by_id);

		unhook(hub, w);
		free(w);
	}
	hmap_release(&hub->waits);
	heap_release(&hub->due);
	loop_timer_release(&hub->timer);
}

void
ipc_wait_add(struct ipc_peer *to, uint64_t id, unsigned asked, unsigned answer, int64_t timeout_ms,
    ipc_any_fn *fn, void *ctx)
{
	struct ipc_hub *hub = to->hub;
	struct ipc_wait *w = calloc(1, sizeof(*w));
	struct heap_node *first = heap_min(&hub->due);
	int64_t due = loop_now_us(hub->loop) + timeout_ms * 1000;

	if (w == NULL)
		panic("out of memory");
	*w = (struct ipc_wait){ .id = id, .asked = asked, .answer = answer, .fn = fn, .ctx = ctx };
	hmap_add(&hub->waits, &w->by_id, hash_u64(id));
	list_push_back(&to->waits, &w->of_peer);
	heap_add(&hub->due, &w->due, due);
	if (first == NULL || first->key > due)
		arm(hub);
}

static struct ipc_wait *
find(struct ipc_hub *hub, uint64_t id)
{
	HMAP_EACH_HASH(n, &hub->waits, hash_u64(id)) {
		struct ipc_wait *w = HMAP_ENTRY(n, struct ipc_wait, by_id);

		if (w->id == id)
			return w;
	}
	return NULL;
}

bool
ipc_wait_answer(struct ipc_peer *p, uint64_t id, unsigned type, struct span payload, int *fd)
{
	struct ipc_wait *w = find(p->hub, id);

	if (w == NULL || w->answer != type)
		return false;
	finish(p->hub, w, IPC_OK, payload, fd);
	return true;
}

void
ipc_waits_lost(struct ipc_peer *p)
{
	while (!list_empty(&p->waits))
		finish(p->hub, LIST_ITEM(p->waits.next, struct ipc_wait, of_peer), IPC_LOST, SPAN(""), NULL);
}

void
ipc_forget(struct ipc_hub *hub, uint64_t id)
{
	struct ipc_wait *w = id == 0 ? NULL : find(hub, id);

	if (w == NULL)
		return;
	unhook(hub, w);
	free(w);
}
