/* TLS of the SMTP client role: the outcome matrix, verdict lines, throttling, reuse (tls-client.md 1, 13, 20). */
#include <sys/un.h>

#include "kit/smtp_world.h"
#include "tls/ladder.h"

#define HOP "[127.0.0.1]:%u"
#define STARTTLS_EHLO { NULL, "EHLO", "250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n" }

static struct kit_cert root, leaf, rsa_leaf;

static struct tls_server_ctx *
server_tls_of(const struct kit_cert *cert, const char *protocols, const char *ticket_cipher)
{
	const char *pem = kit_pem_file("server.pem", "kc", (const struct kit_cert *const[]){ cert, cert });
	struct tls_server_params p = {
		.service = "smtp", .chain = { "smtpd_tls", pem, "", "", "", "", "", "" },
		.roots = { .prefix = "smtpd_tls", .CAfile = "", .CApath = "" }, .ccert_verifydepth = 9,
		.protocols = protocols, .mandatory_protocols = protocols, .ciphers = "medium", .mandatory_ciphers = "medium",
		.exclude_ciphers = "", .mandatory_exclude_ciphers = "", .high_cipherlist = "aNULL:-aNULL:HIGH:@STRENGTH",
		.medium_cipherlist = "aNULL:-aNULL:HIGH:MEDIUM:@STRENGTH", .null_cipherlist = "eNULL:!aNULL",
		.eecdh_auto_curves = "X25519 prime256v1", .ffdhe_auto_groups = "", .dh1024_param_file = "",
		.fingerprint_digest = "sha256", .session_ticket_cipher = ticket_cipher, .session_timeout_s = 3600, .eecdh_grade = "auto",
	};
	struct tls_ticket_keys keys = { .count = 1 };
	struct fault why = { 0 };
	struct tls_server_ctx *c = tls_server_ctx_new(&p, &why);

	if (c == NULL)
		fail_msg("%s", why.text);
	memset(&keys.key[0], 'k', sizeof(keys.key[0]));
	tls_server_ctx_set_ticket_keys(c, &keys);
	return c;
}

static struct tls_server_ctx *
server_tls_with(const char *protocols, const char *ticket_cipher)
{
	return server_tls_of(&leaf, protocols, ticket_cipher);
}

static struct tls_server_ctx *
server_tls_rsa(void)
{
	return server_tls_of(&rsa_leaf, ">=TLSv1.2", "");
}

static struct tls_server_ctx *
server_tls(void)
{
	return server_tls_with(">=TLSv1.2", "");
}

static const struct world_rule offers[] = { STARTTLS_EHLO, { 0 } };
static const struct world_rule refuses[] = { STARTTLS_EHLO, { NULL, "STARTTLS", "454 4.7.0 not now\r\n" }, { 0 } };
static const struct world_rule refuses_for_good[] = { STARTTLS_EHLO, { NULL, "STARTTLS", "554 5.7.0 never\r\n" }, { 0 } };
static const struct world_rule leaves[] = { STARTTLS_EHLO, { NULL, "STARTTLS", "421 4.3.2 bye\r\n" }, { 0 } };
static const struct world_rule hangs_up[] = { STARTTLS_EHLO, { NULL, "STARTTLS", "!" }, { 0 } };
static const struct world_rule plain[] = { { NULL, "EHLO", "250 mx.example\r\n" }, { 0 } };

static void
open_world(struct world *w, const char *conf)
{
	char text[4000], roots[300];

	snprintf(roots, sizeof(roots), "%s", kit_pem_file("roots.pem", "c", (const struct kit_cert *const[]){ &root }));
	snprintf(text, sizeof(text), "smtp_tls_CAfile = %s\nsmtp_tls_loglevel = 1\n%s", roots, conf);
	kit_log_mark();
	world_open(w, text, NULL);
	w->tls = server_tls();
	w->rules = offers;
}

