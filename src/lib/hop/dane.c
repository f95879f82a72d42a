/* Which TLSA records a server's decision is about (RFC 7672 sections 2.2.2 and 2.2.3; spec tls-client.md 7.2). */
#include "base/log.h"
#include "hop/hop_private.h"

enum { NAME_CHARS = 253 };      /* RFC 1035 section 2.3.4, without the root's dot */

static enum map_result
found_none(struct hop *h, struct tls_dane_facts *f, struct span why)
{
	f->state = TLS_DANE_ABSENT;
	f->why = arena_dup(h->arena, why);
	return MAP_FOUND;
}

static enum map_result
failed(struct hop *h, struct tls_dane_facts *f, const struct dns_answer *d, const char *what)
{
	f->state = TLS_DANE_FAILED;
	f->bogus = d->status == DNS_BOGUS;
	f->why = arena_printf(h->arena, "%s for %.*s: %s%s%.*s", what, SPAN_ARG(d->name),
	    d->status == DNS_BOGUS ? "DNSSEC validation failed" : "no answer", d->why.n > 0 ? ": " : "",
	    SPAN_ARG(d->why));
	return MAP_FOUND;
}

static void
take_records(struct hop *h, struct tls_dane_facts *f, const struct dns_answer *d)
{
	f->state = TLS_DANE_FOUND;
	f->why = SPAN("");
	f->records = ARENA_ARRAY(h->arena, struct tls_tlsa, d->count);
	for (size_t i = 0; i < d->count; i++)
		f->records[f->count++] = (struct tls_tlsa){ .usage = d->records[i].usage,
			.selector = d->records[i].selector, .matching = d->records[i].matching,
			.data = arena_dup(h->arena, d->records[i].data) };
}

/* The records of one base domain. ABSENT is a state of the facts, not of this call: FOUND or WAIT. */
static enum map_result
ask_tlsa(struct hop *h, const struct hop_address *addr, struct span base, struct tls_dane_facts *f)
{
	const struct dns_answer *d;

	f->base = base;
	f->qname = arena_printf(h->arena, "_%u._tcp.%.*s", addr->port, SPAN_ARG(base));
	if (f->qname.n > NAME_CHARS)
		return found_none(h, f, SPAN("a name below which TLSA records would have one that is too long for DNS"));
	if (hop_ask(h, false, f->qname, DNS_TYPE_TLSA, &d) == MAP_WAIT)
		return MAP_WAIT;
	if (!dns_known(d))
		return failed(h, f, d, "TLSA lookup error");
	if (d->count == 0)
		return found_none(h, f, SPAN("no TLSA records"));
	if (d->status != DNS_SECURE)
		return found_none(h, f, SPAN("TLSA records without DNSSEC"));
	take_records(h, f, d);
	return MAP_FOUND;
}

/*
 * The address is unproven, but the name is an alias: when the alias itself is proven, records below the name
 * are worth asking for (section 2.2.2). An alias that cannot be looked up, or has gone, is a failure.
 */
static enum map_result
insecure_alias(struct hop *h, const struct hop_address *addr, struct tls_dane_facts *f)
{
	const struct dns_answer *d;

	if (hop_ask(h, false, addr->host, DNS_TYPE_CNAME, &d) == MAP_WAIT)
		return MAP_WAIT;
	if (!dns_known(d))
		return failed(h, f, d, "CNAME lookup error");
	if (d->status != DNS_SECURE)
		return found_none(h, f, SPAN("the address and the alias have no DNSSEC"));
	if (d->count == 0)
		return failed(h, f, d, "alias went away");
	return ask_tlsa(h, addr, addr->host, f);
}

static enum map_result
insecure_address(struct hop *h, const struct hop_address *addr, struct tls_dane_facts *f)
{
	if (h->svc->tls.force_insecure_host_tlsa_lookup)
		return ask_tlsa(h, addr, addr->host, f);
	if (addr->canon.n == 0)
		return found_none(h, f, SPAN("the address has no DNSSEC"));
	return insecure_alias(h, addr, f);
}

/* The full expansion first, then the original name; names between them never. */
static enum map_result
secure_address(struct hop *h, const struct hop_address *addr, struct tls_dane_facts *f)
{
	if (addr->canon.n > 0) {
		enum map_result r = ask_tlsa(h, addr, addr->canon, f);

		if (r == MAP_WAIT || f->state != TLS_DANE_ABSENT)
			return r;
	}
	return ask_tlsa(h, addr, addr->host, f);
}

enum map_result
hop_dane(struct hop *h, struct hop_address *addr)
{
	struct tls_dane_facts *f = ARENA_NEW(h->arena, struct tls_dane_facts);
	enum map_result r;

	*f = (struct tls_dane_facts){ .base = addr->host };
	if (addr->literal || addr->family == AF_UNIX)
		r = found_none(h, f, SPAN("an address has no TLSA records"));
	else if (!dns_name_is_host(addr->host))
		r = found_none(h, f, SPAN("not a host name"));
	else if (addr->status == DNS_SECURE)
		r = secure_address(h, addr, f);
	else
		r = insecure_address(h, addr, f);
	if (r == MAP_FOUND)
		addr->dane = f;
	return r;
}
