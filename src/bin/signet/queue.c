/* signet queue: look at the mail queue and act on it; also mailq, postqueue, postsuper and postcat. */
#include "signet/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/panic.h"
#include "conf/conf.h"
#include "signet/cli.h"
#include "signet/control.h"

enum { ASK_MS = 600000 };

static bool
ask_daemon(struct control *c, enum queue_op op, const char *which, uint32_t *count_r, struct fault *why)
{
	const struct ipc_queue_admin ask = { .op = (uint8_t)op, .which = span_str(which) };
	struct arena *a = arena_new(1u << 20);
	struct ipc_queue_admin_done got = { 0 };
	struct span payload;
	struct buf b;
	bool ok;

	buf_init(&b, 4096);
	ipc_encode_queue_admin(&b, &ask);
	ok = control_ask(c, IPC_QUEUE_ADMIN, buf_span(&b), IPC_QUEUE_ADMIN_DONE, ASK_MS, &payload, NULL, why);
	if (ok && !ipc_decode_queue_admin_done(payload, a, &got))
		ok = fault_set(why, NULL, "signetd sent a garbled answer");
	if (ok && got.text.n > 0)
		fault_set(why, NULL, "%.*s", SPAN_ARG(got.text));
	ok = ok && got.ok;
	*count_r = got.count;
	buf_release(&b);
	arena_free(&a);
	return ok;
}

bool
queue_admin(const struct conf *conf, enum queue_op op, const char *which, uint32_t *count_r, struct fault *why)
{
	struct control c;
	bool ok;

	*count_r = 0;
	if (!control_open(&c, conf, why))
		return queue_offline_admin(conf, op, which, count_r, why);
	ok = ask_daemon(&c, op, which, count_r, why);
	control_close(&c);
	return ok;
}

/* ---- one operation on many */

struct batch {
	const struct cli *cli;
	const struct conf *conf;
	enum queue_op op;
	const char *what;
	uint32_t count;
	int status;
};

static void
act(struct batch *b, const char *which)
{
	struct fault why = { 0 };
	uint32_t n;

	if (!queue_admin(b->conf, b->op, which, &n, &why))
		b->status = CLI_NO;
	if (why.text[0] != '\0')
		cli_fail(b->cli, CLI_NO, "%s%s%s", which, *which != '\0' ? ": " : "", why.text);
	b->count += n;
}

/* Ids from standard input, one a line (postsuper's "-"). */
static void
act_on_stdin(struct batch *b)
{
	char line[128];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, " \t\r\n")] = '\0';
		if (line[0] != '\0')
			act(b, line);
	}
}

static void
act_on(struct batch *b, const char *which)
{
	if (strcmp(which, "-") == 0)
		act_on_stdin(b);
	else
		act(b, which);
}

static int
report(const struct batch *b)
{
	if (b->status == CLI_DONE || b->count > 0)
		fprintf(stderr, "signet %s: %u message%s %s\n", b->cli->verb, b->count, b->count == 1 ? "" : "s", b->what);
	return b->status;
}

static const struct act_row {
	const char *verb;
	char letter;            /* postsuper's option */
	enum queue_op op;
	const char *what;
} acts[] = {
	{ "hold", 'h', QUEUE_HOLD, "held" },
	{ "release", 'H', QUEUE_RELEASE, "released" },
	{ "requeue", 'r', QUEUE_REQUEUE, "requeued" },
	{ "delete", 'd', QUEUE_DELETE, "deleted" },
	{ "expire", 'e', QUEUE_EXPIRE, "expired" },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool
is_queue(const char *word)
{
	for (size_t i = 0; i < QUEUE_NAMES; i++)
		if (strcmp(queue_names[i], word) == 0)
			return true;
	return false;
}

/*
 * "ALL deferred", "ID hold ...": names of queues narrow what the other words mean. Everything is looked at before
 * anything is done, as who says more than ALL wants less than all. "" when fine, else the word that is not.
 */
static const char *
split_queues(int argc, char **argv, struct buf *queues)
{
	bool all = false;
	int ids = 0;

	for (int i = 0; i < argc; i++) {
		if (argv[i][0] == '-' && argv[i][1] != '\0')
			return argv[i];
		if (is_queue(argv[i])) {
			buf_addf(queues, " %s", argv[i]);
			continue;
		}
		all = all || strcmp(argv[i], "ALL") == 0;
		if (++ids > 1 && all)
			return argv[i];
	}
	return "";
}

static void
act_within(struct batch *b, const char *which, const char *queues)
{
	struct buf text;

	buf_init(&text, 1000);
	if (strcmp(which, "-") != 0)
		buf_addf(&text, "%s%s", which, queues);
	act_on(b, text.n > 0 ? buf_cstr(&text) : which);
	buf_release(&text);
}

/* ---- signet queue ... */

static int
run_flush(const struct cli *cli, const struct conf *conf, int argc, char **argv)
{
	struct batch b = { .cli = cli, .conf = conf, .op = QUEUE_FLUSH_ONE, .what = "to be tried now" };

	if (argc == 0) {
		b.op = QUEUE_FLUSH_ALL;
		act(&b, "");
	} else if (strcmp(argv[0], "--site") == 0) {
		if (argc != 2)
			return cli_usage(cli, "--site needs one domain");
		b.op = QUEUE_FLUSH_SITE;
		act(&b, argv[1]);
	} else {
		for (int i = 0; i < argc; i++)
			if (argv[i][0] == '-' && argv[i][1] != '\0')
				return cli_usage(cli, "flush has no option %s: use ids, or --site DOMAIN", argv[i]);
		for (int i = 0; i < argc; i++)
			act_on(&b, argv[i]);
	}
	return report(&b);
}

static int
run_cat(const struct cli *cli, const struct conf *conf, int argc, char **argv)
{
	struct queue_parts parts = { true, true, true, false };
	int status = CLI_DONE, ids = 0;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--wire") == 0) {
			parts = (struct queue_parts){ false, true, true, true };
			continue;
		}
		int r = queue_cat(cli, conf, argv[i], parts);

		ids++;
		if (r != CLI_DONE)
			status = r;
	}
	return ids > 0 ? status : cli_usage(cli, "cat needs a queue id");
}

