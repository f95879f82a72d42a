/* texthash: a source file held in memory; inline: the same written in main.cf. */
#include <stdlib.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/panic.h"
#include "maps/maps_private.h"
#include "maps/source.h"

struct entry {
	struct hmap_node node;
	struct span key, value;
	unsigned line;
};

/* Keys and values of one version of the file. */
struct text_map {
	struct hmap by_key;
	struct arena *a;
};

struct text_state {
	struct textfile file;
	struct text_map *map;
};

struct loading {
	struct table *t;
	struct text_map *map;
	unsigned *bad;
	struct fault *first;
};

static struct text_map *
text_map_new(size_t max)
{
	struct text_map *m = calloc(1, sizeof(*m));

	if (m == NULL)
		panic("out of memory");
	hmap_init(&m->by_key);
	m->a = arena_new(max);
	return m;
}

static void
text_map_free(struct text_map **m)
{
	if (*m == NULL)
		return;
	hmap_release(&(*m)->by_key);
	arena_free(&(*m)->a);
	free(*m);
	*m = NULL;
}

static struct entry *
text_map_get(const struct text_map *m, struct span key)
{
	HMAP_EACH_HASH(n, &m->by_key, span_hash(key)) {
		struct entry *e = HMAP_ENTRY(n, struct entry, node);

		if (span_eq(e->key, key))
			return e;
	}
	return NULL;
}

/* False when the key is there already: the first one stays, as in Postfix. */
static bool
text_map_add(struct text_map *m, struct span key, struct span value, unsigned line, bool fold)
{
	struct entry *e = ARENA_NEW(m->a, struct entry);

	e->key = fold ? arena_lower(m->a, key) : arena_dup(m->a, key);
	if (text_map_get(m, e->key) != NULL)
		return false;
	e->value = arena_dup(m->a, value);
	e->line = line;
	hmap_add(&m->by_key, &e->node, span_hash(e->key));
	return true;
}

static struct span
path_of(const struct table *t)
{
	return t->name;
}

static void
on_bad(void *ctx, unsigned line, const struct fault *why)
{
	struct loading *l = ctx;

	if (*l->bad < MAPS_LOGGED)
		log_warning_once(NULL, "%.*s:%u: %s: this line is skipped", SPAN_ARG(path_of(l->t)), line, why->text);
	if ((*l->bad)++ == 0)
		fault_set(l->first, "4.3.5", "line %u: %s", line, why->text);
}

static bool
on_entry(void *ctx, struct span key, struct span value, unsigned line)
{
	struct loading *l = ctx;

	if (!text_map_add(l->map, key, value, line, !(l->t->flags & MAPS_NO_FOLD)))
		log_warning_once(NULL, "%.*s:%u: \"%.*s\" is here a second time: the first entry counts",
		    SPAN_ARG(path_of(l->t)), line, SPAN_ARG(log_esc(key)));
	return true;
}

static void
load(struct table *t, struct span text, unsigned *bad_r, struct fault *why)
{
	struct text_state *s = t->state;
	/* entries cost more than their text: many short lines */
	struct loading l = { t, text_map_new(size_add(size_mul(text.n, 40), 1u << 20)), bad_r, why };
	struct source_reader r = { .entry = on_entry, .bad = on_bad, .ctx = &l };

	source_each(text, &r);
	text_map_free(&s->map);
	s->map = l.map;
}

static bool
text_open(struct table *t, struct fault *why)
{
	struct text_state *s = ARENA_NEW(t->a, struct text_state);

	(void)why;
	textfile_init(&s->file, arena_cstr(t->a, t->name));
	t->state = s;
	return true;
}

static enum map_result
text_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct text_state *s = t->state;
	struct entry *e;

	if (!textfile_ready(&s->file, t, load, why))
		return MAP_DEFER;
	e = text_map_get(s->map, q->key);
	return e == NULL ? MAP_ABSENT : table_hit(t, q, e->value, t->name, e->line, hit);
}

static bool
text_check(struct table *t, struct fault *why)
{
	struct text_state *s = t->state;

	return textfile_ready(&s->file, t, load, why);
}

static void
text_close(struct table *t)
{
	struct text_state *s = t->state;

	if (s != NULL)
		text_map_free(&s->map);
}

const struct table_type table_texthash = {
	"texthash", false, true, text_open, text_find, text_check, text_close
};

/* In one line the last word counts, as in Postfix. */
static void
inline_replace(struct table *t, struct text_map *m, struct span key, struct span value)
{
	struct span k = (t->flags & MAPS_NO_FOLD) ? key : arena_lower(m->a, key);
	struct entry *e = text_map_get(m, k);

	ensure(e != NULL);
	e->value = arena_dup(m->a, value);
	log_warning_once(NULL, "%.*s: \"%.*s\" is here a second time: the last entry counts", SPAN_ARG(t->label), SPAN_ARG(key));
}

static bool
inline_entry(struct table *t, struct text_map *m, struct span token, unsigned nth, struct fault *why)
{
	struct span name, value, pair = token;

	if (token.n > 0 && token.p[0] == '{' && !maps_unbrace(token, &pair))
		return fault_set(why, "4.3.5", "%.*s: braces do not match", SPAN_ARG(t->label));
	if (!span_cut(pair, '=', &name, &value) || span_trim(name).n == 0)
		return fault_set(why, "4.3.5", "%.*s: expected \"key = value\" instead of \"%.*s\"",
		    SPAN_ARG(t->label), SPAN_ARG(pair));
	if (!text_map_add(m, span_trim(name), span_trim(value), nth, !(t->flags & MAPS_NO_FOLD)))
		inline_replace(t, m, span_trim(name), span_trim(value));
	return true;
}

static bool
inline_open(struct table *t, struct fault *why)
{
	struct text_state *s = ARENA_NEW(t->a, struct text_state);
	struct span inner, token;
	unsigned nth = 0;
	bool ok = true;

	if (!maps_unbrace(t->name, &inner))
		return fault_set(why, "4.3.5", "%.*s: expected inline:{ key=value, ... }",
		    SPAN_ARG(t->label));
	s->map = text_map_new(size_add(size_mul(inner.n, 40), 1u << 20));
	t->state = s;
	while (ok && span_token_brace(&inner, ", \t\r\n", &token))
		ok = inline_entry(t, s->map, token, ++nth, why);
	if (ok && nth == 0)
		ok = fault_set(why, "4.3.5", "%.*s: an inline table needs an entry", SPAN_ARG(t->label));
	if (!ok)
		text_map_free(&s->map);
	return ok;
}

static enum map_result
inline_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct text_state *s = t->state;
	struct entry *e = text_map_get(s->map, q->key);

	(void)why;
	return e == NULL ? MAP_ABSENT : table_hit(t, q, e->value, span_str(NULL), e->line, hit);
}

const struct table_type table_inline = {
	"inline", false, true, inline_open, inline_find, NULL, text_close
};
