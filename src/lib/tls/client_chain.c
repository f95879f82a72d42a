/* Our certificates as a client, renewed while the context lives. */
#include "tls/client_ctx.h"

#include "tls/client_private.h"

bool
tls_client_ctx_renew_chain(struct tls_client_ctx *c, const struct tls_chain_params *p, struct fault *why)
{
	struct tls_chain *fresh = NULL;

	if (!tls_chain_load(p, &fresh, why))
		return false;
	if (fresh == NULL)
		return true;            /* nothing configured */
	if (!tls_chain_use(fresh, c->ctx, NULL, why)) {
		tls_chain_unref(&fresh);
		return false;
	}
	tls_chain_unref(&c->chain);
	c->chain = fresh;
	c->chain_broken = false;
	tls_sessions_clear(c);          /* in those we are who we were */
	return true;
}
