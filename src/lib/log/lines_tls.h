/* TLS lines of the SMTP client and server, in Postfix's format (tls-client.md 13, tls-server.md 8). */
#pragma once

#include "base/buf.h"
#include "base/log.h"
#include "base/span.h"

/* One side's handshake signature; `alg` empty = not known. */
struct log_tls_signature {
	struct span alg;        /* "RSA-PSS", "ECDSA", "ED25519" */
	struct span curve;      /* "prime256v1"; empty = none */
	int bits;               /* 0 = not said */
	bool rpk;               /* raw public key */
	struct span digest;     /* "SHA256"; empty = none */
};

/* What the wire says about a session. */
struct log_tls {
	struct span protocol;   /* "TLSv1.3" */
	struct span cipher;     /* "TLS_AES_256_GCM_SHA384" */
	int bits_used, bits_alg;
	struct span group;      /* TLS 1.3 key exchange, "x25519"; empty = not known */
	struct span group_curve;
	int group_bits;
	struct log_tls_signature server, client;
};

/* " key-exchange x25519 server-signature ECDSA (prime256v1) server-digest SHA256": nothing below TLS 1.3. */
void log_tls_key_exchange(struct buf *out, const struct log_tls *t);    /* "key-exchange x25519" */
/* "server-signature ECDSA (prime256v1) server-digest SHA256" */
void log_tls_signature_text(struct buf *out, const char *side, const struct log_tls_signature *s);
/* "prime256v1", "2048 bits", "prime256v1 raw public key"; nothing when there is nothing to say */
void log_tls_signature_size(struct buf *out, const struct log_tls_signature *s);
void log_tls_suffix(struct buf *out, const struct log_tls *t);
/* "TLSv1.3 with cipher NAME (256/256 bits)" */
void log_tls_cipher(struct buf *out, const struct log_tls *t);

/* "Verified TLS connection established to host[addr]:25: TLSv1.3 with cipher ..." (name is lower-cased). */
void log_tls_client_summary(const struct log *l, const char *trust, bool reused, struct span namaddrport,
    const struct log_tls *t);
/* "Anonymous TLS connection established from host[addr][ to sni]: ..." */
void log_tls_server_summary(const struct log *l, const char *trust, struct span namaddr, struct span sni,
    const struct log_tls *t);

/* "SSL_connect error to NAMADDRPORT: <text>" and one "TLS library problem" warning for each library line. */
void log_tls_connect_error(const struct log *l, struct span namaddrport, const char *text);
void log_tls_accept_error(const struct log *l, struct span namaddr, const char *text);
void log_tls_library_problem(const struct log *l, const char *text);

/* "NAMADDRPORT: trying again with plainer TLS (TLSv1.2)"; `what` is "trying again" or "beginning". Ours, not Postfix's. */
void log_tls_plainer(const struct log *l, struct span namaddrport, const char *what, const char *rung);

/* "NAMADDRPORT: no forward secrecy with cipher AES256-SHA". Ours, not Postfix's. */
void log_tls_no_forward_secrecy(const struct log *l, struct span namaddrport, const char *cipher);

/*
 * "TLSRPT: status=success, domain=<d>, receiving_mx=HOST[ADDR]"; "TLSRPT: status=failure, ..., failure_type=<t>[, failure_reason=<r>]"
 * when there is a type, in which '-' becomes '_'.
 */
void log_tls_report(const struct log *l, struct span domain, struct span mx, const char *failure_type, const char *reason);

/* "Host offered STARTTLS: [HOST]" */
void log_tls_offer(const struct log *l, struct span host);

/* "[server ]certificate verification failed for NAMADDRPORT: <why>" (`who` is "", "server" or "CA"). */
void log_tls_verify_failed(const struct log *l, const char *who, struct span namaddrport, const char *why);
/* "NAMADDRPORT: re-using session with untrusted peer credential, look for details earlier in the log" */
void log_tls_reused_untrusted(const struct log *l, struct span namaddrport, bool server);

/* "NAMADDR: subject_CN=<cn>, issuer=<cn>, cert fingerprint=<fp>, pkey fingerprint=<fp>" */
void log_tls_peercert(const struct log *l, struct span namaddr, struct span cn, struct span issuer,
    struct span cert_fp, struct span pkey_fp);
/* "NAMADDRPORT: matched peername: <name>", "NAMADDRPORT: Matched fingerprint: <hex>" (without the colons of `fp`) */
void log_tls_matched_name(const struct log *l, struct span namaddrport, struct span name);
void log_tls_matched_fingerprint(const struct log *l, struct span namaddrport, struct span fp);
/* "NAMADDRPORT: Matched DANE <match>"; `match` is "EE certificate at depth 0: 3 1 1 <hex>" */
void log_tls_matched_dane(const struct log *l, struct span namaddrport, struct span match);
/* "NAMADDRPORT: Matched trust anchor at depth <n>" (tafile=) */
void log_tls_matched_depth(const struct log *l, struct span namaddrport, int depth);
/* "NAMADDRPORT: Matched trust anchor fingerprint: <hex>" (rootca=, ours) */
void log_tls_matched_anchor(const struct log *l, struct span namaddrport, struct span fp);
/* "NAMADDRPORT: unusable TLSA RR: u s m <hex>", a warning */
void log_tls_unusable_tlsa(const struct log *l, struct span namaddrport, struct span record);
/* "DNSSEC-signed TLSA record: _25._tcp.HOST: u s m <hex>" */
void log_tls_signed_tlsa(const struct log *l, struct span qname, struct span record);
/* "NAMADDR: raw public key fingerprint=<fp>" */
void log_tls_rawkey(const struct log *l, struct span namaddr, struct span pkey_fp);
/* "subject=<dn>" and "issuer=<dn>" */
void log_tls_names(const struct log *l, struct span subject, struct span issuer);
/* "initializing the server-side TLS engine" */
void log_tls_initializing(const struct log *l, bool server);
/* What the library does: its own words; the second form with "NAMADDR: " in front. */
void log_tls_trace(const struct log *l, const char *text);
void log_tls_trace_peer(const struct log *l, struct span namaddr, const char *text);
/* "NAMADDR: no dump of this session: tls_trace_rate_limit is <limit> for each second". Ours, not Postfix's. */
void log_tls_no_dump(const struct log *l, struct span namaddr, int limit);
/* "using backwards-compatible default setting <parameter>=md5 to compute certificate fingerprints" */
void log_tls_md5_default(const struct log *l, const char *parameter);
/* "setting up TLS connection to|from NAMADDR" */
void log_tls_setting_up(const struct log *l, bool server, struct span namaddr);
/* "NAMADDR: TLS cipher list "<list>"" */
void log_tls_cipher_list(const struct log *l, struct span namaddr, struct span list);
/* "NAMADDRPORT: SNI hostname: <name>", "TLS SNI <name> from NAMADDR not matched, using default chain" */
void log_tls_sni(const struct log *l, struct span namaddrport, struct span name);
void log_tls_sni_unmatched(const struct log *l, struct span namaddr, struct span name);
/* "NAMADDRPORT: Reusing old session" (server: with " (RFC 5077 session ticket)") */
void log_tls_reusing(const struct log *l, struct span namaddr, bool server_ticket);
/* "NOQUEUE: abort: TLS from NAMADDR: <reason>" */
void log_tls_abort(const struct log *l, struct span namaddr, const char *reason);
/* "TLS policy lookup for <nexthop>/<HOST>: <reason>", a warning */
void log_tls_policy_lookup(const struct log *l, struct span nexthop, struct span host, const char *reason);
