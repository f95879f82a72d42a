/*
 * Resolving a recipient, step by step: take off what is local, say which class the
 * domain is of, choose transport and next hop, let the tables override.
 */
#include "base/panic.h"
#include "mail/address.h"
#include "route/rewrite.h"
#include "route/route_private.h"

#define MAX_HOPS 50     /* "a%b%c%d": each turn takes one off */

/* user@domain, and whether the domain is ours. */
struct target {
	struct span addr;
	bool is_local;
};

/* Would this local part need quotes? Then with resolve_dequoted_address=no nobody looks inside. */
static bool
has_quoted_local(struct span local, struct arena *a)
{
	struct span external = address_external(arena_printf(a, "%.*s@x", SPAN_ARG(local)), a);

	return external.p[0] == '"';
}

/* Does the local part (no '@' domain behind it any more) ask to be sent on? */
static bool
asks_for_a_hop(const struct route_work *w, struct span local)
{
	const struct params *p = w->route->p;

	if (!p->resolve_dequoted_address && has_quoted_local(local, w->a))
		return false;
	return span_index(local, '@') >= 0 || (p->swap_bangpath && span_index(local, '!') >= 0) ||
	    (p->allow_percent_hack && span_index(local, '%') >= 0);
}

static struct span
strip_end(const struct params *p, struct span addr)
{
	if (addr.n > 0 && addr.p[addr.n - 1] == '.' &&
	    (addr.n == 1 || (addr.p[addr.n - 2] != '.' && addr.p[addr.n - 2] != '@')))
		addr.n--;
	if (p->resolve_null_domain && addr.n > 0 && addr.p[addr.n - 1] == '@')
		addr.n--;
	return addr;
}

/* Without a user it is mail for the mailer daemon; without a domain it is for this host. */
static struct span
complete(const struct route_work *w, struct span local, struct span domain, bool has_domain)
{
	const struct params *p = w->route->p;

	if (local.n == 0)
		local = span_str(p->empty_address_recipient);
	if (!has_domain)
		domain = span_str(p->myhostname);
	return arena_printf(w->a, "%.*s@%.*s", SPAN_ARG(local), SPAN_ARG(domain));
}

/* FOUND fills `t_r`. Local domains come off as long as what is left names another place. */
static enum map_result
find_target(const struct route_work *w, struct span addr, struct target *t_r)
{
	const struct params *p = w->route->p;
	struct span local, domain, saved = SPAN("");
	bool have_saved = false;

	*t_r = (struct target){ .addr = addr, .is_local = true };
	for (int hops = 0; addr.n > 0 && hops < MAX_HOPS; hops++) {
		addr = strip_end(p, addr);
		if (address_split(addr, &local, &domain)) {
			enum map_result mine = MAP_FOUND;

			if (domain.n > 0)
				mine = route_domain_is_local(w->route, domain, w->asks, w->a, w->why);
			if (mine == MAP_ABSENT) {
				*t_r = (struct target){ .addr = addr, .is_local = false };
				return MAP_FOUND;
			}
			if (mine != MAP_FOUND)
				return mine;
			addr = local;
			saved = domain;
			have_saved = true;
		}
		if (!asks_for_a_hop(w, addr))
			break;
		addr = route_rewrite_local(p, addr, w->a);
	}
	t_r->addr = complete(w, addr, saved, have_saved);
	return MAP_FOUND;
}

static bool
is_label(struct span label)
{
	if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++)
		if (!ascii_isalnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
			return false;
	return true;
}

/* A name by RFC 1123 and '_', not all digits and dots. */
static bool
is_hostname(struct span name)
{
	struct span rest = name, label;
	bool more = true, letters = false;

	if (name.n > 255)
		return false;
	while (more) {
		more = span_cut(rest, '.', &label, &rest);
		if (!is_label(label))
			return false;
	}
	for (size_t i = 0; i < name.n; i++)
		letters |= !ascii_isdigit(name.p[i]) && name.p[i] != '.';
	return letters;
}

static bool
is_valid_domain(const struct route_work *w, struct span domain)
{
	struct span ascii;

	if (domain.n > 0 && domain.p[0] == '[')
		return address_literal(domain, NULL);
	if (span_is_ascii(domain))
		return is_hostname(domain);
	return w->route->p->smtputf8_enable && address_domain_ascii(domain, w->a, &ascii, NULL) &&
	    is_hostname(ascii);
}

