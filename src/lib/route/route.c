/* Compiling the tables and lists of routing. */
#include "route/route.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/panic.h"
#include "route/route_private.h"

#define WARNED_MAX 1000u
#define ROUTE_ARENA_MAX (4u << 20)

struct warned {
	struct hmap_node node;
};

static bool
open_maps(const struct route *r, const char *name, const char *value, struct maps **m_r, struct fault *why)
{
	if (maps_open(span_str(value), 0, r->env, m_r, why))
		return true;
	fault_prefix(why, "%s", name);
	return false;
}

static bool
open_list(const struct route *r, const char *name, const char *value, unsigned flags,
    struct strlist **l_r, struct fault *why)
{
	if (strlist_open(span_str(value), flags, r->env, l_r, why))
		return true;
	fault_prefix(why, "%s", name);
	return false;
}

/* Is `name` among the lists whose domains also mean their subdomains? */
static bool
parents_match(const struct params *p, const char *name)
{
	struct span rest = span_str(p->parent_domain_matches_subdomains), word;

	while (span_token(&rest, ", \t\r\n", &word))
		if (span_eq(word, span_str(name)))
			return true;
	return false;
}

static bool
open_lists(struct route *r, struct fault *why)
{
	const struct params *p = r->p;
	unsigned relay = STRLIST_DOMAIN | (parents_match(p, "relay_domains") ? STRLIST_PARENTS : 0);

	return open_list(r, "mydestination", p->mydestination, 0, &r->mydestination, why) &&
	    open_list(r, "virtual_alias_domains", p->virtual_alias_domains, 0, &r->virtual_alias_domains, why) &&
	    open_list(r, "virtual_mailbox_domains", p->virtual_mailbox_domains, 0, &r->virtual_mailbox_domains,
	        why) &&
	    open_list(r, "relay_domains", p->relay_domains, relay, &r->relay_domains, why);
}

static bool
open_mail_set(struct route *r, struct fault *why)
{
	const struct params *p = r->p;
	struct route_set *s = &r->mail;

	s->local_transport = p->local_transport;
	s->virtual_transport = p->virtual_transport;
	s->relay_transport = p->relay_transport;
	s->default_transport = p->default_transport;
	s->relayhost = p->relayhost;
	return open_maps(r, "transport_maps", p->transport_maps, &s->transport_maps, why) &&
	    open_maps(r, "sender_dependent_default_transport_maps", p->sender_dependent_default_transport_maps,
	        &s->sender_default, why) &&
	    open_maps(r, "sender_dependent_relayhost_maps", p->sender_dependent_relayhost_maps,
	        &s->sender_relayhost, why);
}

static bool
open_probe_set(struct route *r, struct fault *why)
{
	const struct params *p = r->p;
	struct route_set *s = &r->probe;

	s->local_transport = p->address_verify_local_transport;
	s->virtual_transport = p->address_verify_virtual_transport;
	s->relay_transport = p->address_verify_relay_transport;
	s->default_transport = p->address_verify_default_transport;
	s->relayhost = p->address_verify_relayhost;
	return open_maps(r, "address_verify_transport_maps", p->address_verify_transport_maps,
	        &s->transport_maps, why) &&
	    open_maps(r, "address_verify_sender_dependent_default_transport_maps",
	        p->address_verify_sender_dependent_default_transport_maps, &s->sender_default, why) &&
	    open_maps(r, "address_verify_sender_dependent_relayhost_maps",
	        p->address_verify_sender_dependent_relayhost_maps, &s->sender_relayhost, why);
}

