/* Verdicts over real certificates: chains, names, fingerprints, anchors, weaknesses. */
#include "tls/verify.h"

#include "kit/certs.h"
#include "kit/kit.h"
#include "tls/info.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

/* A small world: two roots, an intermediate. */
static struct kit_cert root, other_root, ca;

static int
make_world(void **state)
{
	(void)state;
	root = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true });
	other_root = kit_cert((struct kit_cert_spec){ .cn = "Other Root", .ca = true });
	ca = kit_cert((struct kit_cert_spec){ .cn = "Issuing CA", .ca = true, .issuer = &root });
	return 0;
}

static int
end_world(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&other_root);
	kit_cert_free(&ca);
	return 0;
}

static struct tls_client_ctx *
context(const char *CAfile)
{
	struct tls_client_ctx_params p = {
		.chain = { "smtp_tls", "", "", "", "", "", "", "" },
		.roots = { .prefix = "smtp_tls", .CAfile = CAfile, .CApath = "" },
	};
	struct tls_client_ctx *c = tls_client_ctx_new(&p, NULL);

	assert_non_null(c);
	return c;
}

static const char *
root_file(const struct kit_cert *r)
{
	return kit_pem_file("roots.pem", "c", (const struct kit_cert *const[]){ r });
}

/* A decision at `level` with names given as "a.example .b.example 192.0.2.1". */
static void
decision(struct tls_decision *d, enum tls_level level, struct tls_name *names, const char *text)
{
	struct span rest = span_str(text), one;

	memset(d, 0, sizeof(*d));
	d->level = level;
	d->must_match = tls_level_must_match(level);
	d->need_pkix = tls_level_needs_pkix(level);
	d->verifydepth = 9;
	d->openssl_level = d->must_match ? 1 : 0;
	d->digest_name = "sha256";
	d->names = names;
	while (span_token(&rest, " ", &one)) {
		bool sub = one.p[0] == '.';

		names[d->n_names++] = (struct tls_name){ .name = sub ? span_from(one, 1) : one, .subdomains = sub,
			.address = ascii_isdigit(one.p[0]) };
	}
}

static void
verify(const struct tls_decision *d, struct tls_client_ctx *c, const struct kit_cert *leaf,
    const struct kit_cert *const *sent, int64_t now_s, struct tls_verdict *v)
{
	struct tls_peer peer = { .leaf = leaf != NULL ? leaf->cert : NULL, .chain = sk_X509_new_null(),
		.cipher_bits = 256 };

	if (leaf != NULL)
		sk_X509_push(peer.chain, leaf->cert);
	for (; sent != NULL && *sent != NULL; sent++)
		sk_X509_push(peer.chain, (*sent)->cert);
	tls_verify_peer(d, c, &peer, now_s, v);
	sk_X509_free(peer.chain);
}

