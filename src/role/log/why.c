/* Writing records, starting new files, removing old ones. Nobody waits for any of it. */
#include "role/log/why.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/common/role.h"

enum { OUT_MAX = 1 << 20, FILES_MAX = 100000 };
#define LOOK_US (600 * US_PER_S)
#define COMPLAIN_US (60 * US_PER_S)
#define FILE_BYTES_MIN 65536u

static void
complain(struct why_files *w, const char *what, const char *name, int err)
{
	int64_t now = clock_wall_us();

	if (now < w->complained_us + COMPLAIN_US && now >= w->complained_us)
		return;
	w->complained_us = now;
	log_warning(NULL, "%s %s/%s: %s; records for \"signet tls why\" are lost", what, w->dir, name, fd_error(err));
}

void
why_files_open(struct why_files *w, struct role *r)
{
	const struct params *p = r->conf->params;
	const struct passwd *owner = r->as_root ? getpwnam(p->mail_owner) : NULL;
	static char dir[4096];
	int err;

	*w = (struct why_files){ .role = r, .dir = dir, .fd = -1 };
	buf_init(&w->out, OUT_MAX);
	snprintf(dir, sizeof(dir), "%s/why", p->data_directory);
	err = fd_mkdir(AT_FDCWD, dir, 0700);
	if (err == 0 && owner != NULL && chown(dir, owner->pw_uid, owner->pw_gid) != 0)
		err = -errno;
	w->off = err < 0;
	if (w->off)
		complain(w, "cannot use", "", err);
	else
		role_allow_dir(r, dir, true);
}

void
why_files_add(struct why_files *w, struct span line)
{
	if (w->off || line.n == 0 || line.p[line.n - 1] != '\n')
		return;
	if (w->out.n + line.n > OUT_MAX - 1)
		why_files_flush(w);
	buf_add_span(&w->out, line);
}

/* ---- old files */

struct old {
	char name[32];
	uint64_t bytes;
	int64_t mtime_s;
};

static int
by_name(const void *x, const void *y)
{
	const struct old *a = x, *b = y;
	int day = strncmp(a->name, b->name, 9);
	size_t la = strlen(a->name), lb = strlen(b->name);

	return day != 0 ? day : la != lb ? (la < lb ? -1 : 1) : strcmp(a->name, b->name);
}

/* "20261126.0" and no other name. */
static bool
is_ours(const char *name)
{
	size_t n = strlen(name);

	return n >= 10 && n < 20 && strspn(name, "0123456789") == 8 && name[8] == '.' && strspn(name + 9, "0123456789") == n - 9;
}

static struct old *
list_files(const struct why_files *w, size_t *n_r, uint64_t *bytes_r)
{
	DIR *d = opendir(w->dir);
	struct old *v = NULL;
	const struct dirent *e;
	size_t n = 0;
	struct stat st;

	*bytes_r = 0;
	while (d != NULL && n < FILES_MAX && (e = readdir(d)) != NULL) {
		if (!is_ours(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		v = reallocarray(v, n + 1, sizeof(*v));
		ensure(v != NULL);
		v[n] = (struct old){ .bytes = (uint64_t)st.st_size, .mtime_s = st.st_mtim.tv_sec };
		memcpy(v[n].name, e->d_name, strlen(e->d_name) + 1);
		*bytes_r += v[n++].bytes;
	}
	if (d != NULL)
		closedir(d);
	if (n > 0)
		qsort(v, n, sizeof(*v), by_name);
	*n_r = n;
	return v;
}

static void
remove_old(struct why_files *w, int64_t now_us)
{
	const struct params *p = w->role->conf->params;
	int64_t before_s = (now_us - p->tls_why_retention_time_ms * US_PER_MS) / US_PER_S;
	uint64_t bytes, limit = p->tls_why_size_limit > 0 ? (uint64_t)p->tls_why_size_limit : 0;
	size_t n;
	struct old *v = list_files(w, &n, &bytes);
	int dir = fd_open(AT_FDCWD, w->dir, O_RDONLY | O_DIRECTORY, 0);

	w->looked_us = now_us;
	for (size_t i = 0; i < n && dir >= 0; i++) {
		bool current = strcmp(v[i].name, w->name) == 0;

		if (!current && (v[i].mtime_s < before_s || bytes > limit) && unlinkat(dir, v[i].name, 0) == 0)
			bytes -= v[i].bytes;
	}
	fd_close(&dir);
	free(v);
}

/* ---- the file of today */

/* A file is at most an eighth of all, so that what goes is never much. */
static uint64_t
file_limit(const struct why_files *w)
{
	uint64_t all = (uint64_t)w->role->conf->params->tls_why_size_limit / 8;

	return all < FILE_BYTES_MIN ? FILE_BYTES_MIN : all;
}

static bool
open_next(struct why_files *w, int64_t now_us)
{
	time_t now = (time_t)(now_us / US_PER_S);
	char day[16], path[4200];
	struct stat st;
	struct tm tm;
	int err = 0;

	gmtime_r(&now, &tm);
	strftime(day, sizeof(day), "%Y%m%d", &tm);
	if (w->fd >= 0 && strncmp(w->name, day, 8) == 0 && w->bytes < file_limit(w))
		return true;
	fd_close(&w->fd);
	for (unsigned i = 0; i < 10000 && w->fd < 0; i++) {
		snprintf(w->name, sizeof(w->name), "%s.%u", day, i);
		snprintf(path, sizeof(path), "%s/%s", w->dir, w->name);
		err = fd_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
		if (err < 0)
			break;
		w->fd = err;
		w->bytes = fstat(w->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
		if (w->bytes >= file_limit(w))
			fd_close(&w->fd);
	}
	if (w->fd < 0)
		complain(w, "cannot open", w->name, err < 0 ? err : -ENOSPC);
	else
		remove_old(w, now_us);
	return w->fd >= 0;
}

void
why_files_flush(struct why_files *w)
{
	int64_t now = clock_wall_us();
	int err;

	if (w->out.n == 0)
		return;
	if (open_next(w, now)) {
		err = fd_write_all(w->fd, w->out.p, w->out.n);
		w->bytes += w->out.n;
		if (err < 0)
			complain(w, "cannot write", w->name, err);
		if (now - w->looked_us > LOOK_US || now < w->looked_us)
			remove_old(w, now);
	}
	buf_clear(&w->out);
}
