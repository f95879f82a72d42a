/* One connection by rules of its own: what an entry of smtpd_tls_policy_maps sets before the handshake. */
#include <openssl/err.h>

#include "tls/credentials.h"
#include "tls/policy_private.h"
#include "tls/server_private.h"

#define ALL_OFF (SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2 | SSL_OP_NO_TLSv1_3)

static bool
tune_protocols(const struct tls_server_ctx *c, SSL *ssl, const struct tls_server_params *p, struct fault *why)
{
	struct tls_protocols t;

	if (!tls_server_protocols(p, c->chain == NULL, &t, why))
		return false;
	SSL_clear_options(ssl, ALL_OFF);
	SSL_set_options(ssl, t.options_off);
	return (SSL_set_min_proto_version(ssl, t.min) == 1 && SSL_set_max_proto_version(ssl, t.max) == 1) ||
	    fault_set(why, "4.7.0", "protocols: %s", tls_library_error());
}

static bool
tune_ciphers(SSL *ssl, const struct tls_server_params *p, struct fault *why)
{
	struct buf list;
	bool ok;

	buf_init(&list, TLS_CIPHER_LIST_MAX);
	ok = tls_server_cipher_list(p, p->ask_ccert, &list, why);
	if (ok)
		ok = (!list.full && SSL_set_cipher_list(ssl, buf_cstr(&list)) == 1) ||
		    fault_set(why, "4.7.0", "cipher list \"%.200s\": %s", buf_cstr(&list), tls_library_error());
	buf_release(&list);
	return ok;
}

bool
tls_server_tune(struct tls_server_ctx *c, SSL *ssl, const struct tls_server_params *p, struct fault *why)
{
	bool ask = p->ask_ccert && c->chain != NULL;

	ERR_clear_error();
	SSL_set_verify(ssl, ask ? SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE : SSL_VERIFY_NONE, NULL);
	if (!tune_protocols(c, ssl, p, why) || !tune_ciphers(ssl, p, why))
		return false;
	if (!tls_server_ask_keys(ssl, ask && p->enable_rpk && tls_rpk_available()))
		return fault_set(why, "4.7.0", "TLS library: %s", tls_library_error());
	return tls_server_session_context(c, ssl, "") || fault_set(why, "4.7.0", "TLS library: %s", tls_library_error());
}
