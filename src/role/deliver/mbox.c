/* mbox: one file, locked, appended to, synced; cut back to its old size when anything fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/panic.h"
#include "role/deliver/box.h"
#include "role/deliver/lock.h"

struct mbox {
	const struct box_mbox *box;
	const struct box_message *m;
	struct fault *why;
	int fd;
	uint64_t old_size, written;
	bool regular, dot_locked, created, over_limit;
};

/* Nothing that a reader could take for mail may stand behind the old end. */
static void
undo(struct mbox *b)
{
	if (!b->regular)
		return;
	if (ftruncate(b->fd, (off_t)b->old_size) == 0)
		fd_fsync(b->fd);
}

static int
sink(void *ctx, struct span bytes)
{
	struct mbox *b = ctx;

	b->written += bytes.n;
	if (b->regular && b->m->limit_bytes > 0 &&
	    b->old_size + b->written > b->m->limit_bytes) {
		b->over_limit = true;
		return -EFBIG;
	}
	return fd_write_all(b->fd, bytes.p, bytes.n);
}

static enum box_result
write_failed(struct mbox *b, int r)
{
	if (b->over_limit) {
		fault_set(b->why, "5.2.2", "error writing message: %s", fd_error(r));
		return BOX_BOUNCE;
	}
	return box_failed(r, b->why, "error writing message");
}

static enum box_result
append(struct mbox *b)
{
	static const struct copy_form form = {
		.eol = { "\n", 1 }, .quote_from = true, .blank_line_end = true,
	};
	int r = sink(b, b->m->head);

	if (r < 0)
		return write_failed(b, r);
	switch (copy_content(&b->m->content, &form, sink, b, &r)) {
	case COPY_READ_FAILED:
		fault_set(b->why, "4.3.0", "queue file read error: %s", fd_error(r));
		return BOX_DEFER;
	case COPY_WRITE_FAILED:
		return write_failed(b, r);
	case COPY_OK:
		break;
	}
	r = fd_fsync(b->fd);
	/* Devices and pipes have nothing to sync. */
	if (r < 0 && b->regular)
		return write_failed(b, r);
	return BOX_DONE;
}

/*
 * Open for appending: what is there, or a new file. A symbolic link lets its owner
 * choose the file, so it must be root's.
 */
static int
open_file(struct mbox *b)
{
	int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
	int fd = fd_open(AT_FDCWD, b->box->path, flags, 0);
	struct stat st;

	if (fd == -ELOOP && lstat(b->box->path, &st) == 0 && st.st_uid == 0)
		fd = fd_open(AT_FDCWD, b->box->path, flags & ~O_NOFOLLOW, 0);
	if (fd != -ENOENT)
		return fd;
	fd = fd_open(AT_FDCWD, b->box->path, flags | O_CREAT | O_EXCL, 0600);
	b->created = fd >= 0;
	return fd;
}

static bool
check_file(struct mbox *b)
{
	struct stat st;
	int r = fd_stat(b->fd, &st);

	if (r < 0)
		return fault_set(b->why, "4.2.0", "cannot examine the file: %s", fd_error(r));
	b->regular = S_ISREG(st.st_mode);
	b->old_size = b->regular ? (uint64_t)st.st_size : 0;
	if (!b->regular && !b->box->special_ok)
		return fault_set(b->why, "5.2.0", "destination %s is not a regular file", b->box->path);
	if (b->regular && st.st_nlink > 1)
		return fault_set(b->why, "4.2.0", "destination %s has multiple hard links",
		    b->box->path);
	if (b->box->strict_owner && st.st_uid != b->box->owner)
		return fault_set(b->why, "4.2.0", "destination %s is not owned by recipient",
		    b->box->path);
	return true;
}

/* A program that locks, rewrites beside and renames may have moved the file away while we waited. */
static bool
still_there(struct mbox *b)
{
	struct stat open_st, path_st;

	return !b->regular || (fd_stat(b->fd, &open_st) == 0 && stat(b->box->path, &path_st) == 0 &&
	    open_st.st_dev == path_st.st_dev && open_st.st_ino == path_st.st_ino);
}

static bool
lock_and_check(struct mbox *b)
{
	struct stat st;

	if (!check_file(b))
		return false;
	if (!b->regular)
		return true;
	if (!lock_file(b->fd, &b->box->lock, b->why))
		return false;
	if (!still_there(b))
		return fault_set(b->why, "4.2.0", "destination %s was replaced while it was opened",
		    b->box->path);
	if (fd_stat(b->fd, &st) == 0)
		b->old_size = (uint64_t)st.st_size;
	return true;
}

static int
sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	int fd, r;

	snprintf(dir, sizeof(dir), "%.*s", slash == NULL || slash == path ? 1 : (int)(slash - path),
	    slash == NULL ? "." : path);
	fd = fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	/* A spool directory that users may write but not read (1733) cannot be opened for syncing. */
	if (fd < 0)
		return fd == -EACCES ? 0 : fd;
	r = fd_fsync(fd);
	fd_close(&fd);
	return r == -EINVAL ? 0 : r;
}

static enum box_result
deliver_open(struct mbox *b)
{
	enum box_result result;

	if (!lock_and_check(b))
		return b->why->dsn[0] == '5' ? BOX_BOUNCE : BOX_DEFER;
	result = append(b);
	if (result == BOX_DONE && b->created) {
		int r = sync_directory(b->box->path);

		if (r < 0)
			result = box_failed(r, b->why, "sync directory of %s", b->box->path);
	}
	if (result != BOX_DONE)
		undo(b);
	return result;
}

/* Only what is, or will be, a regular file gets a lock file: nobody wants /dev/null.lock. */
static bool
wants_dot_lock(const struct mbox *b)
{
	struct stat st;

	return b->box->lock.dotlock && (stat(b->box->path, &st) < 0 || S_ISREG(st.st_mode));
}

enum box_result
mbox_deliver(const struct box_mbox *box, const struct box_message *m, struct fault *why)
{
	struct mbox b = { .box = box, .m = m, .why = why, .fd = -1 };
	enum box_result result = BOX_DEFER;

	if (wants_dot_lock(&b) && !lock_dot(box->path, &box->lock, &b.dot_locked, why))
		return BOX_DEFER;
	b.fd = open_file(&b);
	if (b.fd >= 0)
		result = deliver_open(&b);
	else
		result = box_failed(b.fd, why, "cannot open file");
	fd_close(&b.fd);
	if (b.dot_locked)
		lock_dot_remove(box->path);
	return result;
}