static const struct {
	const char *name, *conf;
	const struct world_rule *rules;
	bool no_server_tls;             /* STARTTLS is accepted and the handshake fails */
	int64_t waited_s;
	const char *outcome, *logged, *tls;
	bool throttled;
	const char *announced;          /* warnings */
} matrix[] = {
	{ "may, offered", "smtp_tls_security_level = may\n", offers, false, 0, "0 2.0.0",
	    "Trusted TLS connection established to 127.0.0.1[127.0.0.1]:", "tls=may,", false, NULL },
	{ "may, not offered", "smtp_tls_security_level = may\n", plain, false, 0, "0 2.0.0", "status=sent", "tls=may:none,", false, NULL },
	{ "may, refused", "smtp_tls_security_level = may\n", refuses, false, 0, "0 2.0.0", "status=sent", "tls=may:none,", false, NULL },
	{ "may, handshake fails, first attempt", "smtp_tls_security_level = may\n", offers, true, 0,
	    "1 4.7.5 Cannot start TLS: handshake failure", "SSL_connect error to 127.0.0.1[127.0.0.1]:", "tls=may?,", false, NULL },
	{ "may, handshake fails, later attempt: in clear", "smtp_tls_security_level = may\n", offers, true, 301, "0 2.0.0",
	    "SSL_connect error to", "tls=may:none,", false, NULL },
	/* spec 20.15 */
	{ "may, 421 to STARTTLS is a failed handshake", "smtp_tls_security_level = may\n", leaves, false, 0,
	    "1 4.7.5 Cannot start TLS: handshake failure", NULL, "tls=may?,", false, NULL },
	{ "may, 421 to STARTTLS, later attempt", "smtp_tls_security_level = may\n", leaves, false, 301, "0 2.0.0", NULL, "tls=may:none,", false, NULL },
	{ "may, hang-up after STARTTLS, later attempt", "smtp_tls_security_level = may\n", hangs_up, false, 301, "0 2.0.0", NULL, "tls=may:none,", false, NULL },
	{ "encrypt, offered", "smtp_tls_security_level = encrypt\n", offers, false, 0, "0 2.0.0", "Trusted TLS connection", "tls=encrypt,", false, NULL },
	{ "encrypt, not offered", "smtp_tls_security_level = encrypt\n", plain, false, 0,
	    "1 4.7.4 TLS is required, but was not offered by host 127.0.0.1[127.0.0.1]", NULL, "tls=!encrypt,", true, NULL },
	{ "encrypt, refused", "smtp_tls_security_level = encrypt\n", refuses, false, 0,
	    "1 4.7.5 TLS is required, but host 127.0.0.1[127.0.0.1] refused to start TLS: 454 4.7.0 not now", NULL, "tls=!encrypt,", true, NULL },
	/* spec 20.14 */
	{ "encrypt, refused with 5xx defers", "smtp_tls_security_level = encrypt\n", refuses_for_good, false, 0,
	    "1 4.7.5 TLS is required, but host 127.0.0.1[127.0.0.1] refused to start TLS: 554 5.7.0 never", NULL, "tls=!encrypt,", true, NULL },
	{ "encrypt, handshake fails, never in clear", "smtp_tls_security_level = encrypt\n", offers, true, 100000,
	    "1 4.7.5 Cannot start TLS: handshake failure", NULL, "tls=!encrypt,", true, NULL },
	{ "none", "smtp_tls_security_level = none\nsmtp_tls_note_starttls_offer = yes\n", offers, false, 0, "0 2.0.0",
	    "Host offered STARTTLS: [127.0.0.1]", "tls=none,", false, NULL },
	{ "verify with the name in the table", "smtp_tls_security_level = none\n"
	    "smtp_tls_policy_maps = static:{verify match=mx.example}\n", offers, false, 0, "0 2.0.0",
	    "Verified TLS connection established to", "tls=verify,", false, NULL },
	{ "verify with another name", "smtp_tls_policy_maps = static:{verify match=other.example}\n", offers, false, 0,
	    "1 4.7.5 Server certificate not verified", "server certificate verification failed for 127.0.0.1[127.0.0.1]:", "tls=!verify,", true, NULL },
	{ "secure without CA", "smtp_tls_CAfile =\nsmtp_tls_policy_maps = static:{secure match=mx.example}\n", offers, false, 0,
	    "1 4.7.5 Server certificate not verified", "certificate verification failed for", "tls=!secure,", true, NULL },
	{ "a bad policy entry defers", "smtp_tls_policy_maps = static:{nonsense}\n", offers, false, 0,
	    "1 4.7.5 client TLS configuration problem", NULL, "status=deferred", true, "nonsense" },
	{ "a broken table defers", "smtp_tls_policy_maps = fail:x\n", offers, false, 0,
	    "1 4.7.5 client TLS configuration problem", NULL, "status=deferred", true, "" },
	{ "fingerprint that does not match", "smtp_tls_fingerprint_digest = sha1\nsmtp_tls_policy_maps = "
	    "static:{fingerprint match=3D:95:34:51:24:66:33:B9:D2:40:99:C0:C1:17:0B:D1:3D:95:34:51}\n", offers, false, 0,
	    "1 4.7.5 Server certificate not verified", NULL, "tls=!fingerprint,", true, NULL },
};

static void
outcomes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(matrix) / sizeof(matrix[0]); i++) {
		struct world w;

		open_world(&w, matrix[i].conf);
		w.rules = matrix[i].rules;
		if (matrix[i].no_server_tls)
			tls_server_ctx_unref(&w.tls);
		if (matrix[i].announced != NULL) {
			expect_log(matrix[i].announced);
			expect_log("TLS policy lookup for [127.0.0.1]:");
		}
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = matrix[i].waited_s });
		assert_outcome(&w, 0, matrix[i].outcome);
		if (matrix[i].logged != NULL && !kit_logged(matrix[i].logged))
			fail_msg("%s: no line %s", matrix[i].name, matrix[i].logged);
		if (!kit_logged(matrix[i].tls))
			fail_msg("%s: no %s", matrix[i].name, matrix[i].tls);
		if ((w.done.throttle.n > 0) != matrix[i].throttled)
			fail_msg("%s: throttle \"%.*s\"", matrix[i].name, SPAN_ARG(w.done.throttle));
		world_close(&w);
	}
}

/* Nothing of the message goes to a server that is not who it should be; the session ends politely. */
static void
a_wrong_server_learns_nothing(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = right.example\n");
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	while (w.closed == 0)
		loop_turn(w.loop, 100);
	assert_span(buf_span(&w.heard), "EHLO client.example\nSTARTTLS\nQUIT\n");
	world_close(&w);
}

