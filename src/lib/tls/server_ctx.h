/*
 * Inbound TLS of one service (tls-server.md sections 1 to 6): two settings of ciphers and
 * protocols (TLS optional or mandatory), our chains, client certificates, tickets whose keys
 * all workers share, chains by SNI name. Counted and immutable but for the ticket keys.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "tls/client_ctx.h"

/* What smtpd_tls_security_level (or the legacy booleans) comes to. */
enum tls_server_level { TLS_SERVER_NONE, TLS_SERVER_MAY, TLS_SERVER_ENCRYPT };

/*
 * Section 1. `wrappermode` wins. False + why for dane, dane-only and unknown words (fatal at
 * start); `warning_r` is set when a client-only level is treated as encrypt, else NULL.
 */
bool tls_server_level_parse(const char *security_level, bool use_tls, bool enforce_tls, bool wrappermode,
    enum tls_server_level *level_r, const char **warning_r, struct fault *why);

struct tls_server_params {
	const char *service;            /* session-id context: a ticket of one service is no good on another */
	struct tls_chain_params chain;  /* cert_file "none" alone = anonymous suites only */
	struct tls_roots_params roots;
	bool mandatory : 1;             /* TLS is required: the mandatory_* values apply */
	bool no_rsa_exchange : 1;       /* plain RSA is not agreed on even if TLS is optional: keeper decrypts for level may alone */
	bool ask_ccert : 1, req_ccert : 1;
	bool enable_rpk : 1;            /* who is asked may show a raw public key; ignored where the library has none */
	bool preempt_cipherlist : 1;
	bool trust_server_ccerts : 1;
	bool always_issue_session_ids : 1;
	int ccert_verifydepth;
	const char *protocols, *mandatory_protocols;
	const char *ciphers, *mandatory_ciphers;
	const char *exclude_ciphers, *mandatory_exclude_ciphers;
	const char *high_cipherlist, *medium_cipherlist, *null_cipherlist;
	const char *eecdh_auto_curves, *ffdhe_auto_groups;
	const char *eecdh_grade;        /* none, strong, ultra, auto */
	const char *eecdh_strong_curve, *eecdh_ultra_curve;     /* other than the default: the only curves of that grade */
	const char *dh1024_param_file;
	const char *ssl_options, *disable_workarounds;  /* tls_ssl_options, tls_disable_workarounds; NULL = none */
	const char *fingerprint_digest;
	const char *session_ticket_cipher;      /* "" = no tickets */
	int64_t session_timeout_s;              /* smtpd_tls_session_cache_timeout; 0 = no tickets */
};

struct tls_server_ctx;

/*
 * NULL + why (names the file or parameter) when TLS cannot be had: then STARTTLS is not
 * announced. Warnings that leave TLS usable are logged here.
 */
struct tls_server_ctx *tls_server_ctx_new(const struct tls_server_params *p, struct fault *why);
struct tls_server_ctx *tls_server_ctx_ref(struct tls_server_ctx *c);
void tls_server_ctx_unref(struct tls_server_ctx **c);

SSL_CTX *tls_server_ctx_ssl(struct tls_server_ctx *c);
/* A certificate is asked for; what comes is judged, never refused here (section 3). */
bool tls_server_ctx_asks_ccert(const struct tls_server_ctx *c);
/* TLS is mandatory and so is a trusted certificate: the owner turns away who has none. */
bool tls_server_ctx_requires_ccert(const struct tls_server_ctx *c);
/*
 * And a raw public key will do (server_rpk.c). Never where a trusted certificate is required: a key is not trusted by
 * anybody's word.
 */
bool tls_server_ctx_asks_keys(const struct tls_server_ctx *c);
/*
 * One connection by other rules than the service's (smtpd_tls_policy_maps), before its handshake: of `p` count
 * `mandatory`, `ask_ccert`, `enable_rpk`, protocols, ciphers and exclusions. False + why: better no TLS than with other rules.
 */
bool tls_server_tune(struct tls_server_ctx *c, SSL *ssl, const struct tls_server_params *p, struct fault *why);
/* The service's own certificates for a connection that was given others, before its ServerHello. */
bool tls_server_default_chain(struct tls_server_ctx *c, SSL *ssl, struct fault *why);
/* For log_tls_cipher_list(). */
const char *tls_server_ctx_ciphers(const struct tls_server_ctx *c);
/* The key exchange groups that the library knows of those configured; "" = its own choice. */
const char *tls_server_ctx_groups(const struct tls_server_ctx *c);

/*
 * Ticket keys: made by keeper (tickets.h), handed to every worker. The first key encrypts and decrypts, the second only decrypts. All zero = none.
 */
/* Has it a certificate? Without one there are anonymous suites only, and nothing to sign. */
bool tls_server_ctx_signs(const struct tls_server_ctx *c);
/* Does a list of protocols leave one, TLS 1.2 or later where TLS is mandatory? False + why. */
bool tls_server_protocols_left(const char *list, bool mandatory, const struct tls_protocols *t, struct fault *why);
/* Can tickets be made with it? "" = no tickets, which is fine. False + why. */
bool tls_ticket_cipher_check(const char *name, struct fault *why);

enum { TLS_TICKET_KEY_BYTES = 80 };     /* 16 name, 32 cipher, 32 HMAC */
struct tls_ticket_keys {
	uint8_t key[2][TLS_TICKET_KEY_BYTES];
	unsigned count;         /* 0, 1, 2 */
	int64_t expires_s[2];   /* wall clock: when each is forgotten; only for the log */
};
void tls_server_ctx_set_ticket_keys(struct tls_server_ctx *c, const struct tls_ticket_keys *k);

/*
 * Certificates have changed: sessions that begin from now on get the new ones, those that live
 * keep theirs. False + why: the old ones stay.
 */
bool tls_server_ctx_renew_chain(struct tls_server_ctx *c, const struct tls_chain_params *p, struct fault *why);
/* The same for DH parameters: `pem` is what `path` holds now. False + why: the group in use stays. */
bool tls_server_ctx_renew_dh(struct tls_server_ctx *c, const char *path, struct span pem, struct fault *why);

/* --- SNI --- */

/* Chains in PEM text, keys before their leaves (section 5), parsed once; counted. */
struct tls_chain;
struct tls_chain *tls_chain_parse(struct span pem, const char *source, struct fault *why);
struct tls_chain *tls_chain_ref(struct tls_chain *c);
void tls_chain_unref(struct tls_chain **c);
