/* The addresses that are ourselves: inet_interfaces and proxy_interfaces. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdlib.h>

#include "base/panic.h"
#include "mail/address.h"
#include "route/route_private.h"

static void
add_own(struct route *r, const struct cidr *c)
{
	r->own = realloc(r->own, size_mul(r->n_own + 1, sizeof(*c)));
	if (r->own == NULL)
		panic("out of memory");
	r->own[r->n_own++] = *c;
}

static void
add_sockaddr(struct route *r, const struct sockaddr *sa)
{
	char text[INET6_ADDRSTRLEN] = "";
	struct cidr c;

	if (sa == NULL)
		return;
	if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, text, sizeof(text));
	else if (sa->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, text, sizeof(text));
	if (cidr_addr(span_str(text), &c))
		add_own(r, &c);
}

static void
add_interfaces(struct route *r, bool loopback_only)
{
	struct ifaddrs *list = NULL;

	if (getifaddrs(&list) != 0)
		return;
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next)
		if (!loopback_only || i->ifa_flags & IFF_LOOPBACK)
			add_sockaddr(r, i->ifa_addr);
	freeifaddrs(list);
}

static bool
add_name(struct route *r, struct span name, struct fault *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int e = getaddrinfo(arena_cstr(r->a, name), NULL, &hints, &list);

	if (e != 0)
		return fault_set(why, "4.3.5", "inet_interfaces: %.*s: %s", SPAN_ARG(name), gai_strerror(e));
	for (const struct addrinfo *i = list; i != NULL; i = i->ai_next)
		add_sockaddr(r, i->ai_addr);
	freeaddrinfo(list);
	return true;
}

static bool
add_word(struct route *r, struct span word, struct fault *why)
{
	struct cidr c;

	if (span_eq_ci(word, SPAN("all")) || span_eq_ci(word, SPAN("loopback-only"))) {
		add_interfaces(r, span_eq_ci(word, SPAN("loopback-only")));
		return true;
	}
	if (cidr_addr(word, &c)) {
		add_own(r, &c);
		return true;
	}
	return add_name(r, word, why);
}

bool
route_own_addresses(struct route *r, struct fault *why)
{
	const char *lists[] = { r->p->inet_interfaces, r->p->proxy_interfaces };

	for (size_t i = 0; i < 2; i++) {
		struct span rest = span_str(lists[i]), word;

		while (span_token(&rest, ", \t\r\n", &word))
			if (!add_word(r, word, why))
				return false;
	}
	return true;
}

bool
route_is_own_address(const struct route *r, struct span ip)
{
	struct cidr c;

	if (!cidr_addr(ip, &c))
		return false;
	for (size_t i = 0; i < r->n_own; i++)
		if (cidr_match(&r->own[i], &c))
			return true;
	return false;
}

enum map_result
route_domain_is_local(const struct route *r, struct span domain, struct asks *asks, struct arena *a,
    struct fault *why)
{
	struct span ip;
	enum map_result found;

	if (domain.n > 1 && domain.p[domain.n - 1] == '.' && domain.p[domain.n - 2] != '.')
		domain.n--;
	found = strlist_find(r->mydestination, domain, asks, a, NULL, why);
	if (found == MAP_ABSENT && address_literal(domain, &ip) && route_is_own_address(r, ip))
		return MAP_FOUND;
	return found;
}

enum map_result
route_address_is_local(const struct route *r, struct span addr, struct asks *asks, struct arena *a,
    struct fault *why)
{
	struct span local, domain;

	if (!address_split(addr, &local, &domain) || span_eq_ci(domain, span_str(r->p->myorigin)))
		return MAP_FOUND;
	return route_domain_is_local(r, domain, asks, a, why);
}
