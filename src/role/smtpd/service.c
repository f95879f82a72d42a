/* Services of master.cf that run smtpd: what their parameters mean, compiled once. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/panic.h"
#include "conf/show.h"
#include "log/lines_tls.h"
#include "role/common/chains.h"
#include "role/smtpd/policy_pool.h"
#include "role/smtpd/smtpd.h"
#include "smtp/transcript.h"
#include "role/smtpd/tls_policy.h"

static enum smtps_bare_lf
bare_lf_of(const char *value)
{
	if (strcmp(value, "reject") == 0)
		return SMTPS_BARE_LF_REJECT;
	if (strcmp(value, "note") == 0)
		return SMTPS_BARE_LF_NOTE;
	return strcmp(value, "no") == 0 ? SMTPS_BARE_LF_ALLOW : SMTPS_BARE_LF_NORMALIZE;
}

static struct smtps_config
engine_config(const struct service *svc, const struct params *p)
{
	return (struct smtps_config){
		.hostname = span_str(p->myhostname),
		.noop_commands = span_str(p->smtpd_noop_commands),
		.size_limit = p->message_size_limit,
		.line_limit = (size_t)p->line_length_limit,
		.verp = span_str(p->default_verp_delimiters), .verp_filter = span_str(p->verp_delimiter_filter),
		.rcpt_limit = (unsigned)p->smtpd_recipient_limit,
		.rcpt_overshoot_limit = (unsigned)p->smtpd_recipient_overshoot_limit,
		.soft_error_limit = (unsigned)p->smtpd_soft_error_limit,
		.hard_error_limit = (unsigned)p->smtpd_hard_error_limit,
		.junk_limit = (unsigned)p->smtpd_junk_command_limit,
		.error_sleep_us = p->smtpd_error_sleep_time_ms * 1000,
		.bare_lf_code = (unsigned)p->smtpd_forbid_bare_newline_reject_code,
		.auth_line_limit = p->smtpd_sasl_response_limit < (int)SMTPS_AUTH_LINE_MAX ? (size_t)p->smtpd_sasl_response_limit : SMTPS_AUTH_LINE_MAX,
		.helo_required = p->smtpd_helo_required && !svc->local,
		.strict_envelope = p->strict_rfc821_envelopes,
		.smtputf8 = p->smtputf8_enable,
		.strict_smtputf8 = p->strict_smtputf8,
		.vrfy_disabled = p->disable_vrfy_command,
		.forbid_pipelining = p->smtpd_forbid_unauth_pipelining,
		.replace_stray_cr = p->cleanup_replace_stray_cr_lf,
		.soft_bounce = p->soft_bounce,
		.notify = svc->local ? 0 : smtp_notice_classes(span_str(p->notify_classes)),
		.history_lines = (unsigned)p->smtpd_history_flush_threshold,
		.notice_sender = span_str(p->double_bounce_sender),
	};
}

/* --- TLS --- */

void
service_tls_params(const struct service *svc, struct tls_server_params *t)
{
	const struct params *p = svc->p;

	*t = (struct tls_server_params){
		.service = svc->name,
		.roots = { .prefix = "smtpd_tls", .CAfile = p->smtpd_tls_CAfile, .CApath = p->smtpd_tls_CApath,
		    .append_default_CA = p->tls_append_default_CA },
		.mandatory = svc->wrapper || svc->level == TLS_SERVER_ENCRYPT,
		.no_rsa_exchange = svc->wrapper || svc->level != TLS_SERVER_MAY,
		.preempt_cipherlist = p->tls_preempt_cipherlist,
		.always_issue_session_ids = p->smtpd_tls_always_issue_session_ids,
		.ask_ccert = p->smtpd_tls_ask_ccert,
		.req_ccert = p->smtpd_tls_req_ccert,
		.enable_rpk = p->smtpd_tls_enable_rpk,
		.trust_server_ccerts = p->tls_trust_server_ccerts,
		.ccert_verifydepth = p->smtpd_tls_ccert_verifydepth,
		.protocols = p->smtpd_tls_protocols,
		.mandatory_protocols = p->smtpd_tls_mandatory_protocols,
		.ciphers = p->smtpd_tls_ciphers,
		.mandatory_ciphers = p->smtpd_tls_mandatory_ciphers,
		.exclude_ciphers = p->smtpd_tls_exclude_ciphers,
		.mandatory_exclude_ciphers = p->smtpd_tls_mandatory_exclude_ciphers,
		.high_cipherlist = p->tls_high_cipherlist,
		.medium_cipherlist = p->tls_medium_cipherlist,
		.null_cipherlist = p->tls_null_cipherlist,
		.eecdh_auto_curves = p->tls_eecdh_auto_curves,
		.ffdhe_auto_groups = p->tls_ffdhe_auto_groups,
		.eecdh_grade = p->smtpd_tls_eecdh_grade,
		.eecdh_strong_curve = p->tls_eecdh_strong_curve,
		.eecdh_ultra_curve = p->tls_eecdh_ultra_curve,
		.dh1024_param_file = p->smtpd_tls_dh1024_param_file,
		.ssl_options = p->tls_ssl_options,
		.disable_workarounds = p->tls_disable_workarounds,
		.fingerprint_digest = p->smtpd_tls_fingerprint_digest,
		.session_ticket_cipher = p->tls_session_ticket_cipher,
		.session_timeout_s = p->smtpd_tls_session_cache_timeout_ms / 1000,
	};
}

