/* The client's shared context and the SSL that a decision asks for. */
#include "tls/client_ctx.h"

#include <openssl/err.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "tls/client_private.h"
#include "tls/credentials.h"
#include "tls/groups.h"
#include "tls/hello.h"
#include "tls/ladder.h"
#include "tls/library.h"

/* Signatures above `may`: everything but SHA-1 and MD5 (20.19). */
static char strong_signatures[] =
    "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:ed448:rsa_pss_pss_sha256:rsa_pss_pss_sha384:"
    "rsa_pss_pss_sha512:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512";

/* Verification is ours, after the handshake: a certificate never breaks it off. */
static int
accept_any(X509_STORE_CTX *store, void *ctx)
{
	(void)store;
	(void)ctx;
	return 1;
}

static void
set_session_options(SSL_CTX *ctx, const struct tls_client_ctx_params *p)
{
	if (p->session_timeout_s <= 0) {
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
		return;
	}
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL |
	    SSL_SESS_CACHE_NO_AUTO_CLEAR);
	SSL_CTX_set_timeout(ctx, (long)p->session_timeout_s);
	SSL_CTX_sess_set_new_cb(ctx, tls_session_arrived);
}

static SSL_CTX *
make_ctx(const struct tls_client_ctx_params *p, struct fault *why)
{
	uint64_t on, off;
	SSL_CTX *ctx;

	if (!tls_option_bits(p->ssl_options, p->disable_workarounds, &on, &off, why))
		return NULL;
	ctx = SSL_CTX_new(TLS_client_method());
	if (ctx == NULL) {
		fault_set(why, "4.7.5", "TLS library: %s", tls_library_error());
		return NULL;
	}
	/* an end without close_notify is an end: SMTP knows its own ends of messages */
	SSL_CTX_set_options(ctx, SSL_OP_ALL | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
	    SSL_OP_IGNORE_UNEXPECTED_EOF | on);
	SSL_CTX_clear_options(ctx, off);
#ifdef SSL_OP_NO_RX_CERTIFICATE_COMPRESSION
	SSL_CTX_set_options(ctx, SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);         /* more code for strangers, a longer hello */
#endif
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
	set_session_options(ctx, p);
	return ctx;
}

static void
load_files(struct tls_client_ctx *c, const struct tls_client_ctx_params *p)
{
	if (!tls_roots_load(&p->roots, c->roots, &c->roots_fault)) {
		c->roots_broken = true;
		log_warning_once(NULL, "%s", c->roots_fault.text);
	}
	if (!tls_chain_load(&p->chain, &c->chain, &c->chain_fault) ||
	    (c->chain != NULL && !tls_chain_use(c->chain, c->ctx, NULL, &c->chain_fault))) {
		c->chain_broken = true;
		log_warning_once(NULL, "%s", c->chain_fault.text);
	}
}

struct tls_client_ctx *
tls_client_ctx_new(const struct tls_client_ctx_params *p, struct fault *why)
{
	struct tls_client_ctx *c = calloc(1, sizeof(*c));

	ensure(c != NULL);
	c->refs = 1;
	c->ctx = make_ctx(p, why);
	c->roots = X509_STORE_new();
	hmap_init(&c->sessions);
	list_init(&c->oldest);
	list_init(&c->anchors);
	buf_init(&c->groups, 4096);
	c->session_timeout_s = p->session_timeout_s;
	c->session_count_max = p->session_count_max;
	if (c->ctx == NULL || c->roots == NULL) {
		tls_client_ctx_unref(&c);
		return NULL;
	}
	load_files(c, p);
	return c;
}

struct tls_client_ctx *
tls_client_ctx_ref(struct tls_client_ctx *c)
{
	c->refs++;
	return c;
}

static void
drop_anchors(struct anchor_entry *e)
{
	list_remove(&e->node);
	tls_anchors_release(&e->anchors);
	free(e->path);
	free(e);
}

