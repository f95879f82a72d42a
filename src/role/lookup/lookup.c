/*
 * lookup: reads the tables that nobody else should read: lmdb (a cut file kills its
 * reader) and the system's users and groups (the C library may block). Only tables that
 * the configuration names are served: a role that went bad cannot have others opened.
 */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/panic.h"
#include "maps/scan.h"
#include "role/roles.h"

#define ANSWER_ROOM (4u * MAPS_VALUE_MAX)
#define CONF_MAX (64u << 20)

enum { RESULT_FOUND, RESULT_ABSENT, RESULT_DEFER };     /* LOOKUP_ANSWER.result */

struct lookup_table {
	struct list node;
	struct span label;
	struct maps *maps;
};

struct lookup_state {
	struct role *role;
	struct maps_env env;            /* the role's, but reading directly */
	struct list tables;
	struct arena *a;                /* labels */
	struct arena *scratch;          /* one answer */
	uint64_t asked, found, deferred;
};

static struct lookup_table *
find_table(struct lookup_state *s, struct span label)
{
	LIST_EACH(n, &s->tables) {
		struct lookup_table *t = LIST_ITEM(n, struct lookup_table, node);

		if (span_eq(t->label, label))
			return t;
	}
	return NULL;
}

static void
add_table(void *ctx, struct span label, struct span name)
{
	struct lookup_state *s = ctx;
	struct lookup_table *t;
	struct fault why = { 0 };

	(void)name;
	if (find_table(s, label) != NULL)
		return;
	t = ARENA_NEW(s->a, struct lookup_table);
	t->label = arena_dup(s->a, label);
	if (!maps_open(label, 0, &s->env, &t->maps, &why)) {
		log_error(NULL, "%s", why.text);
		return;
	}
	list_push_back(&s->tables, &t->node);
	/* open it now, while this process may still open files that only root reads; a complaint was logged */
	(void)maps_check(t->maps, &why);
}

/* The directory of a table stays reachable: the file in it may be replaced. */
static void
allow_dir(struct lookup_state *s, struct span name)
{
	ptrdiff_t slash = span_rindex(name, '/');

	if (slash > 0)
		role_allow_dir(s->role, arena_cstr(s->a, span_slice(name, 0, (size_t)slash)), false);
}

static void
on_lmdb(void *ctx, struct span label, struct span name)
{
	allow_dir(ctx, name);
	add_table(ctx, label, name);
}

/* "unix:/path" is a socket in other parameters. */
static void
on_unix(void *ctx, struct span label, struct span name)
{
	if (span_eq(name, SPAN("passwd.byname")) || span_eq(name, SPAN("group.byname")))
		add_table(ctx, label, name);
}

/* The C library loads what nsswitch.conf names on first use: before the sandbox closes. */
static void
warm_up(void)
{
	(void)getpwnam("root");
	(void)getgrnam("root");
}

static void
lookup_open(struct role *r)
{
	static struct lookup_state state;
	struct buf text;

	state.role = r;
	state.env = r->maps_env;
	state.env.direct = true;
	state.a = arena_new(CONF_MAX);
	state.scratch = arena_new(ANSWER_ROOM);
	list_init(&state.tables);
	r->state = &state;
	warm_up();
	buf_init(&text, CONF_MAX);
	conf_write(r->conf, &text);
	scan_labels(buf_span(&text), "lmdb", on_lmdb, &state);
	scan_labels(buf_span(&text), "unix", on_unix, &state);
	/* Local delivery asks who its users are whether or not a parameter names the table. */
	on_unix(&state, SPAN("unix:passwd.byname"), SPAN("passwd.byname"));
	on_unix(&state, SPAN("unix:group.byname"), SPAN("group.byname"));
	buf_release(&text);
}

static enum map_result
answer(struct lookup_state *s, const struct ipc_lookup_ask *m, struct map_hit *hit, struct fault *why)
{
	struct lookup_table *t = find_table(s, m->table);

	if (t == NULL) {
		fault_set(why, "4.3.0", "the configuration names no such table");
		return MAP_DEFER;
	}
	return maps_find(t->maps, m->key, NULL, s->scratch, hit, why);
}

/* The asker puts the table's name in front again. */
static struct span
without_label(struct span text, struct span label)
{
	if (span_starts(text, label) && span_starts(span_from(text, label.n), SPAN(": ")))
		return span_from(text, label.n + 2);
	return text;
}

static void
on_lookup_ask(void *ctx, struct ipc_from from, struct ipc_lookup_ask *m)
{
	struct role *r = ctx;
	struct lookup_state *s = r->state;
	struct ipc_lookup_answer out = { .result = RESULT_ABSENT };
	struct fault why = { 0 };
	struct map_hit hit;

	s->asked++;
	switch (answer(s, m, &hit, &why)) {
	case MAP_FOUND:
		s->found++;
		out.result = RESULT_FOUND;
		out.value = hit.value;
		break;
	case MAP_ABSENT:
		break;
	case MAP_DEFER:
	case MAP_WAIT:
		s->deferred++;
		out.result = RESULT_DEFER;
		out.why = without_label(span_str(why.text), m->table);
		break;
	}
	ipc_reply_lookup_answer(r->hub, from, &out);
	arena_clear(s->scratch);
}

static void
lookup_status(struct role *r, struct buf *json)
{
	const struct lookup_state *s = r->state;
	size_t n = 0;

	LIST_EACH(t, &s->tables)
		n++;
	buf_addf(json, "\"tables\": %zu, \"asked\": %llu, \"found\": %llu, \"deferred\": %llu", n,
	    (unsigned long long)s->asked, (unsigned long long)s->found, (unsigned long long)s->deferred);
}

const struct role_spec lookup_role = {
	.role = IPC_ROLE_LOOKUP,
	.on = { .lookup_ask = on_lookup_ask },
	.open = lookup_open,
	.status = lookup_status,
};
