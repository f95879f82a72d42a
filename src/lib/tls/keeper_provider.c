/*
 * An OpenSSL provider whose private keys are elsewhere: it knows a key by its public half and
 * asks keeper for signatures. It lives in a library context of its own, so nothing that is
 * fetched by name can end up here by accident; the keys carry it into the TLS library.
 *
 * An export of a private key is refused, which makes the library use this provider's own
 * signatures; the public half is the default provider's, which answers all questions about sizes and curves.
 */
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/panic.h"
#include "tls/credentials.h"
#include "tls/keeper.h"
#include "tls/schemes.h"

#define SPKI_PARAM "signet-spki"

/* --- keys --- */

struct far_key {
	const char *type;
	EVP_PKEY *pub;
	uint8_t id[TLS_KEY_ID_BYTES];
	bool usable;            /* keeper has the other half (else: a public key to compare with) */
};

static struct far_key *
key_new(const char *type)
{
	struct far_key *k = OPENSSL_zalloc(sizeof(*k));

	if (k != NULL)
		k->type = type;
	return k;
}

static void
key_free(void *key)
{
	struct far_key *k = key;

	if (k == NULL)
		return;
	EVP_PKEY_free(k->pub);
	OPENSSL_free(k);
}

static int
key_has(const void *key, int selection)
{
	const struct far_key *k = key;

	if (k == NULL || k->pub == NULL)
		return 0;
	return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || k->usable;
}

static int
key_match(const void *a, const void *b, int selection)
{
	const struct far_key *x = a, *y = b;

	(void)selection;
	return x->pub != NULL && y->pub != NULL && EVP_PKEY_eq(x->pub, y->pub) == 1;
}

static int
key_get_params(void *key, OSSL_PARAM params[])
{
	const struct far_key *k = key;

	return k->pub != NULL && EVP_PKEY_get_params(k->pub, params) == 1;
}

static const OSSL_PARAM *
key_gettable(void *ctx)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)ctx;
	return list;
}

static int
import_spki(struct far_key *k, const OSSL_PARAM *p)
{
	const unsigned char *der;
	const void *bytes;
	size_t n;

	if (OSSL_PARAM_get_octet_string_ptr(p, &bytes, &n) != 1 || n > INT32_MAX)
		return 0;
	der = bytes;
	k->pub = d2i_PUBKEY(NULL, &der, (long)n);
	k->usable = k->pub != NULL && tls_key_id(k->pub, k->id);
	return k->usable;
}

/* A key of the default provider, to be compared with ours: its public half. */
static int
import_foreign(struct far_key *k, const OSSL_PARAM params[])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, k->type, NULL);
	OSSL_PARAM *copy = OSSL_PARAM_dup(params);
	int ok = ctx != NULL && copy != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
	    EVP_PKEY_fromdata(ctx, &k->pub, EVP_PKEY_PUBLIC_KEY, copy) == 1;

	OSSL_PARAM_free(copy);
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static int
key_import(void *key, int selection, const OSSL_PARAM params[])
{
	const OSSL_PARAM *spki = OSSL_PARAM_locate_const(params, SPKI_PARAM);

	(void)selection;
	return spki != NULL ? import_spki(key, spki) : import_foreign(key, params);
}

static const OSSL_PARAM *
key_import_types(int selection)
{
	static const OSSL_PARAM list[] = { OSSL_PARAM_octet_string(SPKI_PARAM, NULL, 0), OSSL_PARAM_END };

	(void)selection;
	return list;
}

static int
key_export(void *key, int selection, OSSL_CALLBACK *fn, void *arg)
{
	const struct far_key *k = key;
	OSSL_PARAM *params = NULL;
	int ok;

	if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 || k->pub == NULL)
		return 0;
	ok = EVP_PKEY_todata(k->pub, EVP_PKEY_PUBLIC_KEY, &params) == 1 && fn(params, arg) == 1;
	OSSL_PARAM_free(params);
	return ok;
}

static const OSSL_PARAM *
key_export_types(int selection)
{
	return key_import_types(selection);
}

typedef void far_fn(void);
#define FN(f) ((far_fn *)(f))

