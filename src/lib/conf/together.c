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

struct obstacle {
	const char *text, *fix;
};

/* What keeps DANE from working; text NULL when nothing does. */
static struct obstacle
find_obstacle(const struct params *p, bool lmtp)
{
	if (strcmp(p->smtp_dns_support_level, "dnssec") != 0)
		return (struct obstacle){ "smtp_dns_support_level is not dnssec", "set smtp_dns_support_level = dnssec" };
	if (!has_word(p->smtp_host_lookup, SPAN("dns")))
		return (struct obstacle){ "smtp_host_lookup has no dns", "put dns into smtp_host_lookup" };
	if (!lmtp && p->ignore_mx_lookup_error)
		return (struct obstacle){ "ignore_mx_lookup_error is set", "set ignore_mx_lookup_error = no" };
	if (has_word(p->smtp_dns_resolver_options, SPAN("res_defnames")) ||
	    has_word(p->smtp_dns_resolver_options, SPAN("res_dnsrch")))
		return (struct obstacle){ "smtp_dns_resolver_options searches other domains",
			"take res_defnames and res_dnsrch out of smtp_dns_resolver_options" };
	if (span_trim(span_str(p->dnssec_trust_anchor_files)).n == 0)
		return (struct obstacle){ "there is no trust anchor",
			"set dnssec_trust_anchor_files = /usr/share/dns/root.key (package dns-root-data)" };
	return (struct obstacle){ NULL, NULL };
}

static void
check_dane(struct conf_loading *l, const struct conf_service *s, bool lmtp)
{
	const char *name = lmtp ? "lmtp_tls_security_level" : "smtp_tls_security_level";
	const struct conf_value *v = conf_set_find(s->set, span_str(name));
	const struct conf_def *at = v != NULL ? v->origin : NULL;
	struct obstacle o;

	if (!is_dane(s->params->smtp_tls_security_level))
		return;
	o = find_obstacle(s->params, lmtp);
	if (o.text != NULL)
		conf_report_add(l->report, CONF_ERROR, at != NULL ? at->file : l->main_file, at != NULL ? at->line : 0, o.fix,
		    "%s = %s: it needs DNSSEC, but %s", name, s->params->smtp_tls_security_level, o.text);
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

		if (!s->disabled && (lmtp || strcmp(s->command, "smtp") == 0) && s->type != CONF_SERVICE_INET &&
		    !seen_before(l, i))
			check_dane(l, s, lmtp);
	}
}
