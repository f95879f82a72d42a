/*
 * signet tls explain --client: which entry of smtpd_tls_policy_maps a client gets, what it demands, what a certificate would
 * be here, and what the restrictions that look at TLS would say. All of it is decided by the code of the server.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "dns/dns.h"
#include "role/smtpd/acl.h"
#include "signet/cli.h"
#include "signet/tls.h"
#include "tls/client_policy.h"
#include "tls/client_ctx.h"
#include "tls/credentials.h"
#include "tls/dn.h"
#include "tls/info.h"
#include "tls/policy.h"
#include "tls/server_ctx.h"

struct client {
	struct cli *cli;
	struct conf *conf;
	const struct conf_service *svc;
	const struct params *p;
	struct arena *a;
	struct tls_asks asks;
	const char *address, *sender, *name_given, *cert_file, *service, *bits, *sni;
	struct span name;               /* confirmed; "" = none */
	const char *name_why;
	struct maps *maps;
	struct map_hit hit;
	struct span key;
	bool found, unusable;
	struct fault why;
	struct tls_client_policy policy;
	X509 *cert;
	EVP_PKEY *raw_key;              /* instead of a certificate */
	bool asked, key_would_do;
	STACK_OF(X509) *chain;
	struct tls_info info;
	struct buf out;
	bool json;
	json_t *o;                      /* the same as `out` */
};

static void
put(json_t *o, const char *name, struct span text)
{
	json_object_set_new(o, name, explain_json_span(text));
}

/* --- the name --- */

static void
find_name(struct client *c)
{
	uint8_t bytes[16];
	size_t n;
	const struct dns_answer *ptr, *fwd;

	if (c->name_given != NULL) {
		c->name = span_str(c->name_given);
		c->name_why = "as given";
		return;
	}
	c->name_why = "not confirmed by DNS";
	if (!c->p->smtpd_peername_lookup || !dns_address_parse(span_str(c->address), bytes, &n)) {
		c->name_why = "smtpd_peername_lookup = no";
		return;
	}
	tls_asks_open(&c->asks, c->conf);
	ptr = tls_asks_dns(&c->asks, dns_name_reverse(c->a, span_of(bytes, n)), DNS_TYPE_PTR);
	if (!dns_known(ptr))
		c->name_why = "DNS could not be asked: is the daemon running? Give --name";
	if (!dns_known(ptr) || ptr->count == 0)
		return;
	fwd = tls_asks_dns(&c->asks, ptr->records[0].data, n == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA);
	for (size_t i = 0; dns_known(fwd) && i < fwd->count; i++)
		if (span_eq(fwd->records[i].data, span_of(bytes, n))) {
			c->name = arena_dup(c->a, ptr->records[0].data);
			c->name_why = "confirmed by DNS";
		}
}

/* --- the entry --- */

static bool
find_entry(struct client *c)
{
	struct tls_client_key *keys = ARENA_ARRAY(c->a, struct tls_client_key, TLS_CLIENT_KEYS_MAX);
	struct maps_env env = { .data_directory = c->p->data_directory, .default_database_type = c->p->default_database_type, .direct = true };
	size_t n = tls_client_keys(c->name, span_str(c->address), c->sni != NULL ? span_str(c->sni) : SPAN(""), c->a, keys);

	if (c->maps == NULL && !maps_open(span_str(c->p->smtpd_tls_policy_maps), MAPS_STRICT, &env, &c->maps, &c->why))
		return false;
	for (size_t i = 0; i < n; i++)
		switch ((keys[i].partial ? maps_find_partial : maps_find)(c->maps, keys[i].key, NULL, c->a, &c->hit, &c->why)) {
		case MAP_FOUND:
			c->key = keys[i].key;
			c->found = true;
			c->unusable = !tls_client_policy_parse(c->hit.value, c->p->smtpd_tls_fingerprint_digest, c->a, &c->policy, &c->why) ||
			    !tls_client_policy_fits(&c->policy, keys[i].key, &c->why);
			return true;
		case MAP_ABSENT:
			break;
		case MAP_WAIT:
		case MAP_DEFER:
			return false;
		}
	return true;
}

