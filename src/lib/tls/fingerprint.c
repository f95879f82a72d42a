/* Digests of certificates and their keys, and the text form of both (section 6, 20.3). */
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"
#include "tls/info.h"
#include "tls/policy.h"
#include "tls/policy_private.h"

/* Longest text accepted: three characters for each byte of the longest digest. */
enum { TEXT_MAX = 3 * EVP_MAX_MD_SIZE };

size_t
tls_digest_bytes(const char *digest_name)
{
	const EVP_MD *md = EVP_get_digestbyname(digest_name);
	int n = md != NULL ? EVP_MD_get_size(md) : 0;

	return n > 0 ? (size_t)n : 0;
}

/* Hex pairs, each pair but the last may be followed by ':'. */
static bool
unhex(struct span text, struct buf *out)
{
	char pairs[TEXT_MAX];
	size_t n = 0;

	if (text.n > TEXT_MAX)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == ':' && n % 2 == 0 && n > 0 && i + 1 < text.n && text.p[i - 1] != ':')
			continue;
		pairs[n++] = text.p[i];
	}
	return n > 0 && text_unhex(out, span_of(pairs, n));
}

bool
tls_fingerprint_parse(struct span text, const char *digest_name, struct tls_digest *d_r, struct fault *why)
{
	size_t want = tls_digest_bytes(digest_name), got;
	struct buf b;
	bool ok;

	memset(d_r, 0, sizeof(*d_r));
	buf_init(&b, TEXT_MAX);
	ok = unhex(text, &b);
	got = b.n;
	if (ok && got == want && want <= sizeof(d_r->bytes)) {
		memcpy(d_r->bytes, b.p, got);
		d_r->n = got;
	}
	buf_release(&b);
	if (!ok)
		return fault_set(why, "4.7.5", "malformed fingerprint value: \"%.*s\"",
		    SPAN_ARG(log_esc(span_slice(text, 0, 200))));
	return d_r->n > 0 || fault_set(why, "4.7.5", "fingerprint value has %zu bytes, a %s digest has %zu: \"%.*s\"",
	    got, digest_name, want, SPAN_ARG(log_esc(span_slice(text, 0, 200))));
}

static struct span
colon_hex(const uint8_t *p, size_t n, struct arena *a)
{
	static const char hex[] = "0123456789ABCDEF";
	char text[TEXT_MAX];

	if (n == 0)
		return SPAN("");
	for (size_t i = 0; i < n; i++) {
		text[3 * i] = hex[p[i] >> 4];
		text[3 * i + 1] = hex[p[i] & 15];
		text[3 * i + 2] = ':';
	}
	return arena_dup(a, span_of(text, 3 * n - 1));
}

struct span
tls_digest_text(const struct tls_digest *d, struct arena *a)
{
	return colon_hex(d->bytes, d->n, a);
}

bool
tls_cert_digest(X509 *cert, const char *digest_name, struct tls_digest *d_r)
{
	const EVP_MD *md = EVP_get_digestbyname(digest_name);
	unsigned n = 0;

	memset(d_r, 0, sizeof(*d_r));
	if (md == NULL || X509_digest(cert, md, d_r->bytes, &n) != 1)
		return false;
	d_r->n = n;
	return true;
}

/* Of a key's DER form, which is freed; `len` <= 0 = there is none. */
static bool
digest_der(unsigned char *der, int len, const char *digest_name, struct tls_digest *d_r)
{
	const EVP_MD *md = EVP_get_digestbyname(digest_name);
	unsigned n = 0;
	bool ok = md != NULL && len > 0;

	memset(d_r, 0, sizeof(*d_r));
	ok = ok && EVP_Digest(der, (size_t)len, d_r->bytes, &n, md, NULL) == 1;
	OPENSSL_free(der);
	d_r->n = ok ? n : 0;
	return ok;
}

bool
tls_key_digest(EVP_PKEY *key, const char *digest_name, struct tls_digest *d_r)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	return digest_der(der, len, digest_name, d_r);
}

bool
tls_pkey_digest(X509 *cert, const char *digest_name, struct tls_digest *d_r)
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	return digest_der(der, len, digest_name, d_r);
}

struct span
tls_cert_fingerprint(X509 *cert, const char *digest_name, struct arena *a)
{
	struct tls_digest d;

	return tls_cert_digest(cert, digest_name, &d) ? tls_digest_text(&d, a) : SPAN("");
}

struct span
tls_pkey_fingerprint(X509 *cert, const char *digest_name, struct arena *a)
{
	struct tls_digest d;

	return tls_pkey_digest(cert, digest_name, &d) ? tls_digest_text(&d, a) : SPAN("");
}
