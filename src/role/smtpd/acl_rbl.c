/* Access control: black and white lists in DNS (reject_rbl_client, permit_dnswl_client and the like), and the reply of default_rbl_reply. */
#include "dns/dns.h"
#include "mail/address.h"
#include "role/smtpd/acl_private.h"

/* --- asking a list --- */

/* One part of "127.0.[0..3].[2;4..6]" against an octet; moves behind it. */
static bool
octet_matches(struct span *pattern, unsigned octet, bool *ok)
{
	struct span set, item, low, high;
	uint64_t a, b;
	bool hit = false, more = true;
	ptrdiff_t end;

	if (pattern->n > 0 && pattern->p[0] == '[') {
		end = span_index(*pattern, ']');
		set = end > 0 ? span_slice(*pattern, 1, (size_t)end) : SPAN("");
		*pattern = end > 0 ? span_from(*pattern, (size_t)end + 1) : SPAN("");
	} else {
		end = span_index(*pattern, '.');
		set = end < 0 ? *pattern : span_slice(*pattern, 0, (size_t)end);
		*pattern = end < 0 ? SPAN("") : span_from(*pattern, (size_t)end);
	}
	*ok = *ok && set.n > 0;
	while (more) {
		ptrdiff_t dots;

		more = span_cut(set, ';', &item, &set);
		dots = span_find(item, SPAN(".."));
		low = dots < 0 ? item : span_slice(item, 0, (size_t)dots);
		high = dots < 0 ? item : span_from(item, (size_t)dots + 2);
		if (!span_u64(low, 255, &a) || !span_u64(high, 255, &b)) {
			*ok = false;
			return false;
		}
		hit = hit || (octet >= a && octet <= b);
	}
	return hit;
}

static bool
pattern_matches(struct span pattern, const unsigned char addr[4])
{
	bool ok = true, hit = true;

	for (unsigned i = 0; i < 4 && ok; i++) {
		if (i > 0) {
			ok = pattern.n > 0 && pattern.p[0] == '.';
			pattern = span_from(pattern, 1);
		}
		hit = octet_matches(&pattern, addr[i], &ok) && hit;
	}
	return ok && hit && pattern.n == 0;
}

/* Does `query` in list "zone[=pattern]" have an entry? FOUND, ABSENT, WAIT, or DEFER when DNS cannot say. */
static enum map_result
listed(struct acl_eval *e, struct span query, struct span list, struct span *name_r)
{
	const struct dns_answer *d;
	struct span zone, pattern;

	span_cut(list, '=', &zone, &pattern);
	*name_r = arena_printf(e->a, "%.*s.%.*s", SPAN_ARG(query), SPAN_ARG(zone));
	if (acl_dns_get(e, *name_r, DNS_TYPE_A, &d) == MAP_WAIT)
		return MAP_WAIT;
	if (d == NULL)
		return MAP_ABSENT;
	if (!dns_known(d)) {
		acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), arena_printf(e->a, "%.*s: RBL lookup error: %.*s", SPAN_ARG(*name_r),
		    SPAN_ARG(d->why)));
		return MAP_DEFER;
	}
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i].data.n == 4 &&
		    (pattern.n == 0 || pattern_matches(pattern, (const unsigned char *)d->records[i].data.p)))
			return MAP_FOUND;
	return MAP_ABSENT;
}

/* "4.3.2.1" for 1.2.3.4, nibbles for IPv6. */
static bool
reversed(struct acl_eval *e, struct span addr, struct span *query_r)
{
	uint8_t bytes[16];
	struct span name;
	size_t n;

	if (!dns_address_parse(addr, bytes, &n))
		return false;
	name = dns_name_reverse(e->a, span_of(bytes, n));
	*query_r = span_slice(name, 0, name.n - (n == 4 ? SPAN(".in-addr.arpa").n : SPAN(".ip6.arpa").n));
	return true;
}

/* --- the reply template (default_rbl_reply, rbl_reply_maps) --- */

struct rbl_facts {
	struct span list, what, reason, domain;
	const char *class;
};

