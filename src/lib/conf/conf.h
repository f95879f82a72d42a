/*
 * The configuration: main.cf and master.cf as Postfix writes them, read once into
 * an immutable snapshot. `signetd` and `signet` load the files; roles read the
 * canonical text that master hands them. Code reads parameters as members of
 * `struct params` (conf/params.h, one per row of table/params.tab): bool, int,
 * NAME_ms for times, uint64_t bytes for sizes, `const char *` (never NULL) for the
 * rest. A name that begins with a digit has p_ in front.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/span.h"

struct params;
struct conf_set;
struct arena;

/*
 * What reading the configuration brought up, in order. A note tells, a warning
 * should be looked at, an error stops the start. `fix` ("" = none) says what to do.
 */
enum conf_severity { CONF_NOTE, CONF_WARNING, CONF_ERROR };

struct conf_finding {
	enum conf_severity severity;
	const char *file;       /* "" = no file */
	unsigned line;          /* 0 = none */
	const char *text;
	const char *fix;
};

struct conf_report {
	struct arena *arena;
	struct conf_finding *list;
	size_t count, cap;
	unsigned errors, warnings;
};

void conf_report_init(struct conf_report *r);
void conf_report_release(struct conf_report *r);
/* `fix` may be NULL. The same finding twice is kept once. */
void conf_report_add(struct conf_report *r, enum conf_severity severity, const char *file, unsigned line,
    const char *fix, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* "file:line: error: text (fix)", one line each; `least` leaves out what is less severe. */
void conf_report_print(const struct conf_report *r, enum conf_severity least, struct buf *out);

/* Can it stand before "=" in main.cf? Transports may be called a-b, and their parameters begin with their name. */
bool conf_is_name(struct span s);

enum conf_service_type {
	CONF_SERVICE_INET,
	CONF_SERVICE_UNIX,
	CONF_SERVICE_UNIX_DGRAM,
	CONF_SERVICE_FIFO,
	CONF_SERVICE_PASS,
};

/* One entry of master.cf. */
struct conf_service {
	const char *name;               /* first column: "smtp", "127.0.0.1:2525", "relay", "maildrop" */
	enum conf_service_type type;
	bool is_private, unpriv, chroot;
	bool wakeup_if_used;            /* "300?" */
	bool disabled;                  /* by master_service_disable: listed, never started */
	int wakeup_s;                   /* 0 = never */
	int maxproc;                    /* 0 = no limit */
	bool maxproc_given;             /* else default_process_limit */
	const char *command;            /* last path component: "smtpd", "smtp", "lmtp", "pipe", ... */
	const char *args;               /* what stands behind the command without -o, blanks as written */
	int verbose;                    /* number of -v */
	const char *file;
	unsigned line;
	const char *log_tag;            /* "<syslog_name>/<program>": signet/smtpd, signet/smtp, signet/relay/smtp */
	const struct params *params;    /* shared by services with the same effective values */
	const struct params *stress;    /* the same under stress=yes (smtpd only; else == params) */
	const struct conf_set *set;     /* for conf_get() */
};

struct conf {
	const char *dir;                        /* configuration directory */
	const struct conf_service *services;    /* in the order of master.cf */
	size_t service_count;
	const struct conf_service *none;        /* "no service": main.cf alone; name "" */
	const struct params *params;            /* = none->params */
	struct arena *arena;
	struct conf_set *sets;                  /* private to lib/conf */
	unsigned refs;
};

/*
 * Read DIR/main.cf and DIR/master.cf, evaluate every service with its overrides and
 * report everything found. False when the report holds an error: nothing may start;
 * `*conf_r` is then NULL, or, where the values could still be evaluated, what was read
 * (for `signet check` and `signet conf`). The caller unrefs what it gets.
 */
bool conf_load(const char *dir, struct conf **conf_r, struct conf_report *report);
/*
 * The same with definitions from elsewhere (a command's options), which win over both files and all services.
 * Findings about them name the file "command line".
 */
struct conf_override {
	const char *name, *value;
};
bool conf_load_with(const char *dir, const struct conf_override *over, size_t count, struct conf **conf_r,
    struct conf_report *report);
/* The same from memory, for tests: no files are looked at, findings name "main.cf" and "master.cf". */
bool conf_parse(struct span main_cf, struct span master_cf, struct conf **conf_r, struct conf_report *report);

struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf **c);

/* Canonical text of a loaded configuration, every value expanded: the sealed memfd of the roles. */
void conf_write(const struct conf *c, struct buf *out);
/* Read that text in a role. Trusts nothing: false with a fault when it is not of this form. */
bool conf_read(struct span text, struct conf **conf_r, struct fault *why);

/* The service of this name and type family (inet: CONF_SERVICE_INET or PASS; else any other), or NULL. */
const struct conf_service *conf_find_service(const struct conf *c, const char *name, bool inet);
/* The first enabled service that runs `command` behind `after` (NULL = from the start), or NULL. */
const struct conf_service *conf_next_command(const struct conf *c, const char *command,
    const struct conf_service *after);

/*
 * The expanded value of any name, as seen by this service: known parameters,
 * <transport>_destination_concurrency_limit and its kin (set or by default),
 * restriction classes, names of the administrator's own. NULL when nobody defined it.
 * For what has no member of struct params; the string lives as long as the conf.
 */
const char *conf_get(const struct conf_service *s, const char *name);
/* conf_get() read as a number / a time in ms; false when undefined or not of that form. */
bool conf_get_int(const struct conf_service *s, const char *name, int *value_r);
bool conf_get_ms(const struct conf_service *s, const char *name, int64_t *value_r);
/* "10s", "5m", "100" (seconds) as ms, for times inside other values. */
bool conf_time_ms(const char *text, int64_t *value_r);

/*
 * What keeps DNSSEC, and so DANE, from working with these values (spec 20.10): words, or NULL when nothing does.
 * `fix_r` (may be NULL) gets what to do about it.
 */
const char *conf_dane_obstacle(const struct params *p, bool lmtp, const char **fix_r);

/* True when `accept_unsupported` names this parameter, word, table type, service or command. */
bool conf_accepts(const struct conf_service *s, const char *name);
