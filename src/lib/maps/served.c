/* Where the tables that we build ourselves live, which there are, and building one. */
#include "maps/served.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "maps/build.h"
#include "maps/maps_private.h"
#include "maps/scan.h"

#define NAME_MAX_BYTES 200u

static const char *const served_types[] = { "hash", "btree", "dbm", "sdbm" };

/* FNV-1a: file names must be the same in every process. */
static uint64_t
name_hash(struct span s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void
escape(struct buf *out, struct span source)
{
	for (size_t i = 0; i < source.n; i++) {
		char c = source.p[i];

		if (ascii_isalnum(c) || c == '-' || c == '_' || (c == '.' && i > 0))
			buf_addc(out, c);
		else
			buf_addf(out, "%%%02x", (unsigned)(uint8_t)c);
	}
}

void
served_path(struct buf *out, const char *data_directory, struct span source, bool aliases)
{
	size_t start;

	buf_addf(out, "%s/maps/", data_directory);
	start = out->n;
	escape(out, source);
	if (out->n - start > NAME_MAX_BYTES) {
		buf_truncate(out, start + NAME_MAX_BYTES);
		buf_addf(out, "-%016llx", (unsigned long long)name_hash(source));
	}
	buf_add_str(out, aliases ? ".aliases.cdb" : ".cdb");
}

bool
served_is_alias(const struct maps_env *env, struct span label)
{
	struct span rest = span_str(env->alias_tables), token;

	while (span_token_brace(&rest, ", \t\r\n", &token)) {
		while (span_starts(token, SPAN("proxy:")))
			token = span_from(token, 6);
		if (span_eq(token, label))
			return true;
	}
	return false;
}

static bool
known(const struct served *list, struct span label)
{
	for (; list != NULL; list = list->next)
		if (span_eq(list->label, label))
			return true;
	return false;
}

static struct served *
served_new(struct span label, struct span source, const struct maps_env *env, struct arena *a)
{
	struct served *s = ARENA_NEW(a, struct served);
	struct buf path;

	buf_init(&path, 8192);
	s->label = arena_dup(a, label);
	s->source = arena_cstr(a, source);
	s->aliases = served_is_alias(env, label);
	served_path(&path, env->data_directory, source, s->aliases);
	s->cdb = arena_cstr(a, buf_span(&path));
	buf_release(&path);
	return s;
}

struct listing {
	const struct maps_env *env;
	struct arena *a;
	struct served *list;
};

static void
on_label(void *ctx, struct span label, struct span source)
{
	struct listing *l = ctx;
	struct served *s;

	if (source.p[0] != '/' || known(l->list, label))
		return;
	s = served_new(label, source, l->env, l->a);
	s->next = l->list;
	l->list = s;
}

struct served *
served_list(struct span text, const struct maps_env *env, struct arena *a)
{
	struct listing l = { env, a, NULL };

	for (size_t k = 0; k < sizeof(served_types) / sizeof(served_types[0]); k++)
		scan_labels(text, served_types[k], on_label, &l);
	return l.list;
}

enum served_state
served_check(const struct served *s)
{
	struct stat src, cdb;

	if (fd_stat_path(s->source, &src) < 0)
		return SERVED_NO_SOURCE;
	if (fd_stat_path(s->cdb, &cdb) < 0 || src.st_mtim.tv_sec != cdb.st_mtim.tv_sec ||
	    src.st_mtim.tv_nsec != cdb.st_mtim.tv_nsec)
		return SERVED_STALE;
	return SERVED_FRESH;
}

bool
served_due(struct served *s, int64_t now_us)
{
	struct stat src;
	bool same;

	if (served_check(s) != SERVED_STALE || fd_stat_path(s->source, &src) < 0)
		return false;
	same = s->tried_us != 0 && src.st_mtim.tv_sec == s->tried_mtime.tv_sec &&
	    src.st_mtim.tv_nsec == s->tried_mtime.tv_nsec;
	if (same && now_us - s->tried_us < SERVED_RETRY_US)
		return false;
	s->tried_us = now_us;
	s->tried_mtime = src.st_mtim;
	return true;
}

static int
read_all(int fd, struct buf *b)
{
	ssize_t got = 1;

	while (got > 0) {
		char *room = buf_space(b, 65536);

		got = room == NULL ? -EFBIG : fd_pread(fd, room, 65536, b->n);
		if (got > 0)
			b->n += (size_t)got;
	}
	return (int)got;
}

static bool
write_cdb(const struct served *s, struct span text, const struct stat *src, int fd, struct fault *why)
{
	struct build_job job = {
		.text = text, .name = s->source, .form = s->aliases ? SOURCE_ALIASES : SOURCE_MAP,
		.mark_bad = true,
	};
	struct timespec times[2] = { src->st_mtim, src->st_mtim };
	struct build_report report;
	int r;

	if (!build_cdb(&job, fd, &report, why))
		return false;
	r = fchmod(fd, src->st_mode & S_IROTH ? 0644 : 0600) < 0 ? -errno : fd_fsync(fd);
	if (r == 0 && futimens(fd, times) < 0)
		r = -errno;
	return r == 0 || fault_set(why, "4.3.0", "%s: %s", s->cdb, fd_error(r));
}

static bool
replace(const struct served *s, struct span text, const struct stat *src, struct fault *why)
{
	struct buf path;
	const char *temp;
	bool ok;
	int fd;

	buf_init(&path, 8192);
	buf_addf(&path, "%s.%d", s->cdb, (int)getpid());
	temp = buf_cstr(&path);
	unlink(temp);           /* of a builder that died under our number */
	fd = fd_open(AT_FDCWD, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	ok = fd >= 0 || fault_set(why, "4.3.0", "%s: %s", temp, fd_error(fd));
	ok = ok && write_cdb(s, text, src, fd, why);
	if (ok && rename(temp, s->cdb) < 0)
		ok = fault_set(why, "4.3.0", "%s: %s", s->cdb, fd_error(-errno));
	if (fd >= 0 && !ok)
		unlink(temp);
	fd_close(&fd);
	buf_release(&path);
	return ok;
}

bool
served_build(const struct served *s, int source_fd, struct fault *why)
{
	struct stat src;
	struct buf text;
	bool ok;
	int r = fd_stat(source_fd, &src);       /* before reading: a change meanwhile means building again */

	buf_init(&text, MAPS_TEXT_MAX);
	if (r == 0 && !S_ISREG(src.st_mode))
		r = -EINVAL;
	if (r == 0)
		r = read_all(source_fd, &text);
	ok = r == 0 ? replace(s, buf_span(&text), &src, why) :
	    fault_set(why, "4.3.0", "%s: %s", s->source, fd_error(r));
	buf_release(&text);
	return ok;
}
