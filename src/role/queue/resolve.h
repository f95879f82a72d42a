/* The role's use of lib/route: tables of the current configuration, one answer per recipient. */
#pragma once

#include "mail/envelope.h"
#include "maps/map_result.h"

struct asks;
struct resolve;
struct role;

struct resolved {
	struct span transport, nexthop;
	struct span rcpt;               /* normalised */
	bool discard;                   /* our own double-bounce address: nobody reads that */
};

/* Before the sandbox closes (names in inet_interfaces are resolved). NULL with `why`. */
struct resolve *resolve_new(struct role *r, struct fault *why);
void resolve_free(struct resolve **r);
/* FOUND, DEFER with `why`, or WAIT. Results live in `a`, or as long as `r`. */
enum map_result resolve_rcpt(struct resolve *r, const struct envelope *env, struct span addr, struct asks *asks,
    struct arena *a, struct resolved *r_r, struct fault *why);
