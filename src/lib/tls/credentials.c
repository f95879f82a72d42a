/* Reading PEM: our chains (keys before their leaves), legacy pairs, roots, trust anchor files. */
#include "tls/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "tls/keeper.h"
#include "tls/policy_private.h"

enum { CHAINS_MAX = 8, ISSUERS_MAX = 32 };

struct tls_chain {
	unsigned refs;
	size_t count;
	struct one_chain {
		EVP_PKEY *key;
		X509 *leaf;
		STACK_OF(X509) *issuers;
	} one[CHAINS_MAX];
};

const char *
tls_library_error(void)
{
	static char text[256];
	unsigned long e = ERR_peek_last_error();

	if (e == 0)
		snprintf(text, sizeof(text), "no further information");
	else
		ERR_error_string_n(e, text, sizeof(text));
	ERR_clear_error();
	return text;
}

struct tls_chain *
tls_chain_new(void)
{
	struct tls_chain *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	c->refs = 1;
	return c;
}

struct tls_chain *
tls_chain_ref(struct tls_chain *c)
{
	c->refs++;
	return c;
}

void
tls_chain_unref(struct tls_chain **cp)
{
	struct tls_chain *c = *cp;

	*cp = NULL;
	if (c == NULL || --c->refs > 0)
		return;
	for (size_t i = 0; i < c->count; i++) {
		EVP_PKEY_free(c->one[i].key);
		X509_free(c->one[i].leaf);
		sk_X509_pop_free(c->one[i].issuers, X509_free);
	}
	free(c);
}

/* No passphrases: nobody is there to type one. */
static int
no_passphrase(char *out, int size, int writing, void *ctx)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)ctx;
	return -1;
}

static bool
is_key_block(const char *name)
{
	struct span s = span_str(name);

	return span_eq(s, SPAN("PRIVATE KEY")) || span_eq(s, SPAN("ENCRYPTED PRIVATE KEY")) ||
	    span_ends(s, SPAN(" PRIVATE KEY"));
}

static bool
is_cert_block(const char *name)
{
	struct span s = span_str(name);

	return span_eq(s, SPAN("CERTIFICATE")) || span_eq(s, SPAN("X509 CERTIFICATE"));
}

/* One PEM block, its DER freed by the caller with OPENSSL_free; false at the end. */
struct block {
	char *name, *header;
	unsigned char *der;
	long der_bytes;
};

static bool
block_read(BIO *in, struct block *b)
{
	memset(b, 0, sizeof(*b));
	return PEM_read_bio(in, &b->name, &b->header, &b->der, &b->der_bytes) == 1;
}

static void
block_release(struct block *b)
{
	OPENSSL_free(b->name);
	OPENSSL_free(b->header);
	OPENSSL_clear_free(b->der, b->der_bytes > 0 ? (size_t)b->der_bytes : 0);
}

/* True when the input ended where blocks end, and not in the middle of one. */
static bool
ended_well(void)
{
	unsigned long e = ERR_peek_last_error();
	bool clean = e == 0 || (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE);

	ERR_clear_error();
	return clean;
}

static EVP_PKEY *
block_key(const struct block *b)
{
	const unsigned char *der = b->der;

	if (b->header[0] != '\0' || strcmp(b->name, "ENCRYPTED PRIVATE KEY") == 0)
		return NULL;
	return d2i_AutoPrivateKey(NULL, &der, b->der_bytes);
}

static X509 *
block_cert(const struct block *b)
{
	const unsigned char *der = b->der;

	return d2i_X509(NULL, &der, b->der_bytes);
}

static bool
add_key(struct tls_chain *c, const struct block *b, const char *source, struct fault *why)
{
	EVP_PKEY *key;

	if (c->count > 0 && c->one[c->count - 1].leaf == NULL)
		return fault_set(why, "4.7.5", "%s: a private key without a certificate behind it", source);
	if (c->count == CHAINS_MAX)
		return fault_set(why, "4.7.5", "%s: more than %d chains", source, CHAINS_MAX);
	key = block_key(b);
	if (key == NULL) {
		ERR_clear_error();
		return fault_set(why, "4.7.5", "%s: private key is encrypted or unreadable", source);
	}
	c->one[c->count++].key = key;
	return true;
}

