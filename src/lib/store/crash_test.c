/*
 * Power loss: a run of the store is recorded call by call; then, for many moments, the disk is built as it might
 * look after the power went at that moment. What was synced is there; each sector that was written and not
 * synced, and each name that was made, changed or removed and not synced, is there or not by the toss of a coin.
 * The spool must then hold every message and record that was acknowledged, and nothing that was never written.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"
#include "store/store_private.h"
#include "store/store_test_io.h"

enum { MAX_EVENTS = 40000, MAX_FDS = 64, MAX_FILES = 4000, MAX_MESSAGES = 1000, SECTOR = 512, CUTS = 50, ROUNDS = 60 };

enum deed_kind { DO_CREATE, DO_WRITE, DO_TRUNC, DO_SYNC, DO_SYNC_DIR, DO_RENAME, DO_UNLINK };

struct deed {
	enum deed_kind kind;
	int file;               /* index of the inode; -1 for a directory */
	char path[FLAT_PATH], to[FLAT_PATH];
	char *data;
	size_t n;
	uint64_t off;
};

static struct deed *events;
static size_t n_events;
static int n_files;
static struct {
	int fd, file;           /* file -1: a directory */
	char path[FLAT_PATH];
} open_fds[MAX_FDS];

/* Names as the running system sees them: which inode. */
static struct {
	char path[FLAT_PATH];
	int file;
} names[MAX_FILES];
static int n_names;

static uint32_t seed = 12345;

