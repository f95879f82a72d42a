/* Sessions and tickets over socket pairs: what is resumed, and what never is. */
#include "tls/stream.h"

#include "kit/stream_world.h"

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

/* --- a client's certificate that ends --- */

/* Shows `file`, with the session of `old` when there is one; what the server thinks of it, and the session for the next time. */
static struct tls_info
show(struct tls_server_ctx *s, const char *file, int version, SSL_SESSION **old, struct arena *a)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct stream server, client;
	struct tls_info info;
	char byte = 0;
	size_t got;
	int fd[2];

	assert_int_equal(fd_socketpair(SOCK_STREAM, fd), 0);
	assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, file), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
	stream_init(&server, fd[1]);
	stream_init(&client, fd[0]);
	client.ssl = SSL_new(ctx);
	assert_int_equal(SSL_set_fd(client.ssl, fd[0]), 1);
	if (*old != NULL)
		assert_int_equal(SSL_set_session(client.ssl, *old), 1);
	assert_true(stream_start_server(&server, s, false, NULL));
	while (!server.handshaken || !SSL_is_init_finished(client.ssl)) {
		if (!SSL_is_init_finished(client.ssl))
			(void)SSL_connect(client.ssl);
		assert_int_not_equal(stream_handshake(&server), STREAM_ERROR);
	}
	assert_int_equal(stream_writev(&server, &(struct iovec){ &byte, 1 }, 1, &got), STREAM_DONE);
	assert_int_equal(SSL_read(client.ssl, &byte, 1), 1);
	assert_true(stream_info(&server, "sha256", a, &info));
	SSL_SESSION_free(*old);
	*old = SSL_get1_session(client.ssl);
	SSL_shutdown(client.ssl);
	SSL_free(client.ssl);
	SSL_CTX_free(ctx);
	stream_release(&server);
	fd_close(&fd[0]);
	fd_close(&fd[1]);
	return info;
}

/* Of a client's chain the link that is in date for `life_s` more: 0 the certificate, 1 its authority. */
static const char *
brief_chain(unsigned link, int64_t life_s, int64_t *end_r)
{
	int64_t end[2] = { 0, 0 };
	struct kit_cert sub, client;
	const char *file;

	*end_r = end[link] = (int64_t)time(NULL) + life_s;
	sub = kit_cert((struct kit_cert_spec){ .cn = "Sub", .ca = true, .issuer = &root, .to_s = end[1] });
	client = kit_cert((struct kit_cert_spec){ .cn = "client.example", .eku = "clientAuth", .issuer = &sub, .to_s = end[0] });
	file = kit_pem_file("brief-client.pem", "kcc", (const struct kit_cert *const[]){ &client, &client, &sub });
	kit_cert_free(&sub);
	kit_cert_free(&client);
	return file;
}

/* A chain that is in date at first, and with it a session that was resumed once; false = this machine took too long. */
static bool
trusted_session(struct tls_server_ctx *s, unsigned link, int version, int64_t life_s, SSL_SESSION **old, struct arena *a)
{
	int64_t end;
	const char *file = brief_chain(link, life_s, &end);
	struct tls_info first = show(s, file, version, old, a), again = show(s, file, version, old, a);

	if ((int64_t)time(NULL) >= end)
		return false;
	assert_true(first.peer_trusted && !first.resumed && again.peer_trusted && again.resumed);
	while ((int64_t)time(NULL) <= end)
		usleep(50000);
	again = show(s, file, version, old, a);
	if (again.peer_trusted || again.resumed)
		fail_msg("trusted %d, resumed %d behind the end of link %u, TLS %x", again.peer_trusted, again.resumed, link, version);
	assert_span(again.untrusted, "certificate has expired");
	/* what is not trusted is worth its fingerprint, and that has no end */
	again = show(s, file, version, old, a);
	assert_true(again.resumed && !again.peer_trusted);
	return true;
}

/* A session keeps the verdict about its client's chain, but not behind the chain's end - however often it is renewed. */
static void
test_client_chain_ends(void **state)
{
	struct tls_server_params p = server_params();
	struct tls_ticket_keys keys = ticket_keys('a', 0);
	struct arena *a = arena_new(1 << 20);
	struct tls_server_ctx *s;

	(void)state;
	p.roots.CAfile = root_file();
	p.ask_ccert = true;
	s = tls_server_ctx_new(&p, NULL);
	tls_server_ctx_set_ticket_keys(s, &keys);
	for (unsigned i = 0; i < 2; i++) {
		SSL_SESSION *old = NULL;
		int64_t life_s = 2;

		while (!trusted_session(s, i, i == 0 ? TLS1_3_VERSION : TLS1_2_VERSION, life_s, &old, a)) {
			SSL_SESSION_free(old);
			old = NULL;
			life_s *= 4;
			assert_true(life_s < 1000);
		}
		SSL_SESSION_free(old);
	}
	arena_free(&a);
	tls_server_ctx_unref(&s);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_client_chain_ends),
	KIT_TEST(test_resumption),
	KIT_TEST(test_sessions_for_connections_at_once),
	KIT_TEST(test_sessions_end),
	KIT_TEST(test_without_tickets),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
