/*
 * keeper's threads and the workers' provider, joined by real channels: handshakes of every kind of
 * key, what is refused, channels that say nonsense, a keeper that hangs or is gone.
 */
#include "role/keeper/keeper.h"

#include <openssl/err.h>
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ipc/ipc_private.h"
#include "kit/certs.h"
#include "kit/kit.h"
#include "tls/schemes.h"

static struct kit_cert root, ec, rsa, ed;
static struct loop *loop;
static struct ring *ring;
static struct server *server;

static void
on_ask(void *ctx, struct ask *a)
{
	(void)ctx;
	server_refuse(server, a, "not in this test");
}

static void
add_key(const struct kit_cert *c, struct key_use use)
{
	struct tls_chain *chain = tls_chain_new();

	assert_true(tls_chain_push(chain, c->cert, NULL, c->key));
	ring_add(ring, chain, use);
	tls_chain_unref(&chain);
}

static void
begin(void)
{
	loop = loop_new();
	ring = ring_new();
	server = server_new(ring);
	server_start(server, loop, 2, on_ask, NULL);
}

static void
end(void)
{
	tls_keeper_release();
	server_free(&server);
	ring_free(&ring);
	loop_free(&loop);
}

/* A channel as this role; our end. */
static int
channel(unsigned role)
{
	int pair[2];

	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	server_add(server, role, 0, pair[0]);
	return pair[1];
}

/* --- handshakes --- */

static EVP_PKEY *
far(const struct kit_cert *c)
{
	struct fault why = { 0 };
	EVP_PKEY *key = tls_keeper_key(X509_get0_pubkey(c->cert), &why);

	if (key == NULL)
		fail_msg("%s", why.text);
	return key;
}

static SSL_CTX *
context(const SSL_METHOD *method, const struct kit_cert *c, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	EVP_PKEY *key;

	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	if (c != NULL) {
		key = far(c);
		assert_int_equal(SSL_CTX_use_cert_and_key(ctx, c->cert, key, NULL, 1), 1);
		EVP_PKEY_free(key);
	}
	return ctx;
}

static int
accept_any(X509_STORE_CTX *store, void *ctx)
{
	(void)store;
	(void)ctx;
	return 1;
}

static bool
shake(SSL_CTX *client, SSL_CTX *served, const char *ciphers)
{
	SSL *c = SSL_new(client), *s = SSL_new(served);
	BIO *a, *b;
	bool done = false;

	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL_set_bio(c, a, a);
	SSL_set_bio(s, b, b);
	SSL_set_connect_state(c);
	SSL_set_accept_state(s);
	if (ciphers != NULL)
		assert_int_equal(SSL_set_cipher_list(c, ciphers), 1);
	for (int i = 0; i < 20 && !done; i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
		done = SSL_is_init_finished(c) && SSL_is_init_finished(s);
	}
	SSL_free(c);
	SSL_free(s);
	ERR_clear_error();
	return done;
}

static bool
serves(const struct kit_cert *c, int version, const char *ciphers)
{
	SSL_CTX *served = context(TLS_server_method(), c, version), *client = context(TLS_client_method(), NULL, version);
	bool ok = shake(client, served, ciphers);

	SSL_CTX_free(served);
	SSL_CTX_free(client);
	return ok;
}

static void
test_every_kind_of_key_serves(void **state)
{
	const struct kit_cert *all[] = { &rsa, &ec, &ed };

	(void)state;
	begin();
	for (size_t i = 0; i < 3; i++)
		add_key(all[i], (struct key_use){ .server = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPD));
	for (size_t i = 0; i < 3; i++) {
		assert_true(serves(all[i], TLS1_3_VERSION, NULL));
		assert_true(serves(all[i], TLS1_2_VERSION, "kECDHE"));
	}
	assert_true(serves(&rsa, TLS1_1_VERSION, "kECDHE"));    /* MD5 and SHA-1 together */
	assert_true(serves(&ec, TLS1_VERSION, "kECDHE"));
	assert_int_equal(server_counts(server).signatures, 8);
	assert_int_equal(server_counts(server).refused, 0);
	end();
}

