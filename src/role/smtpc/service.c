/* Services of master.cf that run smtp or lmtp: their parameters, compiled once. */
#include <string.h>

#include "base/panic.h"
#include "conf/show.h"
#include "log/lines_tls.h"
#include "maps/maps.h"
#include "maps/strlist.h"
#include "role/smtpc/reach.h"
#include "role/smtpc/smtpc.h"

/* ---- our own addresses */

void
own_addresses_find(struct smtpc_role *s)
{
	hop_own_find(s->role->conf->params, &s->own);
	hop_own_bind(&s->own, s->arena, &s->bind);
}

/* ---- services */

/* Sessions kept for each service; with its chain of certificates each is some 20 kB. */
enum { SESSIONS_MAX = 4000 };

static void
open_tls(struct service *svc)
{
	const struct params *p = svc->p;

	struct fault why;

	if (!log_tls_level_parse(span_str(p->smtp_tls_loglevel), &svc->tls_log, &why))
		fatal("service %s: %s_tls_loglevel: %s", svc->name, svc->prefix, why.text);
	if (!tls_params_want_tls(&svc->hop.tls))
		return;
	svc->md5_by_default = strcmp(p->smtp_tls_fingerprint_digest, "md5") == 0 &&
	    !conf_is_given(svc->cs, svc->lmtp ? "lmtp_tls_fingerprint_digest" : "smtp_tls_fingerprint_digest");
	if (svc->tls_log & LOG_TLS_VERBOSE) {
		struct log l = { .tag = svc->cs->log_tag };

		log_tls_initializing(&l, false);
	}
	svc->tls_ctx = hop_tls_ctx_new(&svc->hop, SESSIONS_MAX, &svc->tls_fault);
	if (svc->tls_ctx == NULL)
		log_warning_once(NULL, "service %s: TLS cannot be used: %s", svc->name, svc->tls_fault.text);
	if (p->smtp_tls_enable_rpk && !tls_rpk_available())
		log_warning_once(NULL, "service %s: %s_tls_enable_rpk: raw public keys need OpenSSL 3.2 or later, this is %s: "
		    "servers show certificates as ever", svc->name, svc->prefix, OpenSSL_version(OPENSSL_VERSION));
}

static void
open_map(const struct smtpc_role *s, const struct service *svc, const char *spec, unsigned flags, struct maps **m_r)
{
	struct fault why;

	if (spec[0] != '\0' && !maps_open(span_str(spec), flags, &s->role->maps_env, m_r, &why))
		fatal("service %s: %s", svc->name, why.text);
}

static void
open_maps(const struct smtpc_role *s, struct service *svc)
{
	const struct params *p = svc->p;
	struct fault why;

	open_map(s, svc, p->smtp_sasl_password_maps, 0, &svc->passwords);
	open_map(s, svc, p->smtp_generic_maps, 0, &svc->generic);
	open_map(s, svc, p->smtp_tls_loglevel_maps, 0, &svc->loglevels);
	open_map(s, svc, p->smtp_discard_ehlo_keyword_address_maps, 0, &svc->discard_by_address);
	open_map(s, svc, p->smtp_header_checks, 0, &svc->header_checks);
	open_map(s, svc, p->smtp_mime_header_checks, 0, &svc->mime_header_checks);
	open_map(s, svc, p->smtp_nested_header_checks, 0, &svc->nested_header_checks);
	open_map(s, svc, p->smtp_body_checks, 0, &svc->body_checks);
	open_map(s, svc, p->smtp_reply_filter, 0, &svc->reply_filter);
	open_map(s, svc, p->smtp_delivery_status_filter, 0, &svc->status_filter);
	if (svc->hop.policy != NULL && svc->hop.per_site != NULL)
		log_warning_once(NULL, "%s_tls_policy_maps is set: %s_tls_per_site is not used", svc->prefix, svc->prefix);
	if (p->smtp_connection_cache_destinations[0] != '\0' &&
	    !strlist_open(span_str(p->smtp_connection_cache_destinations), STRLIST_DOMAIN, &s->role->maps_env,
	    &svc->always_cache, &why))
		fatal("service %s: smtp_connection_cache_destinations: %s", svc->name, why.text);
	if (svc->generic != NULL &&
	    !strlist_open(span_str(p->mydestination), STRLIST_DOMAIN, &s->role->maps_env, &svc->mydestination, &why))
		fatal("service %s: mydestination: %s", svc->name, why.text);
	if (p->smtp_sasl_mechanism_filter[0] != '\0' &&
	    !strlist_open(span_str(p->smtp_sasl_mechanism_filter), 0, &s->role->maps_env, &svc->mechanisms, &why))
		fatal("service %s: smtp_sasl_mechanism_filter: %s", svc->name, why.text);
}

static void
service_open(const struct smtpc_role *s, struct service *svc, const struct conf_service *cs)
{
	struct fault why;

	*svc = (struct service){ .cs = cs, .p = cs->params, .name = cs->name };
	svc->lmtp = strcmp(cs->command, "lmtp") == 0;
	svc->prefix = svc->lmtp ? "lmtp" : "smtp";
	svc->discard = smtpc_cap_mask(span_str(svc->p->smtp_discard_ehlo_keywords));
	if (!hop_service_open(&svc->hop, cs, &s->role->maps_env, &why))
		fatal("service %s: %s", svc->name, why.text);
	svc->collector = svc->p->smtp_tlsrpt_socket_name;
	if (svc->collector[0] != '/')
		svc->collector = arena_printf(s->arena, "%s/%s", svc->p->queue_directory, svc->collector).p;
	open_tls(svc);
	open_maps(s, svc);
}

void
services_open(struct smtpc_role *s)
{
	const struct conf *c = s->role->conf;

	s->services = ARENA_ARRAY(s->arena, struct service, c->service_count + 1);
	for (size_t i = 0; i < c->service_count; i++)
		if (smtpc_serves(&c->services[i]))
			service_open(s, &s->services[s->n_services++], &c->services[i]);
}

static void
service_release(struct service *svc)
{
	hop_service_release(&svc->hop);
	maps_unref(&svc->passwords);
	maps_unref(&svc->generic);
	maps_unref(&svc->loglevels);
	maps_unref(&svc->discard_by_address);
	maps_unref(&svc->header_checks);
	maps_unref(&svc->mime_header_checks);
	maps_unref(&svc->nested_header_checks);
	maps_unref(&svc->body_checks);
	maps_unref(&svc->reply_filter);
	maps_unref(&svc->status_filter);
	strlist_free(&svc->always_cache);
	strlist_free(&svc->mechanisms);
	strlist_free(&svc->mydestination);
	if (svc->tls_ctx != NULL)
		tls_client_ctx_unref(&svc->tls_ctx);
}

void
services_release(struct smtpc_role *s)
{
	for (size_t i = 0; i < s->n_services; i++)
		service_release(&s->services[i]);
}

struct service *
service_find(struct smtpc_role *s, struct span name)
{
	for (size_t i = 0; i < s->n_services; i++)
		if (span_eq(name, span_str(s->services[i].name)))
			return &s->services[i];
	return NULL;
}
