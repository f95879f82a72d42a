/*
 * Table files named in the configuration: master opens them (some only root may read),
 * looks at them once a second, and hands new content to the roles as descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/panic.h"
#include "base/log.h"
#include "maps/maps.h"
#include "maps/served.h"
#include "role/common/confine.h"
#include "role/master/master.h"

static const char *const file_types[] = { "texthash", "cidr", "regexp", "pcre", "cdb", "lmdb" };

static struct watched_file *
find(struct master *m, struct span path)
{
	LIST_EACH(n, &m->files) {
		struct watched_file *f = LIST_ITEM(n, struct watched_file, node);

		if (span_eq(span_str(f->path), path))
			return f;
	}
	return NULL;
}

static void
add(struct master *m, struct span path)
{
	struct watched_file *f;

	if (path.n == 0 || path.p[0] != '/' || find(m, path) != NULL)
		return;
	f = calloc(1, sizeof(*f));
	if (f == NULL || (f->path = strndup(path.p, path.n)) == NULL)
		panic("out of memory");
	list_push_back(&m->files, &f->node);
}

/* "type:/path" somewhere in a value. cdb: may stand without its suffix. */
static void
one_word(struct master *m, struct span word)
{
	struct span type, path;
	char with[4096];

	if (span_starts(word, SPAN("proxy:")))
		word = span_from(word, 6);
	if (!span_cut(word, ':', &type, &path))
		return;
	for (size_t i = 0; i < sizeof(file_types) / sizeof(file_types[0]); i++) {
		if (!span_eq(type, span_str(file_types[i])))
			continue;
		add(m, path);
		if (strcmp(file_types[i], "cdb") == 0 && path.n + 5 < sizeof(with)) {
			memcpy(with, path.p, path.n);
			memcpy(with + path.n, ".cdb", 5);
			add(m, span_str(with));
		}
	}
}

static void
look(struct watched_file *f, bool *changed_r)
{
	struct stat st;
	bool there = stat(f->path, &st) == 0;
	int64_t mtime = there ? (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec : 0;

	*changed_r = there != f->there || (there && (mtime != f->mtime_ns || st.st_ino != f->ino || (uint64_t)st.st_size != f->size));
	f->there = there;
	f->mtime_ns = mtime;
	f->ino = there ? st.st_ino : 0;
	f->size = there ? (uint64_t)st.st_size : 0;
}

/* ---- hash: and its kin: a cdb of our own, built by a child without privileges */

static _Noreturn void
build_in_child(struct master *m, const struct served *s, int source)
{
	struct fault why = { 0 };

	if (m->as_root && !confine_user(m->conf->params->mail_owner, &why)) {
		log_error(NULL, "%.*s: %s", SPAN_ARG(s->label), why.text);
		_exit(1);
	}
	confine_no_new_privs();
	if (!served_build(s, source, &why)) {
		log_error(NULL, "%.*s: %s", SPAN_ARG(s->label), why.text);
		_exit(1);
	}
	_exit(0);
}

static void
build_one(struct master *m, const struct served *s, bool wait)
{
	int source = fd_open(AT_FDCWD, s->source, O_RDONLY | O_NOCTTY, 0);
	pid_t pid;

	if (source < 0) {
		log_error(NULL, "%.*s: cannot open %s: %s", SPAN_ARG(s->label), s->source, fd_error(source));
		return;
	}
	pid = fork();
	if (pid == 0)
		build_in_child(m, s, source);
	fd_close(&source);
	if (pid > 0 && wait)
		waitpid(pid, NULL, 0);
	else if (pid > 0)
		m->builder = pid;
}

/* At start all of them, one after the other; once the roles run, one at a time, nobody waiting. */
static void
build_stale(struct master *m, bool wait)
{
	for (const struct served *s = m->served; s != NULL; s = s->next) {
		if (served_check(s) != SERVED_STALE)
			continue;
		if (!wait && m->builder != 0)
			return;
		build_one(m, s, wait);
	}
}

bool
files_builder_ended(struct master *m, pid_t pid)
{
	if (pid != m->builder)
		return false;
	m->builder = 0;
	return true;
}

static void
collect_served(struct master *m, const struct conf *conf, struct span text)
{
	const struct params *p = conf->params;
	struct maps_env env = { .data_directory = p->data_directory, .default_database_type = p->default_database_type };

	arena_free(&m->served_arena);
	m->served_arena = arena_new(16u << 20);
	env.alias_tables = arena_printf(m->served_arena, "%s %s", p->alias_maps, p->alias_database).p;
	m->served = served_list(text, &env, m->served_arena);
	build_stale(m, true);
	for (const struct served *s = m->served; s != NULL; s = s->next)
		add(m, span_str(s->cdb));
}

void
files_collect(struct master *m, const struct conf *conf)
{
	struct buf text;
	struct span rest, word;

	buf_init(&text, 64u << 20);
	conf_write(conf, &text);
	rest = buf_span(&text);
	while (span_token(&rest, " ,\t\r\n{}", &word))
		one_word(m, word);
	collect_served(m, conf, buf_span(&text));
	buf_release(&text);
	LIST_EACH(n, &m->files) {
		bool changed;

		look(LIST_ITEM(n, struct watched_file, node), &changed);
	}
}

int
files_open(const struct watched_file *f)
{
	return f->there ? fd_open(AT_FDCWD, f->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0) : -1;
}

void
files_poll(struct master *m)
{
	build_stale(m, false);
	LIST_EACH(n, &m->files) {
		struct watched_file *f = LIST_ITEM(n, struct watched_file, node);
		bool changed;

		look(f, &changed);
		if (changed)
			children_tell_file(m, f);
	}
}
