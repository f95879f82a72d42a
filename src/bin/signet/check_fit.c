/* signet check: names in one place that must exist in another: services, users, ports, domains. */
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "conf/params.h"
#include "conf/words.h"
#include "signet/check.h"

struct fit {
	const struct checker *c;
	const struct conf_item *items;
	size_t n;
};

/* Mail needs these services even when no parameter names them. */
static void
check_needed(const struct checker *c)
{
	static const struct { const char *name, *line; } needed[] = {
		{ "smtp", "smtp unix - - n - - smtp" }, { "relay", "relay unix - - n - - smtp" },
		{ "local", "local unix - n n - - local" }, { "error", "error unix - - n - - error" },
		{ "retry", "retry unix - - n - - error" },
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (conf_find_service(c->conf, needed[i].name, false) == NULL) {
			char fix[128], file[4096];

			snprintf(file, sizeof(file), "%s/master.cf", c->conf->dir);
			snprintf(fix, sizeof(fix), "add the line: %s", needed[i].line);
			conf_report_add(c->report, CONF_WARNING, file, 0, fix,
			    "master.cf has no service %s: mail for it would wait", needed[i].name);
		}
}

/* ---- users and groups */

static void
check_owner(const struct fit *f)
{
	const struct conf_item *i = check_find(f->items, f->n, "mail_owner");

	if (i != NULL && i->value != NULL && getpwnam(i->value) == NULL)
		check_say(f->c, CONF_WARNING, i, "create the user, or set mail_owner", "there is no user %s", i->value);
	i = check_find(f->items, f->n, "default_privs");
	if (i != NULL && i->value != NULL && getpwnam(i->value) == NULL)
		check_say(f->c, CONF_ERROR, i, "create the user, or set default_privs", "there is no user %s", i->value);
}

/* ---- networks */

static void
check_networks(const struct fit *f)
{
	const struct conf_item *i = check_find(f->items, f->n, "mynetworks");
	struct span rest = span_str(i != NULL ? i->value : NULL), word;

	while (word_next(&rest, &word))
		if (!span_starts(word, SPAN("!")) && span_ends(word, SPAN("/0")))
			check_say(f->c, CONF_WARNING, i, "name your own networks alone",
			    "%.*s is everybody: permit_mynetworks then relays for all the world", SPAN_ARG(word));
}

/* ---- ports */

static bool
is_known_port(const struct checker *c, const char *port)
{
	struct span rest = span_str(c->conf->params->known_tcp_ports), item;
	uint64_t number;

	if (span_u64(span_str(port), 65535, &number))
		return number > 0;
	while (span_token(&rest, ", \t", &item)) {
		struct span name;

		while (span_cut(item, '=', &name, &item))
			if (span_eq(name, span_str(port)))
				return true;
	}
	return getservbyname(port, "tcp") != NULL;
}

static void
check_ports(const struct checker *c)
{
	for (size_t i = 0; i < c->conf->service_count; i++) {
		const struct conf_service *s = &c->conf->services[i];
		const char *colon = strrchr(s->name, ':');

		if (s->type == CONF_SERVICE_INET && !s->disabled && !is_known_port(c, colon != NULL ? colon + 1 : s->name))
			conf_report_add(c->report, CONF_ERROR, s->file, s->line, "write the number of the port",
			    "service %s: this port is not known", s->name);
	}
}

/* ---- domains in two classes */

static bool
list_has_ci(const char *list, struct span word)
{
	struct span rest = span_str(list), item;

	while (word_next(&rest, &item))
		if (span_eq_ci(item, word))
			return true;
	return false;
}

static void
check_overlap(const struct fit *f, const char *one, const char *other)
{
	const struct conf_item *a = check_find(f->items, f->n, one), *b = check_find(f->items, f->n, other);
	struct span rest, domain;

	if (a == NULL || b == NULL || a->value == NULL || b->value == NULL || b->file == NULL)
		return;
	rest = span_str(b->value);
	while (word_next(&rest, &domain))
		if (span_index(domain, ':') < 0 && domain.p[0] != '/' && domain.p[0] != '!' && list_has_ci(a->value, domain))
			check_say(f->c, CONF_WARNING, b, "keep the domain in one of the two",
			    "%.*s is in %s too, which comes first", SPAN_ARG(domain), one);
}

void
check_fit(const struct checker *c)
{
	struct fit f = { .c = c };
	struct conf_item *items = conf_items(c->conf->none, &f.n);

	f.items = items;
	check_needed(c);
	check_owner(&f);
	check_networks(&f);
	check_ports(c);
	check_overlap(&f, "mydestination", "virtual_alias_domains");
	check_overlap(&f, "mydestination", "virtual_mailbox_domains");
	check_overlap(&f, "virtual_alias_domains", "virtual_mailbox_domains");
	check_overlap(&f, "mydestination", "relay_domains");
	conf_items_free(&items);
}