static uint32_t
toss(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

static struct deed *
note(enum deed_kind kind, int file, const char *path)
{
	struct deed *e = &events[n_events++];

	ensure(n_events < MAX_EVENTS);
	*e = (struct deed){ .kind = kind, .file = file };
	if (path != NULL)
		snprintf(e->path, sizeof(e->path), "%s", path);
	return e;
}

static int *
name_of(const char *path)
{
	for (int i = 0; i < n_names; i++)
		if (strcmp(names[i].path, path) == 0)
			return &names[i].file;
	ensure(n_names < MAX_FILES);
	snprintf(names[n_names].path, FLAT_PATH, "%s", path);
	names[n_names].file = -1;
	return &names[n_names++].file;
}

static int
slot_of(int fd)
{
	for (int i = 0; i < MAX_FDS; i++)
		if (open_fds[i].fd == fd)
			return i;
	return -1;
}

/* ---- the recording disk */

static int
rec_open(void *ctx, int dir, const char *path, int flags, mode_t mode)
{
	int fd = store_io_disk.open(ctx, dir, path, flags, mode), slot, *file;

	if (fd < 0)
		return fd;
	slot = slot_of(-1);
	ensure(slot >= 0);
	open_fds[slot].fd = fd;
	open_fds[slot].file = -1;
	snprintf(open_fds[slot].path, FLAT_PATH, "%s", path);
	if ((flags & O_DIRECTORY) != 0)
		return fd;
	file = name_of(path);
	if (*file < 0) {
		*file = n_files++;
		note(DO_CREATE, *file, path);
	} else if ((flags & O_TRUNC) != 0) {
		note(DO_TRUNC, *file, path);
	}
	open_fds[slot].file = *file;
	return fd;
}

static void
rec_close(void *ctx, int fd)
{
	open_fds[slot_of(fd)].fd = -1;
	store_io_disk.close(ctx, fd);
}

static ssize_t
rec_pwritev(void *ctx, int fd, const struct iovec *v, int count, uint64_t off)
{
	ssize_t n = store_io_disk.pwritev(ctx, fd, v, count, off);
	struct deed *e = note(DO_WRITE, open_fds[slot_of(fd)].file, NULL);

	ensure(n > 0);
	e->data = malloc((size_t)n);
	e->n = (size_t)n;
	e->off = off;
	for (size_t at = 0; at < e->n; v++) {
		size_t step = v->iov_len < e->n - at ? v->iov_len : e->n - at;

		memcpy(e->data + at, v->iov_base, step);
		at += step;
	}
	return n;
}

static int
rec_sync(void *ctx, int fd)
{
	int slot = slot_of(fd);

	(void)ctx;
	note(open_fds[slot].file < 0 ? DO_SYNC_DIR : DO_SYNC, open_fds[slot].file, open_fds[slot].path);
	return 0;
}

static int
rec_rename(void *ctx, int dir, const char *from, const char *to, bool replace)
{
	int r = store_io_disk.rename(ctx, dir, from, to, replace), *f, *t;

	if (r < 0)
		return r;
	t = name_of(to);
	f = name_of(from);
	snprintf(note(DO_RENAME, *f, from)->to, FLAT_PATH, "%s", to);
	*t = *f;
	*f = -1;
	return 0;
}

static int
rec_unlink(void *ctx, int dir, const char *path)
{
	int r = store_io_disk.unlink(ctx, dir, path);

	if (r == 0) {
		note(DO_UNLINK, *name_of(path), path);
		*name_of(path) = -1;
	}
	return r;
}

static struct store_io recorder;

static void
recorder_init(void)
{
	recorder = store_io_disk;
	recorder.open = rec_open;
	recorder.close = rec_close;
	recorder.pwritev = rec_pwritev;
	recorder.fdatasync = rec_sync;
	recorder.fsync = rec_sync;
	recorder.rename = rec_rename;
	recorder.unlink = rec_unlink;
	for (int i = 0; i < MAX_FDS; i++)
		open_fds[i].fd = -1;
	events = calloc(MAX_EVENTS, sizeof(*events));
}

/* ---- the run */

static struct message {
	char qid[STORE_QID_MAX + 1];
	struct span envelope, content;
	struct store_place place;
	char records[400];              /* all that were ever written */
	unsigned ever, acked;           /* records written, records acknowledged; each is "rN\n" */
	bool created, removed, replaced;
	struct store_op op;
	size_t ack_at[100];             /* event at which record k was acknowledged; [0] the create */
	size_t remove_at;
} messages[MAX_MESSAGES];
static int n_messages;

static void
acked(void *ctx, struct store_op *op)
{
	struct message *m = ctx;

	assert_int_equal(op->result, 0);
	m->place = op->place;
	if (op->kind == STORE_CREATE) {
		m->created = true;
		m->ack_at[0] = n_events;
	} else if (op->kind == STORE_UPDATE) {
		m->ack_at[++m->acked] = n_events;
	}
}

static struct span
some_text(const char *what, int i, size_t n)
{
	char *p = malloc(n + 1);

	snprintf(p, n + 1, "%s %d ", what, i);
	for (size_t k = strlen(p); k < n; k++)
		p[k] = (char)('a' + (k + (size_t)i) % 26);
	return span_of(p, n);
}

static void
begin_create(struct store *s)
{
	struct message *m = &messages[n_messages];
	size_t n = toss(4) == 0 ? 3000 + toss(9000) : toss(600);
	bool large = toss(5) == 0;

	snprintf(m->qid, sizeof(m->qid), "m%d", n_messages);
	m->envelope = some_text("env", n_messages, 100 + toss(large ? 6000 : 900));
	m->content = some_text("content", n_messages, n + 20);
	store_op_init(&m->op, STORE_CREATE, span_str(m->qid), acked, m);
	m->op.envelope = m->envelope;
	m->op.content = m->content;
	if (large) {
		int fd = store_tmp(s, m->op.tmp_name);
		struct iovec v = { (void *)(uintptr_t)m->content.p, m->content.n };

		assert_int_equal(store_io_write_all(&recorder, fd, &v, 1, STORE_TMP_CONTENT), 0);
		recorder.close(NULL, fd);
		m->op.tmp_bytes = m->content.n;
		m->op.content = span_of("", 0);
	}
	n_messages++;
	store_submit(s, &m->op);
}

static void
begin_update(struct store *s, struct message *m)
{
	size_t n = strlen(m->records);

	store_op_init(&m->op, STORE_UPDATE, span_str(m->qid), acked, m);
	m->op.place = m->place;
	m->op.replace = toss(6) == 0;
	snprintf(m->records + n, sizeof(m->records) - n, "r%u\n", ++m->ever);
	m->op.records = m->op.replace ? span_str(m->records) : span_str(m->records + n);
	m->replaced |= m->op.replace;
	store_submit(s, &m->op);
}

static void
run_store(void)
{
	struct fault why;
	struct store *s;

	recorder_init();
	assert_true(store_prepare(kit_dir(), (uid_t)-1, (gid_t)-1, &why));
	s = store_open(kit_dir(), 0, NULL, &recorder, &why);
	assert_non_null(s);
	for (int round = 0; round < ROUNDS; round++) {
		int before = n_messages;

		for (uint32_t i = toss(14); i > 0; i--)
			begin_create(s);
		for (int i = 0; i < before; i++) {
			struct message *m = &messages[i];

			if (!m->created || m->removed || toss(4) != 0)
				continue;
			if (toss(2) == 0) {
				m->removed = true;
				m->remove_at = n_events;
				store_op_init(&m->op, STORE_REMOVE, span_str(m->qid), acked, m);
				store_submit(s, &m->op);
			} else if (m->ever < 90) {
				begin_update(s, m);
			}
		}
		store_run(s);
	}
	store_close(&s);
}

/* ---- the disk after the power went */

struct inode {
	char *p;
	size_t n;               /* size that will be found */
};

/* Apply a write, whole or sector by sector by the toss. */
static void
put(struct inode *f, const struct deed *e, bool durable)
{
	size_t end = (size_t)e->off + e->n;

	if (end > f->n) {
		f->p = realloc(f->p, end);
		memset(f->p + f->n, 0, end - f->n);
		/* the size may have got there without the data, or neither */
		if (durable || toss(2) == 0)
			f->n = end;
	}
	for (size_t at = (size_t)e->off; at < end;) {
		size_t step = SECTOR - at % SECTOR < end - at ? SECTOR - at % SECTOR : end - at;

		if ((durable || toss(2) == 0) && at + step <= f->n)
			memcpy(f->p + at, e->data + (at - (size_t)e->off), step);
		at += step;
	}
}

/* Was what event `i` did to its file synced before the cut? */
static bool
synced_later(size_t i, size_t cut)
{
	for (size_t k = i + 1; k < cut; k++)
		if (events[k].kind == DO_SYNC && events[k].file == events[i].file)
			return true;
	return false;
}

static bool
dir_synced_later(const char *path, size_t i, size_t cut)
{
	size_t n = (size_t)span_rindex(span_str(path), '/');

	for (size_t k = i + 1; k < cut; k++)
		if (events[k].kind == DO_SYNC_DIR && strlen(events[k].path) == n && memcmp(events[k].path, path, n) == 0)
			return true;
	return false;
}

static void
write_image(const char *dir, const char *path, const struct inode *f)
{
	char full[512];
	int fd;

	snprintf(full, sizeof(full), "%.400s/%.100s", dir, path);
	fd = fd_open(AT_FDCWD, full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, f->p, f->n), 0);
	fd_close(&fd);
}

