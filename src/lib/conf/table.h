/* What Signet knows about each parameter (table/params.tab), as constant rows sorted by name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum param_type {
	PARAM_BOOL,
	PARAM_INT,
	PARAM_TIME,
	PARAM_SIZE,
	PARAM_STRING,
	PARAM_LIST,
	PARAM_MAP_LIST,
	PARAM_PATH,
	PARAM_ENUM,
	PARAM_RESTRICTION,
};

/* Does it work, and what would it cost to skip it silently? */
enum param_state { PARAM_WORKS, PARAM_PARTIAL, PARAM_NOT_YET, PARAM_OBSOLETE };
enum param_risk { PARAM_PROTECTS, PARAM_DELIVERS, PARAM_COSMETIC };

#define PARAM_NO_MEMBER SIZE_MAX

struct param_row {
	const char *name;       /* a pattern holds one '*' */
	const char *def;        /* default, main.cf syntax, not expanded */
	const char *words;      /* "a|b|c?": allowed values or list words, '?' = does not work yet; "" = anything */
	const char *roles, *since, *text;
	const char *mirror;     /* lmtp_ rows: the smtp_ name whose member they fill; else NULL */
	int64_t min, max;       /* numbers; times in seconds */
	size_t offset;          /* in struct params */
	enum param_type type;
	enum param_state state;
	enum param_risk risk;
	char unit;              /* of a time without suffix: s m h d w */
	bool computed;          /* default found out at start (host name, networks) */
	bool pattern;
	bool raw;               /* its $names belong to who uses the value, not to main.cf */
};

extern const struct param_row param_rows[];
extern const size_t param_count;

/* The row of this exact name, or NULL. */
const struct param_row *param_find(const char *name);
/* The pattern row that covers `name` ("relay_destination_rate_delay"), or NULL. */
const struct param_row *param_find_pattern(const char *name);
/* The known name nearest to `name` by edit distance, or NULL when nothing is near. */
const char *param_nearest(const char *name);
