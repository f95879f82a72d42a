/* Restriction lists of a configuration, looked at before anybody works with them: with words and arguments, without opening tables. */
#include "conf/params.h"
#include "conf/show.h"
#include "conf/words.h"
#include "role/smtpd/acl_private.h"

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

static void
check_item(struct acl *acl, const struct conf_item *i, struct conf_report *report)
{
	struct acl_rules rules;
	struct fault why = { 0 };

	if (i->value == NULL || i->file == NULL)
		return;
	if (strcmp(i->name, "smtpd_restriction_classes") == 0)
		check_classes(acl, i, report);
	if (!is_list(acl, i))
		return;
	if (!acl_rules_parse(acl, span_str(i->value), &rules, &why))
		conf_report_add(report, CONF_ERROR, i->file, i->line, NULL, "%s: %s", i->name, why.text);
}

static void
check_service(const struct conf_service *s, bool all, struct conf_report *report)
{
	struct acl *acl = acl_new_unopened(s);
	struct conf_item *items;
	size_t n;

	items = conf_items(s, &n);
	for (size_t i = 0; i < n; i++)
		if (all || items[i].overridden)
			check_item(acl, &items[i], report);
	conf_items_free(&items);
	acl_free(&acl);
}

void
acl_conf_check(const struct conf *conf, struct conf_report *report)
{
	check_service(conf->none, true, report);
	for (size_t i = 0; i < conf->service_count; i++)
		if (!conf->services[i].disabled && strcmp(conf->services[i].command, "smtpd") == 0)
			check_service(&conf->services[i], false, report);
}
