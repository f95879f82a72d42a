/* Maildir: a file in tmp, synced, linked into new, directory synced. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "role/deliver/box.h"

struct maildir {
	const char *path;
	const struct box_message *m;
	struct fault *why;
	int dir, file;                  /* the Maildir; the file in tmp */
	uint64_t written;
	char host[256];
	char tmp[320], new[384];        /* names below the Maildir */
};

/* Host name for a file name: "/" and ":" have meanings there. */
static void
host_name(char *out, size_t size, const char *host)
{
	size_t n = 0;

	for (; *host != '\0' && n + 5 < size; host++) {
		if (*host == '/' || *host == ':')
			n += (size_t)snprintf(out + n, size - n, "\\%03o", (unsigned char)*host);
		else
			out[n++] = *host;
	}
	out[n] = '\0';
}

/* Sync the directory that holds the entry `path`, so that the entry survives a crash. */
static int
sync_parent(const char *path, size_t n)
{
	char parent[4096];
	int fd, r;

	while (n > 0 && path[n - 1] != '/')
		n--;
	snprintf(parent, sizeof(parent), "%.*s", n > 1 ? (int)n - 1 : 1, n > 0 ? path : ".");
	fd = fd_open(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = fd_fsync(fd);
	fd_close(&fd);
	/* Some file systems have nothing to sync for a directory. */
	return r == -EINVAL ? 0 : r;
}

/* Make the missing directories of `path` that lie below its first `from` bytes. */
static int
make_dirs(const char *path, size_t from)
{
	char part[4096];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = from + 1; i <= n; i++) {
		struct stat st;
		int r;

		if (path[i] != '/' && path[i] != '\0')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)i, path);
		if (stat(part, &st) == 0)
			continue;
		r = fd_mkdir(AT_FDCWD, part, 0700);
		if (r == 0)
			r = sync_parent(part, i);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Open the Maildir, making it and its three directories when they are not there. */
static int
open_maildir(struct maildir *d, const char *base)
{
	static const char *const subdirs[] = { "tmp", "cur", "new" };
	size_t from = span_starts(span_str(d->path), span_str(base)) ? strlen(base) : 0;
	bool made = false;
	struct stat st;
	int r;

	/* The part that nobody but its owner may create: a home, a spool. */
	if (from > 0 && stat(base, &st) < 0)
		return -ENOENT;
	r = make_dirs(d->path, from);
	if (r < 0)
		return r;
	d->dir = fd_open(AT_FDCWD, d->path, O_RDONLY | O_DIRECTORY, 0);
	if (d->dir < 0)
		return d->dir;
	for (size_t i = 0; i < sizeof(subdirs) / sizeof(subdirs[0]); i++) {
		if (fstatat(d->dir, subdirs[i], &st, 0) == 0)
			continue;
		r = fd_mkdir(d->dir, subdirs[i], 0700);
		if (r < 0)
			return r;
		made = true;
	}
	return made ? fd_fsync(d->dir) : 0;
}

static int
sink(void *ctx, struct span bytes)
{
	struct maildir *d = ctx;

	d->written += bytes.n;
	if (d->m->limit_bytes > 0 && d->written > d->m->limit_bytes)
		return -EFBIG;
	return fd_write_all(d->file, bytes.p, bytes.n);
}

static enum box_result
write_failed(struct maildir *d, int r)
{
	if (r == -EFBIG && d->m->limit_bytes > 0 && d->written > d->m->limit_bytes) {
		fault_set(d->why, "5.2.2", "maildir delivery failed: error writing message: %s",
		    fd_error(r));
		return BOX_BOUNCE;
	}
	return box_failed(r, d->why, "maildir delivery failed: error writing message");
}

static enum box_result
write_file(struct maildir *d)
{
	static const struct copy_form form = { .eol = { "\n", 1 } };
	enum copy_result copied;
	int r = sink(d, d->m->head);

	if (r < 0)
		return write_failed(d, r);
	copied = copy_content(&d->m->content, &form, sink, d, &r);
	switch (copied) {
	case COPY_READ_FAILED:
		fault_set(d->why, "4.3.0", "queue file read error: %s", fd_error(r));
		return BOX_DEFER;
	case COPY_WRITE_FAILED:
		return write_failed(d, r);
	case COPY_OK:
		r = fd_fsync(d->file);
		return r < 0 ? write_failed(d, r) : BOX_DONE;
	}
	panic("copy_result");
}

/* Without hard links (some network file systems), a rename that replaces nothing does. */
static int
move_to_new(struct maildir *d)
{
	if (linkat(d->dir, d->tmp, d->dir, d->new, 0) == 0) {
		unlinkat(d->dir, d->tmp, 0);
		return 0;
	}
	if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	return renameat2(d->dir, d->tmp, d->dir, d->new, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static int
sync_new(struct maildir *d)
{
	int fd = fd_open(d->dir, "new", O_RDONLY | O_DIRECTORY, 0);
	int r;

	if (fd < 0)
		return fd;
	r = fd_fsync(fd);
	fd_close(&fd);
	return r == -EINVAL ? 0 : r;
}

static enum box_result
publish(struct maildir *d)
{
	int64_t now_us = clock_wall_us();
	struct stat st;
	int r = fd_stat(d->file, &st);

	if (r == 0) {
		snprintf(d->new, sizeof(d->new), "new/%lld.V%llxI%llxM%lld.%s",
		    (long long)(now_us / US_PER_S), (unsigned long long)st.st_dev,
		    (unsigned long long)st.st_ino, (long long)(now_us % US_PER_S), d->host);
		r = move_to_new(d);
	}
	if (r < 0)
		return box_failed(r, d->why, "maildir delivery failed: link to %s/%s", d->path, d->new);
	r = sync_new(d);
	if (r == 0)
		return BOX_DONE;
	/* Not known to be on disk: take it back, or the retry would deliver it twice. */
	unlinkat(d->dir, d->new, 0);
	return box_failed(r, d->why, "maildir delivery failed: sync %s/new", d->path);
}

static enum box_result
deliver(struct maildir *d, const char *base)
{
	static unsigned serial;
	int64_t now_us = clock_wall_us();
	enum box_result result;
	int r = open_maildir(d, base);

	snprintf(d->tmp, sizeof(d->tmp), "tmp/%lld.P%ld%s%.0u.%s", (long long)(now_us / US_PER_S),
	    (long)getpid(), serial > 0 ? "Q" : "", serial, d->host);
	serial++;
	if (r == 0) {
		d->file = fd_open(d->dir, d->tmp, O_CREAT | O_EXCL | O_WRONLY, 0600);
		r = d->file < 0 ? d->file : 0;
	}
	if (r < 0)
		return box_failed(r, d->why, "maildir delivery failed: create maildir file %s/%s",
		    d->path, d->tmp);
	result = write_file(d);
	if (result == BOX_DONE)
		result = publish(d);
	if (result != BOX_DONE)
		unlinkat(d->dir, d->tmp, 0);
	return result;
}

enum box_result
maildir_deliver(const char *path, const char *base, const struct box_message *m, struct fault *why)
{
	struct maildir d = { .path = path, .m = m, .why = why, .dir = -1, .file = -1 };
	enum box_result result;

	host_name(d.host, sizeof(d.host), m->host);
	result = deliver(&d, base);
	fd_close(&d.file);
	fd_close(&d.dir);
	return result;
}
