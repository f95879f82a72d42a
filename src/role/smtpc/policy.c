/* The decision about one server, made from the facts of lib/hop by the rules of lib/tls, and its lines in the log. */
#include "log/lines_tls.h"
#include "role/smtpc/smtpc.h"

void
policy_log_facts(const struct delivery *d)
{
	for (size_t i = 0; i < d->facts.n_warnings; i++)
		log_warning(NULL, "%.*s", SPAN_ARG(d->facts.warnings[i]));
}

static void
log_warnings(const struct delivery *d, const struct tls_decision *dec)
{
	for (size_t i = 0; i < dec->n_warnings; i++)
		log_warning(&d->log, "%.*s", SPAN_ARG(dec->warnings[i]));
}

/* The decision could be made, but can it be carried out here? */
static bool
usable(struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec)
{
	bool needs = tls_level_needs_tls(dec->level) || dec->wrapper;
	struct fault why;

	if (!dec->try_tls && !dec->wrapper)
		return true;
	if (d->svc->tls_ctx == NULL) {
		if (needs)
			fault_set(&d->fault, "4.7.5", "TLS is required, but our TLS engine is unavailable");
		return !needs;
	}
	if (tls_client_ctx_usable(d->svc->tls_ctx, dec, &why))
		return true;
	log_tls_policy_lookup(&d->log, d->facts.key, addr->host, why.text);
	d->fault = why;
	return false;
}

/* Records that say nothing to us; a weaker digest beside a stronger one is as it should be. */
static void
log_unusable(const struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec, struct arena *a)
{
	struct span peer = arena_printf(a, "%.*s[%.*s]:%u", SPAN_ARG(addr->host), SPAN_ARG(addr->text), addr->port);

	for (size_t i = 0; i < dec->n_tlsa; i++) {
		const struct tls_tlsa *r = &dec->tlsa[i];

		if (r->fate == TLS_TLSA_USAGE)
			log_warning(&d->log, "%.*s: %s: %.*s", SPAN_ARG(log_esc(peer)), tls_tlsa_fate_text(r->fate),
			    SPAN_ARG(tls_tlsa_text(r, a)));
		else if (r->fate != TLS_TLSA_USABLE && r->fate != TLS_TLSA_WEAKER)
			log_tls_unusable_tlsa(&d->log, peer, tls_tlsa_text(r, a));
	}
}

bool
policy_decide(struct delivery *d, const struct hop_address *addr, struct arena *a, struct tls_decision *dec_r)
{
	bool ok = hop_decide(&d->facts, addr, a, dec_r);

	log_unusable(d, addr, dec_r, a);
	if (!ok) {
		log_warnings(d, dec_r);
		log_tls_policy_lookup(&d->log, d->facts.key, addr->host, dec_r->fault.text);
		d->fault = dec_r->fault;
		why_unusable(d, addr, dec_r);
		return false;
	}
	log_warnings(d, dec_r);
	if (dec_r->skip_host) {
		log_tls_policy_lookup(&d->log, d->facts.key, addr->host, dec_r->skip_fault.text);
		d->fault = dec_r->skip_fault;
		why_unusable(d, addr, dec_r);
		return false;
	}
	return usable(d, addr, dec_r);
}
