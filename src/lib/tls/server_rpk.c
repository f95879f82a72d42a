/*
 * Raw public keys at the server (RFC 7250): which kinds of credential each side may show. We show a key to a client that
 * prefers one; a client's key is taken only where the administrator said so. In both directions the client's order counts.
 * What a key is good for is decided elsewhere, by its fingerprint alone: the library's verdict about it is not read.
 */
#include "base/rd.h"
#include "tls/client_ctx.h"
#include "tls/server_private.h"

#if OPENSSL_VERSION_NUMBER >= 0x30200000L

static const unsigned char key_first[] = { TLSEXT_cert_type_rpk, TLSEXT_cert_type_x509 };
static const unsigned char cert_first[] = { TLSEXT_cert_type_x509, TLSEXT_cert_type_rpk };

bool
tls_server_ask_keys_always(SSL_CTX *ctx)
{
	return SSL_CTX_set1_client_cert_type(ctx, key_first, sizeof(key_first)) == 1;
}

bool
tls_server_ask_keys(SSL *ssl, bool ask)
{
	return SSL_set1_client_cert_type(ssl, ask ? key_first : NULL, ask ? sizeof(key_first) : 0) == 1;
}

bool
tls_server_asks_keys(SSL *ssl)
{
	unsigned char *types = NULL;
	size_t n = 0;

	return SSL_get0_client_cert_type(ssl, &types, &n) == 1 && types != NULL && memchr(types, TLSEXT_cert_type_rpk, n) != NULL;
}

/* The first type of the client's list that we can show. */
static bool
prefers_key(struct span ext)
{
	struct rd r = rd_init(ext);
	struct span list = rd_bytes(&r, rd_u8(&r));

	for (size_t i = 0; rd_done(&r) && i < list.n; i++)
		if (list.p[i] == TLSEXT_cert_type_rpk || list.p[i] == TLSEXT_cert_type_x509)
			return list.p[i] == TLSEXT_cert_type_rpk;
	return false;
}

/* The library would follow our order here, not the client's. */
bool
tls_server_choose_type(SSL *ssl)
{
	const unsigned char *p;
	size_t n;

	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_cert_type, &p, &n) != 1)
		return true;
	return SSL_set1_server_cert_type(ssl, prefers_key(span_of(p, n)) ? key_first : cert_first, sizeof(key_first)) == 1;
}

#else

bool
tls_server_ask_keys_always(SSL_CTX *ctx)
{
	(void)ctx;
	return false;
}

bool
tls_server_ask_keys(SSL *ssl, bool ask)
{
	(void)ssl;
	return !ask;
}

bool
tls_server_asks_keys(SSL *ssl)
{
	(void)ssl;
	return false;
}

bool
tls_server_choose_type(SSL *ssl)
{
	(void)ssl;
	return true;
}

#endif
