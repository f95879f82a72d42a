/* What the table types share; nothing outside lib/maps (and its tests) includes this. */
#pragma once

#include <sys/stat.h>

#include "base/buf.h"
#include "maps/maps.h"

struct table;

/* One question to one table. */
struct lookup {
	struct span key;
	struct asks *asks;
	struct arena *a;        /* where answers go */
	bool partial;
};

struct table_type {
	const char *name;
	bool pattern;           /* whole keys only */
	bool fold;              /* keys are lower-cased unless MAPS_NO_FOLD */
	bool (*open)(struct table *t, struct fault *why);
	enum map_result (*find)(struct table *t, const struct lookup *q, struct map_hit *hit,
	    struct fault *why);
	bool (*check)(struct table *t, struct fault *why);      /* load now; NULL = nothing to load */
	void (*close)(struct table *t);                         /* NULL = nothing to free */
};

struct table {
	const struct table_type *type;
	struct span label;      /* "type:name", without proxy: */
	struct span name;       /* behind the colon */
	unsigned flags, depth;
	const struct maps_env *env;
	struct arena *a;        /* lives as long as the table */
	void *state;            /* the type's own */
};

/* The types, by file. */
extern const struct table_type table_inline, table_static, table_environ, table_fail;
extern const struct table_type table_randmap, table_unionmap, table_pipemap;
extern const struct table_type table_texthash;
extern const struct table_type table_cidr, table_regexp, table_pcre;
extern const struct table_type table_cdb, table_hash, table_btree, table_dbm, table_sdbm;
extern const struct table_type table_remote_lmdb, table_remote_unix;
extern const struct table_type table_lmdb, table_unix;

bool table_open(struct span spec, unsigned flags, const struct maps_env *env, unsigned depth,
    struct table **table_r, struct fault *why);
void table_close(struct table **t);
/* Folds the key as the type wants, passes over pattern types for partial keys. */
enum map_result table_find(struct table *t, const struct lookup *q, struct map_hit *hit,
    struct fault *why);
bool table_check(struct table *t, struct fault *why);

/* Fill `hit` with copies in the lookup's arena. */
enum map_result table_hit(const struct table *t, const struct lookup *q, struct span value,
    struct span file, unsigned line, struct map_hit *hit);
/* DSN 4.3.0, "LABEL: text". Always MAP_DEFER. */
enum map_result table_defer(const struct table *t, struct fault *why, const char *text);

/* "{ ... }" without its braces and the blanks inside; false when `s` is no such thing. */
bool maps_unbrace(struct span s, struct span *inner_r);
int64_t maps_now_us(const struct maps_env *env);

#define MAPS_LOGGED 20u         /* lines in error that are logged for one reading of a file */

/* A file that is looked at again at most once a second. */
struct watch {
	const char *path;
	int64_t checked_us;     /* 0 = never */
	struct stat st;
	bool known;             /* `st` is what we loaded */
	const char *missing, *source;   /* of watch_trouble() and watch_say_older(), made once */
};

enum watch_state { WATCH_SAME, WATCH_CHANGED, WATCH_GONE };

/* Is a look due? Then stat: CHANGED when it is not what was last reported; GONE fills `errno_r` (negative). */
enum watch_state watch_poll(struct watch *w, const struct maps_env *env, int *errno_r);

/*
 * Open for reading as the environment wants it; regular files (and /dev/null) only. Descriptor or -errno. What was
 * really opened is noted in `w`: a descriptor handed to us may be older than what stands at the path by now.
 */
int watch_open(struct watch *w, const struct maps_env *env);
/* Words for a built file that cannot be opened (negative errno), with what to do; in the table's memory. */
const char *watch_trouble(const struct table *t, struct watch *w, int error);
/* A warning when the source text that stands beside a built file was changed after it. */
void watch_say_older(const struct table *t, struct watch *w);
/* The same, into `b`; 0 or -errno. */
int watch_read(struct watch *w, const struct maps_env *env, struct buf *b);

/*
 * A table compiled from a text file: (re)loaded when the file changes. `load` makes new content from
 * the text; it logs a warning for each line it skips and counts it in `*bad_r` (first one in `why`).
 */
struct textfile {
	struct watch w;
	bool loaded, broken;
	struct fault why;       /* when broken */
};

typedef void textfile_load_fn(struct table *t, struct span text, unsigned *bad_r, struct fault *why);

void textfile_init(struct textfile *f, const char *path);
/* True when the content may be used; else `why` says what is wrong. */
bool textfile_ready(struct textfile *f, struct table *t, textfile_load_fn *load, struct fault *why);
