/* What OpenSSL knows about a finished handshake, in the words of section 13.1. */
#include "tls/info.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "dns/dns.h"
#include "tls/groups.h"
#include "tls/names.h"
#include "tls/policy.h"
#include "tls/server_private.h"

static struct span
keep(struct arena *a, const char *s)
{
	return s != NULL ? arena_dup(a, span_str(s)) : SPAN("");
}

static struct span
signature_name(struct arena *a, EVP_PKEY *key)
{
	int id = EVP_PKEY_get_base_id(key);

	if (id == EVP_PKEY_RSA || id == EVP_PKEY_RSA_PSS)
		return SPAN("RSA-PSS");         /* the only RSA scheme of TLS 1.3 */
	if (id == EVP_PKEY_EC)
		return SPAN("ECDSA");
	return keep(a, EVP_PKEY_get0_type_name(key));
}

static void
describe_key(EVP_PKEY *key, int digest_nid, struct arena *a, struct log_tls_signature *s)
{
	int id = EVP_PKEY_get_base_id(key);
	char curve[64];
	size_t n = 0;

	s->alg = signature_name(a, key);
	if (id == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, curve, sizeof(curve), &n) == 1)
		s->curve = keep(a, curve);
	else if (id == EVP_PKEY_RSA || id == EVP_PKEY_RSA_PSS)
		s->bits = EVP_PKEY_get_bits(key);
	if (id != EVP_PKEY_ED25519 && id != EVP_PKEY_ED448 && digest_nid != NID_undef)
		s->digest = keep(a, OBJ_nid2sn(digest_nid));
}

EVP_PKEY *
tls_peer_raw_key(SSL *ssl)
{
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
	return SSL_get0_peer_certificate(ssl) == NULL ? SSL_get0_peer_rpk(ssl) : NULL;
#else
	(void)ssl;
	return NULL;
#endif
}

/* Did the client show its key instead of its certificate? */
static bool
own_raw_key(SSL *ssl, bool server)
{
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
	return (server ? SSL_get_negotiated_server_cert_type(ssl) : SSL_get_negotiated_client_cert_type(ssl)) ==
	    TLSEXT_cert_type_rpk;
#else
	(void)ssl;
	(void)server;
	return false;
#endif
}

/*
 * Ephemeral keys: always in TLS 1.3, except for a resumption without an exchange (psk_ke, which has no group);
 * below, the suite's first word says it: ECDHE, DHE, AECDH, ADH.
 */
void
tls_exchange_get(SSL *ssl, struct tls_exchange *x_r)
{
	int kx = SSL_CIPHER_get_kx_nid(SSL_get_current_cipher(ssl)), group = (int)SSL_get_negotiated_group(ssl);
	const char *name = group != NID_undef ? SSL_group_to_name(ssl, group) : NULL;

	x_r->group = name != NULL ? name : "";
	if (SSL_version(ssl) >= TLS1_3_VERSION)
		x_r->forward_secret = group != NID_undef;
	else
		x_r->forward_secret = kx == NID_kx_ecdhe || kx == NID_kx_dhe;
	x_r->post_quantum = tls_group_is_pq(span_str(x_r->group));
}

static void
get_exchange(SSL *ssl, struct arena *a, struct tls_info *info)
{
	struct tls_exchange x;

	tls_exchange_get(ssl, &x);
	info->group = keep(a, x.group);
	info->suite = keep(a, SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl)));
	info->forward_secret = x.forward_secret;
	info->post_quantum = x.post_quantum;
}

static void
get_signatures(SSL *ssl, bool server, struct arena *a, struct log_tls *w)
{
	X509 *peer = SSL_get0_peer_certificate(ssl), *own = SSL_get_certificate(ssl);
	EVP_PKEY *key = peer != NULL ? X509_get0_pubkey(peer) : tls_peer_raw_key(ssl);
	struct log_tls_signature *ours = server ? &w->server : &w->client;
	struct log_tls_signature *theirs = server ? &w->client : &w->server;
	int nid;

	if (SSL_session_reused(ssl))
		return;
	if (key != NULL && SSL_get_peer_signature_nid(ssl, &nid) == 1) {
		describe_key(key, nid, a, theirs);
		theirs->rpk = peer == NULL;
	}
	if (own != NULL && SSL_get_signature_nid(ssl, &nid) == 1) {
		describe_key(X509_get0_pubkey(own), nid, a, ours);
		ours->rpk = own_raw_key(ssl, server);
	}
}

