/* signet check: entries of smtpd_tls_policy_maps: values that make no sense, and names that relax. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "conf/params.h"
#include "maps/entries.h"
#include "maps/maps.h"
#include "signet/check.h"
#include "tls/client_policy.h"

struct policy_check {
	const struct checker *c;
	const struct params *p;
	const struct conf_item *item;
	enum tls_client_level otherwise;        /* what who has no entry gets */
	unsigned otherwise_bits;
	bool otherwise_names;                   /* and conditions on the certificate */
	char otherwise_text[200];
	bool second;                            /* "*" is known */
	bool public;                            /* a service on port 25 */
};

static enum tls_client_level
service_level(const struct params *p)
{
	const char *level = p->smtpd_tls_security_level;

	if (p->smtpd_tls_wrappermode || (*level == '\0' && p->smtpd_enforce_tls))
		return TLS_CLIENT_ENCRYPT;
	if (*level == '\0')
		return p->smtpd_use_tls ? TLS_CLIENT_MAY : TLS_CLIENT_NONE;
	return strcmp(level, "none") == 0 ? TLS_CLIENT_NONE : strcmp(level, "may") == 0 ? TLS_CLIENT_MAY : TLS_CLIENT_ENCRYPT;
}

static bool
is_name(struct span key)
{
	for (size_t i = 0; i < key.n; i++)
		if (!ascii_isdigit(key.p[i]) && key.p[i] != '.' && span_index(key, ':') < 0)
			return true;
	return false;
}

static bool
has_names(const struct tls_client_policy *p)
{
	return p->n_match > 0 || p->n_email > 0 || p->n_ip > 0 || p->n_uri > 0 || p->subject.n > 0 || p->issuer.n > 0 || p->issuer_maps.n > 0;
}

/* Less than what others must show. Of two conditions on names neither is less. */
static bool
relaxes(const struct policy_check *k, const struct tls_client_policy *p)
{
	if (p->level != k->otherwise)
		return p->level < k->otherwise;
	return p->bits < k->otherwise_bits || (k->otherwise_names && !has_names(p));
}

static void
set_otherwise(struct policy_check *k, const struct tls_client_policy *p, struct span value)
{
	k->otherwise = p->level;
	k->otherwise_bits = p->bits;
	k->otherwise_names = has_names(p);
	snprintf(k->otherwise_text, sizeof(k->otherwise_text), "%.*s", SPAN_ARG(span_slice(log_esc(value), 0, 150)));
}

static void
say(const struct policy_check *k, const struct maps_entry *e, enum conf_severity severity, const char *fix, struct span text)
{
	struct span key = log_esc(span_slice(e->key, 0, 200));

	if (e->file != NULL)
		conf_report_add(k->c->report, severity, e->file, e->line, fix, "smtpd_tls_policy_maps: %.*s%.*s", SPAN_ARG(key), SPAN_ARG(text));
	else
		check_say(k->c, severity, k->item, fix, "%.*s%.*s", SPAN_ARG(key), SPAN_ARG(text));
}

/* Whom does it concern? Nobody, if its key is that of no client. */
static void
check_key(const struct policy_check *k, const struct maps_entry *e, struct arena *a)
{
	struct fault why = { 0 };

	if (!e->is_pattern && !tls_client_key_check(e->key, &why))
		say(k, e, CONF_WARNING, "see smtpd_tls_policy(5)", arena_printf(a, ": %s", why.text));
}

/* What an entry refers to. */
static void
check_references(const struct policy_check *k, const struct maps_entry *e, const struct tls_client_policy *p, struct arena *a)
{
	struct maps_env env = { .data_directory = k->p->data_directory, .default_database_type = k->p->default_database_type, .direct = true };
	struct maps *m = NULL;
	struct fault why = { 0 };

	if (p->chain.n > 0 && *k->p->tls_server_sni_maps == '\0')
		say(k, e, CONF_ERROR, "set tls_server_sni_maps, with an entry of this name",
		    arena_printf(a, ": chain=%.*s: there is no tls_server_sni_maps: the client's handshakes fail", SPAN_ARG(p->chain)));
	if (p->issuer_maps.n == 0)
		return;
	log_set_sink(log_sink_none, NULL, NULL);    /* `why` says it as well */
	if (!maps_open(p->issuer_maps, MAPS_STRICT, &env, &m, &why) || !maps_check(m, &why))
		say(k, e, CONF_ERROR, "create the table, or correct its name", arena_printf(a, ": issuer_maps: %s: the client gets 454", why.text));
	log_set_sink(NULL, NULL, NULL);
	maps_unref(&m);
}