static void
test_chains(void **state)
{
	static const struct {
		const char *name;
		enum tls_level level;
		bool trusted_root, send_ca, self_signed;
		int64_t from_s, to_s;
		const char *eku;
		enum tls_trust trust;
		bool matched;
		const char *who, *reason;
	} rows[] = {
		{ "verify with all in order", TLS_LEVEL_VERIFY, true, true, false, 0, 0, NULL,
		    TLS_TRUST_VERIFIED, true, "", "" },
		{ "at may a good chain is Trusted at best", TLS_LEVEL_MAY, true, true, false, 0, 0, NULL,
		    TLS_TRUST_TRUSTED, true, "", "" },
		{ "at encrypt too", TLS_LEVEL_ENCRYPT, true, true, false, 0, 0, "serverAuth",
		    TLS_TRUST_TRUSTED, true, "", "" },
		{ "an unknown root", TLS_LEVEL_VERIFY, false, true, false, 0, 0, NULL,
		    TLS_TRUST_UNTRUSTED, false, "", "untrusted issuer /CN=Root" },
		{ "an unknown root at may", TLS_LEVEL_MAY, false, true, false, 0, 0, NULL,
		    TLS_TRUST_UNTRUSTED, true, "", "untrusted issuer /CN=Root" },
		{ "a missing intermediate", TLS_LEVEL_SECURE, true, false, false, 0, 0, NULL,
		    TLS_TRUST_UNTRUSTED, false, "", "untrusted issuer /CN=Issuing CA" },
		{ "self-signed", TLS_LEVEL_VERIFY, true, false, true, 0, 0, NULL,
		    TLS_TRUST_UNTRUSTED, false, "", "self-signed certificate" },
		{ "expired", TLS_LEVEL_VERIFY, true, true, false, CERTS_NOW - 2000, CERTS_NOW - 1000, NULL,
		    TLS_TRUST_UNTRUSTED, false, "server", "certificate has expired" },
		{ "not yet valid", TLS_LEVEL_VERIFY, true, true, false, CERTS_NOW + 1000, CERTS_NOW + 2000, NULL,
		    TLS_TRUST_UNTRUSTED, false, "server", "certificate not yet valid" },
		{ "made for clients", TLS_LEVEL_VERIFY, true, true, false, 0, 0, "clientAuth",
		    TLS_TRUST_UNTRUSTED, false, "", "not designated for use as a server certificate" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org",
			.issuer = rows[i].self_signed ? NULL : &ca, .from_s = rows[i].from_s, .to_s = rows[i].to_s,
			.eku = rows[i].eku });
		struct tls_client_ctx *c = context(root_file(rows[i].trusted_root ? &root : &other_root));
		const struct kit_cert *sent[] = { &ca, NULL };
		struct tls_name names[4];
		struct tls_decision d;
		struct tls_verdict v;

		decision(&d, rows[i].level, names, "mx.example.org");
		verify(&d, c, &leaf, rows[i].send_ca ? sent : NULL, CERTS_NOW, &v);
		if (v.trust != rows[i].trust || v.matched != rows[i].matched ||
		    strcmp(v.reason, rows[i].reason) != 0 || strcmp(v.reason_who, rows[i].who) != 0)
			fail_msg("%s: %s matched %d who \"%s\" reason \"%s\"", rows[i].name, tls_trust_name(v.trust),
			    v.matched, v.reason_who, v.reason);
		kit_cert_free(&leaf);
		tls_client_ctx_unref(&c);
	}
}

