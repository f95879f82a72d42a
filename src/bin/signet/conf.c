/* signet conf: parameters and services, shown and edited (postconf). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/text.h"
#include "conf/show.h"
#include "conf/words.h"
#include "signet/cli.h"
#include "signet/conf_edit.h"

enum what { WHAT_PARAMETERS, WHAT_SERVICES, WHAT_OVERRIDES, WHAT_TABLE_TYPES };

struct options {
	enum what what;
	enum conf_edit edit;
	bool only_set, defaults, values_only, names_only, expand, json;
};

struct show {
	const struct cli *cli;
	const struct options *o;
	const struct conf *conf;
	struct buf out;
	bool first;             /* nothing printed yet (JSON commas) */
	int status;
};

/* ---- parameters */

static const char *
shown_value(const struct options *o, const struct conf_item *i)
{
	const char *text = i->raw;

	if (o->defaults)
		text = i->row == NULL ? "" : i->row->computed ? i->value : i->row->def;
	else if (o->expand)
		text = i->value;
	return text != NULL ? text : "";
}

static void
json_item(struct show *s, const struct conf_item *i)
{
	static const char *const states[] = { "works", "partial", "not-yet", "obsolete" };

	buf_add_str(&s->out, s->first ? "[\n{\"name\": " : ",\n{\"name\": ");
	text_json(&s->out, span_str(i->name));
	buf_add_str(&s->out, ", \"value\": ");
	text_json(&s->out, span_str(i->value != NULL ? i->value : ""));
	buf_add_str(&s->out, ", \"text\": ");
	text_json(&s->out, span_str(i->raw));
	if (i->row != NULL) {
		buf_add_str(&s->out, ", \"default\": ");
		text_json(&s->out, span_str(i->row->def));
		buf_addf(&s->out, ", \"state\": \"%s\"", states[i->row->state]);
	}
	if (i->file != NULL) {
		buf_add_str(&s->out, ", \"file\": ");
		text_json(&s->out, span_str(i->file));
		buf_addf(&s->out, ", \"line\": %u", i->line);
	}
	buf_addc(&s->out, '}');
}

static void
print_item(struct show *s, const struct conf_item *i, const char *prefix)
{
	const char *value = shown_value(s->o, i);

	if (s->o->json)
		json_item(s, i);
	else if (s->o->names_only)
		buf_addf(&s->out, "%s%s\n", prefix, i->name);
	else if (s->o->values_only)
		buf_addf(&s->out, "%s\n", value);
	else
		buf_addf(&s->out, "%s%s =%s%s\n", prefix, i->name, *value != '\0' ? " " : "", value);
	s->first = false;
}

static const struct conf_item *
find_item(const struct conf_item *items, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(items[i].name, name) == 0)
			return &items[i];
	return NULL;
}

/* A name that is neither set nor in the table may still belong to a family with a default. */
static void
print_named(struct show *s, const struct conf_item *items, size_t n, const char *name)
{
	const struct conf_item *i = find_item(items, n, name);
	struct conf_item family = { .name = name, .value = conf_get(s->conf->none, name), .row = param_find_pattern(name) };

	if (i == NULL && family.value != NULL && family.row != NULL) {
		family.raw = family.row->def;
		i = &family;
	}
	if (i != NULL)
		print_item(s, i, "");
	else
		s->status = cli_fail(s->cli, CLI_NO, "%s: no such parameter%s%s", name,
		    param_nearest(name) != NULL ? "; the nearest is " : "",
		    param_nearest(name) != NULL ? param_nearest(name) : "");
}

static void
show_parameters(struct show *s, int argc, char **argv)
{
	size_t n;
	struct conf_item *items = conf_items(s->conf->none, &n);

	for (int a = 0; a < argc; a++)
		print_named(s, items, n, argv[a]);
	for (size_t i = 0; argc == 0 && i < n; i++)
		if ((!s->o->only_set || items[i].file != NULL) && !(s->o->defaults && items[i].row == NULL) &&
		    !(items[i].row != NULL && items[i].row->pattern))
			print_item(s, &items[i], "");
	conf_items_free(&items);
}

/* ---- services */

static const char *
type_word(const struct conf_service *s)
{
	static const char *const words[] = { "inet", "unix", "unix-dgram", "fifo", "pass" };

	return words[s->type];
}