/* An entry that works: does it say what was meant? */
static void
judge(const struct policy_check *k, const struct maps_entry *e, const struct tls_client_policy *policy, struct arena *a)
{
	bool all = span_eq(e->key, SPAN("*")), sni = !e->is_rule && span_starts(e->key, SPAN("sni="));

	if (sni && (relaxes(k, policy) || k->p->smtpd_tls_req_ccert))
		say(k, e, CONF_WARNING, "key what relaxes by address",
		    arena_printf(a, " takes the place of what others get (%s): every client can choose this entry",
		    k->p->smtpd_tls_req_ccert && !relaxes(k, policy) ? "smtpd_tls_req_ccert" : k->otherwise_text));
	else if (!all && !sni && !e->is_rule && is_name(e->key) && relaxes(k, policy))
		say(k, e, CONF_WARNING, "key what relaxes by address",
		    arena_printf(a, " relaxes by DNS name (%.*s, where others get %s): who controls the DNS of an address can choose this entry",
		    SPAN_ARG(span_slice(log_esc(e->value), 0, 150)), k->otherwise_text));
	else if (all && k->public && policy->level >= TLS_CLIENT_ENCRYPT)
		say(k, e, CONF_WARNING, "use may for *, and entries for those who must",
		    SPAN(" demands TLS of everybody on port 25: servers that do not offer it cannot send mail here (RFC 3207 section 4)"));
	else if (policy->level == TLS_CLIENT_NONE)
		say(k, e, CONF_NOTE, NULL,
		    SPAN(" is not offered STARTTLS: wrong where TLSA records are published for this server (RFC 7672)"));
}

/* `policy` is NULL when the value is none, which `why` explains. */
static void
check_entry(const struct policy_check *k, const struct maps_entry *e, const struct tls_client_policy *policy, const struct fault *why,
    struct arena *a)
{
	check_key(k, e, a);
	if (policy != NULL)
		check_references(k, e, policy, a);
	if (e->is_rule && span_index(e->value, '$') >= 0)
		return;                 /* known only with the client */
	if (policy != NULL)
		judge(k, e, policy, a);
	else
		say(k, e, CONF_ERROR, "see smtpd_tls_policy(5)", arena_printf(a, ": %s: the client gets 454", why->text));
}

static void
on_entry(void *ctx, const struct maps_entry *e)
{
	struct policy_check *k = ctx;
	struct arena *a = arena_new(1u << 20);
	struct tls_client_policy policy = { 0 };
	struct fault why = { 0 };
	bool ok;

	if (e->value.n >= 8192)
		ok = fault_set(&why, "", "the value is too long");
	else
		ok = tls_client_policy_parse(e->value, k->p->smtpd_tls_fingerprint_digest, a, &policy, &why) &&
		    (e->is_rule || tls_client_policy_fits(&policy, e->key, &why));
	if (k->second)
		check_entry(k, e, ok ? &policy : NULL, &why, a);
	else if (ok && span_eq(e->key, SPAN("*")))
		set_otherwise(k, &policy, e->value);
	arena_free(&a);
}

void
check_tls_policy(const struct checker *c, const struct conf_service *s, bool public)
{
	struct span tables = span_str(s->params->smtpd_tls_policy_maps);
	struct policy_check k = { .c = c, .p = s->params, .public = public, .otherwise = service_level(s->params) };
	size_t n;
	struct conf_item *items = conf_items(s, &n);

	snprintf(k.otherwise_text, sizeof(k.otherwise_text), "%s", tls_client_level_name(k.otherwise));
	k.item = check_find(items, n, "smtpd_tls_policy_maps");
	if (k.item != NULL && k.item->file != NULL) {
		maps_entries(tables, on_entry, &k);
		k.second = true;
		maps_entries(tables, on_entry, &k);
	}
	conf_items_free(&items);
}
