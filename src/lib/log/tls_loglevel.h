/* smtp_tls_loglevel and smtpd_tls_loglevel: a number or names of features (tls-client.md section 13). */
#pragma once

#include <stdint.h>

#include "base/fault.h"
#include "base/span.h"

enum log_tls_feature {
	LOG_TLS_SUMMARY = 1 << 0,       /* "... TLS connection established ..." */
	LOG_TLS_UNTRUSTED = 1 << 1,     /* why a chain is not trusted */
	LOG_TLS_PEERCERT = 1 << 2,      /* names and fingerprints of the peer's certificate */
	LOG_TLS_CERTMATCH = 1 << 3,     /* what matched; each of these two brings the other */
	LOG_TLS_VERBOSE = 1 << 4,       /* all of these, and each certificate of the chain, cipher lists */
	LOG_TLS_CACHE = 1 << 5,         /* sessions and tickets */
	LOG_TLS_DANE = 1 << 6,          /* TLSA records */
	LOG_TLS_STEPS = 1 << 7,         /* the library's own steps */
	LOG_TLS_HANDSHAKE_BYTES = 1 << 8,
	LOG_TLS_ALL_BYTES = 1 << 9,
	LOG_TLS_MESSAGES = 1 << 10,     /* handshake messages, decoded */
	LOG_TLS_DUMPS = LOG_TLS_HANDSHAKE_BYTES | LOG_TLS_ALL_BYTES | LOG_TLS_MESSAGES,
};

/* tls_trace_rate_limit: sessions of this second that are dumped. Zeroed at first. */
struct log_tls_rate {
	int64_t second;
	int count;
};

/* `features` of a session that begins now; without dumps when `limit` (0 = none) sessions of this second have one already. */
unsigned log_tls_rate(struct log_tls_rate *r, int limit, int64_t now_s, unsigned features);

/* Bits for "0" to "9" or a list of names, in any case. False + why for an unknown word. */
bool log_tls_level_parse(struct span text, unsigned *features_r, struct fault *why);