/* resolve_numeric_domain: user@1.2.3.4 means user@[1.2.3.4]. */
static enum map_result
bracket_numeric(const struct route_work *w, struct target *t)
{
	struct span local, domain;
	struct cidr c;
	enum map_result mine;

	address_split(t->addr, &local, &domain);
	if (!w->route->p->resolve_numeric_domain || domain.n == 0 || domain.p[0] == '[' || !cidr_addr(domain, &c))
		return MAP_FOUND;
	t->addr = arena_printf(w->a, "%.*s@[%s%.*s]", SPAN_ARG(local), c.v6 ? "IPv6:" : "", SPAN_ARG(domain));
	address_split(t->addr, &local, &domain);
	mine = route_domain_is_local(w->route, domain, w->asks, w->a, w->why);
	t->is_local = mine == MAP_FOUND;
	return mine == MAP_ABSENT ? MAP_FOUND : mine;
}

static void
bad_address(struct route_answer *r)
{
	r->bad_syntax = true;
	r->transport = SPAN("error");
	r->nexthop = SPAN("5.1.3 bad address syntax");
	r->source = SPAN("address syntax");
}

/* A parameter "transport" or "transport:nexthop". */
static void
set_transport(struct route_answer *r, const char *value, const char *name)
{
	r->transport = span_str(value);
	r->source = span_str(name);
}

/* Only what is known without asking anybody: a warning is not worth a question. */
static void
warn_if_also(const struct route_work *w, struct strlist *l, struct span domain, const char *one, const char *two)
{
	if (w->route->p->helpful_warnings && strlist_find(l, domain, NULL, w->a, NULL, NULL) == MAP_FOUND)
		/* what was warned about is not part of the compiled tables' meaning */
		route_warn_twice((struct route *)(uintptr_t)w->route, domain, one, two);
}

/* A sender-dependent table: FOUND sets `*value_r`, empty for DUNNO. */
static enum map_result
sender_table(const struct route_work *w, const struct maps *m, struct span sender, const char *null_key,
    struct span *value_r, struct span *table_r)
{
	struct map_hit hit;
	enum map_result found = route_find_address(w, m, sender.n > 0 ? sender : span_str(null_key), &hit);

	if (found != MAP_FOUND)
		return found;
	*value_r = span_eq_ci(hit.value, SPAN("DUNNO")) ? SPAN("") : hit.value;
	*table_r = hit.table;
	return MAP_FOUND;
}

static enum map_result
choose_relay(const struct route_work *w, const struct route_set *set, struct span sender,
    struct route_answer *r)
{
	struct span value, table;
	enum map_result found = sender_table(w, set->sender_relayhost, sender,
	    w->route->p->empty_address_relayhost_maps_lookup_key, &value, &table);

	if (found == MAP_DEFER || found == MAP_WAIT)
		return found;
	r->nexthop = r->domain;
	if (found == MAP_FOUND && value.n > 0) {
		r->nexthop = value;
		r->source = arena_printf(w->a, "sender_dependent_relayhost_maps %.*s", SPAN_ARG(table));
	} else if (set->relayhost[0] != '\0') {
		r->nexthop = span_str(set->relayhost);
		r->source = SPAN("relayhost");
	}
	return MAP_FOUND;
}

static enum map_result
choose_default(const struct route_work *w, const struct route_set *set, struct span sender,
    struct route_answer *r)
{
	struct span value, table;
	enum map_result found = sender_table(w, set->sender_default, sender,
	    w->route->p->empty_address_default_transport_maps_lookup_key, &value, &table);

	if (found == MAP_DEFER || found == MAP_WAIT)
		return found;
	r->class = ROUTE_DEFAULT;
	set_transport(r, set->default_transport, "default_transport");
	if (found == MAP_FOUND && value.n > 0) {
		r->transport = value;
		r->source = arena_printf(w->a, "sender_dependent_default_transport_maps %.*s", SPAN_ARG(table));
	}
	return choose_relay(w, set, sender, r);
}

static void
choose_alias(const struct route_work *w, struct route_answer *r)
{
	warn_if_also(w, w->route->virtual_mailbox_domains, r->domain, "virtual_alias_domains",
	    "virtual_mailbox_domains");
	warn_if_also(w, w->route->relay_domains, r->domain, "virtual_alias_domains", "relay_domains");
	r->class = ROUTE_VIRTUAL_ALIAS;
	r->transport = SPAN("error");
	r->nexthop = w->route->p->show_user_unknown_table_name ?
	    SPAN("5.1.1 User unknown in virtual alias table") : SPAN("5.1.1 User unknown");
	r->source = SPAN("virtual_alias_domains");
}

static enum map_result
choose_remote(const struct route_work *w, const struct route_set *set, struct span sender,
    struct route_answer *r)
{
	const struct route *route = w->route;
	enum map_result in = strlist_find(route->virtual_alias_domains, r->domain, w->asks, w->a, NULL, w->why);

