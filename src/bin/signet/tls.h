/* Parts of `signet tls`: asking like a delivery does, recorded facts, and what is shown of a decision. */
#pragma once

#include <jansson.h>

#include "base/loop.h"
#include "conf/params.h"
#include "hop/hop.h"
#include "maps/maps.h"
#include "signet/control.h"

struct cli;
struct conf;

/* ---- tls_asks.c: questions of lib/hop and lib/route, answered here: DNS by the running daemon, tables in this process */

struct tls_asks {
	struct loop *loop;
	struct asks_link *link;
	struct asks *asks;
	struct asks_link *native_link;
	struct asks *native;            /* by the system's ways (smtp_host_lookup = native) */
	struct control control;
	bool connected;                 /* to the daemon */
	struct fault why;               /* why not */
	bool asked_dns;                 /* a DNS question came up */
	bool ready;
	struct list questions;
	struct loop_task answer;
	struct maps_env env;            /* for tables; reads lmdb: and unix: here */
};

/* A daemon that does not run is no failure here: DNS questions then fail with `why`. */
void tls_asks_open(struct tls_asks *q, const struct conf *conf);
void tls_asks_close(struct tls_asks *q);
/* For struct hop: who is asked for what the system knows. `q` is a struct tls_asks. */
struct asks *tls_asks_native(void *q);
/* Run `step` again until it does not answer MAP_WAIT. */
enum map_result tls_asks_run(struct tls_asks *q, enum map_result (*step)(void *ctx), void *ctx);
/* One DNS question; the answer lives until tls_asks_close. Never NULL: FAILED says why. */
const struct dns_answer *tls_asks_dns(struct tls_asks *q, struct span name, uint16_t type);

/* ---- tls_facts.c: all that a decision rests on, written down */

/* An object with everything of `h` and of the parameters. The caller's; NULL when memory or text fail. */
json_t *tls_facts_json(const struct hop *h);

/* What was read back: `hop` points into the rest. */
struct tls_recorded {
	struct hop hop;
	struct hop_service svc;
	struct params params;           /* only what decisions read */
};
/* False with `why` naming the member that is missing or wrong. Lives in `a`. */
bool tls_facts_read(const json_t *facts, struct arena *a, struct tls_recorded *r_r, struct fault *why);

/* ---- tls_show.c */

/* How an address was chosen, before lib/hop. Empty members are not shown. */
struct tls_way {
	struct span what;               /* as given */
	struct span recipient, transport, nexthop, source;
	struct span service;            /* of master.cf */
};

/* One host as text, `n` from 1. `a` for pieces. */
void tls_show_way(struct buf *out, const struct tls_way *way);
void tls_show_hop(struct buf *out, const struct hop *h);
void tls_show_host(struct buf *out, const struct hop *h, const struct hop_address *addr, size_t n, struct arena *a);
/* "dane", "may (asked for: dane)" */
struct span tls_show_level(const struct tls_decision *d, struct arena *a);
/* The same as JSON. */
json_t *tls_way_json(const struct tls_way *way);
json_t *tls_host_json(const struct hop *h, const struct hop_address *addr, struct arena *a);
json_t *tls_json_span(struct span s);

/* ---- the words behind `signet tls` */
int tls_explain(struct cli *cli, int argc, char **argv);
int tls_why_command(struct cli *cli, int argc, char **argv);
/* tls_client.c: "explain --client ADDRESS ..." */
int tls_explain_client(struct cli *cli, int argc, char **argv);
int tls_tlsa_command(struct cli *cli, int argc, char **argv);
int tls_probe_command(struct cli *cli, int argc, char **argv);