static void
test_names(void **state)
{
	static const struct {
		const char *name, *cn, *san, *wanted;
		bool cn_fallback, match, multi_label;
	} rows[] = {
		{ "exact", "x", "DNS:mx.example.org", "mx.example.org", false, true, false },
		{ "the case does not matter", "x", "DNS:MX.Example.ORG", "mx.example.org", false, true, false },
		{ "one of several wanted", "x", "DNS:mx.example.org", "a.example mx.example.org", false, true, false },
		{ "one of several in the certificate", "x", "DNS:a.example,DNS:mx.example.org", "mx.example.org", false,
		    true, false },
		{ "another name", "x", "DNS:mx.example.net", "mx.example.org", false, false, false },
		{ "a name below is another name", "x", "DNS:a.mx.example.org", "mx.example.org", false, false, false },
		{ "wildcard for one label", "x", "DNS:*.example.org", "mx.example.org", false, true, false },
		{ "wildcard not for two labels", "x", "DNS:*.example.org", "a.mx.example.org", false, false, false },
		/* tls_wildcard_matches_multiple_labels (spec 20.20) */
		{ "wildcard for two labels when asked for", "x", "DNS:*.example.org", "a.mx.example.org", false, true, true },
		{ "but still not for the suffix itself", "x", "DNS:*.example.org", "example.org", false, false, true },
		{ "nor in part of a label", "x", "DNS:a*.example.org", "a.mx.example.org", false, false, true },
		{ "wildcard not for the suffix itself", "x", "DNS:*.example.org", "example.org", false, false, false },
		{ "wildcard over a top-level domain never", "x", "DNS:*.org", "example.org", false, false, false },
		{ "part of a label never", "x", "DNS:m*.example.org", "mx.example.org", false, false, false },
		{ "a wildcard in the middle never", "x", "DNS:mx.*.org", "mx.example.org", false, false, false },
		{ "sub-domain", "x", "DNS:mx.example.org", ".example.org", false, true, false },
		{ "sub-domain of any depth", "x", "DNS:a.b.example.org", ".example.org", false, true, false },
		{ "sub-domain is not the domain", "x", "DNS:example.org", ".example.org", false, false, false },
		{ "sub-domain and a wildcard", "x", "DNS:*.example.org", ".example.org", false, true, false },
		{ "a longer name that ends alike is no sub-domain", "x", "DNS:badexample.org", ".example.org", false,
		    false, false },
		{ "subject CN does not count", "mx.example.org", NULL, "mx.example.org", false, false, false },
		/* tls_match_subject_cn */
		{ "subject CN counts when asked for", "mx.example.org", NULL, "mx.example.org", true, true, false },
		{ "but never beside a dNSName", "mx.example.org", "DNS:other.example", "mx.example.org", true, false, false },
		{ "an address", "x", "IP:192.0.2.1", "192.0.2.1", false, true, false },
		{ "another address", "x", "IP:192.0.2.2", "192.0.2.1", false, false, false },
		{ "an IPv6 address", "x", "IP:2001:db8::1", "2001:db8::1", false, true, false },
		{ "the CN is no address", "192.0.2.1", NULL, "192.0.2.1", true, false, false },
		{ "an address written as dNSName is no address", "x", "DNS:192.0.2.1", "192.0.2.1", false, false, false },
		{ "an address and a name: both", "x", "DNS:mx.example.org,IP:192.0.2.1", "192.0.2.1 mx.example.org",
		    false, true, false },
		{ "an address and a name: one is not enough", "x", "IP:192.0.2.1", "192.0.2.1 mx.example.org", false,
		    false, false },
		{ "an address and the name below it can never match", "x", "IP:192.0.2.1", "192.0.2.1 .192.0.2.1", false,
		    false, false },
		{ "A-labels", "x", "DNS:xn--bcher-kva.example", "xn--bcher-kva.example", false, true, false },
		{ "no usable name at all fails", "x", "DNS:mx.example.org", "", false, false, false },
	};
	struct tls_client_ctx *c;

	(void)state;
	c = context(root_file(&root));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .cn = rows[i].cn, .san = rows[i].san,
			.issuer = &root });
		struct tls_name names[4];
		struct tls_decision d;
		struct tls_verdict v;

		decision(&d, TLS_LEVEL_SECURE, names, rows[i].wanted);
		d.cn_fallback = rows[i].cn_fallback;
		d.multi_label = rows[i].multi_label;
		verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
		if (v.matched != rows[i].match || v.chain_ok != true)
			fail_msg("%s: matched %d chain %d %s", rows[i].name, v.matched, v.chain_ok, v.reason);
		assert_int_equal(v.trust, v.matched ? TLS_TRUST_VERIFIED : TLS_TRUST_UNTRUSTED);
		kit_cert_free(&leaf);
	}
	tls_client_ctx_unref(&c);
}

/* A name with a NUL in it is not the name before the NUL. */
static void
test_a_name_with_nul(void **state)
{
	struct kit_cert good = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org!.evil.example" });
	struct tls_name name = { .name = SPAN("mx.example.org") }, whole = { .name = SPAN("mx.example.org!.evil.example") };
	unsigned char *der = NULL, *at;
	const unsigned char *p;
	int n = i2d_X509(good.cert, &der);
	X509 *bad;

	(void)state;
	assert_true(n > 0);
	at = memmem(der, (size_t)n, "org!.evil", 9);
	assert_non_null(at);
	at[3] = '\0';
	p = der;
	bad = d2i_X509(NULL, &p, n);
	assert_non_null(bad);
	assert_false(tls_cert_has_name(bad, &name, TLS_NAME_CN, NULL));
	assert_false(tls_cert_has_name(bad, &whole, TLS_NAME_CN, NULL));
	X509_free(bad);
	OPENSSL_free(der);
	kit_cert_free(&good);
}

