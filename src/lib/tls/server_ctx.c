/* The server's context: one per service and setting, immutable but for its ticket keys. */
#include "tls/server_ctx.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

#include "base/log.h"
#include "base/panic.h"
#include "base/rand.h"
#include "tls/credentials.h"
#include "tls/groups.h"
#include "tls/library.h"
#include "tls/policy_private.h"
#include "tls/server_private.h"
#include "tls/stream.h"

bool
tls_server_level_parse(const char *security_level, bool use_tls, bool enforce_tls, bool wrappermode,
    enum tls_server_level *level_r, const char **warning_r, struct fault *why)
{
	struct span word = span_trim(span_str(security_level));
	enum tls_level level = enforce_tls ? TLS_LEVEL_ENCRYPT : use_tls ? TLS_LEVEL_MAY : TLS_LEVEL_NONE;

	*warning_r = NULL;
	if (wrappermode) {
		*level_r = TLS_SERVER_ENCRYPT;
		return true;
	}
	if (word.n > 0 && !tls_level_parse(word, &level))
		return fault_set(why, NULL, "smtpd_tls_security_level: unknown TLS level \"%s\"", security_level);
	if (tls_level_is_dane(level))
		return fault_set(why, NULL, "smtpd_tls_security_level: level %s is for clients only",
		    tls_level_name(level));
	if (level > TLS_LEVEL_ENCRYPT)
		*warning_r = "smtpd_tls_security_level: fingerprint, verify and secure are for clients; using encrypt";
	*level_r = level == TLS_LEVEL_NONE ? TLS_SERVER_NONE :
	    level == TLS_LEVEL_MAY ? TLS_SERVER_MAY : TLS_SERVER_ENCRYPT;
	return true;
}

/* --- tickets (section 6) --- */

static const uint8_t *
find_ticket_key(const struct tls_ticket_keys *t, const unsigned char name[16], unsigned *at_r)
{
	for (*at_r = 0; *at_r < t->count; ++*at_r)
		if (memcmp(t->key[*at_r], name, 16) == 0)
			return t->key[*at_r];
	return NULL;
}

static bool
set_mac(EVP_MAC_CTX *mac, const uint8_t *key)
{
	char sha256[] = "SHA256";
	uint8_t copy[32];
	OSSL_PARAM params[3];
	bool ok;

	memcpy(copy, key, sizeof(copy));
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, copy, sizeof(copy));
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0);
	params[2] = OSSL_PARAM_construct_end();
	ok = EVP_MAC_CTX_set_params(mac, params) == 1;
	OPENSSL_cleanse(copy, sizeof(copy));
	return ok;
}

/* OpenSSL's contract: 1 go on, 2 go on and renew, 0 no such key (full handshake), negative error. */
static int
ticket_key(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	struct tls_server_ctx *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const uint8_t *key;
	unsigned at = 0;

	if (c->tickets.count == 0 || c->ticket_cipher == NULL)
		return 0;
	if (encrypt) {
		key = c->tickets.key[0];
		memcpy(name, key, 16);
		rand_bytes(iv, (size_t)EVP_CIPHER_get_iv_length(c->ticket_cipher));
	} else {
		key = find_ticket_key(&c->tickets, name, &at);
		if (key == NULL)
			return 0;
	}
	stream_trace_ticket(tls_stream_of(ssl), encrypt != 0, c->tickets.expires_s[at]);
	if (EVP_CipherInit_ex2(cipher, c->ticket_cipher, key + 16, iv, encrypt, NULL) != 1 || !set_mac(mac, key + 48))
		return -1;
	/* a TLS 1.3 client uses each ticket once, so it needs a new one every time (RFC 8446 section C.4) */
	return !encrypt && (at > 0 || SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : 1;
}

static bool
ticket_cipher_fits(const EVP_CIPHER *cipher, const char *name, struct fault *why)
{
	ERR_clear_error();
	return (cipher != NULL && EVP_CIPHER_get_mode(cipher) == EVP_CIPH_CBC_MODE && EVP_CIPHER_get_iv_length(cipher) == 16 &&
	    EVP_CIPHER_get_key_length(cipher) >= 16 && EVP_CIPHER_get_key_length(cipher) <= 32) ||
	    fault_set(why, NULL, "\"%s\" is not a CBC cipher of 128 to 256 bits", name);
}

bool
tls_ticket_cipher_check(const char *name, struct fault *why)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	bool ok = name[0] == '\0' || ticket_cipher_fits(cipher, name, why);

	EVP_CIPHER_free(cipher);
	ERR_clear_error();
	return ok;
}

static bool
set_tickets(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	const char *name = p->session_ticket_cipher;

	SSL_CTX_set_num_tickets(c->ctx, 0);     /* until there are keys: server_chain.c */
	SSL_CTX_set_session_cache_mode(c->ctx, p->always_issue_session_ids ?
	    SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR : SSL_SESS_CACHE_OFF);
	if (p->session_timeout_s <= 0 || name[0] == '\0') {
		SSL_CTX_set_options(c->ctx, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(c->ctx, 0);
		return true;
	}
	SSL_CTX_set_timeout(c->ctx, (long)(2 * p->session_timeout_s));
	c->ticket_cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	if (!ticket_cipher_fits(c->ticket_cipher, name, why)) {
		fault_prefix(why, "tls_session_ticket_cipher");
		return false;
	}
	SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ctx, ticket_key);
	return tls_server_end_sessions(c->ctx) || fault_set(why, NULL, "TLS library: %s", tls_library_error());
}

