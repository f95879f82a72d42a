/*
 * Access control by client certificate (tls-server.md section 3.2): listed or trusted ones are permitted, and any access
 * table can be asked by fingerprint, or, for certificates that are trusted, by name.
 */
#include <openssl/x509v3.h>

#include "role/smtpd/acl_private.h"
#include "tls/client_policy.h"
#include "tls/dn.h"
#include "tls/info.h"

/* The words of search_order. All but the fingerprints say something only when an authority that we trust vouches for it. */
static const struct order_word {
	const char *word;
	enum acl_ccert_key key;
} order_words[] = {
	{ "cert_fingerprint", ACL_CCERT_CERT_FP },
	{ "pubkey_fingerprint", ACL_CCERT_PKEY_FP },
	{ "subject_cn", ACL_CCERT_SUBJECT_CN },
	{ "issuer_cn", ACL_CCERT_ISSUER_CN },
	{ "san_dns", ACL_CCERT_SAN_DNS },
	{ "san_email", ACL_CCERT_SAN_EMAIL },
	{ "subject_dn", ACL_CCERT_SUBJECT_DN },
	{ "issuer_dn", ACL_CCERT_ISSUER_DN },
};

/* Certificate first, then key: the opposite of relay_clientcerts. */
static const struct acl_ccert_order usual_order = { .key = { ACL_CCERT_CERT_FP, ACL_CCERT_PKEY_FP }, .n = 2 };

/* --- the argument --- */

static bool
order_add(struct acl_ccert_order *o, struct span word, struct fault *why)
{
	for (size_t i = 0; i < sizeof(order_words) / sizeof(order_words[0]); i++) {
		if (!span_eq_ci(word, span_str(order_words[i].word)))
			continue;
		for (size_t k = 0; k < o->n; k++)
			if (o->key[k] == order_words[i].key)
				return fault_set(why, "", "search_order names %s twice", order_words[i].word);
		o->key[o->n++] = (uint8_t)order_words[i].key;
		return true;
	}
	return fault_set(why, "", "search_order knows no \"%.*s\": cert_fingerprint, pubkey_fingerprint, subject_cn, issuer_cn, "
	    "san_dns, san_email, subject_dn, issuer_dn",
	    SPAN_ARG(span_slice(word, 0, 80)));
}

/* "{ search_order = word, word }" */
static bool
option_parse(struct span option, struct acl_ccert_order *o, struct fault *why)
{
	struct span name, value, word;

	if (option.n < 2 || option.p[0] != '{' || !span_cut(span_slice(option, 1, option.n - 1), '=', &name, &value) ||
	    !span_eq_ci(span_trim(name), SPAN("search_order")))
		return fault_set(why, "", "expected { search_order = ... } and not \"%.*s\"", SPAN_ARG(span_slice(option, 0, 80)));
	o->n = 0;
	while (span_token(&value, ", \t\r\n", &word))
		if (!order_add(o, word, why))
			return false;
	return o->n > 0 || fault_set(why, "", "search_order names nothing");
}

bool
acl_ccert_parse(struct acl *acl, struct span arg, struct span *table_r, const struct acl_ccert_order **order_r, struct fault *why)
{
	struct acl_ccert_order *o = ARENA_NEW(acl->arena, struct acl_ccert_order);
	struct span rest = arg, option;

	*o = usual_order;
	*order_r = o;
	*table_r = arg;
	if (arg.n < 2 || arg.p[0] != '{')
		return true;
	rest = span_trim(span_slice(arg, 1, arg.n - 1));
	if (!span_token_brace(&rest, ", \t\r\n", table_r))
		return fault_set(why, "", "a table is missing in \"%.*s\"", SPAN_ARG(span_slice(arg, 0, 80)));
	while (span_token_brace(&rest, ", \t\r\n", &option))
		if (!option_parse(option, o, why))
			return false;
	return true;
}

/* --- looking things up --- */

/* The client's certificate or key; NULL = there is none. */
static const struct tls_info *
credential(const struct acl_eval *e)
{
	const struct tls_info *t = e->f->tls_info;

	return t != NULL && (t->peer_cert || t->peer_rpk) ? t : NULL;
}

/* A name that is written like a fingerprint is nobody's name. */
static bool
like_fingerprint(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (i % 3 == 2 ? s.p[i] != ':' : span_index(SPAN("0123456789abcdef"), ascii_lower(s.p[i])) < 0)
			return false;
	return s.n >= 5;
}