void
tls_client_ctx_unref(struct tls_client_ctx **cp)
{
	struct tls_client_ctx *c = *cp;

	*cp = NULL;
	if (c == NULL || --c->refs > 0)
		return;
	tls_sessions_clear(c);
	hmap_release(&c->sessions);
	LIST_EACH(n, &c->anchors)
		drop_anchors(LIST_ITEM(n, struct anchor_entry, node));
	buf_release(&c->groups);
	free(c->groups_key);
	tls_chain_unref(&c->chain);
	X509_STORE_free(c->roots);
	SSL_CTX_free(c->dane);
	SSL_CTX_free(c->ctx);
	free(c);
}

SSL_CTX *
tls_client_ctx_ssl(struct tls_client_ctx *c)
{
	return c->ctx;
}

X509_STORE *
tls_client_ctx_roots(struct tls_client_ctx *c)
{
	return c->roots;
}

/* --- trust anchor files, read again when they change --- */

static bool
anchors_fresh(const struct anchor_entry *e, const struct stat *st)
{
	return e->st.st_ino == st->st_ino && e->st.st_size == st->st_size &&
	    e->st.st_mtim.tv_sec == st->st_mtim.tv_sec && e->st.st_mtim.tv_nsec == st->st_mtim.tv_nsec;
}

static struct anchor_entry *
find_anchors(struct tls_client_ctx *c, struct span path)
{
	LIST_EACH(n, &c->anchors) {
		struct anchor_entry *e = LIST_ITEM(n, struct anchor_entry, node);

		if (span_eq(span_str(e->path), path))
			return e;
	}
	return NULL;
}

const struct tls_anchors *
tls_client_anchors(struct tls_client_ctx *c, struct span path, struct fault *why)
{
	struct anchor_entry *e = find_anchors(c, path);
	char text[4096];
	struct stat st;

	if (path.n >= sizeof(text)) {
		fault_set(why, "4.7.5", "file name is too long");
		return NULL;
	}
	memcpy(text, path.p, path.n);
	text[path.n] = '\0';
	if (stat(text, &st) != 0)
		memset(&st, 0, sizeof(st));     /* reading it will say what is wrong */
	if (e != NULL && anchors_fresh(e, &st))
		return &e->anchors;
	if (e != NULL) {
		tls_sessions_clear(c);          /* verdicts may rest on what the file was */
		drop_anchors(e);
	}
	e = calloc(1, sizeof(*e));
	ensure(e != NULL);
	list_init(&e->node);
	e->st = st;
	e->path = strdup(text);
	if (!tls_anchors_load(text, &e->anchors, why)) {
		drop_anchors(e);
		return NULL;
	}
	list_push_back(&c->anchors, &e->node);
	return &e->anchors;
}

bool
tls_client_ctx_usable(struct tls_client_ctx *c, const struct tls_decision *d, struct fault *why)
{
	for (size_t i = 0; i < d->n_tafiles; i++)
		if (tls_client_anchors(c, d->tafiles[i].path, why) == NULL)
			return false;
	if (d->need_pkix && d->n_tafiles == 0 && d->n_rootca == 0 && c->roots_broken) {
		*why = c->roots_fault;
		return false;
	}
	if (tls_level_needs_tls(d->level) && c->chain_broken) {
		*why = c->chain_fault;
		return false;
	}
	return true;
}

/* --- one connection --- */

/* The groups of this decision that the library has; probed once for each pair of lists. */
static struct span
groups_for(struct tls_client_ctx *c, const struct tls_decision *d)
{
	char key[2048];
	int n = snprintf(key, sizeof(key), "%.*s\n%.*s", SPAN_ARG(d->groups_curves), SPAN_ARG(d->groups_ffdhe));

	if (n > 0 && (c->groups_key == NULL || strcmp(c->groups_key, key) != 0)) {
		free(c->groups_key);
		c->groups_key = strdup(key);
		tls_groups_probe_client(d->groups_curves, d->groups_ffdhe, &c->groups);
	}
	return buf_span(&c->groups);
}