/* spec 20.18 */
static void
test_a_mismatch_says_what_was_found_and_wanted(void **state)
{
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .san = "DNS:a.example,DNS:b.example,IP:192.0.2.9,IP:2001:db8::9",
		.issuer = &root });
	struct tls_client_ctx *c = context(root_file(&root));
	struct tls_name names[4];
	struct tls_decision d;
	struct tls_verdict v;

	(void)state;
	decision(&d, TLS_LEVEL_SECURE, names, "example.org .example.org");
	verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
	assert_string_equal(v.reason_who, "server");
	assert_string_equal(v.reason, "num=62:hostname mismatch (the chain is trusted; certificate names: a.example, "
	    "b.example, 192.0.2.9, 2001:db8::9; wanted: example.org, .example.org)");
	assert_int_equal(v.error, X509_V_ERR_HOSTNAME_MISMATCH);
	assert_true(v.host_mismatch && v.chain_ok);
	assert_int_equal(v.trust, TLS_TRUST_UNTRUSTED);
	kit_cert_free(&leaf);
	tls_client_ctx_unref(&c);
}

static void
test_fingerprints(void **state)
{
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .cn = "old", .from_s = 1000, .to_s = 2000 });
	struct kit_cert stranger = kit_cert((struct kit_cert_spec){ .cn = "x" });
	struct tls_client_ctx *c = context("");
	struct arena *a = arena_new(1 << 20);
	struct tls_digest digests[2];
	struct tls_decision d;
	struct tls_verdict v;
	struct fault why;

	(void)state;
	decision(&d, TLS_LEVEL_FINGERPRINT, NULL, "");
	d.digests = digests;
	d.n_digests = 2;
	tls_cert_digest(stranger.cert, "sha256", &digests[0]);
	tls_cert_digest(leaf.cert, "sha256", &digests[1]);
	verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
	assert_true(v.matched);         /* expired and self-signed: only the digest counts */
	assert_int_equal(v.trust, TLS_TRUST_VERIFIED);
	assert_string_equal(v.matched_name, tls_cert_fingerprint(leaf.cert, "sha256", a).p);
	tls_pkey_digest(leaf.cert, "sha256", &digests[1]);
	verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
	assert_true(v.matched);         /* the key's digest as well */
	d.n_digests = 1;
	verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_string_equal(v.reason, "not trusted by local or TLSA policy");
	assert_int_equal(v.trust, TLS_TRUST_UNTRUSTED);
	assert_true(tls_fingerprint_parse(tls_cert_fingerprint(leaf.cert, "sha256", a), "sha256", &digests[0], NULL));
	verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
	assert_true(v.matched);
	assert_false(tls_fingerprint_parse(SPAN("AB:"), "sha256", &digests[0], &why));
	assert_false(tls_fingerprint_parse(SPAN(":AB"), "sha256", &digests[0], &why));
	assert_false(tls_fingerprint_parse(SPAN("AB::CD"), "sha256", &digests[0], &why));
	assert_false(tls_fingerprint_parse(SPAN("A:BC"), "sha256", &digests[0], &why));
	arena_free(&a);
	kit_cert_free(&leaf);
	kit_cert_free(&stranger);
	tls_client_ctx_unref(&c);
}

/* smtp_tls_trust_anchor_file and tafile= */
static void
test_anchor_files(void **state)
{
	static const struct {
		const char *name, *what;        /* letters of kit_pem_file */
		int anchor;                     /* 0 root, 1 intermediate, 2 leaf, 3 stranger */
		bool send_ca;
		int64_t now_s;
		bool matched;
	} rows[] = {
		{ "root", "c", 0, true, CERTS_NOW, true },
		{ "root without the intermediate", "c", 0, false, CERTS_NOW, false },
		{ "intermediate", "c", 1, true, CERTS_NOW, true },
		{ "intermediate that is not sent", "c", 1, false, CERTS_NOW, true },
		{ "leaf", "c", 2, false, CERTS_NOW, true },
		{ "leaf after its end", "c", 2, false, CERTS_NOW + 100000000, true },
		{ "root after the leaf's end", "c", 0, true, CERTS_NOW + 100000000, false },
		{ "key of the root", "p", 0, true, CERTS_NOW, true },
		{ "key of the intermediate", "p", 1, true, CERTS_NOW, true },
		{ "key of the leaf", "p", 2, true, CERTS_NOW, true },
		{ "key of a stranger", "p", 3, true, CERTS_NOW, false },
		{ "a stranger", "c", 3, true, CERTS_NOW, false },
	};
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &ca });
	const struct kit_cert *anchors[] = { &root, &ca, &leaf, &other_root }, *sent[] = { &ca, NULL };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		/* the root store would say yes: it must not be asked */
		struct tls_client_ctx *c = context(root_file(&root));
		struct tls_anchor_file file = { span_str(kit_pem_file("ta.pem", rows[i].what,
		    &anchors[rows[i].anchor])) };
		struct tls_name names[4];
		struct tls_decision d;
		struct tls_verdict v;

		decision(&d, TLS_LEVEL_VERIFY, names, "mx.example.org");
		d.tafiles = &file;
		d.n_tafiles = 1;
		assert_true(tls_client_ctx_usable(c, &d, NULL));
		verify(&d, c, &leaf, rows[i].send_ca ? sent : NULL, rows[i].now_s, &v);
		if (v.matched != rows[i].matched)
			fail_msg("%s: matched %d %s", rows[i].name, v.matched, v.reason);
		decision(&d, TLS_LEVEL_VERIFY, names, "other.example");
		d.tafiles = &file;
		d.n_tafiles = 1;
		verify(&d, c, &leaf, rows[i].send_ca ? sent : NULL, rows[i].now_s, &v);
		if (v.matched)
			fail_msg("%s: names were not compared", rows[i].name);
		tls_client_ctx_unref(&c);
	}
	kit_cert_free(&leaf);
}

