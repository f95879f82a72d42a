/* The byte stream: OpenSSL over our own BIO, so that system calls and their errors stay in base/fd. */
#include "tls/stream.h"

#include <errno.h>
#include <openssl/err.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "base/rd.h"
#include "dns/dns.h"
#include "tls/client_private.h"
#include "tls/hello.h"
#include "tls/server_private.h"

/* A record's payload, and what small pieces of one write are gathered into. HELD: records that wait for the next one. */
enum { RECORD_BYTES = 16384, HELD_MAX = 16384 };

struct stream_tls {
	struct tls_client_ctx *client;
	struct tls_server_ctx *service;
	const struct tls_decision *decision;    /* until the verdict is known */
	char *session_key;                      /* NULL = no cache */
	size_t session_key_bytes;
	SSL_SESSION *fresh;                     /* arrived before the verdict */
	struct tls_verdict verdict;
	struct stream_failure failure;
	int last_errno;                         /* negative, of the descriptor */
	struct buf held;                        /* goes out with what is written next */
	struct tls_chain *chain;
	char *untrusted;                        /* server: what was wrong with the client's chain */
	const char *untrusted_who;
	const SSL_SESSION *offered;             /* only to compare with */
	char sni[256], bad_sni[256];
	bool sni_is_bad : 1;
	bool session_stored : 1;
	bool verdict_known : 1;
	bool with_sni : 1;
	bool hello_seen : 1;
	bool chain_asked : 1, chain_set : 1, chain_failed : 1;
};

/* --- the BIO --- */

static int
bio_result(BIO *bio, struct stream *s, ssize_t n, bool reading)
{
	BIO_clear_retry_flags(bio);
	if (n == -EAGAIN) {
		if (reading)
			BIO_set_retry_read(bio);
		else
			BIO_set_retry_write(bio);
		return -1;
	}
	if (n < 0) {
		s->tls->last_errno = (int)n;
		return -1;
	}
	return (int)n;
}

static int
bio_read(BIO *bio, char *p, int n)
{
	struct stream *s = BIO_get_data(bio);
	ssize_t got = fd_read(s->fd, p, (size_t)n);

	if (s->tracer != NULL && got > 0)
		stream_trace_bytes(s, true, p, (size_t)got);
	return bio_result(bio, s, got, true);
}

/*
 * A packet costs both sides more than its contents. A TLS 1.3 ticket, which nobody waits for, goes along with our next words,
 * or when we wait for the client's (stream_push); the last words go along with the end.
 */
static bool
can_wait(const struct stream *s)
{
	return s->last_words || (s->server && SSL_get_state(s->ssl) == TLS_ST_SW_SESSION_TICKET && SSL_version(s->ssl) >= TLS1_3_VERSION);
}

static ssize_t
write_some(struct stream *s, const char *p, size_t n)
{
	struct buf *held = &s->tls->held;
	struct iovec v[2] = { { held->p, held->n }, { (void *)(uintptr_t)p, n } };
	ssize_t sent;

	if (can_wait(s) && buf_add(held, p, n))
		return (ssize_t)n;
	if (held->n == 0)
		return fd_write(s->fd, p, n);
	sent = fd_writev(s->fd, v, n > 0 ? 2 : 1);
	if (sent < 0)
		return sent;
	if ((size_t)sent < held->n) {
		buf_consume(held, (size_t)sent);
		return -EAGAIN;
	}
	sent -= (ssize_t)held->n;
	buf_release(held);
	buf_init(held, HELD_MAX);
	return sent == 0 && n > 0 ? -EAGAIN : sent;
}

static int
bio_write(BIO *bio, const char *p, int n)
{
	struct stream *s = BIO_get_data(bio);
	ssize_t sent = write_some(s, p, (size_t)n);

	if (s->tracer != NULL && sent > 0)
		stream_trace_bytes(s, false, p, (size_t)sent);
	return bio_result(bio, s, sent, false);
}

