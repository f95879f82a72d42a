/* Address classes by domain (ADDRESS_CLASS_README): which domains are ours, and in what way. */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct domains;
struct maps_env;
struct params;

enum domain_class {
	DOMAIN_LOCAL,
	DOMAIN_VIRTUAL_ALIAS,
	DOMAIN_VIRTUAL_MAILBOX,
	DOMAIN_RELAY,
	DOMAIN_DEFAULT,         /* somebody else's */
};

bool domains_open(const struct params *p, const struct maps_env *env, struct domains **d_r, struct fault *why);
void domains_free(struct domains **d);

/* True when the address is one of this host's (inet_interfaces, proxy_interfaces). */
bool domains_own_address(const struct domains *d, struct span addr);

struct domains_address {
	struct span addr;               /* with the domain completed ($myorigin), routes taken apart */
	struct span local, domain;
	enum domain_class cls;
	bool routed;                    /* the sender chose a route: user%host@here */
};

/*
 * Class of an address in internal form. MAP_FOUND, MAP_WAIT, or MAP_DEFER (a table of a list
 * failed). The result lives in `a`.
 */
enum map_result domains_resolve(struct domains *d, struct span addr, struct asks *asks, struct arena *a,
    struct domains_address *r, struct fault *why);
