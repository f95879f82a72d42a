/* Our own chains and the trust anchors of others, from files. */
#pragma once

#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/fault.h"
#include "tls/client_ctx.h"
#include "tls/server_ctx.h"

enum { TLS_FILE_MAX = 4 << 20 };

/* The text of OpenSSL's latest error, and an empty error stack. Static storage. */
const char *tls_library_error(void);

/*
 * Chains from chain_files, else from the legacy pairs. *chain_r is NULL when nothing is
 * configured. False + why naming parameter and file.
 */
bool tls_chain_load(const struct tls_chain_params *p, struct tls_chain **chain_r, struct fault *why);
/* Install all chains; each algorithm once. `ctx` or `ssl`, the other NULL. */
bool tls_chain_use(const struct tls_chain *c, SSL_CTX *ctx, SSL *ssl, struct fault *why);

/* CAfile, CApath and perhaps the system's store into `store`. */
bool tls_roots_load(const struct tls_roots_params *p, X509_STORE *store, struct fault *why);

/* What a tafile holds: certificates and bare public keys, any of which is an anchor (section 5.1). */
struct tls_anchors {
	STACK_OF(X509) *certs;
	EVP_PKEY *keys[64];
	size_t n_keys;
};
bool tls_anchors_load(const char *path, struct tls_anchors *a_r, struct fault *why);
void tls_anchors_release(struct tls_anchors *a);

/* The names that this library knows, as one list; empty = leave the library's own (section 9.1). */
void tls_groups_probe(struct span curves, struct span ffdhe, struct buf *list_r);
