/* What the files of lib/route share. */
#pragma once

#include "base/hmap.h"
#include "conf/params.h"
#include "maps/addrkeys.h"
#include "maps/cidr.h"
#include "maps/maps.h"
#include "maps/strlist.h"
#include "route/route.h"

/* Transports and relays: once for mail, once for probes (address_verify_*). */
struct route_set {
	const char *local_transport, *virtual_transport, *relay_transport, *default_transport, *relayhost;
	struct maps *transport_maps, *sender_default, *sender_relayhost;
};

struct route {
	const struct params *p;
	const struct maps_env *env;
	struct strlist *mydestination, *virtual_alias_domains, *virtual_mailbox_domains, *relay_domains;
	struct route_set mail, probe;
	struct maps *relocated_maps;
	/* ROUTE_RECIPIENTS */
	struct maps *canonical_maps, *sender_canonical_maps, *recipient_canonical_maps, *virtual_alias_maps;
	struct maps *local_recipient_maps, *virtual_mailbox_maps, *relay_recipient_maps;
	bool transport_parents;         /* transport_maps in parent_domain_matches_subdomains */
	struct cidr *own;               /* addresses of ours */
	size_t n_own;
	struct arena *a;
	struct hmap warned;             /* pairs of lists and domain already complained about */
};

/* One resolution: what all its steps need. */
struct route_work {
	const struct route *route;
	struct asks *asks;
	struct arena *a;
	struct fault *why;
};

bool route_own_addresses(struct route *r, struct fault *why);

/* An address table with Postfix's default key order (full, no extension, local part, @domain). */
enum map_result route_find_address(const struct route_work *w, const struct maps *m, struct span addr,
    struct map_hit *hit_r);

/* Replace transport and nexthop of `r` by what transport_maps says. FOUND (something applied) or not. */
enum map_result route_transport_maps(const struct route_work *w, const struct route_set *set,
    struct route_answer *r);
/* "transport:nexthop" taken apart; either may be empty. */
void route_split_transport(struct span value, struct span *transport_r, struct span *nexthop_r);

/* "Do not list a domain in BOTH": once for each. */
void route_warn_twice(struct route *r, struct span domain, const char *one, const char *two);
