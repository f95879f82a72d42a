/* The chains of the configuration: read when it names them, and again when their files change. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/common/chains.h"
#include "role/keeper/keeper.h"

/* --- is it fit to be used? --- */

static bool
in_date(X509 *cert, const char *what, struct fault *why)
{
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		return fault_set(why, NULL, "the %s is not valid yet", what);
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return fault_set(why, NULL, "the %s has expired", what);
	return true;
}

/* Each certificate is issued by the next; what issued the last one is the client's business. */
static bool
linked(X509 *leaf, STACK_OF(X509) *issuers, struct fault *why)
{
	X509 *below = leaf;

	for (int i = 0; i < sk_X509_num(issuers); i++) {
		X509 *above = sk_X509_value(issuers, i);

		if (X509_check_issued(above, below) != X509_V_OK)
			return fault_set(why, NULL, "the chain is not complete: certificate %d did not issue the one before it", i + 2);
		if (!in_date(above, "issuer's certificate", why))
			return false;
		below = above;
	}
	return true;
}

static bool
self_issued(X509 *cert)
{
	return X509_check_issued(cert, cert) == X509_V_OK;
}

/* The pair of `old` with the same type of key, if it came with its issuers. */
static bool
had_issuers(const struct tls_chain *old, EVP_PKEY *like)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	for (size_t i = 0; old != NULL && tls_chain_at(old, i, &leaf, &issuers, &key); i++)
		if (EVP_PKEY_get_base_id(key) == EVP_PKEY_get_base_id(like))
			return sk_X509_num(issuers) > 0;
	return false;
}

bool
chain_fit(const struct tls_chain *fresh, const struct tls_chain *old, struct fault *why)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	if (old != NULL && tls_chain_count(fresh) < tls_chain_count(old))
		return fault_set(why, NULL, "%zu pairs of key and certificate where there were %zu", tls_chain_count(fresh),
		    tls_chain_count(old));
	for (size_t i = 0; tls_chain_at(fresh, i, &leaf, &issuers, &key); i++) {
		if (!in_date(leaf, "certificate", why) || !linked(leaf, issuers, why))
			return false;
		if (sk_X509_num(issuers) <= 0 && !self_issued(leaf) && had_issuers(old, key))
			return fault_set(why, NULL, "the chain is not complete: the issuer's certificate, which stood there before, is missing");
	}
	ERR_clear_error();
	return true;
}

/* --- sets --- */

static const char *
first_file(const struct chain_set *s)
{
	return s->p.chain_files[0] != '\0' ? s->p.chain_files : s->p.cert_file[0] != '\0' ? s->p.cert_file :
	    s->p.eccert_file[0] != '\0' ? s->p.eccert_file : s->p.dcert_file;
}

static bool
same(const struct tls_chain *a, const struct tls_chain *b)
{
	STACK_OF(X509) *a_issuers, *b_issuers;
	EVP_PKEY *key;
	X509 *x, *y;

	if (tls_chain_count(a) != tls_chain_count(b))
		return false;
	for (size_t i = 0; tls_chain_at(a, i, &x, &a_issuers, &key) && tls_chain_at(b, i, &y, &b_issuers, &key); i++) {
		int n = sk_X509_num(a_issuers);

		if (X509_cmp(x, y) != 0 || n != sk_X509_num(b_issuers))
			return false;
		for (int j = 0; j < n; j++)
			if (X509_cmp(sk_X509_value(a_issuers, j), sk_X509_value(b_issuers, j)) != 0)
				return false;
	}
	return true;
}

/* What is read replaces what is in use only when it is better than nothing and no worse than that. */
static bool
set_read(struct keeper *k, struct chain_set *s)
{
	struct tls_opener o = keeper_opener(k, NULL);
	struct tls_chain *fresh = NULL;
	struct fault why = { 0 };
	bool ok = tls_chain_read(&s->p, &o, &fresh, &why), fit = ok && (fresh == NULL || chain_fit(fresh, s->chain, &why));

	s->dirty = false;
	if (ok && !fit)
		fault_prefix(&why, "%s", first_file(s));
	if (s->chain != NULL && (!fit || fresh == NULL)) {
		log_warning(NULL, "%s; the certificates in use stay", why.text);
		tls_chain_unref(&fresh);
		return false;
	}
	if (!fit)
		log_warning(NULL, "%s", why.text);
	if (s->chain != NULL && !same(s->chain, fresh))
		log_info(NULL, "%s: new certificates are in use", first_file(s));
	tls_chain_unref(&s->chain);
	s->chain = fresh;
	s->state = fresh != NULL ? CHAIN_HERE : ok ? CHAIN_ABSENT : CHAIN_BROKEN;
	s->why = why;
	return true;
}

