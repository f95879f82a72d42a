/* Services of master.cf that run smtp or lmtp: their parameters, compiled once. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/panic.h"
#include "maps/maps.h"
#include "maps/strlist.h"
#include "role/smtpc/smtpc.h"

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
service_port(const struct params *p, struct span name)
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

/* ---- our own addresses */

static void
own_add(struct smtpc_role *s, sa_family_t family, const void *ip)
{
	struct own_address *o;

	s->own = realloc(s->own, size_mul(sizeof(*s->own), s->n_own + 1));
	if (s->own == NULL)
		panic("out of memory");
	o = &s->own[s->n_own++];
	*o = (struct own_address){ .family = family };
	memcpy(o->ip, ip, family == AF_INET ? 4 : 16);
}

static void
own_add_sockaddr(struct smtpc_role *s, const struct sockaddr *sa)
{
	union {
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} u;

	if (sa == NULL)
		return;
	if (sa->sa_family == AF_INET) {
		memcpy(&u.in4, sa, sizeof(u.in4));
		own_add(s, AF_INET, &u.in4.sin_addr);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&u.in6, sa, sizeof(u.in6));
		own_add(s, AF_INET6, &u.in6.sin6_addr);
	}
}

static void
own_add_interfaces(struct smtpc_role *s, bool loopback_only)
{
	struct ifaddrs *list, *i;

	if (getifaddrs(&list) != 0)
		return;
	for (i = list; i != NULL; i = i->ifa_next)
		if (!loopback_only || strcmp(i->ifa_name, "lo") == 0)
			own_add_sockaddr(s, i->ifa_addr);
	freeifaddrs(list);
}

/* An address or a host name of inet_interfaces; names are looked up once, at start. */
static void
own_add_word(struct smtpc_role *s, struct span word)
{
	uint8_t ip[16];
	size_t n;
	struct addrinfo *list, *i;
	char name[256];

	if (word.n > 2 && word.p[0] == '[' && word.p[word.n - 1] == ']')
		word = span_slice(word, 1, word.n - 1);
	if (dns_address_parse(word, ip, &n)) {
		own_add(s, n == 4 ? AF_INET : AF_INET6, ip);
		return;
	}
	if (word.n == 0 || word.n >= sizeof(name))
		return;
	memcpy(name, word.p, word.n);
	name[word.n] = '\0';
	if (getaddrinfo(name, NULL, NULL, &list) != 0)
		return;
	for (i = list; i != NULL; i = i->ai_next)
		own_add_sockaddr(s, i->ai_addr);
	freeaddrinfo(list);
}

/*
 * A single address of one family in inet_interfaces is also what we connect from (as Postfix does for
 * multi-homed hosts), unless it is a loopback one.
 */
static void
find_bind_address(struct smtpc_role *s, struct arena *a)
{
	unsigned n4 = 0, n6 = 0;

	for (size_t i = 0; i < s->n_own; i++) {
		const struct own_address *o = &s->own[i];
		bool v4 = o->family == AF_INET;
		static const uint8_t loop6[16] = { [15] = 1 };

		if (v4 ? o->ip[0] == 127 : memcmp(o->ip, loop6, 16) == 0)
			continue;
		if (v4 && n4++ == 0)
			s->bind4 = dns_address_text(a, span_of(o->ip, 4));
		if (!v4 && n6++ == 0)
			s->bind6 = dns_address_text(a, span_of(o->ip, 16));
	}
	if (n4 != 1)
		s->bind4 = SPAN("");
	if (n6 != 1)
		s->bind6 = SPAN("");
}

void
own_addresses_find(struct smtpc_role *s)
{
	const struct params *p = s->role->conf->params;
	struct span list = span_str(p->inet_interfaces), word;
	bool named = false;

	while (span_token(&list, ", \t\r\n", &word)) {
		if (span_eq_ci(word, SPAN("all"))) {
			own_add_interfaces(s, false);
		} else if (span_eq_ci(word, SPAN("loopback-only"))) {
			own_add_interfaces(s, true);
		} else {
			own_add_word(s, word);
			named = true;
		}
	}
	if (named)
		find_bind_address(s, s->arena);
	list = span_str(p->proxy_interfaces);
	while (span_token(&list, ", \t\r\n", &word))
		own_add_word(s, word);
}

bool
own_address(const struct smtpc_role *s, sa_family_t family, const uint8_t *ip)
{
	for (size_t i = 0; i < s->n_own; i++)
		if (s->own[i].family == family && memcmp(s->own[i].ip, ip, family == AF_INET ? 4 : 16) == 0)
			return true;
	return false;
}

/* ---- services */

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

static void
fill_tls_params(struct service *svc)
{
	const struct params *p = svc->p;

	svc->tls = (struct tls_params){
		.prefix = svc->prefix,
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
	};
}

