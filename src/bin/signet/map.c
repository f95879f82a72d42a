/* signet map: build, query and list lookup tables (postmap, postalias, newaliases). */
#include "signet/map.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "maps/served.h"
#include "signet/cli.h"

enum what { WHAT_BUILD, WHAT_QUERY, WHAT_LIST };

struct wish {
	enum what what;
	const char *key;
	struct map_options o;
};

bool
map_split(const struct map_command *m, struct span arg, struct span *type_r, struct span *name_r)
{
	while (span_starts(arg, SPAN("proxy:")))
		arg = span_from(arg, 6);
	if (!span_cut(arg, ':', type_r, name_r)) {
		*name_r = arg;
		*type_r = span_str(m->conf->params->default_database_type);
	}
	return name_r->n > 0 && type_r->n > 0;
}

bool
map_is_served(struct span type)
{
	return span_eq(type, SPAN("hash")) || span_eq(type, SPAN("btree")) || span_eq(type, SPAN("dbm")) ||
	    span_eq(type, SPAN("sdbm"));
}

bool
map_is_alias(const struct map_command *m, struct span type, struct span name)
{
	struct span label = arena_printf(m->a, "%.*s:%.*s", SPAN_ARG(type), SPAN_ARG(name));

	return m->o.aliases || served_is_alias(&m->env, label);
}

/* Postfix's short options. False: `*status_r` is the exit status. */
static bool
take_options(const struct cli *cli, int argc, char **argv, struct wish *w, int *status_r)
{
	int c;

	opterr = 0;
	while ((c = getopt(argc, argv, "+q:sfwnopuvd:irNFhbmU")) != -1) {
		if (c == 'q') {
			w->what = WHAT_QUERY;
			w->key = optarg;
		} else if (c == 's') {
			w->what = WHAT_LIST;
		} else if (c == 'f') {
			w->o.keep_case = true;
		} else if (c == 'w') {
			w->o.quiet_duplicates = true;
		} else if (c == '?') {
			*status_r = cli_usage(cli, "unknown option, or an option without its value");
			return false;
		} else if (strchr("nopuv", c) == NULL) {
			*status_r = cli_fail(cli, CLI_USAGE, "option -%c is not supported: %s", c,
			    c == 'd' || c == 'i' || c == 'r' ? "change the source text and build the table again" :
			    "it has no counterpart here");
			return false;
		}
	}
	return true;
}

static bool
take_long(int *argc, char **argv, const char *name)
{
	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], name) != 0)
			continue;
		memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof(argv[0]));
		(*argc)--;
		return true;
	}
	return false;
}

/* "signet map build|query|list ...": the words in front; the rest is as for postmap. */
static bool
take_words(const struct cli *cli, int *argc, char ***argv, struct wish *w, int *status_r)
{
	const char *word = *argc > 1 ? (*argv)[1] : "";

	if (strcmp(word, "build") == 0 || strcmp(word, "list") == 0) {
		w->what = word[0] == 'b' ? WHAT_BUILD : WHAT_LIST;
		(*argc)--;
		(*argv)++;
		return true;
	}
	if (strcmp(word, "query") == 0 && *argc > 2) {
		w->what = WHAT_QUERY;
		w->key = (*argv)[2];
		*argc -= 2;
		*argv += 2;
		return true;
	}
	if (word[0] == '-')
		return true;
	*status_r = cli_usage(cli, "expected build, query or list");
	return false;
}

static int
run_each(const struct map_command *m, enum what what, int n, char **args)
{
	int status = CLI_DONE;

	for (int i = 0; i < n; i++) {
		struct span arg = span_str(args[i]);
		int s = what == WHAT_BUILD ? map_build(m, arg) : map_list(m, arg);

		if (s != CLI_DONE)
			status = s;
	}
	return status;
}

/* "--from-sendmail [--output DIR] FILE": no configuration is needed. */
static int
from_sendmail(const struct cli *cli, int argc, char **argv)
{
	const char *dir = NULL;

	if (argc > 3 && strcmp(argv[1], "--output") == 0) {
		dir = argv[2];
		argc -= 2;
		argv += 2;
	}
	if (argc != 2 || argv[1][0] == '-')
		return cli_usage(cli, "--from-sendmail takes one file");
	return map_from_sendmail(cli, dir, argv[1]);
}

/* newaliases: everything in alias_database. */
static int
build_aliases(const struct map_command *m)
{
	struct span rest = span_str(m->conf->params->alias_database), word;
	int status = CLI_DONE;

	while (span_token_brace(&rest, ", \t\r\n", &word)) {
		int s = map_build(m, word);

		if (s != CLI_DONE)
			status = s;
	}
	return status;
}

static int
run(struct map_command *m, const struct wish *w, int n, char **args)
{
	const char *linked = m->cli->linked_as;

	if (linked != NULL && strcmp(linked, "newaliases") == 0)
		return build_aliases(m);
	if (n == 0)
		return cli_usage(m->cli, "which table?");
	if (w->what == WHAT_QUERY)
		return map_query(m, w->key, args, n);
	return run_each(m, w->what, n, args);
}

static void
set_env(struct map_command *m)
{
	const struct params *p = m->conf->params;

	m->env = (struct maps_env){
		.data_directory = p->data_directory,
		.default_database_type = p->default_database_type,
		.alias_tables = arena_printf(m->a, "%s %s", p->alias_maps, p->alias_database).p,
		.direct = true,
	};
}

int
verb_map(struct cli *cli, int argc, char **argv)
{
	struct map_command m = { .cli = cli };
	struct wish w = { .what = WHAT_BUILD };
	int status = CLI_DONE;
	struct conf *conf;

	if (cli->linked_as == NULL && take_long(&argc, argv, "--from-sendmail"))
		return from_sendmail(cli, argc, argv);
	w.o.json = cli->linked_as == NULL && take_long(&argc, argv, "--json");
	w.o.aliases = cli->linked_as == NULL ? take_long(&argc, argv, "--aliases") :
	    strcmp(cli->linked_as, "postmap") != 0;
	if (cli->linked_as == NULL && !take_words(cli, &argc, &argv, &w, &status))
		return status;
	if (!take_options(cli, argc, argv, &w, &status))
		return status;
	conf = cli_conf(cli);
	if (conf == NULL)
		return CLI_NO;
	log_set_tag(cli->linked_as != NULL ? cli->linked_as : "signet map");
	m.conf = conf;
	m.o = w.o;
	m.a = arena_new(64u << 20);
	set_env(&m);
	status = run(&m, &w, argc - optind, argv + optind);
	arena_free(&m.a);
	conf_unref(&conf);
	return status;
}
