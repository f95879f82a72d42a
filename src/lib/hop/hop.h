/*
 * Facts about a next hop: where mail for it goes and everything that the TLS decision of each server rests
 * on. Delivery and the command line gather them with this code and decide from them with the same call.
 *
 * Gathering is rules that ask (maps/asks.h): a call returns MAP_WAIT until all answers are in and is then
 * made again. What was gathered are plain values in `struct hop`, its hosts and its addresses; nothing in
 * them points to a connection, a table or a clock, so they can be written down and decided from again.
 */
#pragma once

#include <sys/socket.h>

#include "dns/dns.h"
#include "maps/asks.h"
#include "tls/dane.h"
#include "tls/policy.h"

struct conf_service;
struct maps;
struct maps_env;
struct params;
struct tls_chain_params;
struct tls_client_ctx;

/* ---- what configuration says */

/* A service of master.cf whose command is smtp or lmtp, as far as next hops are concerned. */
struct hop_service {
	const struct params *p;         /* borrowed, outlives everything here */
	const char *prefix;             /* "smtp" or "lmtp": names parameters */
	bool lmtp;
	struct tls_params tls;
	enum tls_level level;           /* the global one */
	struct maps *policy;            /* smtp_tls_policy_maps; NULL = none */
	struct maps *per_site;          /* smtp_tls_per_site */
	unsigned families;              /* bit 0 IPv4, bit 1 IPv6 */
	bool dns, native;               /* smtp_host_lookup */
	uint16_t port;                  /* smtp_tcp_port */
};

/*
 * Read the parameters of one service and open its tables. False + why (naming the parameter) when a value can
 * never work; then nothing is to be released. `env` is kept by the tables.
 */
bool hop_service_open(struct hop_service *s, const struct conf_service *cs, const struct maps_env *env,
    struct fault *why);
void hop_service_release(struct hop_service *s);
/* Only the values, for a check without tables. */
void hop_tls_params(const struct params *p, const char *prefix, struct tls_params *t_r);
/* Our certificates there. The strings are the configuration's. */
void hop_chain_params(const struct params *p, const char *prefix, struct tls_chain_params *c_r);
/* What all its TLS sessions share; at most so many sessions are kept. NULL + why. */
struct tls_client_ctx *hop_tls_ctx_new(const struct hop_service *s, size_t sessions_max, struct fault *why);
/* Number or service name; 0 = unknown. */
uint16_t hop_port(const struct params *p, struct span name);
/* Of smtp_tcp_port, lmtp_tcp_port; 0 + why = no such port. */
uint16_t hop_service_port(const struct params *p, const char *prefix, struct fault *why);

/* Addresses where we are the server: inet_interfaces, proxy_interfaces. */
struct hop_own_address {
	sa_family_t family;
	uint8_t ip[16];
};

struct hop_own {
	struct hop_own_address *list;
	size_t count;
	size_t before_proxies;          /* those of inet_interfaces come first */
	bool named;                     /* inet_interfaces names addresses */
};

/* Host names are looked up by the system's ways: at start only. */
void hop_own_find(const struct params *p, struct hop_own *own_r);
void hop_own_release(struct hop_own *own);
bool hop_own_has(const struct hop_own *own, sa_family_t family, const uint8_t *ip);

/* What we connect from; empty = as the system likes. */
struct hop_bind {
	struct span v4, v6;
};
/* A single address of one family in inet_interfaces (as Postfix does for multi-homed hosts), unless it is a loopback one. */
void hop_own_bind(const struct hop_own *own, struct arena *a, struct hop_bind *bind_r);

/* ---- what was found */

/* One DNS answer, as far as a decision or its explanation needs it. */
struct hop_answer {
	uint16_t type;                  /* 0 = not asked */
	enum dns_status status;
	bool native;                    /* by the system's ways: never secure */
	bool nxdomain, alias;
	size_t count;
	struct span canon;              /* name after CNAME expansion */
	struct span why;                /* bogus, failed */
};

/* An MX host, or the only host. */
struct hop_host {
	struct span name;               /* before CNAME expansion, A-label form; address text for a literal */
	uint16_t pref;
	struct hop_answer answers[2];   /* AAAA, A; the system's when DNS knew nothing */
};

