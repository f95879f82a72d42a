/*
 * From a next hop to addresses: MX records (RFC 5321 section 5.1, RFC 7505), address records, mail that would
 * loop back to us. Asked like every rule: MAP_WAIT until the answers are in.
 */
#include <string.h>

#include "base/log.h"
#include "conf/params.h"
#include "hop/hop_private.h"

/* ---- questions */

enum map_result
hop_ask(struct hop *h, bool native, struct span name, uint16_t type, const struct dns_answer **answer_r)
{
	return asks_dns(native ? h->native(h->native_ctx) : h->asks, name, type, answer_r);
}

void
hop_note(struct hop *h, bool native, const struct dns_answer *d, struct hop_answer *a_r)
{
	*a_r = (struct hop_answer){ .type = d->type, .status = d->status, .native = native, .nxdomain = d->nxdomain,
		.alias = d->alias, .count = d->count, .canon = arena_dup(h->arena, d->canon),
		.why = arena_dup(h->arena, d->why) };
}

static void
add(struct hop *h, const struct hop_address *proto, sa_family_t family, struct span ip)
{
	struct hop_address *a;

	if (h->count >= HOP_ADDRESSES_MAX || ip.n != (family == AF_INET ? 4u : 16u))
		return;
	a = &h->list[h->count++];
	*a = *proto;
	a->family = family;
	a->table = &h->table;
	memcpy(a->ip, ip.p, ip.n);
	a->text = dns_address_text(h->arena, ip);
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

/* Forged or broken signatures: the log says what is wrong with them. */
static void
warn_bogus(struct hop *h, const struct dns_answer *d)
{
	if (d->status == DNS_BOGUS)
		hop_warn(h, arena_printf(h->arena, "%s records of %.*s: DNSSEC validation failed%s%.*s", dns_type_name(d->type),
		    SPAN_ARG(d->name), d->why.n > 0 ? ": " : "", SPAN_ARG(log_esc(d->why))));
}

/* Address records of `name` by one method. WAIT, FOUND (some were added), ABSENT (`missing` says why). */
static enum map_result
host_records(struct hop *h, bool native, struct hop_host *host, const struct hop_address *proto,
    struct missing *missing)
{
	static const struct {
		uint16_t type;
		sa_family_t family;
		unsigned bit;
	} kinds[] = { { DNS_TYPE_AAAA, AF_INET6, 2 }, { DNS_TYPE_A, AF_INET, 1 } };
	const struct dns_answer *answers[2] = { NULL, NULL };
	size_t before = h->count;
	bool wait = false;

	for (int i = 0; i < 2; i++)
		if ((h->svc->families & kinds[i].bit) != 0)
			wait |= hop_ask(h, native, host->name, kinds[i].type, &answers[i]) == MAP_WAIT;
	if (wait)
		return MAP_WAIT;
	for (int i = 0; i < 2; i++) {
		struct hop_address with = *proto;

		if (answers[i] == NULL)
			continue;
		hop_note(h, native, answers[i], &host->answers[i]);
		warn_bogus(h, answers[i]);
		if (!dns_known(answers[i]) || answers[i]->count == 0) {
			note_missing(missing, answers[i]);
			continue;
		}
		if (answers[i]->alias && !span_eq_ci(answers[i]->canon, host->name))
			with.canon = host->answers[i].canon;
		with.status = native ? DNS_INSECURE : answers[i]->status;
		for (size_t k = 0; k < answers[i]->count; k++)
			add(h, &with, kinds[i].family, answers[i]->records[k].data);
	}
	return h->count > before ? MAP_FOUND : MAP_ABSENT;
}

/* Addresses of one host: a literal, DNS, then the system's way, as smtp_host_lookup allows. */
static enum map_result
host_addresses(struct hop *h, const struct hop_address *proto, struct missing *missing)
{
	struct hop_host *host = &h->hosts[h->n_hosts++];
	struct hop_address literal = *proto;
	uint8_t ip[16];
	size_t n;
	enum map_result r = MAP_ABSENT;

	*missing = (struct missing){ .word = "Host not found", .type = "A" };
	*host = (struct hop_host){ .name = proto->host, .pref = proto->pref };
	if (dns_address_parse(host->name, ip, &n)) {
		literal.literal = true;
		add(h, &literal, n == 4 ? AF_INET : AF_INET6, span_of(ip, n));
		return MAP_FOUND;
	}
	if (!dns_name_is_host(host->name))
		return MAP_ABSENT;
	if (h->svc->dns)
		r = host_records(h, false, host, proto, missing);
	/* a failed answer (SERVFAIL, a bogus signature) is not a no: the system's way would go round DNSSEC */
	if (r == MAP_ABSENT && !missing->soft && h->svc->native && h->native != NULL)
		r = host_records(h, true, host, proto, missing);
	return r;
}

/* ---- loops */

/* Port 25 of one of our own addresses: mail sent there comes back. */
static bool
is_self(const struct hop *h, const struct hop_address *a)
{
	return a->port == 25 && !h->svc->lmtp && hop_own_has(h->own, a->family, a->ip);
}

static bool
loops(const struct hop *h, struct fault *why)
{
	return fault_set(why, "5.4.6", "mail for %.*s loops back to myself", SPAN_ARG(log_esc(h->domain)));
}

static bool
not_found(struct span host, const struct missing *m, struct fault *why)
{
	return fault_set(why, m->soft ? "4.4.3" : "5.4.4", "Host or domain name not found. "
	    "Name service error for name=%.*s type=%s: %s", SPAN_ARG(log_esc(host)), m->type, m->word);
}

static enum map_result
single_host(struct hop *h, enum dns_status mx_status, struct fault *why)
{
	struct hop_address proto = { .port = h->port, .host = h->domain, .mx_status = mx_status,
		.status = DNS_INSECURE };
	struct missing missing;
	enum map_result r = host_addresses(h, &proto, &missing);

	if (r == MAP_ABSENT)
		not_found(h->domain, &missing, why);
	if (r != MAP_FOUND)
		return r;
	for (size_t i = 0; i < h->count; i++) {
		if (is_self(h, &h->list[i])) {
			h->ours = true;
			loops(h, why);
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

/* The best records, in the order of their preference: of a set that is too big the last ones are left out. How many. */
static size_t
best_records(const struct dns_answer *mx, const struct dns_record *best[HOP_HOSTS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < mx->count; i++) {
		const struct dns_record *r = &mx->records[i];
		size_t at = n;

		while (at > 0 && best[at - 1]->pref > r->pref)
			at--;
		if (at == HOP_HOSTS_MAX)
			continue;
		if (n < HOP_HOSTS_MAX)
			n++;
		memmove(&best[at + 1], &best[at], (n - 1 - at) * sizeof(best[0]));
		best[at] = r;
	}
	return n;
}

static void
mx_hosts(struct hop *h, const struct dns_answer *mx, struct mx_search *s)
{
	const struct dns_record *best[HOP_HOSTS_MAX];
	size_t n = best_records(mx, best);

	*s = (struct mx_search){ .best_pref = UINT16_MAX };
	for (size_t i = 0; i < n; i++) {
		const struct dns_record *r = best[i];
		struct hop_address proto = { .port = h->port, .pref = r->pref, .from_mx = true,
			.mx_status = mx->status, .status = DNS_INSECURE };
		struct missing missing;

		if (r->pref < s->best_pref)
			s->best_pref = r->pref;
		proto.host = arena_dup(h->arena, r->data);
		switch (host_addresses(h, &proto, &missing)) {
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
drop_self(struct hop *h, const struct mx_search *s, struct fault *why)
{
	unsigned self = UINT16_MAX + 1u;
	size_t out = 0;

	for (size_t i = 0; i < h->count; i++)
		if (is_self(h, &h->list[i]) && h->list[i].pref < self)
			self = h->list[i].pref;
	if (self > UINT16_MAX)
		return true;
	h->ours = true;
	for (size_t i = 0; i < h->count; i++)
		if (h->list[i].pref < self)
			h->list[out++] = h->list[i];
	h->count = out;
	if (out > 0)
		return true;
	if (s->best_pref == self)
		return loops(h, why);
	return fault_set(why, s->missing.soft ? "4.4.4" : "5.4.4", "unable to find primary relay for %.*s",
	    SPAN_ARG(log_esc(h->domain)));
}

static enum map_result
from_mx(struct hop *h, const struct dns_answer *mx, struct fault *why)
{
	struct mx_search s;

	if (is_null_mx(mx)) {
		fault_set(why, "5.1.10", "Domain %.*s does not accept mail (nullMX)", SPAN_ARG(log_esc(h->domain)));
		return MAP_ABSENT;
	}
	mx_hosts(h, mx, &s);
	if (s.wait)
		return MAP_WAIT;
	h->best_mx_known = true;
	if (h->count > 0)
		return drop_self(h, &s, why) ? MAP_FOUND : MAP_ABSENT;
	hop_warn(h, arena_printf(h->arena, "no MX host for %.*s has a valid address record",
	    SPAN_ARG(log_esc(h->domain))));
	not_found(s.host, &s.missing, why);
	if (h->svc->p->smtp_defer_if_no_mx_address_found)
		why->dsn[0] = '4';
	return MAP_ABSENT;
}

static enum map_result
domain_addresses(struct hop *h, struct fault *why)
{
	const struct dns_answer *mx;

	if (hop_ask(h, false, h->domain, DNS_TYPE_MX, &mx) == MAP_WAIT)
		return MAP_WAIT;
	hop_note(h, false, mx, &h->mx);
	warn_bogus(h, mx);
	if (dns_known(mx))
		return mx->count > 0 ? from_mx(h, mx, why) :
		    single_host(h, mx->status, why);            /* none: implicit MX */
	if (h->svc->p->ignore_mx_lookup_error)
		return single_host(h, DNS_INSECURE, why);
	fault_set(why, "4.4.3", "Host or domain name not found. Name service error for name=%.*s type=MX: %s",
	    SPAN_ARG(log_esc(h->domain)), mx->status == DNS_BOGUS ? "DNSSEC validation failed, try again" :
	    "Host not found, try again");
	return MAP_ABSENT;
}

static enum map_result
unix_address(struct hop *h)
{
	struct hop_address *a = &h->list[h->count++];

	*a = (struct hop_address){ .family = AF_UNIX, .host = span_str(h->svc->p->myhostname), .table = &h->table };
	a->text = h->domain;
	return MAP_FOUND;
}

static void
clear(struct hop *h)
{
	if (h->list == NULL)
		h->list = ARENA_ARRAY(h->arena, struct hop_address, HOP_ADDRESSES_MAX);
	if (h->hosts == NULL)
		h->hosts = ARENA_ARRAY(h->arena, struct hop_host, HOP_HOSTS_MAX);
	h->count = h->n_hosts = h->n_warnings = 0;
	h->mx = (struct hop_answer){ 0 };
	h->ours = h->best_mx_known = false;
}

enum map_result
hop_resolve(struct hop *h, struct fault *why)
{
	enum map_result r;

	clear(h);
	fault_clear(why);
	if (!hop_parse(h, why))
		return MAP_ABSENT;
	if (h->unix_socket)
		return unix_address(h);
	if (h->no_mx || !h->svc->dns)
		r = single_host(h, DNS_INSECURE, why);
	else
		r = domain_addresses(h, why);
	if (r == MAP_FOUND)
		hop_sort(h->svc->p, h);
	return r;
}
