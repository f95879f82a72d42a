/* signet status: the processes, what they hold, and what is wrong; also reload and stop. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "signet/cli.h"
#include "signet/control.h"

#define ASK_MS 70000

/* Ask master through control: its answer's text in `out`. */
static bool
ask_master(const struct cli *cli, unsigned type, struct buf *out, bool *ok_r, struct fault *why)
{
	struct conf *conf = cli_conf_anyway(cli);
	struct arena *a = arena_new(8u << 20);
	struct ipc_master_answer answer = { 0 };
	struct control c;
	struct span payload;
	bool ok = false;

	if (conf != NULL && control_open(&c, conf, why)) {
		ok = control_ask(&c, type, SPAN(""), IPC_MASTER_ANSWER, ASK_MS, &payload, NULL, why);
		if (ok && !ipc_decode_master_answer(payload, a, &answer))
			ok = fault_set(why, NULL, "signetd sent a garbled answer");
		buf_add_span(out, answer.text);
		*ok_r = answer.ok;
		control_close(&c);
	} else if (conf == NULL) {
		fault_set(why, NULL, "the configuration cannot be read");
	}
	arena_free(&a);
	conf_unref(&conf);
	return ok;
}

static void
print_member(struct buf *out, const char *name, const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	if (strcmp(name, "role") != 0 && strcmp(name, "index") != 0 && text != NULL)
		buf_addf(out, " %s=%s", name, text);
	free(text);
}

/* One line a process; members that are lists get a line each. */
static void
print_role(struct buf *out, json_t *role)
{
	const char *name;
	json_t *value;

	buf_addf(out, "%-9s %2d ", json_string_value(json_object_get(role, "role")),
	    (int)json_integer_value(json_object_get(role, "index")));
	json_object_foreach(role, name, value)
		if (!json_is_array(value))
			print_member(out, name, value);
	buf_addc(out, '\n');
	json_object_foreach(role, name, value) {
		size_t i;
		json_t *item;

		json_array_foreach(value, i, item) {
			buf_addf(out, "    %s:", name);
			print_member(out, "", item);
			buf_addc(out, '\n');
		}
	}
}

static void
print_status(struct buf *out, json_t *all)
{
	json_t *master = json_object_get(all, "master"), *item;
	size_t i;

	buf_addf(out, "signetd   version %s, pid %d, configuration generation %d\n",
	    json_string_value(json_object_get(master, "version")), (int)json_integer_value(json_object_get(master, "pid")),
	    (int)json_integer_value(json_object_get(master, "generation")));
	json_array_foreach(json_object_get(master, "processes"), i, item) {
		const char *state = json_string_value(json_object_get(item, "state"));

		if (state != NULL && strcmp(state, "ready") != 0)
			buf_addf(out, "%-9s %2d  pid=%d is %s\n", json_string_value(json_object_get(item, "role")),
			    (int)json_integer_value(json_object_get(item, "index")),
			    (int)json_integer_value(json_object_get(item, "pid")), state);
	}
	json_array_foreach(json_object_get(all, "roles"), i, item) {
		print_role(out, item);
		if (control_dnssec_trouble(item)[0] != '\0')
			buf_addf(out, "    %s\n", control_dnssec_trouble(item));
	}
}

static int
show(const struct cli *cli, struct buf *text, bool raw)
{
	struct buf out;
	json_t *all;
	int status;

	if (raw) {
		buf_addc(text, '\n');
		return cli_print(cli, text);
	}
	all = json_loadb(text->p, text->n, 0, NULL);
	if (all == NULL)
		return cli_fail(cli, CLI_NO, "signetd sent what is not JSON");
	buf_init(&out, 8u << 20);
	print_status(&out, all);
	json_decref(all);
	status = cli_print(cli, &out);
	buf_release(&out);
	return status;
}

int
verb_status(struct cli *cli, int argc, char **argv)
{
	bool raw = argc == 2 && strcmp(argv[1], "--json") == 0, ok = false;
	struct fault why = { 0 };
	struct buf text;
	int status;

	if (argc > 2 || (argc == 2 && !raw))
		return cli_usage(cli, "unknown argument %s", argv[1]);
	buf_init(&text, 8u << 20);
	if (!ask_master(cli, IPC_MASTER_STATUS, &text, &ok, &why))
		status = cli_fail(cli, CLI_NO, "%s", why.text);
	else
		status = show(cli, &text, raw);
	buf_release(&text);
	return status;
}

/* What the daemon found, a line each, and what follows from it. */
static int
refused(const struct cli *cli, struct span findings)
{
	struct span line;

	while (span_cut(findings, '\n', &line, &findings) || line.n > 0)
		if (span_trim(line).n > 0)
			fprintf(stderr, "%.*s\n", SPAN_ARG(line));
	return cli_fail(cli, CLI_NO, "refused: the configuration that runs stays in force");
}

static int
order(struct cli *cli, int argc, char **argv, unsigned type)
{
	struct fault why = { 0 };
	struct buf text;
	bool ok = false;
	int status = CLI_DONE;

	if (argc > 1)
		return cli_usage(cli, "unknown argument %s", argv[1]);
	buf_init(&text, 1u << 20);
	if (!ask_master(cli, type, &text, &ok, &why))
		status = cli_fail(cli, CLI_NO, "%s", why.text);
	else if (!ok)
		status = refused(cli, buf_span(&text));
	buf_release(&text);
	return status;
}

int
verb_reload(struct cli *cli, int argc, char **argv)
{
	return order(cli, argc, argv, IPC_MASTER_RELOAD);
}

int
verb_stop(struct cli *cli, int argc, char **argv)
{
	return order(cli, argc, argv, IPC_MASTER_STOP);
}
