/* Asking a table and listing one. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/panic.h"
#include "base/text.h"
#include "conf/words.h"
#include "maps/build.h"
#include "maps/cdb_read.h"
#include "maps/served.h"
#include "signet/cli.h"
#include "signet/map.h"

/* A cdb in memory, made from a source text: what the daemon serves, or would. False with `why`. */
static bool
cdb_from_source(const struct map_command *m, struct span name, bool aliases, struct cdb_file *c,
    struct fault *why)
{
	struct build_job job = {
		.name = arena_cstr(m->a, name), .form = aliases ? SOURCE_ALIASES : SOURCE_MAP,
		.keep_case = m->o.keep_case, .quiet_duplicates = true,
	};
	struct build_report report;
	struct buf text;
	bool ok;
	int fd = memfd_create("table", MFD_CLOEXEC), r;

	buf_init(&text, MAPS_TEXT_MAX);
	r = fd < 0 ? -errno : fd_read_file(AT_FDCWD, job.name, &text);
	job.text = buf_span(&text);
	ok = r < 0 ? fault_set(why, "", "%s: %s", job.name, fd_error(r)) : build_cdb(&job, fd, &report, why);
	buf_release(&text);
	if (ok)
		return cdb_file_init(c, fd, why);
	fd_close(&fd);
	return false;
}

/* One table to ask: through maps, or, being hash and the like, from its source. */
struct asked {
	struct span label;
	struct maps *maps;
	struct cdb_file cdb;
	bool by_source;
};

static bool
open_asked(const struct map_command *m, struct span arg, struct asked *t, struct fault *why)
{
	struct span type, name;

	*t = (struct asked){ .label = arg, .cdb.fd = -1 };
	if (!map_split(m, arg, &type, &name))
		return fault_set(why, "", "expected TYPE:FILE instead of \"%.*s\"", SPAN_ARG(arg));
	t->label = arena_printf(m->a, "%.*s:%.*s", SPAN_ARG(type), SPAN_ARG(name));
	if (map_is_served(type)) {
		t->by_source = true;
		return cdb_from_source(m, name, map_is_alias(m, type, name), &t->cdb, why);
	}
	return maps_open(t->label, m->o.keep_case ? MAPS_NO_FOLD : 0, &m->env, &t->maps, why);
}

static void
close_asked(struct asked *t)
{
	cdb_file_release(&t->cdb);
	maps_unref(&t->maps);
}

static enum map_result
ask(const struct map_command *m, struct asked *t, struct span key, struct arena *a, struct map_hit *hit,
    struct fault *why)
{
	if (!t->by_source)
		return maps_find(t->maps, key, NULL, a, hit, why);
	*hit = (struct map_hit){ .table = t->label };
	return cdb_file_find(&t->cdb, m->o.keep_case ? key : arena_lower(a, key), a, &hit->value, why);
}

static void
print_json(struct buf *out, struct span key, const struct map_hit *hit)
{
	buf_add_str(out, "{\"key\": ");
	text_json(out, key);
	buf_add_str(out, ", \"value\": ");
	text_json(out, hit->value);
	buf_add_str(out, ", \"table\": ");
	text_json(out, hit->table);
	if (hit->line > 0) {
		buf_add_str(out, ", \"file\": ");
		text_json(out, hit->file);
		buf_addf(out, ", \"line\": %u", hit->line);
	}
	buf_add_str(out, "}\n");
}

/* The first table that knows the key answers. */
static int
query_one(const struct map_command *m, struct asked *tables, int n, struct span key, bool with_key)
{
	struct arena *a = arena_new(4u << 20);
	enum map_result r = MAP_ABSENT;
	struct fault why = { 0 };
	struct map_hit hit;
	struct buf out;
	int status = CLI_NO;

	buf_init(&out, 1u << 20);
	for (int i = 0; i < n && r == MAP_ABSENT; i++)
		r = ask(m, &tables[i], key, a, &hit, &why);
	if (r == MAP_FOUND && m->o.json)
		print_json(&out, key, &hit);
	else if (r == MAP_FOUND && with_key)
		buf_addf(&out, "%.*s\t%.*s\n", SPAN_ARG(key), SPAN_ARG(hit.value));
	else if (r == MAP_FOUND)
		buf_addf(&out, "%.*s\n", SPAN_ARG(hit.value));
	if (r == MAP_FOUND)
		status = cli_print(m->cli, &out);
	if (r == MAP_DEFER)
		status = cli_fail(m->cli, CLI_TRY_AGAIN, "%s", why.text);
	buf_release(&out);
	arena_free(&a);
	return status;
}