static bool
set_text(SSL *ssl, int (*fn)(SSL *, const char *), struct span text)
{
	char *s = strndup(text.p, text.n);
	bool ok = s != NULL && fn(ssl, s) == 1;

	free(s);
	return ok;
}

static bool
set_sni(SSL *ssl, struct span sni)
{
	char name[256];

	if (sni.n == 0)
		return true;
	if (sni.n >= sizeof(name))
		return false;
	memcpy(name, sni.p, sni.n);
	name[sni.n] = '\0';
	return SSL_set_tlsext_host_name(ssl, name) == 1;
}

static bool
set_versions(SSL *ssl, const struct tls_protocols *p)
{
	SSL_set_options(ssl, p->options_off);
	return SSL_set_min_proto_version(ssl, p->min) == 1 && SSL_set_max_proto_version(ssl, p->max) == 1;
}

static bool
set_groups(SSL *ssl, struct buf *list)
{
	(void)buf_cstr(list);           /* NUL behind it; the library wants a char * */
	return list->n == 0 || SSL_set1_groups_list(ssl, list->p) == 1;
}

static bool
set_signatures(SSL *ssl, const struct tls_decision *d)
{
	return (d->weak & TLS_WEAK_SHA1) != 0 || SSL_set1_sigalgs_list(ssl, strong_signatures) == 1;
}

/* --- the first ClientHello --- */

/* Signatures of a trimmed ClientHello: what certificates have. */
static char few_signatures[] = "ECDSA+SHA256:rsa_pss_rsae_sha256:RSA+SHA256:ECDSA+SHA384:rsa_pss_rsae_sha384";

enum { FEW_SIGNATURES = 5, FEW_GROUPS = 3 };

static bool
offers(SSL *ssl, int version, uint64_t off)
{
	int max = (int)SSL_get_max_proto_version(ssl);

	return (int)SSL_get_min_proto_version(ssl) <= version && (max == 0 || max >= version) &&
	    (SSL_get_options(ssl) & off) == 0;
}

static void
weigh(SSL *ssl, struct tls_client_ctx *c, const struct tls_decision *d, size_t share_bytes,
    struct tls_hello_parts *p_r)
{
	*p_r = (struct tls_hello_parts){ .groups = FEW_GROUPS, .signatures = FEW_SIGNATURES,
		.versions = 1u + offers(ssl, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2), .sni_bytes = d->sni.n,
		.share_bytes = share_bytes, .ticket = (SSL_get_options(ssl) & SSL_OP_NO_TICKET) == 0,
		.more = (d->enable_rpk ? 6u : 0) + (c->chain != NULL ? 7u : 0) };
}

static bool
trim(SSL *ssl, struct span list)
{
	struct buf few;
	bool ok;

	buf_init(&few, 512);
	tls_groups_shorten(list, FEW_GROUPS, &few);
	ok = set_groups(ssl, &few) && SSL_set1_sigalgs_list(ssl, few_signatures) == 1;
	buf_release(&few);
	if (SSL_get_min_proto_version(ssl) < TLS1_2_VERSION)
		ok = ok && SSL_set_min_proto_version(ssl, TLS1_2_VERSION) == 1;
	SSL_set_options(ssl, SSL_OP_NO_ENCRYPT_THEN_MAC);
	return ok;
}

/*
 * May the post-quantum share that comes first in `list` be sent, and does the rest fit the segment when it is
 * trimmed? The suites are, then. (The ladder's next rung has all of them.)
 */
static bool
share_fits(SSL *ssl, struct tls_client_ctx *c, const struct tls_decision *d, struct span list, size_t segment)
{
	size_t share = tls_group_share_bytes(tls_groups_first(list));
	struct tls_hello_parts parts;

	if (!tls_ladder_has(d) || share == 0 || memchr(list.p, '*', list.n) != NULL ||
	    !offers(ssl, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3))
		return false;
	weigh(ssl, c, d, share, &parts);
	return tls_hello_trim_ciphers(ssl, tls_hello_room(&parts, segment)) > 0;
}

