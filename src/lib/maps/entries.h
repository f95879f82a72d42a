/* The entries of tables as they are written, for those who check every value before it is needed. */
#pragma once

#include "base/span.h"
#include "maps/maps.h"

struct maps_entry {
	struct span key;        /* as written; a pattern in pcre, regexp and cidr tables */
	struct span value;
	const char *file;       /* NULL = the table is written in the parameter */
	unsigned line;
	bool is_rule;           /* of a pcre or regexp table: the value may have $1 */
	bool is_pattern;        /* the key stands for more than itself: a rule, a network of a cidr table, a static table's */
};

typedef void maps_entry_fn(void *ctx, const struct maps_entry *e);

/*
 * Call `fn` for every entry of the tables in `spec` whose text can be read here: inline, static, texthash, cidr, regexp, pcre, and
 * the source of indexed files where it stands beside them. Lines that cannot be understood are passed over: who opens the table
 * says so.
 */
void maps_entries(struct span spec, maps_entry_fn *fn, void *ctx);