static bool
open_recipients(struct route *r, struct fault *why)
{
	const struct params *p = r->p;

	return open_maps(r, "canonical_maps", p->canonical_maps, &r->canonical_maps, why) &&
	    open_maps(r, "sender_canonical_maps", p->sender_canonical_maps, &r->sender_canonical_maps, why) &&
	    open_maps(r, "recipient_canonical_maps", p->recipient_canonical_maps, &r->recipient_canonical_maps,
	        why) &&
	    open_maps(r, "virtual_alias_maps", p->virtual_alias_maps, &r->virtual_alias_maps, why) &&
	    open_maps(r, "local_recipient_maps", p->local_recipient_maps, &r->local_recipient_maps, why) &&
	    open_maps(r, "virtual_mailbox_maps", p->virtual_mailbox_maps, &r->virtual_mailbox_maps, why) &&
	    open_maps(r, "relay_recipient_maps", p->relay_recipient_maps, &r->relay_recipient_maps, why);
}

/* "smtp:[host]" must name a transport. */
static bool
check_transports(const struct route_set *s, struct fault *why)
{
	const char *const v[] = { s->local_transport, s->virtual_transport, s->relay_transport, s->default_transport };
	static const char *const names[] = { "local", "virtual", "relay", "default" };

	for (size_t i = 0; i < 4; i++) {
		struct span transport, nexthop;

		route_split_transport(span_str(v[i]), &transport, &nexthop);
		if (transport.n == 0)
			return fault_set(why, "4.3.5", "%s_transport: \"%s\" names no transport", names[i], v[i]);
	}
	return true;
}

bool
route_open(const struct params *p, unsigned flags, const struct maps_env *env, struct route **route_r,
    struct fault *why)
{
	struct route *r = calloc(1, sizeof(*r));

	if (r == NULL)
		panic("out of memory");
	r->p = p;
	r->env = env;
	r->a = arena_new(ROUTE_ARENA_MAX);
	hmap_init(&r->warned);
	r->transport_parents = parents_match(p, "transport_maps");
	if (!open_lists(r, why) || !open_mail_set(r, why) || !open_probe_set(r, why) ||
	    !open_maps(r, "relocated_maps", p->relocated_maps, &r->relocated_maps, why) ||
	    (flags & ROUTE_RECIPIENTS && !open_recipients(r, why)) || !route_own_addresses(r, why) ||
	    !check_transports(&r->mail, why) || !check_transports(&r->probe, why))
		route_close(&r);
	*route_r = r;
	return r != NULL;
}

static void
close_set(struct route_set *s)
{
	maps_unref(&s->transport_maps);
	maps_unref(&s->sender_default);
	maps_unref(&s->sender_relayhost);
}

void
route_close(struct route **route)
{
	struct route *r = *route;

	*route = NULL;
	if (r == NULL)
		return;
	strlist_free(&r->mydestination);
	strlist_free(&r->virtual_alias_domains);
	strlist_free(&r->virtual_mailbox_domains);
	strlist_free(&r->relay_domains);
	close_set(&r->mail);
	close_set(&r->probe);
	maps_unref(&r->relocated_maps);
	maps_unref(&r->canonical_maps);
	maps_unref(&r->sender_canonical_maps);
	maps_unref(&r->recipient_canonical_maps);
	maps_unref(&r->virtual_alias_maps);
	maps_unref(&r->local_recipient_maps);
	maps_unref(&r->virtual_mailbox_maps);
	maps_unref(&r->relay_recipient_maps);
	hmap_release(&r->warned);
	arena_free(&r->a);
	free(r->own);
	free(r);
}

void
route_warn_twice(struct route *r, struct span domain, const char *one, const char *two)
{
	uint64_t hash = span_hash_ci(domain) ^ span_hash(span_str(one)) ^ hash_u64(span_hash(span_str(two)));
	struct warned *w;

	if (hmap_first(&r->warned, hash) != NULL || r->warned.count >= WARNED_MAX)
		return;
	w = ARENA_NEW(r->a, struct warned);
	hmap_add(&r->warned, &w->node, hash);
	log_warning_once(NULL, "do not list domain %.*s in BOTH %s and %s", SPAN_ARG(log_esc(domain)), one, two);
}
