/*
 * Where mail for an address goes: address class, transport, next hop (Postfix's
 * trivial-rewrite), and whether the address exists (reject_unlisted_recipient). Straight
 * code over tables: MAP_WAIT means run it again when the asks are ready.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct maps_env;
struct params;
struct route;

enum route_class {
	ROUTE_LOCAL,            /* mydestination, or an address literal of ours */
	ROUTE_VIRTUAL_ALIAS,
	ROUTE_VIRTUAL_MAILBOX,
	ROUTE_RELAY,
	ROUTE_DEFAULT,
};

enum route_open_flag {
	ROUTE_RECIPIENTS = 1,   /* also the tables of known recipients: route_recipient_exists will be called */
};

/*
 * Compile from parameters. `p` and `env` must stay. False with `why` naming the parameter. Reads the addresses
 * of the interfaces and, when inet_interfaces has names, resolves them: call before the sandbox closes.
 */
bool route_open(const struct params *p, unsigned flags, const struct maps_env *env, struct route **route_r,
    struct fault *why);
void route_close(struct route **r);

enum route_flag {
	ROUTE_PROBE = 1,        /* an address verification probe: the address_verify_* transports and relays */
};

/* Spans live in the arena given to the call, or as long as the params. */
struct route_answer {
	enum route_class class;
	struct span transport;  /* a master.cf service name, "error" and "retry" among them */
	struct span nexthop;    /* for error and retry: "5.1.1 text" or text without code */
	struct span rcpt;       /* normalised: local hops taken off, domain always present */
	struct span domain;     /* of `rcpt` */
	struct span source;     /* what chose transport and nexthop, for people: "relayhost", "transport_maps hash:/x" */
	bool routed;            /* the local part still has '@', '%' or '!' */
	bool bad_syntax;        /* transport is error, nexthop 5.1.3; SMTP says 501 */
};

/*
 * Resolve one recipient (internal form). FOUND fills `*r_r`; DEFER when a table failed; WAIT. The null
 * sender is empty.
 */
enum map_result route_resolve(const struct route *route, struct span sender, struct span rcpt,
    unsigned flags, struct asks *asks, struct arena *a, struct route_answer *r_r, struct fault *why);

/* Is the domain in mydestination, or an address literal of ours? FOUND, ABSENT, DEFER, WAIT. */
enum map_result route_domain_is_local(const struct route *route, struct span domain, struct asks *asks,
    struct arena *a, struct fault *why);
/* The same for the keys of address tables: also $myorigin (an address without domain counts too). */
enum map_result route_address_is_local(const struct route *route, struct span addr, struct asks *asks,
    struct arena *a, struct fault *why);
/* Is this address one of inet_interfaces or proxy_interfaces? Text without brackets. */
bool route_is_own_address(const struct route *route, struct span ip);

/* Why an address is refused: what SMTP says behind "<addr>: Recipient address rejected: ". */
struct route_unlisted {
	int code;               /* 550 and so on */
	struct span dsn;        /* "5.1.1" */
	struct span text;       /* "User unknown in local recipient table" */
};

/*
 * Does the address exist, as far as our tables know? FOUND: yes, or nobody knows. ABSENT: no, and
 * `*u_r` says what to answer. `as_sender`: it is a MAIL FROM address (codes x.1.0, sender_canonical_maps).
 */
enum map_result route_recipient_exists(const struct route *route, struct span sender, struct span rcpt,
    bool as_sender, struct asks *asks, struct arena *a, struct route_unlisted *u_r, struct fault *why);
