/*
 * Lookup tables behind one interface: a compiled list such as
 * "hash:/etc/postfix/transport, inline:{ {a=b} }", asked in order; the first that
 * knows the key wins, the first that fails makes the answer MAP_DEFER.
 *
 * In process: inline, static, texthash, cidr, regexp, pcre, cdb, hash, btree, dbm,
 * sdbm (these four are served from a cdb that maps/served.h keeps built from the
 * source text), fail, environ, randmap, unionmap, pipemap. Through `asks`, answered by
 * the lookup role: lmdb, unix:passwd.byname, unix:group.byname. Everything else is
 * refused by name when opened. `proxy:` in front changes nothing. A table needs its type
 * (a bare "/path" is refused, as by Postfix).
 *
 * Files are looked at again at most once a second, when used. One that is missing,
 * unreadable or cut short defers until it is good again.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct maps;

#define MAPS_KEY_MAX 4096u      /* longer keys are in no table that keeps keys; patterns and static: see them */
#define MAPS_VALUE_MAX 131072u  /* a longer value is MAP_DEFER; size arenas accordingly */
#define MAPS_TEXT_MAX (256u << 20)      /* largest text source */

/* What tables need from their process. It and its strings must outlive what is opened with it. */
struct maps_env {
	const char *data_directory;             /* hash: and relatives are read from its folder maps/ */
	const char *default_database_type;      /* of names without type, for tools */
	const char *alias_tables;               /* "$alias_maps $alias_database": sources in aliases(5) form */
	int (*open)(void *ctx, const char *path);       /* a descriptor or -errno; NULL = open(2) */
	void *open_ctx;
	int64_t (*now_us)(void);                /* monotonic; NULL = clock_mono_us */
	bool direct;                            /* read lmdb: and unix: here (lookup role, command line) */
};

enum maps_flag {
	MAPS_STRICT = 1,        /* a line that cannot be understood makes the table MAP_DEFER (policy tables) */
	MAPS_NO_REGSUB = 2,     /* rules with $1 in their value are skipped with a warning (alias_maps, ...) */
	MAPS_NO_FOLD = 4,       /* keys keep their case (indexed types fold by default, patterns never) */
};

/* What was found. Spans live in the arena given to the lookup. */
struct map_hit {
	struct span value;
	struct span table;      /* "type:name" as written */
	struct span file;       /* source file, empty when the type knows none */
	unsigned line;          /* line in `file` (or rule number of an inline table), 0 = unknown */
};

/*
 * Compile `spec`. An empty one is fine and knows no key. False when it can never work:
 * unknown or refused type, bad syntax of an inline table; a missing file is not that.
 * The result has one reference, held by the caller.
 */
bool maps_open(struct span spec, unsigned flags, const struct maps_env *env, struct maps **maps_r,
    struct fault *why);
struct maps *maps_ref(struct maps *m);
void maps_unref(struct maps **m);
bool maps_empty(const struct maps *m);          /* no tables at all; true for NULL */

/*
 * Look `key` up. NULL `m` knows no key. Without `asks` (NULL) tables of the lookup role
 * are MAP_DEFER. `hit_r` and `why` may be NULL. MAP_DEFER fills `why` (DSN 4.3.0).
 */
enum map_result maps_find(const struct maps *m, struct span key, struct asks *asks, struct arena *a,
    struct map_hit *hit_r, struct fault *why);
/* The same for a key that was cut from a longer one (parent domain, @domain, network part): pattern
 * and network types (regexp, pcre, cidr, randmap) are passed over. */
enum map_result maps_find_partial(const struct maps *m, struct span key, struct asks *asks, struct arena *a,
    struct map_hit *hit_r, struct fault *why);

/* Load everything now: false with the first complaint (for `signet check` and start-up). */
bool maps_check(const struct maps *m, struct fault *why);
