/* Keys of the policy table for a next hop (sections 3.1, 20.7, 20.13). */
#include "base/panic.h"
#include "dns/dns.h"
#include "tls/policy.h"
#include "tls/policy_private.h"

/* "[host]:port" or "host:port" or "host" in its parts; `port` keeps its text. */
static void
split(struct span nexthop, struct span *host_r, struct span *port_r, bool *bracket_r)
{
	ptrdiff_t end;

	*bracket_r = nexthop.n > 0 && nexthop.p[0] == '[';
	*port_r = SPAN("");
	*host_r = nexthop;
	if (*bracket_r) {
		end = span_rindex(nexthop, ']');
		if (end < 0) {
			*bracket_r = false;
			return;
		}
		*host_r = span_slice(nexthop, 1, (size_t)end);
		nexthop = span_from(nexthop, (size_t)end + 1);
		if (nexthop.n > 1 && nexthop.p[0] == ':')
			*port_r = span_from(nexthop, 1);
		return;
	}
	end = span_rindex(nexthop, ':');
	if (end >= 0 && span_index(nexthop, ':') == end) {
		*host_r = span_slice(nexthop, 0, (size_t)end);
		*port_r = span_from(nexthop, (size_t)end + 1);
	}
}

struct span
tls_nexthop_domain(struct span nexthop)
{
	struct span host, port;
	bool bracket;

	split(nexthop, &host, &port, &bracket);
	if (bracket && span_starts_ci(host, SPAN("ipv6:")))
		host = span_from(host, 5);
	return host;
}

static void
add(struct tls_keys *k, struct span key)
{
	for (size_t i = 0; i < k->count; i++)
		if (span_eq(k->key[i], key))
			return;
	ensure(k->count < TLS_KEYS_MAX);
	k->key[k->count++] = key;
}

/* A key with its host in three forms: as written, A-labels, U-labels. */
static void
add_forms(struct tls_keys *k, struct arena *a, const char *before, struct span host, const char *after)
{
	struct span ascii;

	add(k, arena_printf(a, "%s%.*s%s", before, SPAN_ARG(arena_lower(a, host)), after));
	if (!dns_name_ascii(a, host, false, &ascii))
		return;
	add(k, arena_printf(a, "%s%.*s%s", before, SPAN_ARG(ascii), after));
	add(k, arena_printf(a, "%s%.*s%s", before, SPAN_ARG(dns_name_unicode(a, ascii)), after));
}

/* A host name and its parents. */
static void
add_names(struct tls_keys *k, struct arena *a, struct span name)
{
	struct span head, rest = name;

	add_forms(k, a, "", name, "");
	while (k->count + 3 <= TLS_KEYS_MAX && span_cut(rest, '.', &head, &rest) && rest.n > 0)
		add_forms(k, a, ".", rest, "");
}

/* [host], [host]:25 and [host]:smtp are one: what was written first, then the others. */
static void
add_brackets(struct tls_keys *k, struct arena *a, struct span host, struct span port)
{
	bool smtp = port.n == 0 || span_eq(port, SPAN("25")) || span_eq_ci(port, SPAN("smtp"));
	char after[64] = "]";

	if (port.n > 0 && port.n < sizeof(after) - 3) {
		memcpy(after + 1, ":", 1);
		for (size_t i = 0; i < port.n; i++)
			after[2 + i] = ascii_lower(port.p[i]);
		after[2 + port.n] = '\0';
	}
	add_forms(k, a, "[", host, after);
	if (!smtp)
		return;
	add_forms(k, a, "[", host, "]");
	add_forms(k, a, "[", host, "]:25");
	add_forms(k, a, "[", host, "]:smtp");
}

void
tls_policy_keys(struct span nexthop, struct arena *a, struct tls_keys *keys_r)
{
	struct span host, port, ascii;
	bool bracket;
	char after[64];

	keys_r->key = ARENA_ARRAY(a, struct span, TLS_KEYS_MAX);
	keys_r->count = 0;
	if (nexthop.n > DNS_NAME_MAX || span_index(nexthop, '/') >= 0) {
		add(keys_r, arena_lower(a, nexthop));
		return;
	}
	split(nexthop, &host, &port, &bracket);
	add(keys_r, arena_lower(a, nexthop));
	if (bracket) {
		add_brackets(keys_r, a, host, port);
		return;
	}
	if (port.n == 0) {
		if (dns_name_ascii(a, host, false, &ascii) && dns_name_is_host(ascii))
			add_names(keys_r, a, host);
		return;
	}
	if (port.n + 2 > sizeof(after))
		return;
	after[0] = ':';
	for (size_t i = 0; i < port.n; i++)
		after[1 + i] = ascii_lower(port.p[i]);
	after[1 + port.n] = '\0';
	add_forms(keys_r, a, "", host, after);
}