static bool
chain_configured(const struct params *p)
{
	return p->smtpd_tls_chain_files[0] != '\0' || p->smtpd_tls_cert_file[0] != '\0' || p->smtpd_tls_eccert_file[0] != '\0' ||
	    p->smtpd_tls_dcert_file[0] != '\0';
}

bool
service_make_tls(struct smtpd *d, struct service *svc, struct fault *why)
{
	struct tls_server_params t;

	service_tls_params(svc, &t);
	role_chain_params(svc->cs, &t.chain);
	svc->tls = tls_server_ctx_new(&t, why);
	if (svc->tls != NULL)
		keys_take_tickets(d, svc);
	return svc->tls != NULL;
}

static bool
open_tls(struct smtpd *d, struct service *svc, struct fault *why)
{
	const struct params *p = svc->p;
	const char *warning = NULL;
	struct fault trouble = { 0 };

	svc->wrapper = p->smtpd_tls_wrappermode;
	if (!tls_server_level_parse(p->smtpd_tls_security_level, p->smtpd_use_tls, p->smtpd_enforce_tls, svc->wrapper, &svc->level,
	    &warning, why))
		return false;
	if (!log_tls_level_parse(span_str(p->smtpd_tls_loglevel), &svc->tls_log, why)) {
		fault_prefix(why, "smtpd_tls_loglevel");
		return false;
	}
	if (warning != NULL)
		log_warning_once(&svc->log, "service %s: %s", svc->name, warning);
	if (svc->level == TLS_SERVER_NONE && !svc->wrapper && maps_empty(svc->tls_policy_maps))
		return true;
	if (!chain_configured(p)) {
		log_warning_once(&svc->log, "service %s: No server certs available. TLS won't be enabled: STARTTLS is not offered until "
		    "smtpd_tls_chain_files names a key and its certificate", svc->name);
		return true;
	}
	if (p->smtpd_tls_enable_rpk && !tls_rpk_available())
		log_warning_once(&svc->log, "service %s: smtpd_tls_enable_rpk: raw public keys need OpenSSL 3.2 or later, this is %s: "
		    "clients show certificates as ever", svc->name, OpenSSL_version(OPENSSL_VERSION));
	svc->md5_by_default = strcmp(p->smtpd_tls_fingerprint_digest, "md5") == 0 &&
	    !conf_is_given(svc->cs, "smtpd_tls_fingerprint_digest");
	if (svc->tls_log & LOG_TLS_VERBOSE)
		log_tls_initializing(&svc->log, true);
	svc->tls_wanted = true;
	if (!service_make_tls(d, svc, &trouble))
		log_warning_once(&svc->log, "service %s: TLS won't be enabled: %s", svc->name, trouble.text);
	return true;
}

/* --- the rest --- */

static const char *
tag_of(struct smtpd *d, const struct service *svc, const char *program)
{
	return arena_cstr(d->arena, arena_printf(d->arena, "%s/%s", svc->p->syslog_name, program));
}