/* Keys from standard input, one a line: done when one of them was found. */
static int
query_lines(const struct map_command *m, struct asked *tables, int n)
{
	int status = CLI_NO;
	char *line = NULL;
	size_t room = 0;
	ssize_t got;

	while ((got = getline(&line, &room, stdin)) >= 0) {
		struct span key = span_of(line, (size_t)got);
		int s;

		if (span_ends(key, SPAN("\n")))
			key.n--;
		s = query_one(m, tables, n, key, true);
		if (s == CLI_DONE || s == CLI_TRY_AGAIN)
			status = status == CLI_TRY_AGAIN ? status : s;
	}
	free(line);
	return status;
}

static bool
names_table(const char *key)
{
	struct span type, name;

	return span_cut(span_str(key), ':', &type, &name) && name.n > 0 && word_table_type(type) != NULL;
}

int
map_query(const struct map_command *m, const char *key, char **args, int n)
{
	struct asked *tables = calloc((size_t)n, sizeof(*tables));
	struct fault why = { 0 };
	int opened = 0, status = CLI_NO;

	if (tables == NULL)
		panic("out of memory");
	while (opened < n && open_asked(m, span_str(args[opened]), &tables[opened], &why))
		opened++;
	if (opened < n)
		status = cli_fail(m->cli, CLI_NO, "%s%s", why.text,
		    names_table(key) ? " (the key comes first: signet map query KEY [TYPE:]FILE)" : "");
	else if (strcmp(key, "-") == 0)
		status = query_lines(m, tables, n);
	else
		status = query_one(m, tables, n, span_str(key), false);
	for (int i = 0; i < opened; i++)
		close_asked(&tables[i]);
	free(tables);
	return status;
}

static bool
print_entry(void *ctx, struct span key, struct span value)
{
	const struct map_command *m = ctx;
	const char *colon = m->o.aliases ? ":" : "";

	/* keys and values that another tool wrote may have their NUL with them */
	if (key.n > 0 && key.p[key.n - 1] == '\0')
		key.n--;
	if (value.n > 0 && value.p[value.n - 1] == '\0')
		value.n--;
	fwrite(key.p, 1, key.n, stdout);
	printf("%s\t", colon);
	fwrite(value.p, 1, value.n, stdout);
	putchar('\n');
	return !ferror(stdout);
}

static int
list_lmdb(struct map_command *m, struct span name)
{
	const char *path = arena_printf(m->a, "%.*s.lmdb", SPAN_ARG(name)).p;
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_cursor *at = NULL;
	MDB_val k, v;
	MDB_dbi dbi;
	int r = mdb_env_create(&env);

	if (r == 0)
		r = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0);
	if (r == 0)
		r = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (r == 0)
		r = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (r == 0)
		r = mdb_cursor_open(txn, dbi, &at);
	while (r == 0 && (r = mdb_cursor_get(at, &k, &v, MDB_NEXT)) == 0)
		print_entry(m, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size));
	if (at != NULL)
		mdb_cursor_close(at);
	if (txn != NULL)
		mdb_txn_abort(txn);
	mdb_env_close(env);
	return r == MDB_NOTFOUND ? CLI_DONE : cli_fail(m->cli, CLI_NO, "%s: %s", path, mdb_strerror(r));
}

static int
list_cdb(struct map_command *m, struct cdb_file *c, struct fault *why)
{
	return cdb_file_each(c, print_entry, m, why) ? CLI_DONE : cli_fail(m->cli, CLI_NO, "%s", why->text);
}

int
map_list(const struct map_command *m, struct span arg)
{
	struct map_command here = *m;
	struct fault why = { 0 };
	struct span type, name;
	struct cdb_file c;
	bool ok;
	int status;

	if (!map_split(m, arg, &type, &name))
		return cli_usage(m->cli, "expected TYPE:FILE instead of \"%.*s\"", SPAN_ARG(arg));
	here.o.aliases = map_is_alias(m, type, name);
	if (span_eq(type, SPAN("lmdb")))
		return list_lmdb(&here, name);
	if (span_eq(type, SPAN("cdb"))) {
		const char *path = arena_printf(m->a, "%.*s.cdb", SPAN_ARG(name)).p;
		int fd = fd_open(AT_FDCWD, path, O_RDONLY, 0);

		ok = fd >= 0 ? cdb_file_init(&c, fd, &why) : fault_set(&why, "", "%s: %s", path, fd_error(fd));
	} else if (map_is_served(type) || span_eq(type, SPAN("texthash"))) {
		ok = cdb_from_source(&here, name, here.o.aliases, &c, &why);
	} else {
		return cli_fail(m->cli, CLI_NO, "tables of type \"%.*s\" cannot be listed", SPAN_ARG(type));
	}
	if (!ok)
		return cli_fail(m->cli, CLI_NO, "%s", why.text);
	status = list_cdb(&here, &c, &why);
	cdb_file_release(&c);
	return status;
}
