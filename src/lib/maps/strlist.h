/*
 * Lists of names as main.cf writes them (mydestination, relay_domains, ...): words
 * separated by commas and blanks; "type:table", "/file/name" (a file of such words),
 * "!pattern". Matched left to right, the first that matches decides; `!` makes that
 * "no". Case does not count.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct map_hit;
struct maps_env;
struct strlist;

enum strlist_flag {
	STRLIST_DOMAIN = 1,     /* names are domains: ".example.com" is every host below it, tables are asked parents too */
	STRLIST_PARENTS = 2,    /* with DOMAIN: "example.com" is also its hosts (parent_domain_matches_subdomains) */
};

/* Compile. False (with the word at fault) for what can never match; an empty list matches nothing. */
bool strlist_open(struct span spec, unsigned flags, const struct maps_env *env, struct strlist **list_r,
    struct fault *why);
void strlist_free(struct strlist **l);
bool strlist_empty(const struct strlist *l);    /* true for NULL */

/*
 * Is `name` in the list? FOUND, ABSENT, or DEFER / WAIT when a table before the first match could not
 * say. `hit_r` (may be NULL): which pattern (as `table`) and, for a table, its value, file and line.
 */
enum map_result strlist_find(struct strlist *l, struct span name, struct asks *asks, struct arena *a,
    struct map_hit *hit_r, struct fault *why);