struct hop_address {
	sa_family_t family;             /* AF_INET, AF_INET6, AF_UNIX */
	uint8_t ip[16];
	uint16_t port;
	uint16_t pref;
	struct span text;               /* printable address, or path */
	struct span host;               /* name used to look it up, before CNAME expansion */
	struct span canon;              /* after it; empty = same */
	bool literal;                   /* `host` is an address */
	bool from_mx;
	enum dns_status mx_status;      /* of the MX answer; of the absence of one for an implicit MX */
	enum dns_status status;         /* of the address answer; INSECURE when there was none */
	const struct tls_table_answer *table;   /* what the policy table, or the legacy one, says for this host; from hop_host() */
	struct tls_dane_facts *dane;    /* filled by hop_host() at DANE levels, else NULL */
	struct span local;              /* explanations: a file of ours that this server needs cannot be used, and why; delivery sees for itself */
};

enum { HOP_HOSTS_MAX = 64, HOP_ADDRESSES_MAX = 128, HOP_WARNINGS_MAX = 8 };

struct hop {
	/* given; all borrowed */
	const struct hop_service *svc;
	const struct hop_own *own;      /* NULL = no address is ours */
	struct arena *arena;            /* facts live here */
	struct asks *asks;
	struct asks *(*native)(void *ctx);      /* questions by the system's ways, made when first needed; NULL = none */
	void *native_ctx;
	bool tls_required_no;           /* of the message: header "TLS-Required: no" is in force */

	/* hop_begin() */
	struct span nexthop;            /* as written */
	struct span key;                /* what tables are asked for: without "unix:" or "inet:" */

	/* hop_table() */
	struct tls_table_answer table;

	/* hop_resolve() */
	struct span domain;             /* without brackets and port, A-label form */
	uint16_t port;
	bool no_mx;                     /* [host] or address */
	bool unix_socket;
	struct hop_answer mx;
	struct hop_host *hosts;
	size_t n_hosts;
	struct hop_address *list;       /* in the order to be tried */
	size_t count;
	bool ours;                      /* we are a server of this domain: a fallback relay could only send it back */
	bool best_mx_known;             /* the list came from MX records: a server that says our name is a loop */
	struct span warnings[HOP_WARNINGS_MAX]; /* for the log, once */
	size_t n_warnings;
};

/* ---- gathering */

/* Forget the facts and begin with this next hop: "example.org", "[mx.example.org]:587", "unix:/path", "inet:..." */
void hop_begin(struct hop *h, struct span nexthop);
/* Only the form of a next hop as configuration has it; false with `why`, made for who wrote it. Reads port and lmtp of `svc`. */
bool hop_form(const struct hop_service *svc, struct span nexthop, struct arena *a, struct fault *why);
/* smtp_tls_policy_maps: FOUND (h->table is filled, whatever its state) or WAIT. */
enum map_result hop_table(struct hop *h);
/*
 * Addresses, sorted. FOUND, WAIT, or ABSENT with `why` (whatever its class) when there is none to go to.
 * RFC 5321 section 5.1, RFC 7505; mail that would loop back to us is ABSENT.
 */
enum map_result hop_resolve(struct hop *h, struct fault *why);
/*
 * What one server's decision needs beyond that: the legacy table's answer (smtp_tls_per_site, into h->table)
 * and, at DANE levels, TLSA records (into addr->dane; RFC 7672 section 2.2). FOUND or WAIT.
 */
enum map_result hop_host(struct hop *h, struct hop_address *addr);
/* All of the above for every address. FOUND, WAIT, or ABSENT with `why`. */
enum map_result hop_gather(struct hop *h, struct span nexthop, struct fault *why);

/* ---- several next hops */

/* Those that a route gave (a list is allowed), then smtp_fallback_relay. */
struct hop_list {
	const struct hop_service *svc;
	struct span whole;              /* as the route gave it */
	struct span *hop;
	size_t count, given;            /* the first `given` are no fallback relays */
};

void hop_list(const struct hop_service *svc, struct span nexthop, struct arena *a, struct hop_list *l_r);
/* hop_resolve() of number `i` is done: the fallback relays that must not be used are taken off. */
void hop_list_found(struct hop_list *l, size_t i, const struct hop *h);
/* It was ABSENT: `why` becomes what the message is told. A text when a parameter is to blame, for the log; else empty. */
struct span hop_list_leads_nowhere(struct hop_list *l, size_t i, struct fault *why, struct arena *a);

/* ---- deciding: pure, from the facts alone */

/* What tls_policy_decide() is told about this address. */
void hop_facts(const struct hop *h, const struct hop_address *addr, struct tls_facts *facts_r);
/* May a TLSRPT collector be told of TLS there, if the domain asks for reports? After hop_resolve(), whatever it said. */
bool hop_reports(const struct hop *h);
/* False when the decision is invalid (dec_r says why); warnings are in the decision. */
bool hop_decide(const struct hop *h, const struct hop_address *addr, struct arena *a, struct tls_decision *dec_r);