static bool
add_cert(struct one_chain *one, X509 *cert, const char *source, struct fault *why)
{
	if (one->leaf == NULL) {
		one->leaf = cert;
		if (X509_check_private_key(cert, one->key) == 1)
			return true;
		ERR_clear_error();
		return fault_set(why, "4.7.5", "%s: certificate does not fit its private key", source);
	}
	if (one->issuers == NULL)
		one->issuers = sk_X509_new_null();
	if (one->issuers == NULL || sk_X509_num(one->issuers) >= ISSUERS_MAX ||
	    sk_X509_push(one->issuers, cert) <= 0) {
		X509_free(cert);
		return fault_set(why, "4.7.5", "%s: more than %d issuers", source, ISSUERS_MAX);
	}
	return true;
}

static bool
add_block(struct tls_chain *c, const struct block *b, const char *source, struct fault *why)
{
	X509 *cert;

	if (is_key_block(b->name))
		return add_key(c, b, source, why);
	if (strcmp(b->name, "EC PARAMETERS") == 0 || strcmp(b->name, "DH PARAMETERS") == 0)
		return true;            /* what `openssl ecparam -genkey` writes in front of a key */
	if (!is_cert_block(b->name))
		return fault_set(why, "4.7.5", "%s: unexpected PEM block \"%.60s\"", source, b->name);
	if (c->count == 0)
		return fault_set(why, "4.7.5", "%s: a certificate before any private key: each key stands in front of its certificate", source);
	cert = block_cert(b);
	if (cert == NULL)
		return fault_set(why, "4.7.5", "%s: unreadable certificate: %s", source, tls_library_error());
	return add_cert(&c->one[c->count - 1], cert, source, why);
}

static bool
add_pem(struct tls_chain *c, struct span pem, const char *source, struct fault *why)
{
	BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
	struct block b;
	bool ok = in != NULL;

	ERR_clear_error();
	while (ok && block_read(in, &b)) {
		ok = add_block(c, &b, source, why);
		block_release(&b);
		ERR_clear_error();
	}
	if (ok && !ended_well())
		ok = fault_set(why, "4.7.5", "%s: malformed PEM text", source);
	BIO_free(in);
	return ok;
}

static bool
chain_complete(const struct tls_chain *c, const char *source, struct fault *why)
{
	if (c->count == 0)
		return fault_set(why, "4.7.5", "%s: no private key in it", source);
	return c->one[c->count - 1].leaf != NULL ||
	    fault_set(why, "4.7.5", "%s: a private key without a certificate behind it", source);
}

struct tls_chain *
tls_chain_parse(struct span pem, const char *source, struct fault *why)
{
	struct tls_chain *c = tls_chain_new();

	if (pem.n > TLS_FILE_MAX || !add_pem(c, pem, source, why) || !chain_complete(c, source, why))
		tls_chain_unref(&c);
	return c;
}

static int
read_opened(int fd, struct buf *b)
{
	struct stat st;
	char *room;
	int r = fd_stat(fd, &st);

	if (r < 0)
		return r;
	room = st.st_size <= TLS_FILE_MAX ? buf_space(b, (size_t)st.st_size + 1) : NULL;
	if (room == NULL)
		return -EFBIG;
	r = fd_pread_all(fd, room, (size_t)st.st_size, 0);
	if (r == 0)
		b->n = (size_t)st.st_size;
	return r;
}

/* Through `o`, else by name. The text may hold private keys: release it with release_text(). */
static bool
read_file(const struct tls_opener *o, const char *path, struct buf *b, struct fault *why)
{
	int r, fd;

	buf_init(b, TLS_FILE_MAX);
	if (o == NULL) {
		r = fd_read_file(AT_FDCWD, path, b);
	} else {
		fd = o->open(o->ctx, path);
		r = fd < 0 ? fd : read_opened(fd, b);
		fd_close(&fd);
	}
	return r >= 0 || fault_set(why, "4.7.5", "%s: %s", path, fd_error(r));
}

static void
release_text(struct buf *b)
{
	if (b->p != NULL)
		OPENSSL_cleanse(b->p, b->cap);
	buf_release(b);
}

/*
 * A server goes on without a chain file that cannot be opened (section 5): that is one algorithm
 * less. For a client it is an error: what it would authenticate with is not there (20.2).
 */