static void
get_wire(SSL *ssl, bool server, struct arena *a, struct log_tls *w)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	int group;

	w->protocol = keep(a, SSL_get_version(ssl));
	w->cipher = keep(a, SSL_CIPHER_get_name(cipher));
	w->bits_used = SSL_CIPHER_get_bits(cipher, &w->bits_alg);
	if (SSL_version(ssl) < TLS1_3_VERSION)
		return;
	group = (int)SSL_get_negotiated_group(ssl);
	if (group != NID_undef)
		w->group = keep(a, SSL_group_to_name(ssl, group));
	get_signatures(ssl, server, a, w);
}

/* A wildcard stands for one whole left-most label (RFC 9525 section 6.3). */
static bool
is_dns_name(struct span name)
{
	if (name.n > 2 && name.p[0] == '*' && name.p[1] == '.')
		name = span_from(name, 2);
	return name.n > 0 && name.n <= 253 && dns_name_is_host(name) && name.p[name.n - 1] != '.';
}

static void
get_dns_names(X509 *peer, struct arena *a, struct tls_info *info)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL);
	int room = sk_GENERAL_NAME_num(names);

	if (room <= 0) {
		GENERAL_NAMES_free(names);
		return;
	}
	info->dns_names = ARENA_ARRAY(a, struct span, room < TLS_INFO_NAMES ? (size_t)room : (size_t)TLS_INFO_NAMES);
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && info->n_dns_names < TLS_INFO_NAMES; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		struct span name;

		if (g->type != GEN_DNS)
			continue;
		name = span_of(ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName));
		if (is_dns_name(name))
			info->dns_names[info->n_dns_names++] = arena_lower(a, name);
	}
	GENERAL_NAMES_free(names);
}

void
tls_info_cert(X509 *peer, const char *digest_name, struct arena *a, struct tls_info *info)
{
	char text[512];

	info->peer_cert = true;
	tls_name_text(X509_get_subject_name(peer), NID_commonName, text, sizeof(text));
	info->peer_cn = keep(a, text);
	tls_name_text(X509_get_issuer_name(peer), NID_commonName, text, sizeof(text));
	if (text[0] == '\0')
		tls_name_text(X509_get_issuer_name(peer), NID_organizationName, text, sizeof(text));
	info->issuer_cn = keep(a, text);
	info->peer_subject = keep(a, X509_NAME_oneline(X509_get_subject_name(peer), text, sizeof(text)));
	info->peer_issuer = keep(a, X509_NAME_oneline(X509_get_issuer_name(peer), text, sizeof(text)));
	info->cert_fp = tls_cert_fingerprint(peer, digest_name, a);
	info->pkey_fp = tls_pkey_fingerprint(peer, digest_name, a);
	get_dns_names(peer, a, info);
}

void
tls_info_key(EVP_PKEY *peer, const char *digest_name, struct arena *a, struct tls_info *info)
{
	struct tls_digest d;

	info->peer_rpk = true;
	if (tls_key_digest(peer, digest_name, &d))
		info->pkey_fp = tls_digest_text(&d, a);
}

void
tls_info_get(SSL *ssl, bool server, const char *digest_name, struct arena *a, struct tls_info *info_r)
{
	X509 *peer = SSL_get0_peer_certificate(ssl);

	memset(info_r, 0, sizeof(*info_r));
	info_r->untrusted_who = "";
	get_wire(ssl, server, a, &info_r->wire);
	get_exchange(ssl, a, info_r);
	info_r->resumed = SSL_session_reused(ssl) == 1;
	info_r->asked = server && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
	info_r->key_would_do = info_r->asked && tls_server_asks_keys(ssl);
	info_r->sni = keep(a, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
	if (peer == NULL) {
		if (tls_peer_raw_key(ssl) != NULL)
			tls_info_key(tls_peer_raw_key(ssl), digest_name, a, info_r);
		return;
	}
	tls_info_cert(peer, digest_name, a, info_r);
	if (!server)
		return;
	info_r->peer_trusted = SSL_get_verify_result(ssl) == X509_V_OK;
	if (!info_r->peer_trusted)
		info_r->untrusted = keep(a, X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
}
