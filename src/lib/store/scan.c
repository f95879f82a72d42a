/* Finding everything in a spool: in the background at start, or directly for a reader from outside. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "store/store_private.h"

enum {
	BATCH = 64,                     /* entries handed over at once */
	AHEAD = 16,                     /* batches that may wait for the loop */
	ENTRY_DATA_MAX = STORE_ENVELOPE_MAX + STORE_RECORDS_MAX,
};

/* An entry on its way from the scanning thread to the loop. */
struct found {
	struct list node;
	struct store_entry entry;
	struct buf data;                /* what the entry's spans point to */
};

struct scan {
	struct store *store;            /* NULL: direct */
	int dir;
	const struct store_io *io;
	store_scan_fn *fn;
	void *ctx;
	pthread_t thread;
	int result;

	struct list batch;              /* scanning side */
	size_t in_batch;
	struct list ready;              /* under the store's mutex */
	size_t n_ready;
	bool over, cancelled;
};

static void
found_free(struct found *f)
{
	buf_release(&f->data);
	free(f);
}

/* Hand the batch over; waits while the loop is behind. False when the scan was cancelled. */
static bool
flush(struct scan *c)
{
	struct store *s = c->store;
	bool go_on;

	pthread_mutex_lock(&s->mutex);
	while (c->n_ready > (size_t)BATCH * AHEAD && !c->cancelled)
		pthread_cond_wait(&s->scan_room, &s->mutex);
	LIST_EACH(n, &c->batch) {
		list_remove(n);
		list_push_back(&c->ready, n);
	}
	c->n_ready += c->in_batch;
	c->in_batch = 0;
	go_on = !c->cancelled;
	pthread_mutex_unlock(&s->mutex);
	store_wake(s);
	return go_on;
}

static bool
emit(struct scan *c, struct found *f)
{
	if (c->store == NULL) {
		c->fn(c->ctx, &f->entry, 0);
		found_free(f);
		return true;
	}
	list_push_back(&c->batch, &f->node);
	return ++c->in_batch < BATCH || flush(c);
}