static void
wrapper_mode(void **state)
{
	static const struct world_rule rules[] = { { NULL, "", "TLS" }, { 0 } };
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_wrappermode = yes\nsmtp_tls_security_level = encrypt\n");
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("Trusted TLS connection established"));
	assert_true(span_find(buf_span(&w.heard), SPAN("STARTTLS")) < 0);
	world_close(&w);
}

static void
tls_connections_are_used_again(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = encrypt\nsmtp_tls_connection_reuse = yes\n");
	for (int i = 0; i < 3; i++) {
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
		assert_outcome(&w, 0, "0 2.0.0");
	}
	assert_int_equal(w.connections, 1);
	assert_true(kit_logged("TLS connection reused to 127.0.0.1[127.0.0.1]:"));
	assert_true(kit_logged("conn_use=3"));
	world_close(&w);
}

/* As in Postfix, not without smtp_tls_connection_reuse; an entry of the policy table says it for one destination. */
static void
tls_connections_are_used_again_only_where_it_is_wanted(void **state)
{
	static const struct {
		const char *conf;
		unsigned connections;
	} rows[] = {
		{ "smtp_tls_security_level = encrypt\n", 2 },
		{ "smtp_tls_security_level = encrypt\nsmtp_tls_connection_reuse = no\n", 2 },
		{ "smtp_tls_policy_maps = static:{encrypt connection_reuse=yes}\n", 1 },
		{ "smtp_tls_connection_reuse = yes\nsmtp_tls_policy_maps = static:{encrypt connection_reuse=no}\n", 2 },
		{ "smtp_tls_security_level = none\n", 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		open_world(&w, rows[i].conf);
		for (int k = 0; k < 2; k++) {
			world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
			assert_outcome(&w, 0, "0 2.0.0");
		}
		if (w.connections != rows[i].connections)
			fail_msg("%s%u connections", rows[i].conf, w.connections);
		world_close(&w);
	}
}

/* Sessions are resumed without any parameter; a timeout of 0 is the switch. Without tickets and ids there is nothing. */
static void
sessions_are_resumed(void **state)
{
	static const struct {
		const char *conf, *ticket_cipher, *protocols;
		unsigned resumed;
	} rows[] = {
		{ "", "aes-256-cbc", ">=TLSv1.2", 2 },
		{ "", "aes-256-cbc", "TLSv1.2", 2 },
		{ "smtp_tls_session_cache_database = btree:/nowhere/at/all\n", "aes-256-cbc", ">=TLSv1.2", 2 },
		{ "smtp_tls_session_cache_timeout = 0\n", "aes-256-cbc", ">=TLSv1.2", 0 },
		{ "", "", "TLSv1.2", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtpc_role *s;
		struct world w;
		char text[400];

		snprintf(text, sizeof(text), "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = mx.example\n%s", rows[i].conf);
		open_world(&w, text);
		tls_server_ctx_unref(&w.tls);
		w.tls = server_tls_with(rows[i].protocols, rows[i].ticket_cipher);
		for (int k = 0; k < 3; k++) {
			world_mail(&w, (struct world_mail){ .nexthop = HOP });
			assert_outcome(&w, 0, "0 2.0.0");
		}
		s = w.role.state;
		assert_int_equal(s->tls.handshakes, 3);
		assert_int_equal(s->tls.forward_secret, 3);
		assert_int_equal(s->tls.sent, 3);
		assert_int_equal(s->tls.sent_forward_secret, 3);
		if (s->tls.resumed != rows[i].resumed)
			fail_msg("row %zu: %llu resumed", i, (unsigned long long)s->tls.resumed);
		assert_true(kit_logged("Verified TLS connection established"));
		world_close(&w);
	}
}

/* --- the ladder: what the server does to each ClientHello, and what comes of it --- */

static void
a_ladder_that_keeps_tls(void **state)
{
	static const struct {
		const char *name, *conf;
		unsigned fail;                  /* handshakes that the server breaks off */
		const char *protocols;          /* of the server */
		int64_t waited_s;
		const char *outcome, *logged, *tls;
		unsigned connections;
	} rows[] = {
		{ "full strength", "smtp_tls_security_level = may\n", 0, ">=TLSv1.2", 0, "0 2.0.0", "established", "tls=may,", 1 },
		{ "one failure: no ticket, no post-quantum share", "smtp_tls_security_level = may\n", 1, ">=TLSv1.2", 0, "0 2.0.0",
		    "trying again with plainer TLS (no ticket, no post-quantum share)", "tls=may,", 2 },
		{ "two: TLS 1.2", "smtp_tls_security_level = may\n", 2, "TLSv1.2", 0, "0 2.0.0",
		    "trying again with plainer TLS (TLSv1.2)", "tls=may,", 3 },
		{ "two, but a server that knows TLS 1.3 refuses the fallback", "smtp_tls_security_level = may\n", 2, ">=TLSv1.2", 0,
		    "1 4.7.5 Cannot start TLS: handshake failure", "inappropriate fallback", "tls=may?,", 3 },
		{ "three, and the mail is new", "smtp_tls_security_level = may\n", 3, "TLSv1.2", 0,
		    "1 4.7.5 Cannot start TLS: handshake failure", "SSL_connect error", "tls=may?,", 3 },
		{ "three, and the mail has waited: clear text comes last", "smtp_tls_security_level = may\n", 3, "TLSv1.2", 301,
		    "0 2.0.0", "plainer TLS (TLSv1.2)", "tls=may:none,", 4 },
		{ "TLS 1.3 only: no rung below it", "smtp_tls_policy_maps = static:{may protocols=>=TLSv1.3}\n", 2, ">=TLSv1.2", 301,
		    "0 2.0.0", "plainer TLS (no ticket, no post-quantum share)", "tls=may:none,", 3 },
		{ "encrypt has no ladder", "smtp_tls_security_level = encrypt\n", 1, ">=TLSv1.2", 301,
		    "1 4.7.5 Cannot start TLS: handshake failure", "SSL_connect error", "tls=!encrypt,", 1 },
		{ "secure has none", "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = mx.example\n", 1, ">=TLSv1.2", 301,
		    "1 4.7.5 Cannot start TLS: handshake failure", "SSL_connect error", "tls=!secure,", 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		open_world(&w, rows[i].conf);
		tls_server_ctx_unref(&w.tls);
		w.tls = server_tls_with(rows[i].protocols, "");
		w.fail_handshakes = rows[i].fail;
		if (strcmp(rows[i].logged, "inappropriate fallback") == 0)
			expect_log("tlsv1 alert inappropriate fallback");
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = rows[i].waited_s });
		assert_outcome(&w, 0, rows[i].outcome);
		if (!kit_logged(rows[i].logged) || !kit_logged(rows[i].tls))
			fail_msg("%s: no line %s or %s", rows[i].name, rows[i].logged, rows[i].tls);
		if (w.connections != rows[i].connections)
			fail_msg("%s: %u connections", rows[i].name, w.connections);
		world_close(&w);
	}
}

/* One failure is bad luck: the next message begins at full strength again. */
static void
one_failure_is_not_remembered(void **state)
{
	struct smtpc_role *s;
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\n");
	w.fail_handshakes = 1;
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_int_equal(w.connections, 3);
	s = w.role.state;
	assert_int_equal(s->tls.plainer, 1);
	assert_int_equal(s->tls.failed, 1);
	assert_int_equal(s->tls.handshakes, 2);
	world_close(&w);
}

/*
 * A rung that worked after full strength had failed twice, five minutes apart, comes first next time, for a day at most. What
 * went in clear is never remembered: the next message begins at full strength.
 */
static void
a_rung_is_remembered_for_a_day_and_clear_text_never(void **state)
{
	static const struct {
		const char *name;
		int64_t before_s;               /* an earlier failure, so long ago; 0 = none */
		unsigned fail;                  /* handshakes of the first message that are broken off */
		unsigned first, second;         /* connections for the first message, for the second */
		bool clear;
	} rows[] = {
		{ "only one failure", 0, 1, 2, 1, false },
		{ "two, not far enough apart", 200, 1, 2, 1, false },
		{ "two", 400, 1, 2, 1, false },
		{ "two, but the first is forgotten", 25 * 3600, 1, 2, 1, false },
		{ "every rung failed, twice", 400, 3, 4, 4, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct smtpc_role *s;
		char key[64];
		struct world w;
		bool begins = i == 2;
		int64_t now_s;

		open_world(&w, "smtp_tls_security_level = may\n");
		s = w.role.state;
		now_s = loop_now_us(w.loop) / US_PER_S;
		snprintf(key, sizeof(key), "127.0.0.1:%u", w.port);
		if (rows[i].before_s > 0)
			tls_ladder_failed(s->ladder, span_str(key), TLS_RUNG_FULL, now_s - rows[i].before_s);
		w.fail_handshakes = rows[i].fail;
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = 301 });
		assert_outcome(&w, 0, "0 2.0.0");
		if (w.connections != rows[i].first || kit_logged("tls=may:none,") != rows[i].clear)
			fail_msg("%s: %u connections for the first message", rows[i].name, w.connections);
		w.connections = 0;
		w.fail_handshakes = rows[i].clear ? 3 : 0;
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = 301 });
		assert_outcome(&w, 0, "0 2.0.0");
		if (w.connections != rows[i].second || kit_logged("beginning with plainer TLS") != begins)
			fail_msg("%s: %u connections for the second message", rows[i].name, w.connections);
		world_close(&w);
	}
}

