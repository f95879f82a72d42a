/*
 * Looking an address up by its Postfix key order (postconf "TABLE SEARCH ORDER"): the
 * one place that knows which parts are tried and which of them are partial keys.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct map_hit;
struct maps;

enum addrkey {
	ADDRKEY_FULL = 1,       /* user+ext@dom */
	ADDRKEY_NOEXT = 2,      /* user@dom */
	ADDRKEY_LOCAL = 4,      /* user+ext and user: only when the domain is ours (`local_domain`) */
	ADDRKEY_AT_DOMAIN = 8,  /* @dom */
	ADDRKEY_DOMAIN = 16,    /* dom */
	ADDRKEY_PARENTS = 32,   /* with DOMAIN: parents as "parent" */
	ADDRKEY_DOT_PARENTS = 64,       /* with DOMAIN: parents as ".parent" */
	ADDRKEY_LOCAL_AT = 128, /* user+ext@ and user@ */
	ADDRKEY_STAR = 256,     /* "*" */

	ADDRKEYS_CANONICAL = ADDRKEY_FULL | ADDRKEY_NOEXT | ADDRKEY_LOCAL | ADDRKEY_AT_DOMAIN,
	ADDRKEYS_VIRTUAL = ADDRKEYS_CANONICAL,
	ADDRKEYS_ACCESS = ADDRKEY_FULL | ADDRKEY_NOEXT | ADDRKEY_DOMAIN | ADDRKEY_LOCAL_AT,     /* plus the parents form */
};

struct addrkey_query {
	struct span addr;       /* internal (unquoted) form */
	unsigned keys;          /* ADDRKEY_ bits */
	const char *delimiter;  /* recipient_delimiter, empty = no extensions */
	bool local_domain;      /* the domain is $myorigin, in $mydestination or an interface: ADDRKEY_LOCAL applies */
};

/*
 * Tries the keys in order; stops at the first FOUND, DEFER or WAIT. `*extension_r` (may be NULL) is
 * the unmatched "+ext" including the delimiter when a key without it was found, else empty: what
 * propagate_unmatched_extensions would re-add. Lives in `a`.
 */
enum map_result addrkeys_find(const struct maps *m, const struct addrkey_query *q, struct asks *asks,
    struct arena *a, struct map_hit *hit_r, struct span *extension_r, struct fault *why);
