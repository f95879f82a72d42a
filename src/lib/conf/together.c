/* Values that do not go together. A level that DNSSEC cannot serve is refused at the start, not weakened later. */
#include <stdio.h>
#include <string.h>

#include "conf/conf_private.h"
#include "conf/params.h"

static bool
is_dane(const char *level)
{
	struct span s = span_trim(span_str(level));

	return span_eq_ci(s, SPAN("dane")) || span_eq_ci(s, SPAN("dane-only"));
}

static bool
has_word(const char *list, struct span word)
{
	return span_find_ci(span_str(list), word) >= 0;
}

const char *
conf_dane_obstacle(const struct params *p, bool lmtp, const char **fix_r)
{
	const struct {
		bool there;
		const char *text, *fix;
	} rows[] = {
		{ strcmp(p->smtp_dns_support_level, "dnssec") != 0, "smtp_dns_support_level is not dnssec",
		    "set smtp_dns_support_level = dnssec" },
		{ !has_word(p->smtp_host_lookup, SPAN("dns")), "smtp_host_lookup has no dns", "put dns into smtp_host_lookup" },
		{ !lmtp && p->ignore_mx_lookup_error, "ignore_mx_lookup_error is set", "set ignore_mx_lookup_error = no" },
		{ has_word(p->smtp_dns_resolver_options, SPAN("res_defnames")) ||
		    has_word(p->smtp_dns_resolver_options, SPAN("res_dnsrch")),
		    "smtp_dns_resolver_options searches other domains",
		    "take res_defnames and res_dnsrch out of smtp_dns_resolver_options" },
		{ span_trim(span_str(p->dnssec_trust_anchor_files)).n == 0, "there is no trust anchor",
		    "set dnssec_trust_anchor_files = /usr/share/dns/root.key (package dns-root-data)" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].there)
			continue;
		if (fix_r != NULL)
			*fix_r = rows[i].fix;
		return rows[i].text;
	}
	return NULL;
}

static void
check_dane(struct conf_loading *l, const struct conf_service *s, bool lmtp)
{
	const char *name = lmtp ? "lmtp_tls_security_level" : "smtp_tls_security_level";
	const struct conf_value *v = conf_set_find(s->set, span_str(name));
	const struct conf_def *at = v != NULL ? v->origin : NULL;
	const char *obstacle, *fix;

	if (!is_dane(s->params->smtp_tls_security_level))
		return;
	obstacle = conf_dane_obstacle(s->params, lmtp, &fix);
	if (obstacle != NULL)
		conf_report_add(l->report, CONF_ERROR, at != NULL ? at->file : l->main_file, at != NULL ? at->line : 0, fix,
		    "%s = %s: it needs DNSSEC, but %s", name, s->params->smtp_tls_security_level, obstacle);
}

static void
say_tlsrpt(struct conf_loading *l, const struct conf_service *s, enum conf_severity severity, const char *name, const char *fix, const char *text)
{
	const struct conf_value *v = conf_set_find(s->set, span_str(name));
	const struct conf_def *at = v != NULL ? v->origin : NULL;

	conf_report_add(l->report, severity, at != NULL ? at->file : l->main_file, at != NULL ? at->line : 0, fix, "%s", text);
}

/* Reports that would never come, or a socket that cannot be (tls-client.md 15). */
static void
check_tlsrpt(struct conf_loading *l, const struct conf_service *s, bool lmtp)
{
	const struct params *p = s->params;
	struct span level = span_trim(span_str(p->smtp_tls_security_level)), name = span_str(p->smtp_tlsrpt_socket_name);
	size_t bytes = name.n + (name.n > 0 && name.p[0] == '/' ? 0 : strlen(p->queue_directory) + 1);
	char text[160];

	if (!p->smtp_tlsrpt_enable)
		return;
	if (lmtp) {
		say_tlsrpt(l, s, CONF_WARNING, "lmtp_tlsrpt_enable", "take it out", "lmtp_tlsrpt_enable = yes: nothing is reported of LMTP");
		return;
	}
	if (name.n == 0)
		say_tlsrpt(l, s, CONF_WARNING, "smtp_tlsrpt_enable", "name the socket of the collector (tlsrpt-collectd)",
		    "smtp_tlsrpt_enable = yes: nothing is reported without smtp_tlsrpt_socket_name");
	if (level.n == 0 || span_eq_ci(level, SPAN("none")))
		say_tlsrpt(l, s, CONF_WARNING, "smtp_tlsrpt_enable", "set smtp_tls_security_level = may, or more",
		    "smtp_tlsrpt_enable = yes: nothing is reported unless smtp_tls_security_level is set, to a level above none");
	snprintf(text, sizeof(text), "smtp_tlsrpt_socket_name: the path of a socket has at most 107 bytes, this one %zu", bytes);
	if (name.n > 0 && bytes > 107)
		say_tlsrpt(l, s, CONF_ERROR, "smtp_tlsrpt_socket_name", "use a shorter path", text);
}

/* Services with the same values are one finding. */
static bool
seen_before(const struct conf_loading *l, size_t at)
{
	const struct conf_service *s = &l->c->services[at];

	for (size_t i = 0; i < at; i++) {
		const struct conf_service *other = &l->c->services[i];

		if (!other->disabled && other->set == s->set && strcmp(other->command, s->command) == 0)
			return true;
	}
	return false;
}

void
conf_check_together(struct conf_loading *l)
{
	for (size_t i = 0; i < l->c->service_count; i++) {
		const struct conf_service *s = &l->c->services[i];
		bool lmtp = strcmp(s->command, "lmtp") == 0;

		if (s->disabled || !(lmtp || strcmp(s->command, "smtp") == 0) || s->type == CONF_SERVICE_INET || seen_before(l, i))
			continue;
		check_dane(l, s, lmtp);
		check_tlsrpt(l, s, lmtp);
	}
}