/* "FILE:LINE", or the table. */
static struct span
source_of(const struct client *c, const struct map_hit *hit)
{
	return hit->file.n > 0 ? arena_printf(c->a, "%.*s:%u", SPAN_ARG(hit->file), hit->line) : hit->table;
}

static void
entry_json(struct client *c)
{
	json_t *o = json_object();

	if (!c->found) {
		json_decref(o);
		json_object_set_new(c->o, "entry", json_null());
		put(c->o, "level", span_str(c->p->smtpd_tls_security_level));
		return;
	}
	put(o, "key", c->key);
	put(o, "value", c->hit.value);
	put(o, "source", source_of(c, &c->hit));
	json_object_set_new(o, "usable", json_boolean(!c->unusable));
	if (c->unusable)
		put(o, "reason", span_str(c->why.text));
	json_object_set_new(c->o, "entry", o);
	if (c->unusable)
		return;
	put(c->o, "level", span_str(tls_client_level_name(c->policy.level)));
}

static void
show_entry(struct client *c)
{
	bool no_tls = c->found && !c->unusable && c->policy.level == TLS_CLIENT_NONE;

	entry_json(c);
	json_object_set_new(c->o, "asks_certificate", json_boolean(c->asked && !no_tls));
	json_object_set_new(c->o, "asks_raw_key", json_boolean(c->key_would_do && !no_tls));
	if (!c->found) {
		buf_addf(&c->out, "entry:        none; smtpd_tls_security_level = %s decides\n", c->p->smtpd_tls_security_level);
		return;
	}
	buf_addf(&c->out, "entry:        %.*s: %.*s  %.*s\n", SPAN_ARG(source_of(c, &c->hit)), SPAN_ARG(c->key), SPAN_ARG(c->hit.value));
	if (c->unusable)
		buf_addf(&c->out, "              cannot be understood: %s; the client gets 454\n", c->why.text);
	else
		buf_addf(&c->out, "handshake:    %s; a certificate is %sasked for%s\n", c->policy.level == TLS_CLIENT_NONE ? "STARTTLS is not offered" :
		    c->policy.level == TLS_CLIENT_MAY ? "TLS is optional" : "TLS is demanded",
		    c->policy.level != TLS_CLIENT_NONE && c->asked ? "" : "not ", c->policy.level != TLS_CLIENT_NONE && c->key_would_do ?
		    ", a raw public key will do" : "");
}

/* --- what is asked for in the handshake --- */

/* TLS is mandatory for everybody, and a trusted certificate with it. */
static bool
service_requires(const struct client *c)
{
	const struct params *p = c->p;
	enum tls_server_level level;
	const char *warning;

	return p->smtpd_tls_req_ccert && tls_server_level_parse(p->smtpd_tls_security_level, p->smtpd_use_tls, p->smtpd_enforce_tls,
	    p->smtpd_tls_wrappermode, &level, &warning, &(struct fault){ 0 }) && level == TLS_SERVER_ENCRYPT;
}

static void
find_asked(struct client *c)
{
	bool required = service_requires(c), entry = c->found && !c->unusable;

	c->asked = c->p->smtpd_tls_ask_ccert || required;
	c->key_would_do = c->p->smtpd_tls_enable_rpk && tls_rpk_available();
	if (entry) {
		c->asked = tls_client_policy_asks(&c->policy, c->asked);
		c->key_would_do = tls_client_policy_asks_key(&c->policy, c->key_would_do);
	}
	c->key_would_do = c->key_would_do && c->asked && (entry || !required);
}

/* --- the certificate --- */