	if (in == MAP_FOUND) {
		choose_alias(w, r);
		return MAP_FOUND;
	}
	if (in == MAP_ABSENT)
		in = strlist_find(route->virtual_mailbox_domains, r->domain, w->asks, w->a, NULL, w->why);
	if (in == MAP_FOUND) {
		warn_if_also(w, route->relay_domains, r->domain, "virtual_mailbox_domains", "relay_domains");
		r->class = ROUTE_VIRTUAL_MAILBOX;
		set_transport(r, set->virtual_transport, "virtual_transport");
		return MAP_FOUND;
	}
	if (in == MAP_ABSENT)
		in = strlist_find(route->relay_domains, r->domain, w->asks, w->a, NULL, w->why);
	if (in == MAP_FOUND) {
		r->class = ROUTE_RELAY;
		set_transport(r, set->relay_transport, "relay_transport");
		return choose_relay(w, set, sender, r);
	}
	return in == MAP_ABSENT ? choose_default(w, set, sender, r) : in;
}

static void
choose_local(const struct route_work *w, const struct route_set *set, struct route_answer *r)
{
	warn_if_also(w, w->route->virtual_alias_domains, r->domain, "mydestination", "virtual_alias_domains");
	warn_if_also(w, w->route->virtual_mailbox_domains, r->domain, "mydestination", "virtual_mailbox_domains");
	r->class = ROUTE_LOCAL;
	set_transport(r, set->local_transport, "local_transport");
}

/* relocated_maps come last, whatever the class. */
static enum map_result
check_relocated(const struct route_work *w, struct route_answer *r)
{
	struct map_hit hit;
	enum map_result found = route_find_address(w, w->route->relocated_maps, r->rcpt, &hit);

	if (found != MAP_FOUND)
		return found;
	r->transport = SPAN("error");
	r->nexthop = w->route->p->relocated_prefix_enable ?
	    arena_printf(w->a, "5.1.6 User has moved to %.*s", SPAN_ARG(hit.value)) : hit.value;
	r->source = arena_printf(w->a, "relocated_maps %.*s", SPAN_ARG(hit.table));
	return MAP_FOUND;
}

/* Any operator before the '@' of the domain, whether we would obey it or not: the next host might. */
static bool
is_routed(struct span rcpt, struct span domain)
{
	struct span local = span_slice(rcpt, 0, rcpt.n - domain.n - 1);

	return span_index(local, '@') >= 0 || span_index(local, '%') >= 0 || span_index(local, '!') >= 0;
}

static enum map_result
choose(const struct route_work *w, const struct route_set *set, struct span sender, bool is_local,
    struct route_answer *r)
{
	enum map_result got = MAP_FOUND;
	struct span transport, nexthop;

	r->nexthop = r->domain;
	if (is_local)
		choose_local(w, set, r);
	else
		got = choose_remote(w, set, sender, r);
	if (got != MAP_FOUND)
		return got;
	if (r->class != ROUTE_VIRTUAL_ALIAS) {
		/* an explicit "transport:nexthop" beats the next hop so far */
		route_split_transport(r->transport, &transport, &nexthop);
		r->transport = transport;
		if (nexthop.n > 0)
			r->nexthop = nexthop;
		got = route_transport_maps(w, set, r);
	}
	if (got == MAP_FOUND || got == MAP_ABSENT)
		got = check_relocated(w, r);
	return got == MAP_ABSENT ? MAP_FOUND : got;
}

enum map_result
route_resolve(const struct route *route, struct span sender, struct span rcpt, unsigned flags,
    struct asks *asks, struct arena *a, struct route_answer *r_r, struct fault *why)
{
	struct route_work w = { route, asks, a, why };
	struct target t;
	enum map_result got = find_target(&w, rcpt, &t);
	struct span local;

	*r_r = (struct route_answer){ .class = ROUTE_DEFAULT };
	if (got == MAP_FOUND)
		got = bracket_numeric(&w, &t);
	if (got != MAP_FOUND)
		return got;
	r_r->rcpt = arena_dup(a, t.addr);
	address_split(r_r->rcpt, &local, &r_r->domain);
	if (t.addr.n > ADDRESS_MAX || !is_valid_domain(&w, r_r->domain) ||
	    (!route->p->allow_min_user && local.n > 0 && local.p[0] == '-')) {
		bad_address(r_r);
		return MAP_FOUND;
	}
	r_r->routed = is_routed(r_r->rcpt, r_r->domain);
	return choose(&w, flags & ROUTE_PROBE ? &route->probe : &route->mail, sender, t.is_local, r_r);
}
