/*
 * From a next hop to addresses: its written forms, MX records (RFC 5321 section 5.1, RFC 7505), address
 * records, mail that would loop back to us. Asked like every rule: MAP_WAIT until the answers are in.
 */
#include <string.h>

#include "role/smtpc/smtpc.h"

#define MX_MAX 64u              /* hosts of one domain that are looked up */
#define ADDRESSES_MAX 128u      /* of one domain */

/* ---- written forms */

/* Cut "host:port" at its last colon when that is a port and not part of an IPv6 address. */
static bool
cut_port(struct span *host, struct span *port_r)
{
	ptrdiff_t colon = span_rindex(*host, ':'), bracket = span_rindex(*host, ']');

	*port_r = SPAN("");
	if (colon < 0 || colon < bracket)
		return true;
	if (bracket < 0 && span_index(*host, ':') != colon)
		return true;            /* a bare IPv6 address */
	*port_r = span_from(*host, (size_t)colon + 1);
	*host = span_slice(*host, 0, (size_t)colon);
	return port_r->n > 0;
}

static bool
bad_form(struct span nexthop, const char *what, struct fault *why)
{
	log_warning(NULL, "next hop %.*s: %s", SPAN_ARG(log_esc(nexthop)), what);
	return fault_set(why, "4.3.5", "Server configuration error");
}

static bool
parse_host(struct service *svc, struct span text, struct arena *a, struct dest *d, struct fault *why)
{
	struct span port;

	if (!cut_port(&text, &port))
		return bad_form(d->nexthop, "empty port", why);
	d->port = port.n > 0 ? service_port(svc->p, port) : svc->port;
	if (d->port == 0)
		return bad_form(d->nexthop, "no such port", why);
	if (text.n > 1 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
		text = span_slice(text, 1, text.n - 1);
		d->no_mx = true;
	}
	if (span_starts_ci(text, SPAN("ipv6:")))
		text = span_from(text, 5);
	if (text.n == 0)
		return bad_form(d->nexthop, "empty host name", why);
	if (dns_address_parse(text, NULL, NULL)) {
		d->no_mx = true;
		d->domain = arena_lower(a, text);
	} else if (!dns_name_ascii(a, text, svc->p->enable_idna2003_compatibility, &d->domain)) {
		return fault_set(why, "5.4.4", "Host or domain name not found: %.*s is not a domain name",
		    SPAN_ARG(log_esc(text)));
	}
	return true;
}

bool
dest_parse(struct service *svc, struct span nexthop, struct arena *a, struct dest *dest_r, struct fault *why)
{
	struct dest *d = dest_r;

	*d = (struct dest){ .nexthop = nexthop };
	if (span_starts(nexthop, SPAN("unix:"))) {
		d->unix_socket = d->no_mx = true;
		d->domain = span_from(nexthop, 5);
		return d->domain.n > 0 || bad_form(nexthop, "empty path", why);
	}
	d->no_mx = svc->lmtp;
	if (span_starts(nexthop, SPAN("inet:"))) {
		d->no_mx = true;
		nexthop = span_from(nexthop, 5);
	}
	return parse_host(svc, nexthop, a, d, why);
}

/* ---- questions */

static enum map_result
ask(struct delivery *d, bool native, struct span name, uint16_t type, const struct dns_answer **answer_r)
{
	if (!native)
		return asks_dns(d->asks, name, type, answer_r);
	if (d->native == NULL)
		d->native = asks_new(native_link(d->role), deliver_ready, d);
	return asks_dns(d->native, name, type, answer_r);
}

void
dest_forget(struct delivery *d)
{
	asks_free(&d->native);
}

static void
add(struct delivery *d, const struct address *proto, sa_family_t family, struct span ip)
{
	struct dest *dest = &d->dest;
	struct address *a;

	if (dest->count >= ADDRESSES_MAX || ip.n != (family == AF_INET ? 4u : 16u))
		return;
	a = &dest->list[dest->count++];
	*a = *proto;
	a->family = family;
	memcpy(a->ip, ip.p, ip.n);
	a->text = dns_address_text(d->arena, ip);
}

/* What is known about a host that has no usable address. */
struct missing {
	bool soft;
	const char *word;
	const char *type;
};

static void
note_missing(struct missing *m, const struct dns_answer *answer)
{
	bool soft = !dns_known(answer);

	if (m->soft && !soft)
		return;
	m->soft = soft;
	m->type = answer->type == DNS_TYPE_A ? "A" : "AAAA";
	m->word = answer->status == DNS_BOGUS ? "DNSSEC validation failed, try again" :
	    soft ? "Host not found, try again" :
	    answer->nxdomain ? "Host not found" : "Host found but no data record of requested type";
}

