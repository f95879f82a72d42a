/* Lists of tables: compile "type:name, type:name", ask them in order. */
#include "maps/maps.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/panic.h"
#include "maps/maps_private.h"

#define LIST_SEPARATORS ", \t\r\n"
#define MAX_DEPTH 8             /* unionmap inside pipemap inside ... */
#define TABLE_ARENA_MAX MAPS_TEXT_MAX

struct maps {
	unsigned refs;
	size_t n;
	struct table **v;
};

static const struct table_type *const types[] = {
	&table_inline, &table_static, &table_environ, &table_fail, &table_randmap, &table_unionmap,
	&table_pipemap, &table_texthash, &table_cidr, &table_regexp, &table_pcre, &table_cdb, &table_hash,
	&table_btree, &table_dbm, &table_sdbm, &table_lmdb, &table_unix,
};

/* Known to Postfix, not served here. */
static const char *const refused[] = {
	"mysql", "pgsql", "sqlite", "ldap", "socketmap", "tcp", "memcache", "nis", "nisplus", "mongodb",
	"netinfo", "internal", "debug", "proxy",
};

bool
maps_unbrace(struct span s, struct span *inner_r)
{
	s = span_trim(s);
	if (s.n < 2 || s.p[0] != '{' || s.p[s.n - 1] != '}')
		return false;
	*inner_r = span_trim(span_slice(s, 1, s.n - 1));
	return true;
}

static const struct table_type *
find_type(struct span name, const struct maps_env *env)
{
	const struct table_type *t = NULL;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (span_eq(name, span_str(types[i]->name)))
			t = types[i];
	if (!env->direct && t == &table_lmdb)
		return &table_remote_lmdb;
	if (!env->direct && t == &table_unix)
		return &table_remote_unix;
	return t;
}

static bool
no_such_type(struct span type, struct span spec, struct fault *why)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (span_eq(type, span_str(refused[i])))
			return fault_set(why, "4.3.5", "%.*s: table type \"%.*s\" is not supported",
			    SPAN_ARG(spec), SPAN_ARG(type));
	return fault_set(why, "4.3.5", "%.*s: unknown table type \"%.*s\"", SPAN_ARG(spec), SPAN_ARG(type));
}

bool
table_open(struct span spec, unsigned flags, const struct maps_env *env, unsigned depth,
    struct table **table_r, struct fault *why)
{
	struct arena *a = arena_new(TABLE_ARENA_MAX);
	struct table *t = ARENA_NEW(a, struct table);
	struct span type, name;

	*table_r = NULL;
	*t = (struct table){ .flags = flags, .env = env, .a = a, .depth = depth };
	while (span_starts(spec, SPAN("proxy:")))
		spec = span_from(spec, 6);
	t->label = arena_dup(a, spec);
	if (!span_cut(t->label, ':', &type, &name) || name.n == 0)
		fault_set(why, "4.3.5", "%.*s: expected \"type:name\"", SPAN_ARG(spec));
	else if ((t->type = find_type(type, env)) == NULL)
		no_such_type(type, spec, why);
	else if (depth > MAX_DEPTH)
		fault_set(why, "4.3.5", "%.*s: tables nested too deeply", SPAN_ARG(spec));
	else {
		t->name = name;
		if (t->type->open == NULL || t->type->open(t, why)) {
			*table_r = t;
			return true;
		}
	}
	arena_free(&a);
	return false;
}

void
table_close(struct table **t)
{
	struct arena *a;

	if (*t == NULL)
		return;
	if ((*t)->type->close != NULL)
		(*t)->type->close(*t);
	a = (*t)->a;
	*t = NULL;
	arena_free(&a);
}

enum map_result
table_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct lookup folded = *q;

	if (q->partial && t->type->pattern)
		return MAP_ABSENT;
	/* Types that fold are those that keep keys. Patterns see all of a text: a long header must not slip past them. */
	if (q->key.n > MAPS_KEY_MAX && t->type->fold)
		return MAP_ABSENT;
	if (t->type->fold && !(t->flags & MAPS_NO_FOLD))
		folded.key = arena_lower(q->a, q->key);
	return t->type->find(t, &folded, hit, why);
}