/* Of several errors the one nearest to the server is told; what a bad policy of the domain says comes before all of them. */
static void
test_the_nearest_error_is_told(void **state)
{
	struct kit_cert old_ca = kit_cert((struct kit_cert_spec){ .cn = "Old CA", .ca = true, .issuer = &root, .from_s = CERTS_NOW - 2000,
		.to_s = CERTS_NOW - 1000 });
	struct kit_cert fresh = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &old_ca });
	struct kit_cert stale = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &old_ca, .from_s = CERTS_NOW - 2000,
		.to_s = CERTS_NOW - 1000 });
	const struct kit_cert *sent[] = { &old_ca, NULL };
	struct tls_client_ctx *c = context(root_file(&root));
	struct tls_name names[4];
	struct tls_decision d;
	struct tls_verdict v;

	(void)state;
	decision(&d, TLS_LEVEL_VERIFY, names, "mx.example.org");
	verify(&d, c, &fresh, sent, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_string_equal(v.reason_who, "CA");
	assert_string_equal(v.reason, "certificate has expired");
	verify(&d, c, &stale, sent, CERTS_NOW, &v);
	assert_string_equal(v.reason_who, "server");
	assert_string_equal(v.reason, "certificate has expired");
	d.policy_failure = true;
	d.policy_failure_type = SPAN("sts-policy-invalid");
	verify(&d, c, &stale, sent, CERTS_NOW, &v);
	assert_string_equal(v.reason, "external policy failure (sts-policy-invalid)");
	tls_client_ctx_unref(&c);
	kit_cert_free(&old_ca);
	kit_cert_free(&fresh);
	kit_cert_free(&stale);
}

/* A level that must match refuses certificates signed with SHA-1, unless the policy names them (the library's level 0, section 9). */
static void
test_signatures_with_sha1(void **state)
{
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &ca });
	const struct kit_cert *sent[] = { &ca, NULL };
	struct tls_client_ctx *c = context(root_file(&root));
	struct tls_name names[4];
	struct tls_decision d;
	struct tls_verdict v;

	(void)state;
	assert_true(X509_sign(leaf.cert, ca.key, EVP_sha1()) > 0);
	decision(&d, TLS_LEVEL_VERIFY, names, "mx.example.org");
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_non_null(strstr(v.reason, "too weak"));
	d.openssl_level = 0;
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_true(v.matched);
	tls_client_ctx_unref(&c);
	kit_cert_free(&leaf);
}

