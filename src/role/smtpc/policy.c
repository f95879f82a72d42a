/* The decision about one server, made from the facts of lib/hop by the rules of lib/tls, and its lines in the log. */
#include "hop/verdict.h"
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

bool
policy_decide(struct delivery *d, const struct hop_address *addr, struct arena *a, struct tls_decision *dec_r)
{
	bool ok = hop_decide(&d->facts, addr, a, dec_r);

	trace_records(d, addr, dec_r, a);
	hop_log_unusable(&d->log, addr, dec_r, a);
	log_warnings(d, dec_r);
	if (ok && !dec_r->skip_host) {
		if (usable(d, addr, dec_r))
			return true;
	} else {
		d->fault = ok ? dec_r->skip_fault : dec_r->fault;
		log_tls_policy_lookup(&d->log, d->facts.key, addr->host, d->fault.text);
	}
	why_unusable(d, addr, dec_r, report_unusable(d, addr, dec_r), &d->fault);
	return false;
}
