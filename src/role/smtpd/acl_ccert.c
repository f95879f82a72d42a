/*
 * Access control by client certificate (tls-server.md section 3.2): listed or trusted ones are permitted, and any access
 * table can be asked by fingerprint, or, for certificates that are trusted, by name.
 */
#include <openssl/x509v3.h>

#include "role/smtpd/acl_private.h"
#include "tls/client_policy.h"
#include "tls/dn.h"
#include "tls/info.h"

enum { EMAIL_MAX = 320 };       /* 64 bytes, "@" and 255 */

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

/* One walk through the keys of one client. */
struct look {
	struct acl_eval *e;
	const struct acl_rule *r;
	const struct tls_info *t;
	struct span value;      /* of the entry that decided */
};

/* One key: true when it decided (`*v_r`). */
static bool
try_key(struct look *k, struct span key, enum acl_verdict *v_r)
{
	struct fault why = { 0 };
	struct map_hit hit;
	enum map_result got;

	k->value = SPAN("");
	if (key.n == 0)
		return false;
	got = maps_find(k->r->maps, key, k->e->asks, k->e->a, &hit, &why);
	if (acl_stopped(k->e, got, k->r->row->subject, &why, v_r))
		return true;
	if (got == MAP_ABSENT)
		return false;
	k->value = hit.value;
	*v_r = acl_action(k->e, k->r, key, hit.value);
	return *v_r != ACL_DUNNO;
}

/* Nor is one that is written like a distinguished name. */
static bool
try_name(struct look *k, struct span name, enum acl_verdict *v_r)
{
	return !like_fingerprint(name) && !span_starts(name, SPAN("/")) && try_key(k, name, v_r);
}

static bool
try_emails(struct look *k, X509 *cert, enum acl_verdict *v_r)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	unsigned tried = 0;
	bool done = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && tried < TLS_INFO_NAMES && !done; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		struct span name;

		if (g->type != GEN_EMAIL)
			continue;
		name = span_of(ASN1_STRING_get0_data(g->d.rfc822Name), (size_t)ASN1_STRING_length(g->d.rfc822Name));
		if (name.n > EMAIL_MAX || span_index(name, '\0') >= 0)
			continue;
		tried++;
		done = try_name(k, arena_dup(k->e->a, name), v_r);
	}
	GENERAL_NAMES_free(names);
	return done;
}

/* Names of the certificate itself, "/C=../O=.." (tls/dn.h). */
static bool
try_cert(struct look *k, enum acl_ccert_key kind, enum acl_verdict *v_r)
{
	X509 *cert = k->e->f->tls_shown != NULL ? k->e->f->tls_shown->cert : NULL;

	if (cert == NULL)
		return false;
	if (kind == ACL_CCERT_SAN_EMAIL)
		return try_emails(k, cert, v_r);
	return try_key(k, tls_dn_text(kind == ACL_CCERT_SUBJECT_DN ? X509_get_subject_name(cert) : X509_get_issuer_name(cert), k->e->a), v_r);
}

static bool
try_kind(struct look *k, enum acl_ccert_key kind, enum acl_verdict *v_r)
{
	const struct tls_info *t = k->t;

	if (kind == ACL_CCERT_CERT_FP)
		return try_key(k, t->cert_fp, v_r);
	if (kind == ACL_CCERT_PKEY_FP)
		return try_key(k, t->pkey_fp, v_r);
	if (!t->peer_trusted)
		return false;
	if (kind == ACL_CCERT_SUBJECT_CN)
		return try_name(k, t->peer_cn, v_r);
	if (kind == ACL_CCERT_ISSUER_CN)
		return try_name(k, t->issuer_cn, v_r);
	if (kind != ACL_CCERT_SAN_DNS)
		return try_cert(k, kind, v_r);
	for (size_t i = 0; i < t->n_dns_names; i++)
		if (try_name(k, t->dns_names[i], v_r))
			return true;
	return false;
}

/* --- a client that will show its key alone one day (smtpd_tls_enable_rpk) --- */

/* What was decided hangs on a certificate, and the next release of the client's software may not send one any more. */
static void
warn_fragile(struct acl_eval *e, const struct acl_rule *r, const struct tls_info *t, const char *now, const char *then)
{
	acl_note(e, ACL_ACT_LOG_WARNING, SPAN(""), arena_printf(e->a, "Fragile access policy: %s%s%.*s: the certificate of this client "
	    "(fingerprint %.*s) %s, its key (fingerprint %.*s) %s; with smtpd_tls_enable_rpk = yes the client may show its key alone",
	    r->row->word, r->arg.n > 0 ? " " : "", SPAN_ARG(span_slice(r->arg, 0, 200)), SPAN_ARG(t->cert_fp), now, SPAN_ARG(t->pkey_fp), then));
}

static bool
names_key(const struct acl_ccert_order *o)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->key[i] == ACL_CCERT_PKEY_FP)
			return true;
	return false;
}

/* The entry of the key, when it is another one than that which decided. Its action is not carried out. MAP_WAIT or not. */
static enum map_result
compare_key(const struct look *k)
{
	struct acl_eval *e = k->e;
	struct map_hit hit = { .value = SPAN("") };
	struct fault why = { 0 };
	enum map_result got = MAP_ABSENT;

	if (names_key(k->r->order))
		got = maps_find(k->r->maps, k->t->pkey_fp, e->asks, e->a, &hit, &why);
	if (got == MAP_ABSENT || (got == MAP_FOUND && !span_eq_ci(span_trim(hit.value), span_trim(k->value))))
		warn_fragile(e, k->r, k->t, arena_cstr(e->a, arena_printf(e->a, "gets \"%.*s\"", SPAN_ARG(span_slice(k->value, 0, 200)))),
		    got == MAP_ABSENT ? "is not looked up or not there" :
		    arena_cstr(e->a, arena_printf(e->a, "would get \"%.*s\"", SPAN_ARG(span_slice(hit.value, 0, 200)))));
	return got;
}

enum acl_verdict
acl_ccert_access(struct acl_eval *e, const struct acl_rule *r)
{
	struct look k = { .e = e, .r = r, .t = credential(e) };
	enum acl_verdict v = ACL_DUNNO;

	if (k.t == NULL)
		return ACL_DUNNO;
	for (size_t i = 0; i < r->order->n; i++) {
		enum acl_ccert_key kind = (enum acl_ccert_key)r->order->key[i];

		if (!try_kind(&k, kind, &v))
			continue;
		if (kind != ACL_CCERT_PKEY_FP && k.t->key_would_do && k.value.n > 0 && compare_key(&k) == MAP_WAIT)
			return ACL_WAIT;
		return v;
	}
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
		if (got != MAP_FOUND)
			continue;
		if (i > 0 && t->key_would_do)
			warn_fragile(e, r, t, "is listed", "is not");
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