static bool
open_lists(struct service *svc, const struct maps_env *env, struct fault *why)
{
	const struct params *p = svc->p;

	return maps_open(span_str(p->smtpd_discard_ehlo_keyword_address_maps), 0, env, &svc->discard_maps, why) &&
	    (p->smtpd_tls_loglevel_maps[0] == '\0' || maps_open(span_str(p->smtpd_tls_loglevel_maps), 0, env, &svc->loglevels, why)) &&
	    addrlist_open(span_str(p->smtpd_client_event_limit_exceptions), ADDRLIST_PARENTS, env, &svc->no_limits, why) &&
	    addrlist_open(span_str(p->smtpd_forbid_bare_newline_exclusions), ADDRLIST_PARENTS, env, &svc->bare_lf_ok, why) &&
	    addrlist_open(span_str(p->smtpd_authorized_xclient_hosts), ADDRLIST_PARENTS, env, &svc->xclient_hosts, why) &&
	    addrlist_open(span_str(p->smtpd_authorized_xforward_hosts), ADDRLIST_PARENTS, env, &svc->xforward_hosts, why) &&
	    addrlist_open(span_str(p->smtpd_authorized_verp_clients), ADDRLIST_PARENTS, env, &svc->verp_hosts, why) &&
	    strlist_open(span_str(p->smtpd_forbidden_commands), 0, env, &svc->forbidden, why) &&
	    strlist_open(span_str(p->fast_flush_domains), STRLIST_DOMAIN | STRLIST_PARENTS, env, &svc->fast_flush, why) &&
	    strlist_open(span_str(p->authorized_submit_users), 0, env, &svc->submitters, why) &&
	    (!svc->local || maps_open(span_str(p->local_login_sender_maps), MAPS_NO_REGSUB | MAPS_STRICT, env, &svc->login_senders, why));
}

bool
service_open(struct smtpd *d, struct service *svc, const struct conf_service *cs, const char *name, bool local,
    struct fault *why)
{
	const struct maps_env *env = &d->role->maps_env;
	struct span unknown;

	*svc = (struct service){ .cs = cs, .name = name, .local = local, .p = cs->params };
	hmap_init(&svc->sni);
	svc->log.tag = tag_of(d, svc, "smtpd");
	if (!local && cs->log_tag[0] != '\0')
		svc->log.tag = cs->log_tag;
	svc->cleanup_tag = tag_of(d, svc, "cleanup");
	svc->pickup_tag = tag_of(d, svc, "pickup");
	svc->engine[0] = engine_config(svc, cs->params);
	svc->engine[1] = engine_config(svc, cs->stress);
	svc->bare_lf = bare_lf_of(svc->p->smtpd_forbid_bare_newline);
	svc->discard = smtps_keywords(span_str(svc->p->smtpd_discard_ehlo_keywords), &unknown);
	if (local)
		svc->discard = SMTPS_KW_STARTTLS | SMTPS_KW_ETRN | SMTPS_KW_VRFY | SMTPS_KW_SILENT;
	if (!acl_open(cs, env, &svc->acl, why) || !intake_conf_init(&svc->intake, svc->p, env, why))
		return false;
	acl_set_policy(svc->acl, policy_pool_way, d);
	svc->intake.route = acl_route(svc->acl);
	return open_lists(svc, env, why) && edit_service_open(svc, env, why) && auth_service_open(d, svc, env, why) &&
	    tls_policy_service_open(svc, env, why) && (local || open_tls(d, svc, why));
}

void
service_close(struct service *svc)
{
	acl_free(&svc->acl);
	intake_conf_release(&svc->intake);
	maps_unref(&svc->discard_maps);
	maps_unref(&svc->loglevels);
	addrlist_free(&svc->no_limits);
	addrlist_free(&svc->bare_lf_ok);
	addrlist_free(&svc->xclient_hosts);
	addrlist_free(&svc->verp_hosts);
	addrlist_free(&svc->xforward_hosts);
	strlist_free(&svc->forbidden);
	strlist_free(&svc->fast_flush);
	strlist_free(&svc->submitters);
	maps_unref(&svc->login_senders);
	edit_service_close(svc);
	auth_service_close(svc);
	tls_policy_service_close(svc);
	tls_server_ctx_unref(&svc->tls);
	keys_forget_sni(svc);
	hmap_release(&svc->sni);
}
