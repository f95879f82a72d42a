/* The verdict: chain, names, fingerprints, weaknesses; the most leaf-ward error is the one reported. */
#include "tls/verify.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/log.h"
#include "tls/client_private.h"
#include "tls/info.h"
#include "tls/names.h"
#include "tls/server_private.h"
#include "tls/verify_private.h"

enum { STRONG_BITS = 2048 };

const char *
tls_trust_name(enum tls_trust trust)
{
	switch (trust) {
	case TLS_TRUST_ANONYMOUS: return "Anonymous";
	case TLS_TRUST_UNTRUSTED: return "Untrusted";
	case TLS_TRUST_TRUSTED: return "Trusted";
	case TLS_TRUST_VERIFIED: return "Verified";
	}
	return "?";
}

static void
refuse(struct tls_verdict *v, const char *who, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void
refuse(struct tls_verdict *v, const char *who, const char *fmt, ...)
{
	va_list ap;

	if (v->reason[0] != '\0')
		return;
	v->reason_who = who;
	va_start(ap, fmt);
	vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
	va_end(ap);
}

/* --- the chain --- */

int
verify_note_error(int ok, X509_STORE_CTX *ctx)
{
	struct walk *w = X509_STORE_CTX_get_app_data(ctx);
	int depth = X509_STORE_CTX_get_error_depth(ctx);

	stream_trace_chain(w->trace, depth, ok, X509_STORE_CTX_get_current_cert(ctx));
	if (!ok && (w->error == X509_V_OK || depth < w->depth)) {
		w->error = X509_STORE_CTX_get_error(ctx);
		w->depth = depth;
		X509_free(w->at);
		w->at = X509_STORE_CTX_get_current_cert(ctx);
		if (w->at != NULL)
			X509_up_ref(w->at);
	}
	return 1;
}

void
verify_set_params(X509_STORE_CTX *ctx, const struct tls_decision *d, int64_t now_s, bool partial)
{
	X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);

	X509_VERIFY_PARAM_set_time(p, (time_t)now_s);
	X509_VERIFY_PARAM_set_depth(p, d->verifydepth);
	X509_VERIFY_PARAM_set_auth_level(p, d->openssl_level);
	if (partial)
		X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN);
}

void
verify_check_depth(X509_STORE_CTX *ctx, const struct tls_decision *d, struct walk *w)
{
	int issuers = sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) - 1;

	if (w->error == X509_V_OK && issuers > d->verifydepth) {
		w->error = X509_V_ERR_CERT_CHAIN_TOO_LONG;
		w->depth = d->verifydepth + 1;
	}
}

void
verify_walk(X509_STORE *store, const struct tls_decision *d, const struct tls_peer *peer, int64_t now_s, bool partial,
    struct walk *w)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	w->error = X509_V_ERR_UNSPECIFIED;
	if (ctx != NULL && X509_STORE_CTX_init(ctx, store, peer->leaf, peer->chain) == 1 &&
	    X509_STORE_CTX_set_default(ctx, "ssl_server") == 1) {
		w->error = X509_V_OK;
		verify_set_params(ctx, d, now_s, partial);
		X509_STORE_CTX_set_app_data(ctx, w);
		X509_STORE_CTX_set_verify_cb(ctx, verify_note_error);
		if (X509_verify_cert(ctx) <= 0 && w->error == X509_V_OK)
			w->error = X509_V_ERR_UNSPECIFIED;
		w->anchor_depth = sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) - 1;
		verify_check_depth(ctx, d, w);
	}
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
}

/* --- trust anchor files --- */

static bool
same_key(X509 *cert, const struct tls_anchors *a)
{
	for (size_t i = 0; i < a->n_keys; i++)
		if (EVP_PKEY_eq(X509_get0_pubkey(cert), a->keys[i]) == 1)
			return true;
	return false;
}

/* The leaf itself is an anchor: then nothing else about it matters but its name (section 5.1). */
static bool
leaf_is_anchor(X509 *leaf, const struct tls_anchors *a)
{
	for (int i = 0; i < sk_X509_num(a->certs); i++)
		if (X509_cmp(leaf, sk_X509_value(a->certs, i)) == 0)
			return true;
	return same_key(leaf, a);
}

/*
 * A bare key anchors every certificate of the chain that holds it or is signed by it; such
 * a certificate becomes an anchor of this one verification.
 */
static void
add_keyed(X509_STORE *store, const struct tls_anchors *a, const struct tls_peer *peer)
{
	int n = sk_X509_num(peer->chain);

	for (int i = 0; i < n; i++) {
		X509 *cert = sk_X509_value(peer->chain, i);
		bool anchored = X509_cmp(cert, peer->leaf) != 0 && same_key(cert, a);

		for (size_t k = 0; k < a->n_keys && !anchored; k++)
			anchored = X509_verify(cert, a->keys[k]) == 1;
		if (anchored)
			(void)X509_STORE_add_cert(store, cert);
	}
	for (size_t k = 0; n <= 0 && k < a->n_keys; k++)
		if (X509_verify(peer->leaf, a->keys[k]) == 1)
			(void)X509_STORE_add_cert(store, peer->leaf);
	ERR_clear_error();
}

