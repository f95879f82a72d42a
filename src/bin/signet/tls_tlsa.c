/*
 * signet tls tlsa: the TLSA records that our certificates need (RFC 7672 section 3.1: "3 1 1", and "2 1 1" for the issuer
 * on request), and what validated DNS holds of them. Exit status 0 only when every certificate in use is covered by a record
 * that is proven.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/log.h"
#include "conf/conf.h"
#include "signet/cli.h"
#include "signet/tls.h"
#include "tls/credentials.h"
#include "tls/server_ctx.h"

enum { CERTS_MAX = 32, OUT_MAX = 4 << 20 };

enum whose { CURRENT, NEXT, ISSUER };

/* A certificate, or a bare key, that a record may speak of. */
struct ours {
	X509 *cert;                     /* NULL: only a key */
	EVP_PKEY *key;
	enum whose whose;
	bool covered;                   /* some record that is proven matches it */
};

struct tlsa {
	struct cli *cli;
	struct conf *conf;
	struct arena *a;
	const char *host, *next;
	unsigned port;
	bool ta, json, no_check;
	struct ours list[CERTS_MAX];
	size_t n;
	struct fault why;
	json_t *records, *published;
	struct buf out;
};

static const char *const whose_names[] = { "current", "next", "issuer" };

/* ---- our certificates */

static bool
add(struct tlsa *t, X509 *cert, enum whose whose)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i].cert != NULL && X509_cmp(t->list[i].cert, cert) == 0)
			return true;
	if (t->n == CERTS_MAX)
		return fault_set(&t->why, NULL, "more than %d certificates", CERTS_MAX);
	X509_up_ref(cert);
	t->list[t->n++] = (struct ours){ .cert = cert, .whose = whose };
	return true;
}

static bool
take_chain(struct tlsa *t, struct tls_chain *chain)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	for (size_t i = 0; chain != NULL && tls_chain_at(chain, i, &leaf, &issuers, &key); i++) {
		if (!add(t, leaf, CURRENT))
			return false;
		for (int k = 0; t->ta && issuers != NULL && k < sk_X509_num(issuers); k++)
			if (!add(t, sk_X509_value(issuers, k), ISSUER))
				return false;
	}
	return true;
}

static bool
take_params(struct tlsa *t, const struct params *p)
{
	const struct tls_chain_params c = { .prefix = "smtpd_tls", .chain_files = p->smtpd_tls_chain_files, .cert_file = p->smtpd_tls_cert_file,
		.key_file = p->smtpd_tls_key_file, .eccert_file = p->smtpd_tls_eccert_file, .eckey_file = p->smtpd_tls_eckey_file,
		.dcert_file = p->smtpd_tls_dcert_file, .dkey_file = p->smtpd_tls_dkey_file };
	struct tls_chain *chain = NULL;
	bool ok;

	if (strcmp(p->smtpd_tls_cert_file, "none") == 0)
		return true;
	ok = tls_chain_read(&c, NULL, &chain, &t->why) && take_chain(t, chain);
	if (chain != NULL)
		tls_chain_unref(&chain);
	return ok;
}

/* Those of every SMTP server that runs; master_service_disable may keep some from it. */
static bool
take_current(struct tlsa *t)
{
	size_t servers = 0;

	for (size_t i = 0; i < t->conf->service_count; i++) {
		const struct conf_service *cs = &t->conf->services[i];

		if (strcmp(cs->command, "smtpd") != 0 || cs->disabled)
			continue;
		servers++;
		if (!take_params(t, cs->params))
			return false;
	}
	if (servers == 0)
		return fault_set(&t->why, NULL, "master.cf has no smtpd service, or master_service_disable has them all");
	return t->n > 0 || fault_set(&t->why, NULL, "no certificate is configured (smtpd_tls_chain_files, smtpd_tls_cert_file)");
}

static bool
add_key(struct tlsa *t, EVP_PKEY *key, enum whose whose)
{
	if (t->n == CERTS_MAX)
		return fault_set(&t->why, NULL, "more than %d certificates", CERTS_MAX);
	EVP_PKEY_up_ref(key);
	t->list[t->n++] = (struct ours){ .key = key, .whose = whose };
	return true;
}

/* A new private key that has no certificate yet: only its public half counts. */
static EVP_PKEY *
read_private_key(const char *path)
{
	static char none[] = "";
	BIO *in = BIO_new_file(path, "r");
	EVP_PKEY *key = in == NULL ? NULL : PEM_read_bio_PrivateKey(in, NULL, NULL, none);

	BIO_free(in);
	return key;
}

/* A certificate, or a key, that will be used one day. */
static bool
take_next(struct tlsa *t)
{
	struct tls_anchors next;
	EVP_PKEY *key;
	bool ok;

	if (t->next == NULL)
		return true;
	if (!tls_anchors_load(t->next, &next, &t->why)) {
		key = read_private_key(t->next);
		ok = key != NULL && add_key(t, key, NEXT);
		EVP_PKEY_free(key);
		return ok;
	}
	ok = sk_X509_num(next.certs) > 0 ? add(t, sk_X509_value(next.certs, 0), NEXT) : add_key(t, next.keys[0], NEXT);
	tls_anchors_release(&next);
	return ok;
}