static bool
skips_unreadable(const struct tls_chain_params *p)
{
	return strcmp(p->prefix, "smtpd_tls") == 0;
}

static bool
add_chain_file(const struct tls_chain_params *p, const struct tls_opener *o, const char *path, struct tls_chain *c,
    struct fault *skipped, struct fault *why)
{
	struct buf b;
	bool ok = read_file(o, path, &b, why);

	if (ok && span_find_ci(buf_span(&b), SPAN("-----BEGIN ")) < 0) {
		ok = fault_set(why, "4.7.5", "%s: no key and no certificate in it", path);
	} else if (ok) {
		ok = add_pem(c, buf_span(&b), path, why);
	} else if (skips_unreadable(p)) {
		*skipped = *why;
		ok = true;
	}
	release_text(&b);
	return ok;
}

static bool
load_chain_files(const struct tls_chain_params *p, const struct tls_opener *o, struct tls_chain *c, struct fault *why)
{
	struct span rest = span_str(p->chain_files), one;
	struct fault skipped = { 0 };
	char path[4096] = "";
	bool ok = true;

	while (ok && span_token(&rest, TLS_SPACE_COMMA, &one)) {
		if (one.n >= sizeof(path))
			return fault_set(why, "4.7.5", "file name is too long");
		memcpy(path, one.p, one.n);
		path[one.n] = '\0';
		ok = add_chain_file(p, o, path, c, &skipped, why);
	}
	if (ok && c->count == 0 && skipped.text[0] != '\0') {
		*why = skipped;
		return false;
	}
	ok = ok && chain_complete(c, path, why);
	if (ok && skipped.text[0] != '\0')
		log_warning_once(NULL, "%s_chain_files: %s: this file is left out", p->prefix, skipped.text);
	return ok;
}

/* The first private key of a file. */
static EVP_PKEY *
load_key(const struct tls_opener *o, const char *path, struct fault *why)
{
	EVP_PKEY *key = NULL;
	struct buf b;
	bool has_key;
	BIO *in;

	if (!read_file(o, path, &b, why)) {
		release_text(&b);
		return NULL;
	}
	has_key = span_find(buf_span(&b), SPAN("PRIVATE KEY-----")) >= 0;
	in = BIO_new_mem_buf(b.p, (int)b.n);
	if (in != NULL)
		key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
	BIO_free(in);
	release_text(&b);
	if (key == NULL) {
		ERR_clear_error();
		fault_set(why, "4.7.5", has_key ? "%s: private key is encrypted or unreadable" : "%s: no private key in it", path);
	}
	return key;
}

static bool
load_certs(const struct tls_opener *o, const char *path, struct one_chain *one, struct fault *why)
{
	struct buf b;
	struct block block;
	bool ok = read_file(o, path, &b, why);
	BIO *in = ok ? BIO_new_mem_buf(b.p, (int)b.n) : NULL;

	while (ok && in != NULL && block_read(in, &block)) {
		X509 *cert = is_cert_block(block.name) ? block_cert(&block) : NULL;

		if (cert != NULL)
			ok = add_cert(one, cert, path, why);
		else if (is_cert_block(block.name))
			ok = fault_set(why, "4.7.5", "%s: unreadable certificate", path);
		block_release(&block);
		ERR_clear_error();
	}
	ERR_clear_error();
	BIO_free(in);
	release_text(&b);
	return ok && (one->leaf != NULL || fault_set(why, "4.7.5", "%s: no certificate in it", path));
}

/* One of the pairs "smtpd_tls_cert_file" and "smtpd_tls_key_file"; `kind` is "", "ec" or "d". */
static bool
load_pair(struct tls_chain *c, const struct tls_chain_params *p, const char *kind, const struct tls_opener *o, const char *cert_file,
    const char *key_file, struct fault *why)
{
	struct one_chain *one = &c->one[c->count];
	bool own_key = key_file[0] != '\0' && strcmp(key_file, cert_file) != 0;

	if (cert_file[0] == '\0' || strcmp(cert_file, "none") == 0)
		return true;
	one->key = load_key(o, own_key ? key_file : cert_file, why);
	if (one->key == NULL) {
		fault_prefix(why, "%s_%s%s_file", p->prefix, kind, own_key ? "key" : "cert");
		return false;
	}
	c->count++;
	if (load_certs(o, cert_file, one, why))
		return true;
	if (own_key && one->leaf != NULL && X509_check_private_key(one->leaf, one->key) != 1)
		fault_set(why, "4.7.5", "%s: not the key of %s: certificate does not fit its private key", key_file, cert_file);
	else
		own_key = false;        /* the certificate's file is to blame */
	ERR_clear_error();
	fault_prefix(why, "%s_%s%s_file", p->prefix, kind, own_key ? "key" : "cert");
	return false;
}

