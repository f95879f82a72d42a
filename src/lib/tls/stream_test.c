/* Handshakes over socket pairs: both ends are ours, with real certificates. */
#include "tls/stream.h"
#include "tls/credentials.h"

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "kit/certs.h"
#include "kit/kit.h"
#include "tls/library.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))
#define LONG_CIPHERS "aNULL:-aNULL:HIGH:MEDIUM:!SEED:!IDEA:!3DES:!RC2:!RC4:!RC5:!kDH:!kECDH:!aDSS:!MD5:+RC4:@STRENGTH"

static struct kit_cert root, leaf, other;

static int
make_world(void **state)
{
	(void)state;
	root = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true });
	leaf = kit_cert((struct kit_cert_spec){ .cn = "mx", .san = "DNS:mx.example.org", .issuer = &root });
	other = kit_cert((struct kit_cert_spec){ .cn = "two", .san = "DNS:two.example", .issuer = &root,
		.kind = "RSA2048" });
	return 0;
}

static int
end_world(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&leaf);
	kit_cert_free(&other);
	return 0;
}

static const char *
leaf_file(void)
{
	return kit_pem_file("leaf.pem", "kc", (const struct kit_cert *const[]){ &leaf, &leaf });
}

static const char *
root_file(void)
{
	return kit_pem_file("root.pem", "c", (const struct kit_cert *const[]){ &root });
}

static struct tls_server_params
server_params(void)
{
	return (struct tls_server_params){
		.service = "smtp",
		.chain = { "smtpd_tls", leaf_file(), "", "", "", "", "", "" },
		.roots = { .prefix = "smtpd_tls", .CAfile = "", .CApath = "" },
		.ccert_verifydepth = 9,
		.protocols = ">=TLSv1", .mandatory_protocols = ">=TLSv1",
		.ciphers = "medium", .mandatory_ciphers = "medium",
		.exclude_ciphers = "", .mandatory_exclude_ciphers = "",
		.high_cipherlist = LONG_CIPHERS, .medium_cipherlist = LONG_CIPHERS, .null_cipherlist = "eNULL",
		.eecdh_auto_curves = "X25519 X448 prime256v1 secp384r1 secp521r1",
		.ffdhe_auto_groups = "ffdhe2048 ffdhe3072",
		.eecdh_grade = "auto", .eecdh_strong_curve = "prime256v1", .eecdh_ultra_curve = "secp384r1",
		.dh1024_param_file = "",
		.fingerprint_digest = "sha256",
		.session_ticket_cipher = "aes-256-cbc",
		.session_timeout_s = 3600,
		.always_issue_session_ids = true,
	};
}

static struct tls_client_ctx *
client_ctx(const char *chain_files)
{
	struct tls_client_ctx_params p = {
		.chain = { "smtp_tls", chain_files, "", "", "", "", "", "" },
		.roots = { .prefix = "smtp_tls", .CAfile = root_file(), .CApath = "" },
		.session_timeout_s = 3600, .session_count_max = 10,
	};
	struct tls_client_ctx *c = tls_client_ctx_new(&p, NULL);

	assert_non_null(c);
	return c;
}

static const struct tls_params params = {
	.prefix = "smtp", .security_level = "may", .protocols = ">=TLSv1", .mandatory_protocols = ">=TLSv1.2",
	.ciphers = "medium", .mandatory_ciphers = "medium", .exclude_ciphers = "", .mandatory_exclude_ciphers = "",
	.mandatory_weak = "", .verify_cert_match = "hostname", .secure_cert_match = "nexthop, dot-nexthop",
	.fingerprint_cert_match = "", .fingerprint_digest = "sha256", .trust_anchor_file = "", .servername = "",
	.high_cipherlist = LONG_CIPHERS, .medium_cipherlist = LONG_CIPHERS, .null_cipherlist = "eNULL",
	.eecdh_auto_curves = "X25519 X448 prime256v1 secp384r1 secp521r1",
	.ffdhe_auto_groups = "ffdhe2048 ffdhe3072", .verifydepth = 9,
};

static void
decide(struct tls_decision *d, struct arena *a, const char *entry)
{
	struct tls_facts f = { .params = &params, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"),
		.port = 25, .table = { .state = TLS_ANSWER_FOUND, .value = span_str(entry), .source = SPAN("t:1") } };

	if (!tls_policy_decide(&f, a, d))
		fail_msg("%s: %.*s", entry, SPAN_ARG(d->warnings[0]));
}

