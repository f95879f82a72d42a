/* signet check: TLS of SMTP server services: client certificates that nobody will show, forward secrecy that does not come about. */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "conf/params.h"
#include "conf/words.h"
#include "log/tls_loglevel.h"
#include "signet/check.h"
#include "tls/client_ctx.h"
#include "tls/policy_private.h"
#include "tls/server_ctx.h"

#define DH_BITS_LEAST 1024        /* of the TLS library */
#define DH_BITS_GOOD 2048

struct server_check {
	const struct checker *c;
	const struct conf_service *s;
	const struct conf_item *items;
	size_t n;
	bool mandatory;
};

static void
say(const struct server_check *k, enum conf_severity severity, const char *name, const char *fix, const char *text)
{
	const struct conf_item *i = check_find(k->items, k->n, name);

	conf_report_add(k->c->report, severity, i != NULL && i->file != NULL ? i->file : k->s->file,
	    i != NULL && i->file != NULL ? i->line : k->s->line, fix, "service %s: %s: %s", k->s->name, name, text);
}

static bool
is_mandatory(const struct params *p)
{
	const char *level = p->smtpd_tls_security_level;

	if (p->smtpd_tls_wrappermode)
		return true;
	return *level != '\0' ? strcmp(level, "none") != 0 && strcmp(level, "may") != 0 : p->smtpd_enforce_tls;
}

/* --- client certificates --- */

/* Does any list of this service, or any restriction class, use this word? */
static bool
uses(const struct server_check *k, const char *word)
{
	for (size_t i = 0; i < k->n; i++) {
		const struct conf_item *item = &k->items[i];
		struct span rest = span_str(item->value), one;

		if (item->value == NULL || (item->row != NULL && item->row->type != PARAM_RESTRICTION))
			continue;
		while (word_next(&rest, &one))
			if (span_eq_ci(one, span_str(word)))
				return true;
	}
	return false;
}

static bool
no_anchors(const struct params *p)
{
	return *p->smtpd_tls_CAfile == '\0' && *p->smtpd_tls_CApath == '\0';
}

static void
check_required(const struct server_check *k)
{
	const struct params *p = k->s->params;

	if (!p->smtpd_tls_req_ccert)
		return;
	if (!k->mandatory)
		say(k, CONF_WARNING, "smtpd_tls_req_ccert", "set smtpd_tls_security_level = encrypt for this service, or use smtpd_tls_ask_ccert",
		    "it has no effect where TLS is optional: clients may go on in clear");
	else if (no_anchors(p))
		say(k, CONF_WARNING, "smtpd_tls_req_ccert", "set smtpd_tls_CAfile",
		    "no certification authority is trusted, so every client is turned away");
	if (strcmp(p->smtpd_tls_cert_file, "none") == 0 && *p->smtpd_tls_chain_files == '\0')
		say(k, CONF_ERROR, "smtpd_tls_req_ccert", "set smtpd_tls_chain_files",
		    "a server without a certificate cannot ask for one");
}

static void
check_lists(const struct server_check *k)
{
	static const char *const words[] = { "permit_tls_clientcerts", "permit_tls_all_clientcerts", "check_ccert_access" };
	const struct params *p = k->s->params;
	bool asks = p->smtpd_tls_ask_ccert || (p->smtpd_tls_req_ccert && k->mandatory);
	char text[160];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (asks || !uses(k, words[i]))
			continue;
		snprintf(text, sizeof(text), "no client is asked for a certificate, so %s never decides", words[i]);
		say(k, CONF_WARNING, "smtpd_tls_ask_ccert", "set smtpd_tls_ask_ccert = yes", text);
	}
	if (uses(k, "permit_tls_clientcerts") && *p->relay_clientcerts == '\0')
		say(k, CONF_WARNING, "relay_clientcerts", "name a table of fingerprints",
		    "it is empty, so permit_tls_clientcerts permits nobody");
	if (uses(k, "permit_tls_all_clientcerts") && (p->tls_append_default_CA || strncmp(p->smtpd_tls_CApath, "/etc/ssl/", 9) == 0 ||
	    strncmp(p->smtpd_tls_CAfile, "/etc/ssl/certs/", 15) == 0))
		say(k, CONF_WARNING, "smtpd_tls_CAfile", "list the fingerprints of your machines in relay_clientcerts, or trust an authority of your own",
		    "permit_tls_all_clientcerts lets everybody in to whom any public authority gave a certificate");
}