/* Silence in the handshake is a failure as any other, after smtp_starttls_timeout. */
static void
a_stalled_handshake_is_a_failed_one(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\nsmtp_starttls_timeout = 1s\n");
	w.stall_handshakes = 1;
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("SSL_connect error to 127.0.0.1[127.0.0.1]:"));
	assert_true(kit_logged("Connection timed out"));
	assert_true(kit_logged("plainer TLS (no ticket, no post-quantum share)"));
	assert_int_equal(w.connections, 2);
	world_close(&w);
}

/*
 * Raw public keys (RFC 7250): asked for where smtp_tls_enable_rpk or enable_rpk= says so, and good for a pin of the key. A
 * library that has none says so once and goes on with certificates.
 */
static void
raw_public_keys(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct span key = tls_pkey_fingerprint(leaf.cert, "sha256", a), cert = tls_cert_fingerprint(leaf.cert, "sha256", a);
	const struct {
		const char *level;
		struct span match;
		bool raw, matched;      /* where the library can */
		bool matched_below;
	} rows[] = {
		{ "fingerprint enable_rpk=yes", key, true, true, true },
		{ "fingerprint enable_rpk=no", key, false, true, true },
		{ "fingerprint enable_rpk=yes", cert, true, false, true },      /* there is no certificate to digest */
		{ "encrypt enable_rpk=yes", SPAN(""), true, true, true },
		{ "encrypt", SPAN(""), true, true, true },                      /* the parameter */
		{ "may enable_rpk=no", SPAN(""), false, true, true },
		{ "verify match=mx.example", SPAN(""), false, true, true },     /* never where names count */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool can = tls_rpk_available(), matched = can ? rows[i].matched : rows[i].matched_below;
		struct world w;
		char conf[500];

		if (!can)
			expect_log("raw public keys need OpenSSL 3.2 or later");
		snprintf(conf, sizeof(conf), "smtp_tls_enable_rpk = yes\nsmtp_tls_fingerprint_digest = sha256\n"
		    "smtp_tls_policy_maps = static:{%s%s%.*s}\n", rows[i].level, rows[i].match.n > 0 ? " match=" : "",
		    SPAN_ARG(rows[i].match));
		open_world(&w, conf);
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
		static const unsigned char types[] = { TLSEXT_cert_type_rpk, TLSEXT_cert_type_x509 };

		assert_int_equal(SSL_CTX_set1_server_cert_type(tls_server_ctx_ssl(w.tls), types, sizeof(types)), 1);
#endif
		world_mail(&w, (struct world_mail){ .nexthop = HOP });
		assert_outcome(&w, 0, matched ? "0 2.0.0" : "1 4.7.5 Server certificate not verified");
		if (kit_logged("raw public key)") != (can && rows[i].raw))
			fail_msg("%s: raw public key?", rows[i].level);
		if (rows[i].match.n > 0 && !kit_logged(matched ? "Verified TLS connection" : "Untrusted TLS connection"))
			fail_msg("%s: not as trusted as it should be", rows[i].level);
		world_close(&w);
	}
	arena_free(&a);
}

