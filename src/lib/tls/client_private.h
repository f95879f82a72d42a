/* Inside of the client context, for the files that make it up. */
#pragma once

#include <sys/stat.h>

#include "base/hmap.h"
#include "tls/client_ctx.h"
#include "tls/credentials.h"

struct anchor_entry {
	struct list node;
	char *path;
	struct stat st;
	struct tls_anchors anchors;
};

struct tls_client_ctx {
	unsigned refs;
	SSL_CTX *ctx;
	X509_STORE *roots;
	SSL_CTX *dane;                  /* scratch context of verify_dane.c, made when first needed */
	struct tls_chain *chain;
	bool roots_broken, chain_broken;
	struct fault roots_fault, chain_fault;
	struct list anchors;            /* struct anchor_entry */
	struct buf groups;              /* what of groups_key the library knows */
	char *groups_key;
	struct hmap sessions;           /* struct session_entry */
	struct list oldest;             /* the same, oldest first */
	size_t session_count_max;
	int64_t session_timeout_s;
};

/* A trust anchor file's content; NULL + why. Valid until the file changes or the context ends. */
const struct tls_anchors *tls_client_anchors(struct tls_client_ctx *c, struct span path, struct fault *why);

/* OpenSSL's callback for a new session or ticket (stream.c: it knows the cache key). */
int tls_session_arrived(SSL *ssl, SSL_SESSION *session);
void tls_sessions_clear(struct tls_client_ctx *c);