bool
tls_chain_read(const struct tls_chain_params *p, const struct tls_opener *o, struct tls_chain **chain_r, struct fault *why)
{
	struct tls_chain *c = tls_chain_new();
	bool legacy = p->cert_file[0] != '\0' || p->eccert_file[0] != '\0' || p->dcert_file[0] != '\0', ok;

	*chain_r = NULL;
	if (p->chain_files[0] != '\0') {
		if (legacy)
			log_warning_once(NULL, "%s_chain_files is set: %s_cert_file and the like are ignored", p->prefix,
			    p->prefix);
		ok = load_chain_files(p, o, c, why);
		if (!ok)
			fault_prefix(why, "%s_chain_files", p->prefix);
	} else {
		ok = load_pair(c, p, "", o, p->cert_file, p->key_file, why) &&
		    load_pair(c, p, "ec", o, p->eccert_file, p->eckey_file, why) &&
		    load_pair(c, p, "d", o, p->dcert_file, p->dkey_file, why);
	}
	if (!ok || c->count == 0)
		tls_chain_unref(&c);
	*chain_r = c;
	return ok;
}

bool
tls_chain_load(const struct tls_chain_params *p, struct tls_chain **chain_r, struct fault *why)
{
	return tls_keeper_required() ? tls_keeper_chains(p, chain_r, why) : tls_chain_read(p, NULL, chain_r, why);
}

bool
tls_chain_push(struct tls_chain *c, X509 *leaf, STACK_OF(X509) *issuers, EVP_PKEY *key)
{
	if (c->count == CHAINS_MAX)
		return false;
	X509_up_ref(leaf);
	EVP_PKEY_up_ref(key);
	c->one[c->count++] = (struct one_chain){ key, leaf, issuers != NULL ? X509_chain_up_ref(issuers) : NULL };
	return true;
}

size_t
tls_chain_count(const struct tls_chain *c)
{
	return c->count;
}

bool
tls_chain_at(const struct tls_chain *c, size_t i, X509 **leaf_r, STACK_OF(X509) **issuers_r, EVP_PKEY **key_r)
{
	if (i >= c->count)
		return false;
	*leaf_r = c->one[i].leaf;
	*issuers_r = c->one[i].issuers;
	*key_r = c->one[i].key;
	return true;
}

bool
tls_chain_use(const struct tls_chain *c, SSL_CTX *ctx, SSL *ssl, struct fault *why)
{
	if (ssl != NULL)
		SSL_certs_clear(ssl);
	for (size_t i = 0; i < c->count; i++) {
		const struct one_chain *o = &c->one[i];
		int r = ctx != NULL ? SSL_CTX_use_cert_and_key(ctx, o->leaf, o->key, o->issuers, 1) :
		    SSL_use_cert_and_key(ssl, o->leaf, o->key, o->issuers, 1);

		if (r != 1)
			return fault_set(why, "4.7.5", "certificate chain cannot be used: %s", tls_library_error());
	}
	return true;
}

/* The library's words for a file that is not there are none. */
static bool
can_open(const char *prefix, const char *name, const char *path, int flags, struct fault *why)
{
	int fd = fd_open(AT_FDCWD, path, O_RDONLY | flags, 0);

	if (fd < 0)
		return fault_set(why, "4.7.5", "%s_%s: %s: %s", prefix, name, path, fd_error(fd));
	fd_close(&fd);
	return true;
}