static void
empty_spool(const char *dir)
{
	int fd = fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	char name[16];

	store_empty_dir(fd, "tmp");
	for (unsigned i = 0; i < FLAT_DIRS; i++) {
		snprintf(name, sizeof(name), "mail/%02x", i);
		store_empty_dir(fd, name);
	}
	fd_close(&fd);
}

static void
build_image(const char *dir, size_t cut)
{
	struct inode *files = calloc((size_t)n_files + 1, sizeof(*files));

	n_names = 0;
	for (size_t i = 0; i < cut; i++) {
		const struct deed *e = &events[i];

		switch (e->kind) {
		case DO_CREATE:
			if (synced_later(i, cut) || toss(2) == 0)
				*name_of(e->path) = e->file;
			break;
		case DO_WRITE:
			put(&files[e->file], e, synced_later(i, cut));
			break;
		case DO_TRUNC:
			files[e->file].n = 0;
			break;
		case DO_RENAME:
			if (*name_of(e->path) == e->file && (dir_synced_later(e->to, i, cut) || toss(2) == 0)) {
				int *to = name_of(e->to);

				*name_of(e->path) = -1;
				*to = e->file;
			}
			break;
		case DO_UNLINK:
			if (*name_of(e->path) == e->file && toss(2) == 0)
				*name_of(e->path) = -1;
			break;
		case DO_SYNC:
		case DO_SYNC_DIR:
			break;
		}
	}
	for (int i = 0; i < n_names; i++)
		if (names[i].file >= 0)
			write_image(dir, names[i].path, &files[names[i].file]);
	for (int i = 0; i < n_files; i++)
		free(files[i].p);
	free(files);
}