/* Static RSA: the line says what is missing, and the numbers do, too. */
static void
forward_secrecy_is_seen(void **state)
{
	struct smtpc_role *s;
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\nsmtp_tls_exclude_ciphers = kECDHE, kDHE\nsmtp_tls_protocols = TLSv1.2\n");
	tls_server_ctx_unref(&w.tls);
	w.tls = server_tls_rsa();
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("no forward secrecy with cipher AES256-GCM-SHA384"));
	s = w.role.state;
	assert_int_equal(s->tls.handshakes, 1);
	assert_int_equal(s->tls.forward_secret, 0);
	assert_int_equal(s->tls.sent, 1);
	assert_int_equal(s->tls.sent_forward_secret, 0);
	world_close(&w);
}

/* PLAIN is for servers that we know: the options for verified sessions apply only to those. */
static void
passwords_only_for_verified_servers(void **state)
{
	static const struct world_rule rules[] = { { NULL, "EHLO", "250-mx.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n" },
		{ NULL, "AUTH PLAIN", "235 2.7.0 ok\r\n" }, { 0 } };
	static const char conf[] = "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:u:p\n"
	    "smtp_sasl_tls_verified_security_options = noanonymous\n";
	struct world w;
	char text[600];

	(void)state;
	snprintf(text, sizeof(text), "%ssmtp_tls_security_level = encrypt\n", conf);
	open_world(&w, text);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "1 4.7.0 SASL authentication failed");
	assert_true(span_find(buf_span(&w.heard), SPAN("AUTH")) < 0);
	world_close(&w);
	snprintf(text, sizeof(text), "%ssmtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = mx.example\n", conf);
	open_world(&w, text);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(span_find(buf_span(&w.heard), SPAN("AUTH PLAIN AHUAcA==")) > 0);
	world_close(&w);
}

/* With a login the ladder ends before clear text. */
static void
no_clear_text_with_a_login(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:u:p\n");
	tls_server_ctx_unref(&w.tls);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = 100000 });
	assert_outcome(&w, 0, "1 4.7.5 Cannot start TLS: handshake failure");
	assert_int_equal(w.connections, 3);
	world_close(&w);
}

