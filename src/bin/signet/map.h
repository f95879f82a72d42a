/* Parts of `signet map`: building, asking and listing tables. */
#pragma once

#include "base/fault.h"
#include "base/span.h"
#include "maps/maps.h"

struct cli;
struct conf;

struct map_options {
	bool aliases;           /* sources are in aliases(5) form (postalias, --aliases) */
	bool keep_case;         /* -f */
	bool quiet_duplicates;  /* -w */
	bool json;
};

struct map_command {
	const struct cli *cli;
	const struct conf *conf;
	struct map_options o;
	struct maps_env env;    /* reads lmdb: and unix: here */
	struct arena *a;
};

/* "TYPE:FILE" taken apart; a bare FILE is of default_database_type. False: no name. */
bool map_split(const struct map_command *m, struct span arg, struct span *type_r, struct span *name_r);
/* hash, btree, dbm, sdbm: kept as a cdb of our own. */
bool map_is_served(struct span type);
/* Is this source in aliases(5) form: by option, or because alias_maps or alias_database names it? */
bool map_is_alias(const struct map_command *m, struct span type, struct span name);

/* Each returns an exit status. */
int map_build(const struct map_command *m, struct span arg);
int map_query(const struct map_command *m, const char *key, char **args, int n);
int map_list(const struct map_command *m, struct span arg);

/* Sendmail's access database FILE to tables in `dir`, or to standard output when that is NULL. */
int map_from_sendmail(const struct cli *cli, const char *dir, const char *file);

/* A bar on standard error while a long source is read; draws nothing when that is no terminal. */
struct map_progress {
	const char *name;
	int percent;            /* last drawn, -1 = nothing yet */
	bool on;
};
void map_progress_start(struct map_progress *p, const char *name, size_t bytes);
void map_progress_at(void *ctx, size_t done, size_t all);
void map_progress_end(struct map_progress *p);
