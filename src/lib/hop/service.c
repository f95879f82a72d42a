/* The parameters of one smtp or lmtp service that decide about next hops, and its policy tables. */
#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/params.h"
#include "hop/hop_private.h"
#include "maps/maps.h"
#include "tls/client_ctx.h"

/* known_tcp_ports: "name=port" or "name=name=port". */
static bool
known_port(struct span list, struct span name, uint64_t *port_r)
{
	struct span item, one, rest;

	while (span_token(&list, ", \t\n", &item)) {
		bool same = false;

		for (; span_cut(item, '=', &one, &rest); item = rest)
			same |= span_eq_ci(one, name);
		if (same && span_u64(item, 65535, port_r))
			return true;
	}
	return false;
}

uint16_t
hop_port(const struct params *p, struct span name)
{
	uint64_t number;
	struct servent entry, *found = NULL;
	char text[64], space[1024];

	if (span_u64(name, 65535, &number) || known_port(span_str(p->known_tcp_ports), name, &number))
		return (uint16_t)number;
	if (name.n == 0 || name.n >= sizeof(text))
		return 0;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	if (getservbyname_r(text, "tcp", &entry, space, sizeof(space), &found) != 0 || found == NULL)
		return 0;
	return ntohs((uint16_t)found->s_port);
}

static unsigned
families_of(const char *text)
{
	struct span list = span_str(text), word;
	unsigned bits = 0;

	while (span_token(&list, ", \t\r\n", &word)) {
		if (span_eq_ci(word, SPAN("all")))
			bits |= 3;
		else if (span_eq_ci(word, SPAN("ipv4")))
			bits |= 1;
		else if (span_eq_ci(word, SPAN("ipv6")))
			bits |= 2;
	}
	return bits != 0 ? bits : 3;
}

uint16_t
hop_service_port(const struct params *p, const char *prefix, struct fault *why)
{
	uint16_t port = hop_port(p, span_str(p->smtp_tcp_port));

	if (port == 0)
		fault_set(why, "4.3.5", "%s_tcp_port: no such port: %s", prefix, p->smtp_tcp_port);
	return port;
}

void
hop_tls_params(const struct params *p, const char *prefix, struct tls_params *t_r)
{
	*t_r = (struct tls_params){
		.prefix = prefix,
		.security_level = p->smtp_tls_security_level,
		.protocols = p->smtp_tls_protocols,
		.mandatory_protocols = p->smtp_tls_mandatory_protocols,
		.ciphers = p->smtp_tls_ciphers,
		.mandatory_ciphers = p->smtp_tls_mandatory_ciphers,
		.exclude_ciphers = p->smtp_tls_exclude_ciphers,
		.mandatory_exclude_ciphers = p->smtp_tls_mandatory_exclude_ciphers,
		.mandatory_weak = p->smtp_tls_mandatory_weak,
		.verify_cert_match = p->smtp_tls_verify_cert_match,
		.secure_cert_match = p->smtp_tls_secure_cert_match,
		.fingerprint_cert_match = p->smtp_tls_fingerprint_cert_match,
		.fingerprint_digest = p->smtp_tls_fingerprint_digest,
		.trust_anchor_file = p->smtp_tls_trust_anchor_file,
		.servername = p->smtp_tls_servername,
		.high_cipherlist = p->tls_high_cipherlist,
		.medium_cipherlist = p->tls_medium_cipherlist,
		.null_cipherlist = p->tls_null_cipherlist,
		.eecdh_auto_curves = p->tls_eecdh_auto_curves,
		.ffdhe_auto_groups = p->tls_ffdhe_auto_groups,
		.verifydepth = p->smtp_tls_scert_verifydepth,
		.use_tls = p->smtp_use_tls,
		.enforce_tls = p->smtp_enforce_tls,
		.enforce_peername = p->smtp_tls_enforce_peername,
		.have_policy_maps = p->smtp_tls_policy_maps[0] != '\0' || p->smtp_tls_per_site[0] != '\0',
		.enable_rpk = p->smtp_tls_enable_rpk,
		.connection_reuse = p->smtp_tls_connection_reuse,
		.wrappermode = p->smtp_tls_wrappermode,
		.cname_overrides_servername = p->smtp_cname_overrides_servername,
		.enforce_sts_mx_patterns = p->smtp_tls_enforce_sts_mx_patterns,
		.transitional_idna = p->enable_idna2003_compatibility,
		.allow_null_ciphers = p->tls_null_ciphers_enable,
		.cn_fallback = p->tls_match_subject_cn,
		.multi_label = p->tls_wildcard_matches_multiple_labels,
		.dane_digests = p->tls_dane_digests,
		.dane_insecure_mx_policy = p->smtp_tls_dane_insecure_mx_policy,
		.no_dane = conf_dane_obstacle(p, strcmp(prefix, "lmtp") == 0, NULL),
		.force_insecure_host_tlsa_lookup = p->smtp_tls_force_insecure_host_tlsa_lookup,
	};
}