/* Subject, or what kind of key it is. */
static struct span
name_of(struct tlsa *t, const struct ours *o)
{
	char subject[256] = "";

	if (o->cert == NULL)
		return arena_printf(t->a, "a key without certificate (%s, %d bits)", EVP_PKEY_get0_type_name(o->key), EVP_PKEY_get_bits(o->key));
	X509_NAME_oneline(X509_get_subject_name(o->cert), subject, sizeof(subject));
	return arena_dup(t->a, log_esc(span_str(subject)));
}

/* ---- records */

static int
encode(const struct ours *o, unsigned selector, unsigned char **der_r)
{
	if (o->cert == NULL)
		return selector == 1 ? i2d_PUBKEY(o->key, der_r) : 0;
	return selector == 0 ? i2d_X509(o->cert, der_r) : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(o->cert), der_r);
}

/* What a record with these numbers says about it; empty = no such record can. */
static struct span
association(struct tlsa *t, const struct ours *o, unsigned selector, unsigned matching)
{
	unsigned char *der = NULL, digest[EVP_MAX_MD_SIZE];
	unsigned n_digest = 0;
	int n = encode(o, selector, &der);
	struct span s = SPAN("");

	if (n <= 0)
		return s;
	if (matching == 0)
		s = arena_dup(t->a, span_of((char *)der, (size_t)n));
	else if (EVP_Digest(der, (size_t)n, digest, &n_digest, matching == 1 ? EVP_sha256() : EVP_sha512(), NULL) == 1)
		s = arena_dup(t->a, span_of((char *)digest, n_digest));
	OPENSSL_free(der);
	return s;
}

static void
show_needed(struct tlsa *t, struct span qname)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct tls_tlsa r = { .usage = t->list[i].whose == ISSUER ? 2 : 3, .selector = 1, .matching = 1,
			.data = association(t, &t->list[i], 1, 1) };
		struct span name = name_of(t, &t->list[i]);
		struct span text = tls_tlsa_text(&r, t->a);
		json_t *o = json_object();

		buf_addf(&t->out, "; %s: %.*s\n%.*s. IN TLSA %.*s\n", whose_names[t->list[i].whose], SPAN_ARG(name), SPAN_ARG(qname), SPAN_ARG(text));
		json_object_set_new(o, t->list[i].cert != NULL ? "certificate" : "key", explain_json_span(name));
		json_object_set_new(o, "whose", json_string(whose_names[t->list[i].whose]));
		json_object_set_new(o, "name", explain_json_span(qname));
		json_object_set_new(o, "record", explain_json_span(text));
		json_array_append_new(t->records, o);
	}
}

/* ---- what is published */

/* The certificate that a record matches, NULL = none of ours. */
static struct ours *
match(struct tlsa *t, const struct dns_record *r)
{
	if (r->selector > 1 || r->matching > 2 || (r->usage != 2 && r->usage != 3))
		return NULL;
	for (size_t i = 0; i < t->n; i++) {
		struct span data = association(t, &t->list[i], r->selector, r->matching);

		if ((t->list[i].whose == ISSUER) == (r->usage == 2) && data.n > 0 && span_eq(data, r->data))
			return &t->list[i];
	}
	return NULL;
}

static void
show_published(struct tlsa *t, const struct dns_answer *d)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct dns_record *r = &d->records[i];
		const struct tls_tlsa shown = { .usage = r->usage, .selector = r->selector, .matching = r->matching, .data = r->data };
		struct ours *o = match(t, r);
		const char *what = o != NULL ? whose_names[o->whose] : r->usage < 2 ? "usage that mail servers do not use (RFC 7672 section 3.1.3)" : "stale";
		struct span text = tls_tlsa_text(&shown, t->a);
		json_t *j = json_object();

		if (o != NULL)
			o->covered = d->status == DNS_SECURE;
		buf_addf(&t->out, "; published: %.*s  %s\n", SPAN_ARG(text), what);
		json_object_set_new(j, "record", explain_json_span(text));
		json_object_set_new(j, "matches", json_string(what));
		json_array_append_new(t->published, j);
	}
}

/* Walk up from one of ours through the issuers that we have: does a proven record match one of them? */
static bool
covered_by_issuer(const struct tlsa *t, X509 *cert)
{
	for (size_t depth = 0, i; depth < t->n; depth++) {
		for (i = 0; i < t->n; i++)
			if (t->list[i].whose == ISSUER && X509_check_issued(t->list[i].cert, cert) == X509_V_OK)
				break;
		if (i == t->n)
			return false;
		if (t->list[i].covered)
			return true;
		cert = t->list[i].cert;
	}
	return false;
}

