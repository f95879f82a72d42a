/* What the files of lib/conf share: definitions as read, sets of evaluated values, limits. */
#pragma once

#include "base/arena.h"
#include "base/hmap.h"
#include "conf/conf.h"
#include "conf/expand.h"
#include "conf/table.h"

#define CONF_FILE_MAX (4U << 20)        /* bytes of main.cf or master.cf */
#define CONF_VALUE_MAX (1U << 20)       /* bytes of one expanded value */
#define CONF_SET_MAX (16U << 20)        /* bytes of all values of one set */
#define CONF_TOTAL_MAX (64U << 20)      /* bytes of all sets */
#define CONF_ARENA_MAX ((size_t)1 << 30)
#define CONF_DEPTH_MAX 100u             /* nesting of $references and ${...} */
#define CONF_SERVICES_MAX 4096u

/* ---- logical lines (lines.c) */

struct conf_lines {
	struct span rest;
	unsigned next;          /* number of the next physical line */
};

void conf_lines_init(struct conf_lines *l, struct span text);
/* Next logical line, continuations joined, comments left out; false at the end. */
bool conf_lines_next(struct conf_lines *l, struct buf *line, unsigned *number_r);

/* ---- definitions */

/* One `name = value` of main.cf, or one -o of a service. */
struct conf_def {
	struct hmap_node node;
	const char *name, *raw;
	const char *file;
	unsigned line;
	bool used;              /* some value refers to it */
};

struct conf_defs {
	struct hmap map;
	struct conf_def **list; /* in the order of the file */
	size_t count, cap;
};

struct conf_def *conf_defs_find(const struct conf_defs *d, const char *name);
/* Add or replace; the definition it replaces is returned (overwritten in place) through `old_line_r`, 0 = none. */
struct conf_def *conf_defs_put(struct conf_defs *d, struct arena *a, struct span name, struct span raw,
    const char *file, unsigned line, unsigned *old_line_r);
void conf_defs_release(struct conf_defs *d);

/* A service while loading. */
struct conf_entry {
	struct conf_service s;
	struct conf_defs over;  /* its -o */
};

/* What the machine says about itself. */
struct conf_host {
	const char *name;               /* gethostname() */
	struct conf_net *nets;
	size_t net_count;
	bool files;                     /* may values name files (myorigin = /etc/mailname)? */
};

struct conf_net {
	unsigned char addr[16];
	bool v6;
	unsigned prefix;
};

/* Everything known while loading. */
struct conf_loading {
	struct conf *c;
	struct arena *a;                /* = c->arena */
	struct conf_report *report;
	struct conf_host host;
	struct conf_defs main;
	struct conf_entry *entries;
	size_t entry_count, entry_cap;
	const char *main_file, *master_file;
	const struct conf_override *with;       /* definitions of whoever loads */
	size_t with_count;
	size_t total;                   /* bytes of evaluated values so far */
	bool names_service;             /* some value refers to $service_name or $process_name */
	struct conf_set *base;          /* main.cf alone */
};

void conf_read_main(struct conf_loading *l, struct span text);
void conf_read_master(struct conf_loading *l, struct span text);
void conf_host_init(struct conf_host *h, struct arena *a);
void conf_host_test(struct conf_host *h, struct arena *a);
/* Values of (computed) defaults; `domain` is that of mydomain as set, or NULL. */
const char *conf_host_myhostname(const struct conf_host *h, struct arena *a, const char *domain);
const char *conf_host_mydomain(struct arena *a, const char *myhostname);
const char *conf_host_networks(const struct conf_host *h, struct arena *a, const char *style,
    const char *interfaces, const char *protocols);


/* ---- values (value.c) */

/* Numbers in the form of the row's type; false and words in `why` when `value` is not one. */
bool conf_value_bool(const char *value, bool *v_r);
bool conf_value_int(const char *value, int64_t *v_r);
bool conf_value_time(const char *value, char unit, int64_t *seconds_r);
/*
 * Is `value` right for the row? `canonical_r` is what to store (words of an enum in the
 * table's spelling). `not_yet_r` (may be NULL) names a word that is known and does not work.
 */
bool conf_value_check(const struct param_row *row, const char *value, const char **canonical_r,
    const char **not_yet_r, struct arena *a, struct fault *why);
/* Store a checked value in its member. */
void conf_value_store(const struct param_row *row, const char *value, struct params *p);

/* ---- sets (set.c) */

enum conf_value_phase { VALUE_NEW, VALUE_BUSY, VALUE_DONE, VALUE_BAD };

/* A name whose value some other value uses. */
struct conf_ref {
	struct conf_ref *next;
	const char *name;
};

struct conf_value {
	struct hmap_node node;
	struct conf_value *next;                /* in the set, in order */
	const char *name;
	const char *value;                      /* NULL: undefined, or it cannot be had */
	const struct conf_def *def;             /* where it was set; NULL = default */
	const struct conf_def *origin;          /* def, or the definition that its default refers to */
	const struct param_row *row;            /* NULL = a name of the administrator's own */
	struct conf_ref *refs;
	enum conf_value_phase phase;
	bool is_default;                        /* not set, or set to what the default gives */
	bool given;                             /* read from canonical text: it is set */
};

/*
 * All values as one service sees them, shared by services with the same overrides. The
 * first set is main.cf alone; the others hold only what their overrides change.
 */
struct conf_set {
	struct conf_set *next;
	const struct conf_set *base;            /* NULL for the first */
	unsigned id;
	struct hmap values;
	struct conf_value *first, *last;
	const char *key;                        /* text of the overrides it stands for */
	struct params *params, *params_lmtp;    /* NULL until somebody needs them */
};

/* In this set alone / in it or its base. NULL when the name never came up. */
struct conf_value *conf_set_own(const struct conf_set *s, struct span name);
struct conf_value *conf_set_find(const struct conf_set *s, struct span name);
struct conf_value *conf_set_add(struct conf_set *s, struct arena *a, struct span name);
struct conf_set *conf_set_new(struct conf *c, const char *key);
void conf_set_release(struct conf_set *s);
/* The set for these overrides (shared when it exists); evaluates and reports. */
struct conf_set *conf_set_eval(struct conf_loading *l, const struct conf_entry *e, bool stress);
/* Make and fill struct params of a set (the base's first), as SMTP or LMTP services read it. */
const struct params *conf_set_params(struct conf_set *s, struct arena *a, bool lmtp);

/* Which services does the command run in our processes, and what becomes of it (services.c). */
enum conf_command_kind { CONF_COMMAND_OURS, CONF_COMMAND_INTERNAL, CONF_COMMAND_REFUSED };
enum conf_command_kind conf_command_kind(const char *command, const char **why_r);

/* Refuse what is set, protects or delivers, and does not work (support.c). */
void conf_check_support(struct conf_loading *l);
/* Values that do not go together. */
void conf_check_together(struct conf_loading *l);
bool conf_list_has(const char *list, const char *word);
