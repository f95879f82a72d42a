/* The client's session cache: in this process, bounded, each session with the verdict it was given. */
#include <openssl/evp.h>
#include <openssl/opensslv.h>
#include <time.h>

#include "base/buf.h"
#include "base/panic.h"
#include "base/text.h"
#include "tls/client_private.h"
#include "tls/verify.h"

struct session_entry {
	struct hmap_node node;
	struct list age;
	SSL_SESSION *session;
	struct tls_verdict verdict;
	int64_t until_s;        /* wall clock */
	size_t key_bytes;
	char key[];
};

static void
drop(struct tls_client_ctx *c, struct session_entry *e)
{
	hmap_remove(&c->sessions, &e->node);
	list_remove(&e->age);
	SSL_SESSION_free(e->session);
	free(e);
}

void
tls_sessions_clear(struct tls_client_ctx *c)
{
	LIST_EACH(n, &c->oldest)
		drop(c, LIST_ITEM(n, struct session_entry, age));
}

static struct session_entry *
find(struct tls_client_ctx *c, struct span key)
{
	HMAP_EACH_HASH(n, &c->sessions, span_hash(key)) {
		struct session_entry *e = HMAP_ENTRY(n, struct session_entry, node);

		if (span_eq(span_of(e->key, e->key_bytes), key))
			return e;
	}
	return NULL;
}

SSL_SESSION *
tls_session_find(struct tls_client_ctx *c, struct span key, int64_t now_s, struct tls_verdict *verdict_r)
{
	struct session_entry *e = find(c, key);
	SSL_SESSION *s;

	if (e == NULL)
		return NULL;
	if (now_s >= e->until_s || now_s < e->verdict.verified_s) {
		drop(c, e);
		return NULL;
	}
	*verdict_r = e->verdict;
	s = e->session;
	SSL_SESSION_up_ref(s);
	/* TLS 1.3 tickets are for one use (RFC 8446 section C.4); the new connection brings a new one */
	if (SSL_SESSION_get_protocol_version(s) >= TLS1_3_VERSION)
		drop(c, e);
	return s;
}

/* TLS 1.3 tickets are for one use each: as many are kept as connections may want at once. */
enum { TICKETS_FOR_ONE_KEY = 50 };

/* How many sessions there are for this key, and the one that ends first. */
static unsigned
count_same(struct tls_client_ctx *c, struct span key, struct session_entry **first_r)
{
	unsigned count = 0;

	*first_r = NULL;
	HMAP_EACH_HASH(n, &c->sessions, span_hash(key)) {
		struct session_entry *e = HMAP_ENTRY(n, struct session_entry, node);

		if (!span_eq(span_of(e->key, e->key_bytes), key))
			continue;
		count++;
		if (*first_r == NULL || e->until_s < (*first_r)->until_s)
			*first_r = e;
	}
	return count;
}

static void
make_room(struct tls_client_ctx *c, struct span key, bool single_use)
{
	struct session_entry *e;

	while (count_same(c, key, &e) >= (single_use ? TICKETS_FOR_ONE_KEY : 1u))
		drop(c, e);
	while (c->sessions.count >= c->session_count_max)
		drop(c, LIST_ITEM(c->oldest.next, struct session_entry, age));
}

static int64_t
not_after(X509 *cert)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return 0;
	return (int64_t)timegm(&tm);
}

/* A verdict that rests on dates is good until the first of them: then the chain must be looked at again. */
static int64_t
good_until(const struct tls_client_ctx *c, SSL_SESSION *session, const struct tls_verdict *v,
    STACK_OF(X509) *chain)
{
	int64_t until = v->verified_s + c->session_timeout_s;
	X509 *leaf = SSL_SESSION_get0_peer(session);

	if (!v->chain_ok || leaf == NULL)
		return until;
	if (not_after(leaf) < until)
		until = not_after(leaf);
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (not_after(sk_X509_value(chain, i)) < until)
			until = not_after(sk_X509_value(chain, i));
	return until;
}

bool
tls_sessions_kept(const struct tls_client_ctx *c)
{
	return c->session_count_max > 0 && c->session_timeout_s > 0;
}