static int
act_on_words(struct batch *b, const char *verb, int argc, char **argv)
{
	struct buf queues;
	const char *bad;
	int status;

	buf_init(&queues, 4000);
	bad = split_queues(argc, argv, &queues);
	for (int k = 0; *bad == '\0' && k < argc; k++)
		if (!is_queue(argv[k]))
			act_within(b, argv[k], buf_cstr(&queues));
	status = *bad == '\0' ? report(b) :
	    cli_usage(b->cli, "%s: %s is neither a queue id nor a queue, and ALL stands alone: nothing was done", verb, bad);
	buf_release(&queues);
	return status;
}

static int
run_act(const struct cli *cli, const struct conf *conf, const char *verb, int argc, char **argv)
{
	for (size_t i = 0; i < COUNT(acts); i++) {
		struct batch b = { .cli = cli, .conf = conf, .op = acts[i].op, .what = acts[i].what };

		if (strcmp(acts[i].verb, verb) != 0)
			continue;
		if (argc == 0)
			return cli_usage(cli, "%s needs queue ids, ALL, or - to read ids from standard input", verb);
		return act_on_words(&b, verb, argc, argv);
	}
	return cli_usage(cli, "unknown action: %s", verb);
}

static int
run_queue(const struct cli *cli, const struct conf *conf, int argc, char **argv)
{
	const char *action = argc > 1 ? argv[1] : "list";

	argc -= argc > 1 ? 2 : 1;
	argv += 2;
	if (strcmp(action, "list") == 0)
		return argc > 0 && strcmp(argv[0], "--json") != 0 ? cli_usage(cli, "unknown option: %s", argv[0]) :
		    queue_list(cli, conf, argc > 0);
	if (strcmp(action, "--json") == 0)
		return queue_list(cli, conf, true);
	if (strcmp(action, "flush") == 0)
		return run_flush(cli, conf, argc, argv);
	if (strcmp(action, "cat") == 0)
		return run_cat(cli, conf, argc, argv);
	if (strcmp(action, "verify") == 0)
		return queue_verify(cli, conf);
	return run_act(cli, conf, action, argc, argv);
}

/* ---- Postfix's commands */

/* postqueue -p | -j | -f | -i ID | -s SITE */
static int
run_postqueue(const struct cli *cli, const struct conf *conf, int argc, char **argv)
{
	struct batch b = { .cli = cli, .conf = conf };

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i][0] == '-' && argv[i][1] != '\0' && argv[i][2] != '\0' ? argv[i] + 2 :
		    i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "-v") == 0)
			continue;
		if (strcmp(argv[i], "-p") == 0 || strcmp(argv[i], "-j") == 0)
			return queue_list(cli, conf, argv[i][1] == 'j');
		if (strcmp(argv[i], "-f") == 0) {
			b.op = QUEUE_FLUSH_ALL;
			act(&b, "");
			return b.status;
		}
		if ((strncmp(argv[i], "-i", 2) != 0 && strncmp(argv[i], "-s", 2) != 0) || arg == NULL)
			break;
		b.op = argv[i][1] == 'i' ? QUEUE_FLUSH_ONE : QUEUE_FLUSH_SITE;
		act(&b, arg);
		return b.status;
	}
	return cli_usage(cli, "postqueue: use -p, -j, -f, -i ID or -s SITE");
}

