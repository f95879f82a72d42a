/* Handshakes over socket pairs: both ends are ours, with real certificates. What the tests of tls/stream share. */
#pragma once

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "kit/certs.h"
#include "kit/kit.h"
#include "tls/credentials.h"
#include "tls/library.h"
#include "tls/stream.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))
#define LONG_CIPHERS "aNULL:-aNULL:HIGH:MEDIUM:!SEED:!IDEA:!3DES:!RC2:!RC4:!RC5:!kDH:!kECDH:!aDSS:!MD5:+RC4:@STRENGTH"

static struct kit_cert root, leaf, other;

static inline int
make_world(void **state)
{
	(void)state;
	root = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true });
	leaf = kit_cert((struct kit_cert_spec){ .cn = "mx", .san = "DNS:mx.example.org", .issuer = &root });
	other = kit_cert((struct kit_cert_spec){ .cn = "two", .san = "DNS:two.example", .issuer = &root,
		.kind = "RSA2048" });
	return 0;
}

static inline int
end_world(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&leaf);
	kit_cert_free(&other);
	return 0;
}

static inline const char *
leaf_file(void)
{
	return kit_pem_file("leaf.pem", "kc", (const struct kit_cert *const[]){ &leaf, &leaf });
}

static inline const char *
root_file(void)
{
	return kit_pem_file("root.pem", "c", (const struct kit_cert *const[]){ &root });
}

static inline struct tls_server_params
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

static inline struct tls_client_ctx *
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

static inline void
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

static inline void
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

static inline void
link_down(struct link *l)
{
	stream_release(&l->client);
	stream_release(&l->server);
	fd_close(&l->fd[0]);
	fd_close(&l->fd[1]);
	arena_free(&l->arena);
}

/* Step both ends until both are done or one fails. */
static inline bool
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

static inline bool
shake_quietly(struct link *l)
{
	enum stream_result c, s;

	return shake(l, &c, &s);
}

/* Text from one end to the other, with both ends' tickets and the like read on the way. */
static inline void
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

static inline struct tls_ticket_keys
ticket_keys(char a, char b)
{
	struct tls_ticket_keys k = { .count = b != 0 ? 2 : 1 };

	memset(k.key[0], a, TLS_TICKET_KEY_BYTES);
	memset(k.key[1], b, TLS_TICKET_KEY_BYTES);
	return k;
}
