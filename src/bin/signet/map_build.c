/* Building: cdb and lmdb beside their source, hash and its kin in data_directory/maps. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "maps/build.h"
#include "maps/served.h"
#include "signet/cli.h"
#include "signet/map.h"

#define BAR_FROM (1u << 20)     /* smaller sources are done before a bar could be read */
#define BAR_WIDTH 40

void
map_progress_start(struct map_progress *p, const char *name, size_t bytes)
{
	*p = (struct map_progress){ .name = name, .percent = -1, .on = bytes >= BAR_FROM && isatty(2) };
}

void
map_progress_at(void *ctx, size_t done, size_t all)
{
	struct map_progress *p = ctx;
	int percent = all == 0 ? 100 : (int)(done * 100 / all);
	int full = percent * BAR_WIDTH / 100;

	if (!p->on || percent == p->percent)
		return;
	p->percent = percent;
	fprintf(stderr, "\r%s [", p->name);
	for (int i = 0; i < BAR_WIDTH; i++)
		fputc(i < full ? '#' : ' ', stderr);
	fprintf(stderr, "] %3d%%", percent);
	fflush(stderr);
}

void
map_progress_end(struct map_progress *p)
{
	if (p->percent >= 0)
		fprintf(stderr, "\r\033[K");
	p->percent = -1;
}

/* One build: the source, and where the result goes. */
struct making {
	const struct map_command *m;
	const char *source;
	const char *target;     /* "FILE.cdb" */
	const char *temp;
	bool lmdb;
	struct stat st;
	struct buf text;
};