/* A link that drops under TLS (tls-client.md 1.2): in clear to the same server, by the same conditions as for a handshake that failed. */
static void
links_that_drop_under_tls(void **state)
{
	static const struct world_rule at_mail[] = { STARTTLS_EHLO, { NULL, "MAIL", "!" }, { 0 } },
	    at_ehlo[] = { { NULL, "EHLO", "!" }, { 0 } }, at_dot[] = { STARTTLS_EHLO, { NULL, ".", "!" }, { 0 } };
	static const struct {
		const char *name, *conf;
		const struct world_rule *rules;
		int64_t waited_s;
		bool probe;
		unsigned connections;
	} rows[] = {
		{ "may, mail that has waited", "smtp_tls_security_level = may\n", at_mail, 301, false, 2 },
		{ "at the end of the data, too", "smtp_tls_security_level = may\n", at_dot, 301, false, 2 },
		{ "may, new mail", "smtp_tls_security_level = may\n", at_mail, 299, false, 1 },
		{ "a probe need not wait", "smtp_tls_security_level = may\n", at_mail, 0, true, 2 },
		{ "may with a login", "smtp_tls_security_level = may\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:u:p\n", at_mail, 100000, false, 1 },
		{ "encrypt", "smtp_tls_security_level = encrypt\n", at_mail, 100000, false, 1 },
		{ "before TLS there is nothing to fall back from", "smtp_tls_security_level = may\n", at_ehlo, 100000, false, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		open_world(&w, rows[i].conf);
		w.rules = rows[i].rules;
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = rows[i].waited_s, .probe = rows[i].probe });
		assert_outcome(&w, 0, "1 4.4.2 lost connection with 127.0.0.1[127.0.0.1] while ");
		if (w.connections != rows[i].connections)
			fail_msg("%s: %u connections", rows[i].name, w.connections);
		world_close(&w);
	}
}

/* What was tried at one server says nothing about the next: every one gets the whole ladder. */
static void
every_server_has_its_own_ladder(void **state)
{
	char hops[100];
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\n");
	w.fail_handshakes = 100;
	snprintf(hops, sizeof(hops), "[127.0.0.2]:%u, [127.0.0.3]:%u", w.port, w.port);
	world_mail(&w, (struct world_mail){ .nexthop = hops });
	assert_outcome(&w, 0, "1 4.7.5 Cannot start TLS: handshake failure");
	assert_int_equal(w.connections, 6);
	world_close(&w);
}

/* A host that the policy passes over is not connected to at all. */
static void
hosts_that_are_passed_over(void **state)
{
	static const char *const confs[] = {
		"smtp_tls_wrappermode = yes\nsmtp_tls_policy_maps = static:may\n",
		"smtp_tls_policy_maps = static:{secure policy_type=sts match=a.example mx_host_pattern=mx.a.example}\n",
	};
	static const char *const warnings[] = { "smtp_tls_wrappermode needs TLS level encrypt or stronger, not may", "does not match the MTA-STS policy of the domain" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct world w;

		open_world(&w, confs[i]);
		expect_log(warnings[i]);
		expect_log("TLS policy lookup for ");
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .waited_s = 100000 });
		assert_outcome(&w, 0, "1 4.3.0 server unavailable or unable to receive mail");
		assert_int_equal(w.connections, 0);
		world_close(&w);
	}
}

/* smtp_tls_note_starttls_offer is about levels that do not use it; smtp_tls_block_early_mail_reply is off by default. */
static void
offers_are_noted_where_nothing_comes_of_them(void **state)
{
	static const char *const levels[] = { "none", "may", "encrypt" };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct world w;
		char text[200];

		snprintf(text, sizeof(text), "smtp_tls_security_level = %s\nsmtp_tls_note_starttls_offer = yes\n", levels[i]);
		open_world(&w, text);
		world_mail(&w, (struct world_mail){ .nexthop = HOP });
		assert_outcome(&w, 0, "0 2.0.0");
		assert_int_equal(kit_logged("Host offered STARTTLS"), i == 0);
		world_close(&w);
	}
}

/* The retry in clear belongs to the server whose TLS failed: one that must be spoken to under TLS does not inherit it. */
static void
the_retry_in_clear_is_not_inherited(void **state)
{
	static const struct world_rule rules[] = { STARTTLS_EHLO, { "127.0.0.2", "MAIL", "!" }, { 0 } };
	char hops[100];
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\nsmtp_mx_session_limit = 1\n"
	    "smtp_tls_policy_maps = regexp:{ {/127\\.0\\.0\\.3/ encrypt} }\n");
	w.rules = rules;
	snprintf(hops, sizeof(hops), "[127.0.0.2]:%u, [127.0.0.3]:%u", w.port, w.port);
	world_mail(&w, (struct world_mail){ .nexthop = hops, .waited_s = 100000 });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("relay=127.0.0.3[127.0.0.3]:"));
	assert_true(kit_logged("tls=encrypt,"));
	assert_true(kit_logged("Trusted TLS connection established to 127.0.0.3"));
	world_close(&w);
}

static int
make_certs(void **state)
{
	(void)state;
	int64_t now = clock_wall_us() / US_PER_S;

	root = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true, .from_s = now - 1000, .to_s = now + 100000 });
	leaf = kit_cert((struct kit_cert_spec){ .cn = "mx.example", .san = "DNS:mx.example", .issuer = &root,
	    .from_s = now - 1000, .to_s = now + 100000 });
	rsa_leaf = kit_cert((struct kit_cert_spec){ .cn = "rsa.example", .san = "DNS:rsa.example", .issuer = &root, .kind = "RSA2048",
	    .from_s = now - 1000, .to_s = now + 100000 });
	return 0;
}

static int
free_certs(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&leaf);
	kit_cert_free(&rsa_leaf);
	return 0;
}

