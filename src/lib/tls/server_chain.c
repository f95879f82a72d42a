/* What changes in a server's context while it lives: its certificates and its ticket keys. */
#include "tls/server_ctx.h"

#include "tls/credentials.h"
#include "tls/server_private.h"

/* Does `c` have a pair with this type of key? */
static bool
has_type(const struct tls_chain *c, EVP_PKEY *like)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	for (size_t i = 0; tls_chain_at(c, i, &leaf, &issuers, &key); i++)
		if (EVP_PKEY_get_base_id(key) == EVP_PKEY_get_base_id(like))
			return true;
	return false;
}

/* A library context replaces pairs, but forgets none. */
static bool
lost_type(const struct tls_chain *old, const struct tls_chain *fresh)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	for (size_t i = 0; old != NULL && tls_chain_at(old, i, &leaf, &issuers, &key); i++)
		if (!has_type(fresh, key))
			return true;
	return false;
}

bool
tls_server_ctx_renew_chain(struct tls_server_ctx *c, const struct tls_chain_params *p, struct fault *why)
{
	struct tls_chain *fresh = NULL;

	if (c->chain == NULL)
		return true;            /* anonymous: there is nothing to renew */
	if (!tls_chain_load(p, &fresh, why))
		return false;
	if (fresh == NULL)
		return fault_set(why, NULL, "%s: no certificate any more", p->prefix);
	if (!tls_chain_use(fresh, c->ctx, NULL, why)) {
		tls_chain_unref(&fresh);
		return false;
	}
	c->chain_per_session = c->chain_per_session || lost_type(c->chain, fresh);
	tls_chain_unref(&c->chain);
	c->chain = fresh;
	return true;
}

bool
tls_server_session_chain(struct tls_server_ctx *c, SSL *ssl)
{
	struct fault why;

	return !c->chain_per_session || tls_chain_use(c->chain, NULL, ssl, &why);
}

bool
tls_server_default_chain(struct tls_server_ctx *c, SSL *ssl, struct fault *why)
{
	return c->chain == NULL || tls_chain_use(c->chain, NULL, ssl, why);
}

void
tls_server_ctx_set_ticket_keys(struct tls_server_ctx *c, const struct tls_ticket_keys *k)
{
	c->tickets = *k;
	if (c->tickets.count > 2)
		c->tickets.count = 2;
	/* without a key there is nothing to issue; TLS 1.3 has no empty tickets */
	SSL_CTX_set_num_tickets(c->ctx, c->ticket_cipher != NULL && c->tickets.count > 0 ? 1 : 0);
}