/* One file of anchors that cannot be read spoils the policy: the others are not enough. */
static void
test_every_anchor_file_counts(void **state)
{
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &ca });
	const struct kit_cert *sent[] = { &ca, NULL }, *good[] = { &root };
	struct tls_client_ctx *c = context(root_file(&root));
	struct tls_anchor_file files[2] = { { span_str(kit_pem_file("good.pem", "c", good)) }, { SPAN("/nonexistent/ta.pem") } };
	struct tls_name names[4];
	struct tls_decision d;
	struct tls_verdict v;
	struct fault why;

	(void)state;
	decision(&d, TLS_LEVEL_VERIFY, names, "mx.example.org");
	d.tafiles = files;
	for (d.n_tafiles = 1; d.n_tafiles <= 2; d.n_tafiles++) {
		if (tls_client_ctx_usable(c, &d, &why) != (d.n_tafiles == 1))
			fail_msg("%zu files", d.n_tafiles);
		verify(&d, c, &leaf, sent, CERTS_NOW, &v);
		assert_int_equal(v.matched, d.n_tafiles == 1);
	}
	assert_non_null(strstr(why.text, "/nonexistent/ta.pem"));
	/* a name without letters is the name of nobody */
	decision(&d, TLS_LEVEL_VERIFY, names, "");
	names[0] = (struct tls_name){ .name = SPAN(""), .subdomains = true };
	names[1] = (struct tls_name){ .name = SPAN("") };
	d.n_names = 2;
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_int_equal(v.trust, TLS_TRUST_UNTRUSTED);
	tls_client_ctx_unref(&c);
	kit_cert_free(&leaf);
}

/* spec 20.12, 20.19 */
static void
test_weaknesses(void **state)
{
	static const struct {
		const char *name;
		enum tls_level level;
		const char *kind;
		int cipher_bits, dh_bits;
		unsigned weak;
		bool matched;
		enum tls_trust trust;
	} rows[] = {
		{ "RSA 2048 is fine", TLS_LEVEL_ENCRYPT, "RSA2048", 128, 0, 0, true, TLS_TRUST_TRUSTED },
		{ "RSA 1024 above may is not", TLS_LEVEL_ENCRYPT, "RSA1024", 128, 0, 0, false, TLS_TRUST_TRUSTED },
		{ "unless allowed", TLS_LEVEL_ENCRYPT, "RSA1024", 128, 0, TLS_WEAK_RSA1024, true, TLS_TRUST_TRUSTED },
		{ "at may it is", TLS_LEVEL_MAY, "RSA1024", 128, 0, 15, true, TLS_TRUST_TRUSTED },
		{ "DH 1024 above may", TLS_LEVEL_ENCRYPT, "EC", 128, 1024, 0, false, TLS_TRUST_TRUSTED },
		{ "unless allowed", TLS_LEVEL_ENCRYPT, "EC", 128, 1024, TLS_WEAK_DH1024, true, TLS_TRUST_TRUSTED },
		{ "DH 2048", TLS_LEVEL_VERIFY, "EC", 128, 2048, 0, true, TLS_TRUST_VERIFIED },
		{ "no encryption is never enough", TLS_LEVEL_ENCRYPT, "EC", 0, 0, 15, false, TLS_TRUST_UNTRUSTED },
		{ "and never Verified", TLS_LEVEL_VERIFY, "EC", 0, 0, 15, false, TLS_TRUST_UNTRUSTED },
		{ "and at may never Trusted", TLS_LEVEL_MAY, "EC", 0, 0, 15, true, TLS_TRUST_UNTRUSTED },
	};
	struct tls_client_ctx *c = context(root_file(&root));

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .kind = rows[i].kind, .issuer = &root,
			.san = "DNS:mx.example.org" });
		struct tls_peer peer = { .leaf = leaf.cert, .cipher_bits = rows[i].cipher_bits,
			.dh_bits = rows[i].dh_bits };
		struct tls_name names[4];
		struct tls_decision d;
		struct tls_verdict v;

		decision(&d, rows[i].level, names, "mx.example.org");
		d.weak = rows[i].weak;
		tls_verify_peer(&d, c, &peer, CERTS_NOW, &v);
		if (v.matched != rows[i].matched || v.trust != rows[i].trust)
			fail_msg("%s: matched %d %s", rows[i].name, v.matched, v.reason);
		assert_int_equal(v.reason[0] == '\0', v.matched);
		kit_cert_free(&leaf);
	}
	tls_client_ctx_unref(&c);
}

