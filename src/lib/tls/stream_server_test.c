/* What a server shows and chooses in handshakes over socket pairs: certificates, names, ciphers, groups, levels. */
#include "tls/stream.h"

#include "kit/stream_world.h"

static void
test_client_certificates(void **state)
{
	struct kit_cert self = kit_cert((struct kit_cert_spec){ .cn = "client.example", .eku = "clientAuth" });
	struct kit_cert good = kit_cert((struct kit_cert_spec){ .cn = "client.example", .eku = "clientAuth",
		.san = "DNS:Client.Example,DNS:*.client.example,DNS:not a name,IP:192.0.2.1", .issuer = &root });
	struct kit_cert server_only = kit_cert((struct kit_cert_spec){ .cn = "client.example", .eku = "serverAuth",
		.issuer = &root });
	struct kit_cert foreign = kit_cert((struct kit_cert_spec){ .cn = "Foreign", .ca = true });
	struct kit_cert foreign_server = kit_cert((struct kit_cert_spec){ .cn = "client.example", .eku = "serverAuth",
		.issuer = &foreign });
	struct kit_cert late = kit_cert((struct kit_cert_spec){ .cn = "client.example", .eku = "clientAuth",
		.issuer = &root, .from_s = CERTS_NOW - 40000000, .to_s = CERTS_NOW - 20000000 });
	const struct {
		const char *name;
		const struct kit_cert *cert, *issuer;
		bool trust_server, trusted;
		const char *untrusted;
	} rows[] = {
		{ "no certificate", NULL, NULL, false, false, "" },
		{ "a self-signed one", &self, NULL, false, false, "self-signed certificate" },
		{ "a good one", &good, NULL, false, true, "" },
		{ "one made for servers", &server_only, NULL, false, false, "not designated for use as a client certificate" },
		{ "one made for servers, accepted", &server_only, NULL, true, true, "" },
		{ "a foreign one made for servers", &foreign_server, &foreign, false, false, "self-signed certificate" },
		{ "that its purpose is accepted does not make it trusted", &foreign_server, &foreign, true, false,
		    "self-signed certificate" },
		{ "the same without its authority", &foreign_server, NULL, true, false, "untrusted issuer /CN=Foreign" },
		{ "one out of date", &late, NULL, false, false, "certificate has expired" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_server_params p = server_params();
		const struct kit_cert *pair[] = { rows[i].cert, rows[i].cert, rows[i].issuer };
		struct tls_server_ctx *s;
		struct tls_client_ctx *c;
		struct tls_info info;
		struct link l;

		p.roots.CAfile = root_file();
		p.ask_ccert = true;
		p.trust_server_ccerts = rows[i].trust_server;
		s = tls_server_ctx_new(&p, NULL);
		c = client_ctx(rows[i].cert != NULL ? kit_pem_file("client.pem", rows[i].issuer != NULL ? "kcc" : "kc", pair) : "");
		link_up(&l, c, s, "encrypt", SPAN(""), false);
		assert_true(shake_quietly(&l));
		assert_true(stream_info(&l.server, "sha256", l.arena, &info));
		assert_true(info.asked);
		assert_int_equal(info.peer_cert, rows[i].cert != NULL);
		if (info.peer_trusted != rows[i].trusted)
			fail_msg("%s: trusted %d", rows[i].name, info.peer_trusted);
		if (rows[i].cert != NULL)
			assert_span(info.peer_cn, "client.example");
		if (rows[i].cert != NULL)
			assert_span(info.wire.client.alg, "ECDSA");
		assert_span(info.untrusted, rows[i].untrusted);
		assert_int_equal(info.n_dns_names, rows[i].cert == &good ? 2 : 0);
		if (rows[i].cert == &good) {
			assert_span(info.dns_names[0], "client.example");
			assert_span(info.dns_names[1], "*.client.example");
		}
		link_down(&l);
		tls_client_ctx_unref(&c);
		tls_server_ctx_unref(&s);
	}
	kit_cert_free(&self);
	kit_cert_free(&good);
	kit_cert_free(&server_only);
	kit_cert_free(&foreign);
	kit_cert_free(&foreign_server);
	kit_cert_free(&late);
}

static void
test_sni(void **state)
{
	struct kit_cert two = other;
	const char *path = kit_pem_file("two.pem", "kc", (const struct kit_cert *const[]){ &two, &two });
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");
	struct tls_chain *chain;
	enum stream_result cr, sr;
	struct tls_info info;
	struct buf pem;
	struct link l;

	(void)state;
	buf_init(&pem, 1 << 20);
	assert_true(tls_sni_value_pem(NULL, span_str(path), &pem, NULL));
	chain = tls_chain_parse(buf_span(&pem), "two.pem", NULL);
	assert_non_null(chain);
	/* a chain for the name */
	link_up(&l, c, s, "verify servername=Two.Example match=two.example", SPAN(""), true);
	assert_false(shake(&l, &cr, &sr));
	assert_int_equal(sr, STREAM_WANT_CHAIN);
	assert_string_equal(stream_sni_name(&l.server), "two.example");
	stream_set_chain(&l.server, chain, false);
	assert_true(shake_quietly(&l));
	assert_true(stream_verdict(&l.client, CERTS_NOW)->matched);
	assert_true(stream_info(&l.server, "sha256", l.arena, &info));
	assert_span(info.sni, "two.example");
	assert_span(info.wire.server.alg, "RSA-PSS");
	assert_int_equal(info.wire.server.bits, 2048);
	link_down(&l);
	/* none for it: the default chain */
	link_up(&l, c, s, "verify", SPAN(""), true);
	assert_false(shake(&l, &cr, &sr));
	assert_int_equal(sr, STREAM_WANT_CHAIN);
	stream_set_chain(&l.server, NULL, false);
	assert_true(shake_quietly(&l));
	assert_true(stream_verdict(&l.client, CERTS_NOW)->matched);
	link_down(&l);
	/* a table error ends the handshake with an alert */
	link_up(&l, c, s, "verify", SPAN(""), true);
	assert_false(shake(&l, &cr, &sr));
	stream_set_chain(&l.server, NULL, true);
	assert_false(shake(&l, &cr, &sr));
	assert_int_equal(sr, STREAM_ERROR);
	link_down(&l);
	/* no name sent: no question */
	link_up(&l, c, s, "verify servername=none", SPAN(""), true);
	assert_true(shake_quietly(&l));
	link_down(&l);
	buf_release(&pem);
	tls_chain_unref(&chain);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

static void
test_server_credentials(void **state)
{
	const struct kit_cert *kc[] = { &leaf, &leaf }, *wrong[] = { &other, &leaf }, *two[] = { &leaf, &leaf, &other,
		&other }, *dangling[] = { &leaf, &leaf, &other };
	struct {
		const char *name, *what;
		const struct kit_cert *const *certs;
		const char *why;        /* NULL = usable */
	} rows[] = {
		{ "one chain", "kc", kc, NULL },
		{ "two chains in a file", "kckc", two, NULL },
		{ "a key of another certificate", "kc", wrong, "does not fit its private key" },
		{ "a certificate before its key", "ck", kc, "a certificate before any private key" },
		{ "a key at the end", "kck", dangling, "without a certificate behind it" },
		{ "a public key", "kcp", dangling, "unexpected PEM block \"PUBLIC KEY\"" },
		{ "only a certificate", "c", kc, "a certificate before any private key" },
	};
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		p.chain.chain_files = kit_pem_file("chain.pem", rows[i].what, rows[i].certs);
		s = tls_server_ctx_new(&p, &why);
		if ((s != NULL) != (rows[i].why == NULL) || (s == NULL && strstr(why.text, rows[i].why) == NULL))
			fail_msg("%s: %s", rows[i].name, s != NULL ? "accepted" : why.text);
		if (s == NULL)
			assert_non_null(strstr(why.text, "chain.pem"));
		tls_server_ctx_unref(&s);
	}
	p.chain.chain_files = "/nonexistent/chain.pem";
	assert_null(tls_server_ctx_new(&p, &why));
	assert_non_null(strstr(why.text, "smtpd_tls_chain_files: /nonexistent/chain.pem: No such file"));
	p.chain.chain_files = kit_file("garbage.pem", "no PEM here\n");
	assert_null(tls_server_ctx_new(&p, &why));
	p.chain.chain_files = "";
	assert_null(tls_server_ctx_new(&p, &why));
	assert_string_equal(why.text, "No server certs available. TLS won't be enabled");
	p.chain.cert_file = kit_pem_file("cert.pem", "c", kc);
	p.chain.key_file = kit_pem_file("key.pem", "k", kc);
	s = tls_server_ctx_new(&p, &why);
	assert_non_null(s);
	tls_server_ctx_unref(&s);
	p.chain.key_file = kit_pem_file("key.pem", "k", wrong);
	assert_null(tls_server_ctx_new(&p, &why));
	assert_non_null(strstr(why.text, "smtpd_tls_key_file"));
	p.chain.key_file = p.chain.cert_file;
	assert_null(tls_server_ctx_new(&p, &why));
	assert_non_null(strstr(why.text, "smtpd_tls_cert_file"));
	assert_non_null(strstr(why.text, "no private key in it"));
}

/*
 * One TLS 1.2 handshake; the cipher that came out, "" when none did. `mandatory` takes the
 * smtpd_tls_mandatory_* values instead of smtpd_tls_protocols, smtpd_tls_ciphers, smtpd_tls_exclude_ciphers.
 */
static void
cipher_of(const struct tls_server_params *p, const char *entry, char out[64])
{
	struct fault why;
	struct tls_server_ctx *s = tls_server_ctx_new(p, &why);
	struct tls_client_ctx *c = client_ctx("");
	struct tls_info info;
	struct link l;

	if (s == NULL)
		fail_msg("%s", why.text);
	link_up(&l, c, s, entry, SPAN(""), false);
	out[0] = '\0';
	if (shake_quietly(&l) && stream_info(&l.server, "sha256", l.arena, &info))
		snprintf(out, 64, "%.*s", SPAN_ARG(info.wire.cipher));
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

/*
 * The legacy pairs, here and in smtp_tls_cert_file, smtp_tls_key_file, smtp_tls_eccert_file, smtp_tls_eckey_file,
 * smtp_tls_dcert_file, smtp_tls_dkey_file (smtpd_tls_dcert_file, smtpd_tls_dkey_file, smtpd_tls_eccert_file,
 * smtpd_tls_eckey_file): one chain for each algorithm, the key from the certificate's file when it has none of its own;
 * smtp_tls_chain_files wins.
 */
static void
test_legacy_pairs(void **state)
{
	const struct kit_cert *ec[] = { &leaf, &leaf }, *rsa[] = { &other, &other };
	struct tls_server_params p = server_params();
	char ec_file[512], rsa_cert[512], rsa_key[512], got[64];
	struct tls_server_ctx *s;

	(void)state;
	snprintf(ec_file, sizeof(ec_file), "%s", kit_pem_file("ec.pem", "kc", ec));
	snprintf(rsa_cert, sizeof(rsa_cert), "%s", kit_pem_file("rsa.pem", "c", rsa));
	snprintf(rsa_key, sizeof(rsa_key), "%s", kit_pem_file("rsa.key", "k", rsa));
	p.chain = (struct tls_chain_params){ "smtpd_tls", "", rsa_cert, rsa_key, ec_file, "", "", "" };
	cipher_of(&p, "encrypt protocols=TLSv1.2 exclude=aNULL:aRSA", got);
	assert_string_equal(got, "ECDHE-ECDSA-AES256-GCM-SHA384");
	cipher_of(&p, "encrypt protocols=TLSv1.2 exclude=aNULL:aECDSA", got);
	assert_string_equal(got, "ECDHE-RSA-AES256-GCM-SHA384");
	p.chain = (struct tls_chain_params){ "smtpd_tls", "", "", "", "", "", rsa_cert, rsa_key };
	cipher_of(&p, "encrypt protocols=TLSv1.2 exclude=aNULL", got);
	assert_string_equal(got, "ECDHE-RSA-AES256-GCM-SHA384");
	p.chain.dkey_file = "";                 /* the certificate's file has no key in it */
	assert_null(tls_server_ctx_new(&p, NULL));
	expect_log("smtpd_tls_chain_files is set");
	p.chain.chain_files = ec_file;
	s = tls_server_ctx_new(&p, NULL);
	assert_non_null(s);
	tls_server_ctx_unref(&s);
}

static void
test_anonymous_server(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_client_ctx *c = client_ctx("");
	struct tls_server_ctx *s;
	enum stream_result cr, sr;
	struct link l;

	(void)state;
	p.chain.chain_files = "";
	p.chain.cert_file = "none";
	s = tls_server_ctx_new(&p, NULL);
	assert_non_null(s);
	link_up(&l, c, s, "may", SPAN(""), false);
	if (!shake_quietly(&l))
		fail_msg("%s / %s", stream_failure(&l.client)->library[0], stream_failure(&l.server)->library[0]);
	assert_int_equal(stream_verdict(&l.client, CERTS_NOW)->trust, TLS_TRUST_ANONYMOUS);
	link_down(&l);
	link_up(&l, c, s, "verify", SPAN(""), false);
	assert_false(shake(&l, &cr, &sr));      /* no suite in common */
	link_down(&l);
	tls_server_ctx_unref(&s);
	expect_log("client certificates cannot be asked for");
	p.ask_ccert = true;
	s = tls_server_ctx_new(&p, NULL);
	assert_non_null(s);
	assert_false(tls_server_ctx_asks_ccert(s));
	tls_server_ctx_unref(&s);
	tls_client_ctx_unref(&c);
}

static void
test_old_peers(void **state)
{
	static const struct {
		const char *name, *protocols, *ciphers, *entry;
		bool ok;
	} rows[] = {
		{ "TLS 1.0 at may", "TLSv1", "medium", "may", true },
		{ "TLS 1.0 above may is refused", "TLSv1", "medium", "encrypt", false },
		{ "TLS 1.0 above may when re-enabled", "TLSv1", "medium", "encrypt protocols=>=TLSv1", true },
		{ "TLS 1.1 at verify when re-enabled", "TLSv1.1", "medium", "verify protocols=>=TLSv1", true },
		{ "static RSA at may", "TLSv1.2", "AES256-GCM-SHA384", "may", true },
		{ "static RSA above may is refused", "TLSv1.2", "AES256-GCM-SHA384", "encrypt", false },
		{ "static RSA above may when allowed", "TLSv1.2", "AES256-GCM-SHA384", "encrypt weak=krsa", true },
	};
	const struct kit_cert *kc[] = { &other, &other };
	struct tls_client_ctx *c = client_ctx("");

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_server_params p = server_params();
		bool grade = strcmp(rows[i].ciphers, "medium") == 0;
		struct tls_server_ctx *s;
		struct link l;

		p.chain.chain_files = kit_pem_file("other.pem", "kc", kc);
		p.protocols = rows[i].protocols;
		p.medium_cipherlist = grade ? LONG_CIPHERS : rows[i].ciphers;
		s = tls_server_ctx_new(&p, NULL);
		assert_non_null(s);
		link_up(&l, c, s, rows[i].entry, SPAN(""), false);
		if (shake_quietly(&l) != rows[i].ok)
			fail_msg("%s: %s %s", rows[i].name, stream_failure(&l.server)->library[0],
			    stream_failure(&l.client)->library[0]);
		link_down(&l);
		tls_server_ctx_unref(&s);
	}
	tls_client_ctx_unref(&c);
}

static void
test_groups(void **state)
{
	/* tls_eecdh_auto_curves, tls_ffdhe_auto_groups */
	static const struct {
		const char *curves, *ffdhe, *list;
		bool warns;
	} rows[] = {
		{ "X25519 X448 prime256v1 secp384r1 secp521r1", "ffdhe2048 ffdhe3072",
		    "X25519:X448:prime256v1:secp384r1:secp521r1:ffdhe2048:ffdhe3072", false },
		{ "", "", "", false },
		{ "nonesuch X25519", "", "X25519", false },
		{ "X25519, X25519 : P-256", "", "X25519:P-256", false },
		{ "?X25519 ?nonesuch", "", "X25519", false },
		{ "nonesuch", "", "X25519:X448:prime256v1:secp384r1:secp521r1:ffdhe2048:ffdhe3072", true },
	};
	struct tls_server_params p = server_params();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_server_ctx *s;

		p.eecdh_auto_curves = rows[i].curves;
		p.ffdhe_auto_groups = rows[i].ffdhe;
		if (rows[i].warns)
			expect_log("no usable key exchange group");
		s = tls_server_ctx_new(&p, NULL);
		assert_non_null(s);
		assert_string_equal(tls_server_ctx_groups(s), rows[i].list);
		tls_server_ctx_unref(&s);
	}
}