/* A connection under test. */
struct link {
	int fd[2];
	struct stream client, server;
	struct arena *arena;
	struct tls_decision d;
};

static void
link_up(struct link *l, struct tls_client_ctx *c, struct tls_server_ctx *s, const char *entry, struct span key,
    bool with_sni)
{
	assert_int_equal(fd_socketpair(SOCK_STREAM, l->fd), 0);
	l->arena = arena_new(4 << 20);
	decide(&l->d, l->arena, entry);
	stream_init(&l->client, l->fd[0]);
	stream_init(&l->server, l->fd[1]);
	assert_true(stream_start_client(&l->client, c, &l->d, key, CERTS_NOW, NULL));
	assert_true(stream_start_server(&l->server, s, with_sni, NULL));
}

static void
link_down(struct link *l)
{
	stream_release(&l->client);
	stream_release(&l->server);
	fd_close(&l->fd[0]);
	fd_close(&l->fd[1]);
	arena_free(&l->arena);
}

/* Step both ends until both are done or one fails. */
static bool
shake(struct link *l, enum stream_result *client_r, enum stream_result *server_r)
{
	for (int i = 0; i < 50; i++) {
		*client_r = stream_handshake(&l->client);
		*server_r = stream_handshake(&l->server);
		if (*server_r == STREAM_WANT_CHAIN)
			return false;
		if (*client_r == STREAM_DONE && *server_r == STREAM_DONE)
			return true;
		if (*client_r >= STREAM_WANT_CHAIN || *server_r >= STREAM_WANT_CHAIN)
			break;
	}
	return false;
}

static bool
shake_quietly(struct link *l)
{
	enum stream_result c, s;

	return shake(l, &c, &s);
}

/* Text from one end to the other, with both ends' tickets and the like read on the way. */
static void
say(struct stream *from, struct stream *to, const char *text)
{
	struct iovec v[2] = { { .iov_base = strdup(text), .iov_len = 1 }, { NULL, strlen(text) - 1 } };
	char got[4096];
	size_t n = 0, sent;

	v[1].iov_base = (char *)v[0].iov_base + 1;
	assert_int_equal(stream_writev(from, v, 2, &sent), STREAM_DONE);
	assert_int_equal(sent, strlen(text));
	while (n < sent) {
		size_t some = 0;
		enum stream_result r = stream_read(to, got + n, sizeof(got) - n, &some);

		assert_true(r == STREAM_DONE || r == STREAM_WANT_READ);
		n += some;
	}
	assert_memory_equal(got, text, n);
	free(v[0].iov_base);
}

static void
test_levels(void **state)
{
	static const struct {
		const char *entry;
		bool matched;
		enum tls_trust trust;
	} rows[] = {
		{ "may", true, TLS_TRUST_TRUSTED },
		{ "encrypt", true, TLS_TRUST_TRUSTED },
		{ "encrypt protocols=TLSv1.2", true, TLS_TRUST_ANONYMOUS },
		{ "encrypt protocols=TLSv1.2 ciphers=high exclude=AES128:aNULL", true, TLS_TRUST_TRUSTED },
		{ "verify", true, TLS_TRUST_VERIFIED },
		{ "verify protocols=TLSv1.2", true, TLS_TRUST_VERIFIED },
		{ "secure", true, TLS_TRUST_VERIFIED },
		{ "secure match=nexthop", false, TLS_TRUST_UNTRUSTED },
		{ "verify match=other.example", false, TLS_TRUST_UNTRUSTED },
		{ "fingerprint match=0011223344556677889900112233445566778899001122334455667788990011", false,
		    TLS_TRUST_UNTRUSTED },
	};
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct tls_verdict *v;
		struct link l;

		link_up(&l, c, s, rows[i].entry, SPAN(""), false);
		if (!shake_quietly(&l))
			fail_msg("%s: %s / %s %s", rows[i].entry, stream_failure(&l.client)->text,
			    stream_failure(&l.server)->text, stream_failure(&l.server)->library[0]);
		v = stream_verdict(&l.client, CERTS_NOW);
		if (v->matched != rows[i].matched || v->trust != rows[i].trust)
			fail_msg("%s: %s %s", rows[i].entry, tls_trust_name(v->trust), v->reason);
		say(&l.client, &l.server, "EHLO a.example\r\n");
		say(&l.server, &l.client, "250 mx.example.org\r\n");
		link_down(&l);
	}
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

