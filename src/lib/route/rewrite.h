/*
 * The canonical form of an address (the first step of rewriting): source routes off,
 * site!user and user%site turned, missing domain parts added, final dot off.
 */
#pragma once

#include "base/arena.h"
#include "base/span.h"

struct params;

/*
 * `addr` and the result are in internal form; the result lives in `a` or is `addr`. `origin` and `domain`
 * are what is appended to addresses without domain and to domains without dot ($myorigin and $mydomain
 * for mail of our own; remote_header_rewrite_domain and "" for headers of remote mail); empty = nothing.
 */
struct span route_rewrite(const struct params *p, struct span origin, struct span domain,
    struct span addr, struct arena *a);
/* The same with $myorigin and $mydomain. */
struct span route_rewrite_local(const struct params *p, struct span addr, struct arena *a);