/* "name", "name/type" or "name/type/parameter" among the arguments; `parameter` NULL = any. */
static bool
is_wanted(const struct conf_service *s, const char *parameter, int argc, char **argv)
{
	for (int a = 0; a < argc; a++) {
		struct span name, type, rest;

		span_cut(span_str(argv[a]), '/', &name, &rest);
		span_cut(rest, '/', &type, &rest);
		if ((span_eq(name, span_str(s->name)) || span_eq(name, SPAN("*"))) &&
		    (type.n == 0 || span_eq(type, span_str(type_word(s))) || span_eq(type, SPAN("*"))) &&
		    (parameter == NULL || rest.n == 0 || span_eq(rest, span_str(parameter)) || span_eq(rest, SPAN("*"))))
			return true;
	}
	return argc == 0;
}

/* -o as it can stand in master.cf again. */
static void
add_override(struct buf *out, const struct conf_item *i)
{
	bool braces = strpbrk(i->raw, " \t") != NULL;

	buf_addf(out, braces ? "\n    -o { %s = %s }" : "\n    -o %s=%s", i->name, i->raw);
}

static void
print_service(struct show *s, const struct conf_service *v)
{
	size_t n;
	struct conf_item *items = conf_items(v, &n);
	char wakeup[32], limit[32];

	snprintf(wakeup, sizeof(wakeup), v->wakeup_s > 0 ? "%d%s" : "-", v->wakeup_s, v->wakeup_if_used ? "?" : "");
	snprintf(limit, sizeof(limit), v->maxproc_given ? "%d" : "-", v->maxproc);
	buf_addf(&s->out, "%-10s %-5s %-7s %-7s %-7s %-7s %-7s %s", v->name, type_word(v), v->is_private ? "y" : "n",
	    v->unpriv ? "y" : "n", v->chroot ? "y" : "n", wakeup, limit, v->command);
	for (int i = 0; i < v->verbose; i++)
		buf_add_str(&s->out, " -v");
	for (size_t i = 0; i < n; i++)
		if (items[i].overridden)
			add_override(&s->out, &items[i]);
	if (v->args[0] != '\0')
		buf_addf(&s->out, "\n    %s", v->args);
	buf_addc(&s->out, '\n');
	conf_items_free(&items);
}

static void
json_service(struct show *s, const struct conf_service *v)
{
	buf_add_str(&s->out, s->first ? "[\n{\"name\": " : ",\n{\"name\": ");
	text_json(&s->out, span_str(v->name));
	buf_addf(&s->out, ", \"type\": \"%s\", \"command\": ", type_word(v));
	text_json(&s->out, span_str(v->command));
	buf_add_str(&s->out, ", \"args\": ");
	text_json(&s->out, span_str(v->args));
	buf_add_str(&s->out, ", \"log_tag\": ");
	text_json(&s->out, span_str(v->log_tag));
	buf_addf(&s->out, ", \"maxproc\": %d, \"wakeup\": %d, \"disabled\": %s, \"file\": ", v->maxproc, v->wakeup_s,
	    v->disabled ? "true" : "false");
	text_json(&s->out, span_str(v->file));
	buf_addf(&s->out, ", \"line\": %u}", v->line);
	s->first = false;
}

static void
show_services(struct show *s, int argc, char **argv)
{
	for (size_t i = 0; i < s->conf->service_count; i++) {
		const struct conf_service *v = &s->conf->services[i];

		if (!is_wanted(v, NULL, argc, argv))
			continue;
		if (s->o->json)
			json_service(s, v);
		else
			print_service(s, v);
	}
}

static void
show_overrides(struct show *s, int argc, char **argv)
{
	for (size_t v = 0; v < s->conf->service_count; v++) {
		const struct conf_service *service = &s->conf->services[v];
		struct buf prefix;
		size_t n;
		struct conf_item *items = conf_items(service, &n);

		buf_init(&prefix, 4096);
		buf_addf(&prefix, "%s/%s/", service->name, type_word(service));
		for (size_t i = 0; i < n; i++)
			if (items[i].overridden && is_wanted(service, items[i].name, argc, argv))
				print_item(s, &items[i], buf_cstr(&prefix));
		buf_release(&prefix);
		conf_items_free(&items);
	}
}

/* ---- the verb */

static bool
parse_letter(struct options *o, char c)
{
	switch (c) {
	case 'n': o->only_set = true; return true;
	case 'd': o->defaults = true; return true;
	case 'h': o->values_only = true; return true;
	case 'H': o->names_only = true; return true;
	case 'x': o->expand = true; return true;
	case 'j': o->json = true; return true;
	case 'p':
	case 'f': return true;
	case 'M': o->what = WHAT_SERVICES; return true;
	case 'm': o->what = WHAT_TABLE_TYPES; return true;
	case 'P': o->what = WHAT_OVERRIDES; return true;
	case 'e': o->edit = CONF_EDIT_SET; return true;
	case 'X': o->edit = CONF_EDIT_DELETE; return true;
	case '#': o->edit = CONF_EDIT_COMMENT; return true;
	default: return false;
	}
}

