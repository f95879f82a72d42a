/* Restriction lists of a configuration, looked at before anybody works with them: with words and arguments; and what their tables say. */
#include "base/log.h"
#include "conf/params.h"
#include "conf/show.h"
#include "conf/words.h"
#include "maps/entries.h"
#include "role/smtpd/acl_private.h"
#include "tls/policy.h"

static bool
is_class(const struct acl *acl, const struct conf_item *i)
{
	struct span rest = span_str(acl->p->smtpd_restriction_classes), word;

	while (i->row == NULL && word_next(&rest, &word))
		if (span_eq(word, span_str(i->name)))
			return true;
	return false;
}

static bool
is_list(const struct acl *acl, const struct conf_item *i)
{
	return is_class(acl, i) || (i->row != NULL && i->row->type == PARAM_RESTRICTION) || strcmp(i->name, "local_header_rewrite_clients") == 0;
}

static void
check_classes(const struct acl *acl, const struct conf_item *i, struct conf_report *report)
{
	struct span rest = span_str(i->value), word;

	while (word_next(&rest, &word)) {
		char *name = arena_cstr(acl->arena, word);

		if (conf_get(acl->svc, name) == NULL)
			conf_report_add(report, CONF_ERROR, i->file, i->line, NULL, "%s: %s is not defined", i->name, name);
	}
}

/* Reading the configuration has said it already. */
static bool
was_said(const struct conf_report *report, const struct conf_item *i)
{
	size_t n = strlen(i->name);

	for (size_t k = 0; k < report->count; k++) {
		const struct conf_finding *f = &report->list[k];

		if (f->severity == CONF_ERROR && f->line == i->line && strcmp(f->file, i->file) == 0 && strncmp(f->text, i->name, n) == 0 &&
		    f->text[n] == ':')
			return true;
	}
	return false;
}

static void
check_item(struct acl *acl, const struct conf_item *i, struct conf_report *report)
{
	struct acl_rules rules;
	struct fault why = { 0 };

	if (i->value == NULL || i->file == NULL)
		return;
	if (strcmp(i->name, "smtpd_restriction_classes") == 0)
		check_classes(acl, i, report);
	if ((strcmp(i->name, "smtpd_tls_exclude_ciphers") == 0 || strcmp(i->name, "smtpd_tls_mandatory_exclude_ciphers") == 0) &&
	    !tls_exclusions_check(span_str(i->value), &why))
		conf_report_add(report, CONF_ERROR, i->file, i->line, NULL, "%s: %s", i->name, why.text);
	if (is_list(acl, i) && !acl_rules_parse(acl, span_str(i->value), &rules, &why) && !was_said(report, i))
		conf_report_add(report, CONF_ERROR, i->file, i->line, NULL, "%s: %s", i->name, why.text);
}

/* ---- the entries of access tables */

struct table_check {
	const struct conf_service *service;
	const struct conf_item *item;
	struct conf_report *report;
};

static void
on_entry(void *ctx, const struct maps_entry *e)
{
	static const char fix[] = "OK, DUNNO, REJECT text, 5nn text, or a list of restrictions";
	const struct table_check *t = ctx;
	struct fault why = { 0 };
	struct span key = log_esc(span_slice(e->key, 0, 200));

	if (!(e->is_rule && span_index(e->value, '$') >= 0) && !acl_action_check(t->service, e->value, &why))
		conf_report_add(t->report, CONF_ERROR, e->file != NULL ? e->file : t->item->file, e->file != NULL ? e->line : t->item->line, fix,
		    "%s: %.*s: %s: who matches it gets 451", t->item->name, SPAN_ARG(key), why.text);
}

static bool
is_access(struct span word)
{
	return span_starts_ci(word, SPAN("check_")) && span_ends_ci(word, SPAN("_access"));
}

/* What stands behind it is a service, a domain, a number, or a table whose values say nothing. */
static bool
has_other_argument(struct span word)
{
	const struct word_row *row = word_restriction(word);

	return row != NULL && row->argument != WORD_ALONE && !is_access(word);
}

/* "check_client_access hash:/x", "check_ccert_access { hash:/x, ... }", and a bare "hash:/x". */
static void
check_tables(struct acl *acl, const struct conf_item *i, struct conf_report *report)
{
	struct table_check t = { acl->svc, i, report };
	struct span rest, word, inner;
	bool access = false, other = false;

	if (i->value == NULL || i->file == NULL || !is_list(acl, i) || strcmp(i->name, "local_header_rewrite_clients") == 0)
		return;
	for (rest = span_str(i->value); word_next(&rest, &word); access = is_access(word)) {
		if (other) {
			other = false;
			continue;
		}
		other = has_other_argument(word);
		if (access && span_starts(word, SPAN("{"))) {
			inner = span_slice(word, 1, word.n - 1);
			word_next(&inner, &word);
		}
		if (access || span_index(word, ':') > 0)
			maps_entries(word, on_entry, &t);
	}
}

/* ---- services */

typedef void check_fn(struct acl *acl, const struct conf_item *i, struct conf_report *report);

/* `all`: also what the service has from main.cf. */
static void
check_service(const struct conf_service *s, bool all, check_fn *check, struct conf_report *report)
{
	struct acl *acl = acl_new_unopened(s);
	struct conf_item *items;
	size_t n;

	items = conf_items(s, &n);
	for (size_t i = 0; i < n; i++)
		if (all || items[i].overridden)
			check(acl, &items[i], report);
	conf_items_free(&items);
	acl_free(&acl);
}

static void
check_all(const struct conf *conf, check_fn *check, struct conf_report *report)
{
	check_service(conf->none, true, check, report);
	for (size_t i = 0; i < conf->service_count; i++)
		if (!conf->services[i].disabled && strcmp(conf->services[i].command, "smtpd") == 0)
			check_service(&conf->services[i], false, check, report);
}

void
acl_conf_check(const struct conf *conf, struct conf_report *report)
{
	check_all(conf, check_item, report);
}

void
acl_tables_check(const struct conf *conf, struct conf_report *report)
{
	check_all(conf, check_tables, report);
}
