/* Facts of a finished handshake, for the log, the Received header, policy services and milters. */
#pragma once

#include <openssl/ssl.h>

#include "base/arena.h"
#include "base/fault.h"
#include "log/lines_tls.h"

struct tls_info {
	struct log_tls wire;            /* protocol, cipher, groups, signatures, in the words of section 13.1 */
	bool resumed : 1;
	bool peer_cert : 1;             /* the peer showed a certificate */
	bool peer_rpk : 1;              /* a raw public key (RFC 7250) instead: only pkey_fp is known */
	bool forward_secret : 1;        /* of struct tls_exchange */
	bool post_quantum : 1;
	struct span group;
	struct span suite;              /* as IANA registered it: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"; "" = not known */
	bool peer_trusted : 1;          /* server side: its chain verified */
	bool asked : 1;                 /* server side: we asked for one */
	bool key_would_do : 1;          /* server side: and a raw public key may be shown instead */
	struct span peer_cn;            /* subject CN, UTF-8, "" when unusable */
	struct span issuer_cn;          /* issuer CN, else organisation */
	struct span peer_subject, peer_issuer;  /* DNs, one line */
	struct span cert_fp, pkey_fp;   /* "AB:CD:..", the digest asked for */
	/* dNSName values of the certificate: lower case, only those that are host names or "*.name"; at most TLS_INFO_NAMES. */
	struct span *dns_names;
	size_t n_dns_names;
	/* Server side: why the chain is not trusted ("" = it is, or there is none), and whose fault: "", "client" or "CA". */
	struct span untrusted;
	const char *untrusted_who;
	struct span sni;
};

enum { TLS_INFO_NAMES = 256 };

/* How the keys of a finished handshake came about. */
struct tls_exchange {
	const char *group;              /* "x25519", also below TLS 1.3; "" = none or not known. The library owns it. */
	/*
	 * Whoever learns the long-term keys later cannot read this session: the keys came from an ephemeral exchange
	 * (of a resumed session: the first one's). A ticket key that leaks is another matter.
	 */
	bool forward_secret;
	bool post_quantum;              /* the exchange is a hybrid with a post-quantum scheme */
};

void tls_exchange_get(SSL *ssl, struct tls_exchange *x_r);

/* The raw public key that the peer showed; NULL = none, or a certificate. The session owns it. */
EVP_PKEY *tls_peer_raw_key(SSL *ssl);

/* Everything OpenSSL knows after the handshake. `digest_name` is e.g. "sha256". Text lives in `a`. */
void tls_info_get(SSL *ssl, bool server, const char *digest_name, struct arena *a, struct tls_info *info_r);

/* Only what a certificate says by itself: names and fingerprints. */
void tls_info_cert(X509 *peer, const char *digest_name, struct arena *a, struct tls_info *info);
/* The same of a raw public key: its fingerprint. */
void tls_info_key(EVP_PKEY *peer, const char *digest_name, struct arena *a, struct tls_info *info);

/* Upper-case hex pairs joined by ':'; empty when the digest is unknown. */
struct span tls_cert_fingerprint(X509 *cert, const char *digest_name, struct arena *a);
struct span tls_pkey_fingerprint(X509 *cert, const char *digest_name, struct arena *a);
/* Colon-hex text to bytes; false + why for bad hex or a length that is not the digest's (20.3). */
struct tls_digest;
bool tls_cert_digest(X509 *cert, const char *digest_name, struct tls_digest *d_r);
bool tls_pkey_digest(X509 *cert, const char *digest_name, struct tls_digest *d_r);
bool tls_key_digest(EVP_PKEY *key, const char *digest_name, struct tls_digest *d_r);
struct span tls_digest_text(const struct tls_digest *d, struct arena *a);
bool tls_fingerprint_parse(struct span text, const char *digest_name, struct tls_digest *d_r, struct fault *why);
/* Output length of a digest by name, 0 when the library does not have it. */
size_t tls_digest_bytes(const char *digest_name);