/* Index of the first argument that is no option; -1 after a complaint. */
static int
parse_options(const struct cli *cli, struct options *o, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
		if (strcmp(argv[i], "--") == 0)
			return i + 1;
		if (strcmp(argv[i], "--json") == 0) {
			o->json = true;
			continue;
		}
		for (const char *c = argv[i] + 1; *c != '\0'; c++)
			if (!parse_letter(o, *c)) {
				cli_usage(cli, "no such option: -%c", *c);
				return -1;
			}
	}
	return i;
}

static int
show(const struct cli *cli, const struct options *o, int argc, char **argv)
{
	struct show s = { .cli = cli, .o = o, .first = true };
	struct conf_report report;
	struct conf *conf = NULL;

	conf_report_init(&report);
	buf_init(&s.out, 64U << 20);
	if (!conf_load(cli->dir, &conf, &report)) {
		conf_report_print(&report, CONF_ERROR, &s.out);
		(void)fd_write_all(2, s.out.p, s.out.n);
		buf_clear(&s.out);
		s.status = conf == NULL ? CLI_NO : CLI_DONE;
	}
	s.conf = conf;
	if (conf != NULL && o->what == WHAT_PARAMETERS)
		show_parameters(&s, argc, argv);
	else if (conf != NULL && o->what == WHAT_SERVICES)
		show_services(&s, argc, argv);
	else if (conf != NULL)
		show_overrides(&s, argc, argv);
	if (o->json && conf != NULL)
		buf_add_str(&s.out, s.first ? "[]\n" : "\n]\n");
	if (cli_print(cli, &s.out) != CLI_DONE)
		s.status = CLI_NO;
	buf_release(&s.out);
	conf_report_release(&report);
	conf_unref(&conf);
	return s.status;
}

static int
show_table_types(const struct cli *cli)
{
	const struct word_row *row;
	struct buf out;
	int status;

	buf_init(&out, 65536);
	for (size_t i = 0; (row = word_table_type_at(i)) != NULL; i++)
		if (row->state == PARAM_WORKS)
			buf_addf(&out, "%s\n", row->word);
	status = cli_print(cli, &out);
	buf_release(&out);
	return status;
}

/* Is the finding about one of the parameters that were named ("NAME=VALUE" or "NAME")? */
static bool
is_about(const struct conf_finding *f, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		struct span name, value;

		span_cut(span_str(argv[i]), '=', &name, &value);
		name = span_trim(name);
		if (strncmp(f->text, name.p, name.n) == 0 && strchr(": ", f->text[name.n]) != NULL)
			return true;
	}
	return false;
}

/* What was edited is written, as postconf does; but who mistyped hears it now and not from the next reload. */
static void
say_findings(const struct cli *cli, int argc, char **argv)
{
	struct conf_report all, theirs;
	struct conf *conf = NULL;
	struct buf text;

	conf_report_init(&all);
	conf_report_init(&theirs);
	buf_init(&text, 1U << 20);
	conf_load(cli->dir, &conf, &all);
	for (size_t i = 0; i < all.count; i++) {
		const struct conf_finding *f = &all.list[i];

		if (is_about(f, argc, argv))
			conf_report_add(&theirs, f->severity, f->file, f->line, f->fix, "%s", f->text);
	}
	conf_report_print(&theirs, CONF_NOTE, &text);
	(void)!fd_write_all(STDERR_FILENO, text.p, text.n);
	buf_release(&text);
	conf_unref(&conf);
	conf_report_release(&all);
	conf_report_release(&theirs);
}

int
verb_conf(struct cli *cli, int argc, char **argv)
{
	struct options o = { .what = WHAT_PARAMETERS };
	int status, first = parse_options(cli, &o, argc, argv);

	if (first < 0)
		return CLI_USAGE;
	/* as postconf: NAME=VALUE alone means -e */
	if (o.edit == CONF_EDIT_NOTHING && o.what == WHAT_PARAMETERS && first < argc && strchr(argv[first], '=') != NULL)
		o.edit = CONF_EDIT_SET;
	if (o.what == WHAT_TABLE_TYPES)
		return show_table_types(cli);
	if (o.edit == CONF_EDIT_NOTHING)
		return show(cli, &o, argc - first, argv + first);
	if (o.what != WHAT_PARAMETERS)
		return cli_usage(cli, "only main.cf can be edited here; edit master.cf by hand");
	if (first == argc)
		return cli_usage(cli, "what shall be edited?");
	status = conf_edit_main(cli, o.edit, argc - first, argv + first);
	if (status == CLI_DONE)
		say_findings(cli, argc - first, argv + first);
	return status;
}