static long
bio_ctrl(BIO *bio, int cmd, long n, void *p)
{
	(void)bio;
	(void)n;
	(void)p;
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *
bio_method(void)
{
	static BIO_METHOD *m;

	if (m != NULL)
		return m;
	m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
	ensure(m != NULL);
	BIO_meth_set_read(m, bio_read);
	BIO_meth_set_write(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	return m;
}

static int
ssl_index(void)
{
	static int at = -1;

	if (at < 0)
		at = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return at;
}

struct stream *
tls_stream_of(SSL *ssl)
{
	return SSL_get_ex_data(ssl, ssl_index());
}

void
tls_stream_untrusted(SSL *ssl, const char *who, const char *why)
{
	struct stream_tls *t = tls_stream_of(ssl)->tls;

	free(t->untrusted);
	t->untrusted = strdup(why);
	ensure(t->untrusted != NULL);
	t->untrusted_who = who;
}

/* The library's queue, which says why an operation failed: empty before each. */
static void
forget_errors(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
}

/* --- life --- */

static struct span
session_key(const struct stream_tls *t)
{
	return span_of(t->session_key, t->session_key_bytes);
}

void
stream_init(struct stream *s, int fd)
{
	memset(s, 0, sizeof(*s));
	s->fd = fd;
}

void
stream_release(struct stream *s)
{
	struct stream_tls *t = s->tls;

	/* whatever ended it, an error, silence or our own deadline: the next handshake is a fresh one */
	if (t != NULL && t->session_key != NULL && !s->handshaken && tls_sessions_kept(t->client)) {
		tls_session_forget(t->client, session_key(t));
		stream_trace_session(s, "remove", session_key(t), NULL);
	}
	SSL_free(s->ssl);
	s->ssl = NULL;
	s->tls = NULL;
	if (t == NULL)
		return;
	SSL_SESSION_free(t->fresh);
	buf_release(&t->held);
	tls_chain_unref(&t->chain);
	tls_client_ctx_unref(&t->client);
	tls_server_ctx_unref(&t->service);
	free(t->session_key);
	free(t->untrusted);
	free(t);
}

static bool
attach(struct stream *s, SSL *ssl)
{
	BIO *bio = BIO_new(bio_method());

	if (bio == NULL || SSL_set_ex_data(ssl, ssl_index(), s) != 1) {
		BIO_free(bio);
		return false;
	}
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	s->ssl = ssl;
	s->tls = calloc(1, sizeof(*s->tls));
	ensure(s->tls != NULL);
	buf_init(&s->tls->held, HELD_MAX);
	if (s->tracer != NULL)
		stream_trace_attach(s);
	return true;
}

/* Keep the key for what comes, and give what there is. */
static SSL_SESSION *
find_session(struct stream *s, struct tls_client_ctx *ctx, struct span key, int64_t now_s, struct tls_verdict *verdict_r)
{
	SSL_SESSION *old;

	if (key.n == 0 || !tls_sessions_kept(ctx))
		return NULL;
	stream_trace_session(s, "looking for", key, "in");
	old = tls_session_find(ctx, key, now_s, verdict_r);
	if (old != NULL)
		stream_trace_session(s, "reloaded", key, "from");
	return old;
}

static void
keep_key(struct stream_tls *t, struct span key)
{
	if (key.n == 0)
		return;
	t->session_key = malloc(key.n);
	ensure(t->session_key != NULL);
	memcpy(t->session_key, key.p, key.n);
	t->session_key_bytes = key.n;
}

bool
stream_start_client(struct stream *s, struct tls_client_ctx *ctx, const struct tls_decision *d,
    struct span session_key, int64_t now_s, struct fault *why)
{
	struct tls_verdict verdict = { 0 };
	SSL_SESSION *old = find_session(s, ctx, session_key, now_s, &verdict);
	struct tls_hello hello = { .segment_bytes = tls_segment_bytes(s->fd), .resuming = old != NULL };
	SSL *ssl = tls_client_ssl_new(ctx, d, &hello, why);

	ensure(s->ssl == NULL);
	if (ssl == NULL || !attach(s, ssl)) {
		if (ssl != NULL)
			fault_set(why, "4.7.5", "TLS library: out of memory");
		SSL_free(ssl);
		SSL_SESSION_free(old);
		return false;
	}
	s->tls->client = tls_client_ctx_ref(ctx);
	s->tls->decision = d;
	s->tls->verdict = verdict;
	keep_key(s->tls, session_key);
	if (old != NULL)
		(void)SSL_set_session(ssl, old);
	s->tls->offered = old;
	SSL_SESSION_free(old);
	forget_errors();
	SSL_set_connect_state(ssl);
	return true;
}

bool
stream_start_server(struct stream *s, struct tls_server_ctx *ctx, bool with_sni, struct fault *why)
{
	SSL *ssl = SSL_new(tls_server_ctx_ssl(ctx));

	ensure(s->ssl == NULL);
	if (ssl == NULL || !tls_server_session_chain(ctx, ssl) || !attach(s, ssl)) {
		SSL_free(ssl);
		return fault_set(why, "4.7.0", "TLS library: %s", tls_library_error());
	}
	s->server = true;
	s->tls->service = tls_server_ctx_ref(ctx);
	s->tls->with_sni = with_sni;
	SSL_set_accept_state(ssl);
	return true;
}

/* --- sessions --- */

/* Only sessions whose server was what the decision wanted are worth keeping. */
static void
store_session(struct stream *s, SSL_SESSION *session, STACK_OF(X509) *chain)
{
	struct stream_tls *t = s->tls;

	t->session_stored = true;
	if (!t->verdict.matched || !tls_sessions_kept(t->client))
		return;
	if (session != t->offered)
		stream_trace_session(s, "save", session_key(t), "to");
	tls_session_store(t->client, session_key(t), session, chain, &t->verdict);
}

int
tls_session_arrived(SSL *ssl, SSL_SESSION *session)
{
	struct stream *s = SSL_get_ex_data(ssl, ssl_index());
	struct stream_tls *t = s != NULL ? s->tls : NULL;

	if (t == NULL || t->session_key == NULL || t->session_stored || t->fresh != NULL)
		return 0;
	if (t->verdict_known) {
		store_session(s, session, SSL_get_peer_cert_chain(ssl));
		return 0;
	}
	t->fresh = session;
	return 1;               /* the reference is ours now */
}

static int
peer_dh_bits(SSL *ssl)
{
	EVP_PKEY *key = NULL;
	int bits = 0;

	if (SSL_get_peer_tmp_key(ssl, &key) == 1 && EVP_PKEY_get_base_id(key) == EVP_PKEY_DH)
		bits = EVP_PKEY_get_bits(key);
	EVP_PKEY_free(key);
	return bits;
}

const struct tls_verdict *
stream_verdict(struct stream *s, int64_t now_s)
{
	struct stream_tls *t = s->tls;
	struct tls_peer peer;

	if (t->verdict_known)
		return &t->verdict;
	t->verdict_known = true;
	if (!s->resumed) {
		peer = (struct tls_peer){ .leaf = SSL_get0_peer_certificate(s->ssl),
			.chain = SSL_get_peer_cert_chain(s->ssl), .raw_key = tls_peer_raw_key(s->ssl),
			.cipher_bits = SSL_get_cipher_bits(s->ssl, NULL), .dh_bits = peer_dh_bits(s->ssl), .trace = s };
		tls_verify_peer(t->decision, t->client, &peer, now_s, &t->verdict);
	}
	if (t->fresh == NULL && s->resumed && t->session_key != NULL && SSL_version(s->ssl) < TLS1_3_VERSION)
		t->fresh = SSL_get1_session(s->ssl);    /* perhaps renewed: TLS 1.2 does not report that */
	if (t->fresh != NULL) {
		store_session(s, t->fresh, SSL_get_peer_cert_chain(s->ssl));
		SSL_SESSION_free(t->fresh);
		t->fresh = NULL;
	}
	t->decision = NULL;
	forget_errors();
	return &t->verdict;
}

bool
stream_exchange(struct stream *s, struct tls_exchange *x_r)
{
	if (s->ssl == NULL || !s->handshaken)
		return false;
	tls_exchange_get(s->ssl, x_r);
	forget_errors();
	return true;
}

bool
stream_info(struct stream *s, const char *digest_name, struct arena *a, struct tls_info *info_r)
{
	if (s->ssl == NULL || !s->handshaken)
		return false;
	tls_info_get(s->ssl, s->server, digest_name, a, info_r);
	if (s->server)
		info_r->sni = arena_dup(a, span_str(s->tls->sni));
	if (s->tls->untrusted != NULL && info_r->peer_cert && !info_r->peer_trusted) {
		info_r->untrusted = arena_dup(a, span_str(s->tls->untrusted));
		info_r->untrusted_who = s->tls->untrusted_who;
	}
	forget_errors();
	return true;
}

/* --- the server's ClientHello --- */

/* server_name (RFC 6066 section 3): one list with one host_name. */
static bool
parse_sni(struct span ext, struct span *name_r, char sni_r[256])
{
	struct rd r = rd_init(ext);
	struct span list = rd_bytes(&r, rd_be16(&r)), name;

	if (!rd_done(&r))
		return false;
	r = rd_init(list);
	if (rd_u8(&r) != 0)
		return false;
	name = rd_bytes(&r, rd_be16(&r));
	if (r.bad || name.n == 0 || name.n > 255)
		return false;
	*name_r = name;
	if (!dns_name_is_host(name) || name.p[name.n - 1] == '.')
		return false;
	for (size_t i = 0; i < name.n; i++)
		sni_r[i] = ascii_lower(name.p[i]);
	sni_r[name.n] = '\0';
	return true;
}

/* A name that is none is ignored; what it was is kept for the log. */
static void
read_sni(struct stream_tls *t, SSL *ssl, char sni_r[256])
{
	struct span name = SPAN("");
	const unsigned char *p;
	size_t n;

	sni_r[0] = '\0';
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1 || parse_sni(span_of(p, n), &name, sni_r))
		return;
	sni_r[0] = '\0';
	if (t->bad_sni[0] == '\0')
		snprintf(t->bad_sni, sizeof(t->bad_sni), "%.*s", SPAN_ARG(log_esc(name)));
	t->sni_is_bad = true;
}

/* The chain the owner chose for this name replaces all configured ones. */
static bool
install_chain(struct stream_tls *t, SSL *ssl)
{
	struct fault why;

	return !t->chain_failed && (t->chain == NULL || tls_chain_use(t->chain, NULL, ssl, &why));
}

/* Names that choose nothing keep sessions apart as well. */
static bool
note_name(struct stream_tls *t, SSL *ssl)
{
	struct span name = SPAN("");
	const unsigned char *p;
	char sni[256];
	size_t n;

	return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1 || !parse_sni(span_of(p, n), &name, sni) ||
	    tls_server_session_context(t->service, ssl, sni);
}

int
tls_stream_client_hello(SSL *ssl, int *alert, void *ctx)
{
	struct stream *s = SSL_get_ex_data(ssl, ssl_index());
	struct stream_tls *t = s->tls;
	char sni[256];

	(void)ctx;
	*alert = SSL_AD_INTERNAL_ERROR;
	tls_server_choose_curve(t->service, ssl);
	if (!tls_server_choose_type(ssl))
		return SSL_CLIENT_HELLO_ERROR;
	if (!t->with_sni)
		return note_name(t, ssl) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
	read_sni(t, ssl, sni);
	if (t->hello_seen && strcmp(sni, t->sni) != 0) {
		*alert = SSL_AD_ILLEGAL_PARAMETER;      /* the hello after a HelloRetryRequest changed it */
		return SSL_CLIENT_HELLO_ERROR;
	}
	memcpy(t->sni, sni, sizeof(sni));
	t->hello_seen = true;
	if (sni[0] == '\0')
		return SSL_CLIENT_HELLO_SUCCESS;
	if (!t->chain_set) {
		t->chain_asked = true;
		return SSL_CLIENT_HELLO_RETRY;
	}
	if (!install_chain(t, ssl) || !tls_server_session_context(t->service, ssl, sni))
		return SSL_CLIENT_HELLO_ERROR;
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* Acknowledge the name only when it chose something (RFC 6066: an empty server_name in the answer). */
int
tls_stream_servername(SSL *ssl, int *alert, void *ctx)
{
	struct stream *s = SSL_get_ex_data(ssl, ssl_index());

	(void)alert;
	(void)ctx;
	return s->tls->chain != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

const char *
stream_sni_name(const struct stream *s)
{
	return s->tls->sni;
}

const char *
stream_bad_sni(const struct stream *s)
{
	return s->tls != NULL && s->tls->sni_is_bad ? s->tls->bad_sni : NULL;
}

void
stream_set_chain(struct stream *s, struct tls_chain *chain, bool failed)
{
	struct stream_tls *t = s->tls;

	ensure(t->chain == NULL);
	if (chain != NULL)
		t->chain = tls_chain_ref(chain);
	t->chain_set = true;
	t->chain_failed = failed;
}

/* --- handshake --- */

static void
collect_library_errors(struct stream_failure *f)
{
	const char *file, *data;
	char text[256];
	unsigned long e;
	int line, flags;

	while ((e = ERR_get_error_all(&file, &line, NULL, &data, &flags)) != 0) {
		bool more = (flags & ERR_TXT_STRING) != 0 && data[0] != '\0';

		if (f->n_library == sizeof(f->library) / sizeof(f->library[0]))
			continue;
		ERR_error_string_n(e, text, sizeof(text));
		snprintf(f->library[f->n_library++], sizeof(f->library[0]), "%s:%s:%d%s%.160s", text, file, line, more ? ":" : "",
		    more ? data : "");
	}
}

/* In the log's words: a system error, a lost connection, or the library's return value. */
static enum stream_result
note_failure(struct stream *s, int ret, int kind)
{
	struct stream_failure *f = &s->tls->failure;
	bool system = kind == SSL_ERROR_SYSCALL, eof = kind == SSL_ERROR_ZERO_RETURN;

	s->broken = true;
	collect_library_errors(f);
	if (s->tls->last_errno != 0)
		snprintf(f->text, sizeof(f->text), "%s", fd_error(s->tls->last_errno));
	else if (eof || (system && f->n_library == 0))
		snprintf(f->text, sizeof(f->text), "lost connection");
	else
		snprintf(f->text, sizeof(f->text), "%d", ret);
	return (eof || system) && s->tls->last_errno == 0 && f->n_library == 0 ? STREAM_EOF : STREAM_ERROR;
}

static enum stream_result
step_result(struct stream *s, int ret)
{
	int kind = SSL_get_error(s->ssl, ret);

	switch (kind) {
	case SSL_ERROR_WANT_READ:
		return STREAM_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return STREAM_WANT_WRITE;
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		return STREAM_WANT_CHAIN;
	default:
		return note_failure(s, ret, kind);
	}
}

enum stream_result
stream_handshake(struct stream *s)
{
	int ret;

	if (s->handshaken)
		return STREAM_DONE;
	if (s->broken)
		return STREAM_ERROR;
	forget_errors();
	ret = SSL_do_handshake(s->ssl);
	if (ret != 1)
		return step_result(s, ret);
	s->handshaken = true;
	s->resumed = SSL_session_reused(s->ssl) == 1;
	return STREAM_DONE;
}

const struct stream_failure *
stream_failure(const struct stream *s)
{
	static const struct stream_failure none;

	return s->tls != NULL ? &s->tls->failure : &none;
}

/* --- bytes --- */

static enum stream_result
plain_result(ssize_t n, bool reading, size_t *count_r)
{
	*count_r = 0;
	if (n == -EAGAIN)
		return reading ? STREAM_WANT_READ : STREAM_WANT_WRITE;
	if (n < 0)
		return STREAM_ERROR;
	if (n == 0 && reading)
		return STREAM_EOF;
	*count_r = (size_t)n;
	return STREAM_DONE;
}

enum stream_result
stream_read(struct stream *s, void *p, size_t n, size_t *got_r)
{
	int ret;

	*got_r = 0;
	if (s->ssl == NULL)
		return plain_result(fd_read(s->fd, p, n), true, got_r);
	if (s->broken)
		return STREAM_ERROR;
	forget_errors();
	ret = SSL_read(s->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
	if (ret > 0) {
		*got_r = (size_t)ret;
		return STREAM_DONE;
	}
	if (SSL_get_error(s->ssl, ret) == SSL_ERROR_ZERO_RETURN)
		return STREAM_EOF;
	return step_result(s, ret);
}

/* Several small pieces would be several records: gather what fits in one. */
static struct span
gather(const struct iovec *v, int count)
{
	static char record[RECORD_BYTES];
	size_t n = 0;

	if (count == 1 || v[0].iov_len >= RECORD_BYTES)
		return span_of(v[0].iov_base, v[0].iov_len < RECORD_BYTES ? v[0].iov_len : RECORD_BYTES);
	for (int i = 0; i < count && n < RECORD_BYTES; i++) {
		size_t room = RECORD_BYTES - n, take = v[i].iov_len < room ? v[i].iov_len : room;

		if (take > 0)
			memcpy(record + n, v[i].iov_base, take);
		n += take;
	}
	return span_of(record, n);
}

enum stream_result
stream_writev(struct stream *s, const struct iovec *v, int count, size_t *sent_r)
{
	struct span bytes;
	int ret;

	*sent_r = 0;
	if (s->ssl == NULL)
		return plain_result(fd_writev(s->fd, v, count), false, sent_r);
	if (s->broken || s->sent_close)
		return STREAM_ERROR;
	while (count > 0 && v[0].iov_len == 0)
		v++, count--;
	if (count == 0)
		return STREAM_DONE;
	bytes = gather(v, count);
	forget_errors();
	ret = SSL_write(s->ssl, bytes.p, (int)bytes.n);
	if (ret <= 0)
		return step_result(s, ret);
	*sent_r = (size_t)ret;
	return STREAM_DONE;
}

enum stream_result
stream_flush(struct stream *s, struct ioq *q)
{
	struct iovec v[16];
	size_t sent;

	while (q->bytes > 0) {
		enum stream_result r = stream_writev(s, v, ioq_peek(q, v, 16), &sent);

		if (r != STREAM_DONE)
			return r;
		ioq_consume(q, sent);
	}
	return STREAM_DONE;
}

bool
stream_pending(const struct stream *s)
{
	return s->ssl != NULL && !s->broken && SSL_has_pending(s->ssl) == 1;
}

void
stream_push(struct stream *s)
{
	if (s->ssl != NULL && !s->broken && !s->last_words && s->tls->held.n > 0)
		(void)write_some(s, NULL, 0);
}

void
stream_last_words(struct stream *s)
{
	s->last_words = true;
}

enum stream_result
stream_shutdown(struct stream *s)
{
	int ret;

	s->last_words = false;
	if (s->ssl == NULL || s->broken || !s->handshaken || s->sent_close)
		return STREAM_DONE;
	forget_errors();
	ret = SSL_shutdown(s->ssl);
	if (ret < 0)
		return step_result(s, ret);
	s->sent_close = true;
	return STREAM_DONE;
}
