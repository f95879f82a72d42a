/* Parts of `signet tls`: asking like a delivery does, and its words. */
#pragma once

#include "base/loop.h"
#include "conf/params.h"
#include "explain/explain.h"
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

/* ---- tls_files.c: can a client process use our own files that a decision needs? */

enum { TLS_HOST_ARENA_MAX = 64 << 20 };

/* Fills `local` of each address, seen with the ids and the file system of the process that delivers. */
bool tls_look_at_files(const struct conf *c, struct hop *h, struct fault *why);

/* ---- the words behind `signet tls` */
int tls_explain(struct cli *cli, int argc, char **argv);
int tls_why_command(struct cli *cli, int argc, char **argv);
/* tls_client.c: "explain --client ADDRESS ..." */
int tls_explain_client(struct cli *cli, int argc, char **argv);
int tls_tlsa_command(struct cli *cli, int argc, char **argv);
int tls_probe_command(struct cli *cli, int argc, char **argv);
