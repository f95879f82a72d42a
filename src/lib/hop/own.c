/* Addresses that are ours: mail sent to port 25 of one of them comes back. */
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/panic.h"
#include "conf/params.h"
#include "hop/hop_private.h"

static void
add(struct hop_own *own, sa_family_t family, const void *ip)
{
	struct hop_own_address *o;

	own->list = realloc(own->list, size_mul(sizeof(*own->list), own->count + 1));
	if (own->list == NULL)
		panic("out of memory");
	o = &own->list[own->count++];
	*o = (struct hop_own_address){ .family = family };
	memcpy(o->ip, ip, family == AF_INET ? 4 : 16);
}

static void
add_sockaddr(struct hop_own *own, const struct sockaddr *sa)
{
	union {
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} u;

	if (sa == NULL)
		return;
	if (sa->sa_family == AF_INET) {
		memcpy(&u.in4, sa, sizeof(u.in4));
		add(own, AF_INET, &u.in4.sin_addr);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&u.in6, sa, sizeof(u.in6));
		add(own, AF_INET6, &u.in6.sin6_addr);
	}
}

static void
add_interfaces(struct hop_own *own, bool loopback_only)
{
	struct ifaddrs *list, *i;

	if (getifaddrs(&list) != 0)
		return;
	for (i = list; i != NULL; i = i->ifa_next)
		if (!loopback_only || strcmp(i->ifa_name, "lo") == 0)
			add_sockaddr(own, i->ifa_addr);
	freeifaddrs(list);
}

/* An address or a host name of inet_interfaces; names are looked up once, at start. */
static void
add_word(struct hop_own *own, struct span word)
{
	uint8_t ip[16];
	size_t n;
	struct addrinfo *list, *i;
	char name[256];

	if (word.n > 2 && word.p[0] == '[' && word.p[word.n - 1] == ']')
		word = span_slice(word, 1, word.n - 1);
	if (dns_address_parse(word, ip, &n)) {
		add(own, n == 4 ? AF_INET : AF_INET6, ip);
		return;
	}
	if (word.n == 0 || word.n >= sizeof(name))
		return;
	memcpy(name, word.p, word.n);
	name[word.n] = '\0';
	if (getaddrinfo(name, NULL, NULL, &list) != 0)
		return;
	for (i = list; i != NULL; i = i->ai_next)
		add_sockaddr(own, i->ai_addr);
	freeaddrinfo(list);
}

void
hop_own_find(const struct params *p, struct hop_own *own_r)
{
	struct span list = span_str(p->inet_interfaces), word;

	*own_r = (struct hop_own){ 0 };
	while (span_token(&list, ", \t\r\n", &word)) {
		if (span_eq_ci(word, SPAN("all"))) {
			add_interfaces(own_r, false);
		} else if (span_eq_ci(word, SPAN("loopback-only"))) {
			add_interfaces(own_r, true);
		} else {
			add_word(own_r, word);
			own_r->named = true;
		}
	}
	own_r->before_proxies = own_r->count;
	list = span_str(p->proxy_interfaces);
	while (span_token(&list, ", \t\r\n", &word))
		add_word(own_r, word);
}

void
hop_own_release(struct hop_own *own)
{
	free(own->list);
	*own = (struct hop_own){ 0 };
}

bool
hop_own_has(const struct hop_own *own, sa_family_t family, const uint8_t *ip)
{
	for (size_t i = 0; own != NULL && i < own->count; i++)
		if (own->list[i].family == family && memcmp(own->list[i].ip, ip, family == AF_INET ? 4 : 16) == 0)
			return true;
	return false;
}

void
hop_own_bind(const struct hop_own *own, struct arena *a, struct hop_bind *bind_r)
{
	static const uint8_t loop6[16] = { [15] = 1 };
	unsigned n4 = 0, n6 = 0;

	*bind_r = (struct hop_bind){ .v4 = SPAN(""), .v6 = SPAN("") };
	for (size_t i = 0; own->named && i < own->before_proxies; i++) {
		const struct hop_own_address *o = &own->list[i];
		bool v4 = o->family == AF_INET;

		if (v4 ? o->ip[0] == 127 : memcmp(o->ip, loop6, 16) == 0)
			continue;
		if (v4 && n4++ == 0)
			bind_r->v4 = dns_address_text(a, span_of(o->ip, 4));
		if (!v4 && n6++ == 0)
			bind_r->v6 = dns_address_text(a, span_of(o->ip, 16));
	}
	if (n4 != 1)
		bind_r->v4 = SPAN("");
	if (n6 != 1)
		bind_r->v6 = SPAN("");
}