static void
open_tls(struct service *svc)
{
	const struct params *p = svc->p;
	const struct tls_client_ctx_params c = {
		.chain = {
			.prefix = svc->lmtp ? "lmtp_tls" : "smtp_tls",
			.chain_files = p->smtp_tls_chain_files,
			.cert_file = p->smtp_tls_cert_file, .key_file = p->smtp_tls_key_file,
			.eccert_file = p->smtp_tls_eccert_file, .eckey_file = p->smtp_tls_eckey_file,
			.dcert_file = p->smtp_tls_dcert_file, .dkey_file = p->smtp_tls_dkey_file,
		},
		.roots = {
			.prefix = svc->lmtp ? "lmtp_tls" : "smtp_tls",
			.CAfile = p->smtp_tls_CAfile, .CApath = p->smtp_tls_CApath,
			.append_default_CA = p->tls_append_default_CA,
		},
		.ssl_options = p->tls_ssl_options,
		.disable_workarounds = p->tls_disable_workarounds,
		.session_timeout_s = p->smtp_tls_session_cache_database[0] != '\0' ?
		    p->smtp_tls_session_cache_timeout_ms / 1000 : 0,
		.session_count_max = 20000,
	};

	if (!tls_params_check(&svc->tls, &svc->tls_fault) || !tls_params_level(&svc->tls, &svc->level, &svc->tls_fault))
		fatal("service %s: %s", svc->name, svc->tls_fault.text);
	if (!tls_params_want_tls(&svc->tls))
		return;
	svc->tls_ctx = tls_client_ctx_new(&c, &svc->tls_fault);
	if (svc->tls_ctx == NULL)
		log_warning(NULL, "service %s: TLS cannot be used: %s", svc->name, svc->tls_fault.text);
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

	open_map(s, svc, p->smtp_tls_policy_maps, MAPS_STRICT, &svc->policy);
	open_map(s, svc, p->smtp_tls_per_site, MAPS_STRICT, &svc->per_site);
	open_map(s, svc, p->smtp_sasl_password_maps, 0, &svc->passwords);
	open_map(s, svc, p->smtp_generic_maps, 0, &svc->generic);
	open_map(s, svc, p->smtp_discard_ehlo_keyword_address_maps, 0, &svc->discard_by_address);
	open_map(s, svc, p->smtp_header_checks, 0, &svc->header_checks);
	open_map(s, svc, p->smtp_reply_filter, 0, &svc->reply_filter);
	open_map(s, svc, p->smtp_delivery_status_filter, 0, &svc->status_filter);
	if (svc->policy != NULL && svc->per_site != NULL)
		log_warning(NULL, "%s_tls_policy_maps is set: %s_tls_per_site is not used", svc->prefix, svc->prefix);
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
find_lookup_methods(struct service *svc)
{
	svc->dns = !svc->p->disable_dns_lookups &&
	    span_find_ci(span_str(svc->p->smtp_host_lookup), SPAN("dns")) >= 0;
	svc->native = svc->p->disable_dns_lookups ||
	    span_find_ci(span_str(svc->p->smtp_host_lookup), SPAN("native")) >= 0;
}

static void
service_open(const struct smtpc_role *s, struct service *svc, const struct conf_service *cs)
{
	*svc = (struct service){ .cs = cs, .p = cs->params, .name = cs->name };
	svc->lmtp = strcmp(cs->command, "lmtp") == 0;
	svc->prefix = svc->lmtp ? "lmtp" : "smtp";
	svc->discard = smtpc_cap_mask(span_str(svc->p->smtp_discard_ehlo_keywords));
	svc->families = families_of(svc->p->inet_protocols);
	svc->port = service_port(svc->p, span_str(svc->p->smtp_tcp_port));
	if (svc->port == 0)
		fatal("service %s: smtp_tcp_port: no such port: %s", svc->name, svc->p->smtp_tcp_port);
	find_lookup_methods(svc);
	fill_tls_params(svc);
	open_tls(svc);
	open_maps(s, svc);
}

static bool
is_ours(const struct conf_service *cs)
{
	return cs->type != CONF_SERVICE_INET && cs->type != CONF_SERVICE_PASS && !cs->disabled &&
	    (strcmp(cs->command, "smtp") == 0 || strcmp(cs->command, "lmtp") == 0);
}

void
services_open(struct smtpc_role *s)
{
	const struct conf *c = s->role->conf;

	s->services = ARENA_ARRAY(s->arena, struct service, c->service_count + 1);
	for (size_t i = 0; i < c->service_count; i++)
		if (is_ours(&c->services[i]))
			service_open(s, &s->services[s->n_services++], &c->services[i]);
}

static void
service_release(struct service *svc)
{
	maps_unref(&svc->policy);
	maps_unref(&svc->per_site);
	maps_unref(&svc->passwords);
	maps_unref(&svc->generic);
	maps_unref(&svc->discard_by_address);
	maps_unref(&svc->header_checks);
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