static bool
read_certificates(struct client *c)
{
	BIO *in = BIO_new_file(c->cert_file, "r");
	X509 *one;

	c->chain = sk_X509_new_null();
	while (in != NULL && (one = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
		if (c->cert == NULL)
			c->cert = one;
		else
			sk_X509_push(c->chain, one);
	}
	BIO_free(in);
	ERR_clear_error();
	return c->cert != NULL;
}

/* A file with a public key and no certificate is a client that shows its raw key. */
static bool
read_raw_key(struct client *c)
{
	BIO *in = BIO_new_file(c->cert_file, "r");

	if (in != NULL)
		c->raw_key = PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
	BIO_free(in);
	ERR_clear_error();
	return c->raw_key != NULL;
}

/* The server's rule: made for clients, or with tls_trust_server_ccerts also for servers. */
static bool
verify(struct client *c, X509_STORE *store, int purpose, struct span *why_r)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *built;
	bool ok;

	X509_STORE_CTX_init(ctx, store, c->cert, c->chain);
	X509_STORE_CTX_set_purpose(ctx, purpose);
	X509_STORE_CTX_set_depth(ctx, c->p->smtpd_tls_ccert_verifydepth);
	ok = X509_verify_cert(ctx) == 1;
	built = X509_STORE_CTX_get0_chain(ctx);
	*why_r = span_str(X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	if (ok)
		*why_r = tls_dn_text(X509_get_subject_name(sk_X509_value(built, sk_X509_num(built) - 1)), c->a);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

static void
certificate_json(struct client *c, bool ok, struct span text)
{
	json_t *o = json_object();

	json_object_set_new(o, "trusted", json_boolean(ok));
	put(o, ok ? "authority" : "reason", text);
	put(o, "subject", tls_dn_text(X509_get_subject_name(c->cert), c->a));
	put(o, "issuer", tls_dn_text(X509_get_issuer_name(c->cert), c->a));
	put(o, "cert_fingerprint", c->info.cert_fp);
	put(o, "pkey_fingerprint", c->info.pkey_fp);
	json_object_set_new(c->o, "certificate", o);
}

static void
judge_certificate(struct client *c)
{
	const struct tls_roots_params roots = { .prefix = "smtpd_tls", .CAfile = c->p->smtpd_tls_CAfile, .CApath = c->p->smtpd_tls_CApath,
		.append_default_CA = c->p->tls_append_default_CA && (c->p->smtpd_tls_CAfile[0] != '\0' || c->p->smtpd_tls_CApath[0] != '\0') };
	X509_STORE *store = X509_STORE_new();
	struct fault why = { 0 };
	struct span text = SPAN("");
	bool ok = false;

	if (!tls_roots_load(&roots, store, &why))
		text = arena_printf(c->a, "%s", why.text);
	else
		ok = verify(c, store, X509_PURPOSE_SSL_CLIENT, &text) ||
		    (c->p->tls_trust_server_ccerts && verify(c, store, X509_PURPOSE_SSL_SERVER, &text));
	X509_STORE_free(store);
	tls_info_cert(c->cert, c->p->smtpd_tls_fingerprint_digest, c->a, &c->info);
	c->info.asked = true;
	c->info.peer_trusted = ok;
	c->info.untrusted = ok ? SPAN("") : text;
	certificate_json(c, ok, text);
	buf_addf(&c->out, "certificate:  %s, %s%.*s\n", ok ? "Trusted" : "Untrusted", ok ? "by " : "", SPAN_ARG(text));
	buf_addf(&c->out, "              subject %.*s\n", SPAN_ARG(tls_dn_text(X509_get_subject_name(c->cert), c->a)));
	buf_addf(&c->out, "              issuer %.*s\n", SPAN_ARG(tls_dn_text(X509_get_issuer_name(c->cert), c->a)));
	buf_addf(&c->out, "              certificate %.*s\n              key %.*s\n", SPAN_ARG(c->info.cert_fp), SPAN_ARG(c->info.pkey_fp));
}

static void
judge_raw_key(struct client *c)
{
	tls_info_key(c->raw_key, c->p->smtpd_tls_fingerprint_digest, c->a, &c->info);
	put(c->o, "raw_key", c->info.pkey_fp);
	buf_addf(&c->out, "raw key:      Untrusted: what it is good for, its fingerprint says\n              key %.*s\n", SPAN_ARG(c->info.pkey_fp));
}

/* --- what follows --- */

static void
ask_issuer(struct client *c, const struct tls_client_shown *s, struct tls_client_issuer *issuer)
{
	struct maps_env env = { .data_directory = c->p->data_directory, .default_database_type = c->p->default_database_type, .direct = true };
	struct maps *m = NULL;
	struct map_hit hit;

	*issuer = (struct tls_client_issuer){ .state = TLS_ANSWER_NONE };
	if (!tls_client_issuer_wanted(&c->policy, s))
		return;
	issuer->state = TLS_ANSWER_FAILED;
	if (maps_open(c->policy.issuer_maps, MAPS_STRICT, &env, &m, &issuer->why))
		switch (maps_find(m, tls_client_issuer_key(s, c->a), NULL, c->a, &hit, &issuer->why)) {
		case MAP_FOUND:
			issuer->state = TLS_ANSWER_FOUND;
			issuer->value = hit.value;
			break;
		case MAP_ABSENT:
			issuer->state = TLS_ANSWER_ABSENT;
			break;
		case MAP_WAIT:
		case MAP_DEFER:
			break;
		}
	maps_unref(&m);
}

static json_t *
outcome_json(const struct tls_client_verdict *v)
{
	json_t *o = json_object(), *steps = json_array();

	json_object_set_new(o, "accepted", json_boolean(v->ok));
	if (!v->ok) {
		json_object_set_new(o, "code", json_integer((json_int_t)v->code));
		put(o, "dsn", span_str(v->dsn));
		put(o, "reason", v->why);
	}
	for (size_t i = 0; i < v->n_trail; i++) {
		json_t *step = json_object();

		put(step, "rule", span_str(v->trail[i].rule));
		put(step, "result", v->trail[i].result);
		json_array_append_new(steps, step);
	}
	json_object_set_new(o, "steps", steps);
	return o;
}

static void
show_outcome(struct client *c, const char *what, const char *name, const struct tls_client_shown *s)
{
	struct tls_client_issuer issuer;
	struct tls_client_verdict v;

	if (!c->found || c->unusable)
		return;
	ask_issuer(c, s, &issuer);
	tls_client_policy_decide(&c->policy, s, &issuer, c->a, &v);
	json_object_set_new(c->o, name, outcome_json(&v));
	if (v.ok)
		buf_addf(&c->out, "%s accepted\n", what);
	else
		buf_addf(&c->out, "%s refused at MAIL: %u %s %.*s\n", what, v.code, v.dsn, SPAN_ARG(v.why));
	for (size_t i = 0; i < v.n_trail; i++)
		buf_addf(&c->out, "              - %s: %.*s\n", v.trail[i].rule, SPAN_ARG(v.trail[i].result));
	if (v.warning.n > 0)
		buf_addf(&c->out, "              warning: %.*s\n", SPAN_ARG(v.warning));
}

static void
on_said(void *ctx, const struct acl_tls_said *s)
{
	struct client *c = ctx;
	json_t *o = json_object();

	put(o, "list", span_str(s->list));
	put(o, "word", span_str(s->word));
	put(o, "argument", s->arg);
	put(o, "says", s->says);
	buf_addf(&c->out, "%s: %s%s%.*s %.*s\n", s->list, s->word, s->arg.n > 0 ? " " : "", SPAN_ARG(s->arg), SPAN_ARG(s->says));
	if (s->entry != NULL) {
		json_t *entry = json_object();

		put(entry, "value", s->entry->value);
		put(entry, "source", source_of(c, s->entry));
		json_object_set_new(o, "entry", entry);
		buf_addf(&c->out, "              %.*s: %.*s\n", SPAN_ARG(source_of(c, s->entry)), SPAN_ARG(s->entry->value));
	}
	json_array_append_new(json_object_get(c->o, "restrictions"), o);
}

static bool
show_restrictions(struct client *c, const struct tls_client_shown *s)
{
	struct maps_env env = { .data_directory = c->p->data_directory, .default_database_type = c->p->default_database_type, .direct = true };
	struct acl_facts f = { .client_name = c->name.n > 0 ? c->name : SPAN("unknown"), .addr = span_str(c->address), .tls = s->tls,
		.tls_info = s->tls ? &c->info : NULL, .tls_shown = s, .sender = c->sender != NULL ? span_str(c->sender) : SPAN("sender@client.invalid"), .have_sender = true,
		.recipient = SPAN("recipient@here.invalid"), .have_recipient = true, .helo = SPAN("client.invalid") };
	struct acl *acl = NULL;
	bool ok;

	f.reverse_name = f.client_name;
	f.namaddr = arena_printf(c->a, "%.*s[%s]", SPAN_ARG(f.client_name), c->address);
	ok = acl_open(c->svc, &env, &acl, &c->why);
	if (ok)
		acl_tls_walk(acl, &f, c->sender != NULL, c->a, on_said, c);
	acl_free(&acl);
	return ok;
}

static const char *
why_no_key(const struct client *c)
{
	if (!tls_rpk_available())
		return "raw public keys need OpenSSL 3.2 or later";
	if (!c->p->smtpd_tls_enable_rpk)
		return "smtpd_tls_enable_rpk = no";
	if (!c->asked)
		return "nor is a certificate";
	return "where names count, or a trusted certificate is required, a key will not do";
}

/* What the client shows of that which it has: nothing that is not asked for. */
static void
show_credential(struct client *c, struct tls_client_shown *tls)
{
	if (c->cert != NULL)
		judge_certificate(c);
	if (c->raw_key != NULL)
		judge_raw_key(c);
	if (c->cert != NULL && !c->asked)
		buf_add_str(&c->out, "              not asked for, so never shown\n");
	if (c->raw_key != NULL && !c->key_would_do)
		buf_addf(&c->out, "              not asked for, so never shown: %s\n", why_no_key(c));
	if (!(c->cert != NULL ? c->asked : c->key_would_do))
		c->info = (struct tls_info){ .peer_cert = false };
	else
		tls->cert = c->cert;
	c->info.asked = c->asked;
	c->info.key_would_do = c->key_would_do;
	tls->asked = c->asked;
	tls->key_would_do = c->key_would_do;
	tls->trusted = c->info.peer_trusted;
	tls->untrusted = c->info.untrusted;
	tls->cert_fp = c->info.cert_fp;
	tls->pkey_fp = c->info.pkey_fp;
}

/* The same client when its software has learned to show the key alone. */
static void
show_key_alone(struct client *c, const struct tls_client_shown *tls)
{
	struct tls_client_shown key = *tls;

	if (tls->cert == NULL || !c->key_would_do)
		return;
	key.cert = NULL;
	key.trusted = false;
	key.cert_fp = key.untrusted = SPAN("");
	show_outcome(c, "key alone:   ", "key_alone", &key);
}

static void
show_impossible(struct client *c, const char *what, const char *name, const char *why)
{
	json_object_set_new(c->o, name, json_null());
	buf_addf(&c->out, "%s not possible: %s\n", what, why);
}

/* A client that says no server name yet may have another entry. */
static bool
show_clear(struct client *c, const struct tls_client_shown *clear)
{
	struct client before = *c;

	if (c->p->smtpd_tls_wrappermode) {
		show_impossible(c, "in clear:    ", "in_clear", "this service begins with TLS");
		return true;
	}
	if (c->sni != NULL) {
		before.sni = NULL;
		before.found = before.unusable = false;
		if (!find_entry(&before))
			return false;
	}
	show_outcome(&before, "in clear:    ", "in_clear", clear);
	c->out = before.out;
	return true;
}

static void
client_json(struct client *c)
{
	put(c->o, "address", span_str(c->address));
	put(c->o, "name", c->name.n > 0 ? c->name : SPAN("unknown"));
	put(c->o, "name_source", span_str(c->name_why));
	put(c->o, "service", span_str(c->svc->name));
	json_object_set_new(c->o, "sender", c->sender == NULL ? json_null() : c->sender[0] == '\0' ? json_string("") : explain_json_span(span_str(c->sender)));
	json_object_set_new(c->o, "certificate", json_null());
	json_object_set_new(c->o, "restrictions", json_array());
}

static int
print(struct client *c)
{
	char *text;

	if (!c->json)
		return cli_print(c->cli, &c->out);
	text = json_dumps(c->o, JSON_INDENT(1));
	buf_clear(&c->out);
	buf_addf(&c->out, "%s\n", text != NULL ? text : "");
	free(text);
	return cli_print(c->cli, &c->out);
}

/* Neither the entry nor the service offers it. */
static bool
without_tls(const struct client *c)
{
	const struct params *p = c->p;
	enum tls_server_level level;
	const char *warning;

	if (p->smtpd_tls_wrappermode)
		return false;
	if (c->found)
		return !c->unusable && c->policy.level == TLS_CLIENT_NONE;
	return tls_server_level_parse(p->smtpd_tls_security_level, p->smtpd_use_tls, p->smtpd_enforce_tls, false, &level, &warning, &(struct fault){ 0 }) &&
	    level == TLS_SERVER_NONE;
}

static int
run(struct client *c)
{
	struct tls_client_shown clear = { .name = c->name }, tls = { .tls = true, .bits = 256 };
	uint64_t bits = 256;
	bool no_tls;
	int err;

	if (c->cert_file != NULL && (err = fd_access(c->cert_file, R_OK)) < 0)
		return cli_fail(c->cli, CLI_NO, "%s: %s", c->cert_file, fd_error(err));
	if (c->cert_file != NULL && !read_certificates(c) && !read_raw_key(c))
		return cli_fail(c->cli, CLI_NO, "%s: no certificate in PEM form can be read, nor a public key", c->cert_file);
	if (c->bits != NULL && !span_u64(span_str(c->bits), 4096, &bits))
		return cli_usage(c->cli, "--bits needs a number");
	find_name(c);
	client_json(c);
	buf_addf(&c->out, "client:       %.*s[%s] (name %s)\nservice:      %s\n", SPAN_ARG(c->name.n > 0 ? c->name : SPAN("unknown")), c->address,
	    c->name_why, c->svc->name);
	if (!find_entry(c))
		return cli_fail(c->cli, CLI_TRY_AGAIN, "smtpd_tls_policy_maps: %s; the client gets 454", c->why.text);
	find_asked(c);
	show_entry(c);
	no_tls = without_tls(c);
	tls.name = clear.name = c->name;
	tls.bits = (int)bits;
	show_credential(c, &tls);
	if (!show_clear(c, &clear))
		return cli_fail(c->cli, CLI_TRY_AGAIN, "smtpd_tls_policy_maps: %s; the client gets 454", c->why.text);
	if (no_tls) {
		show_impossible(c, "with TLS:    ", "with_tls", "STARTTLS is not offered");
	} else {
		show_outcome(c, "with TLS:    ", "with_tls", &tls);
		show_key_alone(c, &tls);
	}
	if (!show_restrictions(c, no_tls ? &clear : &tls))
		return cli_fail(c->cli, CLI_NO, "%s", c->why.text);
	return print(c);
}

static const struct conf_service *
find_service(const struct client *c)
{
	for (size_t i = 0; i < c->conf->service_count; i++) {
		const struct conf_service *s = &c->conf->services[i];

		if (!s->disabled && strcmp(s->command, "smtpd") == 0 && (c->service == NULL || strcmp(s->name, c->service) == 0))
			return s;
	}
	return NULL;
}

static bool
take(struct client *c, int argc, char **argv)
{
	struct { const char *name; const char **to; } const rows[] = { { "--client", &c->address }, { "--name", &c->name_given },
		{ "--cert", &c->cert_file }, { "--bits", &c->bits }, { "--service", &c->service }, { "--sni", &c->sni },
		{ "--sender", &c->sender } };

	for (int i = 1; i < argc; i += 2) {
		size_t k = 0;

		if (strcmp(argv[i], "--json") == 0) {
			c->json = true;
			i--;
			continue;
		}
		while (k < sizeof(rows) / sizeof(rows[0]) && strcmp(argv[i], rows[k].name) != 0)
			k++;
		if (k == sizeof(rows) / sizeof(rows[0]) || i + 1 == argc)
			return false;
		*rows[k].to = argv[i + 1];
	}
	return true;
}

/* As the server writes it: "[2001:0db8::1]" is 2001:db8::1, and IPv4 in an IPv6 socket is IPv4. */
static bool
usual_address(struct client *c)
{
	static const char mapped[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff";
	struct span text = span_str(c->address), bytes;
	uint8_t at[16];
	size_t n;

	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = span_slice(text, 1, text.n - 1);
	if (span_starts_ci(text, SPAN("IPv6:")))
		text = span_from(text, 5);
	if (!dns_address_parse(text, at, &n))
		return false;
	bytes = span_of(at, n);
	if (n == 16 && memcmp(at, mapped, 12) == 0)
		bytes = span_from(bytes, 12);
	c->address = arena_cstr(c->a, dns_address_text(c->a, bytes));
	return true;
}

/* "<a@b>" is a@b, and "<>" the null sender. */
static bool
usual_sender(struct client *c)
{
	struct span text;

	if (c->sender == NULL)
		return true;
	text = span_str(c->sender);
	if (text.n > 1 && text.p[0] == '<' && text.p[text.n - 1] == '>')
		text = span_slice(text, 1, text.n - 1);
	c->sender = arena_cstr(c->a, text);
	return text.n == 0 || span_index(text, '@') > 0;
}

int
tls_explain_client(struct cli *cli, int argc, char **argv)
{
	struct client c = { .cli = cli };
	int status;

	if (!take(&c, argc, argv) || c.address == NULL)
		return cli_usage(cli, "--client needs an address; --name, --sni, --sender, --cert, --bits and --service take one value each, --json none");
	c.a = arena_new(64u << 20);
	if (!usual_address(&c)) {
		status = cli_fail(cli, CLI_NO, "--client %s: no IP address (a name is given with --name)", c.address);
		arena_free(&c.a);
		return status;
	}
	if (!usual_sender(&c)) {
		status = cli_fail(cli, CLI_NO, "--sender %s: no address such as user@example.com (<> is the null sender)", c.sender);
		arena_free(&c.a);
		return status;
	}
	c.conf = cli_conf(cli);
	if (c.conf == NULL) {
		arena_free(&c.a);
		return CLI_NO;
	}
	buf_init(&c.out, 1u << 20);
	c.o = json_object();
	c.svc = find_service(&c);
	c.p = c.svc != NULL ? c.svc->params : NULL;
	status = c.svc != NULL ? run(&c) : cli_fail(cli, CLI_NO, "no smtpd service %s in master.cf", c.service != NULL ? c.service : "at all");
	if (c.asks.loop != NULL)
		tls_asks_close(&c.asks);
	maps_unref(&c.maps);
	X509_free(c.cert);
	EVP_PKEY_free(c.raw_key);
	sk_X509_pop_free(c.chain, X509_free);
	buf_release(&c.out);
	json_decref(c.o);
	arena_free(&c.a);
	conf_unref(&c.conf);
	return status;
}
