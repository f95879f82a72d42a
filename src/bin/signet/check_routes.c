/* signet check: transports that exist and next hops that can be read, wherever mail is told where to go; actions of header and body checks. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/params.h"
#include "hop/hop.h"
#include "intake/checks.h"
#include "maps/entries.h"
#include "signet/check.h"

enum form {
	FORM_TRANSPORT,         /* "transport:nexthop" */
	FORM_TRANSPORT_MAYBE,   /* in a table: ":nexthop" and ":" too */
	FORM_RELAY,             /* a next hop, or a list of them */
	FORM_FILTER,            /* a table of actions, FILTER transport:nexthop among them */
};

struct routes {
	const struct checker *c;
	const struct conf_service *service;     /* whose parameters */
	const struct conf_item *item;
	const struct maps_entry *entry;         /* NULL: the parameter's own value */
	enum form form;
	struct arena *a;
};

#define FIX_HOP "write host, [host], host:port or [host]:port"

/* ---- findings */

static void
say_as(const struct routes *r, enum conf_severity severity, const char *fix, const char *text)
{
	const struct maps_entry *e = r->entry;

	if (e == NULL)
		check_say(r->c, severity, r->item, fix, "%s", text);
	else if (e->file == NULL)
		check_say(r->c, severity, r->item, fix, "%.*s: %s", SPAN_ARG(log_esc(span_slice(e->key, 0, 200))), text);
	else
		conf_report_add(r->c->report, severity, e->file, e->line, fix, "%s: %.*s: %s", r->item->name,
		    SPAN_ARG(log_esc(span_slice(e->key, 0, 200))), text);
}

static void
say(const struct routes *r, const char *fix, const char *text)
{
	say_as(r, CONF_ERROR, fix, text);
}

/* ---- values */

static bool
is_number(struct span s)
{
	uint64_t n;

	return span_u64(s, UINT64_MAX, &n);
}

static void
check_hop(const struct routes *r, const struct conf_service *s, struct span hop)
{
	struct hop_service svc = { .p = s->params, .lmtp = strcmp(s->command, "lmtp") == 0 };
	struct fault why = { 0 };

	svc.port = hop_port(s->params, span_str(s->params->smtp_tcp_port));
	if (svc.port == 0)
		svc.port = 25;
	if (is_number(hop))
		say(r, FIX_HOP, arena_cstr(r->a, arena_printf(r->a, "next hop %.*s: a number is no host", SPAN_ARG(hop))));
	else if (!hop_form(&svc, hop, r->a, &why))
		say(r, FIX_HOP, why.text);
}

/* "unix:private/dovecot-lmtp" is below our queue_directory, and not where Postfix had it. A table may name one socket often. */
static void
check_socket(const struct routes *r, struct span name)
{
	static char last[4096];
	char path[4096];
	int err;

	snprintf(path, sizeof(path), "%s%s%.*s", span_starts(name, SPAN("/")) ? "" : r->c->conf->params->queue_directory,
	    span_starts(name, SPAN("/")) ? "" : "/", SPAN_ARG(name));
	if (strcmp(path, last) == 0 || (err = check_listens_path(path)) == 0)
		return;
	snprintf(last, sizeof(last), "%s", path);
	say_as(r, CONF_WARNING, "start it; in Dovecot: service lmtp { unix_listener PATH { mode = 0660, user = who smtpc runs as } }",
	    arena_cstr(r->a, arena_printf(r->a, "nobody answers at %s: %s: until then this mail waits", path, fd_error(err))));
}

static void
check_hops(const struct routes *r, const struct conf_service *s, struct span list)
{
	struct span hop;

	if (r->entry != NULL && r->entry->is_rule && span_index(list, '$') >= 0)
		return;
	if (span_starts(list, SPAN("unix:"))) {
		check_hop(r, s, list);
		check_socket(r, span_from(list, 5));
	} else {
		while (span_token(&list, ", \t\r\n", &hop))
			check_hop(r, s, hop);
	}
}

static bool
speaks_smtp(const struct conf_service *s)
{
	return strcmp(s->command, "smtp") == 0 || strcmp(s->command, "lmtp") == 0;
}

/* "relay.example:25" where a transport belongs: say what was probably meant. */
static void
no_service(const struct routes *r, struct span transport)
{
	bool like_host = span_index(transport, '.') >= 0 || span_index(transport, '[') >= 0;

	say(r, like_host ? "write smtp:HOST, or add the service to master.cf" : "add the service to master.cf, or correct the name",
	    arena_cstr(r->a, arena_printf(r->a, "master.cf has no service %.*s (type unix): this mail would wait for ever", SPAN_ARG(log_esc(transport)))));
}