static void
test_the_summary_lines(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");
	struct tls_info info;
	struct link l;

	(void)state;
	link_up(&l, c, s, "secure", SPAN(""), false);
	assert_true(shake_quietly(&l));
	assert_true(stream_info(&l.client, "sha256", l.arena, &info));
	log_tls_client_summary(NULL, tls_trust_name(stream_verdict(&l.client, CERTS_NOW)->trust), false,
	    SPAN("MX.Example.org[192.0.2.1]:25"), &info.wire);
	assert_true(kit_logged("Verified TLS connection established to mx.example.org[192.0.2.1]:25: TLSv1.3 with cipher "
	    "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange x25519 server-signature ECDSA (prime256v1) "
	    "server-digest SHA256"));
	assert_span(info.peer_cn, "mx");
	assert_span(info.issuer_cn, "Root");
	assert_int_equal(info.cert_fp.n, 95);
	assert_true(stream_info(&l.server, "sha256", l.arena, &info));
	assert_false(info.peer_cert);
	log_tls_server_summary(NULL, "Anonymous", SPAN("unknown[192.0.2.2]"), info.sni, &info.wire);
	assert_true(kit_logged("Anonymous TLS connection established from unknown[192.0.2.2]: TLSv1.3 with cipher "
	    "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange x25519 server-signature ECDSA (prime256v1) "
	    "server-digest SHA256"));
	link_down(&l);
	link_up(&l, c, s, "encrypt protocols=TLSv1.2 exclude=aNULL", SPAN(""), false);
	assert_true(shake_quietly(&l));
	assert_true(stream_info(&l.client, "sha256", l.arena, &info));
	log_tls_client_summary(NULL, "Trusted", false, SPAN("mx[192.0.2.1]:25"), &info.wire);
	assert_true(kit_logged("TLSv1.2 with cipher ECDHE-ECDSA-AES256-GCM-SHA384 (256/256 bits)"));
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

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

static struct tls_ticket_keys
ticket_keys(char a, char b)
{
	struct tls_ticket_keys k = { .count = b != 0 ? 2 : 1 };

	memset(k.key[0], a, TLS_TICKET_KEY_BYTES);
	memset(k.key[1], b, TLS_TICKET_KEY_BYTES);
	return k;
}

/* One connection with a cache key; true when it resumed. */
static bool
resumes(struct tls_client_ctx *c, struct tls_server_ctx *s, const char *entry, const struct tls_verdict **v_r,
    struct tls_verdict *copy)
{
	struct arena *a = arena_new(1 << 20);
	struct tls_decision d;
	struct span key;
	struct link l;
	bool resumed;

	decide(&d, a, entry);
	key = tls_session_key(a, "smtp", SPAN("example.org"), SPAN("mx.example.org"), SPAN("192.0.2.1"),
	    SPAN("me.example"), &d);
	link_up(&l, c, s, entry, key, false);
	assert_true(shake_quietly(&l));
	*copy = *stream_verdict(&l.client, CERTS_NOW);
	*v_r = copy;
	resumed = l.client.resumed;
	say(&l.server, &l.client, "250 ok\r\n");        /* TLS 1.3 tickets arrive with the first read */
	assert_int_equal(stream_shutdown(&l.client), STREAM_DONE);
	link_down(&l);
	arena_free(&a);
	return resumed;
}

static struct span
usual_key(struct arena *a, const struct tls_decision *d)
{
	return tls_session_key(a, "smtp", SPAN("example.org"), SPAN("mx.example.org"), SPAN("192.0.2.1"), SPAN("me.example"), d);
}

/* Connections at once: each hands in a ticket, each finds one. TLS 1.2 sessions may be shared. */
static void
test_sessions_for_connections_at_once(void **state)
{
	static const char *const entries[] = { "secure", "secure protocols=TLSv1.2" };
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_ticket_keys keys = ticket_keys('a', 0);
	struct tls_client_ctx *c = client_ctx("");
	struct arena *a = arena_new(4 << 20);
	struct link l[3];

	(void)state;
	tls_server_ctx_set_ticket_keys(s, &keys);
	for (unsigned e = 0; e < 2; e++)
		for (unsigned round = 0; round < 3; round++) {
			for (unsigned i = 0; i < 3; i++) {
				struct tls_decision d;

				decide(&d, a, entries[e]);
				link_up(&l[i], c, s, entries[e], usual_key(a, &d), false);
			}
			for (unsigned i = 0; i < 3; i++) {
				assert_true(shake_quietly(&l[i]));
				assert_true(stream_verdict(&l[i].client, CERTS_NOW)->matched);
				assert_int_equal(l[i].client.resumed, round > 0);
				say(&l[i].server, &l[i].client, "250 ok\r\n");
				(void)stream_shutdown(&l[i].client);
			}
			for (unsigned i = 0; i < 3; i++)
				link_down(&l[i]);
		}
	arena_free(&a);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

/* A handshake that does not end, for whatever reason, ends the session; and no session outlives a certificate that was trusted. */
static void
test_sessions_end(void **state)
{
	struct kit_cert brief = kit_cert((struct kit_cert_spec){ .cn = "mx", .san = "DNS:mx.example.org", .issuer = &root,
		.from_s = CERTS_NOW - 1000, .to_s = CERTS_NOW + 600 });
	const char *file = kit_pem_file("brief.pem", "kc", (const struct kit_cert *const[]){ &brief, &brief });
	struct tls_server_params p = server_params();
	struct tls_ticket_keys keys = ticket_keys('a', 0);
	struct tls_client_ctx *c = client_ctx("");
	struct arena *a = arena_new(4 << 20);
	struct tls_verdict v;
	const struct tls_verdict *vp;
	struct tls_server_ctx *s;
	struct tls_decision d;
	SSL_SESSION *found;
	struct link l;

	(void)state;
	p.chain.chain_files = file;
	s = tls_server_ctx_new(&p, NULL);
	tls_server_ctx_set_ticket_keys(s, &keys);
	decide(&d, a, "secure protocols=TLSv1.2");
	assert_false(resumes(c, s, "secure protocols=TLSv1.2", &vp, &v));
	/* within the session's hour, but behind the certificate's end */
	assert_non_null(found = tls_session_find(c, usual_key(a, &d), CERTS_NOW + 599, &v));
	SSL_SESSION_free(found);
	assert_null(tls_session_find(c, usual_key(a, &d), CERTS_NOW + 600, &v));
	/* silence: our own deadline takes the connection away */
	assert_false(resumes(c, s, "secure protocols=TLSv1.2", &vp, &v));
	link_up(&l, c, s, "secure protocols=TLSv1.2", usual_key(a, &d), false);
	assert_int_equal(stream_handshake(&l.client), STREAM_WANT_READ);
	link_down(&l);
	assert_null(tls_session_find(c, usual_key(a, &d), CERTS_NOW, &v));
	arena_free(&a);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
	kit_cert_free(&brief);
}

static void
test_resumption(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL), *laxer, *sibling;
	struct tls_client_ctx *c = client_ctx("");
	struct tls_ticket_keys k1 = ticket_keys('a', 0), k2 = ticket_keys('b', 'a'), k3 = ticket_keys('c', 'b');
	const struct tls_verdict *v;
	struct tls_verdict copy;

	(void)state;
	p.service = "submission";
	laxer = tls_server_ctx_new(&p, NULL);
	p.service = "smtp";
	sibling = tls_server_ctx_new(&p, NULL);
	tls_server_ctx_set_ticket_keys(s, &k1);
	tls_server_ctx_set_ticket_keys(laxer, &k1);
	tls_server_ctx_set_ticket_keys(sibling, &k1);
	static const char *const entries[] = { "secure", "secure protocols=TLSv1.2" };
	for (unsigned i = 0; i < 2; i++) {
		tls_server_ctx_set_ticket_keys(s, &k1);
		assert_false(resumes(c, s, entries[i], &v, &copy));
		assert_true(resumes(c, s, entries[i], &v, &copy));
		assert_true(v->matched);                /* the verdict travels with the session */
		assert_int_equal(v->trust, TLS_TRUST_VERIFIED);
		assert_true(resumes(c, sibling, entries[i], &v, &copy));        /* workers share the keys */
		tls_server_ctx_set_ticket_keys(s, &k2);
		assert_true(resumes(c, s, entries[i], &v, &copy));      /* the older key still opens */
		tls_server_ctx_set_ticket_keys(s, &k3);
		assert_true(resumes(c, s, entries[i], &v, &copy));      /* renewed meanwhile */
		tls_server_ctx_set_ticket_keys(s, &k1);
		assert_false(resumes(c, s, entries[i], &v, &copy));     /* an unknown key: full handshake */
		assert_false(resumes(c, laxer, entries[i], &v, &copy)); /* another service */
	}
	/* what the decision demands is part of the key; a mismatched session is never kept */
	assert_false(resumes(c, s, "verify", &v, &copy));
	assert_false(resumes(c, s, "secure match=other.example", &v, &copy));
	assert_false(v->matched);
	assert_false(resumes(c, s, "secure match=other.example", &v, &copy));
	assert_false(v->matched);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
	tls_server_ctx_unref(&laxer);
	tls_server_ctx_unref(&sibling);
}

/* tls_session_ticket_cipher, smtpd_tls_session_cache_timeout (the client's is smtp_tls_session_cache_timeout) */
static void
test_without_tickets(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_client_ctx *c = client_ctx("");
	const struct tls_verdict *v;
	struct tls_server_ctx *s;
	struct tls_verdict copy;

	(void)state;
	p.session_ticket_cipher = "";
	s = tls_server_ctx_new(&p, NULL);
	assert_non_null(s);
	assert_false(resumes(c, s, "secure", &v, &copy));
	assert_false(resumes(c, s, "secure", &v, &copy));
	assert_false(resumes(c, s, "secure protocols=TLSv1.2", &v, &copy));
	assert_false(resumes(c, s, "secure protocols=TLSv1.2", &v, &copy));
	tls_server_ctx_unref(&s);
	p.session_ticket_cipher = "aes-256-cbc";        /* but no keys handed in yet */
	s = tls_server_ctx_new(&p, NULL);
	assert_false(resumes(c, s, "secure", &v, &copy));
	assert_false(resumes(c, s, "secure protocols=TLSv1.2", &v, &copy));
	tls_server_ctx_unref(&s);
	tls_client_ctx_unref(&c);
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
test_failures(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s;
	struct tls_client_ctx *c = client_ctx("");
	enum stream_result cr, sr;
	struct stream plain;
	struct link l;
	size_t n;

	(void)state;
	p.protocols = "TLSv1.2";
	s = tls_server_ctx_new(&p, NULL);
	/* no version in common */
	link_up(&l, c, s, "encrypt protocols=TLSv1.3", SPAN(""), false);
	assert_false(shake(&l, &cr, &sr));
	(void)stream_handshake(&l.client);
	assert_string_equal(stream_failure(&l.server)->text, "-1");
	assert_true(stream_failure(&l.server)->n_library > 0);
	assert_int_equal(stream_handshake(&l.client), STREAM_ERROR);
	assert_non_null(strstr(stream_failure(&l.client)->library[0], "SSL routines"));
	link_down(&l);
	/* the peer goes away */
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	assert_int_equal(stream_handshake(&l.client), STREAM_WANT_READ);
	fd_close(&l.fd[1]);
	l.server.fd = -1;
	sr = stream_handshake(&l.client);
	assert_true(sr == STREAM_EOF || sr == STREAM_ERROR);
	assert_true(strcmp(stream_failure(&l.client)->text, "lost connection") == 0 ||
	    strcmp(stream_failure(&l.client)->text, "Connection reset by peer") == 0);
	link_down(&l);
	/* clear text where TLS was expected */
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	stream_release(&l.server);
	stream_init(&plain, l.fd[1]);
	assert_int_equal(stream_writev(&plain, &(struct iovec){ (char[]){ "220 hello there\r\n" }, 17 }, 1, &n),
	    STREAM_DONE);
	assert_int_equal(stream_handshake(&l.client), STREAM_ERROR);
	assert_true(stream_failure(&l.client)->n_library > 0);
	stream_init(&l.server, l.fd[1]);
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

static void
test_closing(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");
	struct link l;
	char got[64];
	size_t n;

	(void)state;
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	assert_true(shake_quietly(&l));
	assert_int_equal(stream_read(&l.server, got, sizeof(got), &n), STREAM_WANT_READ);
	assert_int_equal(stream_shutdown(&l.client), STREAM_DONE);
	assert_int_equal(stream_shutdown(&l.client), STREAM_DONE);
	assert_int_equal(stream_read(&l.server, got, sizeof(got), &n), STREAM_EOF);
	link_down(&l);
	/* without close_notify it is an end as well */
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	assert_true(shake_quietly(&l));
	fd_close(&l.fd[0]);
	assert_int_equal(stream_read(&l.server, got, sizeof(got), &n), STREAM_EOF);
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

/* Bytes that the client's socket has for it. */
static ssize_t
waiting(const struct link *l)
{
	static char got[65536];
	ssize_t n = recv(l->fd[0], got, sizeof(got), MSG_PEEK | MSG_DONTWAIT);

	return n < 0 ? 0 : n;
}

/* A ticket does not travel alone, unless there is nothing to say; the last words travel with the end. */
static void
test_packets(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_ticket_keys keys = ticket_keys('a', 0);
	struct tls_client_ctx *c = client_ctx("");
	struct iovec words = { (char[]){ "221 bye\r\n" }, 9 };
	char got[64];
	struct link l;
	size_t n;

	(void)state;
	tls_server_ctx_set_ticket_keys(s, &keys);
	link_up(&l, c, s, "encrypt protocols=>=TLSv1.3", SPAN(""), false);
	assert_true(shake_quietly(&l));
	assert_int_equal(waiting(&l), 0);
	assert_int_equal(stream_writev(&l.server, &words, 1, &n), STREAM_DONE);
	assert_true(waiting(&l) > 100 + (ssize_t)words.iov_len);
	assert_int_equal(stream_read(&l.client, got, sizeof(got), &n), STREAM_DONE);
	assert_span(span_of(got, n), "221 bye\r\n");
	stream_last_words(&l.server);
	assert_int_equal(stream_writev(&l.server, &words, 1, &n), STREAM_DONE);
	assert_int_equal(waiting(&l), 0);
	assert_int_equal(stream_shutdown(&l.server), STREAM_DONE);
	assert_int_equal(stream_read(&l.client, got, sizeof(got), &n), STREAM_DONE);
	assert_span(span_of(got, n), "221 bye\r\n");
	assert_int_equal(stream_read(&l.client, got, sizeof(got), &n), STREAM_EOF);
	link_down(&l);
	/* nothing to say */
	link_up(&l, c, s, "encrypt protocols=>=TLSv1.3", SPAN(""), false);
	assert_true(shake_quietly(&l));
	assert_int_equal(waiting(&l), 0);
	stream_push(&l.server);
	assert_true(waiting(&l) > 100);
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

/* Held records and a full socket: nothing is lost, nothing comes twice. */
static void
test_packets_and_a_full_socket(void **state)
{
	static char block[16384];
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");
	struct iovec much = { block, sizeof(block) }, words = { (char[]){ "221 bye\r\n" }, 9 };
	size_t n, sent = 0, read = 0;
	enum stream_result r;
	struct link l;

	(void)state;
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	assert_true(shake_quietly(&l));
	while ((r = stream_writev(&l.server, &much, 1, &n)) == STREAM_DONE)
		sent += n;
	assert_int_equal(r, STREAM_WANT_WRITE);
	for (unsigned i = 0; i < 2; i++) {      /* what the library has of that block must go first */
		assert_int_equal(stream_read(&l.client, block, sizeof(block), &n), STREAM_DONE);
		read += n;
	}
	while ((r = stream_writev(&l.server, &much, 1, &n)) == STREAM_WANT_WRITE) {
		assert_int_equal(stream_read(&l.client, block, sizeof(block), &n), STREAM_DONE);
		read += n;
	}
	sent += n;
	stream_last_words(&l.server);
	assert_int_equal(stream_writev(&l.server, &words, 1, &n), STREAM_DONE);
	while ((r = stream_shutdown(&l.server)) == STREAM_WANT_WRITE) {
		assert_int_equal(stream_read(&l.client, block, sizeof(block), &n), STREAM_DONE);
		read += n;
	}
	assert_int_equal(r, STREAM_DONE);
	while ((r = stream_read(&l.client, block, sizeof(block), &n)) == STREAM_DONE)
		read += n;
	assert_int_equal(r, STREAM_EOF);
	assert_int_equal(read, sent + words.iov_len);
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

static void
test_much_data(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");
	struct link l;
	struct ioq q;
	size_t total = 3000001, got = 0;
	uint32_t sum_out = 0, sum_in = 0;

	(void)state;
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	assert_true(shake_quietly(&l));
	ioq_init(&q, total);
	for (size_t i = 0; i < total; i++) {
		char b = (char)(uint8_t)(i * 7 + i / 251);

		sum_out = sum_out * 31 + (uint8_t)b;
		assert_true(ioq_add(&q, &b, 1));
	}
	while (got < total) {
		enum stream_result r = stream_flush(&l.client, &q);
		char in[5000];
		size_t n;

		assert_true(r == STREAM_DONE || r == STREAM_WANT_WRITE);
		while (stream_read(&l.server, in, sizeof(in), &n) == STREAM_DONE) {
			for (size_t i = 0; i < n; i++)
				sum_in = sum_in * 31 + (uint8_t)in[i];
			got += n;
		}
	}
	assert_int_equal(sum_in, sum_out);
	assert_int_equal(got, total);
	ioq_release(&q);
	link_down(&l);
	tls_client_ctx_unref(&c);
	tls_server_ctx_unref(&s);
}

static void
test_read_ahead_is_pending(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_server_ctx *s = tls_server_ctx_new(&p, NULL);
	struct tls_client_ctx *c = client_ctx("");
	struct iovec v = { (char[]){ "0123456789" }, 10 };
	struct link l;
	char got[4];
	size_t n;

	(void)state;
	link_up(&l, c, s, "encrypt", SPAN(""), false);
	assert_true(shake_quietly(&l));
	assert_int_equal(stream_writev(&l.client, &v, 1, &n), STREAM_DONE);
	assert_int_equal(stream_read(&l.server, got, 4, &n), STREAM_DONE);
	assert_true(stream_pending(&l.server));
	assert_int_equal(stream_read(&l.server, got, 4, &n), STREAM_DONE);
	assert_int_equal(stream_read(&l.server, got, 4, &n), STREAM_DONE);
	assert_false(stream_pending(&l.server));
	link_down(&l);
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
	assert_non_null(strstr(why.text, "smtpd_tls_cert_file"));
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
test_library_words(void **state)
{
	static const struct {
		const char *options, *workarounds;
		bool ok;
		uint64_t on, off;
	} rows[] = {
		{ NULL, NULL, true, 0, 0 },
		{ "", "", true, 0, 0 },
		{ "NO_TICKET, no_renegotiation", "TLSEXT_PADDING", true, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION,
		    SSL_OP_TLSEXT_PADDING },
		{ "0x4000", "0x10", true, 0x4000, 0x10 },
		{ "", "CVE-2010-4180", true, 0, 0 },
		{ "NO_SUCH_THING", "", false, 0, 0 },
		{ "", "NO_SUCH_THING", false, 0, 0 },
		{ "4000", "", false, 0, 0 },
	};
	struct tls_server_params p = server_params();
	struct fault why;
	uint64_t on, off;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (tls_option_bits(rows[i].options, rows[i].workarounds, &on, &off, &why) != rows[i].ok ||
		    (rows[i].ok && (on != rows[i].on || off != rows[i].off)))
			fail_msg("row %zu", i);
	p.ssl_options = "NO_SUCH_THING";
	assert_null(tls_server_ctx_new(&p, &why));
	assert_string_equal(why.text, "tls_ssl_options: unknown word \"NO_SUCH_THING\"");
	/* tls_ssl_options and tls_disable_workarounds above; tls_config_file and tls_config_name: the standard file is loaded already, and that is fine */
	assert_true(tls_library_open("default", "", &why));
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
	KIT_TEST(test_levels),
	KIT_TEST(test_the_summary_lines),
	KIT_TEST(test_client_certificates),
	KIT_TEST(test_resumption),
	KIT_TEST(test_sessions_for_connections_at_once),
	KIT_TEST(test_sessions_end),
	KIT_TEST(test_without_tickets),
	KIT_TEST(test_sni),
	KIT_TEST(test_failures),
	KIT_TEST(test_closing),
	KIT_TEST(test_packets),
	KIT_TEST(test_packets_and_a_full_socket),
	KIT_TEST(test_much_data),
	KIT_TEST(test_read_ahead_is_pending),
	KIT_TEST(test_server_credentials),
	KIT_TEST(test_legacy_pairs),
	KIT_TEST(test_anonymous_server),
	KIT_TEST(test_old_peers),
	KIT_TEST(test_groups),
	KIT_TEST(test_what_the_server_chooses),
	KIT_TEST(test_library_words),
	KIT_TEST(test_dh_files),
	KIT_TEST(test_server_level),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
