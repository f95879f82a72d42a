/* Golden lines: people's log parsers read these. */
#include "log/lines_tls.h"

#include "kit/kit.h"

#define PEER SPAN("MX.example.org[192.0.2.1]:25")

static const struct log_tls tls13 = {
	.protocol = SPAN("TLSv1.3"), .cipher = SPAN("TLS_AES_256_GCM_SHA384"), .bits_used = 256, .bits_alg = 256,
	.group = SPAN("x25519"),
	.server = { .alg = SPAN("ECDSA"), .curve = SPAN("prime256v1"), .digest = SPAN("SHA256") },
	.client = { .alg = SPAN("ECDSA"), .curve = SPAN("prime256v1"), .digest = SPAN("SHA256") },
};
static const struct log_tls tls12 = {
	.protocol = SPAN("TLSv1.2"), .cipher = SPAN("ECDHE-RSA-AES256-GCM-SHA384"), .bits_used = 256, .bits_alg = 256,
	.group = SPAN("x25519"), .server = { .alg = SPAN("RSA-PSS"), .bits = 2048 },
};

#define LOGGED(text) \
	do { \
		if (!kit_logged(text)) \
			fail_msg("not logged: %s", text); \
	} while (0)

static void
test_summaries(void **state)
{
	struct log_tls t = tls13;

	(void)state;
	log_tls_server_summary(NULL, "Untrusted", SPAN("unknown[127.0.0.1]"), SPAN(""), &tls13);
	LOGGED("Untrusted TLS connection established from unknown[127.0.0.1]: TLSv1.3 with cipher "
	    "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange x25519 server-signature ECDSA (prime256v1) "
	    "server-digest SHA256 client-signature ECDSA (prime256v1) client-digest SHA256");
	log_tls_server_summary(NULL, "Anonymous", SPAN("unknown[127.0.0.1]"), SPAN("mail.example"), &tls12);
	LOGGED("Anonymous TLS connection established from unknown[127.0.0.1] to mail.example: TLSv1.2 with cipher "
	    "ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)");
	assert_false(kit_logged("(256/256 bits) key-exchange x25519 server-signature RSA-PSS"));
	log_tls_client_summary(NULL, "Verified", false, PEER, &tls12);
	LOGGED("Verified TLS connection established to mx.example.org[192.0.2.1]:25: TLSv1.2 with cipher "
	    "ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)");
	t.server = (struct log_tls_signature){ .alg = SPAN("RSA-PSS"), .bits = 2048, .digest = SPAN("SHA256") };
	t.client.alg = SPAN("");
	log_tls_client_summary(NULL, "Trusted", true, PEER, &t);
	LOGGED("Trusted TLS connection reused to mx.example.org[192.0.2.1]:25: TLSv1.3 with cipher "
	    "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange x25519 server-signature RSA-PSS (2048 bits) "
	    "server-digest SHA256");
}

static void
test_signature_shapes(void **state)
{
	static const struct {
		struct log_tls_signature s;
		const char *text;
	} rows[] = {
		{ { .alg = SPAN("ED25519") }, "server-signature ED25519" },
		{ { .alg = SPAN("ECDSA"), .curve = SPAN("prime256v1"), .rpk = true },
		    "server-signature ECDSA (prime256v1 raw public key)" },
		{ { .alg = SPAN("RSA-PSS"), .bits = 4096, .rpk = true },
		    "server-signature RSA-PSS (4096 bit raw public key)" },
		{ { .alg = SPAN("ED448"), .rpk = true }, "server-signature ED448 (raw public key)" },
	};
	struct log_tls t = { .group = SPAN("DHE"), .group_bits = 2048 };
	struct buf b;

	(void)state;
	buf_init(&b, 512);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&b);
		log_tls_signature_text(&b, "server", &rows[i].s);
		assert_string_equal(buf_cstr(&b), rows[i].text);
	}
	buf_clear(&b);
	log_tls_key_exchange(&b, &t);
	assert_string_equal(buf_cstr(&b), "key-exchange DHE (2048 bits)");
	buf_release(&b);
}

