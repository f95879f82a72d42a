/* Who the client is: address, names in DNS confirmed both ways, the user behind a local socket, and how often it comes. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/panic.h"
#include "dns/dns.h"
#include "role/smtpd/smtpd.h"

/* --- address --- */

void
client_set_namaddr(struct session *s)
{
	struct acl_facts *f = &s->facts;

	f->namaddr = arena_printf(s->facts_arena, "%.*s[%.*s]", SPAN_ARG(f->client_name), SPAN_ARG(f->addr));
	if (s->p->smtpd_client_port_logging && s->port.n > 0)
		f->namaddr = arena_printf(s->facts_arena, "%.*s:%.*s", SPAN_ARG(f->namaddr), SPAN_ARG(s->port));
}

/* IPv4 in IPv6 is IPv4, whoever says it: sockets of both kinds, proxies that have such. */
static struct span
unmapped(struct span bytes)
{
	struct in6_addr in6;

	if (bytes.n != sizeof(in6))
		return bytes;
	memcpy(&in6, bytes.p, sizeof(in6));
	return IN6_IS_ADDR_V4MAPPED(&in6) ? span_from(bytes, 12) : bytes;
}

/* The bytes of an address, and its port. */
static struct span
address_of(const struct sockaddr_storage *ss, unsigned *port_r)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)ss;

	if (ss->ss_family == AF_INET) {
		*port_r = ntohs(in4->sin_port);
		return span_of(&in4->sin_addr, 4);
	}
	*port_r = ntohs(in6->sin6_port);
	return span_of(in6->sin6_addr.s6_addr, 16);
}

void
client_set_address(struct session *s, struct span bytes, unsigned port)
{
	ensure(bytes.n == 4 || bytes.n == 16);
	bytes = unmapped(bytes);
	memcpy(s->addr_bytes, bytes.p, bytes.n);
	s->addr_n = bytes.n;
	s->facts.addr = dns_address_text(s->facts_arena, bytes);
	s->port = arena_printf(s->facts_arena, "%u", port);
	client_set_namaddr(s);
}

void
client_set_server(struct session *s, struct span bytes, unsigned port)
{
	s->server_addr = dns_address_text(s->facts_arena, unmapped(bytes));
	s->server_port = arena_printf(s->facts_arena, "%u", port);
}

/* Both ends of the connection as the kernel knows them. */
static bool
identify_remote(struct session *s)
{
	struct sockaddr_storage peer = { 0 }, own = { 0 };
	socklen_t peer_n = sizeof(peer), own_n = sizeof(own);
	struct span bytes;
	unsigned port;

	if (getpeername(s->fd, (struct sockaddr *)&peer, &peer_n) != 0 || (peer.ss_family != AF_INET && peer.ss_family != AF_INET6) ||
	    getsockname(s->fd, (struct sockaddr *)&own, &own_n) != 0)
		return false;
	bytes = address_of(&own, &port);
	client_set_server(s, bytes, port);
	bytes = address_of(&peer, &port);
	client_set_address(s, bytes, port);
	return true;
}

static bool
identify_local(struct session *s)
{
	struct ucred who;
	socklen_t n = sizeof(who);
	struct passwd entry, *pw = NULL;
	char space[4096];
	struct span comma;

	if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
		return false;
	s->uid = who.uid;
	s->user = arena_printf(s->facts_arena, "%lu", (unsigned long)who.uid);
	s->facts.local = true;
	s->facts.client_name = s->facts.reverse_name = SPAN("localhost");
	s->facts.addr = SPAN("127.0.0.1");
	if (getpwuid_r(who.uid, &entry, space, sizeof(space), &pw) == 0 && pw != NULL) {
		s->user = arena_dup(s->facts_arena, span_str(pw->pw_name));
		s->user_named = true;
		span_cut(span_str(pw->pw_gecos), ',', &s->full_name, &comma);
		s->full_name = arena_dup(s->facts_arena, s->full_name);
	}
	return true;
}

bool
client_identify(struct session *s)
{
	s->facts.client_name = s->facts.reverse_name = SPAN("unknown");
	s->facts.name_state = s->facts.reverse_state = ACL_NAME_ABSENT;
	if (!s->svc->local)
		return identify_remote(s);
	if (!identify_local(s))
		return false;
	client_set_namaddr(s);
	return true;
}

/* --- names --- */

/* Does the name's address lookup give this client? ABSENT: no; DEFER: cannot say. */
static enum map_result
confirmed(struct session *s, struct span name, struct span *why_r)
{
	const struct dns_answer *d;

	*why_r = SPAN("");
	if (asks_dns(session_asks(s), name, s->addr_n == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA, &d) != MAP_FOUND)
		return MAP_WAIT;
	if (!dns_known(d)) {
		*why_r = d->why;
		return MAP_DEFER;
	}
	for (size_t i = 0; i < d->count; i++)
		if (span_eq(d->records[i].data, span_of(s->addr_bytes, s->addr_n)))
			return MAP_FOUND;
	if (d->count == 0)
		*why_r = SPAN("Name or service not known");
	return MAP_ABSENT;
}

