/*
 * The workers' channels. Threads wait on one epoll, each channel armed for one question at a
 * time, so that a channel is in one hand only: the thread's that took the question, or the main
 * thread's when it is its to answer. Threads do not log and do not touch the loop.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "ipc/ipc_private.h"
#include "role/keeper/keeper.h"
#include "tls/schemes.h"

/* A worker writes a question in one go and reads at once: one that dawdles is broken or hostile. */
enum { FRAME_MS = 200, THREADS_MAX = 256, STACK_BYTES = 512 << 10, SIGNATURE_MAX = 8192 };

struct asker {
	struct list node;
	int fd;
	unsigned role, index;
	pthread_mutex_t writing;
};

struct server {
	struct ring *ring;
	struct loop *loop;
	struct loop_fd watch;
	void (*on_ask)(void *ctx, struct ask *a);
	void *ctx;
	int epoll, event;
	pthread_mutex_t lock;           /* askers, asks, refusal */
	struct list askers, asks;
	unsigned n_askers;
	struct fault refusal;           /* the latest, to be logged */
	bool refusal_new;
	int64_t refusal_logged_us;
	atomic_ullong signatures, refused;
	atomic_bool ending;
	pthread_t threads[THREADS_MAX];
	unsigned n_threads;
};

static void
wake(struct server *s)
{
	uint64_t one = 1;

	(void)fd_write(s->event, &one, sizeof(one));
}

static void
arm(struct server *s, struct asker *a, bool first)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = a };

	epoll_ctl(s->epoll, first ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, a->fd, &e);
}

static void
asker_close(struct server *s, struct asker *a)
{
	pthread_mutex_lock(&s->lock);
	list_remove(&a->node);
	s->n_askers--;
	pthread_mutex_unlock(&s->lock);
	fd_close(&a->fd);               /* leaves the epoll, too */
	pthread_mutex_destroy(&a->writing);
	free(a);
}

static void
note_refusal(struct server *s, const struct asker *a, const char *text)
{
	atomic_fetch_add(&s->refused, 1);
	pthread_mutex_lock(&s->lock);
	fault_set(&s->refusal, NULL, "refused to %s[%u]: %s", ipc_role_name(a->role), a->index, text);
	s->refusal_new = true;
	pthread_mutex_unlock(&s->lock);
	wake(s);
}

static bool
send_answer(struct asker *a, unsigned type, uint64_t id, struct span payload)
{
	int r;

	pthread_mutex_lock(&a->writing);
	r = ipc_write_within(a->fd, FRAME_MS, type, id, payload, -1);
	pthread_mutex_unlock(&a->writing);
	return r == 0;
}

/* --- in a thread --- */

struct hand {
	struct server *s;
	struct buf in, out;
	struct arena *arena;
};

static bool
do_sign(struct hand *h, struct asker *a, uint64_t id, struct span payload)
{
	uint8_t sig[SIGNATURE_MAX];
	size_t n = sizeof(sig);
	struct ipc_keeper_sign m;
	struct ipc_keeper_signed answer = { 0 };
	struct fault why = { 0 };

	if (!ipc_decode_keeper_sign(payload, h->arena, &m))
		return false;
	answer.ok = keeper_sign(h->s->ring, a->role, m.key, m.scheme, m.text, sig, &n, &why);
	answer.signature = answer.ok ? span_of(sig, n) : SPAN("");
	answer.why = span_str(why.text);
	if (answer.ok)
		atomic_fetch_add(&h->s->signatures, 1);
	else
		note_refusal(h->s, a, why.text);
	ipc_encode_keeper_signed(&h->out, &answer);
	return send_answer(a, IPC_KEEPER_SIGNED, id, buf_span(&h->out));
}

