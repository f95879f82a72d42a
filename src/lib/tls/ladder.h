/*
 * A ladder that keeps TLS: when an opportunistic handshake fails, the same host is tried again with a plainer one,
 * before anybody thinks of clear text (RFC 7435 section 3: some protection is better than none).
 *
 *   full     everything that the policy allows
 *   plain    no post-quantum share, no ticket: a small, old-fashioned ClientHello
 *   TLS 1.2  nothing newer, with TLS_FALLBACK_SCSV (RFC 7507): a server that knows more will refuse, so nobody in
 *            between can use the ladder to talk both sides down
 *
 * Every rung is inside the policy: versions, ciphers, groups and above all who the server must be are those of the
 * decision. Levels that an administrator made mandatory (encrypt, fingerprint, verify, secure, dane-only) have no ladder.
 *
 * What worked is remembered for each host, in a bounded table without a clock: `now_s` is any count of seconds
 * that does not go back. Clear text is never remembered.
 */
#pragma once

#include "tls/policy.h"

enum {
	TLS_LADDER_APART_S = 300,       /* two failures at full strength must be this far apart */
	TLS_LADDER_KEEP_S = 24 * 3600,  /* a rung, or a single failure, is forgotten after this */
};

/* Words for the log: "full", "no ticket, no post-quantum share", "TLSv1.2". */
const char *tls_rung_text(enum tls_rung rung);

/* What is tried on the same host when a handshake fails, in words: "no ticket, no post-quantum share; then TLSv1.2". "" = nothing. */
struct span tls_ladder_text(const struct tls_decision *d, struct arena *a);

/* Has this decision a ladder at all? */
bool tls_ladder_has(const struct tls_decision *d);
/* The fullest rung that the policy allows and that is not in `tried` (bits 1u << rung). False when none is left. */
bool tls_ladder_next(const struct tls_decision *d, unsigned tried, enum tls_rung *rung_r);
/* Make the decision's handshake that of this rung. */
void tls_ladder_apply(struct tls_decision *d, enum tls_rung rung);

struct tls_ladder;

/* At most `hosts_max` hosts; the one that was heard of longest ago makes room. */
struct tls_ladder *tls_ladder_new(size_t hosts_max);
void tls_ladder_free(struct tls_ladder **l);
size_t tls_ladder_count(const struct tls_ladder *l);

/* Where to begin with `host` ("name:port"): full, or a rung that is remembered and within this policy. */
enum tls_rung tls_ladder_start(struct tls_ladder *l, struct span host, const struct tls_decision *d, int64_t now_s);
/* A handshake failed. At a remembered rung, that is the end of the memory. */
void tls_ladder_failed(struct tls_ladder *l, struct span host, enum tls_rung rung, int64_t now_s);
/* A handshake succeeded, and the server is who it should be. At full strength, that is the end of the memory. */
void tls_ladder_worked(struct tls_ladder *l, struct span host, enum tls_rung rung, int64_t now_s);
