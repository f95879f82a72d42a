/*
 * What every verb of `signet` gets. A verb is one file src/bin/signet/VERB.c with one
 * function `int verb_VERB(struct cli *, int argc, char **argv)`, declared here, and one
 * row in signet.c. argv[0] is the verb; `-c DIR` is already taken out. Exit status:
 * CLI_DONE, CLI_NO, CLI_USAGE (cli_usage() prints and returns it), CLI_TRY_AGAIN.
 */
#pragma once

#include <stdbool.h>

struct buf;
struct conf;

enum { CLI_DONE = 0, CLI_NO = 1, CLI_USAGE = 2, CLI_TRY_AGAIN = 75 };

struct cli {
	const char *dir;        /* configuration directory */
	const char *linked_as;  /* "postqueue" and the like when started under Postfix's name, else NULL */
	const char *verb;
	const char *usage;      /* one line per form, of this verb */
};

/* "signet: VERB: text" and the usage on standard error; CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "signet VERB: text" on standard error; returns `status`. */
int cli_fail(const struct cli *cli, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Write to standard output; CLI_NO when that fails. */
int cli_print(const struct cli *cli, struct buf *out);
/*
 * Load the configuration, printing what stops it on standard error (warnings stay with
 * `signet check`). NULL when it cannot be used: return CLI_NO. The caller unrefs it.
 */
struct conf *cli_conf(const struct cli *cli);
/*
 * The same for what only asks where things are: a value that is wrong does not stop it, as the daemon may run on the
 * configuration of before. NULL (and printed) when not even that can be read.
 */
struct conf *cli_conf_anyway(const struct cli *cli);

typedef int cli_verb_fn(struct cli *cli, int argc, char **argv);

cli_verb_fn verb_check;
cli_verb_fn verb_conf;
cli_verb_fn verb_map;
cli_verb_fn verb_queue;
cli_verb_fn verb_reload;
cli_verb_fn verb_send;
cli_verb_fn verb_status;
cli_verb_fn verb_stop;
cli_verb_fn verb_tls;
