/* signet check: our own certificates: keys fit, chains are in order and in date; the same for the entries of tls_server_sni_maps. */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/params.h"
#include "conf/words.h"
#include "dns/dns.h"
#include "maps/entries.h"
#include "role/keeper/keeper.h"
#include "signet/check.h"
#include "tls/credentials.h"

/* Stands for the prefix of parameters in faults; unlike "smtpd_tls" it lets no file be left out. */
#define ANY "*"

#define FIX_FILES "private key, its certificate, its issuers, in this order, without a passphrase"
#define FIX_FIT "renew it, or put it in order: peers that verify it turn away"

struct chain_check {
	const struct checker *c;
	const struct conf_item *items;
	size_t n;
	const char *prefix;
};

/* The item of "smtpd_tls" + "_key_file" when it is set in a file to something. */
static const struct conf_item *
set_item(const struct chain_check *k, const char *end)
{
	const struct conf_item *i;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", k->prefix, end);
	i = check_find(k->items, k->n, name);
	return i != NULL && i->file != NULL && i->value != NULL && *i->value != '\0' ? i : NULL;
}

static const char *
value_of(const struct conf_item *i)
{
	return i != NULL ? i->value : "";
}

static bool
is_readable(const struct chain_check *k, const struct conf_item *i, const char *path)
{
	int err = fd_access(path, R_OK);

	if (err < 0)
		check_say(k->c, CONF_ERROR, i, "name a file that exists and can be read by root", "%s: %s", path, fd_error(err));
	return err >= 0;
}

static void
check_fit_for_use(const struct chain_check *k, const struct conf_item *i, const struct tls_chain *chain)
{
	struct fault why = { 0 };

	if (chain != NULL && !chain_fit(chain, NULL, &why))
		check_say(k->c, CONF_WARNING, i, FIX_FIT, "%s: %s", i->value, why.text);
}

/* "*_key_file: /x: no private key in it": about the parameter that it names, else about `i`. */
static void
say_fault(const struct chain_check *k, const struct conf_item *i, const char *fix, const char *text)
{
	struct span head, rest = span_str(text);
	const struct conf_item *named;
	char end[64];

	if (span_starts(rest, SPAN(ANY)) && span_cut(span_from(rest, 1), ':', &head, &rest)) {
		snprintf(end, sizeof(end), "%.*s", SPAN_ARG(head));
		named = set_item(k, end);
		i = named != NULL ? named : i;
	}
	rest = span_trim(rest);
	check_say(k->c, CONF_ERROR, i, fix, "%.*s", SPAN_ARG(rest));
}

static void
check_params(const struct chain_check *k, const struct conf_item *i, const char *fix, const struct tls_chain_params *p)
{
	struct tls_chain *chain = NULL;
	struct fault why = { 0 };

	if (tls_chain_read(p, NULL, &chain, &why))
		check_fit_for_use(k, i, chain);
	else
		say_fault(k, i, fix, why.text);
	tls_chain_unref(&chain);
	ERR_clear_error();
}

static void
check_pair(const struct chain_check *k, const char *cert_end, const char *key_end, bool ignored)
{
	const struct conf_item *cert = set_item(k, cert_end), *key = set_item(k, key_end);
	struct tls_chain_params p = { ANY, "", "", "", "", "", "", "" };

	if (cert == NULL) {
		if (key != NULL)
			check_say(k->c, CONF_WARNING, key, NULL, "it is set without %s%s and has no effect", k->prefix, cert_end);
		return;
	}
	if (ignored) {
		check_say(k->c, CONF_WARNING, cert, "take one of the two out", "it has no effect: %s_chain_files is set", k->prefix);
		return;
	}
	if (strcmp(cert->value, "none") == 0 || !is_readable(k, cert, cert->value) || (key != NULL && !is_readable(k, key, key->value)))
		return;
	if (cert_end[1] == 'e')
		p.eccert_file = cert->value, p.eckey_file = value_of(key);
	else if (cert_end[1] == 'd')
		p.dcert_file = cert->value, p.dkey_file = value_of(key);
	else
		p.cert_file = cert->value, p.key_file = value_of(key);
	check_params(k, cert, "a certificate, its issuers behind it, and the key that it was made for, without a passphrase", &p);
}

static bool
check_chain_files(const struct chain_check *k)
{
	const struct conf_item *i = set_item(k, "_chain_files");
	struct span rest = span_str(value_of(i)), one;
	char path[4096];
	bool ok = true;

	while (word_next(&rest, &one)) {
		snprintf(path, sizeof(path), "%.*s", SPAN_ARG(one));
		ok &= is_readable(k, i, path);
	}
	if (i != NULL && ok)
		check_params(k, i, FIX_FILES,
		    &(struct tls_chain_params){ ANY, i->value, "", "", "", "", "", "" });
	return i != NULL;
}

void
check_chains(const struct checker *c, const struct conf_item *items, size_t n, const char *prefix)
{
	struct chain_check k = { c, items, n, prefix };
	bool chains = check_chain_files(&k);

	check_pair(&k, "_cert_file", "_key_file", chains);
	check_pair(&k, "_eccert_file", "_eckey_file", chains);
	check_pair(&k, "_dcert_file", "_dkey_file", chains);
}

/* --- tls_server_sni_maps --- */

static void
say_entry(const struct chain_check *k, const struct maps_entry *e, enum conf_severity severity, const char *fix, const char *text)
{
	const struct conf_item *i = k->items;
	struct span key = log_esc(span_slice(e->key, 0, 200));

	conf_report_add(k->c->report, severity, e->file != NULL ? e->file : i->file, e->file != NULL ? e->line : i->line, fix,
	    "tls_server_sni_maps: %.*s: %s", SPAN_ARG(key), text);
}

static bool
names_server(struct span key)
{
	return dns_name_is_host(key.n > 1 && key.p[0] == '.' ? span_from(key, 1) : key);
}

static void
on_sni(void *ctx, const struct maps_entry *e)
{
	const struct chain_check *k = ctx;
	struct tls_chain *chain = NULL;
	struct fault why = { 0 };
	struct buf pem;

	if (!e->is_pattern && !names_server(e->key))
		say_entry(k, e, CONF_WARNING, "a host name, or .domain for all below it", "no client asks for a server name like this");
	if (e->is_rule && span_index(e->value, '$') >= 0)
		return;
	buf_init(&pem, TLS_FILE_MAX);
	if (tls_sni_value_pem(NULL, e->value, &pem, &why))
		chain = tls_chain_parse(buf_span(&pem), "its files", &why);
	if (chain == NULL)
		say_entry(k, e, CONF_ERROR, "names of PEM files: " FIX_FILES, why.text);
	else if (!chain_fit(chain, NULL, &why))
		say_entry(k, e, CONF_WARNING, FIX_FIT, why.text);
	tls_chain_unref(&chain);
	if (pem.p != NULL)
		OPENSSL_cleanse(pem.p, pem.cap);
	buf_release(&pem);
	ERR_clear_error();
}

void
check_sni(const struct checker *c, const struct conf_item *items, size_t n)
{
	const struct conf_item *i = check_find(items, n, "tls_server_sni_maps");
	struct chain_check k = { c, i, 1, "" };

	if (i != NULL && i->file != NULL && i->value != NULL)
		maps_entries(span_str(i->value), on_sni, &k);
}
