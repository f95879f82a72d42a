/* Tables that the lookup role reads for us. */
#include "maps/asks.h"
#include "maps/maps_private.h"

static enum map_result
remote_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct span value;
	enum map_result r = asks_map(q->asks, t->label, q->key, q->a, &value, why);

	return r == MAP_FOUND ? table_hit(t, q, value, span_str(NULL), 0, hit) : r;
}

static bool
unix_open(struct table *t, struct fault *why)
{
	if (span_eq(t->name, SPAN("passwd.byname")) || span_eq(t->name, SPAN("group.byname")))
		return true;
	return fault_set(why, "4.3.5", "%.*s: only passwd.byname and group.byname exist", SPAN_ARG(t->label));
}

const struct table_type table_remote_lmdb = { "lmdb", false, true, NULL, remote_find, NULL, NULL };
const struct table_type table_remote_unix = { "unix", false, true, unix_open, remote_find, NULL, NULL };