/* --- ciphers, protocols, groups --- */

bool
tls_server_protocols_left(const char *list, bool mandatory, const struct tls_protocols *t, struct fault *why)
{
	static const struct { int version; uint64_t off; } all[] = { { TLS1_VERSION, SSL_OP_NO_TLSv1 }, { TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
		{ TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 }, { TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 } };

	for (size_t i = mandatory ? 2 : 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].version >= t->min && (t->max == 0 || all[i].version <= t->max) && (t->options_off & all[i].off) == 0)
			return true;
	return fault_set(why, "4.7.0", "\"%s\" leaves no protocol%s", list, mandatory ? " of TLSv1.2 or later, which mandatory TLS needs" : "");
}

bool
tls_server_protocols(const struct tls_server_params *p, bool anonymous, struct tls_protocols *t_r, struct fault *why)
{
	if (!tls_protocols_parse(span_str(p->mandatory ? p->mandatory_protocols : p->protocols), t_r, why)) {
		fault_prefix(why, p->mandatory ? "smtpd_tls_mandatory_protocols" : "smtpd_tls_protocols");
		return false;
	}
	if (anonymous && (t_r->max == 0 || t_r->max > TLS1_2_VERSION))
		t_r->max = TLS1_2_VERSION;      /* TLS 1.3 has no anonymous suites */
	if (p->mandatory && t_r->min < TLS1_2_VERSION)
		t_r->min = TLS1_2_VERSION;      /* what is older is for listeners that would take plaintext as well */
	if (tls_server_protocols_left(p->mandatory ? p->mandatory_protocols : p->protocols, p->mandatory, t_r, why))
		return true;
	fault_prefix(why, p->mandatory ? "smtpd_tls_mandatory_protocols" : "smtpd_tls_protocols");
	return false;
}

bool
tls_server_cipher_list(const struct tls_server_params *p, bool ask_ccert, struct buf *list, struct fault *why)
{
	struct span grade = span_str(p->mandatory ? p->mandatory_ciphers : p->ciphers);

	if (!tls_grade_check(grade, true, why)) {
		fault_prefix(why, p->mandatory ? "smtpd_tls_mandatory_ciphers" : "smtpd_tls_ciphers");
		return false;
	}
	if (!tls_exclude_check(span_str(p->exclude_ciphers), TLS_LIST_SEPS, false, why)) {
		fault_prefix(why, "smtpd_tls_exclude_ciphers");
		return false;
	}
	if (!tls_exclude_check(span_str(p->mandatory_exclude_ciphers), TLS_LIST_SEPS, false, why)) {
		fault_prefix(why, "smtpd_tls_mandatory_exclude_ciphers");
		return false;
	}
	buf_add_str(list, tls_grade_string(grade, p->high_cipherlist, p->medium_cipherlist, p->null_cipherlist));
	tls_exclude_add(list, span_str(p->exclude_ciphers), TLS_LIST_SEPS);
	if (p->mandatory)
		tls_exclude_add(list, span_str(p->mandatory_exclude_ciphers), TLS_LIST_SEPS);
	if (ask_ccert)
		buf_add_str(list, ":!aNULL");   /* an anonymous suite cannot ask for a certificate */
	tls_server_cipher_rules(p, list);
	if (!span_eq_ci(grade, SPAN("null")))
		buf_add_str(list, ":!eNULL");
	return true;
}

static bool
set_protocols(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	struct tls_protocols t;

	if (!tls_server_protocols(p, c->chain == NULL, &t, why))
		return false;
	SSL_CTX_set_options(c->ctx, t.options_off);
	return (SSL_CTX_set_min_proto_version(c->ctx, t.min) == 1 && SSL_CTX_set_max_proto_version(c->ctx, t.max) == 1) ||
	    fault_set(why, NULL, "protocols \"%s\": %s", p->mandatory ? p->mandatory_protocols : p->protocols, tls_library_error());
}

static bool
set_ciphers(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	struct buf list;
	bool ok;

	buf_init(&list, TLS_CIPHER_LIST_MAX);
	ok = tls_server_cipher_list(p, c->ask_ccert, &list, why);
	if (ok) {
		c->ciphers = strdup(buf_cstr(&list));
		ok = (!list.full && SSL_CTX_set_cipher_list(c->ctx, c->ciphers) == 1) ||
		    fault_set(why, NULL, "cipher list \"%.200s\": %s", c->ciphers, tls_library_error());
	}
	buf_release(&list);
	return ok;
}

/* --- the whole --- */

