/* The command: finds the verb, by the first word or by the name it was started under. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "signet/cli.h"

#define DEFAULT_DIR "/etc/signet"

static const struct verb_row {
	const char *verb;
	cli_verb_fn *run;
	const char *what;
	const char *usage;
} verbs[] = {
	{ "reload", verb_reload, "make the daemon read its configuration again", "signet reload" },
	{ "status", verb_status, "processes, sessions, queue and destinations of the running daemon", "signet status [--json]" },
	{ "stop", verb_stop, "stop the daemon cleanly", "signet stop" },
	{ "map", verb_map, "build, query and list lookup tables",
	    "signet map build [--aliases] [-f] [-w] [TYPE:]FILE ...\n"
	    "signet map query [-f] [--json] KEY|- [TYPE:]FILE ...\n"
	    "signet map list [TYPE:]FILE ...\n"
	    "signet map --from-sendmail [--output DIR] ACCESS" },
	{ "check", verb_check, "check the whole configuration", "signet check [--json]" },
	{ "tls", verb_tls, "explain TLS policy, before and after; try it on servers",
	    "signet tls explain --client ADDRESS [--name NAME] [--cert FILE] [--bits N] [--service NAME]\n"
	    "signet tls explain [--json] [--save-facts FILE] [--service NAME] ADDRESS | DOMAIN | NEXTHOP\n"
	    "signet tls explain [--json] --facts FILE\n"
	    "signet tls why [--json] QUEUEID\n"
	    "signet tls tlsa [--json] [--ta] [--next FILE] [--port N] [--no-check] [HOST]\n"
	    "signet tls probe [-acCfSvwx ...] [--json] [--service NAME] DESTINATION [MATCH ...]\n"
	    "  -l LEVEL       this level as posttls-finger has it, and MATCH; without it the configured policy decides\n"
	    "  -A FILE  -F FILE  -P DIR             trust anchors; CAs of a file, of a directory\n"
	    "  -k FILE  -K FILE  -H FILES           our certificate, its key; chains with their keys\n"
	    "  -d DIGEST  -g GRADE  -p PROTOCOLS    of fingerprints; the least cipher grade; TLS versions\n"
	    "  -s NAME  -x  -w                      server name sent; raw public keys; TLS from the first byte\n"
	    "  -a FAMILY  -h dns|native  -f  -M may|encrypt|dane    addresses, names, DANE behind what is not signed\n"
	    "  -r SECONDS  -m N                     connect again: is the session resumed? at most N times\n"
	    "  -t SECONDS  -T SECONDS               time for the connection and greeting, for each command\n"
	    "  -S                                   LMTP; DESTINATION may be unix:PATH\n"
	    "  -c  -C  -L WORDS  -v                 no chat; the chain in PEM; what is said of TLS; the whole decision\n"
	    "  -o NAME=VALUE                        any parameter of main.cf" },
	{ "queue", verb_queue, "look at the mail queue and act on it",
	    "signet queue [list] [--json]\n"
	    "signet queue flush [ID ... | --site DOMAIN]\n"
	    "signet queue hold | release | requeue | delete | expire  ID ... | ALL | -  [active | incoming | deferred | hold ...]\n"
	    "signet queue cat [--wire] ID ...\n"
	    "signet queue verify" },
	{ "send", verb_send, "submit a message (sendmail)",
	    "signet send [-t] [-i] [-f SENDER] [-F FULL-NAME] [-N NOTIFY] [-R full | hdrs] [-V ENVID] [RECIPIENT ...]\n"
	    "signet send -bs            (SMTP on standard input and output)\n"
	    "signet send -bv RECIPIENT ...  (ask whether they are deliverable)" },
	{ "conf", verb_conf, "show and edit parameters",
	    "signet conf [-n | -d] [-h | -H] [-x] [--json] [NAME ...]\n"
	    "signet conf -M [--json] [SERVICE[/TYPE] ...]\n"
	    "signet conf -m             (table types)\n"
	    "signet conf -P [SERVICE/TYPE[/NAME] ...]\n"
	    "signet conf -e NAME=VALUE ...\n"
	    "signet conf -X NAME ...    (delete)\n"
	    "signet conf -# NAME ...    (comment out)" },
};

/* Postfix's names for what our verbs do. */
static const struct link_row {
	const char *name, *verb;
} links[] = {
	{ "postconf", "conf" },
	{ "sendmail", "send" },
	{ "mailq", "queue" },
	{ "postqueue", "queue" },
	{ "postsuper", "queue" },
	{ "postcat", "queue" },
	{ "newaliases", "map" },
	{ "postalias", "map" },
	{ "postmap", "map" },
	{ "posttls-finger", "tls" },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

int
cli_usage(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "signet %s: ", cli->verb);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage:\n%s\n", cli->usage);
	return CLI_USAGE;
}

