/* Tables without data: static (one answer for every key), environ, fail. */
#include <stdlib.h>

#include "maps/maps_private.h"

static bool
static_open(struct table *t, struct fault *why)
{
	(void)why;
	if (t->name.p[0] == '{') {
		if (!maps_unbrace(t->name, &t->name))
			return fault_set(why, "4.3.5", "%.*s: braces do not match", SPAN_ARG(t->label));
		if (t->name.n == 0)
			return fault_set(why, "4.3.5", "%.*s: there is no value", SPAN_ARG(t->label));
	}
	return true;
}

static enum map_result
static_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	(void)why;
	return table_hit(t, q, t->name, span_str(NULL), 0, hit);
}

const struct table_type table_static = {
	"static", false, false, static_open, static_find, NULL, NULL
};

static enum map_result
environ_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	const char *value = getenv(arena_cstr(q->a, q->key));

	(void)why;
	if (memchr(q->key.p, '\0', q->key.n) != NULL)
		return MAP_ABSENT;
	return value == NULL ? MAP_ABSENT : table_hit(t, q, span_str(value), span_str(NULL), 0, hit);
}

const struct table_type table_environ = {
	"environ", false, false, NULL, environ_find, NULL, NULL
};

static enum map_result
fail_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	(void)q;
	(void)hit;
	return table_defer(t, why, "this table always fails");
}

const struct table_type table_fail = { "fail", false, false, NULL, fail_find, NULL, NULL };
