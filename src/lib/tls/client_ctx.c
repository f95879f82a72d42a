/* The client's shared context and the SSL that a decision asks for. */
#include "tls/client_ctx.h"

#include <openssl/err.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "tls/client_private.h"
#include "tls/credentials.h"
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
		log_warning(NULL, "%s", c->roots_fault.text);
	}
	if (!tls_chain_load(&p->chain, &c->chain, &c->chain_fault) ||
	    (c->chain != NULL && !tls_chain_use(c->chain, c->ctx, NULL, &c->chain_fault))) {
		c->chain_broken = true;
		log_warning(NULL, "%s", c->chain_fault.text);
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
	if (e != NULL)
		drop_anchors(e);
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

static char *
groups_for(struct tls_client_ctx *c, const struct tls_decision *d)
{
	char key[2048];
	int n = snprintf(key, sizeof(key), "%.*s\n%.*s", SPAN_ARG(d->groups_curves), SPAN_ARG(d->groups_ffdhe));

	if (n > 0 && (c->groups_key == NULL || strcmp(c->groups_key, key) != 0)) {
		free(c->groups_key);
		c->groups_key = strdup(key);
		tls_groups_probe(d->groups_curves, d->groups_ffdhe, &c->groups);
	}
	(void)buf_cstr(&c->groups);     /* NUL behind it; the library wants a char * */
	return c->groups.p;
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
set_groups(SSL *ssl, char *list)
{
	return list[0] == '\0' || SSL_set1_groups_list(ssl, list) == 1;
}

/* The first thing that the library refuses, in words; NULL when it took all. */
static const char *
apply(SSL *ssl, struct tls_client_ctx *c, const struct tls_decision *d)
{
	bool sha1 = (d->weak & TLS_WEAK_SHA1) != 0;

	SSL_set_security_level(ssl, d->openssl_level);
	if (!set_versions(ssl, &d->protocols))
		return "protocol versions";
	if (!set_text(ssl, SSL_set_cipher_list, d->ciphers))
		return "cipher list";
	if (!set_groups(ssl, groups_for(c, d)))
		return "key exchange groups";
	if (!sha1 && SSL_set1_sigalgs_list(ssl, strong_signatures) != 1)
		return "signature algorithms";
	return set_sni(ssl, d->sni) ? NULL : "server name";
}

SSL *
tls_client_ssl_new(struct tls_client_ctx *c, const struct tls_decision *d, struct fault *why)
{
	SSL *ssl = SSL_new(c->ctx);
	const char *refused;

	ERR_clear_error();
	if (ssl == NULL) {
		fault_set(why, "4.7.5", "TLS library: %s", tls_library_error());
		return NULL;
	}
	refused = apply(ssl, c, d);
	if (refused == NULL)
		return ssl;
	fault_set(why, "4.7.5", "TLS library refuses our %s: %s", refused, tls_library_error());
	SSL_free(ssl);
	return NULL;
}