#define AES128 "ECDHE-ECDSA-AES128-GCM-SHA256"
#define AES256 "ECDHE-ECDSA-AES256-GCM-SHA384"

static void
test_what_the_server_chooses(void **state)
{
	/* tls_high_cipherlist, tls_medium_cipherlist, tls_null_cipherlist, tls_preempt_cipherlist,
	 * smtpd_tls_mandatory_protocols, smtpd_tls_mandatory_ciphers, smtpd_tls_mandatory_exclude_ciphers */
	static const char entry[] = "verify protocols=TLSv1.2", tls13[] = "verify protocols=TLSv1.3";
	struct tls_server_params p = server_params();
	char got[64], chain[512];

	(void)state;
	snprintf(chain, sizeof(chain), "%s", p.chain.chain_files);      /* the kit's paths are few */
	p.chain.chain_files = chain;
	p.medium_cipherlist = AES128 ":" AES256;
	p.high_cipherlist = AES256;
	cipher_of(&p, entry, got);
	assert_string_equal(got, AES256);       /* the client's order */
	p.preempt_cipherlist = true;
	cipher_of(&p, entry, got);
	assert_string_equal(got, AES128);       /* ours */
	p.exclude_ciphers = "AES128";
	cipher_of(&p, entry, got);
	assert_string_equal(got, AES256);
	p.exclude_ciphers = "";
	p.ciphers = "high";
	cipher_of(&p, entry, got);
	assert_string_equal(got, AES256);
	p.mandatory = true;
	cipher_of(&p, entry, got);
	assert_string_equal(got, AES128);       /* grade medium again */
	p.mandatory_exclude_ciphers = "AES128";
	cipher_of(&p, entry, got);
	assert_string_equal(got, AES256);
	p.mandatory_ciphers = "high";
	p.mandatory_exclude_ciphers = "AES256";
	assert_null(tls_server_ctx_new(&p, NULL));      /* nothing left */
	p.mandatory_exclude_ciphers = "";
	p.mandatory_protocols = "TLSv1.2";
	cipher_of(&p, tls13, got);
	assert_string_equal(got, "");
	p.mandatory_protocols = ">=TLSv1.3";
	cipher_of(&p, tls13, got);
	assert_string_equal(got, "TLS_AES_256_GCM_SHA384");
}

