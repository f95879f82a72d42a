/* Golden tests of the Received header. */
#include "mail/received.h"

#include <stdlib.h>
#include <time.h>

#include "kit/kit.h"

static const struct received base = {
	.by_host = { "mx.example.org", 14 },
	.mail_name = { "Postfix", 7 },
	.qid = { "4Pw1y93jKXz3w", 13 },
	.when_us = 1763632800000000,
	.helo = { "client.example", 14 },
	.client_name = { "client.example", 14 },
	.client_addr = { "192.0.2.1", 9 },
	.with = RECEIVED_ESMTP,
};

static void
check(const struct received *r, const char *want)
{
	struct arena *a = arena_new(65536);
	struct buf b;

	setenv("TZ", "UTC0", 1);
	tzset();
	buf_init(&b, 4096);
	received_write(r, a, &b);
	assert_span(buf_span(&b), want);
	buf_release(&b);
	arena_free(&a);
	unsetenv("TZ");
}

#define DATE "Thu, 20 Nov 2025 10:00:00 +0000 (UTC)\r\n"

static void
test_plain_forms(void **state)
{
	struct received r = base;

	(void)state;
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postfix) with ESMTP id 4Pw1y93jKXz3w; " DATE);
	r.only_rcpt = SPAN("john doe@example.org");
	r.client_addr = SPAN("2001:db8::1");
	check(&r, "Received: from client.example (client.example [IPv6:2001:db8::1])\r\n"
	    "\tby mx.example.org (Postfix) with ESMTP id 4Pw1y93jKXz3w\r\n"
	    "\tfor <\"john doe\"@example.org>; " DATE);
	r.local = true;
	r.userid = 1000;
	check(&r, "Received: by mx.example.org (Postfix, from userid 1000)\r\n"
	    "\tid 4Pw1y93jKXz3w; " DATE);
	r.local = false;
	r.hide_client = true;
	check(&r, "Received: by mx.example.org (Postfix) id 4Pw1y93jKXz3w; " DATE);
}

static void
test_tls_comments(void **state)
{
	struct received_tls t = { .protocol = SPAN("TLSv1.3"), .cipher = SPAN("TLS_AES_256_GCM_SHA384"),
		.used_bits = 256, .alg_bits = 256, .key_exchange = SPAN("X25519"),
		.server_signature = SPAN("RSA-PSS"), .server_signature_detail = SPAN("2048 bits"),
		.server_digest = SPAN("SHA256"), .client_signature = SPAN("ECDSA"),
		.client_signature_detail = SPAN("P-256"), .client_digest = SPAN("SHA256"),
		.peer_asked = true, .peer_given = true, .peer_verified = true,
		.peer_cn = SPAN("evil) (\\\n\xc3\xa4"), .issuer_cn = SPAN("CA") };
	struct received r = base;

	(void)state;
	r.tls_used = r.authenticated = true;
	r.tls = &t;
	r.login = SPAN("joe");
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n"
	    "\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256\r\n"
	    "\t client-signature ECDSA (P-256) client-digest SHA256)\r\n"
	    "\t(Client CN \"evil? (???" "?)\", Issuer \"CA\" (verified OK))\r\n"
	    "\t(Authenticated sender: joe)\r\n"
	    "\tby mx.example.org (Postfix) with ESMTPSA id 4Pw1y93jKXz3w; " DATE);
	r.tls = NULL;
	r.login = SPAN("");
	r.tls_suite = SPAN("TLS_AES_256_GCM_SHA384");
	r.tls_group = SPAN("x25519");
	r.only_rcpt = SPAN("b@example.org");
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postfix) with ESMTPSA id 4Pw1y93jKXz3w\r\n"
	    "\tfor <b@example.org>\r\n\ttls TLS_AES_256_GCM_SHA384 group x25519; " DATE);
	r.tls_group = SPAN("0x1234");   /* no name that is registered */
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postfix) with ESMTPSA id 4Pw1y93jKXz3w\r\n"
	    "\tfor <b@example.org>\r\n\ttls TLS_AES_256_GCM_SHA384; " DATE);
	r.tls_suite = SPAN("(NONE)");
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postfix) with ESMTPSA id 4Pw1y93jKXz3w\r\n"
	    "\tfor <b@example.org>; " DATE);
}

static void
test_tls_without_details(void **state)
{
	struct received_tls t = { .protocol = SPAN("TLSv1.2"), .cipher = SPAN("AES"), .used_bits = 128,
		.alg_bits = 256, .server_signature = SPAN("ECDSA"),
		.server_signature_detail = SPAN("P-256 raw public key") };
	struct received r = base;

	(void)state;
	r.tls_used = true;
	r.tls = &t;
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\t(using TLSv1.2 with cipher AES (128/256 bits)\r\n"
	    "\t server-signature ECDSA (P-256 raw public key))\r\n"
	    "\t(No client certificate requested)\r\n"
	    "\tby mx.example.org (Postfix) with ESMTPS id 4Pw1y93jKXz3w; " DATE);
	t.server_signature = SPAN("");
	t.peer_asked = true;
	check(&r, "Received: from client.example (client.example [192.0.2.1])\r\n"
	    "\t(using TLSv1.2 with cipher AES (128/256 bits))\r\n"
	    "\t(Client did not present a certificate)\r\n"
	    "\tby mx.example.org (Postfix) with ESMTPS id 4Pw1y93jKXz3w; " DATE);
}

static void
test_protocol_words(void **state)
{
	static const struct {
		enum received_with with;
		bool utf8, tls, auth;
		const char *word;
	} rows[] = {
		{ RECEIVED_SMTP, false, false, false, "SMTP" },
		{ RECEIVED_SMTP, false, true, false, "SMTP" },
		{ RECEIVED_ESMTP, false, false, true, "ESMTPA" },
		{ RECEIVED_ESMTP, false, true, true, "ESMTPSA" },
		{ RECEIVED_ESMTP, true, true, true, "UTF8SMTPSA" },
		{ RECEIVED_LMTP, false, true, false, "LMTPS" },
		{ RECEIVED_LMTP, true, false, false, "UTF8LMTP" },
	};
	struct arena *a = arena_new(65536);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct received r = { .with = rows[i].with, .smtputf8 = rows[i].utf8,
			.tls_used = rows[i].tls, .authenticated = rows[i].auth };

		assert_span(received_protocol(&r, a), rows[i].word);
	}
	arena_free(&a);
}

static void
test_helo_cannot_forge(void **state)
{
	struct received r = base;

	(void)state;
	r.helo = SPAN("x (y\r\n z;@\xff");
	r.client_name = SPAN("");
	check(&r, "Received: from x?" "?y?" "?" "?z?" "?" "? (unknown [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postfix) with ESMTP id 4Pw1y93jKXz3w; " DATE);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_plain_forms),
	KIT_TEST(test_tls_comments),
	KIT_TEST(test_tls_without_details),
	KIT_TEST(test_protocol_words),
	KIT_TEST(test_helo_cannot_forge),
};
KIT_MAIN(tests)
