/* tls_config_file, tls_config_name, tls_ssl_options, tls_disable_workarounds. */
#include "tls/library.h"

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/log.h"
#include "tls/credentials.h"

struct option_name {
	const char *name;
	uint64_t bit;
};

static const struct option_name options[] = {
	{ "LEGACY_SERVER_CONNECT", SSL_OP_LEGACY_SERVER_CONNECT },
	{ "NO_TICKET", SSL_OP_NO_TICKET },
	{ "NO_COMPRESSION", SSL_OP_NO_COMPRESSION },
	{ "NO_RENEGOTIATION", SSL_OP_NO_RENEGOTIATION },
	{ "NO_SESSION_RESUMPTION_ON_RENEGOTIATION", SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION },
	{ "NO_ENCRYPT_THEN_MAC", SSL_OP_NO_ENCRYPT_THEN_MAC },
	{ "PRIORITIZE_CHACHA", SSL_OP_PRIORITIZE_CHACHA },
	{ "ALLOW_NO_DHE_KEX", SSL_OP_ALLOW_NO_DHE_KEX },
	{ "ENABLE_MIDDLEBOX_COMPAT", SSL_OP_ENABLE_MIDDLEBOX_COMPAT },
	{ "NO_EXTENDED_MASTER_SECRET", SSL_OP_NO_EXTENDED_MASTER_SECRET },
	{ "CLEANSE_PLAINTEXT", SSL_OP_CLEANSE_PLAINTEXT },
	{ "ENABLE_KTLS", 0 },           /* our streams do their own system calls: no effect */
	{ NULL, 0 },
};

/* Workarounds of SSL_OP_ALL; names of those that the library dropped are known and mean nothing. */
static const struct option_name workarounds[] = {
	{ "CRYPTOPRO_TLSEXT_BUG", SSL_OP_CRYPTOPRO_TLSEXT_BUG },
	{ "DONT_INSERT_EMPTY_FRAGMENTS", SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS },
	{ "LEGACY_SERVER_CONNECT", SSL_OP_LEGACY_SERVER_CONNECT },
	{ "SAFARI_ECDHE_ECDSA_BUG", SSL_OP_SAFARI_ECDHE_ECDSA_BUG },
	{ "TLSEXT_PADDING", SSL_OP_TLSEXT_PADDING },
	{ "MICROSOFT_BIG_SSLV3_BUFFER", 0 },
	{ "MICROSOFT_SESS_ID_BUG", 0 },
	{ "MSIE_SSLV2_RSA_PADDING", 0 },
	{ "NETSCAPE_CHALLENGE_BUG", 0 },
	{ "NETSCAPE_REUSE_CIPHER_CHANGE_BUG", 0 },
	{ "SSLEAY_080_CLIENT_DH_BUG", 0 },
	{ "SSLREF2_REUSE_CERT_TYPE_BUG", 0 },
	{ "TLS_BLOCK_PADDING_BUG", 0 },
	{ "TLS_D5_BUG", 0 },
	{ "TLS_ROLLBACK_BUG", 0 },
	{ "CVE-2005-2969", 0 },
	{ "CVE-2010-4180", 0 },
	{ NULL, 0 },
};

static bool
hex_mask(struct span s, uint64_t *bits)
{
	uint64_t v = 0;

	if (!span_starts_ci(s, SPAN("0x")) || s.n < 3 || s.n > 18)
		return false;
	for (size_t i = 2; i < s.n; i++) {
		char c = ascii_lower(s.p[i]);

		if (!ascii_isdigit(c) && (c < 'a' || c > 'f'))
			return false;
		v = v << 4 | (uint64_t)(ascii_isdigit(c) ? c - '0' : c - 'a' + 10);
	}
	*bits |= v;
	return true;
}

static bool
words(const char *list, const struct option_name *known, uint64_t *bits, struct fault *why)
{
	struct span rest = span_str(list), one;

	*bits = 0;
	while (span_token(&rest, " \t\r\n,:", &one)) {
		const struct option_name *o = known;

		while (o->name != NULL && !span_eq_ci(one, span_str(o->name)))
			o++;
		if (o->name != NULL)
			*bits |= o->bit;
		else if (!hex_mask(one, bits))
			return fault_set(why, NULL, "unknown word \"%.*s\"", SPAN_ARG(log_esc(one)));
	}
	return true;
}

bool
tls_option_bits(const char *ssl_options, const char *disable_workarounds, uint64_t *on_r, uint64_t *off_r,
    struct fault *why)
{
	if (!words(ssl_options, options, on_r, why)) {
		fault_prefix(why, "tls_ssl_options");
		return false;
	}
	if (!words(disable_workarounds, workarounds, off_r, why)) {
		fault_prefix(why, "tls_disable_workarounds");
		return false;
	}
	return true;
}

bool
tls_library_open(const char *config_file, const char *config_name, struct fault *why)
{
	bool none = strcmp(config_file, "none") == 0, standard = strcmp(config_file, "default") == 0;
	OPENSSL_INIT_SETTINGS *s = OPENSSL_INIT_new();
	int ok = s != NULL;

	ERR_clear_error();
	if (ok && config_name[0] != '\0')
		ok = OPENSSL_INIT_set_config_appname(s, config_name);
	if (ok && !none && !standard) {
		/* a file that the administrator names must be there and be right */
		ok = OPENSSL_INIT_set_config_filename(s, config_file);
		OPENSSL_INIT_set_config_file_flags(s, 0);
	}
	if (ok)
		ok = OPENSSL_init_ssl(none ? OPENSSL_INIT_NO_LOAD_CONFIG : OPENSSL_INIT_LOAD_CONFIG, s);
	OPENSSL_INIT_free(s);
	return ok == 1 || fault_set(why, NULL, "tls_config_file: %s: %s", config_file, tls_library_error());
}
