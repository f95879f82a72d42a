/* The store's threads: operations go out in groups, completions come back through the loop. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "store/store_private.h"

enum { GROUP_SHARE = 64, FREE_AGE_US = 1000000, MAGIC_XFS = 0x58465342, STACK_BYTES = 512 << 10, LAZY_MAX = 64, LAZY_MS = 20 };

void
store_op_init(struct store_op *op, enum store_kind kind, struct span qid, store_done_fn *done, void *ctx)
{
	ensure(qid.n > 0 && qid.n <= STORE_QID_MAX);
	*op = (struct store_op){ .kind = kind, .done = done, .ctx = ctx, .fd = -1 };
	list_init(&op->node);
	memcpy(op->qid, qid.p, qid.n);
}

void
store_op_release(struct store_op *op)
{
	if (op->kind != STORE_LOAD)
		return;
	buf_release(&op->data);
	fd_close(&op->fd);
}

static void
move_all(struct list *from, struct list *to)
{
	LIST_EACH(n, from) {
		list_remove(n);
		list_push_back(to, n);
	}
}

/* Run what is in `ops`; what waits for a sync first, so that removals delay no acknowledgement. */
static void
run_ops(struct flat *f, struct list *ops)
{
	struct list group;

	list_init(&group);
	LIST_EACH(n, ops) {
		enum store_kind kind = LIST_ITEM(n, struct store_op, node)->kind;

		if (kind == STORE_CREATE || kind == STORE_UPDATE) {
			list_remove(n);
			list_push_back(&group, n);
		}
	}
	flat_commit(f, &group);
	LIST_EACH(n, ops) {
		struct store_op *op = LIST_ITEM(n, struct store_op, node);

		if (op->kind == STORE_REMOVE)
			flat_remove(f, op);
		else if (op->kind == STORE_CORRUPT)
			flat_corrupt(f, op);
		else
			flat_load(f, op);
	}
	move_all(&group, ops);
}

void
store_wake(struct store *s)
{
	uint64_t one = 1;

	fd_write(s->wake_fd, &one, sizeof(one));
}

/* Take a fair share of the waiting operations: mutex is held. */
static void
take_share(struct list *from, unsigned takers, struct list *mine)
{
	size_t n = 0, share;

	LIST_EACH(node, from)
		n++;
	share = (n + takers - 1) / takers;
	if (share > GROUP_SHARE)
		share = GROUP_SHARE;
	LIST_EACH(node, from) {
		if (share-- == 0)
			break;
		list_remove(node);
		list_push_back(mine, node);
	}
}

static void
worker(struct store *s, struct list *from, pthread_cond_t *work, bool sync)
{
	struct list mine;
	bool first;

	list_init(&mine);
	pthread_mutex_lock(&s->mutex);
	for (;;) {
		s->sync_idle += sync;
		while (list_empty(from) && !s->stopping)
			pthread_cond_wait(work, &s->mutex);
		if (list_empty(from))
			break;
		take_share(from, sync ? s->sync_idle : STORE_BULK_THREADS, &mine);
		s->sync_idle -= sync;
		pthread_mutex_unlock(&s->mutex);
		run_ops(&s->flat, &mine);
		pthread_mutex_lock(&s->mutex);
		first = list_empty(&s->done_ops);
		move_all(&mine, &s->done_ops);
		if (first)
			store_wake(s);
	}
	pthread_mutex_unlock(&s->mutex);
}

static void *
sync_thread(void *arg)
{
	struct store *s = arg;

	worker(s, &s->sync_ops, &s->sync_work, true);
	return NULL;
}

static void *
bulk_thread(void *arg)
{
	struct store *s = arg;

	worker(s, &s->bulk_ops, &s->bulk_work, false);
	return NULL;
}

static void
complete(struct store *s, struct list *ops)
{
	struct list *n;

	while ((n = list_pop_front(ops)) != NULL) {
		struct store_op *op = LIST_ITEM(n, struct store_op, node);

		s->pending--;
		op->done(op->ctx, op);
	}
}

