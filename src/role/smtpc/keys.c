/* Our certificates as a client: keeper has the keys, and says when files changed. */
#include "ipc/messages.h"
#include "role/common/chains.h"
#include "role/smtpc/smtpc.h"
#include "tls/keeper.h"

void
client_keys_open(struct role *r)
{
	if (!role_keys_in_process())
		tls_keeper_require(r->generation);
}

static void
renew(struct service *svc)
{
	struct tls_chain_params p;
	struct fault why = { 0 };

	if (svc->tls_ctx == NULL || !role_chain_params(svc->cs, &p) || !role_chain_configured(&p))
		return;
	if (!tls_client_ctx_renew_chain(svc->tls_ctx, &p, &why))
		log_warning_once(NULL, "service %s: %s; the certificates in use stay", svc->name, why.text);
}

static void
on_change(void *ctx)
{
	struct smtpc_role *s = ctx;

	for (size_t i = 0; tls_keeper_required() && i < s->n_services; i++)
		renew(&s->services[i]);
}

void
client_keys_start(struct role *r)
{
	tls_keeper_watch(r->loop, on_change, r->state);
}