/* One key: true when it decided (`*v_r`). */
static bool
try_key(struct acl_eval *e, const struct acl_rule *r, struct span key, enum acl_verdict *v_r)
{
	struct fault why = { 0 };
	struct map_hit hit;
	enum map_result got;

	if (key.n == 0)
		return false;
	got = maps_find(r->maps, key, e->asks, e->a, &hit, &why);
	if (acl_stopped(e, got, r->row->subject, &why, v_r))
		return true;
	if (got == MAP_ABSENT)
		return false;
	*v_r = acl_action(e, r, key, hit.value);
	return *v_r != ACL_DUNNO;
}

static bool
try_name(struct acl_eval *e, const struct acl_rule *r, struct span name, enum acl_verdict *v_r)
{
	return !like_fingerprint(name) && try_key(e, r, name, v_r);
}

static bool
try_emails(struct acl_eval *e, const struct acl_rule *r, X509 *cert, enum acl_verdict *v_r)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool done = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < TLS_INFO_NAMES && !done; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		struct span name;

		if (g->type != GEN_EMAIL)
			continue;
		name = span_of(ASN1_STRING_get0_data(g->d.rfc822Name), (size_t)ASN1_STRING_length(g->d.rfc822Name));
		done = span_index(name, '\0') < 0 && try_name(e, r, arena_dup(e->a, name), v_r);
	}
	GENERAL_NAMES_free(names);
	return done;
}

/* Names of the certificate itself, "/C=../O=.." (tls/dn.h). */
static bool
try_cert(struct acl_eval *e, const struct acl_rule *r, enum acl_ccert_key kind, enum acl_verdict *v_r)
{
	X509 *cert = e->f->tls_shown != NULL ? e->f->tls_shown->cert : NULL;

	if (cert == NULL)
		return false;
	if (kind == ACL_CCERT_SAN_EMAIL)
		return try_emails(e, r, cert, v_r);
	return try_key(e, r, tls_dn_text(kind == ACL_CCERT_SUBJECT_DN ? X509_get_subject_name(cert) : X509_get_issuer_name(cert), e->a), v_r);
}

static bool
try_kind(struct acl_eval *e, const struct acl_rule *r, const struct tls_info *t, enum acl_ccert_key kind, enum acl_verdict *v_r)
{
	if (kind == ACL_CCERT_CERT_FP)
		return try_key(e, r, t->cert_fp, v_r);
	if (kind == ACL_CCERT_PKEY_FP)
		return try_key(e, r, t->pkey_fp, v_r);
	if (!t->peer_trusted)
		return false;
	if (kind == ACL_CCERT_SUBJECT_CN)
		return try_name(e, r, t->peer_cn, v_r);
	if (kind == ACL_CCERT_ISSUER_CN)
		return try_name(e, r, t->issuer_cn, v_r);
	if (kind != ACL_CCERT_SAN_DNS)
		return try_cert(e, r, kind, v_r);
	for (size_t i = 0; i < t->n_dns_names; i++)
		if (try_name(e, r, t->dns_names[i], v_r))
			return true;
	return false;
}

enum acl_verdict
acl_ccert_access(struct acl_eval *e, const struct acl_rule *r)
{
	const struct tls_info *t = credential(e);
	enum acl_verdict v = ACL_DUNNO;

	if (t == NULL)
		return ACL_DUNNO;
	for (size_t i = 0; i < r->order->n; i++)
		if (try_kind(e, r, t, (enum acl_ccert_key)r->order->key[i], &v))
			return v;
	return ACL_DUNNO;
}

/* relay_clientcerts: the key first, then the certificate; being in the table is enough. */
static enum acl_verdict
listed(struct acl_eval *e, const struct acl_rule *r, const struct tls_info *t)
{
	struct span keys[] = { t->pkey_fp, t->cert_fp };
	struct fault why = { 0 };
	enum acl_verdict v;

	for (size_t i = 0; i < 2; i++) {
		enum map_result got = keys[i].n == 0 ? MAP_ABSENT :
		    maps_find(e->acl->relay_clientcerts, keys[i], e->asks, e->a, NULL, &why);

		if (acl_stopped(e, got, r->row->subject, &why, &v))
			return v;
		if (got == MAP_FOUND)
			return ACL_PERMIT;
	}
	return ACL_DUNNO;
}

enum acl_verdict
acl_permit_ccerts(struct acl_eval *e, const struct acl_rule *r)
{
	const struct tls_info *t = credential(e);

	if (!e->p->smtpd_tls_ask_ccert && !(e->f->tls_info != NULL && e->f->tls_info->asked)) {
		acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""),
		    arena_printf(e->a, "%s is requested, but \"smtpd_tls_ask_ccert = no\"", r->row->word));
		return ACL_DUNNO;
	}
	if (t == NULL)
		return ACL_DUNNO;
	if (r->row->kind == ACL_KIND_TRUSTED && t->peer_trusted)
		return ACL_PERMIT;
	return listed(e, r, t);
}
