/* The event loop over libevent: one EVLOOP_ONCE turn, deferred tasks, hooks. */
#include "base/loop.h"

#include <stdlib.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/panic.h"

#define TASKS_PER_TURN 1000

struct loop {
	struct event_base *base;
	struct list tasks, hooks;
	struct event wake;      /* zero timer while tasks wait */
	int64_t now_us;
	bool stop;
};

static void
on_wake(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	(void)ctx;
}

struct loop *
loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));
	struct event_config *cfg = event_config_new();

	if (l == NULL || cfg == NULL)
		panic("out of memory");
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	l->base = event_base_new_with_config(cfg);
	if (l->base == NULL)
		panic("event_base_new");
	event_config_free(cfg);
	list_init(&l->tasks);
	list_init(&l->hooks);
	evtimer_assign(&l->wake, l->base, on_wake, l);
	l->now_us = clock_mono_us();
	return l;
}

void
loop_free(struct loop **l)
{
	if (*l == NULL)
		return;
	event_del(&(*l)->wake);
	event_base_free((*l)->base);
	free(*l);
	*l = NULL;
}

static void
run_tasks(struct loop *l)
{
	for (int i = 0; i < TASKS_PER_TURN; i++) {
		struct list *n = list_pop_front(&l->tasks);
		struct loop_task *t;

		if (n == NULL)
			return;
		t = LIST_ITEM(n, struct loop_task, node);
		t->fn(t->ctx);
	}
}

static void
run_hooks(struct loop *l)
{
	LIST_EACH(n, &l->hooks) {
		struct loop_hook *h = LIST_ITEM(n, struct loop_hook, node);

		h->fn(h->ctx);
	}
}

static void
turn(struct loop *l, int flags)
{
	if (!list_empty(&l->tasks)) {
		struct timeval zero = { 0, 0 };

		event_add(&l->wake, &zero);
	}
	event_base_loop(l->base, flags);
	l->now_us = clock_mono_us();
	run_tasks(l);
	run_hooks(l);
}

void
loop_run(struct loop *l)
{
	l->stop = false;
	run_hooks(l);
	while (!l->stop)
		turn(l, EVLOOP_ONCE);
}

void
loop_turn(struct loop *l, int wait_ms)
{
	struct timeval tv = { wait_ms / 1000, (wait_ms % 1000) * 1000 };

	if (list_empty(&l->tasks))
		event_base_loopexit(l->base, &tv);
	turn(l, EVLOOP_ONCE);
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
	event_base_loopbreak(l->base);
}

int64_t
loop_now_us(const struct loop *l)
{
	return l->now_us;
}

struct event_base *
loop_base(struct loop *l)
{
	return l->base;
}

/* libevent calls us from inside the turn that has slept: the time before the sleep is long past. */
static void
wake_up(struct loop *l)
{
	l->now_us = clock_mono_us();
}

static void
on_fd(evutil_socket_t fd, short what, void *ctx)
{
	struct loop_fd *w = ctx;
	unsigned ready = 0;

	(void)fd;
	if (what & EV_READ)
		ready |= LOOP_READ;
	if (what & EV_WRITE)
		ready |= LOOP_WRITE;
	wake_up(w->loop);
	w->fn(w->ctx, ready);
}

void
loop_fd_init(struct loop_fd *w, struct loop *l, int fd, loop_fd_fn *fn, void *ctx)
{
	*w = (struct loop_fd){ .loop = l, .fn = fn, .ctx = ctx, .fd = fd };
}

void
loop_fd_want(struct loop_fd *w, unsigned bits)
{
	short what = EV_PERSIST;

	if (bits == w->want || w->loop == NULL)
		return;
	if (w->want != 0)
		event_del(&w->ev);
	w->want = bits;
	if (bits == 0)
		return;
	if (bits & LOOP_READ)
		what |= EV_READ;
	if (bits & LOOP_WRITE)
		what |= EV_WRITE;
	event_assign(&w->ev, w->loop->base, w->fd, what, on_fd, w);
	if (event_add(&w->ev, NULL) != 0)
		panic("event_add on descriptor %d", w->fd);
}

void
loop_fd_release(struct loop_fd *w)
{
	loop_fd_want(w, 0);
	w->loop = NULL;
}

static void
on_timer(evutil_socket_t fd, short what, void *ctx)
{
	struct loop_timer *t = ctx;

	(void)fd;
	(void)what;
	wake_up(t->loop);
	t->fn(t->ctx);
}

void
loop_timer_init(struct loop_timer *t, struct loop *l, loop_fn *fn, void *ctx)
{
	*t = (struct loop_timer){ .loop = l, .fn = fn, .ctx = ctx };
	evtimer_assign(&t->ev, l->base, on_timer, t);
}

void
loop_timer_set_ms(struct loop_timer *t, int64_t after_ms)
{
	struct timeval tv;

	if (after_ms < 0)
		after_ms = 0;
	tv.tv_sec = after_ms / 1000;
	tv.tv_usec = (after_ms % 1000) * 1000;
	event_add(&t->ev, &tv);
}

void
loop_timer_stop(struct loop_timer *t)
{
	if (t->loop != NULL)
		event_del(&t->ev);
}

bool
loop_timer_pending(const struct loop_timer *t)
{
	return t->loop != NULL && event_pending(&t->ev, EV_TIMEOUT, NULL) != 0;
}

void
loop_timer_release(struct loop_timer *t)
{
	loop_timer_stop(t);
	t->loop = NULL;
}

void
loop_task_init(struct loop_task *t, loop_fn *fn, void *ctx)
{
	*t = (struct loop_task){ .fn = fn, .ctx = ctx };
	list_init(&t->node);
}

void
loop_defer(struct loop *l, struct loop_task *t)
{
	if (list_empty(&t->node))
		list_push_back(&l->tasks, &t->node);
}

void
loop_task_cancel(struct loop_task *t)
{
	list_remove(&t->node);
}

void
loop_hook_add(struct loop *l, struct loop_hook *h, loop_fn *fn, void *ctx)
{
	h->fn = fn;
	h->ctx = ctx;
	list_init(&h->node);
	list_push_back(&l->hooks, &h->node);
}

void
loop_hook_remove(struct loop_hook *h)
{
	list_remove(&h->node);
}

static void
on_signal(evutil_socket_t fd, short what, void *ctx)
{
	struct loop_signal *s = ctx;

	(void)fd;
	(void)what;
	s->fn(s->ctx);
}

void
loop_signal_init(struct loop_signal *s, struct loop *l, int signo, loop_fn *fn, void *ctx)
{
	s->fn = fn;
	s->ctx = ctx;
	evsignal_assign(&s->ev, l->base, signo, on_signal, s);
	if (event_add(&s->ev, NULL) != 0)
		panic("event_add on signal %d", signo);
}