/* A certificate in use needs a record of its own, or one for an issuer of its own chain. */
static bool
all_covered(struct tlsa *t)
{
	bool all = true;

	for (size_t i = 0; i < t->n; i++)
		if (t->list[i].whose == CURRENT && !t->list[i].covered && !covered_by_issuer(t, t->list[i].cert)) {
			all = false;
			buf_addf(&t->out, "; missing: a record for the certificate %.*s\n", SPAN_ARG(name_of(t, &t->list[i])));
		}
	return all;
}

/* In words; NULL = all is well. */
static const char *
check(struct tlsa *t, struct span qname)
{
	struct tls_asks asks;
	const struct dns_answer *d;
	const char *verdict = NULL;

	tls_asks_open(&asks, t->conf);
	if (!asks.connected) {
		verdict = arena_printf(t->a, "DNS was not asked: %s (--no-check prints the records only)", asks.why.text).p;
	} else {
		d = tls_asks_dns(&asks, qname, DNS_TYPE_TLSA);
		show_published(t, d);
		if (d->status == DNS_BOGUS || d->status == DNS_FAILED)
			verdict = arena_printf(t->a, "the lookup of %.*s failed (%s: %.*s): senders with DANE defer their mail", SPAN_ARG(qname),
			    dns_status_name(d->status), SPAN_ARG(log_esc(d->why))).p;
		else if (d->count == 0)
			verdict = arena_printf(t->a, "nothing is published at %.*s", SPAN_ARG(qname)).p;
		else if (d->status != DNS_SECURE)
			verdict = "the answer is not proven by DNSSEC: the records mean nothing to anybody";
		else if (!all_covered(t))
			verdict = "a certificate in use has no record: senders with DANE defer their mail";
	}
	tls_asks_close(&asks);
	return verdict;
}

static int
show(struct tlsa *t, const char *verdict)
{
	json_t *o;
	char *text;

	if (!t->json) {
		buf_addf(&t->out, "; %s\n", t->no_check ? "not compared with DNS" : verdict == NULL ? "every certificate in use is covered" : verdict);
		return cli_print(t->cli, &t->out);
	}
	o = json_pack("{s:O, s:O, s:b, s:s}", "needed", t->records, "published", t->published, "ok", verdict == NULL, "verdict",
	    verdict == NULL ? "" : verdict);
	text = o == NULL ? NULL : json_dumps(o, JSON_INDENT(1));
	json_decref(o);
	buf_clear(&t->out);
	buf_addf(&t->out, "%s\n", text == NULL ? "{}" : text);
	free(text);
	return cli_print(t->cli, &t->out);
}

static int
run(struct tlsa *t)
{
	const char *verdict = NULL;
	struct span qname;
	int status;

	t->conf = cli_conf(t->cli);
	if (t->conf == NULL)
		return CLI_NO;
	if (!take_current(t) || !take_next(t))
		return cli_fail(t->cli, CLI_NO, "%s", t->why.text);
	qname = arena_printf(t->a, "_%u._tcp.%s", t->port, t->host != NULL ? t->host : t->conf->params->myhostname);
	show_needed(t, qname);
	if (!t->no_check)
		verdict = check(t, qname);
	status = show(t, verdict);
	return status == CLI_DONE && verdict != NULL ? CLI_NO : status;
}

static bool
take_argument(struct tlsa *t, int argc, char **argv, int *i)
{
	uint64_t port;

	if (strcmp(argv[*i], "--json") == 0)
		t->json = true;
	else if (strcmp(argv[*i], "--ta") == 0)
		t->ta = true;
	else if (strcmp(argv[*i], "--no-check") == 0)
		t->no_check = true;
	else if (strcmp(argv[*i], "--next") == 0 && *i + 1 < argc)
		t->next = argv[++*i];
	else if (strcmp(argv[*i], "--port") == 0 && *i + 1 < argc && span_u64(span_str(argv[*i + 1]), 65535, &port) && port > 0)
		t->port = (unsigned)port, ++*i;
	else if (argv[*i][0] != '-' && t->host == NULL)
		t->host = argv[*i];
	else
		return false;
	return true;
}

int
tls_tlsa_command(struct cli *cli, int argc, char **argv)
{
	struct tlsa t = { .cli = cli, .port = 25 };
	int status;

	for (int i = 1; i < argc; i++)
		if (!take_argument(&t, argc, argv, &i))
			return cli_usage(cli, "unknown argument, or one without its value: %s", argv[i]);
	t.a = arena_new(64 << 20);
	t.records = json_array();
	t.published = json_array();
	buf_init(&t.out, OUT_MAX);
	status = run(&t);
	for (size_t i = 0; i < t.n; i++) {
		X509_free(t.list[i].cert);
		EVP_PKEY_free(t.list[i].key);
	}
	json_decref(t.records);
	json_decref(t.published);
	buf_release(&t.out);
	conf_unref(&t.conf);
	arena_free(&t.a);
	return status;
}
