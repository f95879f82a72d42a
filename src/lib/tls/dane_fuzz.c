/*
 * Fuzz: TLSA records of any content, at both levels, with and without MX, through decision and verdict. No answer is
 * never no records, records that nobody can use still force encryption, and nothing that was not asked for matches.
 */
#include "tls/dane.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/panic.h"
#include "base/rd.h"
#include "tls/policy.h"
#include "tls/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { RECORDS_MAX = 120 };

static X509 *
make_cert(void)
{
	EVP_PKEY *key = EVP_EC_gen("prime256v1");
	X509 *cert = X509_new();

	ensure(key != NULL && cert != NULL);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -1000);
	X509_gmtime_adj(X509_getm_notAfter(cert), 100000);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)"mx.example.org", -1,
	    -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	ensure(X509_sign(cert, key, EVP_sha256()) > 0);
	EVP_PKEY_free(key);
	return cert;
}

static struct tls_client_ctx *
make_ctx(void)
{
	struct tls_client_ctx_params p = { .chain = { "smtp_tls", "", "", "", "", "", "", "" },
		.roots = { .prefix = "smtp_tls", .CAfile = "", .CApath = "" } };

	return tls_client_ctx_new(&p, NULL);
}

/* The fuzzer sees what is compared: it can learn the digests of the certificate that it never was given. */
static bool
names_it(const struct tls_tlsa *r, const struct tls_decision *d, X509 *cert)
{
	unsigned char *der = NULL, md[EVP_MAX_MD_SIZE];
	int n = r->selector == 0 ? i2d_X509(cert, &der) : i2d_PUBKEY(X509_get0_pubkey(cert), &der);
	bool same = r->matching == 0 && span_eq(r->data, span_of(der, (size_t)n));
	unsigned bytes;

	for (size_t i = 0; i < d->dane_digests.count; i++)
		if (d->dane_digests.list[i].matching == r->matching &&
		    EVP_Digest(der, (size_t)n, md, &bytes, EVP_get_digestbyname(d->dane_digests.list[i].name), NULL) == 1)
			same |= span_eq(r->data, span_of(md, bytes));
	OPENSSL_free(der);
	return same && r->fate == TLS_TLSA_USABLE;
}

static bool
any_names_it(const struct tls_decision *d, X509 *cert)
{
	for (size_t i = 0; i < d->n_tlsa; i++)
		if (names_it(&d->tlsa[i], d, cert))
			return true;
	return false;
}

static void
verify(const struct tls_decision *d)
{
	static X509 *cert;
	static struct tls_client_ctx *ctx;
	struct tls_peer peer = { .cipher_bits = 256 };
	struct tls_verdict v;

	if (cert == NULL) {
		cert = make_cert();
		ctx = make_ctx();
	}
	ensure(ctx != NULL);
	peer.leaf = cert;
	tls_verify_peer(d, ctx, &peer, 1790000000, &v);
	ensure(!tls_level_must_match(d->level) || !v.matched || any_names_it(d, cert));
}

static void
check(const struct tls_facts *f, const struct tls_decision *d, bool ok)
{
	bool insecure_mx = f->from_mx && !f->mx_secure;

	ensure(ok == !d->invalid);
	if (!ok) {
		ensure(d->fault.dsn[0] == '4');
		return;
	}
	ensure(f->dane->state != TLS_DANE_FAILED);
	ensure(d->level <= TLS_LEVEL_MAY || (d->on_no_starttls == TLS_NEXT_DEFER && d->on_mismatch == TLS_NEXT_DEFER));
	ensure(d->asked != TLS_LEVEL_DANE_ONLY || d->level == TLS_LEVEL_DANE_ONLY);
	ensure(f->dane->state != TLS_DANE_FOUND || d->level >= TLS_LEVEL_ENCRYPT);
	ensure(d->level < TLS_LEVEL_HALF_DANE || d->n_tlsa_usable > 0);
	ensure(!insecure_mx || d->level <= TLS_LEVEL_HALF_DANE);
	verify(d);
}

static size_t
read_records(struct rd *r, struct tls_tlsa *list)
{
	size_t n = 0;

	while (n < RECORDS_MAX && r->p < r->end) {
		struct tls_tlsa t = { .usage = rd_u8(r), .selector = rd_u8(r), .matching = rd_u8(r) };
		size_t bytes = rd_be16(r);

		bytes = bytes > (size_t)(r->end - r->p) ? (size_t)(r->end - r->p) : bytes;
		t.data = rd_bytes(r, bytes);
		if (r->bad)
			break;
		list[n++] = t;
	}
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const digests[] = { "sha512 sha256", "sha256", "sha384=3 sha512", "" };
	struct tls_params params = { .prefix = "smtp", .protocols = ">=TLSv1", .mandatory_protocols = ">=TLSv1.2",
		.ciphers = "medium", .mandatory_ciphers = "medium", .exclude_ciphers = "", .mandatory_exclude_ciphers = "",
		.mandatory_weak = "", .verify_cert_match = "hostname", .secure_cert_match = "nexthop", .fingerprint_cert_match = "",
		.fingerprint_digest = "sha256", .trust_anchor_file = "", .servername = "", .high_cipherlist = "HIGH",
		.medium_cipherlist = "MEDIUM", .null_cipherlist = "eNULL", .eecdh_auto_curves = "X25519", .ffdhe_auto_groups = "",
		.verifydepth = 9, .dane_insecure_mx_policy = "dane" };
	struct rd r = rd_init(span_of(p, n));
	uint8_t how = rd_u8(&r);
	struct tls_tlsa list[RECORDS_MAX];
	struct tls_dane_facts dane = { .base = SPAN("mx.example.org"), .qname = SPAN("_25._tcp.mx.example.org"), .records = list,
		.state = (how >> 3 & 3) == 0 ? TLS_DANE_FAILED : TLS_DANE_FOUND };
	struct tls_facts f = { .params = &params, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"), .port = 25,
		.from_mx = (how & 2) != 0, .mx_secure = (how & 4) != 0, .dane = &dane };
	struct arena *a = arena_new(64 << 20);
	struct tls_decision d;
	bool ok;

	params.security_level = (how & 1) != 0 ? "dane-only" : "dane";
	params.dane_digests = digests[how >> 5 & 3];
	dane.count = read_records(&r, list);
	ok = tls_policy_decide(&f, a, &d);
	check(&f, &d, ok);
	for (size_t i = 0; i < d.n_tlsa; i++)
		ensure(tls_tlsa_text(&d.tlsa[i], a).n < 256);
	arena_free(&a);
	return 0;
}
