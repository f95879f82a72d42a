/*
 * What all outbound TLS sessions of a process share: trust anchors, our own certificates,
 * the session cache. Counted; a session holds a reference until it ends.
 *
 * A file that cannot be used never switches TLS off and never lowers a level (20.2): the
 * context exists without it and tls_client_ctx_usable() says whom that concerns.
 */
#pragma once

#include <openssl/ssl.h>

#include "tls/policy.h"

/* Where our certificates come from (sections 10 of tls-client.md, 5 of tls-server.md). Never NULL; "" = not set. */
struct tls_chain_params {
	const char *prefix;             /* "smtp_tls", "lmtp_tls", "smtpd_tls": names parameters in faults */
	const char *chain_files;        /* list */
	const char *cert_file, *key_file, *eccert_file, *eckey_file, *dcert_file, *dkey_file;
};

struct tls_roots_params {
	const char *prefix;
	const char *CAfile, *CApath;
	bool append_default_CA : 1;
};

struct tls_client_ctx_params {
	struct tls_chain_params chain;
	struct tls_roots_params roots;
	const char *ssl_options, *disable_workarounds;  /* tls_ssl_options, tls_disable_workarounds; NULL = none */
	int64_t session_timeout_s;      /* 0 = no session cache */
	size_t session_count_max;
};

struct tls_client_ctx;

/* NULL + why only when the library itself fails, or an option word is unknown. Warnings for unusable files are logged here, once. */
struct tls_client_ctx *tls_client_ctx_new(const struct tls_client_ctx_params *p, struct fault *why);
/* Our certificates have changed: connections from now on use the new ones. False + why: the old ones stay. */
bool tls_client_ctx_renew_chain(struct tls_client_ctx *c, const struct tls_chain_params *p, struct fault *why);
struct tls_client_ctx *tls_client_ctx_ref(struct tls_client_ctx *c);
void tls_client_ctx_unref(struct tls_client_ctx **c);

/*
 * May a session with this decision use the context? False + why (4.7.5, naming the file)
 * when the decision needs something that is broken: defer.
 */
bool tls_client_ctx_usable(struct tls_client_ctx *c, const struct tls_decision *d, struct fault *why);

SSL_CTX *tls_client_ctx_ssl(struct tls_client_ctx *c);
/* Anchors from CAfile and CApath; an empty store when both are empty. */
X509_STORE *tls_client_ctx_roots(struct tls_client_ctx *c);

/* What the first ClientHello depends on beside the decision. */
struct tls_hello {
	size_t segment_bytes;           /* what it should fit in (hello.h) */
	bool resuming;                  /* a session will be offered */
};

/* An SSL set up as the decision and its rung say (protocols, ciphers, groups, SNI, levels). NULL + why. The caller owns it. */
SSL *tls_client_ssl_new(struct tls_client_ctx *c, const struct tls_decision *d, const struct tls_hello *h,
    struct fault *why);

/* Does this library know raw public keys (RFC 7250)? Without them `enable_rpk` means nothing. */
bool tls_rpk_available(void);

/*
 * --- session cache: in this process, bounded, oldest out first; for TLS 1.3, whose tickets are for one use each, several for
 * one key ---
 */
struct tls_verdict;

/*
 * The cache key of section 12: where we go and everything that decided how. `service` is the
 * master.cf name, `helo` our EHLO name.
 */
struct span tls_session_key(struct arena *a, const char *service, struct span nexthop, struct span host,
    struct span address, struct span helo, const struct tls_decision *d);
/* A session to resume (a reference for the caller, SSL_SESSION_free) with the verdict it had; NULL when none. */
SSL_SESSION *tls_session_find(struct tls_client_ctx *c, struct span key, int64_t now_s,
    struct tls_verdict *verdict_r);
/* Its age counts from verdict->verified_s; it does not outlive the certificates that a trusted verdict rests on. */
/* `chain` is what the server showed when the verdict was made (may be NULL). */
void tls_session_store(struct tls_client_ctx *c, struct span key, SSL_SESSION *session, STACK_OF(X509) *chain,
    const struct tls_verdict *verdict);
/* Does the context keep sessions at all? */
bool tls_sessions_kept(const struct tls_client_ctx *c);
void tls_session_forget(struct tls_client_ctx *c, struct span key);