static void
parameters(void **state)
{
	static const struct world_rule early[] = { { NULL, "", "TLS" }, { NULL, "EHLO", "250-mx.example\r\n250 PIPELINING\r\n250 2.1.0 early\r\n" }, { 0 } };
	static const struct world_rule wrapped_auth[] = { { NULL, "", "TLS" }, { NULL, "EHLO", "250-mx.example\r\n250 AUTH PLAIN\r\n" },
		{ NULL, "AUTH PLAIN", "235 2.7.0 ok\r\n" }, { 0 } };
	static const struct world_rule lmtp[] = { { NULL, "LHLO", "250-mx.example\r\n250 STARTTLS\r\n" }, { 0 } };
	static const struct {
		const char *conf, *service;
		const struct world_rule *rules;
		const char *outcome;
	} rows[] = {
		{ "smtp_tls_per_site = static:MUST_NOPEERMATCH\n", "smtp", plain, "1 4.7.4 TLS is required, but was not offered" },
		{ "smtp_tls_wrappermode = yes\nsmtp_tls_security_level = encrypt\nsmtp_tls_block_early_mail_reply = yes\n", "smtp", early,
		    "1 4.7.0 unexpected server message" },
		{ "smtp_tls_wrappermode = yes\nsmtp_tls_security_level = encrypt\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:u:p\n"
		    "smtp_sasl_tls_security_options = noanonymous\n", "smtp", wrapped_auth, "0 2.0.0" },
		{ "smtp_tls_wrappermode = yes\nsmtp_tls_security_level = encrypt\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:u:p\n"
		    "smtp_sasl_security_options = noanonymous\nsmtp_sasl_tls_security_options = noplaintext\n", "smtp", wrapped_auth,
		    "1 4.7.0 SASL authentication failed: server 127.0.0.1[127.0.0.1] offered no compatible" },
		{ "lmtp_tls_CAfile = $smtp_tls_CAfile\nlmtp_tls_security_level = secure\nlmtp_tls_secure_cert_match = mx.example\n", "lmtp", lmtp, "0 2.0.0" },
		{ "lmtp_tls_CAfile = $smtp_tls_CAfile\nlmtp_tls_security_level = secure\nlmtp_tls_secure_cert_match = other.example\n", "lmtp", lmtp,
		    "1 4.7.5 Server certificate not verified" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		open_world(&w, rows[i].conf);
		w.rules = rows[i].rules;
		world_mail(&w, (struct world_mail){ .service = rows[i].service, .nexthop = rows[i].service[0] == 'l' ? "inet:127.0.0.1:%u" : HOP });
		assert_outcome(&w, 0, rows[i].outcome);
		world_close(&w);
	}
}

/* A line without the TLS part is what programs written for older logs know. */
static void
log_without_tls(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, "smtp_tls_security_level = may\nsmtp_log_tls_feature_status = no\n");
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("status=sent"));
	assert_false(kit_logged("tls=may"));
	world_close(&w);
}

/* ---- TLSRPT: a record that is late holds up no message, and no report either */

static const struct world_dns report_dns[] = {
	{ "asks.example", DNS_TYPE_A, "127.0.0.2" }, { "_smtp._tls.asks.example", DNS_TYPE_TXT, "v=TLSRPTv1; rua=mailto:tls@asks.example" },
	{ "asks-not.example", DNS_TYPE_A, "127.0.0.2" }, { "_smtp._tls.asks-not.example", DNS_TYPE_TXT, "v=spf1 -all" },
	{ "fails.example", DNS_TYPE_A, "127.0.0.2" }, { "_smtp._tls.fails.example", DNS_TYPE_TXT, "!" },
	{ "twice.example", DNS_TYPE_A, "127.0.0.2" }, { "_smtp._tls.twice.example", DNS_TYPE_TXT, "v=TLSRPTv1;x, v=TLSRPTv1;y" }, { 0 } };

static char collector_path[100];

