/* Client certificates: judge the chain, remember the first thing wrong with it, go on (section 3). */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "tls/credentials.h"
#include "tls/server_private.h"
#include "tls/stream.h"

/* One look at a chain. */
struct look {
	SSL *ssl;
	bool trust_server_ccerts;
	int depth_max;
	int error;              /* the first one */
};

static int
look_index(void)
{
	static int at = -1;

	if (at < 0)
		at = X509_STORE_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return at;
}

/* Public authorities no longer issue for clients: a certificate made for servers may do. */
static bool
made_for_servers(const struct look *k, X509_STORE_CTX *store)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	int depth = X509_STORE_CTX_get_error_depth(store);

	return k->trust_server_ccerts && X509_STORE_CTX_get_error(store) == X509_V_ERR_INVALID_PURPOSE && cert != NULL &&
	    X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, depth > 0) == 1;
}

/* The words of the log, as for a server's chain. */
static void
explain(const struct look *k, int depth, X509 *cert)
{
	const char *who = depth > 0 ? "CA" : "client";
	char text[512], issuer[256];

	switch (k->error) {
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		tls_stream_untrusted(k->ssl, "", "self-signed certificate");
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		if (cert == NULL)
			break;
		X509_NAME_oneline(X509_get_issuer_name(cert), issuer, sizeof(issuer));
		snprintf(text, sizeof(text), "untrusted issuer %s", issuer);
		tls_stream_untrusted(k->ssl, "", text);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
		tls_stream_untrusted(k->ssl, who, "certificate not yet valid");
		return;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
		tls_stream_untrusted(k->ssl, who, "certificate has expired");
		return;
	case X509_V_ERR_INVALID_PURPOSE:
		snprintf(text, sizeof(text), "not designated for use as a %s certificate", who);
		tls_stream_untrusted(k->ssl, "", text);
		return;
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
		snprintf(text, sizeof(text), "certificate chain longer than limit(%d)", k->depth_max);
		tls_stream_untrusted(k->ssl, "", text);
		return;
	}
	snprintf(text, sizeof(text), "num=%d:%s", k->error, X509_verify_cert_error_string(k->error));
	tls_stream_untrusted(k->ssl, who, text);
}

/* Every certificate passes here; the chain is followed to its end whatever is found. */
static int
note_result(int ok, X509_STORE_CTX *store)
{
	struct look *k = X509_STORE_CTX_get_ex_data(store, look_index());
	X509 *cert = X509_STORE_CTX_get_current_cert(store);

	if (!ok && made_for_servers(k, store))
		ok = 1;
	if (!ok && k->error == X509_V_OK) {
		k->error = X509_STORE_CTX_get_error(store);
		explain(k, X509_STORE_CTX_get_error_depth(store), cert);
	}
	if (cert != NULL)
		stream_trace_chain(tls_stream_of(k->ssl), X509_STORE_CTX_get_error_depth(store), ok != 0, cert);
	return 1;
}

/* OpenSSL takes the verdict from the error that is left in `store`; the handshake goes on in any case. */
static int
look_at_chain(X509_STORE_CTX *store, void *arg)
{
	const struct tls_server_ctx *c = arg;
	struct look k = { .ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
		.trust_server_ccerts = c->trust_server_ccerts, .depth_max = SSL_CTX_get_verify_depth(c->ctx), .error = X509_V_OK };

	if (X509_STORE_CTX_set_ex_data(store, look_index(), &k) != 1) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
		return 1;
	}
	X509_STORE_CTX_set_verify_cb(store, note_result);
	if (X509_verify_cert(store) <= 0 && k.error == X509_V_OK)
		k.error = X509_V_ERR_UNSPECIFIED;
	X509_STORE_CTX_set_error(store, k.error);
	X509_STORE_CTX_set_ex_data(store, look_index(), NULL);
	ERR_clear_error();
	return 1;
}

/* --- anchors --- */

/* "1234abcd.0", as `openssl rehash` names them. */
static bool
is_hash_name(struct span name)
{
	if (name.n < 10 || name.p[8] != '.')
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (i != 8 && span_index(SPAN("0123456789abcdef"), name.p[i]) < 0)
			return false;
	return true;
}

/* A hashed directory, all of it and now: after this the process gives up the file system. */
static bool
load_dir(X509_STORE *store, const char *what, const char *path, struct fault *why)
{
	DIR *dir = opendir(path);
	char file[PATH_MAX];
	struct dirent *e;
	unsigned found = 0;

	if (dir == NULL)
		return fault_set(why, NULL, "%s: %s: %s", what, path, fd_error(-errno));
	while ((e = readdir(dir)) != NULL) {
		if (!is_hash_name(span_str(e->d_name)))
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		found++;
		if (X509_STORE_load_file(store, file) != 1)
			log_warning_once(NULL, "%s: %s: %s", what, file, tls_library_error());
	}
	closedir(dir);
	if (found == 0 && strcmp(what, "smtpd_tls_CApath") == 0)
		log_warning_once(NULL, "%s: %s: no certificate is named by its hash there, so none is trusted: openssl rehash %s", what, path, path);
	ERR_clear_error();
	return true;
}