/* Address records of `name` by one method. WAIT, FOUND (some were added), ABSENT (`missing` says why). */
static enum map_result
host_records(struct delivery *d, bool native, struct span name, const struct address *proto, struct missing *missing)
{
	static const struct {
		uint16_t type;
		sa_family_t family;
		unsigned bit;
	} kinds[] = { { DNS_TYPE_AAAA, AF_INET6, 2 }, { DNS_TYPE_A, AF_INET, 1 } };
	const struct dns_answer *answers[2] = { NULL, NULL };
	size_t before = d->dest.count;
	bool wait = false;

	for (int i = 0; i < 2; i++)
		if ((d->svc->families & kinds[i].bit) != 0)
			wait |= ask(d, native, name, kinds[i].type, &answers[i]) == MAP_WAIT;
	if (wait)
		return MAP_WAIT;
	for (int i = 0; i < 2; i++) {
		struct address with = *proto;

		if (answers[i] == NULL)
			continue;
		if (!dns_known(answers[i]) || answers[i]->count == 0) {
			note_missing(missing, answers[i]);
			continue;
		}
		if (answers[i]->alias && !span_eq_ci(answers[i]->canon, name))
			with.canon = arena_dup(d->arena, answers[i]->canon);
		with.status = answers[i]->status;
		for (size_t k = 0; k < answers[i]->count; k++)
			add(d, &with, kinds[i].family, answers[i]->records[k].data);
	}
	return d->dest.count > before ? MAP_FOUND : MAP_ABSENT;
}

/* Addresses of one host: a literal, DNS, then the system's way, as smtp_host_lookup allows. */
static enum map_result
host_addresses(struct delivery *d, struct span name, const struct address *proto, struct missing *missing)
{
	uint8_t ip[16];
	size_t n;
	enum map_result r = MAP_ABSENT;

	*missing = (struct missing){ .word = "Host not found", .type = "A" };
	if (dns_address_parse(name, ip, &n)) {
		add(d, proto, n == 4 ? AF_INET : AF_INET6, span_of(ip, n));
		return MAP_FOUND;
	}
	if (!dns_name_is_host(name))
		return MAP_ABSENT;
	if (d->svc->dns)
		r = host_records(d, false, name, proto, missing);
	/* a failed answer (SERVFAIL, a bogus signature) is not a no: the system's way would go round DNSSEC */
	if (r == MAP_ABSENT && !missing->soft && d->svc->native)
		r = host_records(d, true, name, proto, missing);
	return r;
}

/* ---- loops */

/* Port 25 of one of our own addresses: mail sent there comes back. */
static bool
is_self(const struct delivery *d, const struct address *a)
{
	return a->port == 25 && !d->svc->lmtp && own_address(d->role, a->family, a->ip);
}

static bool
loops(const struct delivery *d, struct fault *why)
{
	return fault_set(why, "5.4.6", "mail for %.*s loops back to myself", SPAN_ARG(log_esc(d->dest.domain)));
}

static bool
not_found(struct span host, const struct missing *m, struct fault *why)
{
	return fault_set(why, m->soft ? "4.4.3" : "5.4.4", "Host or domain name not found. "
	    "Name service error for name=%.*s type=%s: %s", SPAN_ARG(log_esc(host)), m->type, m->word);
}

static enum map_result
single_host(struct delivery *d, enum dns_status mx_status, struct fault *why)
{
	struct address proto = { .port = d->dest.port, .host = d->dest.domain, .mx_status = mx_status,
		.status = DNS_INSECURE };
	struct missing missing;
	enum map_result r = host_addresses(d, d->dest.domain, &proto, &missing);

	if (r == MAP_ABSENT)
		not_found(d->dest.domain, &missing, why);
	if (r != MAP_FOUND)
		return r;
	for (size_t i = 0; i < d->dest.count; i++) {
		if (is_self(d, &d->dest.list[i])) {
			d->dest.ours = true;
			loops(d, why);
			return MAP_ABSENT;
		}
	}
	return MAP_FOUND;
}

/* ---- MX */

static bool
is_null_mx(const struct dns_answer *mx)
{
	return mx->count == 1 && span_eq(mx->records[0].data, SPAN("."));
}

struct mx_search {
	uint16_t best_pref;
	struct missing missing; /* of `host`, the last that has no address, or rather the last that DNS could not say */
	struct span host;
	bool wait;
};

