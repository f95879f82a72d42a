/* arena, list, hmap, heap and the loop. */
#include "base/arena.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/heap.h"
#include "base/hmap.h"
#include "base/loop.h"
#include "base/rand.h"
#include "kit/kit.h"

static void
test_arena(void **state)
{
	struct arena *a = arena_new(1u << 20);
	size_t first;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		char *p = arena_alloc(a, rand_below(300));

		assert_true(((uintptr_t)p & (sizeof(void *) - 1)) == 0);
		assert_int_equal(p[0], 0);
		p[0] = 'x';
	}
	assert_span(arena_lower(a, SPAN("MixEd")), "mixed");
	assert_span(arena_printf(a, "%s-%d", "x", 7), "x-7");
	first = arena_bytes(a);
	arena_clear(a);
	assert_true(arena_bytes(a) < first);
	for (int i = 0; i < 100; i++)
		assert_int_equal(*(char *)arena_alloc(a, 1), 0);
	arena_free(&a);
	assert_null(a);
	arena_free(&a);
}

struct thing {
	struct hmap_node node;
	struct heap_node due;
	struct list link;
	uint64_t key;
};

static void
test_hmap_finds_what_was_added(void **state)
{
	static struct thing things[3000];
	struct hmap m;
	size_t seen = 0;

	(void)state;
	hmap_init(&m);
	for (uint64_t i = 0; i < 3000; i++) {
		things[i].key = i;
		hmap_add(&m, &things[i].node, hash_u64(i / 2));        /* pairs collide */
	}
	for (uint64_t i = 0; i < 3000; i += 3)
		hmap_remove(&m, &things[i].node);
	for (uint64_t i = 0; i < 3000; i++) {
		bool found = false;

		HMAP_EACH_HASH(n, &m, hash_u64(i / 2))
			found = found || HMAP_ENTRY(n, struct thing, node)->key == i;
		assert_int_equal(found, i % 3 != 0);
	}
	HMAP_EACH(n, &m) {
		seen++;
		hmap_remove(&m, n);
	}
	assert_int_equal(seen, 2000);
	assert_int_equal(m.count, 0);
	assert_null(hmap_first(&m, 1));
	hmap_release(&m);
}

static void
test_heap_gives_the_smallest(void **state)
{
	static struct thing things[2000];
	struct heap h;
	int64_t last = INT64_MIN;
	size_t count = 0;

	(void)state;
	heap_init(&h);
	assert_null(heap_min(&h));
	for (size_t i = 0; i < 2000; i++)
		heap_add(&h, &things[i].due, rand_below(1000));
	for (size_t i = 0; i < 2000; i += 5)
		heap_move(&h, &things[i].due, rand_below(1000));
	for (size_t i = 1; i < 2000; i += 7) {
		heap_remove(&h, &things[i].due);
		heap_remove(&h, &things[i].due);
	}
	for (struct heap_node *n; (n = heap_min(&h)) != NULL; count++) {
		assert_true(n->key >= last);
		last = n->key;
		heap_remove(&h, n);
	}
	assert_int_equal(count, 2000 - 286);
	heap_release(&h);
}

static void
test_list(void **state)
{
	struct thing a, b, c;
	struct list head;
	int seen = 0;

	(void)state;
	list_init(&head);
	list_push_back(&head, &a.link);
	list_push_back(&head, &b.link);
	list_push_front(&head, &c.link);
	LIST_EACH(n, &head) {
		seen++;
		list_remove(n);
	}
	assert_int_equal(seen, 3);
	assert_true(list_empty(&head));
	list_remove(&a.link);
	assert_null(list_pop_front(&head));
}

struct counts {
	struct loop *loop;
	struct loop_task task;
	struct loop_timer timer;
	struct loop_fd *watch;
	int tasks, timers, hooks, reads;
};

static void
on_task(void *ctx)
{
	struct counts *c = ctx;

	if (++c->tasks < 5000)
		loop_defer(c->loop, &c->task);
}

static void
on_timer(void *ctx)
{
	((struct counts *)ctx)->timers++;
}

static void
on_hook(void *ctx)
{
	((struct counts *)ctx)->hooks++;
}

static void
on_read(void *ctx, unsigned ready)
{
	struct counts *c = ctx;

	assert_int_equal(ready, LOOP_READ);
	c->reads++;
	loop_fd_want(c->watch, 0);
}

/* Work that continues itself for ever must not keep a descriptor from being served. */
static void
test_loop_is_fair(void **state)
{
	struct counts c = { .loop = loop_new() };
	struct loop_hook hook;
	struct loop_fd watch;
	int fds[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_STREAM, fds), 0);
	loop_task_init(&c.task, on_task, &c);
	loop_timer_init(&c.timer, c.loop, on_timer, &c);
	loop_hook_add(c.loop, &hook, on_hook, &c);
	c.watch = &watch;
	loop_fd_init(&watch, c.loop, fds[0], on_read, &c);
	loop_fd_want(&watch, LOOP_READ);
	loop_timer_set_ms(&c.timer, 1);
	assert_true(loop_timer_pending(&c.timer));
	assert_int_equal(fd_write(fds[1], "x", 1), 1);
	loop_defer(c.loop, &c.task);
	loop_defer(c.loop, &c.task);
	loop_turn(c.loop, 100);
	loop_turn(c.loop, 100);
	assert_true(c.reads > 0);
	assert_in_range(c.tasks, 1, 4999);
	assert_int_equal(c.hooks, 2);
	for (int i = 0; i < 1000 && (c.tasks < 5000 || c.timers == 0); i++)
		loop_turn(c.loop, 5);
	assert_int_equal(c.tasks, 5000);
	assert_int_equal(c.timers, 1);
	loop_task_cancel(&c.task);
	loop_fd_release(&watch);
	loop_fd_release(&watch);
	loop_timer_release(&c.timer);
	loop_hook_remove(&hook);
	loop_free(&c.loop);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_arena),
	KIT_TEST(test_hmap_finds_what_was_added),
	KIT_TEST(test_heap_gives_the_smallest),
	KIT_TEST(test_list),
	KIT_TEST(test_loop_is_fair),
};

KIT_MAIN(tests)