static bool
authenticates(const struct kit_cert *c, int version)
{
	SSL_CTX *served = SSL_CTX_new(TLS_server_method()), *client = context(TLS_client_method(), c, version);
	bool ok;

	SSL_CTX_use_cert_and_key(served, root.cert, root.key, NULL, 1);
	SSL_CTX_set_verify(served, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(served, accept_any, NULL);
	ok = shake(client, served, NULL);
	SSL_CTX_free(served);
	SSL_CTX_free(client);
	return ok;
}

static void
test_every_kind_of_key_authenticates_a_client(void **state)
{
	const struct kit_cert *all[] = { &rsa, &ec, &ed };

	(void)state;
	begin();
	for (size_t i = 0; i < 3; i++)
		add_key(all[i], (struct key_use){ .client = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPC));
	for (size_t i = 0; i < 3; i++) {
		assert_true(authenticates(all[i], TLS1_3_VERSION));
		assert_true(authenticates(all[i], TLS1_2_VERSION));
	}
	end();
}

static void
test_rsa_key_exchange_needs_leave(void **state)
{
	(void)state;
	begin();
	add_key(&rsa, (struct key_use){ .server = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPD));
	assert_false(serves(&rsa, TLS1_2_VERSION, "AES256-GCM-SHA384"));
	add_key(&rsa, (struct key_use){ .server = true, .decrypt = true });
	assert_true(serves(&rsa, TLS1_2_VERSION, "AES256-GCM-SHA384"));
	end();
}

/* Wrong padding gets an answer like any other: 48 bytes, different every time. */
static void
test_wrong_padding_is_no_oracle(void **state)
{
	uint8_t id[TLS_KEY_ID_BYTES], text[256], a[48], b[48];
	struct fault why = { 0 };

	(void)state;
	begin();
	add_key(&rsa, (struct key_use){ .server = true, .decrypt = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPD));
	assert_true(tls_key_id(rsa.key, id));
	memset(text, 0x42, sizeof(text));
	text[0] = 0;
	assert_true(tls_keeper_decrypt(id, TLS1_2_VERSION, 0, span_of(text, sizeof(text)), a, &why));
	assert_true(tls_keeper_decrypt(id, TLS1_2_VERSION, 0, span_of(text, sizeof(text)), b, &why));
	assert_memory_not_equal(a, b, sizeof(a));
	end();
}

/* --- refusals --- */

static char good_text[64 + 34 + 32];

static void
make_good_text(void)
{
	memset(good_text, ' ', 64);
	memcpy(good_text + 64, "TLS 1.3, server CertificateVerify", 34);
	memset(good_text + 98, 'h', 32);
}

static bool
signs(const struct kit_cert *c, uint16_t scheme, struct span text, const char *says)
{
	uint8_t id[TLS_KEY_ID_BYTES], sig[8192];
	size_t n = sizeof(sig);
	struct fault why = { 0 };
	bool ok;

	assert_true(tls_key_id(X509_get0_pubkey(c->cert), id));
	ok = tls_keeper_sign(id, scheme, text, sig, &n, &why);
	if (says != NULL && strstr(why.text, says) == NULL)
		fail_msg("\"%s\" instead of \"%s\"", why.text, says);
	return ok;
}

static void
test_refusals(void **state)
{
	struct span good = span_of(good_text, sizeof(good_text));

	(void)state;
	make_good_text();
	begin();
	add_key(&ec, (struct key_use){ .server = true });
	add_key(&rsa, (struct key_use){ .client = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPD));
	assert_true(signs(&ec, 0x0403, good, NULL));
	assert_false(signs(&ed, 0x0807, good, "no such key"));
	assert_false(signs(&rsa, 0x0804, good, "this key is not for this process"));
	assert_false(signs(&ec, 0x0403, SPAN("a message of mine"), "is no TLS handshake of this side"));
	good_text[73] = 'c';            /* "TLS 1.3, cerver": no */
	assert_false(signs(&ec, 0x0403, good, "is no TLS handshake of this side"));
	memcpy(good_text + 64, "TLS 1.3, client CertificateVerify", 34);
	assert_false(signs(&ec, 0x0403, good, "is no TLS handshake of this side"));
	make_good_text();
	assert_false(signs(&ec, 0x0804, good, "no scheme for this key"));
	assert_false(signs(&ec, 0x1234, good, "no scheme for this key"));
	/* it lives, on the same channel */
	assert_true(signs(&ec, 0x0403, good, NULL));
	assert_int_equal(server_counts(server).refused, 7);
	end();
}

/* True when keeper closed our end within a second. */
static bool
closed(int fd)
{
	int64_t until = clock_mono_us() + US_PER_S;
	char c[64];

	while (clock_mono_us() < until) {
		ssize_t n = fd_read(fd, c, sizeof(c));

		if (n == 0 || n == -ECONNRESET)
			return true;
		usleep(1000);
	}
	return false;
}

static void
test_hostile_channels_cost_themselves(void **state)
{
	struct span good = span_of(good_text, sizeof(good_text));
	static const char half[] = { 40, 0, 0, 0, IPC_KEEPER_SIGN, 0 };
	char noise[4096];
	int fd, other;

	(void)state;
	make_good_text();
	begin();
	add_key(&ec, (struct key_use){ .server = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPD));
	memset(noise, 0xff, sizeof(noise));
	fd = channel(IPC_ROLE_SMTPD);
	assert_int_equal(fd_write(fd, noise, sizeof(noise)), sizeof(noise));    /* a frame of four gigabytes */
	other = channel(IPC_ROLE_SMTPD);
	assert_int_equal(fd_write(other, half, sizeof(half)), sizeof(half));    /* and one that never ends */
	assert_true(signs(&ec, 0x0403, good, NULL));
	assert_true(closed(fd));
	assert_true(closed(other));
	fd_close(&fd);
	fd_close(&other);
	/* a message of others, an answer, a garbled question, one that this role may not ask */
	fd = channel(IPC_ROLE_SMTPD);
	assert_int_equal(ipc_write_blocking(fd, IPC_ROLE_BEGIN, 1, SPAN(""), -1), 0);
	assert_true(closed(fd));
	fd_close(&fd);
	fd = channel(IPC_ROLE_SMTPD);
	assert_int_equal(ipc_write_blocking(fd, IPC_KEEPER_SIGNED, 1, SPAN(""), -1), 0);
	assert_true(closed(fd));
	fd_close(&fd);
	fd = channel(IPC_ROLE_SMTPD);
	assert_int_equal(ipc_write_blocking(fd, IPC_KEEPER_SIGN, 1, SPAN("nonsense"), -1), 0);
	assert_true(closed(fd));
	fd_close(&fd);
	fd = channel(IPC_ROLE_SMTPC);
	assert_int_equal(ipc_write_blocking(fd, IPC_KEEPER_DECRYPT, 1, SPAN(""), -1), 0);
	assert_true(closed(fd));
	fd_close(&fd);
	assert_true(signs(&ec, 0x0403, good, NULL));
	end();
}

/* --- keeper is away --- */

static void
test_a_silent_keeper_costs_one_second(void **state)
{
	struct span good = span_of(good_text, sizeof(good_text));
	int pair[2];
	int64_t start;

	(void)state;
	make_good_text();
	begin();
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	tls_keeper_set_channel(pair[1]);
	expect_log("keeper: no answer within a second: TLS handshakes that need a private key fail until it answers");
	start = clock_mono_us();
	assert_false(signs(&ec, 0x0403, good, "no answer within a second"));
	assert_in_range(clock_mono_us() - start, 900000, 3000000);
	/* the next ones do not wait again */
	start = clock_mono_us();
	for (int i = 0; i < 100; i++)
		assert_false(signs(&ec, 0x0403, good, "not asked again yet"));
	assert_in_range(clock_mono_us() - start, 0, 500000);
	/* a new keeper: all is forgotten */
	add_key(&ec, (struct key_use){ .server = true });
	tls_keeper_set_channel(channel(IPC_ROLE_SMTPD));
	assert_true(signs(&ec, 0x0403, good, NULL));
	fd_close(&pair[0]);
	end();
}

static void
test_without_keeper(void **state)
{
	struct tls_chain_params p = { "smtpd_tls", "/nonexistent", "", "", "", "", "", "" };
	struct tls_chain *chain;
	struct fault why = { 0 };

	(void)state;
	begin();
	tls_keeper_require(0);
	expect_log("keeper: the process that holds the private keys is not there");
	assert_false(signs(&ec, 0x0403, SPAN(""), "is not there"));
	assert_false(tls_chain_load(&p, &chain, &why));
	end();
}

/* --- chains that change --- */

static struct tls_chain *
chain_of(const struct kit_cert *leaf, const struct kit_cert *issuer)
{
	struct tls_chain *c = tls_chain_new();
	STACK_OF(X509) *issuers = sk_X509_new_null();

	if (issuer != NULL)
		sk_X509_push(issuers, issuer->cert);
	assert_true(tls_chain_push(c, leaf->cert, issuer != NULL ? issuers : NULL, leaf->key));
	sk_X509_free(issuers);
	return c;
}

static void
test_which_chains_are_fit(void **state)
{
	int64_t now = clock_wall_us() / US_PER_S;
	struct kit_cert ca = kit_cert((struct kit_cert_spec){ .cn = "CA", .ca = true, .from_s = now - 1000, .to_s = now + 100000 });
	struct kit_cert stranger = kit_cert((struct kit_cert_spec){ .cn = "CA 2", .ca = true, .from_s = now - 1000, .to_s = now + 100000 });
	struct { struct kit_cert cert; const char *says; } rows[] = {
		{ kit_cert((struct kit_cert_spec){ .cn = "good", .issuer = &ca, .from_s = now - 1000, .to_s = now + 1000 }), NULL },
		{ kit_cert((struct kit_cert_spec){ .cn = "old", .issuer = &ca, .from_s = now - 2000, .to_s = now - 1000 }), "has expired" },
		{ kit_cert((struct kit_cert_spec){ .cn = "young", .issuer = &ca, .from_s = now + 1000, .to_s = now + 2000 }), "is not valid yet" },
		{ kit_cert((struct kit_cert_spec){ .cn = "other", .issuer = &stranger, .from_s = now - 1000, .to_s = now + 1000 }), "is not complete" },
	};
	struct tls_chain *before = chain_of(&rows[0].cert, &ca), *fresh;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		why = (struct fault){ 0 };
		fresh = chain_of(&rows[i].cert, &ca);
		assert_int_equal(chain_fit(fresh, before, &why), rows[i].says == NULL);
		if (rows[i].says != NULL)
			assert_non_null(strstr(why.text, rows[i].says));
		tls_chain_unref(&fresh);
	}
	/* without the issuer that stood there before: only where there was none */
	fresh = chain_of(&rows[0].cert, NULL);
	assert_false(chain_fit(fresh, before, &why));
	assert_non_null(strstr(why.text, "is missing"));
	assert_true(chain_fit(fresh, NULL, &why));
	assert_true(chain_fit(before, fresh, &why));
	tls_chain_unref(&fresh);
	tls_chain_unref(&before);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		kit_cert_free(&rows[i].cert);
	kit_cert_free(&ca);
	kit_cert_free(&stranger);
}

