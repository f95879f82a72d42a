/*
 * Inbound TLS policy by client (smtpd_tls_policy_maps, and the result "tls_require" of access
 * tables): what one entry demands, and whether a client has shown it. Pure: the role looks up
 * tables and hands in what the handshake left behind; smtpd and `signet tls explain --client`
 * use the same two functions.
 *
 * What this is good for: an entry that demands is hygiene for the client it names. It keeps no
 * stranger out, who has another name and address and so another entry; only a right that is
 * granted for a certificate, or a demand tied to the sender (tls_require), does.
 */
#pragma once

#include <openssl/x509.h>

#include "tls/policy.h"

enum tls_client_level {
	TLS_CLIENT_NONE,        /* STARTTLS is not offered */
	TLS_CLIENT_MAY,
	TLS_CLIENT_ENCRYPT,
	TLS_CLIENT_VERIFY,      /* a trusted chain, and all conditions */
	TLS_CLIENT_FINGERPRINT, /* a certificate or key that is listed; the chain does not matter */
};

const char *tls_client_level_name(enum tls_client_level level);

struct tls_client_policy {
	enum tls_client_level level;
	bool has_ask_ccert : 1, ask_ccert : 1;
	unsigned bits;                          /* least strength of the cipher; 0 = any */
	struct span *match;                     /* names, "hostname", or at FINGERPRINT digests "AB:CD:.." */
	struct span *email, *ip, *uri;
	size_t n_match, n_email, n_ip, n_uri;
	struct span subject, issuer;            /* distinguished names as written; empty = any */
	struct span issuer_maps;                /* "type:name"; empty = none */
	struct span ciphers, protocols, exclude, chain;         /* empty = as the service has it */
	unsigned code;                          /* of a refusal; 454 when not given */
};

/*
 * Parse "level attr=value { attr = value } ...". Strict: whatever is not understood, given twice,
 * or without effect at its level is an error, and the caller then refuses with 454: a typo costs
 * delay, never protection. `digest_name` is smtpd_tls_fingerprint_digest. Spans point into `value`
 * or live in `a`.
 */
bool tls_client_policy_parse(struct span value, const char *digest_name, struct arena *a,
    struct tls_client_policy *p_r, struct fault *why);

/* Must a certificate be asked for in the handshake? `service` is what smtpd_tls_ask_ccert says. */
bool tls_client_policy_asks(const struct tls_client_policy *p, bool service);
/* And may a raw public key be shown instead? `service` is what smtpd_tls_enable_rpk says. Not where names count: a key has none. */
bool tls_client_policy_asks_key(const struct tls_client_policy *p, bool service);

/* --- keys --- */

enum { TLS_CLIENT_KEYS_MAX = 160 };

struct tls_client_key {
	struct span key;
	bool partial;           /* cut from a longer one: pattern and network tables are not asked */
	bool by_name;
	bool last_resort;       /* "sni=NAME" or "*": nothing is known of who the client is */
};

/*
 * The keys of a client in their order; the first hit decides, alone. `name` must be confirmed by
 * forward lookup (empty = none: then no key is a name). Keys: name, ".parent"s, address, its
 * networks cut at '.' or ':', "sni=NAME" (`sni` is what the client asked for in its handshake;
 * empty = nothing, or no handshake yet), "*". `keys_r` has room for TLS_CLIENT_KEYS_MAX.
 */
size_t tls_client_keys(struct span name, struct span addr, struct span sni, struct arena *a, struct tls_client_key *keys_r);

/*
 * Can a key as it is written be that of a client, in a table that compares whole keys? False + why: no client ever has it, so
 * whatever the entry demands is demanded of nobody; or it finds less than it seems to.
 */
bool tls_client_key_check(struct span key, struct fault *why);

/*
 * The same policy when it was found by a key: behind "sni=NAME" some words come too late. False + why: it makes no sense there.
 */
bool tls_client_policy_fits(const struct tls_client_policy *p, struct span key, struct fault *why);

/* --- decision --- */

/* What a client has shown. In clear everything but `name` is zero. */
struct tls_client_shown {
	struct span name;               /* confirmed; "" = none */
	bool tls : 1;
	bool asked : 1;                 /* a certificate was asked for */
	bool key_would_do : 1;          /* and a raw public key may be shown instead (smtpd_tls_enable_rpk) */
	bool trusted : 1;               /* its chain leads to a configured authority */
	bool unavailable : 1;           /* this server cannot do TLS now, or does not offer it to this client */
	int bits;                       /* of the cipher */
	X509 *cert;                     /* borrowed; NULL = none, or a raw public key */
	struct span untrusted;          /* why it is not trusted */
	struct span cert_fp, pkey_fp;   /* "AB:CD:.."; a raw public key has only the second */
};

/* The answer of issuer_maps. */
struct tls_client_issuer {
	enum tls_answer state;
	struct span value;
	struct fault why;
};

struct tls_client_verdict {
	bool ok;
	unsigned code;                  /* of the refusal */
	const char *dsn;                /* "4.7.0" or "5.7.0" */
	struct span reply;              /* for the client: says nothing of our configuration */
	struct span why;                /* for the log: what was wanted and what was there */
	struct span warning;            /* ok, but it hangs on a certificate that the client need not show; "" = none */
	struct tls_step *trail;         /* each condition in the order tested; the last one failed unless `ok` */
	size_t n_trail;
};

/* Is issuer_maps to be asked about what was shown? */
bool tls_client_issuer_wanted(const struct tls_client_policy *p, const struct tls_client_shown *s);
/* The key for issuer_maps ("/C=../O=.."); empty without certificate. */
struct span tls_client_issuer_key(const struct tls_client_shown *s, struct arena *a);

/* Does what was shown satisfy the entry? All conditions must hold. Never fails. */
void tls_client_policy_decide(const struct tls_client_policy *p, const struct tls_client_shown *s,
    const struct tls_client_issuer *issuer, struct arena *a, struct tls_client_verdict *v_r);

/* The verdict when an entry could not be found out or understood: 454 4.7.0, whatever was shown. */
void tls_client_policy_unknown(const struct fault *why, struct tls_client_verdict *v_r);
