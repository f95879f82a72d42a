/*
 * Table files named in the configuration: master opens them (some only root may read),
 * looks at them once a second, and hands new content to the roles as descriptors.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/panic.h"
#include "maps/maps.h"
#include "maps/served.h"
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

static void
collect_served(struct master *m, const struct conf *conf, struct span text)
{
	const struct params *p = conf->params;
	struct maps_env env = { .data_directory = p->data_directory, .default_database_type = p->default_database_type };

	arena_free(&m->served_arena);
	m->served_arena = arena_new(16u << 20);
	env.alias_tables = arena_printf(m->served_arena, "%s %s", p->alias_maps, p->alias_database).p;
	m->served = served_list(text, &env, m->served_arena);
	builder_run_all(m);
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
	builder_poll(m);
	LIST_EACH(n, &m->files) {
		struct watched_file *f = LIST_ITEM(n, struct watched_file, node);
		bool changed;

		look(f, &changed);
		if (changed)
			children_tell_file(m, f);
	}
}