bool
table_check(struct table *t, struct fault *why)
{
	return t->type->check == NULL || t->type->check(t, why);
}

enum map_result
table_hit(const struct table *t, const struct lookup *q, struct span value, struct span file,
    unsigned line, struct map_hit *hit)
{
	hit->value = arena_dup(q->a, value);
	hit->table = arena_dup(q->a, t->label);
	hit->file = file.n > 0 ? arena_dup(q->a, file) : span_str(NULL);
	hit->line = line;
	return MAP_FOUND;
}

enum map_result
table_defer(const struct table *t, struct fault *why, const char *text)
{
	fault_set(why, "4.3.0", "%.*s: %s", SPAN_ARG(t->label), text);
	return MAP_DEFER;
}

static void
add_table(struct maps *m, struct table *t)
{
	m->v = realloc(m->v, size_mul(m->n + 1, sizeof(m->v[0])));
	if (m->v == NULL)
		panic("out of memory");
	m->v[m->n++] = t;
}

bool
maps_open(struct span spec, unsigned flags, const struct maps_env *env, struct maps **maps_r,
    struct fault *why)
{
	struct maps *m = calloc(1, sizeof(*m));
	struct span token;

	if (m == NULL)
		panic("out of memory");
	m->refs = 1;
	while (span_token_brace(&spec, LIST_SEPARATORS, &token)) {
		struct table *t;

		if (!table_open(token, flags, env, 0, &t, why)) {
			maps_unref(&m);
			break;
		}
		add_table(m, t);
	}
	*maps_r = m;
	return m != NULL;
}

struct maps *
maps_ref(struct maps *m)
{
	m->refs++;
	return m;
}

void
maps_unref(struct maps **m)
{
	struct maps *old = *m;

	*m = NULL;
	if (old == NULL || --old->refs > 0)
		return;
	for (size_t i = 0; i < old->n; i++)
		table_close(&old->v[i]);
	free(old->v);
	free(old);
}

bool
maps_empty(const struct maps *m)
{
	return m == NULL || m->n == 0;
}

bool
maps_check(const struct maps *m, struct fault *why)
{
	for (size_t i = 0; m != NULL && i < m->n; i++)
		if (!table_check(m->v[i], why))
			return false;
	return true;
}

/* Postfix takes an empty result for a broken table: "no" is said by finding nothing. */
static enum map_result
refuse_empty(const struct table *t, struct span key, struct fault *why)
{
	fault_set(why, "4.3.0", "%.*s: lookup of \"%.*s\" returns an empty string", SPAN_ARG(t->label),
	    SPAN_ARG(log_esc(key)));
	return MAP_DEFER;
}

static enum map_result
find(const struct maps *m, const struct lookup *q, struct map_hit *hit_r, struct fault *why)
{
	struct map_hit unused;
	struct map_hit *hit = hit_r != NULL ? hit_r : &unused;

	*hit = (struct map_hit){ 0 };
	if (m == NULL || q->key.n == 0)
		return MAP_ABSENT;
	for (size_t i = 0; i < m->n; i++) {
		enum map_result r = table_find(m->v[i], q, hit, why);

		if (r == MAP_FOUND && hit->value.n == 0)
			return refuse_empty(m->v[i], q->key, why);
		if (r != MAP_ABSENT)
			return r;
	}
	return MAP_ABSENT;
}

enum map_result
maps_find(const struct maps *m, struct span key, struct asks *asks, struct arena *a, struct map_hit *hit_r,
    struct fault *why)
{
	return find(m, &(struct lookup){ .key = key, .asks = asks, .a = a }, hit_r, why);
}

enum map_result
maps_find_partial(const struct maps *m, struct span key, struct asks *asks, struct arena *a,
    struct map_hit *hit_r, struct fault *why)
{
	return find(m, &(struct lookup){ .key = key, .asks = asks, .a = a, .partial = true }, hit_r, why);
}
