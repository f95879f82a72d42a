/*
 * Files named in the configuration: master opens them (some only root may read), looks at them
 * once a second, and hands new content to the roles as descriptors: tables and DH parameters to all,
 * certificates, keys and the tables of tls_server_sni_maps to keeper alone.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/panic.h"
#include "maps/maps.h"
#include "maps/served.h"
#include "role/common/chains.h"
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

/* Once meant for all, always for all. */
static struct watched_file *
add(struct master *m, struct span path, bool keeper_only)
{
	struct watched_file *f;

	if (path.n == 0 || path.p[0] != '/')
		return NULL;
	f = find(m, path);
	if (f != NULL) {
		f->keeper_only = f->keeper_only && keeper_only;
		return f;
	}
	f = calloc(1, sizeof(*f));
	if (f == NULL || (f->path = strndup(path.p, path.n)) == NULL)
		panic("out of memory");
	f->keeper_only = keeper_only;
	list_push_back(&m->files, &f->node);
	return f;
}

/* "type:/path" somewhere in a value. cdb: may stand without its suffix. */
static void
one_word(struct master *m, struct span word, bool keeper_only)
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
		add(m, path, keeper_only);
		if (strcmp(file_types[i], "cdb") == 0 && path.n + 5 < sizeof(with)) {
			memcpy(with, path.p, path.n);
			memcpy(with + path.n, ".cdb", 5);
			add(m, span_str(with), keeper_only);
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

static bool
in_list(const struct served *list, const char *cdb)
{
	for (; list != NULL; list = list->next)
		if (strcmp(list->cdb, cdb) == 0)
			return true;
	return false;
}

/* `all` names every table, `others` those that are not keeper's alone. */
static void
collect_served(struct master *m, const struct conf *conf, struct span all, struct span others)
{
	const struct params *p = conf->params;
	struct maps_env env = { .data_directory = p->data_directory, .default_database_type = p->default_database_type };
	const struct served *common;

	arena_free(&m->served_arena);
	m->served_arena = arena_new(16u << 20);
	env.alias_tables = arena_printf(m->served_arena, "%s %s", p->alias_maps, p->alias_database).p;
	m->served = served_list(all, &env, m->served_arena);
	common = served_list(others, &env, m->served_arena);
	builder_run_all(m);
	for (const struct served *s = m->served; s != NULL; s = s->next)
		add(m, span_str(s->cdb), !in_list(common, s->cdb));
}

/* Lines that name tables for keeper; proxy_read_maps (no effect) names all tables again. */
static void
sort_lines(struct span text, struct buf *keeper, struct buf *others)
{
	struct span line;

	while (span_token(&text, "\n", &line)) {
		struct buf *to = span_starts(line, SPAN("tls_server_sni_maps = ")) ? keeper : others;

		if (span_starts(line, SPAN("proxy_read_maps = ")))
			continue;
		buf_add_span(to, line);
		buf_addc(to, '\n');
	}
}

static void
collect_words(struct master *m, struct span text, bool keeper_only)
{
	struct span word;

	while (span_token(&text, " ,\t\r\n{}", &word))
		one_word(m, word, keeper_only);
}

static void
add_pem(void *ctx, struct span path)
{
	add(ctx, path, true);
}

static void
collect_pem(struct master *m, const struct conf *conf)
{
	struct tls_chain_params p;

	for (size_t i = 0; i < conf->service_count; i++)
		if (role_chain_params(&conf->services[i], &p))
			role_chain_each_file(&p, add_pem, m);
}

/*
 * DH parameters are public: people make new ones every night, and smtpd takes them. A file that is about keys, too, or
 * that not everybody may read, goes to nobody.
 */
static void
collect_dh(struct master *m, const struct conf *conf)
{
	for (size_t i = 0; i < conf->service_count; i++) {
		const char *path = conf->services[i].params->smtpd_tls_dh1024_param_file;
		struct stat st;

		if (strcmp(conf->services[i].command, "smtpd") != 0 || find(m, span_str(path)) != NULL)
			continue;
		if (stat(path, &st) != 0 || (st.st_mode & S_IROTH) != 0)
			add(m, span_str(path), false);
	}
}

void
files_collect(struct master *m, const struct conf *conf)
{
	struct buf text, keeper, others;

	buf_init(&text, 64u << 20);
	buf_init(&keeper, 64u << 20);
	buf_init(&others, 64u << 20);
	conf_write(conf, &text);
	sort_lines(buf_span(&text), &keeper, &others);
	collect_words(m, buf_span(&others), false);
	collect_words(m, buf_span(&keeper), true);
	collect_served(m, conf, buf_span(&text), buf_span(&others));
	collect_pem(m, conf);
	collect_dh(m, conf);
	buf_release(&text);
	buf_release(&keeper);
	buf_release(&others);
	LIST_EACH(n, &m->files) {
		bool changed;

		look(LIST_ITEM(n, struct watched_file, node), &changed);
	}
}

/* ---- what keeper asks for: files that entries of tls_server_sni_maps name */

enum { PEM_FILES_MAX = 50000, PEM_LOOK_BYTES = 4096 };

static bool
sni_configured(const struct conf *conf)
{
	for (size_t i = 0; i < conf->service_count; i++)
		if (conf->services[i].params->tls_server_sni_maps[0] != '\0')
			return true;
	return false;
}

/* Some PEM block begins near its top: keeper gets no other file that only root may read. */
static bool
looks_like_pem(const char *path)
{
	char text[PEM_LOOK_BYTES];
	int fd = fd_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;
	ssize_t n = fd >= 0 && fd_stat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fd_pread(fd, text, sizeof(text), 0) : -1;
	bool pem = n > 0 && span_find_ci(span_of(text, (size_t)n), SPAN("-----BEGIN ")) >= 0;

	explicit_bzero(text, sizeof(text));
	fd_close(&fd);
	return pem;
}

struct watched_file *
files_add_pem(struct master *m, struct span path, struct fault *why)
{
	struct watched_file *f = find(m, path);
	bool changed;
	char text[4096];

	if (f != NULL)
		return f;
	if (!sni_configured(m->conf) || path.n >= sizeof(text) || path.n == 0 || path.p[0] != '/') {
		fault_set(why, NULL, "keeper asks for a file that the configuration does not give it");
		return NULL;
	}
	memcpy(text, path.p, path.n);
	text[path.n] = '\0';
	if (fd_access(text, F_OK) == 0 && !looks_like_pem(text)) {
		fault_set(why, NULL, "%s: named in tls_server_sni_maps, but it is no PEM file", text);
		return NULL;
	}
	f = add(m, path, true);
	if (f != NULL) {
		f->on_demand = true;
		look(f, &changed);
	}
	return f;
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