/* Raw public keys: where they are shown, and what they do not open. */
static void
check_raw_keys(const struct server_check *k)
{
	const struct params *p = k->s->params;

	if (!p->smtpd_tls_enable_rpk)
		return;
	if (!tls_rpk_available())
		say(k, CONF_WARNING, "smtpd_tls_enable_rpk", "set smtpd_tls_enable_rpk = no, or use OpenSSL 3.2 or later",
		    "it has no effect: this OpenSSL knows no raw public keys");
	else if (p->smtpd_tls_req_ccert && k->mandatory)
		say(k, CONF_WARNING, "smtpd_tls_enable_rpk", "list fingerprints of keys, and set smtpd_tls_ask_ccert instead of smtpd_tls_req_ccert",
		    "it has no effect where smtpd_tls_req_ccert demands a certificate that is trusted");
	else if (!p->smtpd_tls_ask_ccert && *p->smtpd_tls_policy_maps == '\0')
		say(k, CONF_WARNING, "smtpd_tls_enable_rpk", "set smtpd_tls_ask_ccert = yes", "no client is asked for a certificate, so none shows a key");
	else if (uses(k, "permit_tls_all_clientcerts"))
		say(k, CONF_WARNING, "smtpd_tls_enable_rpk", "list the fingerprints of the clients' keys in relay_clientcerts",
		    "permit_tls_all_clientcerts permits no client that shows its key instead of a trusted certificate");
}

/* --- forward secrecy --- */

/* Bits of the DH group in a file; 0 + words when it is none. */
static int
dh_bits(const char *path, const char **why_r, bool *sound_r)
{
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *group = NULL;
	BIO *in = BIO_new_file(path, "r");
	int bits = 0;

	*why_r = in == NULL ? "cannot be read" : "holds no DH parameters";
	*sound_r = false;
	if (in != NULL)
		group = PEM_read_bio_Parameters(in, NULL);
	if (group != NULL && (EVP_PKEY_is_a(group, "DH") || EVP_PKEY_is_a(group, "DHX"))) {
		bits = EVP_PKEY_get_bits(group);
		ctx = EVP_PKEY_CTX_new(group, NULL);
		*sound_r = ctx != NULL && EVP_PKEY_param_check_quick(ctx) == 1;
	}
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(group);
	BIO_free(in);
	ERR_clear_error();
	return bits;
}

static void
check_dh(const struct server_check *k)
{
	const char *path = k->s->params->smtpd_tls_dh1024_param_file, *why;
	const char *name = "smtpd_tls_dh1024_param_file";
	char text[512];
	bool sound;
	int bits;

	if (*path == '\0' || strcmp(path, "auto") == 0)
		return;
	bits = dh_bits(path, &why, &sound);
	if (bits == 0)
		snprintf(text, sizeof(text), "%s %s; the library would choose a group", path, why);
	else if (bits < DH_BITS_LEAST)
		snprintf(text, sizeof(text), "%s: %d bits are too few for the TLS library; it would choose a group", path, bits);
	else if (bits < DH_BITS_GOOD)
		snprintf(text, sizeof(text), "%s: %d bits are weak, and some clients refuse them", path, bits);
	else if (!sound)
		snprintf(text, sizeof(text), "%s: these numbers are no sound DH group", path);
	else
		return;
	say(k, CONF_WARNING, name, "openssl dhparam -out FILE 2048, or leave it empty", text);
}

static void
check_curves(const struct server_check *k, const char *name, const char *list)
{
	SSL_CTX *scratch = SSL_CTX_new(TLS_method());
	struct span rest = span_str(list), one;
	char word[80], text[160];

	while (scratch != NULL && span_token(&rest, ", \t\r\n:", &one)) {
		if (span_starts(one, SPAN("?")))
			continue;
		snprintf(word, sizeof(word), "%.*s", SPAN_ARG(one));
		if (SSL_CTX_set1_groups_list(scratch, word) == 1)
			continue;
		snprintf(text, sizeof(text), "this TLS library knows no curve \"%s\"", word);
		say(k, CONF_WARNING, name, "openssl ecparam -list_curves names some", text);
	}
	SSL_CTX_free(scratch);
	ERR_clear_error();
}

/* A typo excludes nothing. */
static void
check_exclusions(const struct server_check *k, const char *name, const char *list)
{
	struct fault why = { 0 };
	char text[700];

	if (tls_exclude_check(span_str(list), TLS_LIST_SEPS, true, &why))
		return;
	snprintf(text, sizeof(text), "%s: it excludes nothing", why.text);
	say(k, CONF_WARNING, name, "openssl ciphers -s -v ALL names some", text);
}