static bool
do_decrypt(struct hand *h, struct asker *a, uint64_t id, struct span payload)
{
	uint8_t premaster[48];
	struct ipc_keeper_decrypt m;
	struct ipc_keeper_decrypted answer = { 0 };
	struct fault why = { 0 };
	bool sent;

	if (!ipc_decode_keeper_decrypt(payload, h->arena, &m))
		return false;
	answer.ok = keeper_decrypt(h->s->ring, a->role, m.key, m.client_version, m.version, m.text, premaster, &why);
	answer.premaster = answer.ok ? span_of(premaster, sizeof(premaster)) : SPAN("");
	answer.why = span_str(why.text);
	if (!answer.ok)
		note_refusal(h->s, a, why.text);
	ipc_encode_keeper_decrypted(&h->out, &answer);
	sent = send_answer(a, IPC_KEEPER_DECRYPTED, id, buf_span(&h->out));
	explicit_bzero(premaster, sizeof(premaster));
	explicit_bzero(h->out.p, h->out.n);
	return sent;
}

static void
pass_on(struct server *s, struct asker *a, unsigned type, uint64_t id, struct span payload)
{
	struct ask *ask = calloc(1, sizeof(*ask));

	ensure(ask != NULL);
	*ask = (struct ask){ .asker = a, .role = a->role, .type = type, .id = id };
	buf_init(&ask->payload, IPC_FRAME_MAX);
	buf_add_span(&ask->payload, payload);
	pthread_mutex_lock(&s->lock);
	list_push_back(&s->asks, &ask->node);
	pthread_mutex_unlock(&s->lock);
	wake(s);
}

/* One question of this channel; then it is armed again, or closed. */
static void
serve(struct hand *h, struct asker *a)
{
	struct span payload;
	uint64_t id;
	int fd = -1, type = ipc_read_blocking(a->fd, FRAME_MS, &h->in, &id, &payload, &fd);
	bool ok = false;

	fd_close(&fd);
	buf_clear(&h->out);
	arena_clear(h->arena);
	if (type > 0 && !ipc_may_send(a->role, IPC_ROLE_KEEPER, (unsigned)type)) {
		note_refusal(h->s, a, "a message that it may not send");
	} else if (type == IPC_KEEPER_SIGN) {
		ok = do_sign(h, a, id, payload);
	} else if (type == IPC_KEEPER_DECRYPT) {
		ok = do_decrypt(h, a, id, payload);
	} else if (type > 0) {
		pass_on(h->s, a, (unsigned)type, id, payload);
		return;                 /* the main thread's now */
	} else if (type < 0) {
		note_refusal(h->s, a, "a message that does not end");
	}
	if (ok)
		arm(h->s, a, false);
	else
		asker_close(h->s, a);
}

static void *
thread_main(void *ctx)
{
	struct hand h = { .s = ctx, .arena = arena_new(1u << 20) };
	struct epoll_event e;

	buf_init(&h.in, TLS_SHAPE_MAX + 4096);
	buf_init(&h.out, 65536);
	while (!atomic_load(&h.s->ending)) {
		int n = epoll_wait(h.s->epoll, &e, 1, -1);

		if (n == 1 && e.data.ptr != NULL)
			serve(&h, e.data.ptr);
	}
	buf_release(&h.in);
	buf_release(&h.out);
	arena_free(&h.arena);
	return NULL;
}

/* --- in the main thread --- */

struct server *
server_new(struct ring *ring)
{
	struct server *s = calloc(1, sizeof(*s));

	ensure(s != NULL);
	s->ring = ring;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ensure(s->epoll >= 0 && s->event >= 0 && pthread_mutex_init(&s->lock, NULL) == 0);
	list_init(&s->askers);
	list_init(&s->asks);
	return s;
}

void
server_add(struct server *s, unsigned role, unsigned index, int fd)
{
	struct asker *a = calloc(1, sizeof(*a));

	ensure(a != NULL && pthread_mutex_init(&a->writing, NULL) == 0);
	a->fd = fd;
	a->role = role;
	a->index = index;
	pthread_mutex_lock(&s->lock);
	list_push_back(&s->askers, &a->node);
	s->n_askers++;
	pthread_mutex_unlock(&s->lock);
	arm(s, a, true);
}

