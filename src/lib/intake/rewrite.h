/*
 * Addresses made canonical: completed with our domain, mapped by the canonical tables,
 * masqueraded. Straight code over tables (maps/asks.h): MAP_WAIT means "run me again".
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/log.h"
#include "intake/conf.h"
#include "maps/map_result.h"

struct asks;

struct rewrite {
	const struct intake_conf *conf;
	struct asks *asks;
	struct arena *arena;
	const struct log *log;          /* where warnings go */
	struct fault *why;
	bool no_mappings;               /* receive_override_options=no_address_mappings: only the canonical form */
};

/*
 * Canonical form (route/rewrite.h). `origin` NULL: completed with $myorigin and $mydomain (local); else
 * with `origin` (remote_header_rewrite_domain).
 */
struct span rewrite_form(const struct params *p, const char *origin, struct span addr, struct arena *a);

/* The whole way of one address of class `class` (spec 3.1 to 3.3). FOUND with the result, DEFER or WAIT. */
enum map_result rewrite_address(const struct rewrite *r, enum intake_class class, const char *origin,
    struct span addr, struct span *new_r);

/*
 * One look into an address table with the canonical key order, the unmatched extension re-added when `propagate`,
 * "@domain" results completed with the local part. The addresses found, in canonical form, are handed out as an array.
 */
enum map_result rewrite_lookup(const struct rewrite *r, struct maps *maps, const char *name,
    struct span addr, bool propagate, struct span **list_r, size_t *count_r);

/* Our own domain for the keys "user": $myorigin or in mydestination. FOUND, ABSENT, DEFER, WAIT. */
enum map_result rewrite_domain_is_ours(const struct rewrite *r, struct span domain);

/* masquerade_domains and masquerade_exceptions applied to one address. */
enum map_result rewrite_masquerade(const struct rewrite *r, struct span addr, struct span *new_r);
