/* signet check: everything that can be said about the configuration without starting it, each finding with its place and a fix. */
#include "signet/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "hop/conf_check.h"
#include "maps/conf_check.h"
#include "role/local/pipe_check.h"
#include "role/smtpd/acl.h"
#include "signet/cli.h"

const struct conf_item *
check_find(const struct conf_item *items, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(items[i].name, name) == 0)
			return &items[i];
	return NULL;
}

void
check_say(const struct checker *c, enum conf_severity severity, const struct conf_item *i, const char *fix,
    const char *fmt, ...)
{
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	conf_report_add(c->report, severity, i->file, i->line, fix, "%s: %s", i->name, text);
}

static void
json_finding(struct buf *out, const struct conf_finding *f)
{
	static const char *const words[] = { "note", "warning", "error" };

	buf_addf(out, "{\"severity\": \"%s\", \"file\": ", words[f->severity]);
	text_json(out, span_str(f->file));
	buf_addf(out, ", \"line\": %u, \"text\": ", f->line);
	text_json(out, span_str(f->text));
	buf_add_str(out, ", \"fix\": ");
	text_json(out, span_str(f->fix));
	buf_addc(out, '}');
}

static void
print_json(const struct conf_report *r, struct buf *out)
{
	buf_add_str(out, "[");
	for (size_t i = 0; i < r->count; i++) {
		buf_add_str(out, i > 0 ? ",\n" : "\n");
		json_finding(out, &r->list[i]);
	}
	buf_add_str(out, r->count > 0 ? "\n]\n" : "]\n");
}

static int
check(const struct cli *cli, bool json)
{
	struct conf_report report;
	struct conf *conf = NULL;
	struct buf out;
	int status;

	conf_report_init(&report);
	buf_init(&out, 16U << 20);
	conf_load(cli->dir, &conf, &report);
	if (conf != NULL) {
		struct checker c = { .conf = conf, .report = &report };

		maps_conf_check(conf, &report);
		hop_conf_check(conf, &report);
		acl_conf_check(conf, &report);
		pipe_conf_check(conf, &report);
		check_tables(&c);
		acl_tables_check(conf, &report);
		check_tls(&c);
		check_fit(&c);
		check_routes(&c);
		check_sasl(&c);
		check_policy(&c);
	}
	if (json)
		print_json(&report, &out);
	else
		conf_report_print(&report, CONF_NOTE, &out);
	status = cli_print(cli, &out);
	if (status == CLI_DONE && report.errors > 0)
		status = CLI_NO;
	buf_release(&out);
	conf_report_release(&report);
	conf_unref(&conf);
	return status;
}

int
verb_check(struct cli *cli, int argc, char **argv)
{
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") != 0)
			return cli_usage(cli, "unexpected word: %s", argv[i]);
		json = true;
	}
	return check(cli, json);
}