static void
test_special_cases(void **state)
{
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &ca });
	const struct kit_cert *sent[] = { &ca, NULL };
	struct tls_client_ctx *c = context(root_file(&root));
	struct tls_name names[4];
	struct tls_decision d;
	struct tls_verdict v;

	(void)state;
	decision(&d, TLS_LEVEL_ENCRYPT, names, "");
	verify(&d, c, NULL, NULL, CERTS_NOW, &v);
	assert_true(v.matched);
	assert_int_equal(v.trust, TLS_TRUST_ANONYMOUS);
	decision(&d, TLS_LEVEL_SECURE, names, "mx.example.org");
	verify(&d, c, NULL, NULL, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_int_equal(v.trust, TLS_TRUST_ANONYMOUS);
	/* an external policy that failed (3.6) */
	d.policy_failure = true;
	d.policy_failure_type = SPAN("sts-webpki-invalid");
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_string_equal(v.reason, "external policy failure (sts-webpki-invalid)");
	d.policy_failure = false;
	/* smtp_tls_scert_verifydepth counts issuers (spec 20.20): leaf, intermediate, root = 2 */
	d.verifydepth = 2;
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_true(v.matched);
	d.verifydepth = 1;
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_false(v.matched);
	assert_string_equal(v.reason, "certificate chain longer than limit(1)");
	/* a context without roots trusts nobody */
	tls_client_ctx_unref(&c);
	c = context("");
	d.verifydepth = 9;
	verify(&d, c, &leaf, sent, CERTS_NOW, &v);
	assert_false(v.matched);
	tls_client_ctx_unref(&c);
	kit_cert_free(&leaf);
}

/* spec 20.2 */
static void
test_broken_files_lower_nothing(void **state)
{
	struct tls_anchor_file file = { SPAN("/nonexistent/ta.pem") };
	struct tls_client_ctx *c;
	struct tls_name names[4];
	struct tls_decision d;
	struct fault why;

	(void)state;
	expect_log("smtp_tls_CAfile: /nonexistent/roots.pem");
	c = context("/nonexistent/roots.pem");
	decision(&d, TLS_LEVEL_MAY, names, "");
	assert_true(tls_client_ctx_usable(c, &d, &why));
	decision(&d, TLS_LEVEL_ENCRYPT, names, "");
	assert_true(tls_client_ctx_usable(c, &d, &why));
	decision(&d, TLS_LEVEL_VERIFY, names, "x");
	assert_false(tls_client_ctx_usable(c, &d, &why));
	assert_string_equal(why.dsn, "4.7.5");
	assert_non_null(strstr(why.text, "/nonexistent/roots.pem"));
	d.tafiles = &file;
	d.n_tafiles = 1;
	assert_false(tls_client_ctx_usable(c, &d, &why));
	assert_non_null(strstr(why.text, "/nonexistent/ta.pem"));
	file.path = span_str(kit_file("empty.pem", "nothing\n"));
	assert_false(tls_client_ctx_usable(c, &d, &why));
	assert_non_null(strstr(why.text, "no trust anchors"));
	file.path = span_str(kit_pem_file("empty.pem", "c", (const struct kit_cert *const[]){ &root }));
	assert_true(tls_client_ctx_usable(c, &d, &why));        /* mended, and seen without a restart */
	tls_client_ctx_unref(&c);
}

/* tls_append_default_CA: only beside smtp_tls_CAfile or smtp_tls_CApath, never alone. */
static void
test_the_systems_roots(void **state)
{
	static const struct {
		bool append, file, matched;
	} rows[] = { { false, true, false }, { true, true, true }, { true, false, false } };
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .san = "DNS:mx.example.org", .issuer = &root });

	(void)state;
	setenv("SSL_CERT_FILE", kit_pem_file("system.pem", "c", (const struct kit_cert *const[]){ &root }), 1);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_client_ctx_params p = { .chain = { "smtp_tls", "", "", "", "", "", "", "" },
			.roots = { "smtp_tls", rows[i].file ? root_file(&other_root) : "", "", rows[i].append } };
		struct tls_client_ctx *c = tls_client_ctx_new(&p, NULL);
		struct tls_name names[4];
		struct tls_decision d;
		struct tls_verdict v;

		decision(&d, TLS_LEVEL_VERIFY, names, "mx.example.org");
		verify(&d, c, &leaf, NULL, CERTS_NOW, &v);
		if (v.matched != rows[i].matched)
			fail_msg("row %zu: %s", i, v.reason);
		tls_client_ctx_unref(&c);
	}
	unsetenv("SSL_CERT_FILE");
	kit_cert_free(&leaf);
}