static bool
walk_tafiles(const struct tls_decision *d, struct tls_client_ctx *ctx, const struct tls_peer *peer, int64_t now_s,
    struct walk *w)
{
	X509_STORE *store = X509_STORE_new();
	bool direct = false, ok = store != NULL;

	for (size_t i = 0; ok && i < d->n_tafiles; i++) {
		const struct tls_anchors *a = tls_client_anchors(ctx, d->tafiles[i].path, NULL);

		ok = a != NULL;
		for (int k = 0; ok && k < sk_X509_num(a->certs); k++)
			(void)X509_STORE_add_cert(store, sk_X509_value(a->certs, k));
		if (ok)
			add_keyed(store, a, peer);
		direct = direct || (ok && leaf_is_anchor(peer->leaf, a));
	}
	w->error = direct ? X509_V_OK : X509_V_ERR_UNSPECIFIED;
	if (ok && !direct)
		verify_walk(store, d, peer, now_s, true, w);
	X509_STORE_free(store);
	return ok;
}

static void
issuer_text(const struct walk *w, X509 *leaf, char out[256])
{
	X509 *cert = w->at != NULL ? w->at : leaf;

	X509_NAME_oneline(X509_get_issuer_name(cert), out, 256);
}

static void
explain_chain(struct tls_verdict *v, const struct tls_decision *d, const struct walk *w, X509 *leaf)
{
	const char *who = w->depth > 0 ? "CA" : "server";
	char issuer[256];

	switch (w->error) {
	case X509_V_ERR_CERT_UNTRUSTED:
		refuse(v, "", "not trusted by local or TLSA policy");
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		refuse(v, "", "self-signed certificate");
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		issuer_text(w, leaf, issuer);
		refuse(v, "", "untrusted issuer %.*s", SPAN_ARG(log_esc(span_str(issuer))));
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
		refuse(v, who, "certificate not yet valid");
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
		v->expired = true;
		refuse(v, who, "certificate has expired");
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		refuse(v, "", "not designated for use as a %s certificate", who);
		break;
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
		refuse(v, "", "certificate chain longer than limit(%d)", d->verifydepth);
		break;
	default:
		refuse(v, who, "num=%d:%s", w->error, X509_verify_cert_error_string(w->error));
		break;
	}
}

static void
check_chain(struct tls_verdict *v, const struct tls_decision *d, struct tls_client_ctx *ctx,
    const struct tls_peer *peer, int64_t now_s)
{
	struct walk w = { .trace = peer->trace };

	if (tls_level_is_dane(d->level))
		verify_dane(v, d, ctx, peer, now_s, &w, &v->dane_usage);
	else if (d->n_rootca > 0)
		verify_rootca(v, d, ctx, peer, now_s, &w);
	else if (d->n_tafiles > 0)
		v->by_tafile = walk_tafiles(d, ctx, peer, now_s, &w) && w.error == X509_V_OK;
	else
		verify_walk(ctx->roots, d, peer, now_s, false, &w);
	v->chain_ok = w.error == X509_V_OK;
	v->untrusted = !v->chain_ok;
	v->anchor_depth = w.anchor_depth;
	v->error = w.error;
	v->depth = w.depth;
	if (!v->chain_ok)
		explain_chain(v, d, &w, peer->leaf);
	X509_free(w.at);
}

/* --- names and fingerprints --- */

/* When an address is wanted it must be there, and one of the names as well when there are any. */
static bool
names_match(struct tls_verdict *v, const struct tls_decision *d, X509 *leaf)
{
	/* for usage 2 the CN counts where there is no DNS name (RFC 7672 section 3.2.3) */
	unsigned how = (d->cn_fallback || v->dane_usage == 2 ? TLS_NAME_CN : 0u) |
	    (d->multi_label && !tls_level_is_dane(d->level) ? TLS_NAME_MULTI_LABEL : 0u);
	bool address_wanted = false, address = false, name_wanted = false, name = false;

	for (size_t i = 0; i < d->n_names; i++) {
		const struct tls_name *n = &d->names[i];

		if (n->address) {
			address_wanted = true;
			address = address || tls_cert_has_name(leaf, n, 0, v->matched_name);
		} else {
			name_wanted = true;
			name = name || tls_cert_has_name(leaf, n, how, v->matched_name);
		}
	}
	return (address_wanted || name_wanted) && address == address_wanted && name == name_wanted;
}

static bool
check_names(struct tls_verdict *v, const struct tls_decision *d, X509 *leaf)
{
	tls_cert_list_names(leaf, d->cn_fallback || v->dane_usage == 2, v->found, sizeof(v->found));
	tls_names_wanted(d, v->wanted, sizeof(v->wanted));
	if (names_match(v, d, leaf))
		return true;
	v->matched_name[0] = '\0';
	v->host_mismatch = true;
	if (v->error == X509_V_OK)
		v->error = X509_V_ERR_HOSTNAME_MISMATCH;
	refuse(v, "server", "num=%d:%s (the chain is trusted; certificate names: %s; wanted: %s)",
	    X509_V_ERR_HOSTNAME_MISMATCH, X509_verify_cert_error_string(X509_V_ERR_HOSTNAME_MISMATCH), v->found,
	    v->wanted);
	return false;
}