static void
check_transport(const struct routes *r, struct span value)
{
	struct span transport, hop;
	const struct conf_service *s;

	if (!span_cut(span_trim(value), ':', &transport, &hop) && r->form != FORM_TRANSPORT && transport.n > 0 &&
	    conf_find_service(r->c->conf, arena_cstr(r->a, transport), false) == NULL) {
		say(r, "write transport:nexthop", arena_cstr(r->a, arena_printf(r->a, "%.*s is no transport", SPAN_ARG(log_esc(transport)))));
		return;
	}
	transport = span_trim(transport);
	if (transport.n == 0 && r->form == FORM_TRANSPORT) {
		say(r, "write transport:nexthop", "it names no transport");
		return;
	}
	if (r->entry != NULL && r->entry->is_rule && span_index(transport, '$') >= 0)
		return;
	s = transport.n > 0 ? conf_find_service(r->c->conf, arena_cstr(r->a, transport), false) : conf_find_service(r->c->conf, "smtp", false);
	if (s == NULL && transport.n > 0)
		no_service(r, transport);
	else if (s != NULL && speaks_smtp(s))
		check_hops(r, s, span_trim(hop));
}

static void
check_filter(const struct routes *r, struct span value)
{
	bool header = strstr(r->item->name, "body_checks") == NULL;
	struct check check;
	struct fault why = { 0 };

	if (r->entry->is_rule && span_index(value, '$') >= 0)
		return;
	if (!check_parse(value, header, &check, &why))
		say(r, "see header_checks(5): REJECT text, IGNORE, PREPEND header, ...",
		    arena_cstr(r->a, arena_printf(r->a, "%s: a message that matches gets 451", why.text)));
	else if (check.action == CHECK_FILTER)
		check_transport(r, check.text);
}

static void
check_value(const struct routes *r, struct span value)
{
	const struct conf_service *s = conf_find_service(r->c->conf, "smtp", false);

	if (r->entry != NULL && span_eq_ci(value, SPAN("DUNNO")))
		return;
	if (r->form == FORM_FILTER)
		check_filter(r, value);
	else if (r->form != FORM_RELAY)
		check_transport(r, value);
	else if (s != NULL)
		check_hops(r, s, value);
}

static void
on_entry(void *ctx, const struct maps_entry *e)
{
	struct routes r = *(const struct routes *)ctx;

	r.entry = e;
	r.a = arena_new(1u << 20);
	check_value(&r, e->value);
	arena_free(&r.a);
}

/* ---- parameters */

static const struct {
	const char *name;
	bool table;
	enum form form;
} rows[] = {
	{ "local_transport", false, FORM_TRANSPORT }, { "virtual_transport", false, FORM_TRANSPORT },
	{ "relay_transport", false, FORM_TRANSPORT }, { "default_transport", false, FORM_TRANSPORT },
	{ "mailbox_transport", false, FORM_TRANSPORT }, { "fallback_transport", false, FORM_TRANSPORT },
	{ "content_filter", false, FORM_TRANSPORT },
	{ "transport_maps", true, FORM_TRANSPORT_MAYBE },
	{ "sender_dependent_default_transport_maps", true, FORM_TRANSPORT },
	{ "mailbox_transport_maps", true, FORM_TRANSPORT_MAYBE }, { "fallback_transport_maps", true, FORM_TRANSPORT_MAYBE },
	{ "relayhost", false, FORM_RELAY }, { "sender_dependent_relayhost_maps", true, FORM_RELAY },
	{ "smtp_fallback_relay", false, FORM_RELAY }, { "lmtp_fallback_relay", false, FORM_RELAY },
	{ "header_checks", true, FORM_FILTER }, { "body_checks", true, FORM_FILTER }, { "mime_header_checks", true, FORM_FILTER },
	{ "nested_header_checks", true, FORM_FILTER },
};

static void
check_service(const struct checker *c, const struct conf_service *s, bool all)
{
	size_t n;
	struct conf_item *items = conf_items(s, &n);

	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		struct routes r = { .c = c, .service = s, .item = check_find(items, n, rows[k].name), .form = rows[k].form };

		if (r.item == NULL || r.item->file == NULL || r.item->value == NULL || *r.item->value == '\0' || (!all && !r.item->overridden))
			continue;
		r.a = arena_new(1u << 20);
		if (rows[k].table)
			maps_entries(span_str(r.item->value), on_entry, &r);
		else
			check_value(&r, span_str(r.item->value));
		arena_free(&r.a);
	}
	conf_items_free(&items);
}

void
check_routes(const struct checker *c)
{
	check_service(c, c->conf->none, true);
	for (size_t i = 0; i < c->conf->service_count; i++)
		if (!c->conf->services[i].disabled)
			check_service(c, &c->conf->services[i], false);
}
