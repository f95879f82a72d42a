/* Lists and tables of a configuration, compiled once for what can be said about them. */
#include "maps/conf_check.h"

#include <netdb.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/params.h"
#include "conf/show.h"
#include "conf/words.h"
#include "maps/addrlist.h"
#include "maps/maps.h"
#include "maps/strlist.h"

struct job {
	struct conf_report *report;
	const struct conf_item *item;
	struct maps_env env;
};

static void
say(const struct job *j, const char *fix, const char *text)
{
	size_t n = strlen(j->item->name);
	bool named = strncmp(text, j->item->name, n) == 0 && text[n] == ':';

	conf_report_add(j->report, CONF_ERROR, j->item->file, j->item->line, fix, "%s%s%s", named ? "" : j->item->name,
	    named ? "" : ": ", text);
}

/* A type that does not work here was refused, or accepted, when the configuration was loaded. */
static bool
is_other_type(struct span label)
{
	const struct word_row *row;
	struct span type, name;

	while (span_starts(label, SPAN("proxy:")))
		label = span_from(label, 6);
	if (!span_cut(label, ':', &type, &name) || type.n == 0)
		return false;
	row = word_table_type(type);
	return row == NULL || row->state != PARAM_WORKS;
}

/* Tables that are opened with MAPS_STRICT: a rule that cannot be understood is an error there. */
static bool
is_strict(const struct conf_item *i)
{
	return strcmp(i->name, "smtpd_tls_policy_maps") == 0 || strcmp(i->name, "local_login_sender_maps") == 0;
}

static void
check_maps(const struct job *j)
{
	struct span rest = span_str(j->item->value), label;
	unsigned flags = is_strict(j->item) ? MAPS_STRICT : 0;
	struct maps *m = NULL;
	struct fault why = { 0 };

	while (word_next(&rest, &label)) {
		if (is_other_type(label))
			continue;
		if (!maps_open(label, flags, &j->env, &m, &why))
			say(j, span_starts(label, SPAN("/")) ? "write hash:, texthash: or another type in front" : "correct it", why.text);
		else
			maps_unref(&m);
	}
}

static void
check_networks(const struct job *j)
{
	struct addrlist *l = NULL;
	struct fault why = { 0 };

	if (addrlist_open(span_str(j->item->value), 0, &j->env, &l, &why))
		addrlist_free(&l);
	else
		say(j, "correct it", why.text);
}

static void
check_strings(const struct job *j)
{
	struct strlist *l = NULL;
	struct fault why = { 0 };

	if (strlist_open(span_str(j->item->value), STRLIST_DOMAIN, &j->env, &l, &why))
		strlist_free(&l);
	else
		say(j, "correct it", why.text);
}

static void
check_interfaces(const struct job *j)
{
	struct span rest = span_str(j->item->value), word;

	while (span_token(&rest, ", \t\r\n", &word)) {
		struct addrinfo *found = NULL;
		char name[1024], text[1200];
		int e;

		if (span_starts(word, SPAN("[")) && span_ends(word, SPAN("]")))
			word = span_slice(word, 1, word.n - 1);
		if (span_eq_ci(word, SPAN("all")) || span_eq_ci(word, SPAN("loopback-only")))
			continue;
		snprintf(name, sizeof(name), "%.*s", SPAN_ARG(word));
		e = getaddrinfo(name, NULL, NULL, &found);
		if (e == 0) {
			freeaddrinfo(found);
			continue;
		}
		snprintf(text, sizeof(text), "%.900s: %s", name, gai_strerror(e));
		say(j, "write an address, a name that has one, all or loopback-only", text);
	}
}

/* Tables that are asked in the middle of a line: without asking another process. */
static void
check_here(const struct job *j)
{
	static const char *const far[] = { "lmdb:", "unix:" };
	struct span rest = span_str(j->item->value), label;
	char text[1024];

	while (word_next(&rest, &label))
		for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++)
			if (span_find_ci(label, span_str(far[i])) >= 0) {
				snprintf(text, sizeof(text), "%.*s: another process answers for this table, which is too late here", SPAN_ARG(label));
				say(j, "use hash:, texthash:, regexp: or pcre:", text);
			}
}

/* Roles do not start without it. */
static void
check_tls_library(const struct job *j)
{
	const char *path = j->item->value;
	char text[PATH_MAX + 100];

	if (strcmp(path, "default") == 0 || strcmp(path, "none") == 0)
		return;
	if (*path != '/' || access(path, R_OK) != 0) {
		snprintf(text, sizeof(text), "%.*s: %s", PATH_MAX, path, *path == '/' ? "it cannot be read" : "it does not begin with /");
		say(j, "write default, none or the path of a file", text);
	}
}

static const struct {
	const char *name;
	void (*check)(const struct job *j);
} special[] = {
	{ "tls_config_file", check_tls_library },
	{ "mynetworks", check_networks },
	{ "permit_mx_backup_networks", check_networks },
	{ "smtpd_client_event_limit_exceptions", check_networks },
	{ "smtpd_forbid_bare_newline_exclusions", check_networks },
	{ "smtpd_authorized_xclient_hosts", check_networks },
	{ "smtpd_authorized_xforward_hosts", check_networks },
	{ "smtpd_sasl_exceptions_networks", check_networks },
	{ "authorized_submit_users", check_strings },
	{ "fast_flush_domains", check_strings },
	{ "masquerade_exceptions", check_strings },
	{ "mydestination", check_strings },
	{ "relay_domains", check_strings },
	{ "smtp_connection_cache_destinations", check_strings },
	{ "smtp_sasl_mechanism_filter", check_strings },
	{ "smtpd_forbidden_commands", check_strings },
	{ "smtpd_log_access_permit_actions", check_strings },
	{ "smtpd_sasl_mechanism_filter", check_strings },
	{ "virtual_alias_domains", check_strings },
	{ "virtual_mailbox_domains", check_strings },
	{ "default_delivery_status_filter", check_maps },
	{ "smtpd_command_filter", check_here },
	{ "smtpd_reject_filter_maps", check_here },
	{ "smtpd_reject_footer_maps", check_here },
	{ "inet_interfaces", check_interfaces },
	{ "proxy_interfaces", check_interfaces },
};

static void
check_item(struct conf_report *report, const struct params *p, const struct conf_item *i)
{
	const struct job j = { .report = report, .item = i, .env = { .data_directory = p->data_directory,
		.default_database_type = p->default_database_type, .alias_tables = "" } };

	if (i->value == NULL || i->row == NULL || i->file == NULL || i->row->state == PARAM_NOT_YET || i->row->state == PARAM_OBSOLETE)
		return;
	for (size_t k = 0; k < sizeof(special) / sizeof(special[0]); k++)
		if (strcmp(i->name, special[k].name) == 0)
			special[k].check(&j);
	if (i->row->type == PARAM_MAP_LIST)
		check_maps(&j);
}

void
maps_conf_check(const struct conf *c, struct conf_report *report)
{
	size_t n;
	struct conf_item *items = conf_items(c->none, &n);

	for (size_t i = 0; i < n; i++)
		check_item(report, c->params, &items[i]);
	conf_items_free(&items);
	for (size_t s = 0; s < c->service_count; s++) {
		if (c->services[s].disabled)
			continue;
		items = conf_items(&c->services[s], &n);
		for (size_t i = 0; i < n; i++)
			if (items[i].overridden)
				check_item(report, c->services[s].params, &items[i]);
		conf_items_free(&items);
	}
}