static bool
set_options(SSL_CTX *ctx, const struct tls_server_params *p, struct fault *why)
{
	uint64_t on, off;

	if (!tls_option_bits(p->ssl_options, p->disable_workarounds, &on, &off, why))
		return false;
	SSL_CTX_set_options(ctx, SSL_OP_ALL | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
	    SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_options(ctx, on);
	SSL_CTX_clear_options(ctx, off);
	if (p->preempt_cipherlist)
		SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);         /* one read for what came together, not two for each record */
	SSL_CTX_set_security_level(ctx, p->req_ccert && p->mandatory ? 1 : 0);
	SSL_CTX_set_client_hello_cb(ctx, tls_stream_client_hello, NULL);
	SSL_CTX_set_tlsext_servername_callback(ctx, tls_stream_servername);
	return true;
}

static bool
set_chain(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	bool anonymous = p->chain.chain_files[0] == '\0' && strcmp(p->chain.cert_file, "none") == 0;

	if (!tls_chain_load(&p->chain, &c->chain, why))
		return false;
	if (c->chain != NULL)
		return tls_chain_use(c->chain, c->ctx, NULL, why);
	if (!anonymous)
		return fault_set(why, NULL, "No server certs available. TLS won't be enabled");
	if (c->require_ccert)
		return fault_set(why, NULL, "smtpd_tls_req_ccert: a client certificate cannot be required by a server that has none");
	if (c->ask_ccert)
		log_warning_once(NULL, "client certificates cannot be asked for without a server certificate");
	c->ask_ccert = false;
	return true;
}

static bool
set_raw_keys(struct tls_server_ctx *c, struct fault *why)
{
	if (c->ask_keys && c->require_ccert)
		log_warning_once(NULL, "smtpd_tls_enable_rpk has no effect where smtpd_tls_req_ccert demands a certificate that is trusted");
	c->ask_keys = c->ask_keys && c->ask_ccert && !c->require_ccert;
	return !c->ask_keys || tls_server_ask_keys_always(c->ctx) || fault_set(why, NULL, "TLS library: %s", tls_library_error());
}

static bool
set_up(struct tls_server_ctx *c, const struct tls_server_params *p, struct fault *why)
{
	c->ctx = SSL_CTX_new(TLS_server_method());
	if (c->ctx == NULL)
		return fault_set(why, NULL, "TLS library: %s", tls_library_error());
	SSL_CTX_set_app_data(c->ctx, c);
	if (!set_options(c->ctx, p, why))
		return false;
	if (tls_digest_bytes(p->fingerprint_digest) == 0)
		return fault_set(why, NULL, "smtpd_tls_fingerprint_digest: unknown digest \"%s\"",
		    p->fingerprint_digest);
	if (p->req_ccert && !p->mandatory)
		log_warning_once(NULL, "Can't require client certs unless TLS is required");
	return set_chain(c, p, why) && tls_server_ask_certs(c, p, why) && set_raw_keys(c, why) && set_protocols(c, p, why) &&
	    set_ciphers(c, p, why) && tls_server_set_groups(c, p, why) && set_tickets(c, p, why) && tls_server_sessions(c, why);
}

struct tls_server_ctx *
tls_server_ctx_new(const struct tls_server_params *p, struct fault *why)
{
	struct tls_server_ctx *c = calloc(1, sizeof(*c));

	ensure(c != NULL);
	ERR_clear_error();
	c->refs = 1;
	c->service = strdup(p->service);
	c->require_ccert = p->req_ccert && p->mandatory;
	c->ask_ccert = p->ask_ccert || c->require_ccert;
	c->trust_server_ccerts = p->trust_server_ccerts;
	c->ask_keys = p->enable_rpk && tls_rpk_available();
	if (!set_up(c, p, why))
		tls_server_ctx_unref(&c);
	return c;
}

struct tls_server_ctx *
tls_server_ctx_ref(struct tls_server_ctx *c)
{
	c->refs++;
	return c;
}

void
tls_server_ctx_unref(struct tls_server_ctx **cp)
{
	struct tls_server_ctx *c = *cp;

	*cp = NULL;
	if (c == NULL || --c->refs > 0)
		return;
	SSL_CTX_free(c->ctx);
	tls_chain_unref(&c->chain);
	EVP_CIPHER_free(c->ticket_cipher);
	OPENSSL_cleanse(&c->tickets, sizeof(c->tickets));
	free(c->service);
	free(c->groups);
	free(c->preferred);
	free(c->ciphers);
	free(c);
}

SSL_CTX *
tls_server_ctx_ssl(struct tls_server_ctx *c)
{
	return c->ctx;
}

bool
tls_server_ctx_signs(const struct tls_server_ctx *c)
{
	return c->chain != NULL;
}

bool
tls_server_ctx_asks_ccert(const struct tls_server_ctx *c)
{
	return c->ask_ccert;
}

bool
tls_server_ctx_requires_ccert(const struct tls_server_ctx *c)
{
	return c->require_ccert;
}

bool
tls_server_ctx_asks_keys(const struct tls_server_ctx *c)
{
	return c->ask_keys;
}

const char *
tls_server_ctx_ciphers(const struct tls_server_ctx *c)
{
	return c->ciphers;
}

const char *
tls_server_ctx_groups(const struct tls_server_ctx *c)
{
	return c->groups;
}