static void
find_lookup_methods(struct hop_service *s)
{
	const char *support = s->p->smtp_dns_support_level;
	bool off = support[0] != '\0' ? strcmp(support, "disabled") == 0 : s->p->disable_dns_lookups;

	s->dns = !off && span_find_ci(span_str(s->p->smtp_host_lookup), SPAN("dns")) >= 0;
	s->native = off ||
	    span_find_ci(span_str(s->p->smtp_host_lookup), SPAN("native")) >= 0;
}

static bool
open_map(const char *spec, const struct maps_env *env, struct maps **m_r, struct fault *why)
{
	return spec[0] == '\0' || maps_open(span_str(spec), MAPS_STRICT, env, m_r, why);
}

bool
hop_service_open(struct hop_service *s, const struct conf_service *cs, const struct maps_env *env, struct fault *why)
{
	const struct params *p = cs->params;

	*s = (struct hop_service){ .p = p, .lmtp = strcmp(cs->command, "lmtp") == 0 };
	s->prefix = s->lmtp ? "lmtp" : "smtp";
	s->families = families_of(p->inet_protocols);
	s->port = hop_service_port(p, s->prefix, why);
	if (s->port == 0)
		return false;
	find_lookup_methods(s);
	hop_tls_params(p, s->prefix, &s->tls);
	if (tls_params_check(&s->tls, why) && tls_params_level(&s->tls, &s->level, why) &&
	    open_map(p->smtp_tls_policy_maps, env, &s->policy, why) &&
	    open_map(p->smtp_tls_per_site, env, &s->per_site, why))
		return true;
	hop_service_release(s);
	return false;
}

void
hop_service_release(struct hop_service *s)
{
	maps_unref(&s->policy);
	maps_unref(&s->per_site);
}

/* ---- TLS of its connections */

void
hop_chain_params(const struct params *p, const char *prefix, struct tls_chain_params *c_r)
{
	*c_r = (struct tls_chain_params){
		.prefix = strcmp(prefix, "lmtp") == 0 ? "lmtp_tls" : "smtp_tls",
		.chain_files = p->smtp_tls_chain_files,
		.cert_file = p->smtp_tls_cert_file, .key_file = p->smtp_tls_key_file,
		.eccert_file = p->smtp_tls_eccert_file, .eckey_file = p->smtp_tls_eckey_file,
		.dcert_file = p->smtp_tls_dcert_file, .dkey_file = p->smtp_tls_dkey_file,
	};
}

struct tls_client_ctx *
hop_tls_ctx_new(const struct hop_service *s, size_t sessions_max, struct fault *why)
{
	const struct params *p = s->p;
	struct tls_client_ctx_params c = {
		.roots = {
			.prefix = s->lmtp ? "lmtp_tls" : "smtp_tls",
			.CAfile = p->smtp_tls_CAfile, .CApath = p->smtp_tls_CApath,
			.append_default_CA = p->tls_append_default_CA,
		},
		.ssl_options = p->tls_ssl_options,
		.disable_workarounds = p->tls_disable_workarounds,
		.session_timeout_s = p->smtp_tls_session_cache_timeout_ms / 1000,
		.session_count_max = sessions_max,
	};

	hop_chain_params(p, s->prefix, &c.chain);
	return tls_client_ctx_new(&c, why);
}