/* A collector's socket. */
static int
collector(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(collector_path, sizeof(collector_path), "/tmp/signet-test-tlsrpt.%ld", (long)getpid());
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", collector_path);
	unlink(un.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

/* The next datagram; "" = none. */
static const char *
collected(int fd)
{
	static char text[65536];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static size_t
reports(const struct world *w)
{
	const struct smtpc_role *s = w->role.state;

	return s->n_reports;
}

static void
open_report_world(struct world *w)
{
	char text[300];

	snprintf(text, sizeof(text), "smtp_tls_security_level = may\nsmtp_tlsrpt_enable = yes\nsmtp_tlsrpt_socket_name = %s\n", collector_path);
	open_world(w, text);
	w->dns = report_dns;
	w->hold_txt = true;
}

static void
settle_reports(struct world *w)
{
	int64_t end = clock_mono_us() + 30 * US_PER_S;

	world_answer_txt(w);
	while (reports(w) > 0 && clock_mono_us() < end)
		loop_turn(w->loop, 100);
	assert_int_equal(reports(w), 0);
}

static void
a_late_record_delays_no_mail(void **state)
{
	int fd = collector();
	struct world w;

	(void)state;
	open_report_world(&w);
	world_mail(&w, (struct world_mail){ .nexthop = "asks.example:%u" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_int_equal(reports(&w), 1);       /* it has outlived the delivery */
	assert_string_equal(collected(fd), "");
	assert_false(kit_logged("TLSRPT:"));
	settle_reports(&w);
	assert_non_null(strstr(collected(fd), "{\"dpv\":\"1\",\"d\":\"asks.example\",\"pr\":\"v=TLSRPTv1; rua=mailto:tls@asks.example\",\"policies\":[{\"policy-type\":9,"));
	assert_true(kit_logged("TLSRPT: status=success, domain=asks.example, receiving_mx=asks.example[127.0.0.2]"));
	world_close(&w);
	fd_close(&fd);
	unlink(collector_path);
}

static void
a_late_answer_that_asks_for_nothing(void **state)
{
	static const char *const nexthops[] = { "asks-not.example:%u", "fails.example:%u", "twice.example:%u" };
	int fd = collector();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct world w;

		if (i == 2)
			expect_log("_smtp._tls.twice.example: several TLSRPT records: none is used");
		open_report_world(&w);
		world_mail(&w, (struct world_mail){ .nexthop = nexthops[i] });
		assert_outcome(&w, 0, "0 2.0.0");
		assert_int_equal(reports(&w), 1);
		settle_reports(&w);
		assert_string_equal(collected(fd), "");
		assert_false(kit_logged("TLSRPT: status"));
		world_close(&w);
	}
	fd_close(&fd);
	unlink(collector_path);
}

static void
reports_do_not_pile_up(void **state)
{
	int fd = collector();
	struct world w;

	(void)state;
	open_report_world(&w);
	w.rules = plain;                /* no STARTTLS: nothing to tell, nothing to wait for */
	for (int i = 0; i < 3; i++) {
		world_mail(&w, (struct world_mail){ .nexthop = "asks.example:%u" });
		assert_outcome(&w, 0, "0 2.0.0");
		assert_int_equal(reports(&w), 0);
	}
	w.rules = offers;
	world_mail(&w, (struct world_mail){ .nexthop = "asks.example:%u" });
	assert_int_equal(reports(&w), 1);
	world_close(&w);                /* with one that waits */
	assert_string_equal(collected(fd), "");
	fd_close(&fd);
	unlink(collector_path);
}

/* The kernel takes no more for it. */
static void
fill(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", collector_path);
	for (int i = 0; i < 100000 && sendto(fd, "full", 4, 0, (struct sockaddr *)&un, sizeof(un)) == 4; i++)
		;
	fd_close(&fd);
}

static void
a_full_collector_is_tried_again(void **state)
{
	struct loop *loop = loop_new();
	int fd = collector();
	struct collector c;

	(void)state;
	collector_init(&c, loop);
	fill();
	collector_send(&c, collector_path, SPAN("one"));
	collector_send(&c, collector_path, SPAN("two"));
	assert_int_equal(c.n_unsent, 2);
	while (strcmp(collected(fd), "full") == 0)
		;
	while (c.n_unsent > 0)
		loop_turn(loop, 100);
	assert_string_equal(collected(fd), "one");
	assert_string_equal(collected(fd), "two");
	/* in bounds, and said once */
	fill();
	expect_log("Resource temporarily unavailable: reports lost since the last warning: 1; mail is delivered as ever");
	for (int i = 0; i < 1100; i++)
		collector_send(&c, collector_path, SPAN("more"));
	assert_int_equal(c.n_unsent, 1000);
	assert_int_equal(c.lost, 99);
	/* who goes away has lost them all */
	fd_close(&fd);
	unlink(collector_path);
	while (c.n_unsent > 0)
		loop_turn(loop, 100);
	assert_int_equal(c.lost, 1099);
	collector_release(&c);
	loop_free(&loop);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(outcomes),
	KIT_TEST(a_wrong_server_learns_nothing),
	KIT_TEST(wrapper_mode),
	KIT_TEST(tls_connections_are_used_again),
	KIT_TEST(tls_connections_are_used_again_only_where_it_is_wanted),
	KIT_TEST(sessions_are_resumed),
	KIT_TEST(a_ladder_that_keeps_tls),
	KIT_TEST(one_failure_is_not_remembered),
	KIT_TEST(links_that_drop_under_tls),
	KIT_TEST(every_server_has_its_own_ladder),
	KIT_TEST(hosts_that_are_passed_over),
	KIT_TEST(offers_are_noted_where_nothing_comes_of_them),
	KIT_TEST(a_rung_is_remembered_for_a_day_and_clear_text_never),
	KIT_TEST(a_stalled_handshake_is_a_failed_one),
	KIT_TEST(forward_secrecy_is_seen),
	KIT_TEST(raw_public_keys),
	KIT_TEST(passwords_only_for_verified_servers),
	KIT_TEST(no_clear_text_with_a_login),
	KIT_TEST(parameters),
	KIT_TEST(log_without_tls),
	KIT_TEST(a_late_record_delays_no_mail),
	KIT_TEST(a_late_answer_that_asks_for_nothing),
	KIT_TEST(reports_do_not_pile_up),
	KIT_TEST(a_full_collector_is_tried_again),
	KIT_TEST(the_retry_in_clear_is_not_inherited),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_certs, free_certs);
}
