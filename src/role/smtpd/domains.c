/* Address classes by domain. */
#include "role/smtpd/domains.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/panic.h"
#include "conf/params.h"
#include "mail/address.h"
#include "maps/asks.h"
#include "maps/maps.h"
#include "maps/strlist.h"

struct domains {
	const struct params *p;
	struct strlist *local, *valias, *vmailbox, *relay;
	struct arena *arena;
	struct span *own;               /* addresses of this host */
	size_t n_own;
};

#define MAX_OWN 1024u

static void
add_own(struct domains *d, struct span addr)
{
	if (d->n_own < MAX_OWN)
		d->own[d->n_own++] = arena_dup(d->arena, addr);
}

/* What the kernel says; with names in inet_interfaces the list is those alone. */
static void
collect_interfaces(struct domains *d)
{
	struct ifaddrs *list = NULL;
	char text[INET6_ADDRSTRLEN];

	if (getifaddrs(&list) != 0)
		return;
	for (struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		const void *at = NULL;

		if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET)
			at = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
		else if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET6)
			at = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
		if (at != NULL && inet_ntop(i->ifa_addr->sa_family, at, text, sizeof(text)) != NULL)
			add_own(d, span_str(text));
	}
	freeifaddrs(list);
}

/* Addresses among the words of inet_interfaces and proxy_interfaces; "all" and names mean the interfaces. */
static void
collect_own(struct domains *d)
{
	struct span rest = span_str(d->p->inet_interfaces), word;
	bool interfaces = false;

	while (span_token(&rest, ", \t", &word)) {
		if (word.n > 2 && word.p[0] == '[')
			word = span_slice(word, 1, word.n - 1);
		if (ascii_isdigit(word.p[0]) || span_index(word, ':') >= 0)
			add_own(d, word);
		else
			interfaces = true;
	}
	if (interfaces)
		collect_interfaces(d);
	rest = span_str(d->p->proxy_interfaces);
	while (span_token(&rest, ", \t[]", &word))
		add_own(d, word);
}

static bool
parents(const struct params *p, const char *list)
{
	struct span rest = span_str(p->parent_domain_matches_subdomains), word;

	while (span_token(&rest, ", \t", &word))
		if (span_eq(word, span_str(list)))
			return true;
	return false;
}

bool
domains_open(const struct params *p, const struct maps_env *env, struct domains **d_r, struct fault *why)
{
	struct domains *d = calloc(1, sizeof(*d));
	unsigned relay_flags = STRLIST_DOMAIN | (parents(p, "relay_domains") ? STRLIST_PARENTS : 0u);

	ensure(d != NULL);
	d->p = p;
	d->arena = arena_new(1u << 20);
	d->own = ARENA_ARRAY(d->arena, struct span, MAX_OWN);
	collect_own(d);
	if (strlist_open(span_str(p->mydestination), 0, env, &d->local, why) &&
	    strlist_open(span_str(p->virtual_alias_domains), 0, env, &d->valias, why) &&
	    strlist_open(span_str(p->virtual_mailbox_domains), 0, env, &d->vmailbox, why) &&
	    strlist_open(span_str(p->relay_domains), relay_flags, env, &d->relay, why)) {
		*d_r = d;
		return true;
	}
	domains_free(&d);
	return false;
}

void
domains_free(struct domains **dp)
{
	struct domains *d = *dp;

	if (d == NULL)
		return;
	*dp = NULL;
	strlist_free(&d->local);
	strlist_free(&d->valias);
	strlist_free(&d->vmailbox);
	strlist_free(&d->relay);
	arena_free(&d->arena);
	free(d);
}

bool
domains_own_address(const struct domains *d, struct span addr)
{
	for (size_t i = 0; i < d->n_own; i++)
		if (span_eq_ci(d->own[i], addr))
			return true;
	return false;
}

static enum map_result
class_of(struct domains *d, struct span domain, struct asks *asks, struct arena *a, enum domain_class *cls_r,
    struct fault *why)
{
	struct { struct strlist *list; enum domain_class cls; } tries[] = {
		{ d->local, DOMAIN_LOCAL },
		{ d->valias, DOMAIN_VIRTUAL_ALIAS },
		{ d->vmailbox, DOMAIN_VIRTUAL_MAILBOX },
		{ d->relay, DOMAIN_RELAY },
	};
	struct span ip;

	if (address_literal(domain, &ip) && domains_own_address(d, ip)) {
		*cls_r = DOMAIN_LOCAL;
		return MAP_FOUND;
	}
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		enum map_result got = strlist_find(tries[i].list, domain, asks, a, NULL, why);

		*cls_r = tries[i].cls;
		if (got != MAP_ABSENT)
			return got;
	}
	*cls_r = DOMAIN_DEFAULT;
	return MAP_FOUND;
}

static void
split(struct domains_address *r)
{
	address_split(r->addr, &r->local, &r->domain);
	if (r->domain.n > 0 && r->domain.p[r->domain.n - 1] == '.')
		r->domain.n--;
}

/* user%host@ours and host!user@ours are what stands inside (swap_bangpath, allow_percent_hack). */
static bool
unroute(const struct domains *d, struct domains_address *r, struct arena *a)
{
	ptrdiff_t at = span_rindex(r->local, '@'), bang = span_index(r->local, '!'), percent = span_rindex(r->local, '%');

	if (at > 0)
		r->addr = r->local;
	else if (bang > 0 && d->p->swap_bangpath)
		r->addr = arena_printf(a, "%.*s@%.*s", SPAN_ARG(span_from(r->local, (size_t)bang + 1)),
		    SPAN_ARG(span_slice(r->local, 0, (size_t)bang)));
	else if (percent > 0 && d->p->allow_percent_hack)
		r->addr = arena_printf(a, "%.*s@%.*s", SPAN_ARG(span_slice(r->local, 0, (size_t)percent)),
		    SPAN_ARG(span_from(r->local, (size_t)percent + 1)));
	else
		return false;
	r->routed = true;
	return true;
}

enum map_result
domains_resolve(struct domains *d, struct span addr, struct asks *asks, struct arena *a, struct domains_address *r,
    struct fault *why)
{
	enum map_result got;

	*r = (struct domains_address){ .addr = addr };
	if (span_rindex(addr, '@') < 0) {
		struct domains_address bare = { .local = addr };

		/* Without a domain the route, if any, is the domain: host!user. */
		if (unroute(d, &bare, a))
			*r = bare;
		else
			r->addr = arena_printf(a, "%.*s@%s", SPAN_ARG(addr), d->p->myorigin);
	}
	for (unsigned hops = 0; hops < 20; hops++) {
		split(r);
		got = class_of(d, r->domain, asks, a, &r->cls, why);
		if (got != MAP_FOUND)
			return got;
		if (r->cls != DOMAIN_LOCAL || !unroute(d, r, a))
			break;
	}
	/* What other hosts would read as a route (mta-core 4.4). */
	for (size_t i = 0; i < r->local.n; i++)
		r->routed |= memchr("@%!", r->local.p[i], 3) != NULL;
	return MAP_FOUND;
}
