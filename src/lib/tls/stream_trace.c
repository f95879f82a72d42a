/* What the TLS library does, step by step and byte by byte, for whoever raised the log level. */
#include <stdio.h>

#include "tls/server_private.h"
#include "tls/stream.h"

enum { DUMP_COLUMNS = 16 };

void
stream_set_tracer(struct stream *s, struct stream_tracer *t)
{
	s->tracer = t;
}

void
stream_trace_chain(struct stream *s, int depth, bool ok, X509 *cert)
{
	char subject[512], text[600];

	if (s == NULL || s->tracer == NULL || !s->tracer->chain || cert == NULL)
		return;
	X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
	snprintf(text, sizeof(text), "depth=%d verify=%d subject=%s", depth, ok, subject);
	s->tracer->line(s->tracer->ctx, STREAM_TRACE_CHAIN, text);
}

void
stream_trace_ticket(struct stream *s, bool issuing, int64_t expires_s)
{
	char text[96];

	if (s == NULL || s->tracer == NULL || !s->tracer->tickets)
		return;
	snprintf(text, sizeof(text), "%s session ticket, key expiration: %lld", issuing ? "Issuing" : "Decrypting",
	    (long long)expires_s);
	s->tracer->line(s->tracer->ctx, STREAM_TRACE_TICKET, text);
}

void
stream_trace_session(struct stream *s, const char *verb, struct span key, const char *where)
{
	struct buf text;

	if (s == NULL || s->tracer == NULL || !s->tracer->tickets || key.n == 0)
		return;
	buf_init(&text, 4096);
	buf_addf(&text, "%s session %.*s %s %s cache", verb, SPAN_ARG(span_slice(key, 0, 2000)), where != NULL ? where : "from",
	    where != NULL ? s->tracer->cache : "client");
	s->tracer->line(s->tracer->ctx, STREAM_TRACE_SESSION, buf_cstr(&text));
	buf_release(&text);
}

/* One line of a dump: "0010 16 03 01 00 00 00 00 00|00 ...  ........ ........". */
static void
dump_line(struct stream_tracer *t, size_t at, const unsigned char *p, size_t n)
{
	char text[8 + DUMP_COLUMNS * 4 + 8];
	size_t used = (size_t)snprintf(text, sizeof(text), "%04zx", at);

	for (size_t i = 0; i < DUMP_COLUMNS; i++) {
		text[used++] = i == DUMP_COLUMNS / 2 && i < n ? '|' : ' ';
		used += (size_t)snprintf(text + used, sizeof(text) - used, i < n ? "%02x" : "  ", i < n ? p[i] : 0u);
	}
	text[used++] = ' ';
	for (size_t i = 0; i < n; i++) {
		if (i % (DUMP_COLUMNS / 2) == 0)
			text[used++] = ' ';
		text[used++] = p[i] >= 32 && p[i] < 127 ? (char)p[i] : '.';
	}
	text[used] = '\0';
	t->line(t->ctx, STREAM_TRACE_BYTES, text);
}

static void
spend(struct stream_tracer *t, size_t n)
{
	t->bytes_left -= n < t->bytes_left ? n : t->bytes_left;
	if (t->bytes_left == 0)
		t->line(t->ctx, STREAM_TRACE_BYTES, "the limit is reached; no more of this session is shown");
}

void
stream_trace_bytes(struct stream *s, bool reading, const char *p, size_t n)
{
	struct stream_tracer *t = s->tracer;
	char text[64];

	if (!(t->all_bytes || (t->handshake_bytes && !s->handshaken)) || t->bytes_left == 0)
		return;
	snprintf(text, sizeof(text), "%s (%zu bytes)", reading ? "read" : "write", n);
	t->line(t->ctx, STREAM_TRACE_BYTES, text);
	if (n > t->bytes_left)
		n = t->bytes_left;
	for (size_t at = 0; at < n; at += DUMP_COLUMNS)
		dump_line(t, at, (const unsigned char *)p + at, n - at < DUMP_COLUMNS ? n - at : DUMP_COLUMNS);
	spend(t, n);
}