static void
on_wake(void *ctx, unsigned ready)
{
	struct store *s = ctx;
	struct list done;
	uint64_t count;

	(void)ready;
	list_init(&done);
	fd_read(s->wake_fd, &count, sizeof(count));
	pthread_mutex_lock(&s->mutex);
	move_all(&s->done_ops, &done);
	pthread_mutex_unlock(&s->mutex);
	complete(s, &done);
	store_scan_deliver(s);
}

/* Small things that are synced together, apart from what may take long. */
static bool
is_bulk(const struct store_op *op)
{
	return op->kind == STORE_LOAD || (op->kind == STORE_CREATE && op->tmp_name[0] != '\0');
}

/*
 * End of a loop turn: all of its operations go out together, so that the threads can group them. Removals wake
 * nobody while there are few: they go along with what has to be synced, or when their time is up.
 */
static void
hand_out(void *ctx)
{
	struct store *s = ctx;
	unsigned sync = 0, bulk = 0;

	if (s->threads == 0 || (list_empty(&s->turn_ops) && s->n_lazy < LAZY_MAX))
		return;
	pthread_mutex_lock(&s->mutex);
	if (s->n_lazy > 0) {
		move_all(&s->lazy_ops, &s->sync_ops);
		loop_timer_stop(&s->lazy);
		s->n_lazy = 0;
		sync = list_empty(&s->turn_ops);
	}
	LIST_EACH(n, &s->turn_ops) {
		bool b = is_bulk(LIST_ITEM(n, struct store_op, node));

		list_remove(n);
		list_push_back(b ? &s->bulk_ops : &s->sync_ops, n);
		sync += !b;
		bulk += b;
	}
	for (; sync > 0; sync--)
		pthread_cond_signal(&s->sync_work);
	for (; bulk > 0; bulk--)
		pthread_cond_signal(&s->bulk_work);
	pthread_mutex_unlock(&s->mutex);
}

void
store_submit(struct store *s, struct store_op *op)
{
	s->pending++;
	if (op->kind != STORE_REMOVE || s->threads == 0) {
		list_push_back(&s->turn_ops, &op->node);
		return;
	}
	list_push_back(&s->lazy_ops, &op->node);
	if (s->n_lazy++ == 0)
		loop_timer_set_ms(&s->lazy, LAZY_MS);
}

/* The removals have waited long enough. */
static void
on_lazy(void *ctx)
{
	struct store *s = ctx;

	move_all(&s->lazy_ops, &s->turn_ops);
	s->n_lazy = 0;
	hand_out(s);
}

size_t
store_pending(const struct store *s)
{
	return s->pending;
}

void
store_run(struct store *s)
{
	struct list ops;

	ensure(s->threads == 0);
	list_init(&ops);
	move_all(&s->turn_ops, &ops);
	run_ops(&s->flat, &ops);
	complete(s, &ops);
}

/* Whether syncing a new file also makes its name durable, by file system (spec: ext4 does, with and without a journal). */
static bool
must_sync_dirs(int dir)
{
	struct statfs fs;

	if (fstatfs(dir, &fs) != 0)
		return true;
	return fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != MAGIC_XFS && fs.f_type != BTRFS_SUPER_MAGIC &&
	    fs.f_type != TMPFS_MAGIC;
}

static void
start_threads(struct store *s)
{
	unsigned n = s->threads + STORE_BULK_THREADS;

	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	s->ids = calloc(n, sizeof(*s->ids));
	ensure(s->ids != NULL);
	for (; s->started < n; s->started++)
		if (pthread_create(&s->ids[s->started], &small, s->started < s->threads ? sync_thread : bulk_thread, s) != 0)
			panic("pthread_create");
	pthread_attr_destroy(&small);
}