static void
test_dh_files(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s;

	(void)state;
	p.dh1024_param_file = "auto";
	s = tls_server_ctx_new(&p, NULL);
	assert_non_null(s);
	tls_server_ctx_unref(&s);
	expect_log("smtpd_tls_dh1024_param_file: /nonexistent: No such file");
	p.dh1024_param_file = "/nonexistent";
	s = tls_server_ctx_new(&p, NULL);
	assert_non_null(s);
	tls_server_ctx_unref(&s);
}

static void
test_server_level(void **state)
{
	static const struct {
		const char *level;
		bool use, enforce, wrapper, ok, warns;
		enum tls_server_level want;
	} rows[] = {
		{ "", false, false, false, true, false, TLS_SERVER_NONE },
		{ "", true, false, false, true, false, TLS_SERVER_MAY },
		{ "", true, true, false, true, false, TLS_SERVER_ENCRYPT },
		{ "none", true, true, false, true, false, TLS_SERVER_NONE },
		{ "May", false, false, false, true, false, TLS_SERVER_MAY },
		{ "encrypt", false, false, false, true, false, TLS_SERVER_ENCRYPT },
		{ "fingerprint", false, false, false, true, true, TLS_SERVER_ENCRYPT },
		{ "verify", false, false, false, true, true, TLS_SERVER_ENCRYPT },
		{ "secure", false, false, false, true, true, TLS_SERVER_ENCRYPT },
		{ "dane", false, false, false, false, false, TLS_SERVER_NONE },
		{ "dane-only", false, false, false, false, false, TLS_SERVER_NONE },
		{ "yes", false, false, false, false, false, TLS_SERVER_NONE },
		{ "yes", false, false, true, true, false, TLS_SERVER_ENCRYPT },
		{ "none", false, false, true, true, false, TLS_SERVER_ENCRYPT },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		enum tls_server_level level = TLS_SERVER_NONE;
		const char *warning;
		struct fault why;

		if (tls_server_level_parse(rows[i].level, rows[i].use, rows[i].enforce, rows[i].wrapper, &level, &warning,
		    &why) != rows[i].ok || (warning != NULL) != rows[i].warns || (rows[i].ok && level != rows[i].want))
			fail_msg("row %zu \"%s\"", i, rows[i].level);
	}
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_client_certificates),
	KIT_TEST(test_sni),
	KIT_TEST(test_server_credentials),
	KIT_TEST(test_legacy_pairs),
	KIT_TEST(test_anonymous_server),
	KIT_TEST(test_old_peers),
	KIT_TEST(test_groups),
	KIT_TEST(test_what_the_server_chooses),
	KIT_TEST(test_dh_files),
	KIT_TEST(test_server_level),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