#define KEY_TYPE(name, text, does)                                                                \
	static void *name##_new(void *ctx)                                                    \
	{                                                                                     \
		(void)ctx;                                                                    \
		return key_new(text);                                                         \
	}                                                                                     \
	static const char *name##_operation(int op)                                           \
	{                                                                                     \
		(void)op;                                                                     \
		return does;                                                                  \
	}                                                                                     \
	static const OSSL_DISPATCH name##_keymgmt[] = {                                       \
		{ OSSL_FUNC_KEYMGMT_NEW, FN(name##_new) },                                    \
		{ OSSL_FUNC_KEYMGMT_FREE, FN(key_free) },                                     \
		{ OSSL_FUNC_KEYMGMT_HAS, FN(key_has) },                                       \
		{ OSSL_FUNC_KEYMGMT_MATCH, FN(key_match) },                                   \
		{ OSSL_FUNC_KEYMGMT_GET_PARAMS, FN(key_get_params) },                         \
		{ OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, FN(key_gettable) },                      \
		{ OSSL_FUNC_KEYMGMT_IMPORT, FN(key_import) },                                 \
		{ OSSL_FUNC_KEYMGMT_IMPORT_TYPES, FN(key_import_types) },                     \
		{ OSSL_FUNC_KEYMGMT_EXPORT, FN(key_export) },                                 \
		{ OSSL_FUNC_KEYMGMT_EXPORT_TYPES, FN(key_export_types) },                     \
		{ OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, FN(name##_operation) },             \
		{ 0, NULL },                                                                  \
	}

KEY_TYPE(rsa, "RSA", "RSA");
KEY_TYPE(rsa_pss, "RSA-PSS", "RSA-PSS");
KEY_TYPE(ec, "EC", "ECDSA");
KEY_TYPE(ed25519, "ED25519", "ED25519");
KEY_TYPE(ed448, "ED448", "ED448");
KEY_TYPE(dsa, "DSA", "DSA");

/* --- signatures --- */

struct far_signing {
	struct far_key *key;    /* the library keeps it alive while this context does */
	char digest[32];
	bool pss;
	struct buf text;
};

static void *
signing_new(void *ctx, const char *props)
{
	struct far_signing *s = OPENSSL_zalloc(sizeof(*s));

	(void)ctx;
	(void)props;
	if (s != NULL)
		buf_init(&s->text, TLS_SHAPE_MAX);
	return s;
}

static void
signing_free(void *ctx)
{
	struct far_signing *s = ctx;

	if (s != NULL)
		buf_release(&s->text);
	OPENSSL_free(s);
}

/* PKCS #1 or PSS; a word or OpenSSL's number. */
static bool
get_padding(const OSSL_PARAM *p, int *mode_r)
{
	const char *word;

	if (p->data_type != OSSL_PARAM_UTF8_STRING)
		return OSSL_PARAM_get_int(p, mode_r) == 1;
	if (OSSL_PARAM_get_utf8_string_ptr(p, &word) != 1)
		return false;
	*mode_r = strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING :
	    strcmp(word, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING : 0;
	return true;
}

/* TLS wants salts of the digest's length, and that is what keeper makes. */
static bool
salt_is_ours(const OSSL_PARAM *p)
{
	const char *word;
	int length;

	if (p->data_type != OSSL_PARAM_UTF8_STRING)
		return OSSL_PARAM_get_int(p, &length) == 1 && length != RSA_PSS_SALTLEN_MAX;
	return OSSL_PARAM_get_utf8_string_ptr(p, &word) == 1 && strcmp(word, OSSL_PKEY_RSA_PSS_SALT_LEN_MAX) != 0;
}

static int
signing_set_params(void *ctx, const OSSL_PARAM params[])
{
	struct far_signing *s = ctx;
	const OSSL_PARAM *p;
	int mode;

	if (params == NULL)
		return 1;
	p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	if (p != NULL) {
		if (!get_padding(p, &mode) || (mode != RSA_PKCS1_PADDING && mode != RSA_PKCS1_PSS_PADDING))
			return 0;
		s->pss = mode == RSA_PKCS1_PSS_PADDING;
	}
	p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
	return p == NULL || salt_is_ours(p);
}

static const OSSL_PARAM *
signing_settable(void *ctx, void *provider)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)ctx;
	(void)provider;
	return list;
}

static int
signing_init(void *ctx, const char *digest, void *key, const OSSL_PARAM params[])
{
	struct far_signing *s = ctx;

	if (key != NULL)
		s->key = key;
	if (s->key == NULL || !s->key->usable)
		return 0;
	snprintf(s->digest, sizeof(s->digest), "%s", digest != NULL ? digest : "");
	s->pss = strcmp(s->key->type, "RSA-PSS") == 0;
	buf_clear(&s->text);
	return signing_set_params(ctx, params);
}

static int
signing_all(void *ctx, unsigned char *sig, size_t *n, size_t room, const unsigned char *text, size_t text_n)
{
	struct far_signing *s = ctx;
	uint16_t scheme = tls_scheme_number(s->key->type, s->digest, s->pss);
	struct fault why = { 0 };

	if (sig == NULL) {
		*n = (size_t)EVP_PKEY_get_size(s->key->pub);
		return 1;
	}
	*n = room;
	if (scheme == 0)
		fault_set(&why, NULL, "no signature with %s and %s", s->key->type, s->digest);
	else if (tls_keeper_sign(s->key->id, scheme, span_of(text, text_n), sig, n, &why))
		return 1;
	ERR_raise_data(ERR_LIB_PROV, ERR_R_INTERNAL_ERROR, "keeper: %s", why.text);
	return 0;
}

static int
signing_update(void *ctx, const unsigned char *text, size_t n)
{
	struct far_signing *s = ctx;

	return buf_add(&s->text, text, n);
}

static int
signing_final(void *ctx, unsigned char *sig, size_t *n, size_t room)
{
	struct far_signing *s = ctx;

	return signing_all(ctx, sig, n, room, (const unsigned char *)s->text.p, s->text.n);
}

static const OSSL_DISPATCH signature[] = {
	{ OSSL_FUNC_SIGNATURE_NEWCTX, FN(signing_new) },
	{ OSSL_FUNC_SIGNATURE_FREECTX, FN(signing_free) },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, FN(signing_init) },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN, FN(signing_all) },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, FN(signing_update) },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, FN(signing_final) },
	{ OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, FN(signing_set_params) },
	{ OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, FN(signing_settable) },
	{ 0, NULL },
};