int
cli_fail(const struct cli *cli, int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "signet %s: ", cli->verb);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int
cli_print(const struct cli *cli, struct buf *out)
{
	int err;

	if (out->full)
		return cli_fail(cli, CLI_NO, "the output is too long");
	err = fd_write_all(1, out->p, out->n);
	if (err < 0)
		return cli_fail(cli, CLI_NO, "cannot write: %s", fd_error(err));
	buf_clear(out);
	return CLI_DONE;
}

static struct conf *
load(const struct cli *cli, bool anyway)
{
	struct conf_report report;
	struct conf *conf = NULL;
	struct buf text;

	conf_report_init(&report);
	buf_init(&text, 1U << 20);
	if (!conf_load(cli->dir, &conf, &report) && !(anyway && conf != NULL)) {
		conf_report_print(&report, CONF_ERROR, &text);
		(void)fd_write_all(2, text.p, text.n);
		conf_unref(&conf);
	}
	buf_release(&text);
	conf_report_release(&report);
	return conf;
}

struct conf *
cli_conf(const struct cli *cli)
{
	return load(cli, false);
}

struct conf *
cli_conf_anyway(const struct cli *cli)
{
	return load(cli, true);
}

static const struct verb_row *
find_verb(const char *name)
{
	for (size_t i = 0; i < COUNT(verbs); i++)
		if (strcmp(verbs[i].verb, name) == 0)
			return &verbs[i];
	return NULL;
}

static int
help(int status)
{
	FILE *f = status == CLI_DONE ? stdout : stderr;

	fprintf(f, "usage: signet [-c DIR] VERB ...\n");
	for (size_t i = 0; i < COUNT(verbs); i++)
		fprintf(f, "  %-8s %s\n", verbs[i].verb, verbs[i].what);
	fprintf(f, "signet VERB --help says more; DIR is %s unless -c or MAIL_CONFIG names it\n", DEFAULT_DIR);
	return status;
}

/* Those have a `-c` of another meaning. */
static bool
has_own_c(const struct cli *cli, int argc, char **argv)
{
	if (cli->linked_as != NULL)
		return strcmp(cli->linked_as, "sendmail") == 0 || strcmp(cli->linked_as, "posttls-finger") == 0;
	return strcmp(cli->verb, "tls") == 0 && argc > 1 && strcmp(argv[1], "probe") == 0;
}

/* Take `-c DIR` and `--help` out of the arguments. */
static bool
take_common(struct cli *cli, int *argc, char **argv)
{
	bool foreign = has_own_c(cli, *argc, argv);
	bool wants_help = false;
	int kept = 1;
	int i;

	for (i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		if (!foreign && strcmp(argv[i], "-c") == 0 && i + 1 < *argc)
			cli->dir = argv[++i];
		else if (strcmp(argv[i], "--help") == 0)
			wants_help = true;
		else
			argv[kept++] = argv[i];
	}
	while (i < *argc)
		argv[kept++] = argv[i++];
	argv[kept] = NULL;
	*argc = kept;
	return wants_help;
}

static int
run(struct cli *cli, const char *name, int argc, char **argv)
{
	const struct verb_row *row = find_verb(name);

	if (row == NULL) {
		fprintf(stderr, "signet: no such verb: %s\n", name);
		return help(CLI_USAGE);
	}
	cli->verb = row->verb;
	cli->usage = row->usage;
	if (take_common(cli, &argc, argv)) {
		printf("%s: %s\n%s\n", row->verb, row->what, row->usage);
		return CLI_DONE;
	}
	return row->run(cli, argc, argv);
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = argc == 0 ? "signet" : slash != NULL ? slash + 1 : argv[0];
	const char *env = getenv("MAIL_CONFIG");
	struct cli cli = { .dir = env != NULL && *env != '\0' ? env : DEFAULT_DIR };
	int i = 1;

	for (size_t l = 0; l < COUNT(links); l++)
		if (strcmp(links[l].name, name) == 0) {
			cli.linked_as = links[l].name;
			return run(&cli, links[l].verb, argc, argv);
		}
	while (i + 1 < argc && strcmp(argv[i], "-c") == 0) {
		cli.dir = argv[i + 1];
		i += 2;
	}
	if (i < argc && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "help") == 0))
		return help(CLI_DONE);
	if (i < argc && strcmp(argv[i], "--version") == 0) {
		puts("signet " SIGNET_VERSION);
		return CLI_DONE;
	}
	return i < argc ? run(&cli, argv[i], argc - i, argv + i) : help(CLI_USAGE);
}
