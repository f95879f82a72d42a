/* What strlist and addrlist have in common: patterns left to right, tables, files, "!". */
#pragma once

#include "maps/maps_private.h"

enum matchlist_flag {
	MATCHLIST_NAMES = 1,    /* patterns are compared with a name */
	MATCHLIST_DOMAINS = 2,  /* names are domains: ".parent", parents in tables */
	MATCHLIST_PARENTS = 4,  /* "parent" matches its hosts */
	MATCHLIST_ADDRS = 8,    /* patterns may be addresses and networks */
};

struct matchlist;

/* What is looked for: either may be empty. */
struct match_query {
	struct span name, addr;
	struct asks *asks;
	struct arena *a;
};

bool matchlist_open(struct span spec, unsigned flags, const struct maps_env *env, struct matchlist **l_r,
    struct fault *why);
void matchlist_free(struct matchlist **l);
bool matchlist_empty(const struct matchlist *l);
enum map_result matchlist_find(struct matchlist *l, const struct match_query *q, struct map_hit *hit_r,
    struct fault *why);
