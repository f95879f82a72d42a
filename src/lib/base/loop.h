/*
 * The event loop: a thin layer over libevent. Callbacks run from the loop only,
 * never from inside a call you made. `loop_defer` is how code continues itself: by a
 * zero timer, with a budget per turn, so that descriptors are never starved.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop;

struct loop *loop_new(void);
void loop_free(struct loop **l);
/* Run until loop_stop. */
void loop_run(struct loop *l);
/* One turn; waits for an event at most `wait_ms` (tests). */
void loop_turn(struct loop *l, int wait_ms);
void loop_stop(struct loop *l);
/* Monotonic time at the start of this turn. */
int64_t loop_now_us(const struct loop *l);
/* For libunbound's ub_ctx_create_event. */
struct event_base *loop_base(struct loop *l);

/* A descriptor to watch. `fn` gets the LOOP_* bits that are ready. */
typedef void loop_fd_fn(void *ctx, unsigned ready);
struct loop_fd {
	struct event ev;
	struct loop *loop;
	loop_fd_fn *fn;
	void *ctx;
	int fd;
	unsigned want;
};
void loop_fd_init(struct loop_fd *w, struct loop *l, int fd, loop_fd_fn *fn, void *ctx);
void loop_fd_want(struct loop_fd *w, unsigned bits);    /* 0 = none; cheap when unchanged */
void loop_fd_release(struct loop_fd *w);                /* does not close; harmless twice */

/* A one-shot timer. */
typedef void loop_fn(void *ctx);
struct loop_timer {
	struct event ev;
	struct loop *loop;
	loop_fn *fn;
	void *ctx;
};
void loop_timer_init(struct loop_timer *t, struct loop *l, loop_fn *fn, void *ctx);
void loop_timer_set_ms(struct loop_timer *t, int64_t after_ms); /* replaces an earlier setting */
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_pending(const struct loop_timer *t);
void loop_timer_release(struct loop_timer *t);

/* Work for the next turn. Queued once however often it is asked for; cancel before freeing. */
struct loop_task {
	struct list node;
	loop_fn *fn;
	void *ctx;
};
void loop_task_init(struct loop_task *t, loop_fn *fn, void *ctx);
void loop_defer(struct loop *l, struct loop_task *t);
void loop_task_cancel(struct loop_task *t);

/* Called after the callbacks of every turn, before the loop sleeps: flush what the turn produced. */
struct loop_hook {
	struct list node;
	loop_fn *fn;
	void *ctx;
};
void loop_hook_add(struct loop *l, struct loop_hook *h, loop_fn *fn, void *ctx);
void loop_hook_remove(struct loop_hook *h);

/* A signal, delivered as a callback. */
struct loop_signal {
	struct event ev;
	loop_fn *fn;
	void *ctx;
};
void loop_signal_init(struct loop_signal *s, struct loop *l, int signo, loop_fn *fn, void *ctx);
