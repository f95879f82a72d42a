/* Making addresses canonical. */
#include "intake/rewrite.h"

#include "conf/params.h"
#include "log/lines_cleanup.h"
#include "mail/address.h"
#include "mail/header.h"
#include "maps/addrkeys.h"
#include "maps/maps.h"
#include "maps/strlist.h"
#include "route/rewrite.h"
#include "route/route.h"

/* A canonical table that has not come to rest after so many steps never will. */
#define CANONICAL_STEPS 1000

struct span
rewrite_form(const struct params *p, const char *origin, struct span addr, struct arena *a)
{
	if (origin == NULL)
		return route_rewrite_local(p, addr, a);
	return route_rewrite(p, span_str(origin), span_str(origin), addr, a);
}

/* --- tables --- */

enum map_result
rewrite_domain_is_ours(const struct rewrite *r, struct span domain)
{
	if (domain.n == 0 || span_eq_ci(domain, span_str(r->conf->p->myorigin)))
		return MAP_FOUND;
	if (r->conf->route != NULL)
		return route_domain_is_local(r->conf->route, domain, r->asks, r->arena, r->why);
	return strlist_find(r->conf->mydestination, domain, r->asks, r->arena, NULL, r->why);
}

/* Addresses of a table's value, gathered. */
struct gathering {
	const struct rewrite *r;
	struct span key;                /* the address looked up */
	struct span extension;          /* "+ext" to put into each result, or empty */
	struct span *list;
	size_t count, cap;
};

/* "@other" as a result keeps the local part of what was looked up. */
static struct span
keep_local(struct gathering *g, struct span addr)
{
	struct span local, domain;

	if (addr.n < 2 || addr.p[0] != '@' || !address_split(g->key, &local, &domain))
		return addr;
	return arena_printf(g->r->arena, "%.*s%.*s", SPAN_ARG(local), SPAN_ARG(addr));
}

static struct span
add_extension(struct gathering *g, struct span addr)
{
	struct span local, domain;
	bool at = address_split(addr, &local, &domain);

	if (g->extension.n == 0)
		return addr;
	return arena_printf(g->r->arena, "%.*s%.*s%s%.*s", SPAN_ARG(local), SPAN_ARG(g->extension),
	    at ? "@" : "", SPAN_ARG(domain));
}

static void
gather(void *ctx, struct span addr)
{
	struct gathering *g = ctx;
	struct arena *a = g->r->arena;

	if (g->count == g->cap) {
		size_t cap = g->cap == 0 ? 4 : g->cap * 2;
		struct span *list = ARENA_ARRAY(a, struct span, cap);

		if (g->count > 0)
			memcpy(list, g->list, g->count * sizeof(*list));
		g->list = list;
		g->cap = cap;
	}
	addr = addr.n > 1 && addr.p[0] == '@' ? keep_local(g, addr) : add_extension(g, addr);
	g->list[g->count++] = rewrite_form(g->r->conf->p, NULL, addr, a);
}

enum map_result
rewrite_lookup(const struct rewrite *r, struct maps *maps, const char *name, struct span addr,
    bool propagate, struct span **list_r, size_t *count_r)
{
	struct addrkey_query q = { .addr = addr, .keys = ADDRKEYS_CANONICAL,
		.delimiter = r->conf->p->recipient_delimiter };
	struct gathering g = { .r = r, .key = addr };
	struct span local, domain, ext = SPAN("");
	struct map_hit hit = { 0 };
	enum map_result res;

	if (maps_empty(maps))
		return MAP_ABSENT;
	address_split(addr, &local, &domain);
	res = rewrite_domain_is_ours(r, domain);
	if (res == MAP_DEFER || res == MAP_WAIT)
		return res;
	q.local_domain = res == MAP_FOUND;
	res = addrkeys_find(maps, &q, r->asks, r->arena, &hit, &ext, r->why);
	if (res == MAP_DEFER)
		log_cleanup_warning(r->log, "%s map lookup problem for %.*s -- message not accepted, try again later",
		    name, SPAN_ARG(log_esc(addr)));
	if (res != MAP_FOUND)
		return res;
	if (propagate)
		g.extension = ext;
	header_each_address(hit.value, SIZE_MAX, gather, &g, r->arena);
	if (g.count == 0) {
		log_cleanup_warning(r->log, "%s: no address in the result for %.*s -- message not accepted, "
		    "try again later", name, SPAN_ARG(log_esc(addr)));
		fault_set(r->why, "4.3.5", "%s: no address in the result for %.*s", name, SPAN_ARG(addr));
		return MAP_DEFER;
	}
	*list_r = g.list;
	*count_r = g.count;
	return MAP_FOUND;
}

