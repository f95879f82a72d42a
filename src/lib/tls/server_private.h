/* Inside of the server context, shared with the stream. */
#pragma once

#include "tls/server_ctx.h"

struct tls_server_ctx {
	unsigned refs;
	SSL_CTX *ctx;
	struct tls_chain *chain;
	char *service;
	char *groups;                   /* list for SSL_set1_groups_list; "" = the library's own */
	char *ciphers;
	EVP_CIPHER *ticket_cipher;      /* NULL = no tickets */
	struct tls_ticket_keys tickets;
	bool ask_ccert, require_ccert, trust_server_ccerts, ask_keys;
	char *preferred;                /* curves that we choose for the client (grades strong and ultra); "" = it chooses */
	uint8_t trust_id[32];           /* digest of what client certificates are judged by */
	bool chain_per_session;         /* the library's context has pairs that the chain no longer has */
};

/* --- server_ctx.c: what a setting of parameters comes to --- */

enum { TLS_CIPHER_LIST_MAX = 16384 };
struct tls_protocols;
bool tls_server_protocols(const struct tls_server_params *p, bool anonymous, struct tls_protocols *t_r, struct fault *why);
bool tls_server_cipher_list(const struct tls_server_params *p, bool ask_ccert, struct buf *list, struct fault *why);

/* --- server_verify.c: client certificates --- */

/* Anchors, depth, names of authorities, and how a chain is judged. */
bool tls_server_ask_certs(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why);
/*
 * The session-id context: a session belongs to one service, one SNI name (RFC 6066 section 3), to the protocols and ciphers
 * that were allowed when it was made (a server does not look at them again), and to the rules by which its client
 * certificate was judged, for a resumed session keeps that verdict.
 */
bool tls_server_session_context(struct tls_server_ctx *c, SSL *ssl, const char *sni);
/* The same once for all connections without a name or a policy of their own; the last step of making a context. */
bool tls_server_sessions(struct tls_server_ctx *c, struct fault *why);

/* --- server_sessions.c --- */

/* No session outlives the chain that made its client Trusted. */
bool tls_server_end_sessions(SSL_CTX *ctx);

/* --- server_rpk.c: raw public keys --- */

/* A key may be shown instead of a certificate: by every client of this context; by this one, or not. False: out of memory. */
bool tls_server_ask_keys_always(SSL_CTX *ctx);
bool tls_server_ask_keys(SSL *ssl, bool ask);
bool tls_server_asks_keys(SSL *ssl);
/* In the ClientHello callback: what we show is what the client names first. */
bool tls_server_choose_type(SSL *ssl);

/* --- server_groups.c: forward secrecy --- */

/* Exclusions that follow from the level and the EECDH grade, each with a ':' in front. */
void tls_server_cipher_rules(const struct tls_server_params *p, struct buf *list);
/* Groups, curves, DH parameters. */
bool tls_server_set_groups(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why);
/* In the ClientHello callback: grades strong and ultra choose our first curve that the client has, too. */
void tls_server_choose_curve(const struct tls_server_ctx *c, SSL *ssl);

/* --- stream_trace.c --- */

struct stream;
/* One certificate of the peer's chain was looked at. */
void stream_trace_chain(struct stream *s, int depth, bool ok, X509 *cert);
/* A ticket was made, or one was read. */
void stream_trace_ticket(struct stream *s, bool issuing, int64_t expires_s);
/*
 * A client's session cache: "looking for session <key> in smtp cache"; `where` is "in", "from" or "to" that cache, or NULL:
 * "from client cache".
 */
void stream_trace_session(struct stream *s, const char *verb, struct span key, const char *where);
/* Bytes of the wire. */
void stream_trace_bytes(struct stream *s, bool reading, const char *p, size_t n);
/* The library tells its steps. */
void stream_trace_attach(struct stream *s);

/* --- stream.c --- */

/* The stream a connection of ours belongs to. */
struct stream *tls_stream_of(SSL *ssl);
/* Why the client's chain is not trusted, for stream_info(); `who` is static. */
void tls_stream_untrusted(SSL *ssl, const char *who, const char *why);
/* The certificates of a session that begins now, where the context's own do not do. */
bool tls_server_session_chain(struct tls_server_ctx *c, SSL *ssl);
/* What the stream does when a ClientHello arrives. */
int tls_stream_client_hello(SSL *ssl, int *alert, void *ctx);
int tls_stream_servername(SSL *ssl, int *alert, void *ctx);
