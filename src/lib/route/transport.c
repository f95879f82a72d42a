/* transport_maps, and the default key order of address tables. */
#include "route/route_private.h"

enum map_result
route_find_address(const struct route_work *w, const struct maps *m, struct span addr,
    struct map_hit *hit_r)
{
	struct addrkey_query q = {
		.addr = addr, .keys = ADDRKEYS_CANONICAL, .delimiter = w->route->p->recipient_delimiter,
	};
	enum map_result local;

	*hit_r = (struct map_hit){ 0 };
	if (maps_empty(m))
		return MAP_ABSENT;
	local = route_address_is_local(w->route, addr, w->asks, w->a, w->why);
	if (local == MAP_DEFER || local == MAP_WAIT)
		return local;
	q.local_domain = local == MAP_FOUND;
	return addrkeys_find(m, &q, w->asks, w->a, hit_r, NULL, w->why);
}

void
route_split_transport(struct span value, struct span *transport_r, struct span *nexthop_r)
{
	span_cut(span_trim(value), ':', transport_r, nexthop_r);
	*transport_r = span_trim(*transport_r);
	*nexthop_r = span_trim(*nexthop_r);
}

static void
apply(struct span value, struct route_answer *r)
{
	struct span transport, nexthop;

	route_split_transport(value, &transport, &nexthop);
	if (transport.n > 0)
		r->transport = transport;
	if (nexthop.n > 0)
		r->nexthop = nexthop;
	else if (span_eq(transport, SPAN("error")) || span_eq(transport, SPAN("retry")))
		r->nexthop = SPAN("Address is undeliverable");
	else if (transport.n > 0)
		r->nexthop = r->domain; /* ":" alone changes nothing */
}

enum map_result
route_transport_maps(const struct route_work *w, const struct route_set *set, struct route_answer *r)
{
	struct addrkey_query q = {
		.addr = r->rcpt,
		.keys = ADDRKEY_FULL | ADDRKEY_NOEXT | ADDRKEY_DOMAIN | ADDRKEY_STAR |
		    (w->route->transport_parents ? ADDRKEY_PARENTS : ADDRKEY_DOT_PARENTS),
		.delimiter = w->route->p->recipient_delimiter,
	};
	struct map_hit hit;
	enum map_result found = addrkeys_find(set->transport_maps, &q, w->asks, w->a, &hit, NULL, w->why);

	if (found != MAP_FOUND)
		return found;
	apply(hit.value, r);
	r->source = arena_printf(w->a, "transport_maps %.*s", SPAN_ARG(hit.table));
	return MAP_FOUND;
}