/* --- RSA key exchange --- */

struct far_decrypting {
	struct far_key *key;
	bool tls_padding;
	unsigned client_version, version;
};

static void *
decrypting_new(void *ctx)
{
	(void)ctx;
	return OPENSSL_zalloc(sizeof(struct far_decrypting));
}

static void
decrypting_free(void *ctx)
{
	OPENSSL_free(ctx);
}

static int
decrypting_set_params(void *ctx, const OSSL_PARAM params[])
{
	struct far_decrypting *d = ctx;
	const OSSL_PARAM *p;
	int mode;

	if (params == NULL)
		return 1;
	p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE);
	if (p != NULL)
		d->tls_padding = get_padding(p, &mode) && mode == RSA_PKCS1_WITH_TLS_PADDING;
	if (p != NULL && !d->tls_padding)
		return 0;
	p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION);
	if (p != NULL && OSSL_PARAM_get_uint(p, &d->client_version) != 1)
		return 0;
	p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION);
	return p == NULL || OSSL_PARAM_get_uint(p, &d->version) == 1;
}

static const OSSL_PARAM *
decrypting_settable(void *ctx, void *provider)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_int(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL),
		OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
		OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
		OSSL_PARAM_END,
	};

	(void)ctx;
	(void)provider;
	return list;
}

static int
decrypting_init(void *ctx, void *key, const OSSL_PARAM params[])
{
	struct far_decrypting *d = ctx;

	d->key = key;
	return d->key != NULL && d->key->usable && decrypting_set_params(ctx, params);
}

static int
decrypting_all(void *ctx, unsigned char *out, size_t *n, size_t room, const unsigned char *in, size_t in_n)
{
	const struct far_decrypting *d = ctx;
	struct fault why = { 0 };

	*n = 48;
	if (out == NULL)
		return 1;
	if (d->tls_padding && room >= 48 && tls_keeper_decrypt(d->key->id, (uint16_t)d->client_version, (uint16_t)d->version,
		span_of(in, in_n), out, &why))
		return 1;
	ERR_raise_data(ERR_LIB_PROV, ERR_R_INTERNAL_ERROR, "keeper: %s", why.text);
	return 0;
}

static const OSSL_DISPATCH asym_cipher[] = {
	{ OSSL_FUNC_ASYM_CIPHER_NEWCTX, FN(decrypting_new) },
	{ OSSL_FUNC_ASYM_CIPHER_FREECTX, FN(decrypting_free) },
	{ OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, FN(decrypting_init) },
	{ OSSL_FUNC_ASYM_CIPHER_DECRYPT, FN(decrypting_all) },
	{ OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, FN(decrypting_set_params) },
	{ OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, FN(decrypting_settable) },
	{ 0, NULL },
};