/* One canonical table, again and again until it changes nothing. */
static enum map_result
map_to_rest(const struct rewrite *r, struct maps *maps, const char *name, struct span *addr)
{
	bool propagate = r->conf->propagate & INTAKE_PROPAGATE_CANONICAL;
	struct span first = *addr;

	for (unsigned i = 0; i < CANONICAL_STEPS; i++) {
		struct span *list = NULL;
		size_t count = 0;
		enum map_result res = rewrite_lookup(r, maps, name, *addr, propagate, &list, &count);

		if (res == MAP_ABSENT)
			return MAP_FOUND;
		if (res != MAP_FOUND)
			return res;
		if (count > 1)
			log_cleanup_warning(r->log, "multi-valued %s entry for %.*s", name, SPAN_ARG(log_esc(*addr)));
		if (address_same(list[0], *addr))
			return MAP_FOUND;
		if (list[0].n > ADDRESS_MAX)
			break;
		*addr = list[0];
	}
	log_cleanup_warning(r->log, "unreasonable %s map nesting for %.*s -- message not accepted, try again later",
	    name, SPAN_ARG(log_esc(first)));
	fault_set(r->why, "4.6.0", "Alias expansion error");
	return MAP_DEFER;
}

/* --- masquerading --- */

/* "example.com" masks "host.example.com". */
static bool
is_below(struct span domain, struct span parent)
{
	return domain.n > parent.n + 1 && domain.p[domain.n - parent.n - 1] == '.' &&
	    span_ends_ci(domain, parent);
}

enum map_result
rewrite_masquerade(const struct rewrite *r, struct span addr, struct span *new_r)
{
	struct span rest = span_str(r->conf->p->masquerade_domains), word, local, domain;

	*new_r = addr;
	if (rest.n == 0 || !address_split(addr, &local, &domain))
		return MAP_FOUND;
	if (!strlist_empty(r->conf->masquerade_exceptions)) {
		enum map_result res = strlist_find(r->conf->masquerade_exceptions, local, r->asks, r->arena,
		    NULL, r->why);

		if (res != MAP_ABSENT)
			return res;
	}
	while (span_token(&rest, ", \t\r\n", &word)) {
		bool not = word.p[0] == '!';
		struct span parent = span_from(word, not ? 1 : 0);

		if (span_eq_ci(domain, parent))
			return MAP_FOUND;
		if (!is_below(domain, parent))
			continue;
		if (!not)
			*new_r = arena_printf(r->arena, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(parent));
		return MAP_FOUND;
	}
	return MAP_FOUND;
}

static enum map_result
map_canonical(const struct rewrite *r, enum intake_class class, struct span *addr)
{
	bool sender = class == INTAKE_ENVELOPE_SENDER || class == INTAKE_HEADER_SENDER;
	const struct intake_conf *c = r->conf;
	unsigned own = sender ? c->sender_canonical_classes : c->recipient_canonical_classes;
	enum map_result res = MAP_FOUND;

	if (own & class)
		res = sender ? map_to_rest(r, c->sender_canonical_maps, "sender_canonical_maps", addr) :
		    map_to_rest(r, c->recipient_canonical_maps, "recipient_canonical_maps", addr);
	if (res == MAP_FOUND && (c->canonical_classes & class))
		res = map_to_rest(r, c->canonical_maps, "canonical_maps", addr);
	return res;
}

enum map_result
rewrite_address(const struct rewrite *r, enum intake_class class, const char *origin, struct span addr,
    struct span *new_r)
{
	enum map_result res;

	*new_r = rewrite_form(r->conf->p, origin, addr, r->arena);
	if (r->no_mappings || new_r->n == 0)
		return MAP_FOUND;
	res = map_canonical(r, class, new_r);
	if (res == MAP_FOUND && (r->conf->masquerade_classes & class))
		res = rewrite_masquerade(r, *new_r, new_r);
	return res;
}