/* Groups, signatures and suites: trimmed for a post-quantum share, or whole with a classical one. */
static const char *
apply_lists(SSL *ssl, struct tls_client_ctx *c, const struct tls_decision *d, const struct tls_hello *h)
{
	struct span list = groups_for(c, d);
	bool pq = tls_group_is_pq(tls_groups_first(list)), ok;
	struct buf order;

	if (pq && d->rung == TLS_RUNG_FULL && !h->resuming && share_fits(ssl, c, d, list, h->segment_bytes))
		return trim(ssl, list) ? NULL : "shortened lists";
	buf_init(&order, 4096);
	if (d->rung != TLS_RUNG_FULL)
		tls_groups_classical(list, &order);
	else
		tls_groups_small_first(list, &order);
	ok = set_groups(ssl, &order);
	buf_release(&order);
	if (!ok)
		return "key exchange groups";
	return set_signatures(ssl, d) ? NULL : "signature algorithms";
}

/* --- raw public keys (RFC 7250) --- */

#if OPENSSL_VERSION_NUMBER >= 0x30200000L
bool
tls_rpk_available(void)
{
	return true;
}

/* The server may answer with either; so may we when it asks for ours. */
static bool
set_rpk(SSL *ssl, const struct tls_client_ctx *c, const struct tls_decision *d)
{
	static const unsigned char types[] = { TLSEXT_cert_type_rpk, TLSEXT_cert_type_x509 };

	if (d->enable_rpk && SSL_set1_server_cert_type(ssl, types, sizeof(types)) != 1)
		return false;
	return c->chain == NULL || SSL_set1_client_cert_type(ssl, types, sizeof(types)) == 1;
}
#else
bool
tls_rpk_available(void)
{
	return false;
}

static bool
set_rpk(SSL *ssl, const struct tls_client_ctx *c, const struct tls_decision *d)
{
	(void)ssl;
	(void)c;
	(void)d;
	return true;
}
#endif

/* --- */

/* What the rungs of the ladder leave out (ladder.h). */
static void
set_rung(SSL *ssl, enum tls_rung rung)
{
	if (rung != TLS_RUNG_FULL)
		SSL_set_options(ssl, SSL_OP_NO_TICKET);
	if (rung == TLS_RUNG_TLS12)
		SSL_set_mode(ssl, SSL_MODE_SEND_FALLBACK_SCSV);
}

/* The first thing that the library refuses, in words; NULL when it took all. */
static const char *
apply(SSL *ssl, struct tls_client_ctx *c, const struct tls_decision *d, const struct tls_hello *h)
{
	const char *refused;

	SSL_set_security_level(ssl, d->openssl_level);
	set_rung(ssl, d->rung);
	if (!set_versions(ssl, &d->protocols))
		return "protocol versions";
	if (!set_text(ssl, SSL_set_cipher_list, d->ciphers))
		return "cipher list";
	refused = apply_lists(ssl, c, d, h);
	if (refused != NULL)
		return refused;
	if (!set_rpk(ssl, c, d))
		return "certificate types";
	return set_sni(ssl, d->sni) ? NULL : "server name";
}

SSL *
tls_client_ssl_new(struct tls_client_ctx *c, const struct tls_decision *d, const struct tls_hello *h, struct fault *why)
{
	SSL *ssl = SSL_new(c->ctx);
	const char *refused;

	ERR_clear_error();
	if (ssl == NULL) {
		fault_set(why, "4.7.5", "TLS library: %s", tls_library_error());
		return NULL;
	}
	refused = apply(ssl, c, d, h);
	if (refused == NULL)
		return ssl;
	fault_set(why, "4.7.5", "TLS library refuses our %s: %s", refused, tls_library_error());
	SSL_free(ssl);
	return NULL;
}