/* Look at one file. False to stop the scan. */
static bool
look_at(struct scan *c, int dir, const char *name)
{
	struct found *f;
	int r, fd;

	if (strlen(name) > STORE_QID_MAX)
		return true;            /* not one of ours */
	fd = c->io->open(c->io->ctx, dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0) {
		c->result = fd == -ENOENT ? c->result : fd;
		return true;            /* removed meanwhile, or not to be read now */
	}
	f = calloc(1, sizeof(*f));
	ensure(f != NULL);
	buf_init(&f->data, ENTRY_DATA_MAX);
	snprintf(f->entry.qid, sizeof(f->entry.qid), "%s", name);
	f->entry.found = flat_read(c->io, fd, UINT64_MAX, &f->data, &f->entry.place, &f->entry.envelope,
	    &f->entry.records, &r);
	c->io->close(c->io->ctx, fd);
	if (r < 0 && r != -ENODATA) {
		c->result = r;          /* an I/O error says nothing about the message: leave it alone */
		found_free(f);
		return true;
	}
	return emit(c, f);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted: ids sort by age, and reading in that order is kind to the disk. */
static char **
names_of(int fd, size_t *n_r)
{
	int copy = fd_open(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *e;
	size_t n = 0, cap = 0;
	char **v = NULL;

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		if (n == cap) {
			cap = cap == 0 ? 256 : size_mul(cap, 2);
			v = reallocarray(v, cap, sizeof(*v));
			ensure(v != NULL);
		}
		v[n] = strdup(e->d_name);
		ensure(v[n++] != NULL);
	}
	if (d != NULL)
		closedir(d);
	else
		fd_close(&copy);
	if (n > 0)
		qsort(v, n, sizeof(*v), by_name);
	*n_r = n;
	return v;
}

static bool
scan_one_dir(struct scan *c, unsigned index)
{
	char path[FLAT_PATH];
	bool go_on = true;
	size_t n;
	char **names;
	int fd;

	snprintf(path, sizeof(path), "mail/%02x", index);
	fd = fd_open(c->dir, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		c->result = fd;
		return true;
	}
	names = names_of(fd, &n);
	for (size_t i = 0; i < n; i++) {
		go_on = go_on && look_at(c, fd, names[i]);
		free(names[i]);
	}
	free(names);
	fd_close(&fd);
	return go_on;
}

static void *
scan_thread(void *arg)
{
	struct scan *c = arg;
	bool go_on = true;

	for (unsigned i = 0; i < FLAT_DIRS && go_on; i++)
		go_on = scan_one_dir(c, i);
	flush(c);
	pthread_mutex_lock(&c->store->mutex);
	c->over = true;
	pthread_mutex_unlock(&c->store->mutex);
	store_wake(c->store);
	return NULL;
}

void
store_scan(struct store *s, store_scan_fn *fn, void *ctx)
{
	struct scan *c = calloc(1, sizeof(*c));

	ensure(c != NULL && s->scan == NULL && s->loop != NULL);
	*c = (struct scan){ .store = s, .dir = s->flat.dir, .io = s->flat.io, .fn = fn, .ctx = ctx };
	list_init(&c->batch);
	list_init(&c->ready);
	s->scan = c;
	if (pthread_create(&c->thread, NULL, scan_thread, c) != 0)
		panic("pthread_create");
}

static void
scan_free(struct store *s)
{
	struct scan *c = s->scan;
	struct list *n;

	pthread_join(c->thread, NULL);
	while ((n = list_pop_front(&c->ready)) != NULL || (n = list_pop_front(&c->batch)) != NULL)
		found_free(LIST_ITEM(n, struct found, node));
	s->scan = NULL;
	free(c);
}

void
store_scan_deliver(struct store *s)
{
	struct scan *c = s->scan;
	bool over, more = false;

	if (c == NULL)
		return;
	for (int i = 0; i < BATCH; i++) {
		struct list *n;

		pthread_mutex_lock(&s->mutex);
		n = list_pop_front(&c->ready);
		c->n_ready -= n != NULL;
		more = !list_empty(&c->ready);
		over = c->over;
		pthread_cond_signal(&s->scan_room);
		pthread_mutex_unlock(&s->mutex);
		if (n != NULL) {
			struct found *f = LIST_ITEM(n, struct found, node);

			c->fn(c->ctx, &f->entry, 0);
			found_free(f);
		} else if (over) {
			store_scan_fn *fn = c->fn;
			void *ctx = c->ctx;
			int result = c->result;

			scan_free(s);
			fn(ctx, NULL, result);
			return;
		} else {
			return;
		}
	}
	if (more || over)
		store_wake(s);          /* the rest in the next turn: new mail has a turn between */
}

void
store_scan_stop(struct store *s)
{
	if (s->scan == NULL)
		return;
	pthread_mutex_lock(&s->mutex);
	s->scan->cancelled = true;
	pthread_cond_broadcast(&s->scan_room);
	pthread_mutex_unlock(&s->mutex);
	scan_free(s);
}

int
store_scan_dir(const char *dir, store_scan_fn *fn, void *ctx)
{
	int fd = fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	struct scan c = { .dir = fd, .io = &store_io_disk, .fn = fn, .ctx = ctx };

	if (fd < 0)
		return fd;
	for (unsigned i = 0; i < FLAT_DIRS; i++)
		scan_one_dir(&c, i);
	fd_close(&fd);
	fn(ctx, NULL, c.result);
	return c.result;
}

void
store_load_dir(const char *dir, struct store_op *op)
{
	int fd = fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	struct flat f = { .dir = fd, .io = &store_io_disk };

	if (fd < 0) {
		op->result = fd;
		return;
	}
	flat_load(&f, op);
	fd_close(&fd);
}
