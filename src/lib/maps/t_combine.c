/* Tables of tables: unionmap (all answers, by commas), pipemap (one feeds the next), randmap (one of several). */
#include <stdlib.h>

#include "base/panic.h"
#include "base/rand.h"
#include "maps/maps_private.h"

struct parts {
	size_t n;
	struct table **tables;          /* union, pipe */
	struct span *values;            /* random */
};

static size_t
count_parts(struct span inner)
{
	struct span token;
	size_t n = 0;

	while (span_token_brace(&inner, ", \t\r\n", &token))
		n++;
	return n;
}

/* Splits "{a, b}" and makes room; false when there is nothing in it. */
static bool
open_parts(struct table *t, struct span *inner_r, struct parts **p_r, struct fault *why)
{
	struct parts *p = ARENA_NEW(t->a, struct parts);
	size_t n;

	if (!maps_unbrace(t->name, inner_r) || (n = count_parts(*inner_r)) == 0)
		return fault_set(why, "4.3.5", "%.*s: expected \"%s:{ one, two, ... }\"",
		    SPAN_ARG(t->label), t->type->name);
	p->tables = ARENA_ARRAY(t->a, struct table *, n);
	p->values = ARENA_ARRAY(t->a, struct span, n);
	t->state = *p_r = p;
	return true;
}

static void
tables_close(struct table *t)
{
	struct parts *p = t->state;

	for (size_t i = 0; p != NULL && i < p->n; i++)
		table_close(&p->tables[i]);
}

static bool
tables_open(struct table *t, struct fault *why)
{
	struct span inner, token;
	struct parts *p = NULL;

	if (!open_parts(t, &inner, &p, why))
		return false;
	while (span_token_brace(&inner, ", \t\r\n", &token)) {
		if (!table_open(token, t->flags, t->env, t->depth + 1, &p->tables[p->n], why)) {
			fault_prefix(why, "%s", t->type->name);
			tables_close(t);
			return false;
		}
		p->n++;
	}
	return true;
}

static bool
tables_check(struct table *t, struct fault *why)
{
	struct parts *p = t->state;

	for (size_t i = 0; i < p->n; i++)
		if (!table_check(p->tables[i], why))
			return false;
	return true;
}

/* Every table is asked before a WAIT is passed on, so that all questions leave together. */
static enum map_result
union_collect(struct parts *p, const struct lookup *q, struct buf *all, struct fault *why)
{
	struct map_hit hit;
	bool wait = false;

	for (size_t i = 0; i < p->n; i++) {
		switch (table_find(p->tables[i], q, &hit, why)) {
		case MAP_FOUND:
			if (all->n > 0)
				buf_addc(all, ',');
			buf_add_span(all, hit.value);
			break;
		case MAP_ABSENT:
			break;
		case MAP_DEFER:
			return MAP_DEFER;
		case MAP_WAIT:
			wait = true;
			break;
		}
	}
	return wait ? MAP_WAIT : all->n > 0 || all->full ? MAP_FOUND : MAP_ABSENT;
}

static enum map_result
union_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	enum map_result r;
	struct buf all;

	buf_init(&all, MAPS_VALUE_MAX);
	r = union_collect(t->state, q, &all, why);
	if (r == MAP_FOUND)
		r = all.full ? table_defer(t, why, "the answers together are too long") :
		    table_hit(t, q, buf_span(&all), span_str(NULL), 0, hit);
	buf_release(&all);
	return r;
}

const struct table_type table_unionmap = {
	"unionmap", false, false, tables_open, union_find, tables_check, tables_close
};

static enum map_result
pipe_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct parts *p = t->state;
	struct lookup step = *q;

	for (size_t i = 0; i < p->n; i++) {
		enum map_result r;

		r = table_find(p->tables[i], &step, hit, why);
		if (r != MAP_FOUND)
			return r;
		step.key = hit->value;
		step.partial = false;   /* an answer is a whole key */
	}
	return table_hit(t, q, step.key, hit->file, hit->line, hit);
}

const struct table_type table_pipemap = {
	"pipemap", false, false, tables_open, pipe_find, tables_check, tables_close
};

static bool
randmap_open(struct table *t, struct fault *why)
{
	struct span inner, token;
	struct parts *p = NULL;

	if (!open_parts(t, &inner, &p, why))
		return false;
	while (span_token_brace(&inner, ", \t\r\n", &token))
		p->values[p->n++] = token;      /* with its braces, as Postfix does */
	return true;
}

static enum map_result
randmap_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct parts *p = t->state;

	(void)why;
	return table_hit(t, q, p->values[rand_below((uint32_t)p->n)], span_str(NULL), 0, hit);
}

const struct table_type table_randmap = {
	"randmap", true, false, randmap_open, randmap_find, NULL, NULL
};