static struct span
rbl_value(struct acl_eval *e, const struct rbl_facts *b, struct span name)
{
	const struct acl_facts *f = e->f;
	struct { const char *name; struct span value; } values[] = {
		{ "rbl_code", arena_printf(e->a, "%d", e->p->maps_rbl_reject_code) },
		{ "rbl_class", span_str(b->class) },
		{ "rbl_domain", b->domain },
		{ "rbl_what", b->what },
		{ "rbl_reason", b->reason },
		{ "rbl_txt", b->reason },
		{ "client", f->namaddr },
		{ "client_address", f->addr },
		{ "client_name", f->client_name },
		{ "reverse_client_name", f->reverse_name },
		{ "helo_name", f->helo },
		{ "sender", f->have_sender ? f->sender : SPAN("") },
		{ "recipient", f->have_recipient ? f->recipient : SPAN("") },
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (span_eq(name, span_str(values[i].name)))
			return values[i].value;
	return SPAN("");
}

/* smtpd_expansion_filter: may this byte stand in a reply? The parameter has \-escapes. */
static bool
expansion_allows(const char *filter, char c)
{
	for (const char *p = filter; *p != '\0'; p++) {
		char have = *p;

		if (have == '\\' && p[1] == 't') {
			have = '\t';
			p++;
		} else if (have == '\\' && p[1] >= '0' && p[1] <= '7') {
			have = 0;
			for (unsigned i = 0; i < 3 && p[1] >= '0' && p[1] <= '7'; i++)
				have = (char)(have * 8 + (*++p - '0'));
		} else if (have == '\\' && p[1] != '\0') {
			have = *++p;
		}
		if (have == c)
			return true;
	}
	return false;
}

static void
add_filtered(const struct acl_eval *e, struct buf *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		buf_addc(out, expansion_allows(e->p->smtpd_expansion_filter, value.p[i]) ? value.p[i] : '_');
}

static void rbl_expand(struct acl_eval *e, const struct rbl_facts *b, struct span t, struct buf *out, unsigned depth);

/* What stands inside "${...}": a name, "name?text" or "name:text". */
static void
expand_braced(struct acl_eval *e, const struct rbl_facts *b, struct span inner, struct buf *out, unsigned depth)
{
	size_t n = 0;
	struct span value;

	while (n < inner.n && inner.p[n] != '?' && inner.p[n] != ':')
		n++;
	value = rbl_value(e, b, span_slice(inner, 0, n));
	if (n == inner.n)
		add_filtered(e, out, value);
	else if ((value.n > 0) == (inner.p[n] == '?') && depth < 10)
		rbl_expand(e, b, span_from(inner, n + 1), out, depth + 1);
}

static size_t
closing_brace(struct span t, size_t at)
{
	unsigned depth = 0;

	for (; at < t.n; at++) {
		depth += t.p[at] == '{';
		if (t.p[at] == '}' && --depth == 0)
			return at;
	}
	return t.n;
}

static void
rbl_expand(struct acl_eval *e, const struct rbl_facts *b, struct span t, struct buf *out, unsigned depth)
{
	for (size_t i = 0; i < t.n; i++) {
		size_t end = i + 1;

		if (t.p[i] != '$' || i + 1 == t.n) {
			buf_addc(out, t.p[i]);
			continue;
		}
		if (t.p[i + 1] == '{') {
			end = closing_brace(t, i + 1);
			expand_braced(e, b, span_slice(t, i + 2, end), out, depth);
			i = end;
			continue;
		}
		while (end < t.n && (ascii_isalnum(t.p[end]) || t.p[end] == '_'))
			end++;
		add_filtered(e, out, rbl_value(e, b, span_slice(t, i + 1, end)));
		i = end - 1;
	}
}

static struct span
txt_reason(struct acl_eval *e, struct span name, bool *wait)
{
	const struct dns_answer *d;

	*wait = acl_dns_get(e, name, DNS_TYPE_TXT, &d) == MAP_WAIT;
	if (*wait || d == NULL || !dns_known(d) || d->count == 0)
		return SPAN("");
	return span_slice(d->records[0].data, 0, 255);
}

static enum acl_verdict
rbl_reply(struct acl_eval *e, const struct acl_rule *r, const struct rbl_facts *b, struct span template)
{
	struct buf out;
	struct span text;
	uint64_t code = (uint64_t)e->p->maps_rbl_reject_code;
	char dsn[12];

	buf_init(&out, 1000);
	rbl_expand(e, b, template, &out, 0);
	text = arena_dup(e->a, buf_span(&out));
	buf_release(&out);
	if (text.n > 4 && text.p[3] == ' ' && span_u64(span_slice(text, 0, 3), 599, &code) && code >= 400)
		text = span_trim(span_from(text, 4));
	text = acl_split_dsn(text, "5.7.1", dsn);
	return acl_reject(e, r->row->subject, (unsigned)code, dsn, "%.*s", SPAN_ARG(text));
}

/* --- the rules --- */

static enum acl_verdict
rbl_hit(struct acl_eval *e, const struct acl_rule *r, struct span query_name, struct span what)
{
	struct rbl_facts b = { .list = r->arg, .what = what, .class = acl_subject_class(e, r->row->subject) };
	struct span template = span_str(e->p->default_rbl_reply), rest;
	struct fault why = { 0 };
	struct map_hit hit;
	enum acl_verdict v;
	enum map_result got;
	bool wait;

	span_cut(r->arg, '=', &b.domain, &rest);
	b.reason = txt_reason(e, query_name, &wait);
	if (wait)
		return ACL_WAIT;
	got = maps_find(e->acl->rbl_reply_maps, r->arg, e->asks, e->a, &hit, &why);
	if (acl_stopped(e, got, r->row->subject, &why, &v))
		return v;
	return rbl_reply(e, r, &b, got == MAP_FOUND ? hit.value : template);
}

/* A list that does not answer blocks nobody. */
static enum acl_verdict
check_list(struct acl_eval *e, const struct acl_rule *r, struct span query, struct span what)
{
	struct span name;
	enum map_result got = listed(e, query, r->arg, &name);

	if (got == MAP_WAIT)
		return ACL_WAIT;
	return got == MAP_FOUND ? rbl_hit(e, r, name, what) : ACL_DUNNO;
}

enum acl_verdict
acl_rbl(struct acl_eval *e, const struct acl_rule *r)
{
	struct span query;

	if (!reversed(e, e->f->addr, &query))
		return ACL_DUNNO;
	return check_list(e, r, query, e->f->addr);
}

/* The domain a right-hand-side list is asked for, and what the reply shows; false: none. */
static bool
rhs_subject(const struct acl_eval *e, unsigned kind, struct span *domain_r, struct span *what_r)
{
	struct span local, name = SPAN(""), addr = SPAN("");

	switch (kind) {
	case ACL_KIND_CLIENT:
		name = e->f->client_name;
		break;
	case ACL_KIND_REVERSE:
		name = e->f->reverse_name;
		break;
	case ACL_KIND_HELO:
		name = e->f->helo;
		break;
	case ACL_KIND_SENDER:
		addr = e->f->have_sender ? e->f->sender : addr;
		break;
	case ACL_KIND_RECIPIENT:
		addr = e->f->have_recipient ? e->f->recipient : addr;
		break;
	}
	*what_r = addr.n > 0 ? addr : name;
	if (addr.n > 0)
		address_split(addr, &local, &name);
	*domain_r = name;
	return name.n > 0 && name.p[0] != '[' && !span_eq(name, SPAN("unknown")) && !dns_address_parse(name, NULL, NULL);
}

enum acl_verdict
acl_rhsbl(struct acl_eval *e, const struct acl_rule *r)
{
	struct span domain, what;

	if (!rhs_subject(e, r->row->kind, &domain, &what))
		return ACL_DUNNO;
	return check_list(e, r, domain, what);
}

/* A white list that cannot be asked must not let its clients be refused for good. */
static enum acl_verdict
whitelist(struct acl_eval *e, const struct acl_rule *r, struct span query)
{
	struct span name;

	switch (listed(e, query, r->arg, &name)) {
	case MAP_FOUND:
		return ACL_PERMIT;
	case MAP_ABSENT:
		return ACL_DUNNO;
	case MAP_WAIT:
		return ACL_WAIT;
	case MAP_DEFER:
		break;
	}
	return acl_defer_if_reject(e, r->row->subject, 450, "4.3.0", acl_rejected(e, r->row->subject, SPAN("temporary lookup error")));
}

enum acl_verdict
acl_dnswl(struct acl_eval *e, const struct acl_rule *r)
{
	struct span query;

	return reversed(e, e->f->addr, &query) ? whitelist(e, r, query) : ACL_DUNNO;
}

enum acl_verdict
acl_rhswl(struct acl_eval *e, const struct acl_rule *r)
{
	struct span domain, what;

	return rhs_subject(e, ACL_KIND_CLIENT, &domain, &what) ? whitelist(e, r, domain) : ACL_DUNNO;
}
