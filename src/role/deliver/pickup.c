/* Opening what users dropped. */
#include "role/deliver/pickup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

static int
open_dir(const char *queue_directory, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", queue_directory, name);
	return fd_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

bool
pickup_init(struct pickup *p, const char *queue_directory, struct fault *why)
{
	char path[4096];
	int r;

	p->aside = -1;
	p->dir = open_dir(queue_directory, "maildrop");
	if (p->dir < 0)
		return fault_set(why, NULL, "cannot open %s/maildrop: %s", queue_directory, fd_error(p->dir));
	snprintf(path, sizeof(path), "%s/maildrop.bad", queue_directory);
	r = fd_mkdir(AT_FDCWD, path, 0700);
	if (r == 0)
		r = p->aside = open_dir(queue_directory, "maildrop.bad");
	if (r < 0) {
		pickup_release(p);
		return fault_set(why, NULL, "cannot make %s: %s", path, fd_error(r));
	}
	return true;
}

void
pickup_release(struct pickup *p)
{
	fd_close(&p->dir);
	fd_close(&p->aside);
}

static bool
name_of(struct span name, char *out, size_t size)
{
	if (name.n == 0 || name.n >= size || name.p[0] == '.' || memchr(name.p, '/', name.n) != NULL ||
	    memchr(name.p, '\0', name.n) != NULL)
		return false;
	memcpy(out, name.p, name.n);
	out[name.n] = '\0';
	return true;
}

static void
bad(struct pickup_file *f, const char *why)
{
	f->state = RUN_PICKUP_BAD;
	snprintf(f->why, sizeof(f->why), "%s", why);
	fd_close(&f->fd);
}

static void
judge(struct pickup_file *f)
{
	struct stat st;
	int r = fd_stat(f->fd, &st);

	if (r < 0) {
		f->state = RUN_PICKUP_LATER;
		snprintf(f->why, sizeof(f->why), "%s", fd_error(r));
		fd_close(&f->fd);
		return;
	}
	f->uid = st.st_uid;
	f->size = (uint64_t)st.st_size;
	f->mtime_s = (uint64_t)st.st_mtim.tv_sec;
	if (!S_ISREG(st.st_mode)) {
		bad(f, "not a regular file");
	} else if (st.st_nlink != 1) {
		/* Somebody else's file, linked here, would be mail in that user's name. */
		bad(f, "more than one name");
	} else if ((st.st_mode & 07777) != RUN_PICKUP_MODE_COMPLETE) {
		f->state = RUN_PICKUP_UNFINISHED;
		fd_close(&f->fd);
	}
}

/* Why there is no descriptor, and whose doing it is. */
static void
judge_failure(const struct pickup *p, const char *path, int r, struct pickup_file *f)
{
	struct stat st;

	if (fstatat(p->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		f->uid = st.st_uid;
	if (r == -ENOENT) {
		f->state = RUN_PICKUP_GONE;
	} else if (r == -ELOOP || r == -ENXIO || r == -EACCES || r == -ENODEV) {
		bad(f, r == -ELOOP ? "a symbolic link" : r == -EACCES ? "not readable" : "not a regular file");
	} else {
		f->state = RUN_PICKUP_LATER;
		snprintf(f->why, sizeof(f->why), "%s", fd_error(r));
	}
}

void
pickup_open(const struct pickup *p, struct span name, struct pickup_file *f)
{
	char path[256];
	int fd;

	*f = (struct pickup_file){ .state = RUN_PICKUP_OPEN, .fd = -1 };
	if (!name_of(name, path, sizeof(path))) {
		f->state = RUN_PICKUP_GONE;
		return;
	}
	fd = fd_open(p->dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0) {
		judge_failure(p, path, fd, f);
		return;
	}
	f->fd = fd;
	judge(f);
}

void
pickup_remove(const struct pickup *p, struct span name, bool aside)
{
	char path[256];
	int r;

	if (!name_of(name, path, sizeof(path)))
		return;
	r = aside ? renameat(p->dir, path, p->aside, path) : unlinkat(p->dir, path, 0);
	if (r < 0 && errno != ENOENT)
		log_warning(NULL, "cannot remove maildrop/%s: %s", path, fd_error(-errno));
}