/* At most one line a second: a hostile worker must not fill the log. */
static void
log_refusal(struct server *s)
{
	struct fault f;
	bool any;

	pthread_mutex_lock(&s->lock);
	any = s->refusal_new && loop_now_us(s->loop) - s->refusal_logged_us >= US_PER_S;
	f = s->refusal;
	if (any) {
		s->refusal_new = false;
		s->refusal_logged_us = loop_now_us(s->loop);
	}
	pthread_mutex_unlock(&s->lock);
	if (any)
		log_warning(NULL, "%s", f.text);
}

static void
on_event(void *ctx, unsigned ready)
{
	struct server *s = ctx;
	struct list *n;
	uint64_t count;

	(void)ready;
	(void)fd_read(s->event, &count, sizeof(count));
	for (;;) {
		pthread_mutex_lock(&s->lock);
		n = list_pop_front(&s->asks);
		pthread_mutex_unlock(&s->lock);
		if (n == NULL)
			break;
		s->on_ask(s->ctx, LIST_ITEM(n, struct ask, node));
	}
	log_refusal(s);
}

void
server_start(struct server *s, struct loop *l, unsigned threads, void (*on_ask)(void *ctx, struct ask *a), void *ctx)
{
	pthread_attr_t attr;

	s->loop = l;
	s->on_ask = on_ask;
	s->ctx = ctx;
	loop_fd_init(&s->watch, l, s->event, on_event, s);
	loop_fd_want(&s->watch, LOOP_READ);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (unsigned i = 0; i < threads && i < THREADS_MAX; i++)
		if (pthread_create(&s->threads[i], &attr, thread_main, s) == 0)
			s->n_threads++;
		else
			fatal("cannot start a signing thread");
	pthread_attr_destroy(&attr);
}

static void
ask_free(struct ask *a)
{
	buf_release(&a->payload);
	free(a);
}

void
server_answer(struct server *s, struct ask *a, unsigned type, struct span payload)
{
	if (send_answer(a->asker, type, a->id, payload))
		arm(s, a->asker, false);
	else
		asker_close(s, a->asker);
	ask_free(a);
}

void
server_refuse(struct server *s, struct ask *a, const char *text)
{
	note_refusal(s, a->asker, text);
	asker_close(s, a->asker);
	ask_free(a);
}

/* Never waits for a worker: one that has no room for 16 bytes does not read at all. */
void
server_tell_changed(struct server *s)
{
	struct ipc_keeper_changed m = { 0 };
	struct buf b;

	buf_init(&b, 64);
	ipc_encode_keeper_changed(&b, &m);
	pthread_mutex_lock(&s->lock);
	LIST_EACH(n, &s->askers) {
		struct asker *a = LIST_ITEM(n, struct asker, node);

		pthread_mutex_lock(&a->writing);
		(void)ipc_write_within(a->fd, 0, IPC_KEEPER_CHANGED, 0, buf_span(&b), -1);
		pthread_mutex_unlock(&a->writing);
	}
	pthread_mutex_unlock(&s->lock);
	buf_release(&b);
}

struct server_counts
server_counts(struct server *s)
{
	struct server_counts c = { .signatures = atomic_load(&s->signatures), .refused = atomic_load(&s->refused) };

	pthread_mutex_lock(&s->lock);
	c.askers = s->n_askers;
	pthread_mutex_unlock(&s->lock);
	return c;
}

void
server_free(struct server **sp)
{
	struct server *s = *sp;
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	int wakes = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	*sp = NULL;
	atomic_store(&s->ending, true);
	epoll_ctl(s->epoll, EPOLL_CTL_ADD, wakes, &e);  /* readable for ever: wakes them all */
	for (unsigned i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i], NULL);
	if (s->loop != NULL)
		loop_fd_release(&s->watch);
	LIST_EACH(n, &s->asks)
		ask_free(LIST_ITEM(n, struct ask, node));
	while (!list_empty(&s->askers))
		asker_close(s, LIST_ITEM(s->askers.next, struct asker, node));
	fd_close(&wakes);
	fd_close(&s->epoll);
	fd_close(&s->event);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