bool
verify_is_pinned(const struct tls_decision *d, const struct tls_digest *have)
{
	for (size_t i = 0; i < d->n_digests; i++)
		if (d->digests[i].n == have->n && memcmp(d->digests[i].bytes, have->bytes, have->n) == 0)
			return true;
	return false;
}

/* Nothing but the digest counts: not names, not dates, not the chain (section 6). */
static bool
check_fingerprint(struct tls_verdict *v, const struct tls_decision *d, X509 *leaf)
{
	struct arena *a = arena_new(1 << 20);
	struct tls_digest have;
	bool ok = tls_cert_digest(leaf, d->digest_name, &have) && verify_is_pinned(d, &have);

	if (!ok)
		ok = tls_pkey_digest(leaf, d->digest_name, &have) && verify_is_pinned(d, &have);
	if (ok)
		snprintf(v->matched_name, sizeof(v->matched_name), "%.*s", SPAN_ARG(tls_digest_text(&have, a)));
	arena_free(&a);
	if (!ok) {
		v->error = X509_V_ERR_CERT_UNTRUSTED;
		v->untrusted = true;
		refuse(v, "", "not trusted by local or TLSA policy");
	}
	return ok;
}

/* --- weaknesses that levels above `may` refuse (20.12, 20.19) --- */

static void
check_weakness(struct tls_verdict *v, const struct tls_decision *d, const struct tls_peer *peer)
{
	EVP_PKEY *key = peer->leaf != NULL ? X509_get0_pubkey(peer->leaf) : peer->raw_key;
	bool rsa = key != NULL && (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ||
	    EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA_PSS);

	if (d->level <= TLS_LEVEL_MAY)
		return;
	v->weak = true;
	if (peer->cipher_bits == 0)
		refuse(v, "", "the cipher does not encrypt");
	else if (rsa && EVP_PKEY_get_bits(key) < STRONG_BITS && (d->weak & TLS_WEAK_RSA1024) == 0)
		refuse(v, "", "RSA key of %d bits is too short", EVP_PKEY_get_bits(key));
	else if (peer->dh_bits > 0 && peer->dh_bits < STRONG_BITS && (d->weak & TLS_WEAK_DH1024) == 0)
		refuse(v, "", "DH group of %d bits is too short", peer->dh_bits);
	else
		v->weak = false;
}

static bool
check_identity(struct tls_verdict *v, const struct tls_decision *d, const struct tls_peer *peer)
{
	if (d->policy_failure) {
		v->error = X509_V_ERR_UNSPECIFIED;
		v->reason[0] = '\0';
		refuse(v, "", "external policy failure (%.*s)", SPAN_ARG(d->policy_failure_type));
		return false;
	}
	if (d->level == TLS_LEVEL_FINGERPRINT)
		return check_fingerprint(v, d, peer->leaf);
	if (tls_level_is_dane(d->level) && v->dane_usage == 3)
		return v->chain_ok;     /* names and dates do not matter (RFC 7672 section 3.2.1) */
	if (d->need_pkix || tls_level_is_dane(d->level))
		return v->chain_ok && check_names(v, d, peer->leaf);
	refuse(v, "", "not trusted by local or TLSA policy");
	return false;
}

static enum tls_trust
trust_of(const struct tls_verdict *v, const struct tls_decision *d, const struct tls_peer *peer)
{
	if (peer->leaf == NULL)
		return TLS_TRUST_ANONYMOUS;
	if (peer->cipher_bits == 0)
		return TLS_TRUST_UNTRUSTED;
	if (d->must_match && v->matched) /* who an unproven MX record names is not verified (RFC 7672 section 2.2.1) */
		return d->level == TLS_LEVEL_HALF_DANE ? TLS_TRUST_TRUSTED : TLS_TRUST_VERIFIED;
	if (d->must_match)
		return TLS_TRUST_UNTRUSTED;
	return v->chain_ok ? TLS_TRUST_TRUSTED : TLS_TRUST_UNTRUSTED;
}

void
tls_verify_peer(const struct tls_decision *d, struct tls_client_ctx *ctx, const struct tls_peer *peer, int64_t now_s,
    struct tls_verdict *v_r)
{
	memset(v_r, 0, sizeof(*v_r));
	v_r->reason_who = "";
	v_r->verified_s = now_s;
	check_weakness(v_r, d, peer);
	if (peer->leaf == NULL && peer->raw_key != NULL) {
		verify_raw_key(v_r, d, peer);
		return;
	}
	if (peer->leaf == NULL) {
		v_r->matched = !d->must_match && !v_r->weak;
		if (d->must_match)
			refuse(v_r, "", "the server showed no certificate");
		return;
	}
	if (d->level != TLS_LEVEL_FINGERPRINT)
		check_chain(v_r, d, ctx, peer, now_s);
	v_r->matched = !v_r->weak && (!d->must_match || check_identity(v_r, d, peer));
	v_r->trust = trust_of(v_r, d, peer);
}
