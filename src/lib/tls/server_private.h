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
	bool ask_ccert, trust_server_ccerts;
};

/* The session-id context: sessions belong to one service and one SNI name (RFC 6066 section 3). */
bool tls_server_session_context(struct tls_server_ctx *c, SSL *ssl, const char *sni);
/* What the stream does when a ClientHello arrives. */
int tls_stream_client_hello(SSL *ssl, int *alert, void *ctx);
int tls_stream_servername(SSL *ssl, int *alert, void *ctx);