static enum map_result
check_forward(struct session *s, struct span name)
{
	struct acl_facts *f = &s->facts;
	struct span why;

	switch (confirmed(s, name, &why)) {
	case MAP_WAIT:
		return MAP_WAIT;
	case MAP_FOUND:
		f->client_name = f->reverse_name;
		f->name_state = ACL_NAME_OK;
		break;
	case MAP_ABSENT:
		log_smtpd_forged(&s->log, name, f->addr, why);
		break;
	case MAP_DEFER:
		log_smtpd_forged(&s->log, name, f->addr, why);
		f->name_state = ACL_NAME_TEMPORARY;
		break;
	}
	return MAP_FOUND;
}

enum map_result
client_names(struct session *s)
{
	struct acl_facts *f = &s->facts;
	const struct dns_answer *d;
	struct span name;

	if (s->names_done || s->svc->local || !s->p->smtpd_peername_lookup) {
		s->names_done = true;
		return MAP_FOUND;
	}
	name = dns_name_reverse(s->d->scratch, span_of(s->addr_bytes, s->addr_n));
	if (asks_dns(session_asks(s), name, DNS_TYPE_PTR, &d) != MAP_FOUND)
		return MAP_WAIT;
	if (!dns_known(d)) {
		f->name_state = f->reverse_state = ACL_NAME_TEMPORARY;
	} else if (d->count > 0 && dns_name_is_host(d->records[0].data)) {
		if (f->reverse_state != ACL_NAME_OK)
			f->reverse_name = arena_dup(s->facts_arena, d->records[0].data);
		f->reverse_state = ACL_NAME_OK;
		if (check_forward(s, f->reverse_name) == MAP_WAIT)
			return MAP_WAIT;
	}
	client_set_namaddr(s);
	s->names_done = true;
	return MAP_FOUND;
}

/* --- limits --- */

/* FOUND: this client is counted. ABSENT: it is exempt. */
static enum map_result
counts(struct session *s, struct arena *a)
{
	if (s->limits_done)
		return s->counted ? MAP_FOUND : MAP_ABSENT;
	switch (addrlist_find(s->svc->no_limits, s->facts.client_name, s->facts.addr, session_asks(s), a, NULL, NULL)) {
	case MAP_FOUND:
		return MAP_ABSENT;
	case MAP_WAIT:
		return MAP_WAIT;
	case MAP_ABSENT:
	case MAP_DEFER:
		break;
	}
	return MAP_FOUND;
}

static struct counters_slot *
slot_of(struct session *s)
{
	int bits = s->addr_n == 4 ? s->p->smtpd_client_ipv4_prefix_length : s->p->smtpd_client_ipv6_prefix_length;

	if (s->slot == NULL)
		s->slot = counters_find(s->d->counters, s->svc->name, span_of(s->addr_bytes, s->addr_n), (unsigned)bits,
		    clock_wall_us() / US_PER_S);
	return s->slot;
}

enum map_result
client_over(struct session *s, enum counters_rate rate, int limit, const char *what, struct arena *a)
{
	enum map_result got;
	unsigned n;

	if (limit <= 0 || s->svc->local)
		return MAP_ABSENT;
	got = counts(s, a);
	if (got != MAP_FOUND)
		return got == MAP_WAIT ? MAP_WAIT : MAP_ABSENT;
	n = counters_add(slot_of(s), rate, clock_wall_us() / US_PER_S, s->p->anvil_rate_time_unit_ms / 1000);
	if (n <= (unsigned)limit)
		return MAP_ABSENT;
	log_smtpd_limit(&s->log, what, n, s->facts.namaddr, s->svc->name);
	return MAP_FOUND;
}

enum map_result
client_connections(struct session *s, struct arena *a, bool *over_r)
{
	int limit = s->p->smtpd_client_connection_count_limit;
	enum map_result got;
	unsigned n;

	*over_r = false;
	if (s->svc->local || s->limits_done)
		return MAP_FOUND;
	got = counts(s, a);
	if (got == MAP_WAIT)
		return MAP_WAIT;
	s->limits_done = true;
	if (got == MAP_ABSENT)
		return MAP_FOUND;
	s->counted_slot = slot_of(s);
	n = counters_connect(s->d->counters, s->counted_slot);
	s->counted = true;
	if (limit > 0 && n > (unsigned)limit) {
		log_smtpd_limit(&s->log, "Connection concurrency", n, s->facts.namaddr, s->svc->name);
		*over_r = true;
		return MAP_FOUND;
	}
	*over_r = client_over(s, COUNTERS_CONNECTIONS, s->p->smtpd_client_connection_rate_limit, "Connection rate", a) == MAP_FOUND;
	return MAP_FOUND;
}

bool
client_over_already(struct session *s, enum counters_rate rate, int limit, const char *what)
{
	unsigned n;

	if (limit <= 0 || !s->counted)
		return false;
	n = counters_get(slot_of(s), rate, clock_wall_us() / US_PER_S, s->p->anvil_rate_time_unit_ms / 1000);
	if (n <= (unsigned)limit)
		return false;
	log_smtpd_limit(&s->log, what, n, s->facts.namaddr, s->svc->name);
	return true;
}
