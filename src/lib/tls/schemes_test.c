#include "tls/schemes.h"

#include "base/buf.h"
#include "kit/kit.h"

/* --- texts as TLS signs them --- */

static struct buf text;

static void
fill(char byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_addc(&text, byte);
}

static void
verify_1_3(const char *context, size_t hash)
{
	buf_clear(&text);
	fill(' ', 64);
	buf_add_str(&text, context);
	buf_addc(&text, '\0');
	fill('h', hash);
}

/* type and length of ServerECDHParams, then `n` bytes of point */
static void
ecdhe(unsigned char curve_type, unsigned char length, size_t n)
{
	const unsigned char head[] = { curve_type, 0, 29, length };

	buf_clear(&text);
	fill('r', 64);
	buf_add(&text, head, sizeof(head));
	fill('p', n);
}

static void
field(size_t n)
{
	const unsigned char length[] = { (unsigned char)(n >> 8), (unsigned char)n };

	buf_add(&text, length, 2);
	fill('d', n);
}

static void
dhe(size_t p, size_t g, size_t y)
{
	buf_clear(&text);
	fill('r', 64);
	field(p);
	field(g);
	field(y);
}

static void
handshake(const unsigned char *types, size_t count)
{
	buf_clear(&text);
	for (size_t i = 0; i < count; i++) {
		buf_addc(&text, (char)types[i]);
		buf_addc(&text, 0);
		field(50 + i);
	}
}

static enum tls_shape
shape(void)
{
	return tls_shape_of(buf_span(&text));
}

static void
test_shapes(void **state)
{
	static const unsigned char whole[] = { 1, 2, 11, 12, 13, 14, 11, 16 }, open_end[] = { 1, 2, 11, 14 },
		begins_wrong[] = { 2, 1, 11, 16 }, finished[] = { 1, 2, 11, 16, 20 }, tiny[] = { 1, 2, 16 };

	(void)state;
	buf_init(&text, 1 << 20);
	verify_1_3("TLS 1.3, server CertificateVerify", 32);
	assert_int_equal(shape(), TLS_SHAPE_SERVER);
	verify_1_3("TLS 1.3, server CertificateVerify", 48);
	assert_int_equal(shape(), TLS_SHAPE_SERVER);
	verify_1_3("TLS 1.3, client CertificateVerify", 32);
	assert_int_equal(shape(), TLS_SHAPE_CLIENT);
	verify_1_3("TLS 1.3, server CertificateVerify", 33);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	verify_1_3("TLS 1.3, Server CertificateVerify", 32);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	ecdhe(3, 32, 32);
	assert_int_equal(shape(), TLS_SHAPE_SERVER);
	ecdhe(3, 65, 65);
	assert_int_equal(shape(), TLS_SHAPE_SERVER);
	ecdhe(3, 32, 33);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	ecdhe(1, 32, 32);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	ecdhe(3, 4, 4);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	dhe(256, 1, 256);
	assert_int_equal(shape(), TLS_SHAPE_SERVER);
	dhe(768, 1, 767);               /* its first byte is that of a named curve */
	assert_int_equal(shape(), TLS_SHAPE_SERVER);
	dhe(256, 1, 257);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	dhe(32, 1, 32);
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	handshake(whole, sizeof(whole));
	assert_int_equal(shape(), TLS_SHAPE_CLIENT);
	handshake(open_end, sizeof(open_end));
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	handshake(begins_wrong, sizeof(begins_wrong));
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	handshake(finished, sizeof(finished));
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	handshake(tiny, sizeof(tiny));
	assert_int_equal(shape(), TLS_SHAPE_NONE);
	buf_release(&text);
}

/* No beginning of a good text is one, and nothing with a byte more. */
static void
test_every_cut(void **state)
{
	static const unsigned char whole[] = { 1, 2, 11, 16 };

	(void)state;
	buf_init(&text, 1 << 20);
	for (unsigned kind = 0; kind < 4; kind++) {
		if (kind == 0)
			verify_1_3("TLS 1.3, server CertificateVerify", 32);
		else if (kind == 1)
			ecdhe(3, 65, 65);
		else if (kind == 2)
			dhe(256, 1, 256);
		else
			handshake(whole, sizeof(whole));
		assert_int_not_equal(shape(), TLS_SHAPE_NONE);
		for (size_t n = 0; n < text.n; n++)
			assert_int_equal(tls_shape_of(span_slice(buf_span(&text), 0, n)), TLS_SHAPE_NONE);
		fill('x', 1);
		assert_int_equal(shape(), TLS_SHAPE_NONE);
	}
	buf_release(&text);
}

/* What others would like to have signed. */
static void
test_other_protocols(void **state)
{
	static const char *const texts[] = {
		"", "GET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH_9.2p1 key exchange hash", "-----BEGIN CERTIFICATE-----",
		"0\202\002\345 a tbsCertificate would begin like this", "ssh-userauth\0publickey",
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb290In0", "from:a@b.example; dkim-signature: v=1; a=rsa-sha256",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(tls_shape_of(span_str(texts[i])), TLS_SHAPE_NONE);
}

static void
test_numbers(void **state)
{
	static const struct { const char *key, *digest; bool pss; uint16_t number; } rows[] = {
		{ "RSA", "SHA256", true, 0x0804 }, { "RSA", "SHA2-256", true, 0x0804 }, { "RSA", "SHA2-384", false, 0x0501 },
		{ "rsa", "sha1", false, 0x0201 }, { "RSA", "SHA-1", false, 0x0201 }, { "RSA", "MD5-SHA1", false, TLS_SCHEME_RSA_MD5_SHA1 },
		{ "EC", "SHA256", false, 0x0403 }, { "EC", "SHA2-512", false, 0x0603 }, { "ED25519", NULL, false, 0x0807 },
		{ "ED25519", "", false, 0x0807 }, { "RSA-PSS", "SHA256", true, 0x0809 }, { "RSA-PSS", "SHA256", false, 0 },
		{ "RSA", "MD5", false, 0 }, { "RSA", NULL, false, 0 }, { "ED25519", "SHA256", false, 0 }, { "EC", "SHA256", true, 0 },
		{ "X25519", NULL, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct tls_scheme *s;

		assert_int_equal(tls_scheme_number(rows[i].key, rows[i].digest, rows[i].pss), rows[i].number);
		s = tls_scheme_find(rows[i].number);
		assert_int_equal(s != NULL, rows[i].number != 0);
	}
	assert_null(tls_scheme_find(0x0101));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_shapes),
	KIT_TEST(test_every_cut),
	KIT_TEST(test_other_protocols),
	KIT_TEST(test_numbers),
};
KIT_MAIN(tests)