/* Keys that nothing names any more stay for a while, then go. */
static void
test_the_ring_forgets(void **state)
{
	struct key_use use;
	uint8_t id[TLS_KEY_ID_BYTES];
	EVP_PKEY *key;

	(void)state;
	begin();
	add_key(&ec, (struct key_use){ .server = true });
	add_key(&ed, (struct key_use){ .server = true });
	assert_int_equal(ring_count(ring), 2);
	ring_begin(ring);
	add_key(&ec, (struct key_use){ .server = true });
	ring_end(ring, 1000, 500);
	assert_int_equal(ring_count(ring), 2);
	assert_true(tls_key_id(ed.key, id));
	key = ring_find(ring, span_of(id, sizeof(id)), &use);
	assert_non_null(key);
	EVP_PKEY_free(key);
	/* and a use that the configuration no longer gives goes at once */
	assert_true(tls_key_id(ec.key, id));
	add_key(&ec, (struct key_use){ .server = true, .decrypt = true });
	ring_begin(ring);
	add_key(&ec, (struct key_use){ .server = true });
	ring_end(ring, 1200, 500);
	EVP_PKEY_free(ring_find(ring, span_of(id, sizeof(id)), &use));
	assert_true(use.server && !use.decrypt && !use.client);
	assert_true(tls_key_id(ed.key, id));
	ring_begin(ring);
	add_key(&ec, (struct key_use){ .server = true });
	ring_end(ring, 1500, 500);
	assert_int_equal(ring_count(ring), 1);
	assert_null(ring_find(ring, span_of(id, sizeof(id)), &use));
	end();
}

static int
make_world(void **state)
{
	(void)state;
	root = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true });
	ec = kit_cert((struct kit_cert_spec){ .cn = "ec", .issuer = &root });
	rsa = kit_cert((struct kit_cert_spec){ .cn = "rsa", .issuer = &root, .kind = "RSA2048" });
	ed = kit_cert((struct kit_cert_spec){ .cn = "ed", .issuer = &root, .kind = "ED25519" });
	return 0;
}

static int
end_world(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&ec);
	kit_cert_free(&rsa);
	kit_cert_free(&ed);
	return 0;
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_every_kind_of_key_serves),
	KIT_TEST(test_every_kind_of_key_authenticates_a_client),
	KIT_TEST(test_rsa_key_exchange_needs_leave),
	KIT_TEST(test_wrong_padding_is_no_oracle),
	KIT_TEST(test_refusals),
	KIT_TEST(test_hostile_channels_cost_themselves),
	KIT_TEST(test_a_silent_keeper_costs_one_second),
	KIT_TEST(test_without_keeper),
	KIT_TEST(test_which_chains_are_fit),
	KIT_TEST(test_the_ring_forgets),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