static void
check_ticket_cipher(const struct server_check *k)
{
	struct fault why = { 0 };

	if (k->s->params->smtpd_tls_session_cache_timeout_ms > 0 && !tls_ticket_cipher_check(k->s->params->tls_session_ticket_cipher, &why))
		say(k, CONF_ERROR, "tls_session_ticket_cipher", "aes-256-cbc", why.text);
}

/* The menu's default has names that older libraries do not know. */
static void
check_menu(const struct server_check *k)
{
	const struct conf_item *i = check_find(k->items, k->n, "tls_eecdh_auto_curves");

	if (i != NULL && i->file != NULL)
		check_curves(k, "tls_eecdh_auto_curves", k->s->params->tls_eecdh_auto_curves);
}

/* No protocol left, or a list that cannot be read (said elsewhere): there would be no TLS. */
static void
check_protocols_left(const struct server_check *k)
{
	const struct params *p = k->s->params;
	struct tls_protocols t;
	struct fault why = { 0 };
	const char *list = k->mandatory ? p->smtpd_tls_mandatory_protocols : p->smtpd_tls_protocols;

	if (tls_protocols_parse(span_str(list), &t, &why) && !tls_server_protocols_left(list, k->mandatory, &t, &why))
		say(k, CONF_ERROR, k->mandatory ? "smtpd_tls_mandatory_protocols" : "smtpd_tls_protocols", ">=TLSv1.2 for example", why.text);
}

/* What the start only warns of. */
static void
check_level_word(const struct server_check *k)
{
	static const char *const client[] = { "fingerprint", "verify", "secure" };

	for (size_t i = 0; i < sizeof(client) / sizeof(client[0]) && !k->s->params->smtpd_tls_wrappermode; i++)
		if (strcmp(k->s->params->smtpd_tls_security_level, client[i]) == 0)
			say(k, CONF_WARNING, "smtpd_tls_security_level", "encrypt, and smtpd_tls_req_ccert = yes or entries of smtpd_tls_policy_maps",
			    "fingerprint, verify and secure are for clients: it is taken for encrypt, and no certificate is demanded");
}

static void
check_grade(const struct server_check *k)
{
	const struct params *p = k->s->params;

	if (strcmp(p->smtpd_tls_eecdh_grade, "strong") == 0)
		check_curves(k, "tls_eecdh_strong_curve", p->tls_eecdh_strong_curve);
	else if (strcmp(p->smtpd_tls_eecdh_grade, "ultra") == 0)
		check_curves(k, "tls_eecdh_ultra_curve", p->tls_eecdh_ultra_curve);
	else if (strcmp(p->smtpd_tls_eecdh_grade, "none") == 0)
		say(k, CONF_WARNING, "smtpd_tls_eecdh_grade", "auto", "clients of TLS 1.2 are left with EDH or, at level may, without forward secrecy");
}

static void
check_log_level(const struct server_check *k)
{
	struct fault why = { 0 };
	unsigned features;

	if (!log_tls_level_parse(span_str(k->s->params->smtpd_tls_loglevel), &features, &why))
		say(k, CONF_ERROR, "smtpd_tls_loglevel", "a number, or names of features", why.text);
}

void
check_tls_server(const struct checker *c, const struct conf_service *s)
{
	const struct params *p = s->params;
	struct server_check k = { .c = c, .s = s, .mandatory = is_mandatory(p) };
	struct conf_item *items;

	if (s->disabled || (!k.mandatory && strcmp(p->smtpd_tls_security_level, "may") != 0 && !p->smtpd_use_tls))
		return;
	items = conf_items(s, &k.n);
	k.items = items;
	check_required(&k);
	check_lists(&k);
	check_raw_keys(&k);
	check_level_word(&k);
	check_protocols_left(&k);
	check_exclusions(&k, "smtpd_tls_exclude_ciphers", p->smtpd_tls_exclude_ciphers);
	if (k.mandatory)
		check_exclusions(&k, "smtpd_tls_mandatory_exclude_ciphers", p->smtpd_tls_mandatory_exclude_ciphers);
	check_ticket_cipher(&k);
	check_dh(&k);
	check_grade(&k);
	check_menu(&k);
	check_log_level(&k);
	conf_items_free(&items);
}
