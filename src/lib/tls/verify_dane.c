/*
 * DANE (RFC 6698, 7671, 7672): the library compares, with its SSL_dane machinery, in a scratch session that
 * holds the decision's records; the chain is the one that the real session showed (doc/design/030).
 */
#include "tls/dane.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "base/log.h"
#include "tls/client_private.h"
#include "tls/verify_private.h"

/* A context that knows the decision's matching types; kept for the next time. */
static SSL_CTX *
scratch_ctx(struct tls_client_ctx *c, const struct tls_decision *d)
{
	const struct tls_dane_digests *list = &d->dane_digests;

	if (c->dane == NULL) {
		c->dane = SSL_CTX_new(TLS_client_method());
		if (c->dane == NULL || SSL_CTX_dane_enable(c->dane) != 1)
			return NULL;
	}
	for (size_t i = 0; i < list->count; i++)
		if (SSL_CTX_dane_mtype_set(c->dane, EVP_get_digestbyname(list->list[i].name), list->list[i].matching,
		    (uint8_t)(list->count - i)) != 1)
			return NULL;
	return c->dane;
}

/* The session with the records in it; NULL when the library takes none of them. */
static SSL *
scratch_session(struct tls_client_ctx *c, const struct tls_decision *d)
{
	SSL_CTX *ctx = scratch_ctx(c, d);
	SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
	char base[256];
	int added = 0;

	snprintf(base, sizeof(base), "%.*s", SPAN_ARG(span_slice(d->tlsa_base, 0, 255)));
	if (ssl == NULL || SSL_dane_enable(ssl, base) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	for (size_t i = 0; i < d->n_tlsa; i++) {
		const struct tls_tlsa *r = &d->tlsa[i];

		if (r->fate == TLS_TLSA_USABLE)
			added += SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->matching,
			    (const unsigned char *)r->data.p, r->data.n) == 1;
	}
	if (added > 0)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

/* "EE certificate at depth 0: 3 1 1 0A1B..." */
static void
note_match(struct tls_verdict *v, SSL *ssl, uint8_t *usage_r)
{
	struct tls_tlsa r = { 0 };
	const unsigned char *data;
	struct arena *a;
	EVP_PKEY *key = NULL;
	size_t n;
	int depth;

	SSL_set_verify_result(ssl, X509_V_OK);
	depth = SSL_get0_dane_authority(ssl, NULL, &key);
	if (depth < 0 || SSL_get0_dane_tlsa(ssl, &r.usage, &r.selector, &r.matching, &data, &n) < 0)
		return;
	r.data = span_of(data, n);
	*usage_r = r.usage;
	a = arena_new(1 << 16);
	snprintf(v->dane_match, sizeof(v->dane_match), "%s at depth %d: %.*s",
	    key != NULL ? "TA public key verified certificate" : depth > 0 ? "TA certificate" : "EE certificate", depth,
	    SPAN_ARG(tls_tlsa_text(&r, a)));
	arena_free(&a);
}

static void
walk_with(SSL *ssl, X509_STORE *none, const struct tls_decision *d, const struct tls_peer *peer, int64_t now_s,
    struct walk *w)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	w->error = X509_V_ERR_UNSPECIFIED;
	if (ctx != NULL && X509_STORE_CTX_init(ctx, none, peer->leaf, peer->chain) == 1 &&
	    X509_STORE_CTX_set_default(ctx, "ssl_server") == 1) {
		w->error = X509_V_OK;
		verify_set_params(ctx, d, now_s, false);
		X509_STORE_CTX_set0_dane(ctx, SSL_get0_dane(ssl));
		X509_STORE_CTX_set_app_data(ctx, w);
		X509_STORE_CTX_set_verify_cb(ctx, verify_note_error);
		if (X509_verify_cert(ctx) <= 0 && w->error == X509_V_OK)
			w->error = X509_V_ERR_UNSPECIFIED;
		verify_check_depth(ctx, d, w);
	}
	X509_STORE_CTX_free(ctx);
}

void
verify_dane(struct tls_verdict *v, const struct tls_decision *d, struct tls_client_ctx *c, const struct tls_peer *peer,
    int64_t now_s, struct walk *w, uint8_t *usage_r)
{
	SSL *ssl = scratch_session(c, d);
	X509_STORE *none = X509_STORE_new();    /* usages 2 and 3 need no authority of ours */

	*usage_r = 0;
	w->error = X509_V_ERR_DANE_NO_MATCH;
	if (ssl != NULL && none != NULL)
		walk_with(ssl, none, d, peer, now_s, w);
	if (ssl != NULL && w->error == X509_V_OK)
		note_match(v, ssl, usage_r);
	if (w->error == X509_V_OK && *usage_r == 0)
		w->error = X509_V_ERR_DANE_NO_MATCH;
	X509_STORE_free(none);
	SSL_free(ssl);
	ERR_clear_error();
}

/* SubjectPublicKeyInfo against the records "3 1 x". */
static bool
key_matches(const struct tls_tlsa *r, const struct tls_dane_digests *digests, struct span der)
{
	uint8_t have[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (r->fate != TLS_TLSA_USABLE || r->usage != 3 || r->selector != 1)
		return false;
	if (r->matching == 0)
		return span_eq(r->data, der);
	for (size_t i = 0; i < digests->count; i++)
		if (digests->list[i].matching == r->matching)
			return EVP_Digest(der.p, der.n, have, &n, EVP_get_digestbyname(digests->list[i].name), NULL) == 1 &&
			    span_eq(r->data, span_of(have, n));
	return false;
}

bool
tls_dane_key_matches(const struct tls_decision *d, EVP_PKEY *key, char text_r[256])
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	bool ok = false;

	text_r[0] = '\0';
	for (size_t i = 0; n > 0 && !ok && i < d->n_tlsa; i++) {
		struct arena *a;

		ok = key_matches(&d->tlsa[i], &d->dane_digests, span_of(der, (size_t)n));
		if (!ok)
			continue;
		a = arena_new(1 << 16);
		snprintf(text_r, 256, "%.*s", SPAN_ARG(tls_tlsa_text(&d->tlsa[i], a)));
		arena_free(&a);
	}
	OPENSSL_free(der);
	ERR_clear_error();
	return ok;
}