void
tls_session_store(struct tls_client_ctx *c, struct span key, SSL_SESSION *session, STACK_OF(X509) *chain,
    const struct tls_verdict *verdict)
{
	struct session_entry *e;

	if (!tls_sessions_kept(c))
		return;
	make_room(c, key, SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION);
	e = calloc(1, size_add(sizeof(*e), key.n));
	ensure(e != NULL);
	e->session = session;
	SSL_SESSION_up_ref(session);
	e->verdict = *verdict;
	e->until_s = good_until(c, session, verdict, chain);
	e->key_bytes = key.n;
	memcpy(e->key, key.p, key.n);
	hmap_add(&c->sessions, &e->node, span_hash(key));
	list_init(&e->age);
	list_push_back(&c->oldest, &e->age);
}

void
tls_session_forget(struct tls_client_ctx *c, struct span key)
{
	struct session_entry *e;

	while ((e = find(c, key)) != NULL)
		drop(c, e);
}

static void
digest_span(EVP_MD_CTX *md, struct span s)
{
	uint64_t n = s.n;

	EVP_DigestUpdate(md, &n, sizeof(n));
	EVP_DigestUpdate(md, s.p != NULL ? s.p : "", s.n);
}

/* Everything a verdict rests on: a changed table entry must not be answered by an old session. */
static void
digest_decision(EVP_MD_CTX *md, struct span helo, const struct tls_decision *d)
{
	unsigned facts[] = { OpenSSL_version_num() > 0 ? (unsigned)OpenSSL_version_num() : 0, d->must_match, d->weak,
		d->policy_failure, (unsigned)d->openssl_level, d->enable_rpk, (unsigned)d->verifydepth, d->cn_fallback, d->multi_label, d->rung };

	digest_span(md, helo);
	EVP_DigestUpdate(md, facts, sizeof(facts));
	digest_span(md, d->protocols_text);
	digest_span(md, d->ciphers);
	digest_span(md, d->groups_curves);
	digest_span(md, d->groups_ffdhe);
	digest_span(md, d->sni);
	for (size_t i = 0; i < d->n_names; i++) {
		digest_span(md, d->names[i].name);
		digest_span(md, d->names[i].subdomains ? SPAN("sub") : SPAN("one"));
	}
	for (size_t i = 0; i < d->n_digests; i++)
		digest_span(md, span_of(d->digests[i].bytes, d->digests[i].n));
	for (size_t i = 0; i < d->n_rootca; i++)
		digest_span(md, span_of(d->rootca[i].bytes, d->rootca[i].n));
	digest_span(md, span_str(d->digest_name));
	digest_span(md, d->tlsa_base);
	for (size_t i = 0; i < d->n_tlsa; i++) {
		const struct tls_tlsa *r = &d->tlsa[i];
		uint8_t how[] = { r->usage, r->selector, r->matching, (uint8_t)r->fate };

		digest_span(md, span_of(how, sizeof(how)));
		digest_span(md, r->data);
	}
	for (size_t i = 0; i < d->n_tafiles; i++)
		digest_span(md, d->tafiles[i].path);
}

struct span
tls_session_key(struct arena *a, const char *service, struct span nexthop, struct span host, struct span address,
    struct span helo, const struct tls_decision *d)
{
	struct span parts[] = { span_str(service), nexthop, host, address };
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t hash[32];
	struct span key;
	struct buf b;

	ensure(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
	for (size_t i = 0; i < 4; i++)
		digest_span(md, parts[i]);      /* the readable parts alone might be those of another key */
	digest_decision(md, helo, d);
	ensure(EVP_DigestFinal_ex(md, hash, NULL) == 1);
	EVP_MD_CTX_free(md);
	buf_init(&b, 1 << 16);
	for (size_t i = 0; i < 4; i++) {
		if (span_index(parts[i], '&') >= 0)
			text_base64(&b, parts[i]);
		else
			buf_add_span(&b, parts[i]);
		buf_addc(&b, '&');
	}
	buf_addf(&b, "%d&&", (int)d->level);
	text_hex(&b, span_of(hash, sizeof(hash)));
	key = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return key;
}
