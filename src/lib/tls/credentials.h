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

/* How to open a file by name (keeper: what master handed over): a descriptor for us to close, or -errno. */
struct tls_opener {
	int (*open)(void *ctx, const char *path);
	void *ctx;
};

/*
 * Chains from chain_files, else from the legacy pairs. *chain_r is NULL when nothing is
 * configured. False + why naming parameter and file.
 */
bool tls_chain_read(const struct tls_chain_params *p, const struct tls_opener *o, struct tls_chain **chain_r,
    struct fault *why);
/* The same from keeper where this process has to ask it (tls/keeper.h), else from files by name. */
bool tls_chain_load(const struct tls_chain_params *p, struct tls_chain **chain_r, struct fault *why);
/* An empty one, with one reference. */
struct tls_chain *tls_chain_new(void);
/* Add a pair (references are taken); false when there are too many. */
bool tls_chain_push(struct tls_chain *c, X509 *leaf, STACK_OF(X509) *issuers, EVP_PKEY *key);
size_t tls_chain_count(const struct tls_chain *c);
/* Borrowed; `issuers` may be NULL. */
bool tls_chain_at(const struct tls_chain *c, size_t i, X509 **leaf_r, STACK_OF(X509) **issuers_r, EVP_PKEY **key_r);
/* Install all chains; each algorithm once. `ctx` or `ssl`, the other NULL. */
bool tls_chain_use(const struct tls_chain *c, SSL_CTX *ctx, SSL *ssl, struct fault *why);

/* The value of a tls_server_sni_maps entry, either base64 of PEM or a list of PEM file names, as PEM text. */
bool tls_sni_value_pem(const struct tls_opener *o, struct span value, struct buf *pem_r, struct fault *why);

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