/* ---- what must be found */

struct seen {
	const char *dir;
	size_t cut;
	bool found[MAX_MESSAGES];
	size_t good, torn, bad;
};

static void
check_good(struct seen *seen, const struct store_entry *e, int at)
{
	const struct message *m = &messages[at];
	struct store_op op;
	unsigned durable = 0;

	store_op_init(&op, STORE_LOAD, span_str(e->qid), NULL, NULL);
	op.verify = true;
	op.content_max = 1 << 20;
	store_load_dir(seen->dir, &op);
	if (op.result == -EBADMSG && seen->cut < m->ack_at[0]) {
		store_op_release(&op);  /* never acknowledged */
		return;
	}
	assert_int_equal(op.result, 0);
	assert_true(span_eq(op.envelope, m->envelope));
	assert_true(span_eq(op.content, m->content));
	while (durable < m->acked && m->ack_at[durable + 1] <= seen->cut)
		durable++;
	/* all that were acknowledged, in order, and only what was written; a removed message may be an older state of it */
	assert_true(span_starts(span_str(m->records), op.records));
	if (durable > 0) {
		char want[20];

		snprintf(want, sizeof(want), "r%u\n", durable);
		assert_true(span_find(op.records, span_str(want)) >= 0);
	}
	seen->found[at] = true;
	store_op_release(&op);
}

static void
on_entry(void *ctx, const struct store_entry *e, int result)
{
	struct seen *seen = ctx;
	uint64_t at = 0;

	assert_int_equal(result, 0);
	if (e == NULL)
		return;
	assert_true(span_u64(span_from(span_str(e->qid), 1), MAX_MESSAGES - 1, &at));
	if (e->found == STORE_FOUND_GOOD) {
		seen->good++;
		check_good(seen, e, (int)at);
		return;
	}
	seen->torn += e->found == STORE_FOUND_TORN;
	seen->bad += e->found == STORE_FOUND_BAD;
	/* only what was never acknowledged may be torn or damaged */
	assert_true(messages[at].ack_at[0] == 0 || messages[at].ack_at[0] > seen->cut);
}

static void
test_power_loss_at_any_moment(void **state)
{
	size_t good = 0, torn = 0, bad = 0;
	struct fault why;
	char dir[400];

	(void)state;
	run_store();
	snprintf(dir, sizeof(dir), "%s/image", kit_dir());
	assert_true(store_prepare(dir, (uid_t)-1, (gid_t)-1, &why));
	for (int i = 0; i < CUTS; i++) {
		struct seen seen = { .dir = dir, .cut = 1 + (size_t)i * n_events / CUTS + toss((uint32_t)(n_events / CUTS)) };

		empty_spool(dir);
		build_image(dir, seen.cut);
		assert_int_equal(store_scan_dir(dir, on_entry, &seen), 0);
		for (int k = 0; k < n_messages; k++) {
			const struct message *m = &messages[k];
			bool gone = m->removed && m->remove_at <= seen.cut;

			if (m->ack_at[0] != 0 && m->ack_at[0] <= seen.cut && !gone && !seen.found[k])
				fail_msg("cut %zu: acknowledged message %s is lost", seen.cut, m->qid);
		}
		good += seen.good;
		torn += seen.torn;
		bad += seen.bad;
	}
	/* the images must have had something to find */
	print_message("%zu good, %zu torn, %zu damaged\n", good, torn, bad);
	assert_true(good > 300 && torn > 0);
	for (size_t i = 0; i < n_events; i++)
		free(events[i].data);
	free(events);
	for (int i = 0; i < n_messages; i++) {
		free((void *)(uintptr_t)messages[i].envelope.p);
		free((void *)(uintptr_t)messages[i].content.p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { KIT_TEST(test_power_loss_at_any_moment) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
