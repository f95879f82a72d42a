/* signet check: entries of smtpd_tls_policy_maps: values that make no sense, and names that relax. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "conf/params.h"
#include "conf/words.h"
#include "maps/maps.h"
#include "maps/source.h"
#include "signet/check.h"
#include "tls/client_policy.h"

struct policy_check {
	const struct checker *c;
	const struct params *p;
	const char *path;
	enum tls_client_level otherwise;        /* what who has no entry gets */
	bool second;                            /* "*" is known */
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
on_entry(void *ctx, struct span key, struct span value, unsigned line)
{
	struct policy_check *k = ctx;
	struct arena *a = arena_new(1u << 20);
	struct tls_client_policy policy;
	struct fault why = { 0 };
	bool ok = value.n < 8192 && tls_client_policy_parse(value, k->p->smtpd_tls_fingerprint_digest, a, &policy, &why);
	bool all = span_eq(key, SPAN("*")), sni = span_starts(key, SPAN("sni="));

	ok = ok && tls_client_policy_fits(&policy, key, &why);

	if (!k->second) {
		if (ok && all)
			k->otherwise = policy.level;
	} else if (!ok) {
		conf_report_add(k->c->report, CONF_ERROR, k->path, line, "see smtpd_tls_policy(5)",
		    "smtpd_tls_policy_maps: %.*s: %s: the client gets 454", SPAN_ARG(log_esc(span_slice(key, 0, 200))),
		    value.n < 8192 ? why.text : "the value is too long");
	} else if (sni && (policy.level < k->otherwise || k->p->smtpd_tls_req_ccert)) {
		conf_report_add(k->c->report, CONF_WARNING, k->path, line, "key what relaxes by address",
		    "smtpd_tls_policy_maps: %.*s takes the place of what others get (%s): every client can choose this entry",
		    SPAN_ARG(log_esc(span_slice(key, 0, 200))), k->p->smtpd_tls_req_ccert && k->otherwise <= policy.level ? "smtpd_tls_req_ccert" :
		    tls_client_level_name(k->otherwise));
	} else if (!all && !sni && is_name(key) && policy.level < k->otherwise) {
		conf_report_add(k->c->report, CONF_WARNING, k->path, line, "key what relaxes by address",
		    "smtpd_tls_policy_maps: %.*s relaxes by DNS name (%s, where others get %s): who controls the DNS of an address can choose this entry",
		    SPAN_ARG(log_esc(span_slice(key, 0, 200))), tls_client_level_name(policy.level), tls_client_level_name(k->otherwise));
	} else if (policy.level == TLS_CLIENT_NONE) {
		conf_report_add(k->c->report, CONF_NOTE, k->path, line, NULL,
		    "smtpd_tls_policy_maps: %.*s is not offered STARTTLS: wrong where TLSA records are published for this server (RFC 7672)",
		    SPAN_ARG(log_esc(span_slice(key, 0, 200))));
	}
	arena_free(&a);
	return true;
}

static void
on_bad(void *ctx, unsigned line, const struct fault *why)
{
	(void)ctx;
	(void)line;
	(void)why;              /* said by check_tables */
}

/* Tables whose source text can be read here. */
static bool
has_text(struct span type)
{
	static const char *const types[] = { "texthash", "hash", "btree", "dbm", "sdbm" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (span_eq_ci(type, span_str(types[i])))
			return true;
	return false;
}

static void
check_text(struct policy_check *k)
{
	struct source_reader reader = { .form = SOURCE_MAP, .entry = on_entry, .bad = on_bad, .ctx = k };
	struct buf text;

	buf_init(&text, MAPS_TEXT_MAX);
	if (fd_read_file(AT_FDCWD, k->path, &text) >= 0 && !text.full) {
		k->second = false;
		source_each(buf_span(&text), &reader);
		k->second = true;
		source_each(buf_span(&text), &reader);
	}
	buf_release(&text);
}

void
check_tls_policy(const struct checker *c, const struct conf_service *s)
{
	struct span rest = span_str(s->params->smtpd_tls_policy_maps), label, type, name;
	struct policy_check k = { .c = c, .p = s->params };
	char path[4096];

	while (word_next(&rest, &label)) {
		if (!span_cut(label, ':', &type, &name) || !has_text(type) || name.n >= sizeof(path))
			continue;
		snprintf(path, sizeof(path), "%.*s", SPAN_ARG(name));
		k.path = path;
		k.otherwise = service_level(s->params);
		check_text(&k);
	}
}
