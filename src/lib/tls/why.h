/*
 * What is written down about TLS when a delivery has ended at one server, for `signet tls why`: one JSON object in one
 * line of at most TLS_WHY_MAX bytes, valid whatever bytes it is made of. What does not fit is cut; "cut":true says so.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/buf.h"
#include "tls/info.h"
#include "tls/policy.h"
#include "tls/verify.h"

enum { TLS_WHY_MAX = 1000, TLS_WHY_PEER_MAX = 640, TLS_WHY_RCPT_MAX = 320 };

/*
 * Members about one server: host, address, port, the decision with its trail, and, when a handshake took place, what came
 * of it (`ssl` NULL: none did). No braces, at most TLS_WHY_PEER_MAX bytes. `tls` is the log's tls= field.
 */
struct tls_why_peer {
	struct span host, address;
	uint16_t port;
	const struct tls_decision *decision;
	const struct tls_verdict *verdict;
	const struct tls_info *info;
	SSL *ssl;
	const char *tls;
	const char *report;             /* what a TLSRPT collector is told; NULL = nothing */
	struct span failure;            /* how the handshake failed; empty = it did not */
	const struct fault *unusable;   /* why nobody connected; NULL = somebody did */
};
void tls_why_write_peer(struct buf *out, const struct tls_why_peer *p);

/*
 * The whole line with its end: one outcome, and the recipients that it is about. `peer` = what tls_why_write_peer() made,
 * empty when no server was reached. As many of `to` as fit are written; how many is returned, the rest belongs into the
 * next record (`continued`). In the `last` one the others are at least counted ("unlisted").
 */
struct tls_why {
	int64_t wall_us;
	struct span qid, nexthop, peer;
	const struct span *to;
	size_t n_to;
	unsigned rcpts;                 /* that the outcome is about, in all records together */
	unsigned tried;                 /* servers before, when `peer` is empty */
	bool continued, last;
	const char *outcome;            /* "sent", "deferred", "bounced", "next server", "next hop", "same server again", "not recorded" */
	struct span dsn, text;
};
size_t tls_why_write(struct buf *out, const struct tls_why *w);
/* Of the same server, when a record about it is there already: host, address, port, level, tls. */
void tls_why_write_brief(struct buf *out, const struct tls_why_peer *p);
