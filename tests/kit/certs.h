/*
 * Certificates for tests, made on the spot with the library: keys of several kinds, chains,
 * names, dates. Times are given in seconds since 1970, so that a test owns its clock.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "kit/kit.h"

#define CERTS_NOW INT64_C(1790000000)

struct kit_cert {
	EVP_PKEY *key;
	X509 *cert;
};

struct kit_cert_spec {
	const char *kind;               /* "EC" (default), "RSA1024", "RSA2048", "ED25519" */
	const char *cn;                 /* NULL = no subject CN */
	const char *san;                /* "DNS:a.example,IP:192.0.2.1"; NULL = none */
	const char *eku;                /* "serverAuth"; NULL = none */
	const struct kit_cert *issuer;  /* NULL = self-signed */
	int64_t from_s, to_s;           /* 0 = a year around CERTS_NOW */
	bool ca;
};

static inline EVP_PKEY *
kit_key(const char *kind)
{
	if (kind != NULL && strncmp(kind, "RSA", 3) == 0)
		return EVP_RSA_gen(strcmp(kind, "RSA1024") == 0 ? 1024u : 2048u);
	if (kind != NULL && strcmp(kind, "ED25519") == 0)
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	return EVP_EC_gen("prime256v1");
}

static inline void
kit_add_ext(X509 *cert, X509V3_CTX *ctx, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, ctx, nid, value);

	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static inline void
kit_set_names(X509 *cert, const struct kit_cert_spec *spec)
{
	X509_NAME *name = X509_get_subject_name(cert);

	if (spec->cn != NULL)
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)spec->cn, -1, -1, 0);
	else
		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"no name", -1, -1, 0);
	X509_set_issuer_name(cert, spec->issuer != NULL ? X509_get_subject_name(spec->issuer->cert) : name);
}

static inline void
kit_set_extensions(X509 *cert, const struct kit_cert_spec *spec)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, spec->issuer != NULL ? spec->issuer->cert : cert, cert, NULL, NULL, 0);
	kit_add_ext(cert, &ctx, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "CA:FALSE");
	kit_add_ext(cert, &ctx, NID_subject_key_identifier, "hash");
	if (spec->san != NULL)
		kit_add_ext(cert, &ctx, NID_subject_alt_name, spec->san);
	if (spec->eku != NULL)
		kit_add_ext(cert, &ctx, NID_ext_key_usage, spec->eku);
}

static inline struct kit_cert
kit_cert(struct kit_cert_spec spec)
{
	static long serial = 1;
	struct kit_cert c = { kit_key(spec.kind), X509_new() };
	EVP_PKEY *signer = spec.issuer != NULL ? spec.issuer->key : c.key;
	const EVP_MD *md = EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();

	assert_non_null(c.key);
	X509_set_version(c.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.cert), serial++);
	ASN1_TIME_set(X509_getm_notBefore(c.cert), (time_t)(spec.from_s != 0 ? spec.from_s : CERTS_NOW - 15000000));
	ASN1_TIME_set(X509_getm_notAfter(c.cert), (time_t)(spec.to_s != 0 ? spec.to_s : CERTS_NOW + 15000000));
	X509_set_pubkey(c.cert, c.key);
	kit_set_names(c.cert, &spec);
	kit_set_extensions(c.cert, &spec);
	assert_true(X509_sign(c.cert, signer, md) > 0);
	return c;
}

static inline void
kit_cert_free(struct kit_cert *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->cert);
}

/* What a PEM file is made of: letters k (private key), c (certificate), p (public key) of `certs` in turn. */
static inline const char *
kit_pem_file(const char *name, const char *what, const struct kit_cert *const *certs)
{
	BIO *out = BIO_new(BIO_s_mem());
	const char *path;
	char *text;
	long n;

	for (size_t i = 0; what[i] != '\0'; i++) {
		if (what[i] == 'k')
			PEM_write_bio_PKCS8PrivateKey(out, certs[i]->key, NULL, NULL, 0, NULL, NULL);
		else if (what[i] == 'c')
			PEM_write_bio_X509(out, certs[i]->cert);
		else
			PEM_write_bio_PUBKEY(out, certs[i]->key);
	}
	BIO_write(out, "", 1);
	n = BIO_get_mem_data(out, &text);
	assert_true(n > 0);
	path = kit_file(name, text);
	BIO_free(out);
	return path;
}
