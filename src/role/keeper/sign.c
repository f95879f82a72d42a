/* The two things that are done with a private key, each after asking whether it is a handshake's. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "role/keeper/keeper.h"
#include "tls/schemes.h"

static bool
allowed(unsigned role, struct key_use use, enum tls_shape shape, struct fault *why)
{
	bool server = role == IPC_ROLE_SMTPD, mine = server ? use.server : use.client;

	if (!mine)
		return fault_set(why, NULL, "this key is not for this process");
	if (shape != (server ? TLS_SHAPE_SERVER : TLS_SHAPE_CLIENT))
		return fault_set(why, NULL, "what is to be signed is no TLS handshake of this side");
	return true;
}

static EVP_MD_CTX *
set_up(EVP_PKEY *key, const struct tls_scheme *s)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = NULL;
	bool ok = md != NULL && EVP_DigestSignInit_ex(md, &ctx, s->digest, NULL, NULL, key, NULL) == 1;

	if (ok && s->pss)
		ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
		    EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
	if (!ok) {
		EVP_MD_CTX_free(md);
		md = NULL;
	}
	return md;
}

static bool
sign(struct ring *r, struct span id, EVP_PKEY *key, const struct tls_scheme *s, struct span text, uint8_t *sig_r, size_t *n)
{
	EVP_MD_CTX *md = ring_ready(r, id, s->number);
	bool ok;

	if (md == NULL) {
		md = set_up(key, s);
		if (md != NULL)
			ring_set_ready(r, id, s->number, md);
	}
	ok = md != NULL && EVP_DigestSign(md, sig_r, n, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(md);
	ERR_clear_error();
	return ok;
}

bool
keeper_sign(struct ring *r, unsigned role, struct span id, uint16_t number, struct span text, uint8_t *sig_r, size_t *n,
    struct fault *why)
{
	const struct tls_scheme *scheme = tls_scheme_find(number);
	struct key_use use = { 0 };
	EVP_PKEY *key = ring_find(r, id, &use);
	bool ok;

	if (key == NULL)
		return fault_set(why, NULL, "no such key");
	if (!allowed(role, use, tls_shape_of(text), why))
		ok = false;
	else if (scheme == NULL || !EVP_PKEY_is_a(key, scheme->key))
		ok = fault_set(why, NULL, "no scheme for this key: 0x%04x", number);
	else
		ok = sign(r, id, key, scheme, text, sig_r, n) || fault_set(why, NULL, "the key does not sign with scheme 0x%04x", number);
	EVP_PKEY_free(key);
	return ok;
}

bool
keeper_decrypt(struct ring *r, unsigned role, struct span id, unsigned client_version, unsigned version, struct span text,
    uint8_t premaster_r[48], struct fault *why)
{
	struct key_use use = { 0 };
	EVP_PKEY *key = ring_find(r, id, &use);
	OSSL_PARAM params[3] = { OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, &client_version) };
	EVP_PKEY_CTX *ctx = NULL;
	size_t n = 48;
	bool ok;

	if (key == NULL)
		return fault_set(why, NULL, "no such key");
	params[1] = OSSL_PARAM_construct_end();
	if (version != 0) {
		params[1] = OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, &version);
		params[2] = OSSL_PARAM_construct_end();
	}
	ok = role == IPC_ROLE_SMTPD && use.server && use.decrypt && EVP_PKEY_is_a(key, "RSA");
	if (!ok) {
		fault_set(why, NULL, "this key is not for RSA key exchange");
	} else {
		/* the library answers with random bytes where the padding is wrong, in the same time (RFC 5246 7.4.7.1) */
		ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
		ok = ctx != NULL && EVP_PKEY_decrypt_init(ctx) == 1 &&
		    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_WITH_TLS_PADDING) > 0 && EVP_PKEY_CTX_set_params(ctx, params) == 1 &&
		    EVP_PKEY_decrypt(ctx, premaster_r, &n, (const unsigned char *)text.p, text.n) == 1 && n == 48;
		if (!ok)
			fault_set(why, NULL, "no RSA key exchange");
	}
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}
