/*
 * What a private key is asked to do in a TLS handshake, and nothing else: signature schemes by
 * number (RFC 8446 section 4.2.3; one of our own for TLS 1.0) and the shapes of what is signed.
 * The worker's provider (keeper_provider.c) and the keeper role share this file, so that both
 * mean the same by a number.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct tls_scheme {
	uint16_t number;
	const char *key;        /* OpenSSL's name of the key type */
	const char *digest;     /* NULL: the algorithm brings its own */
	bool pss;
};

/* MD5 and SHA-1 together, as TLS 1.0 and 1.1 sign with RSA: from the range for private use. */
enum { TLS_SCHEME_RSA_MD5_SHA1 = 0xfe00 };

/* NULL: no scheme of ours. */
const struct tls_scheme *tls_scheme_find(uint16_t number);
/* The number for this key type, digest ("SHA256", "SHA2-256"; NULL) and padding; 0: none. */
uint16_t tls_scheme_number(const char *key, const char *digest, bool pss);

/*
 * Whose handshake message is this? Every text that TLS signs has a form that other protocols'
 * texts have not, and the whole of it is checked, to the last byte:
 *   TLS 1.3      CertificateVerify: 64 blanks, the context string, a zero, a hash (RFC 8446 4.4.3)
 *   TLS <= 1.2   ServerKeyExchange: two randoms, then ECDHE or DHE parameters (RFC 5246 7.4.3, RFC 8422 5.4)
 *   TLS <= 1.2   CertificateVerify: the handshake so far, ClientHello first, ClientKeyExchange last (RFC 5246 7.4.8)
 */
enum tls_shape { TLS_SHAPE_NONE, TLS_SHAPE_SERVER, TLS_SHAPE_CLIENT };
enum tls_shape tls_shape_of(struct span text);

/* The longest text: a handshake with two long chains in it. */
enum { TLS_SHAPE_MAX = 262144 };