static void
test_other_lines(void **state)
{
	(void)state;
	log_tls_connect_error(NULL, PEER, "-1");
	LOGGED("SSL_connect error to MX.example.org[192.0.2.1]:25: -1");
	log_tls_accept_error(NULL, SPAN("unknown[192.0.2.1]"), "lost connection");
	LOGGED("SSL_accept error from unknown[192.0.2.1]: lost connection");
	expect_log("TLS library problem: error:0A00010B:SSL routines::wrong version number:");
	log_tls_library_problem(NULL, "error:0A00010B:SSL routines::wrong version number");
	log_tls_plainer(NULL, SPAN("mx.example.org[192.0.2.1]:25"), "trying again", "TLSv1.2");
	LOGGED("mx.example.org[192.0.2.1]:25: trying again with plainer TLS (TLSv1.2)");
	log_tls_no_forward_secrecy(NULL, SPAN("mx.example.org[192.0.2.1]:25"), "AES256-SHA");
	LOGGED("mx.example.org[192.0.2.1]:25: no forward secrecy with cipher AES256-SHA");
	log_tls_offer(NULL, SPAN("mx.example.org"));
	LOGGED("Host offered STARTTLS: [mx.example.org]");
	log_tls_verify_failed(NULL, "server", PEER, "num=62:hostname mismatch");
	LOGGED("server certificate verification failed for MX.example.org[192.0.2.1]:25: num=62:hostname mismatch");
	log_tls_verify_failed(NULL, "", PEER, "untrusted issuer /CN=x\n");
	LOGGED("certificate verification failed for MX.example.org[192.0.2.1]:25: untrusted issuer /CN=x?");
	log_tls_reused_untrusted(NULL, PEER, false);
	LOGGED("MX.example.org[192.0.2.1]:25: re-using session with untrusted peer credential, look for details "
	    "earlier in the log");
	log_tls_peercert(NULL, SPAN("unknown[192.0.2.1]"), SPAN("a"), SPAN("b"), SPAN("AA:BB"), SPAN("CC:DD"));
	LOGGED("unknown[192.0.2.1]: subject_CN=a, issuer=b, cert fingerprint=AA:BB, pkey fingerprint=CC:DD");
	log_tls_matched_name(NULL, PEER, SPAN("mx.example.org"));
	LOGGED("MX.example.org[192.0.2.1]:25: matched peername: mx.example.org");
	log_tls_matched_fingerprint(NULL, PEER, SPAN("0A:FF"));
	LOGGED("MX.example.org[192.0.2.1]:25: Matched fingerprint: 0AFF");
	log_tls_md5_default(NULL, "smtpd_tls_fingerprint_digest");
	LOGGED("using backwards-compatible default setting smtpd_tls_fingerprint_digest=md5 to compute certificate fingerprints");
	log_tls_no_dump(NULL, PEER, 1);
	LOGGED("MX.example.org[192.0.2.1]:25: no dump of this session: tls_trace_rate_limit is 1 for each second");
	log_tls_matched_dane(NULL, PEER, SPAN("EE certificate at depth 0: 3 1 1 00FF"));
	LOGGED("MX.example.org[192.0.2.1]:25: Matched DANE EE certificate at depth 0: 3 1 1 00FF");
	log_tls_matched_depth(NULL, PEER, 1);
	LOGGED("MX.example.org[192.0.2.1]:25: Matched trust anchor at depth 1");
	log_tls_matched_anchor(NULL, PEER, SPAN("AA:BB"));
	LOGGED("MX.example.org[192.0.2.1]:25: Matched trust anchor fingerprint: AA:BB");
	expect_log("MX.example.org[192.0.2.1]:25: unusable TLSA RR: 3 1 1 00");
	log_tls_unusable_tlsa(NULL, PEER, SPAN("3 1 1 00"));
	log_tls_rawkey(NULL, SPAN("unknown[192.0.2.1]"), SPAN("AA:BB"));
	LOGGED("unknown[192.0.2.1]: raw public key fingerprint=AA:BB");
	log_tls_names(NULL, SPAN("/CN=a"), SPAN("/O=b/CN=c\n"));
	LOGGED("subject=/CN=a");
	LOGGED("issuer=/O=b/CN=c?");
	log_tls_initializing(NULL, true);
	LOGGED("initializing the server-side TLS engine");
	log_tls_initializing(NULL, false);
	LOGGED("initializing the client-side TLS engine");
	log_tls_signed_tlsa(NULL, SPAN("_25._tcp.mx.example.org"), SPAN("3 1 1 00FF"));
	LOGGED("DNSSEC-signed TLSA record: _25._tcp.mx.example.org: 3 1 1 00FF");
	log_tls_trace(NULL, "SSL_accept:before SSL initialization");
	LOGGED("SSL_accept:before SSL initialization");
	log_tls_trace_peer(NULL, SPAN("unknown[192.0.2.1]"), "depth=0 verify=1 subject=/CN=a");
	LOGGED("unknown[192.0.2.1]: depth=0 verify=1 subject=/CN=a");
	log_tls_sni_unmatched(NULL, SPAN("unknown[192.0.2.1]"), SPAN("x.example"));
	LOGGED("TLS SNI x.example from unknown[192.0.2.1] not matched, using default chain");
	log_tls_reusing(NULL, SPAN("unknown[192.0.2.1]"), true);
	LOGGED("unknown[192.0.2.1]: Reusing old session (RFC 5077 session ticket)");
	log_tls_report(NULL, SPAN("example.org"), SPAN("mx.example.org[192.0.2.1]"), NULL, "");
	LOGGED("TLSRPT: status=success, domain=example.org, receiving_mx=mx.example.org[192.0.2.1]");
	log_tls_report(NULL, SPAN("example.org"), SPAN("mx.example.org[192.0.2.1]"), "certificate-host-mismatch", "");
	LOGGED("TLSRPT: status=failure, domain=example.org, receiving_mx=mx.example.org[192.0.2.1], failure_type=certificate_host_mismatch");
	log_tls_report(NULL, SPAN("example.org"), SPAN("mx.example.org[192.0.2.1]"), "validation-failure", "tls-handshake-failure");
	LOGGED("TLSRPT: status=failure, domain=example.org, receiving_mx=mx.example.org[192.0.2.1], failure_type=validation_failure, "
	    "failure_reason=tls-handshake-failure");
	log_tls_abort(NULL, SPAN("unknown[192.0.2.1]"), "No client certificate presented");
	LOGGED("NOQUEUE: abort: TLS from unknown[192.0.2.1]: No client certificate presented");
	expect_log("TLS policy lookup for example.org/mx.example.org: client TLS configuration problem");
	log_tls_policy_lookup(NULL, SPAN("example.org"), SPAN("mx.example.org"), "client TLS configuration problem");
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_summaries),
	KIT_TEST(test_signature_shapes),
	KIT_TEST(test_other_lines),
};

KIT_MAIN(tests)
