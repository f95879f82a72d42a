/*
 * rootca=<digest>: the chain must contain a certificate, or a key, with this fingerprint. Where it stands in the
 * chain that was sent it is an anchor, known to us or not; an authority of our own (CAfile, CApath) may have it, too.
 */
#include <openssl/err.h>
#include <stdio.h>

#include "tls/client_private.h"
#include "tls/info.h"
#include "tls/verify_private.h"

static const struct tls_digest *
find(const struct tls_decision *d, const struct tls_digest *have)
{
	for (size_t i = 0; i < d->n_rootca; i++)
		if (d->rootca[i].n == have->n && memcmp(d->rootca[i].bytes, have->bytes, have->n) == 0)
			return &d->rootca[i];
	return NULL;
}

static const struct tls_digest *
listed(const struct tls_decision *d, X509 *cert)
{
	const struct tls_digest *hit = NULL;
	struct tls_digest have;

	if (tls_cert_digest(cert, d->digest_name, &have))
		hit = find(d, &have);
	if (hit == NULL && tls_pkey_digest(cert, d->digest_name, &have))
		hit = find(d, &have);
	return hit;
}

static void
note(struct tls_verdict *v, const struct tls_digest *hit)
{
	struct arena *a = arena_new(1 << 16);

	snprintf(v->anchor, sizeof(v->anchor), "%.*s", SPAN_ARG(tls_digest_text(hit, a)));
	arena_free(&a);
}

/* Anchors out of what was sent; the first hit is kept for the log. */
static const struct tls_digest *
collect(X509_STORE *store, const struct tls_decision *d, const struct tls_peer *peer)
{
	const struct tls_digest *first = listed(d, peer->leaf);

	if (first != NULL)
		(void)X509_STORE_add_cert(store, peer->leaf);
	for (int i = 0; i < sk_X509_num(peer->chain); i++) {
		const struct tls_digest *hit = listed(d, sk_X509_value(peer->chain, i));

		if (hit == NULL)
			continue;
		(void)X509_STORE_add_cert(store, sk_X509_value(peer->chain, i));
		first = first != NULL ? first : hit;
	}
	return first;
}

/* A chain to one of our own authorities: does it contain what is asked for? */
static const struct tls_digest *
in_own_chain(const struct tls_decision *d, X509_STORE *roots, const struct tls_peer *peer, int64_t now_s, struct walk *w)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	const struct tls_digest *hit = NULL;

	w->error = X509_V_ERR_UNSPECIFIED;
	if (ctx != NULL && X509_STORE_CTX_init(ctx, roots, peer->leaf, peer->chain) == 1 &&
	    X509_STORE_CTX_set_default(ctx, "ssl_server") == 1) {
		w->error = X509_V_OK;
		verify_set_params(ctx, d, now_s, false);
		X509_STORE_CTX_set_app_data(ctx, w);
		X509_STORE_CTX_set_verify_cb(ctx, verify_note_error);
		if (X509_verify_cert(ctx) <= 0 && w->error == X509_V_OK)
			w->error = X509_V_ERR_UNSPECIFIED;
		verify_check_depth(ctx, d, w);
		for (int i = 0; hit == NULL && i < sk_X509_num(X509_STORE_CTX_get0_chain(ctx)); i++)
			hit = listed(d, sk_X509_value(X509_STORE_CTX_get0_chain(ctx), i));
	}
	X509_STORE_CTX_free(ctx);
	if (hit == NULL && w->error == X509_V_OK)
		w->error = X509_V_ERR_CERT_UNTRUSTED;
	return hit;
}

void
verify_rootca(struct tls_verdict *v, const struct tls_decision *d, struct tls_client_ctx *ctx,
    const struct tls_peer *peer, int64_t now_s, struct walk *w)
{
	X509_STORE *store = X509_STORE_new();
	const struct tls_digest *hit = store != NULL ? collect(store, d, peer) : NULL;

	if (hit != NULL)
		verify_walk(store, d, peer, now_s, true, w);
	else
		hit = in_own_chain(d, ctx->roots, peer, now_s, w);
	if (hit != NULL && w->error == X509_V_OK)
		note(v, hit);
	X509_STORE_free(store);
	ERR_clear_error();
}
