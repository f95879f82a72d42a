/* What the files of the verdict share. */
#pragma once

#include "tls/verify.h"

/* What a walk through a chain found: the error nearest to the leaf. */
struct walk {
	int error, depth;
	X509 *at;               /* where; released by the caller */
	int anchor_depth;       /* how many issuers the chain came to have */
	struct stream *trace;   /* as in struct tls_peer */
};

/* Callback for X509_STORE_CTX with a struct walk as application data. */
int verify_note_error(int ok, X509_STORE_CTX *ctx);
/* Time, depth and security level of the decision; `partial`: an anchor need not be self-signed. */
void verify_set_params(X509_STORE_CTX *ctx, const struct tls_decision *d, int64_t now_s, bool partial);
/* The limit counts issuers: 1 = directly issued by a root (20.20). */
void verify_check_depth(X509_STORE_CTX *ctx, const struct tls_decision *d, struct walk *w);
void verify_walk(X509_STORE *store, const struct tls_decision *d, const struct tls_peer *peer, int64_t now_s,
    bool partial, struct walk *w);

/* verify_dane.c: the chain against the decision's usable TLSA records. `usage_r` is 2, 3 or 0 (none matched). */
void verify_dane(struct tls_verdict *v, const struct tls_decision *d, struct tls_client_ctx *ctx,
    const struct tls_peer *peer, int64_t now_s, struct walk *w, uint8_t *usage_r);
/* verify_rootca.c: the chain against the decision's fingerprints of authorities. */
void verify_rootca(struct tls_verdict *v, const struct tls_decision *d, struct tls_client_ctx *ctx,
    const struct tls_peer *peer, int64_t now_s, struct walk *w);
/* Is it one of the decision's fingerprints? */
bool verify_is_pinned(const struct tls_decision *d, const struct tls_digest *have);
/* verify_rpk.c: the verdict about a raw public key; weaknesses are known already. */
void verify_raw_key(struct tls_verdict *v, const struct tls_decision *d, const struct tls_peer *peer);
