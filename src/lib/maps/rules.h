/*
 * Ordered tables of rules (cidr, regexp, pcre): lines of "PATTERN value" and "!PATTERN value",
 * grouped by "if PATTERN" ... "endif"; the first rule that matches gives the value, with $1,
 * ${1}, $(1) from the match. This file knows the lines; a `struct rules_type` knows one kind of
 * pattern.
 */
#pragma once

#include "maps/maps_private.h"

#define RULES_GROUPS 100u       /* highest $number */

/* What a pattern matched: groups[0] is the whole, unset groups are empty. */
struct rules_match {
	struct span groups[RULES_GROUPS];
	size_t n;
	bool apart;                     /* the key is of another kind than the pattern: not even its negation is true */
};

struct rules_type {
	bool substitutes;               /* values have $1 */
	bool empty_value;               /* a rule without a value is kept (regexp, pcre) */
	/*
	 * Compile the pattern at the start of `*rest` and step over it (flags included). `*groups_r` is how
	 * many groups it has. NULL with `why` when it is none. The pattern lives until `release`.
	 */
	void *(*compile)(struct arena *a, struct span *rest, unsigned *groups_r, struct fault *why);
	/* FOUND, ABSENT or DEFER with a reason (limits). */
	enum map_result (*match)(void *pattern, struct span key, const void *parsed,
	    struct rules_match *groups_r, struct fault *why);
	/* Once for each key, before the rules: what `match` gets as `parsed`. NULL when no rule can match it. NULL = key itself. */
	const void *(*parse_key)(struct arena *a, struct span key);
	void (*release)(void *pattern);
};

bool rules_open(struct table *t, const struct rules_type *type, struct fault *why);
enum map_result rules_find(struct table *t, const struct lookup *q, struct map_hit *hit,
    struct fault *why);
bool rules_check(struct table *t, struct fault *why);
void rules_close(struct table *t);

/* "/pattern/flags": the pattern between delimiters; `*rest` is left at the flags. */
bool rules_delimited(struct span *rest, struct span *pattern_r, struct fault *why);
/* The flags up to white space. */
struct span rules_flags(struct span *rest);
