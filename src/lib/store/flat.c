/* Groups of new messages and updates: all writes first, so that the syncs behind them overlap. */
#include "store/flat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/panic.h"
#include "store/crc32c.h"

enum { COPY_BYTES = 256 << 10, REMOVE_TRIES = 3, GROUP_MAX = 256 };

/* One op of a group between its writes and its sync. */
struct job {
	struct store_op *op;
	int fd;
	bool sync_failed;
	char path[FLAT_PATH];
};

/* Where everything goes; content_crc is the caller's to set. */
static void
lay_out(struct store_op *op)
{
	struct store_place *p = &op->place;
	bool tmp = op->tmp_name[0] != '\0';

	*p = (struct store_place){ .envelope_bytes = (uint32_t)op->envelope.n };
	p->envelope_off = FLAT_PREAMBLE;
	p->content_off = (uint32_t)(FLAT_PREAMBLE + op->envelope.n);
	p->content_bytes = op->content.n;
	if (tmp) {
		p->content_off = STORE_TMP_CONTENT;
		p->content_bytes = op->tmp_bytes;
		if (FLAT_PREAMBLE + op->envelope.n > STORE_TMP_CONTENT)
			p->envelope_off = STORE_TMP_CONTENT + op->tmp_bytes;
	}
	p->tail = flat_records_off(p);
}

static int
write_new(struct flat *f, struct job *j)
{
	struct store_op *op = j->op;
	char preamble[FLAT_PREAMBLE + 1];
	uint32_t envelope_crc = crc32c(0, op->envelope);

	lay_out(op);
	op->place.content_crc = crc32c(0, op->content);
	op->place.chain = envelope_crc;
	flat_preamble(&op->place, envelope_crc, preamble);
	struct iovec v[] = {
		{ preamble, FLAT_PREAMBLE },
		{ (void *)(uintptr_t)op->envelope.p, op->envelope.n },
		{ (void *)(uintptr_t)op->content.p, op->content.n },
	};
	return store_io_write_all(f->io, j->fd, v, 3, 0);
}

/* CRC of `n` bytes of the file; 0 or -errno. */
static int
file_crc(const struct store_io *io, int fd, uint64_t off, uint64_t n, uint32_t *crc_r)
{
	struct buf b;
	int r = 0;

	buf_init(&b, COPY_BYTES);
	*crc_r = 0;
	while (n > 0 && r == 0) {
		size_t step = n < COPY_BYTES ? (size_t)n : COPY_BYTES;
		char *p = buf_space(&b, step);

		r = store_io_read_all(io, fd, p, step, off);
		if (r == 0)
			*crc_r = crc32c(*crc_r, span_of(p, step));
		off += step;
		n -= step;
	}
	buf_release(&b);
	return r;
}

/* Preamble and envelope into a tmp file whose content the sender wrote. Its CRC is ours: we vouch for what is there. */
static int
write_tmp(struct flat *f, struct job *j)
{
	struct store_op *op = j->op;
	char preamble[FLAT_PREAMBLE + 1];
	uint32_t envelope_crc = crc32c(0, op->envelope);
	int64_t size = f->io->size(f->io->ctx, j->fd);
	int r;

	if (size < 0)
		return (int)size;
	/* more than it says would be taken for records */
	if ((uint64_t)size != STORE_TMP_CONTENT + op->tmp_bytes)
		return -EMSGSIZE;
	lay_out(op);
	r = file_crc(f->io, j->fd, op->place.content_off, op->place.content_bytes, &op->place.content_crc);
	if (r < 0)
		return r;
	op->place.chain = envelope_crc;
	flat_preamble(&op->place, envelope_crc, preamble);
	struct iovec head = { preamble, FLAT_PREAMBLE };
	struct iovec envelope = { (void *)(uintptr_t)op->envelope.p, op->envelope.n };
	r = store_io_write_all(f->io, j->fd, &head, 1, 0);
	return r < 0 ? r : store_io_write_all(f->io, j->fd, &envelope, 1, op->place.envelope_off);
}

static int
write_records(struct flat *f, struct job *j)
{
	struct store_op *op = j->op;
	struct buf lines;
	int r;

	buf_init(&lines, STORE_RECORDS_MAX);
	flat_records_encode(&lines, op->records, &op->place.chain);
	struct iovec v = { lines.p, lines.n };
	r = lines.full ? -EFBIG : store_io_write_all(f->io, j->fd, &v, 1, op->place.tail);
	op->place.tail += lines.n;
	buf_release(&lines);
	return r;
}