struct message {
	int writing, version, type;
	const void *p;
	size_t n;
};

static void
message_line(struct stream_tracer *t, char *text)
{
	size_t n = strcspn(text, "\r\n");

	text[n] = '\0';
	if (n == 0 || t->bytes_left == 0)
		return;
	t->line(t->ctx, STREAM_TRACE_BYTES, text);
	spend(t, n);
}

static void
alert_line(struct stream_tracer *t, bool reading, int alert)
{
	char text[256];

	if ((alert & 0xff) == SSL_AD_CLOSE_NOTIFY)
		return;
	snprintf(text, sizeof(text), "SSL3 alert %s:%s:%s", reading ? "read" : "write", SSL_alert_type_string_long(alert),
	    SSL_alert_desc_string_long(alert));
	t->line(t->ctx, STREAM_TRACE_STATE, text);
}

static void
on_step(const SSL *ssl, int where, int ret)
{
	struct stream *s = tls_stream_of((SSL *)(uintptr_t)ssl);
	const char *role = where & SSL_ST_CONNECT ? "SSL_connect" : where & SSL_ST_ACCEPT ? "SSL_accept" : "unknown";
	char text[256];

	if (s == NULL || s->tracer == NULL)
		return;
	if (where & SSL_CB_ALERT) {
		alert_line(s->tracer, (where & SSL_CB_READ) != 0, ret);
	} else if (where & SSL_CB_LOOP) {
		snprintf(text, sizeof(text), "%s:%s", role, SSL_state_string_long(ssl));
		s->tracer->line(s->tracer->ctx, STREAM_TRACE_STATE, text);
	} else if ((where & SSL_CB_EXIT) && ret < 0 && strcmp(SSL_state_string_long(ssl), "error") == 0) {
		snprintf(text, sizeof(text), "%s:error in error", role);        /* any other state: it only waits */
		s->tracer->line(s->tracer->ctx, STREAM_TRACE_STATE, text);
	} else if ((where & SSL_CB_EXIT) && ret == 0) {
		snprintf(text, sizeof(text), "%s:failed in %s", role, SSL_state_string_long(ssl));
		s->tracer->line(s->tracer->ctx, STREAM_TRACE_STATE, text);
	}
}

#ifdef OPENSSL_NO_SSL_TRACE
static void
decode(const struct message *m, SSL *ssl, BIO *out)
{
	(void)ssl;
	BIO_printf(out, "%zu bytes; this TLS library cannot say more\n", m->n);
}
#else
static void
decode(const struct message *m, SSL *ssl, BIO *out)
{
	SSL_trace(m->writing, m->version, m->type, m->p, m->n, ssl, out);
}
#endif

/* The library's words for a message of the handshake or an alert, as far as the limit goes. Records are left out: the dumps have them. */
static void
on_message(int writing, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
	struct message m = { writing, version, type, p, n };
	struct stream *s = tls_stream_of(ssl);
	BIO *out;
	char text[256];

	(void)arg;
	if (type == SSL3_RT_HEADER || type == SSL3_RT_INNER_CONTENT_TYPE || s == NULL || s->tracer == NULL || s->tracer->bytes_left == 0 || (out = BIO_new(BIO_s_mem())) == NULL)
		return;
	BIO_printf(out, "%s:\n", writing ? "Sent" : "Received");
	decode(&m, ssl, out);
	while (BIO_gets(out, text, sizeof(text)) > 0)
		message_line(s->tracer, text);
	BIO_free(out);
}

void
stream_trace_attach(struct stream *s)
{
	if (s->tracer->steps)
		SSL_set_info_callback(s->ssl, on_step);
	if (s->tracer->messages)
		SSL_set_msg_callback(s->ssl, on_message);
}