struct store *
store_open(const char *dir, unsigned threads, struct loop *loop, const struct store_io *io, struct fault *why)
{
	int fd = fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0), lock;
	struct store *s;

	if (fd < 0) {
		fault_set(why, "4.3.0", "queue_directory %s: %s", dir, fd_error(fd));
		return NULL;
	}
	lock = fd_open(fd, STORE_MARKER, O_RDWR, 0);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
		fault_set(why, "4.3.0", lock < 0 ? "%s is not a Signet spool (no %s)" :
		    "%s is in use by another process (%s is locked)", dir, STORE_MARKER);
		fd_close(&lock);
		fd_close(&fd);
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	ensure(s != NULL);
	s->flat = (struct flat){ .dir = fd, .io = io, .sync_dirs = must_sync_dirs(fd) };
	s->loop = loop;
	s->lock_fd = lock;
	s->threads = threads;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->sync_work, NULL);
	pthread_cond_init(&s->bulk_work, NULL);
	pthread_cond_init(&s->scan_room, NULL);
	list_init(&s->sync_ops);
	list_init(&s->bulk_ops);
	list_init(&s->done_ops);
	list_init(&s->turn_ops);
	list_init(&s->lazy_ops);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ensure(s->wake_fd >= 0);
	store_empty_dir(fd, "tmp");      /* what an earlier process left there was never acknowledged */
	if (loop != NULL) {
		loop_fd_init(&s->wake, loop, s->wake_fd, on_wake, s);
		loop_fd_want(&s->wake, LOOP_READ);
		loop_hook_add(loop, &s->hook, hand_out, s);
		loop_timer_init(&s->lazy, loop, on_lazy, s);
	}
	if (threads > 0)
		start_threads(s);
	return s;
}

static void
stop_threads(struct store *s)
{
	on_lazy(s);
	pthread_mutex_lock(&s->mutex);
	s->stopping = true;
	pthread_cond_broadcast(&s->sync_work);
	pthread_cond_broadcast(&s->bulk_work);
	pthread_mutex_unlock(&s->mutex);
	for (unsigned i = 0; i < s->started; i++)
		pthread_join(s->ids[i], NULL);
	free(s->ids);
	complete(s, &s->done_ops);
}

void
store_close(struct store **sp)
{
	struct store *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	store_scan_stop(s);
	if (s->threads > 0)
		stop_threads(s);
	else
		store_run(s);
	if (s->loop != NULL) {
		loop_hook_remove(&s->hook);
		loop_timer_release(&s->lazy);
		loop_fd_release(&s->wake);
	}
	fd_close(&s->wake_fd);
	fd_close(&s->lock_fd);
	fd_close(&s->flat.dir);
	pthread_mutex_destroy(&s->mutex);
	pthread_cond_destroy(&s->sync_work);
	pthread_cond_destroy(&s->bulk_work);
	pthread_cond_destroy(&s->scan_room);
	free(s);
}

int
store_tmp(struct store *s, char name_r[static STORE_QID_MAX + 1])
{
	char path[FLAT_PATH];

	/* tmp/ was emptied at the start, so a counter makes names that are new */
	snprintf(name_r, STORE_QID_MAX + 1, "t%llu", (unsigned long long)s->tmp_counter++);
	snprintf(path, sizeof(path), "tmp/%s", name_r);
	return s->flat.io->open(s->flat.io->ctx, s->flat.dir, path, O_RDWR | O_CREAT | O_EXCL, 0600);
}

void
store_tmp_drop(struct store *s, const char *name)
{
	char path[FLAT_PATH];

	snprintf(path, sizeof(path), "tmp/%s", name);
	s->flat.io->unlink(s->flat.io->ctx, s->flat.dir, path);
}

uint64_t
store_free_bytes(struct store *s)
{
	int64_t now = clock_mono_us();
	struct statvfs fs;

	if (s->free_at_us != 0 && now - s->free_at_us < FREE_AGE_US)
		return s->free_bytes;
	s->free_at_us = now;
	s->free_bytes = fstatvfs(s->flat.dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
	return s->free_bytes;
}