static int
job_write(struct flat *f, struct job *j)
{
	struct store_op *op = j->op;
	bool create = op->kind == STORE_CREATE;
	int r;

	if (create && op->tmp_name[0] != '\0')
		snprintf(j->path, sizeof(j->path), "tmp/%s", op->tmp_name);
	else
		flat_path(op->qid, j->path);
	if (create && op->tmp_name[0] == '\0')
		j->fd = f->io->open(f->io->ctx, f->dir, j->path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	else
		j->fd = f->io->open(f->io->ctx, f->dir, j->path, O_RDWR | O_NOFOLLOW, 0);
	if (j->fd < 0)
		return j->fd;
	r = !create ? write_records(f, j) : op->tmp_name[0] != '\0' ? write_tmp(f, j) : write_new(f, j);
	return r;
}

/* Make the name `path` durable by syncing the directory that holds it. */
static int
sync_dir_of(struct flat *f, const char *path)
{
	char dir[FLAT_PATH];
	int fd, r;

	snprintf(dir, sizeof(dir), "%.*s", (int)span_rindex(span_str(path), '/'), path);
	fd = f->io->open(f->io->ctx, f->dir, dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = f->io->fsync(f->io->ctx, fd);
	f->io->close(f->io->ctx, fd);
	return r;
}

static int
job_sync(struct flat *f, struct job *j)
{
	struct store_op *op = j->op;
	int r = f->io->fdatasync(f->io->ctx, j->fd);

	j->sync_failed = r < 0;
	if (r < 0 || op->kind != STORE_CREATE)
		return r;
	if (op->tmp_name[0] == '\0')
		return f->sync_dirs ? sync_dir_of(f, j->path) : 0;
	char path[FLAT_PATH];

	flat_path(op->qid, path);
	r = f->io->rename(f->io->ctx, f->dir, j->path, path, false);
	if (r < 0)
		return r;
	memcpy(j->path, path, sizeof(path));
	return sync_dir_of(f, path);    /* a rename is not covered by the sync of the file */
}

/*
 * Take back what a failed CREATE left. When even that fails, the file may come back at the next start: for a
 * message that was refused with a 4xx that is a duplicate at worst, never a loss.
 */
static void
undo_create(struct flat *f, const struct job *j)
{
	int r = -1;

	for (int i = 0; i < REMOVE_TRIES && r < 0 && r != -ENOENT; i++)
		r = f->io->unlink(f->io->ctx, f->dir, j->path);
}

static void
job_finish(struct flat *f, struct job *j, struct store_place before)
{
	struct store_op *op = j->op;
	bool created = j->fd >= 0;

	if (created)
		f->io->close(f->io->ctx, j->fd);
	if (op->result == 0)
		return;
	if (op->kind == STORE_CREATE) {
		if (created)
			undo_create(f, j);
		return;
	}
	op->place = before;
	/* these pages can no longer be trusted to reach the disk: fresh ones can */
	if (j->sync_failed)
		op->result = flat_rewrite(f, op);
}

static void
commit_some(struct flat *f, struct store_op **ops, size_t n)
{
	struct job jobs[GROUP_MAX];
	struct store_place before[GROUP_MAX];

	for (size_t i = 0; i < n; i++) {
		jobs[i] = (struct job){ .op = ops[i], .fd = -1 };
		before[i] = ops[i]->place;
		ops[i]->result = ops[i]->replace ? 0 : job_write(f, &jobs[i]);
		if (n > 1 && ops[i]->result == 0 && jobs[i].fd >= 0)
			f->io->start_write(f->io->ctx, jobs[i].fd);
	}
	for (size_t i = 0; i < n; i++)
		if (ops[i]->replace)
			ops[i]->result = flat_rewrite(f, ops[i]);
		else if (ops[i]->result == 0)
			ops[i]->result = job_sync(f, &jobs[i]);
	for (size_t i = 0; i < n; i++)
		if (!ops[i]->replace)
			job_finish(f, &jobs[i], before[i]);
}

void
flat_commit(struct flat *f, struct list *group)
{
	struct store_op *ops[GROUP_MAX];
	size_t n = 0;

	LIST_EACH(node, group) {
		ops[n++] = LIST_ITEM(node, struct store_op, node);
		if (n == GROUP_MAX) {
			commit_some(f, ops, n);
			n = 0;
		}
	}
	commit_some(f, ops, n);
}

void
flat_remove(struct flat *f, struct store_op *op)
{
	char path[FLAT_PATH];

	flat_path(op->qid, path);
	op->result = f->io->unlink(f->io->ctx, f->dir, path);
	if (op->result == -ENOENT)
		op->result = 0;
}

void
flat_corrupt(struct flat *f, struct store_op *op)
{
	char from[FLAT_PATH], to[FLAT_PATH];

	flat_path(op->qid, from);
	snprintf(to, sizeof(to), "corrupt/%s", op->qid);
	op->result = f->io->rename(f->io->ctx, f->dir, from, to, true);
}
