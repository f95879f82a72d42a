/*
 * A validating resolver in this process: libunbound on our loop. One context per set of
 * options (they are frozen by the first question); a new configuration is a new client.
 */
#pragma once

#include "dns/dns.h"

struct loop;
struct dns_client;

struct dns_client_options {
	struct span forwarders;         /* "addr[@port] ..."; empty = recursion from the root */
	struct span stubs;              /* "zone addr[@port] [addr ...] zone addr ..." */
	struct span anchors;            /* names of trust anchor files; empty = nothing is ever secure */
	const char *root_hints;         /* file name; "" = those of the library */
	unsigned sockets_max;           /* sockets that may be open at a time */
};

/*
 * NULL + why when an option cannot be used (an address, a file without keys). Zones of
 * `stubs` that no anchor covers are not validated: an internal zone below a signed public one
 * would else be bogus.
 */
struct dns_client *dns_client_new(struct loop *l, const struct dns_client_options *o, struct fault *why);
/* Questions that are under way are forgotten: nobody is called. Not from inside an answer. */
void dns_client_free(struct dns_client **c);

/*
 * Ask. `fn` is called once, from the loop, never from inside this call; the answer dies with the
 * call. There is no cancelling: `ctx` must live until then (or until dns_client_free).
 */
typedef void dns_answer_fn(void *ctx, const struct dns_answer *answer);
void dns_client_ask(struct dns_client *c, struct span name, enum dns_type type, dns_answer_fn *fn, void *ctx);

/* Questions under way. */
size_t dns_client_pending(const struct dns_client *c);

/* "addr" or "addr@port" with an IPv4 or IPv6 address. */
bool dns_server_check(struct span server, struct fault *why);