struct chain_set *
chains_find(struct keeper *k, struct span spec)
{
	LIST_EACH(n, &k->sets) {
		struct chain_set *s = LIST_ITEM(n, struct chain_set, node);

		if (span_eq(span_str(s->spec), spec))
			return s;
	}
	return NULL;
}

/* Strings of our own: the configuration they come from is replaced by the next one. */
static const char *
next_string(char **at)
{
	char *start = *at, *end = strchr(start, '\n');

	ensure(end != NULL);
	*end = '\0';
	*at = end + 1;
	return start;
}

static struct chain_set *
set_new(struct keeper *k, struct span spec)
{
	struct chain_set *s = calloc(1, sizeof(*s));
	struct tls_chain_params *p;
	char *at;

	ensure(s != NULL);
	p = &s->p;
	s->spec = strndup(spec.p, spec.n);
	at = s->strings = strndup(spec.p, spec.n);
	ensure(s->spec != NULL && s->strings != NULL);
	p->prefix = next_string(&at);
	p->chain_files = next_string(&at);
	p->cert_file = next_string(&at);
	p->key_file = next_string(&at);
	p->eccert_file = next_string(&at);
	p->eckey_file = next_string(&at);
	p->dcert_file = next_string(&at);
	p->dkey_file = next_string(&at);
	s->state = CHAIN_LATER;
	s->dirty = true;
	list_push_back(&k->sets, &s->node);
	return s;
}

static void
set_free(struct chain_set *s)
{
	list_remove(&s->node);
	tls_chain_unref(&s->chain);
	free(s->spec);
	free(s->strings);
	free(s);
}

static void
want(struct keeper *k, const struct conf_service *cs)
{
	struct tls_chain_params p;
	struct chain_set *s;
	struct buf spec;

	if (!role_chain_params(cs, &p))
		return;
	buf_init(&spec, 65536);
	tls_chain_spec(&p, &spec);
	s = chains_find(k, buf_span(&spec));
	if (s == NULL)
		s = set_new(k, buf_span(&spec));
	buf_release(&spec);
	s->wanted = true;
	if (strcmp(p.prefix, "smtpd_tls") == 0) {
		s->use.server = true;
		s->use.decrypt |= keeper_level_may(cs);
	} else {
		s->use.client = true;
	}
}

void
chains_configure(struct keeper *k)
{
	const struct conf *c = k->role->conf;

	LIST_EACH(n, &k->sets) {
		struct chain_set *s = LIST_ITEM(n, struct chain_set, node);

		if (s->wanted)
			s->unwanted_us = clock_mono_us();
		s->wanted = false;
		s->use = (struct key_use){ 0 };
	}
	for (size_t i = 0; i < c->service_count; i++)
		want(k, &c->services[i]);
	chains_reload(k);
}

struct touched {
	struct chain_set *set;
	struct span path;
};

static void
compare_file(void *ctx, struct span path)
{
	struct touched *t = ctx;

	t->set->dirty = t->set->dirty || span_eq(path, t->path);
}

void
chains_file_changed(struct keeper *k, const char *path)
{
	LIST_EACH(n, &k->sets) {
		struct touched t = { LIST_ITEM(n, struct chain_set, node), span_str(path) };

		role_chain_each_file(&t.set->p, compare_file, &t);
	}
}

bool
chains_reload(struct keeper *k)
{
	bool changed = false;

	LIST_EACH(n, &k->sets) {
		struct chain_set *s = LIST_ITEM(n, struct chain_set, node);

		if (s->dirty)
			changed |= set_read(k, s);
	}
	keeper_sweep_keys(k);
	return changed;
}

void
chains_sweep(struct keeper *k, int64_t before_us)
{
	LIST_EACH(n, &k->sets) {
		struct chain_set *s = LIST_ITEM(n, struct chain_set, node);

		if (!s->wanted && s->unwanted_us < before_us)
			set_free(s);
		else if (s->chain != NULL && s->wanted)
			ring_add(k->ring, s->chain, s->use);
	}
}

void
chains_release(struct keeper *k)
{
	while (!list_empty(&k->sets))
		set_free(LIST_ITEM(k->sets.next, struct chain_set, node));
}
