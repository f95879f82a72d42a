/* Handshakes and bytes over socket pairs: levels, summary lines, failures, packets, the end. */
#include "tls/stream.h"

#include "kit/stream_world.h"

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

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_levels),
	KIT_TEST(test_the_summary_lines),
	KIT_TEST(test_failures),
	KIT_TEST(test_closing),
	KIT_TEST(test_packets),
	KIT_TEST(test_packets_and_a_full_socket),
	KIT_TEST(test_much_data),
	KIT_TEST(test_read_ahead_is_pending),
	KIT_TEST(test_library_words),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