/* The system's store never stands alone: the administrator must have asked for PKIX (section 3). */
static bool
load_roots(X509_STORE *store, const struct tls_roots_params *p, struct fault *why)
{
	const struct tls_roots_params file = { .prefix = p->prefix, .CAfile = p->CAfile, .CApath = "" };
	const char *system_file = X509_get_default_cert_file();

	if (!tls_roots_load(&file, store, why) ||
	    (p->CApath[0] != '\0' && !load_dir(store, "smtpd_tls_CApath", p->CApath, why)))
		return false;
	if (!p->append_default_CA || (p->CAfile[0] == '\0' && p->CApath[0] == '\0'))
		return true;
	if (fd_access(system_file, R_OK) >= 0 && X509_STORE_load_file(store, system_file) != 1)
		return fault_set(why, NULL, "tls_append_default_CA: %s: %s", system_file, tls_library_error());
	return load_dir(store, "tls_append_default_CA", X509_get_default_cert_dir(), why);
}

/* RFC 8446 section 4.2.4 has room for 64 kB; Java's clients take messages of 32 kB. */
enum { ANNOUNCED_MAX = 32000 };

/* As they stand in the CertificateRequest. */
static size_t
announced_bytes(const STACK_OF(X509_NAME) *names)
{
	size_t n = 0;

	for (int i = 0; i < sk_X509_NAME_num(names); i++) {
		int one = i2d_X509_NAME(sk_X509_NAME_value(names, i), NULL);

		n += 2 + (one > 0 ? (size_t)one : 0);
	}
	return n;
}

/* A list that is too long would end every handshake; with none, clients send what they have. */
static bool
announce_authorities(SSL_CTX *ctx, const char *CAfile, struct fault *why)
{
	STACK_OF(X509_NAME) *names;

	if (CAfile[0] == '\0')
		return true;
	names = SSL_load_client_CA_file(CAfile);
	if (names == NULL)
		return fault_set(why, NULL, "smtpd_tls_CAfile: %s: %s", CAfile, tls_library_error());
	if (announced_bytes(names) > ANNOUNCED_MAX) {
		log_warning(NULL, "smtpd_tls_CAfile: %s: the names of its %d authorities are more than a client takes (%d bytes), so none "
		    "is announced; move those that clients need not be told of to smtpd_tls_CApath", CAfile, sk_X509_NAME_num(names), ANNOUNCED_MAX);
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		names = NULL;
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	ERR_clear_error();
	return true;
}

/* What decides about chains: a session that was judged by other rules is not resumed. */
static bool
digest_rules(struct tls_server_ctx *c, const struct tls_server_params *p)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(c->ctx));
	char rules[64];
	int n = snprintf(rules, sizeof(rules), "%d %d %d", p->ccert_verifydepth, p->trust_server_ccerts, c->require_ccert);
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(md, rules, (size_t)n) == 1;

	for (int i = 0; ok && i < sk_X509_OBJECT_num(all); i++) {
		X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
		unsigned char one[EVP_MAX_MD_SIZE];
		unsigned len = 0;

		ok = cert == NULL || (X509_digest(cert, EVP_sha256(), one, &len) == 1 && EVP_DigestUpdate(md, one, len) == 1);
	}
	ok = ok && EVP_DigestFinal_ex(md, c->trust_id, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok;
}

bool
tls_server_ask_certs(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	if (!load_roots(SSL_CTX_get_cert_store(c->ctx), &p->roots, why))
		return false;
	SSL_CTX_set_cert_verify_callback(c->ctx, look_at_chain, c);
	SSL_CTX_set_verify_depth(c->ctx, p->ccert_verifydepth);
	if (!digest_rules(c, p))
		return fault_set(why, NULL, "TLS library: %s", tls_library_error());
	if (c->ask_ccert)
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, NULL);
	/* also when only some clients are asked (smtpd_tls_policy_maps) */
	return announce_authorities(c->ctx, p->roots.CAfile, why);
}

/* Protocols and ciphers of this one connection (smtpd_tls_policy_maps may have changed them). */
static void
add_offer(SSL *ssl, struct buf *text)
{
	STACK_OF(SSL_CIPHER) *ciphers = SSL_get_ciphers(ssl);

	buf_addf(text, "%ld %ld\n", SSL_get_min_proto_version(ssl), SSL_get_max_proto_version(ssl));
	for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
		uint16_t id = SSL_CIPHER_get_protocol_id(sk_SSL_CIPHER_value(ciphers, i));

		buf_add(text, &id, sizeof(id));
	}
}

static bool
context_of(struct tls_server_ctx *c, SSL *ssl, const char *sni, unsigned char hash_r[32])
{
	struct buf text;
	unsigned n = 0;
	bool ok;

	buf_init(&text, 8192);
	buf_addf(&text, "%s\n%s\n%d %d\n", c->service, sni, SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE, tls_server_asks_keys(ssl));
	add_offer(ssl, &text);
	buf_add(&text, c->trust_id, sizeof(c->trust_id));
	ok = !text.full && EVP_Digest(text.p, text.n, hash_r, &n, EVP_sha256(), NULL) == 1;
	buf_release(&text);
	return ok;
}

bool
tls_server_session_context(struct tls_server_ctx *c, SSL *ssl, const char *sni)
{
	unsigned char hash[32];

	return context_of(c, ssl, sni, hash) && SSL_set_session_id_context(ssl, hash, sizeof(hash)) == 1;
}

bool
tls_server_sessions(struct tls_server_ctx *c, struct fault *why)
{
	unsigned char hash[32];
	SSL *ssl = SSL_new(c->ctx);
	bool ok = ssl != NULL && context_of(c, ssl, "", hash) &&
	    SSL_CTX_set_session_id_context(c->ctx, hash, sizeof(hash)) == 1;

	SSL_free(ssl);
	return ok || fault_set(why, NULL, "TLS library: %s", tls_library_error());
}