static bool
write_table(const struct making *k, struct build_report *report, struct fault *why)
{
	struct map_progress bar;
	struct build_job job = {
		.text = buf_span(&k->text), .name = k->source, .keep_case = k->m->o.keep_case,
		.form = k->m->o.aliases ? SOURCE_ALIASES : SOURCE_MAP, .progress = map_progress_at, .ctx = &bar,
		.quiet_duplicates = k->m->o.quiet_duplicates,
	};
	bool ok;
	int fd;

	map_progress_start(&bar, k->source, k->text.n);
	if (k->lmdb) {
		ok = build_lmdb(&job, k->temp, report, why);
	} else {
		fd = fd_open(AT_FDCWD, k->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		ok = fd >= 0 ? build_cdb(&job, fd, report, why) : fault_set(why, "", "%s: %s", k->temp, fd_error(fd));
		fd_close(&fd);
	}
	map_progress_end(&bar);
	return ok;
}

/* The result belongs to the source's owner and is as readable as the source. */
static bool
take_over(const struct making *k, struct fault *why)
{
	int fd = fd_open(AT_FDCWD, k->temp, O_RDONLY | O_NOFOLLOW, 0);
	int r = fd;

	if (r >= 0 && geteuid() == 0 && fchown(fd, k->st.st_uid, k->st.st_gid) < 0)
		r = -errno;
	if (r >= 0 && fchmod(fd, k->st.st_mode & 0644) < 0)
		r = -errno;
	if (r >= 0)
		r = fd_fsync(fd);
	fd_close(&fd);
	if (r >= 0 && rename(k->temp, k->target) < 0)
		r = -errno;
	return r >= 0 || fault_set(why, "", "%s: %s", k->target, fd_error(r));
}

static bool
read_source(struct making *k, struct fault *why)
{
	int fd = fd_open(AT_FDCWD, k->source, O_RDONLY, 0);
	int r = fd;

	if (r >= 0)
		r = fd_stat(fd, &k->st);
	fd_close(&fd);
	if (r >= 0)
		r = fd_read_file(AT_FDCWD, k->source, &k->text);
	return r >= 0 || fault_set(why, "", "%s: %s", k->source, fd_error(r));
}

/* cdb, lmdb: a new file beside the source, renamed into place. */
static int
build_beside(const struct map_command *m, struct span name, const char *type)
{
	struct making k = {
		.m = m, .source = arena_cstr(m->a, name), .lmdb = span_eq(span_str(type), SPAN("lmdb")),
		.target = arena_printf(m->a, "%.*s.%s", SPAN_ARG(name), type).p,
		.temp = arena_printf(m->a, "%.*s.%s.%d.tmp", SPAN_ARG(name), type, (int)getpid()).p,
	};
	struct build_report report;
	struct fault why = { 0 };
	bool ok;

	buf_init(&k.text, MAPS_TEXT_MAX);
	ok = read_source(&k, &why) && write_table(&k, &report, &why) && take_over(&k, &why);
	buf_release(&k.text);
	if (ok)
		return CLI_DONE;
	unlink(k.temp);
	return cli_fail(m->cli, CLI_NO, "%s", why.text);
}

/* The folder of served tables, made on first use; what root makes is given to its owner. */
static bool
maps_folder(const struct map_command *m, struct stat *st, struct fault *why)
{
	const char *path = arena_printf(m->a, "%s/maps", m->env.data_directory).p;
	struct stat data;
	int r = fd_stat_path(m->env.data_directory, &data);

	if (r >= 0 && fd_stat_path(path, st) < 0) {
		r = fd_mkdir(AT_FDCWD, path, 0755);
		if (r >= 0 && geteuid() == 0 && lchown(path, data.st_uid, data.st_gid) < 0)
			r = -errno;
	}
	if (r >= 0)
		r = fd_stat_path(path, st);
	return r >= 0 || fault_set(why, "", "%s: %s", path, fd_error(r));
}

static int
build_served(const struct map_command *m, struct span type, struct span name)
{
	struct span label = arena_printf(m->a, "%.*s:%.*s", SPAN_ARG(type), SPAN_ARG(name));
	struct served s = { .label = label, .source = arena_cstr(m->a, name), .aliases = m->o.aliases };
	struct fault why = { 0 };
	struct stat folder;
	struct buf path;
	bool ok;
	int fd;

	buf_init(&path, 8192);
	served_path(&path, m->env.data_directory, name, s.aliases);
	s.cdb = buf_cstr(&path);
	fd = fd_open(AT_FDCWD, s.source, O_RDONLY, 0);
	ok = fd >= 0 ? maps_folder(m, &folder, &why) && served_build(&s, fd, &why) :
	    fault_set(&why, "", "%s: %s", s.source, fd_error(fd));
	if (ok && geteuid() == 0 && lchown(s.cdb, folder.st_uid, folder.st_gid) < 0)
		ok = fault_set(&why, "", "%s: %s", s.cdb, fd_error(-errno));
	fd_close(&fd);
	buf_release(&path);
	return ok ? CLI_DONE : cli_fail(m->cli, CLI_NO, "%s", why.text);
}

int
map_build(const struct map_command *m, struct span arg)
{
	struct map_command with_form = *m;
	struct span type, name;

	if (!map_split(m, arg, &type, &name))
		return cli_usage(m->cli, "expected TYPE:FILE instead of \"%.*s\"", SPAN_ARG(arg));
	with_form.o.aliases = map_is_alias(m, type, name);
	if (span_eq(type, SPAN("cdb")) || span_eq(type, SPAN("lmdb")))
		return build_beside(&with_form, name, arena_cstr(m->a, type));
	if (!map_is_served(type))
		return cli_fail(m->cli, CLI_NO, "tables of type \"%.*s\" are not built: cdb, lmdb, hash, btree, dbm, sdbm are",
		    SPAN_ARG(type));
	if (name.p[0] != '/') {
		const char *full = realpath(arena_cstr(m->a, name), NULL);

		if (full == NULL)
			return cli_fail(m->cli, CLI_NO, "%.*s: %s", SPAN_ARG(name), fd_error(-errno));
		name = arena_dup(m->a, span_str(full));
		free((void *)(uintptr_t)full);
	}
	return build_served(&with_form, type, name);
}
