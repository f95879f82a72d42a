/*
 * hash:, btree:, dbm: and sdbm: tables. Postfix reads the database file that postmap made; we
 * serve them from a cdb of our own in data_directory/maps, built from the source text by an
 * unprivileged child of master and built again when the source changes. /etc is never written.
 */
#pragma once

#include <time.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/span.h"

struct maps_env;

/* One table to keep built. Spans live in the arena of the list. */
struct served {
	struct span label;      /* "hash:/etc/aliases" */
	const char *source;     /* "/etc/aliases" */
	const char *cdb;        /* "DATA/maps/%2fetc%2faliases.aliases.cdb" */
	bool aliases;           /* the source is in aliases(5) form */
	int64_t tried_us;       /* served_due: when it was last tried, 0 = never */
	struct timespec tried_mtime;    /* and for which source */
	struct served *next;
};

/* The cdb that serves `source`. */
void served_path(struct buf *out, const char *data_directory, struct span source, bool aliases);
/* Is this "type:/path" named in env->alias_tables? */
bool served_is_alias(const struct maps_env *env, struct span label);

/*
 * The tables named anywhere in `text` (values of parameters, whole configuration): each "hash:/path"
 * and so on, also inside braces and behind proxy:, once. NULL when there is none.
 */
struct served *served_list(struct span text, const struct maps_env *env, struct arena *a);

enum served_state { SERVED_FRESH, SERVED_STALE, SERVED_NO_SOURCE };
/* Compares the time stamps of source and cdb: stale means served_build is due. */
enum served_state served_check(const struct served *s);

/*
 * Is building due now? Marks it as tried: what failed is due again when its source changes, or after
 * SERVED_RETRY_US.
 */
bool served_due(struct served *s, int64_t now_us);
#define SERVED_RETRY_US INT64_C(60000000)

/*
 * Build the cdb from `source_fd` (a descriptor, since the builder may not be able to open it) beside its
 * place and rename it over; it gets the source's modification time, which is how freshness is seen. Its mode
 * is 0600, or 0644 when everybody may read the source. Lines in error are logged with file:line and
 * skipped; a table opened with MAPS_STRICT then defers.
 * The folder data_directory/maps must exist.
 */
bool served_build(const struct served *s, int source_fd, struct fault *why);