/* rootca=<digest>: an authority by its fingerprint, known to us or not; names and dates count. */
static void
test_rootca(void **state)
{
	struct kit_cert leaf = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org", .issuer = &ca });
	struct kit_cert late = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org", .issuer = &ca,
		.from_s = CERTS_NOW - 2000, .to_s = CERTS_NOW - 1000 });
	struct kit_cert forged = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true });
	struct kit_cert forged_leaf = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org",
		.issuer = &forged });
	const struct {
		const char *name;
		const struct kit_cert *about;
		bool key;               /* the fingerprint is the key's */
		const struct kit_cert *leaf, *sent[3];
		const struct kit_cert *ours;    /* in CAfile; NULL = nobody */
		const char *names;
		bool matched;
		const char *reason;
	} rows[] = {
		{ "a root that we do not know", &root, false, &leaf, { &ca, &root }, NULL, "mx.example.org", true, "" },
		{ "by its key", &root, true, &leaf, { &ca, &root }, NULL, "mx.example.org", true, "" },
		{ "an intermediate", &ca, false, &leaf, { &ca }, NULL, "mx.example.org", true, "" },
		{ "the leaf itself", &leaf, false, &leaf, { NULL }, NULL, "mx.example.org", true, "" },
		{ "a root of ours that was not sent", &root, false, &leaf, { &ca }, &root, "mx.example.org", true, "" },
		{ "a root that was not sent and is not ours", &root, false, &leaf, { &ca }, NULL, "mx.example.org", false,
		    "untrusted issuer" },
		{ "another root of ours does not do", &other_root, false, &leaf, { &ca, &root }, &root, "mx.example.org", false,
		    "not trusted by local or TLSA policy" },
		{ "names still count", &root, false, &leaf, { &ca, &root }, NULL, "a.example", false, "hostname mismatch" },
		{ "dates still count", &root, false, &late, { &ca, &root }, NULL, "mx.example.org", false, "has expired" },
		{ "signatures still count: a root that only stands there", &root, false, &forged_leaf, { &root }, NULL,
		    "mx.example.org", false, "certificate signature failure" },
		{ "a forged root of the same name", &root, false, &forged_leaf, { &forged, &root }, NULL, "mx.example.org",
		    false, "certificate signature failure" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_client_ctx *c = context(rows[i].ours != NULL ? root_file(rows[i].ours) : "");
		const struct kit_cert *sent[] = { rows[i].sent[0], rows[i].sent[1], NULL };
		struct tls_digest want;
		struct tls_name names[4];
		struct tls_decision d;
		struct tls_verdict v;

		decision(&d, TLS_LEVEL_SECURE, names, rows[i].names);
		assert_true(rows[i].key ? tls_pkey_digest(rows[i].about->cert, "sha256", &want) :
		    tls_cert_digest(rows[i].about->cert, "sha256", &want));
		d.rootca = &want;
		d.n_rootca = 1;
		verify(&d, c, rows[i].leaf, sent, CERTS_NOW, &v);
		if (v.matched != rows[i].matched || strstr(v.reason, rows[i].reason) == NULL ||
		    (v.matched && v.anchor[0] == '\0'))
			fail_msg("%s: matched %d \"%s\"", rows[i].name, v.matched, v.reason);
		tls_client_ctx_unref(&c);
	}
	kit_cert_free(&leaf);
	kit_cert_free(&late);
	kit_cert_free(&forged);
	kit_cert_free(&forged_leaf);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_rootca),
	KIT_TEST(test_chains),
	KIT_TEST(test_names),
	KIT_TEST(test_a_name_with_nul),
	KIT_TEST(test_a_mismatch_says_what_was_found_and_wanted),
	KIT_TEST(test_fingerprints),
	KIT_TEST(test_anchor_files),
	KIT_TEST(test_the_nearest_error_is_told),
	KIT_TEST(test_signatures_with_sha1),
	KIT_TEST(test_every_anchor_file_counts),
	KIT_TEST(test_weaknesses),
	KIT_TEST(test_special_cases),
	KIT_TEST(test_broken_files_lower_nothing),
	KIT_TEST(test_the_systems_roots),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