bool
tls_roots_load(const struct tls_roots_params *p, X509_STORE *store, struct fault *why)
{
	bool file = p->CAfile[0] != '\0', path = p->CApath[0] != '\0';

	ERR_clear_error();
	if (file && !can_open(p->prefix, "CAfile", p->CAfile, 0, why))
		return false;
	if (file && X509_STORE_load_file(store, p->CAfile) != 1)
		return fault_set(why, "4.7.5", "%s_CAfile: %s: %s", p->prefix, p->CAfile, tls_library_error());
	if (path && !can_open(p->prefix, "CApath", p->CApath, O_DIRECTORY, why))
		return false;
	if (path && X509_STORE_load_path(store, p->CApath) != 1)
		return fault_set(why, "4.7.5", "%s_CApath: %s: %s", p->prefix, p->CApath, tls_library_error());
	/* the system's store never stands alone: the administrator must have asked for PKIX (section 5) */
	if (p->append_default_CA && (file || path) && X509_STORE_set_default_paths(store) != 1)
		return fault_set(why, "4.7.5", "tls_append_default_CA: %s", tls_library_error());
	ERR_clear_error();
	return true;
}

static bool
add_anchor(struct tls_anchors *a, const struct block *b, const char *path, struct fault *why)
{
	const unsigned char *der = b->der;
	EVP_PKEY *key;
	X509 *cert;

	if (is_cert_block(b->name)) {
		cert = block_cert(b);
		if (cert != NULL && sk_X509_push(a->certs, cert) > 0)
			return true;
		X509_free(cert);
	} else if (strcmp(b->name, "PUBLIC KEY") == 0 && a->n_keys < sizeof(a->keys) / sizeof(a->keys[0])) {
		key = d2i_PUBKEY(NULL, &der, b->der_bytes);
		if (key != NULL) {
			a->keys[a->n_keys++] = key;
			return true;
		}
	}
	ERR_clear_error();
	return fault_set(why, "4.7.5", "%s: unusable PEM block \"%.60s\"", path, b->name);
}

bool
tls_anchors_load(const char *path, struct tls_anchors *a_r, struct fault *why)
{
	struct block block;
	struct buf b;
	bool ok = read_file(NULL, path, &b, why);
	BIO *in = ok ? BIO_new_mem_buf(b.p, (int)b.n) : NULL;

	memset(a_r, 0, sizeof(*a_r));
	a_r->certs = sk_X509_new_null();
	ERR_clear_error();
	while (ok && in != NULL && a_r->certs != NULL && block_read(in, &block)) {
		ok = add_anchor(a_r, &block, path, why);
		block_release(&block);
		ERR_clear_error();
	}
	if (ok && !ended_well())
		ok = fault_set(why, "4.7.5", "%s: malformed PEM text", path);
	if (ok && sk_X509_num(a_r->certs) <= 0 && a_r->n_keys == 0)
		ok = fault_set(why, "4.7.5", "%s: no trust anchors in it", path);
	BIO_free(in);
	buf_release(&b);
	if (!ok)
		tls_anchors_release(a_r);
	return ok;
}

void
tls_anchors_release(struct tls_anchors *a)
{
	sk_X509_pop_free(a->certs, X509_free);
	for (size_t i = 0; i < a->n_keys; i++)
		EVP_PKEY_free(a->keys[i]);
	memset(a, 0, sizeof(*a));
}

/* --- values of tls_server_sni_maps --- */

static bool
append_files(const struct tls_opener *o, struct span list, struct buf *pem_r, struct fault *why)
{
	struct span one;
	char path[4096];

	while (span_token(&list, TLS_SPACE_COMMA, &one)) {
		struct buf b;
		bool ok;

		if (one.n >= sizeof(path))
			return fault_set(why, "4.7.5", "file name is too long");
		memcpy(path, one.p, one.n);
		path[one.n] = '\0';
		ok = read_file(o, path, &b, why);
		if (ok && !buf_add_span(pem_r, buf_span(&b)))
			ok = fault_set(why, "4.7.5", "%s: too large", path);
		buf_addc(pem_r, '\n');
		release_text(&b);
		if (!ok)
			return false;
	}
	return pem_r->n > 0 || fault_set(why, "4.7.5", "empty value");
}

bool
tls_sni_value_pem(const struct tls_opener *o, struct span value, struct buf *pem_r, struct fault *why)
{
	value = span_trim(value);
	buf_clear(pem_r);
	if (value.n > 0 && value.p[0] == '/')
		return append_files(o, value, pem_r, why);
	if (text_unbase64(pem_r, value) && pem_r->n > 0)
		return true;
	buf_clear(pem_r);
	return fault_set(why, "4.7.5", "neither file names nor base64 text");
}
