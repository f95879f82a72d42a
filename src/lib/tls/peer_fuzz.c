/*
 * Fuzz: the certificates that a server shows. Whatever they are, every level comes to a verdict; nothing that no authority
 * of ours signed, that no fingerprint or record names, is who it should be; and what the log and reports get is clean text.
 */
#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/panic.h"
#include "tls/dn.h"
#include "tls/names.h"
#include "tls/policy.h"
#include "tls/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { CHAIN_MAX = 8 };

static struct tls_client_ctx *
make_ctx(void)
{
	struct tls_client_ctx_params p = { .chain = { "smtp_tls", "", "", "", "", "", "", "" },
		.roots = { .prefix = "smtp_tls", .CAfile = "", .CApath = "" } };
	struct tls_client_ctx *c = tls_client_ctx_new(&p, NULL);

	ensure(c != NULL);
	return c;
}

static void
check_text(const char *text)
{
	struct span s = span_str(text);

	for (size_t i = 0; i < s.n; i++)
		ensure((unsigned char)s.p[i] >= ' ' && s.p[i] != 127);
}

/* A decision of each kind; the fingerprint and the record are of nothing that can be found. */
static void
judge(struct tls_client_ctx *ctx, const struct tls_peer *peer, enum tls_level level)
{
	static char zeros[32];
	static struct tls_digest digest = { .n = 32 };
	struct tls_tlsa record = { 2, 1, 1, { zeros, 32 }, TLS_TLSA_USABLE };
	struct tls_name names[] = { { .name = SPAN("mx.example.org"), .strategy = "name" },
		{ .name = SPAN("example.org"), .subdomains = true, .strategy = "name" }, { .name = SPAN("192.0.2.1"), .address = true, .strategy = "name" } };
	struct tls_decision d = { .asked = level, .level = level, .must_match = tls_level_must_match(level), .need_pkix = tls_level_needs_pkix(level),
		.verifydepth = 9, .openssl_level = 1, .digest_name = "sha256", .names = names, .n_names = 2, .digests = &digest, .n_digests = 1,
		.tlsa = &record, .n_tlsa = 1, .n_tlsa_usable = 1, .tlsa_base = SPAN("mx.example.org"), .cn_fallback = true, .multi_label = true };
	struct tls_verdict v;

	ensure(tls_dane_digests_parse(SPAN("sha512 sha256"), &d.dane_digests, NULL));
	tls_verify_peer(&d, ctx, peer, 1790000000, &v);
	ensure(!d.must_match || (!v.matched && v.trust <= TLS_TRUST_UNTRUSTED && v.reason[0] != '\0'));
	check_text(v.reason);
	check_text(v.found);
	check_text(v.matched_name);
}

static void
check_names(X509 *cert)
{
	const struct tls_name any[] = { { .name = SPAN("mx.example.org") }, { .name = SPAN("example.org"), .subdomains = true },
		{ .name = SPAN("2001:db8::1"), .address = true } };
	struct arena *a = arena_new(16 << 20);
	char text[512], found[256];

	for (unsigned i = 0; i < 3; i++)
		for (unsigned how = 0; how < 4; how++)
			if (tls_cert_has_name(cert, &any[i], how, found))
				check_text(found);
	tls_cert_list_names(cert, true, text, sizeof(text));
	check_text(text);
	tls_name_text(X509_get_issuer_name(cert), NID_commonName, text, sizeof(text));
	check_text(text);
	(void)tls_dn_text(X509_get_subject_name(cert), a);
	arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const enum tls_level levels[] = { TLS_LEVEL_MAY, TLS_LEVEL_ENCRYPT, TLS_LEVEL_FINGERPRINT, TLS_LEVEL_HALF_DANE, TLS_LEVEL_DANE,
		TLS_LEVEL_VERIFY, TLS_LEVEL_SECURE };
	static struct tls_client_ctx *ctx;
	const unsigned char *at = p, *end = p + n;
	struct tls_peer peer = { .chain = sk_X509_new_null(), .cipher_bits = 256 };
	X509 *cert;

	if (ctx == NULL)
		ctx = make_ctx();
	while (at < end && sk_X509_num(peer.chain) < CHAIN_MAX && (cert = d2i_X509(NULL, &at, (long)(end - at))) != NULL)
		sk_X509_push(peer.chain, cert);
	ERR_clear_error();
	if (sk_X509_num(peer.chain) > 0) {
		peer.leaf = sk_X509_value(peer.chain, 0);
		check_names(peer.leaf);
		for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
			judge(ctx, &peer, levels[i]);
	}
	sk_X509_pop_free(peer.chain, X509_free);
	return 0;
}