/* --- the provider --- */

#define OURS "provider=signet"

static const OSSL_ALGORITHM keymgmts[] = {
	{ "RSA:rsaEncryption", OURS, rsa_keymgmt, NULL },
	{ "RSA-PSS:RSASSA-PSS", OURS, rsa_pss_keymgmt, NULL },
	{ "EC:id-ecPublicKey", OURS, ec_keymgmt, NULL },
	{ "ED25519", OURS, ed25519_keymgmt, NULL },
	{ "ED448", OURS, ed448_keymgmt, NULL },
	{ "DSA", OURS, dsa_keymgmt, NULL },
	{ NULL, NULL, NULL, NULL },
};

static const OSSL_ALGORITHM signatures[] = {
	{ "RSA:rsaEncryption", OURS, signature, NULL },
	{ "RSA-PSS:RSASSA-PSS", OURS, signature, NULL },
	{ "ECDSA", OURS, signature, NULL },
	{ "ED25519", OURS, signature, NULL },
	{ "ED448", OURS, signature, NULL },
	{ "DSA", OURS, signature, NULL },
	{ NULL, NULL, NULL, NULL },
};

static const OSSL_ALGORITHM asym_ciphers[] = {
	{ "RSA:rsaEncryption", OURS, asym_cipher, NULL },
	{ NULL, NULL, NULL, NULL },
};

static const OSSL_ALGORITHM *
query(void *ctx, int op, int *no_cache)
{
	(void)ctx;
	*no_cache = 0;
	switch (op) {
	case OSSL_OP_KEYMGMT:
		return keymgmts;
	case OSSL_OP_SIGNATURE:
		return signatures;
	case OSSL_OP_ASYM_CIPHER:
		return asym_ciphers;
	default:
		return NULL;
	}
}

static const OSSL_DISPATCH provider[] = {
	{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, FN(query) },
	{ 0, NULL },
};

static int
provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **ctx)
{
	(void)handle;
	(void)in;
	*out = provider;
	*ctx = OSSL_LIB_CTX_get0_global_default();
	return 1;
}

/* The context with our provider in it; lives as long as the process. */
static OSSL_LIB_CTX *
library(void)
{
	static OSSL_LIB_CTX *lib;

	if (lib != NULL)
		return lib;
	lib = OSSL_LIB_CTX_new();
	ensure(lib != NULL && OSSL_PROVIDER_add_builtin(lib, "signet", provider_init) == 1 &&
	    OSSL_PROVIDER_load(lib, "signet") != NULL);
	return lib;
}

bool
tls_key_id(EVP_PKEY *pub, uint8_t id_r[TLS_KEY_ID_BYTES])
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(pub, &der);
	unsigned got = 0;
	bool ok = n > 0 && EVP_Digest(der, (size_t)n, id_r, &got, EVP_sha256(), NULL) == 1 && got == TLS_KEY_ID_BYTES;

	OPENSSL_free(der);
	return ok;
}

static const char *
type_name(EVP_PKEY *pub)
{
	for (const OSSL_ALGORITHM *a = keymgmts; a->algorithm_names != NULL; a++) {
		const char *colon = strchr(a->algorithm_names, ':');
		char name[16];

		snprintf(name, sizeof(name), "%.*s", colon != NULL ? (int)(colon - a->algorithm_names) : 15, a->algorithm_names);
		if (EVP_PKEY_is_a(pub, name))
			return a->algorithm_names;
	}
	return NULL;
}

EVP_PKEY *
tls_keeper_key(EVP_PKEY *pub, struct fault *why)
{
	const char *names = type_name(pub), *colon = names != NULL ? strchr(names, ':') : NULL;
	unsigned char *der = NULL;
	int n = names != NULL ? i2d_PUBKEY(pub, &der) : 0;
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *key = NULL;
	char name[16];

	if (n > 0) {
		OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(SPKI_PARAM, der, (size_t)n), OSSL_PARAM_construct_end() };

		snprintf(name, sizeof(name), "%.*s", colon != NULL ? (int)(colon - names) : 15, names);
		ctx = EVP_PKEY_CTX_new_from_name(library(), name, OURS);
		if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
			fault_set(why, "4.7.5", "private key cannot be used through keeper: %s", tls_library_error());
	} else {
		fault_set(why, "4.7.5", "a private key of this type cannot be used");
	}
	EVP_PKEY_CTX_free(ctx);
	OPENSSL_free(der);
	return key;
}