static void
mx_hosts(struct delivery *d, const struct dns_answer *mx, struct mx_search *s)
{
	*s = (struct mx_search){ .best_pref = UINT16_MAX };
	for (size_t i = 0; i < mx->count && i < MX_MAX; i++) {
		const struct dns_record *r = &mx->records[i];
		struct address proto = { .port = d->dest.port, .pref = r->pref, .from_mx = true,
			.mx_status = mx->status, .status = DNS_INSECURE };
		struct missing missing;

		if (r->pref < s->best_pref)
			s->best_pref = r->pref;
		proto.host = arena_dup(d->arena, r->data);
		switch (host_addresses(d, proto.host, &proto, &missing)) {
		case MAP_FOUND:
			break;
		case MAP_WAIT:
			s->wait = true;
			break;
		case MAP_ABSENT:
		case MAP_DEFER:
			if (s->missing.soft && !missing.soft)
				break;
			s->missing = missing;
			s->host = proto.host;
			break;
		}
	}
}

/* Drop every server at our own preference and beyond (RFC 5321 section 5.1). False with `why` when none is left. */
static bool
drop_self(struct delivery *d, const struct mx_search *s, struct fault *why)
{
	struct dest *dest = &d->dest;
	unsigned self = UINT16_MAX + 1u;
	size_t out = 0;

	for (size_t i = 0; i < dest->count; i++)
		if (is_self(d, &dest->list[i]) && dest->list[i].pref < self)
			self = dest->list[i].pref;
	if (self > UINT16_MAX)
		return true;
	dest->ours = true;
	for (size_t i = 0; i < dest->count; i++)
		if (dest->list[i].pref < self)
			dest->list[out++] = dest->list[i];
	dest->count = out;
	if (out > 0)
		return true;
	if (s->best_pref == self)
		return loops(d, why);
	return fault_set(why, s->missing.soft ? "4.4.4" : "5.4.4", "unable to find primary relay for %.*s",
	    SPAN_ARG(log_esc(dest->domain)));
}

static enum map_result
from_mx(struct delivery *d, const struct dns_answer *mx, struct fault *why)
{
	struct mx_search s;

	if (is_null_mx(mx)) {
		fault_set(why, "5.1.10", "Domain %.*s does not accept mail (nullMX)", SPAN_ARG(log_esc(d->dest.domain)));
		return MAP_ABSENT;
	}
	mx_hosts(d, mx, &s);
	if (s.wait)
		return MAP_WAIT;
	d->dest.best_mx_known = true;
	if (d->dest.count > 0)
		return drop_self(d, &s, why) ? MAP_FOUND : MAP_ABSENT;
	log_warning(NULL, "no MX host for %.*s has a valid address record", SPAN_ARG(log_esc(d->dest.domain)));
	not_found(s.host, &s.missing, why);
	if (d->svc->p->smtp_defer_if_no_mx_address_found)
		why->dsn[0] = '4';
	return MAP_ABSENT;
}

static enum map_result
domain_addresses(struct delivery *d, struct fault *why)
{
	const struct dns_answer *mx;

	if (ask(d, false, d->dest.domain, DNS_TYPE_MX, &mx) == MAP_WAIT)
		return MAP_WAIT;
	if (dns_known(mx))
		return mx->count > 0 ? from_mx(d, mx, why) :
		    single_host(d, mx->status, why);            /* none: implicit MX */
	if (d->svc->p->ignore_mx_lookup_error)
		return single_host(d, DNS_INSECURE, why);
	fault_set(why, "4.4.3", "Host or domain name not found. Name service error for name=%.*s type=MX: %s",
	    SPAN_ARG(log_esc(d->dest.domain)), mx->status == DNS_BOGUS ? "DNSSEC validation failed, try again" :
	    "Host not found, try again");
	return MAP_ABSENT;
}

static enum map_result
unix_address(struct delivery *d)
{
	struct address *a = &d->dest.list[d->dest.count++];

	*a = (struct address){ .family = AF_UNIX, .host = span_str(d->svc->p->myhostname) };
	a->text = d->dest.domain;
	return MAP_FOUND;
}

enum map_result
dest_resolve(struct delivery *d, struct span nexthop, struct fault *why)
{
	enum map_result r;

	if (!dest_parse(d->svc, nexthop, d->arena, &d->dest, why))
		return MAP_ABSENT;
	if (d->address_space == NULL)
		d->address_space = ARENA_ARRAY(d->arena, struct address, ADDRESSES_MAX);
	d->dest.list = d->address_space;
	if (d->dest.unix_socket)
		return unix_address(d);
	if (d->dest.no_mx || !d->svc->dns)
		r = single_host(d, DNS_INSECURE, why);
	else
		r = domain_addresses(d, why);
	if (r == MAP_FOUND)
		dest_sort(d->svc, &d->dest);
	return r;
}