static const struct act_row *
act_of(char letter)
{
	for (size_t k = 0; k < COUNT(acts); k++)
		if (acts[k].letter == letter || (letter == 'f' && acts[k].letter == 'e'))
			return &acts[k];
	return NULL;
}

/* One option of postsuper and its argument. -s and -p are what the daemon does by itself. */
struct super_deed {
	const struct act_row *row;
	char letter;
	const char *id;
};

/* Options, then names of queues that all of them are about. Nothing is done before all words were understood. */
static const char *
super_words(int argc, char **argv, struct super_deed *deeds, int *n_r, struct buf *queues)
{
	*n_r = 0;
	for (int i = 1; i < argc; i++) {
		char letter = argv[i][0] == '-' ? argv[i][1] : '\0';

		if (letter != '\0' && strchr("spvS", letter) != NULL)
			continue;
		if (letter == '\0' && is_queue(argv[i])) {
			buf_addf(queues, " %s", argv[i]);
			continue;
		}
		deeds[*n_r].row = act_of(letter);
		deeds[*n_r].letter = letter;
		if (deeds[*n_r].row == NULL || (argv[i][2] == '\0' && i + 1 == argc))
			return argv[i];
		deeds[*n_r].id = argv[i][2] != '\0' ? argv[i] + 2 : argv[i + 1];
		i += argv[i][2] == '\0';
		++*n_r;
	}
	return "";
}

static int
super_act(const struct cli *cli, const struct conf *conf, const struct super_deed *d, const char *queues)
{
	struct batch b = { .cli = cli, .conf = conf, .op = d->row->op, .what = d->row->what };

	act_within(&b, d->id, queues);
	if (d->letter == 'f') {
		b.op = QUEUE_RELEASE;
		act_within(&b, d->id, queues);
	}
	return report(&b);
}

/* postsuper -d ID -h ID ... [QUEUE ...] */
static int
run_postsuper(const struct cli *cli, const struct conf *conf, int argc, char **argv)
{
	struct super_deed *deeds = calloc((size_t)argc + 1, sizeof(*deeds));
	int status = CLI_DONE, n = 0;
	struct buf queues;
	const char *bad;

	ensure(deeds != NULL);
	buf_init(&queues, 4000);
	bad = super_words(argc, argv, deeds, &n, &queues);
	if (*bad != '\0')
		status = cli_usage(cli, "postsuper: %s: use -d, -h, -H, -r, -e or -f with a queue id, ALL or -; behind them active, incoming, "
		    "deferred or hold; nothing was done", bad);
	for (int i = 0; *bad == '\0' && i < n; i++) {
		int r = super_act(cli, conf, &deeds[i], buf_cstr(&queues));

		status = r != CLI_DONE ? r : status;
	}
	buf_release(&queues);
	free(deeds);
	return status;
}

/* postcat -q [-b] [-h] [-e] ID ... */
static int
run_postcat(const struct cli *cli, const struct conf *conf, int argc, char **argv)
{
	struct queue_parts parts = { 0 };
	int i = 1, status = CLI_DONE;

	for (; i < argc && argv[i][0] == '-'; i++)
		for (const char *p = argv[i] + 1; *p != '\0'; p++) {
			parts.body |= *p == 'b';
			parts.headers |= *p == 'h';
			parts.envelope |= *p == 'e';
			if (strchr("bheqovdr", *p) == NULL)
				return cli_usage(cli, "postcat: unknown option -%c", *p);
		}
	if (!parts.body && !parts.headers && !parts.envelope)
		parts = (struct queue_parts){ true, true, true, false };
	if (i == argc)
		return cli_usage(cli, "postcat: which queue id?");
	for (; i < argc; i++) {
		int r = queue_cat(cli, conf, argv[i], parts);

		status = r != CLI_DONE ? r : status;
	}
	return status;
}

int
verb_queue(struct cli *cli, int argc, char **argv)
{
	const char *as = cli->linked_as != NULL ? cli->linked_as : "";
	struct conf *conf = cli_conf_anyway(cli);
	int status;

	if (conf == NULL)
		return CLI_NO;
	if (strcmp(as, "mailq") == 0)
		status = queue_list(cli, conf, false);
	else if (strcmp(as, "postqueue") == 0)
		status = run_postqueue(cli, conf, argc, argv);
	else if (strcmp(as, "postsuper") == 0)
		status = run_postsuper(cli, conf, argc, argv);
	else if (strcmp(as, "postcat") == 0)
		status = run_postcat(cli, conf, argc, argv);
	else
		status = run_queue(cli, conf, argc, argv);
	conf_unref(&conf);
	return status;
}
