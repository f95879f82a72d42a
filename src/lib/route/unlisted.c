/* Known recipients: what reject_unlisted_recipient and reject_unlisted_sender ask. */
#include "mail/address.h"
#include "route/route_private.h"

static enum map_result
in_any(const struct route_work *w, const struct maps *const *tables, size_t n, struct span addr)
{
	struct map_hit hit;

	for (size_t i = 0; i < n; i++) {
		enum map_result r = route_find_address(w, tables[i], addr, &hit);

		if (r != MAP_ABSENT)
			return r;
	}
	return MAP_ABSENT;
}

/* An address that is rewritten to something else need not exist itself. */
static enum map_result
is_rewritten(const struct route_work *w, struct span addr, bool as_sender)
{
	const struct route *r = w->route;
	const struct maps *const tables[] = {
		r->recipient_canonical_maps, as_sender ? r->sender_canonical_maps : NULL, r->canonical_maps,
		r->virtual_alias_maps,
	};

	return in_any(w, tables, 4, addr);
}

static bool
is_dsn_digits(struct span s)
{
	uint64_t n;

	return span_u64(s, 999, &n);
}

/* "D.D.D" at the front of the text of an error transport, where `fallback` is meant otherwise. */
static void
split_dsn(struct span text, const char *fallback, struct route_unlisted *u)
{
	struct span word, rest, a, b, c, more;

	span_cut(text, ' ', &word, &rest);
	if (span_cut(word, '.', &a, &more) && span_cut(more, '.', &b, &c) && a.n == 1 &&
	    (a.p[0] == '4' || a.p[0] == '5') && is_dsn_digits(b) && is_dsn_digits(c)) {
		u->dsn = word;
		u->text = span_trim(rest);
	} else {
		u->dsn = span_str(fallback);
		u->text = text;
	}
}

static enum map_result
unknown(const struct route_work *w, int code, bool as_sender, const char *table, struct route_unlisted *u)
{
	u->code = code;
	u->dsn = as_sender ? SPAN("5.1.0") : SPAN("5.1.1");
	u->text = w->route->p->show_user_unknown_table_name ?
	    arena_printf(w->a, "User unknown in %s table", table) : SPAN("User unknown");
	return MAP_ABSENT;
}

/* Names that bounces and the postmaster need, listed or not. */
static bool
is_reserved(const struct route *r, struct span local)
{
	return span_eq_ci(local, span_str(r->p->double_bounce_sender)) || span_eq_ci(local, SPAN("postmaster")) ||
	    span_eq_ci(local, SPAN("mailer-daemon"));
}

static enum map_result
in_class_table(const struct route_work *w, const struct route_answer *ans, bool as_sender,
    struct route_unlisted *u)
{
	const struct route *r = w->route;
	const struct maps *table = NULL;
	const char *name = "";
	struct span local, domain;
	int code = 550;
	enum map_result found;
	struct map_hit hit;

	address_split(ans->rcpt, &local, &domain);
	if (ans->class == ROUTE_LOCAL && !is_reserved(r, local)) {
		table = r->local_recipient_maps;
		code = r->p->unknown_local_recipient_reject_code;
		name = "local recipient";
	} else if (ans->class == ROUTE_VIRTUAL_MAILBOX) {
		table = r->virtual_mailbox_maps;
		code = r->p->unknown_virtual_mailbox_reject_code;
		name = "virtual mailbox";
	} else if (ans->class == ROUTE_RELAY) {
		table = r->relay_recipient_maps;
		code = r->p->unknown_relay_recipient_reject_code;
		name = "relay recipient";
	}
	if (maps_empty(table) || ans->routed)
		return MAP_FOUND;
	found = route_find_address(w, table, ans->rcpt, &hit);
	return found == MAP_ABSENT ? unknown(w, code, as_sender, name, u) : found;
}

/* What goes to error: or retry: is known not to be deliverable. */
static enum map_result
undeliverable(const struct route_work *w, const struct route_answer *ans, bool as_sender,
    struct route_unlisted *u)
{
	bool later = span_eq(ans->transport, SPAN("retry"));

	split_dsn(ans->nexthop, later ? (as_sender ? "4.1.0" : "4.1.1") : (as_sender ? "5.1.0" : "5.1.1"), u);
	u->code = later ? 450 : 550;
	if (ans->class == ROUTE_VIRTUAL_ALIAS) {
		u->code = w->route->p->unknown_virtual_alias_reject_code;
		u->dsn = as_sender ? SPAN("5.1.0") : SPAN("5.1.1");
	}
	return MAP_ABSENT;
}

enum map_result
route_recipient_exists(const struct route *route, struct span sender, struct span rcpt, bool as_sender,
    struct asks *asks, struct arena *a, struct route_unlisted *u_r, struct fault *why)
{
	struct route_work w = { route, asks, a, why };
	struct route_answer ans;
	enum map_result r;

	*u_r = (struct route_unlisted){ 0 };
	r = route_resolve(route, sender, rcpt, 0, asks, a, &ans, why);
	if (r != MAP_FOUND)
		return r;
	r = is_rewritten(&w, rcpt, as_sender);
	if (r != MAP_ABSENT)
		return r;
	if (span_eq(ans.transport, SPAN("error")) || span_eq(ans.transport, SPAN("retry")))
		return undeliverable(&w, &ans, as_sender, u_r);
	return in_class_table(&w, &ans, as_sender, u_r);
}
