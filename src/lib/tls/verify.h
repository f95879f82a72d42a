/*
 * Who is at the other end: the decision's requirements against the chain that was shown.
 * Done after the handshake, so that the server sees a clean QUIT and not an alert.
 */
#pragma once

#include <openssl/x509.h>

#include "tls/client_ctx.h"
#include "tls/policy.h"

enum tls_trust { TLS_TRUST_ANONYMOUS, TLS_TRUST_UNTRUSTED, TLS_TRUST_TRUSTED, TLS_TRUST_VERIFIED };

/* "Anonymous" etc, as the summary line has it. */
const char *tls_trust_name(enum tls_trust trust);

struct tls_verdict {
	enum tls_trust trust;
	bool matched : 1;       /* everything the level demands holds; true below FINGERPRINT unless `weak` */
	bool chain_ok : 1;      /* the chain leads to a configured anchor */
	bool weak : 1;          /* refused for a weakness of 20.12 or 20.19; also at `encrypt` */
	bool expired : 1, host_mismatch : 1, untrusted : 1;     /* for reports */
	int error, depth;       /* X509_V_ERR_*, 0 = none */
	int64_t verified_s;     /* when; a session that is resumed again and again does not make it younger */
	/* For log_tls_verify_failed(): "", "server" or "CA", and the words behind "NAMADDRPORT: "; "" when nothing failed. */
	const char *reason_who;
	char reason[1280];
	char matched_name[256]; /* or the fingerprint that matched */
	uint8_t dane_usage;     /* of the TLSA record that matched; 0 = none */
	char dane_match[256];   /* "EE certificate at depth 0: 3 1 1 0A1B..." */
	bool by_tafile : 1;     /* a certificate or key of tafile= is what the chain ends in ... */
	int anchor_depth;       /* ... at this depth */
	char anchor[200];       /* rootca= fingerprint that the chain contains */
	char found[512];        /* names in the certificate */
	char wanted[512];       /* names we would have accepted */
};

struct stream;

/*
 * What the connection offered beside its chain. `leaf` NULL = no certificate: an anonymous suite, or `raw_key`.
 */
struct tls_peer {
	X509 *leaf;
	STACK_OF(X509) *chain;  /* as sent, may be NULL */
	EVP_PKEY *raw_key;      /* raw public key instead of a certificate (RFC 7250), else NULL */
	int cipher_bits;        /* 0 = no encryption */
	int dh_bits;            /* of a finite-field DH key, else 0 */
	struct stream *trace;   /* whose tracer is told of each certificate; NULL = nobody */
};

/* `now_s` is wall-clock seconds (tests pass their own). Never fails: what cannot be checked is not matched. */
void tls_verify_peer(const struct tls_decision *d, struct tls_client_ctx *ctx, const struct tls_peer *peer,
    int64_t now_s, struct tls_verdict *v_r);

/* DANE with a raw public key: does a usable "3 1 x" record hold it? `text_r` gets that record. */
bool tls_dane_key_matches(const struct tls_decision *d, EVP_PKEY *key, char text_r[256]);

/*
 * Does this certificate carry this reference name? dNSName (or iPAddress) only; the CN
 * counts only with `cn_fallback` and no dNSName at all. Wildcards: whole left-most label,
 * one label, at least two dots (RFC 9525 section 6.3). `found_r` (may be NULL) gets the
 * certificate's name that matched.
 */
enum tls_name_flags { TLS_NAME_CN = 1, TLS_NAME_MULTI_LABEL = 2 };      /* deviations from RFC 9525 that were asked for */
bool tls_cert_has_name(X509 *cert, const struct tls_name *name, unsigned flags, char found_r[256]);
