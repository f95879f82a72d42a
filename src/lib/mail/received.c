/* The Received header. */
#include "mail/received.h"

#include "mail/address.h"
#include "mail/date.h"

/* A bare word from the peer (HELO name, host name): nothing that has a meaning in headers. */
static void
put_word(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool ok = c > ' ' && c < 127 && strchr("<>()\\\";@", c) == NULL;

		buf_addc(out, ok ? c : '?');
	}
}

/* Peer's text inside a comment: printable ASCII, parentheses made to balance. */
static void
put_comment_text(struct buf *out, struct span s)
{
	unsigned open = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool ok = c >= ' ' && c < 127 && c != '\\';

		if (c == ')' && open == 0) {
			buf_addc(out, '?');
			continue;
		}
		open += c == '(';
		open -= c == ')';
		buf_addc(out, ok ? c : '?');
	}
	while (open-- > 0)
		buf_addc(out, ')');
}

static void
put_comment_part(struct buf *out, const char *before, struct span s)
{
	if (s.n == 0)
		return;
	buf_add_str(out, before);
	put_comment_text(out, s);
}

struct span
received_protocol(const struct received *r, struct arena *a)
{
	static const char *const plain[] = { "SMTP", "ESMTP", "LMTP" };
	static const char *const utf8[] = { "UTF8SMTP", "UTF8SMTP", "UTF8LMTP" };
	const char *word = r->smtputf8 ? utf8[r->with] : plain[r->with];
	/* S and A need EHLO: "SMTPS" is no registered word (RFC 3848 section 1). */
	bool extended = r->smtputf8 || r->with != RECEIVED_SMTP;

	return arena_printf(a, "%s%s%s", word, extended && r->tls_used ? "S" : "",
	    extended && r->authenticated ? "A" : "");
}

static void
put_signature(struct buf *out, const char *side, struct span sig, struct span detail, struct span digest)
{
	buf_addf(out, " %s-signature ", side);
	put_comment_text(out, sig);
	if (detail.n > 0) {
		put_comment_part(out, " (", detail);
		buf_addc(out, ')');
	}
	if (digest.n > 0) {
		buf_addf(out, " %s-digest ", side);
		put_comment_text(out, digest);
	}
}

/* "(using TLSv1.3 with cipher ...": second and third line only for what is known. */
static void
put_tls_session(struct buf *out, const struct received_tls *t)
{
	buf_add_str(out, "\t(using ");
	put_comment_text(out, t->protocol);
	put_comment_part(out, " with cipher ", t->cipher);
	buf_addf(out, " (%u/%u bits)", t->used_bits, t->alg_bits);
	if (t->key_exchange.n > 0)
		put_comment_part(out, "\r\n\t key-exchange ", t->key_exchange);
	if (t->server_signature.n > 0) {
		if (t->key_exchange.n == 0)
			buf_add_str(out, "\r\n\t");
		put_signature(out, "server", t->server_signature, t->server_signature_detail,
		    t->server_digest);
	}
	if (t->client_signature.n > 0) {
		buf_add_str(out, "\r\n\t");
		put_signature(out, "client", t->client_signature, t->client_signature_detail,
		    t->client_digest);
	}
	buf_add_str(out, ")\r\n");
}

static void
put_tls_client(struct buf *out, const struct received_tls *t)
{
	if (t->rpk_digest.n > 0) {
		put_comment_part(out, "\t(Client RPK ", t->rpk_digest_name);
		put_comment_part(out, " digest ", t->rpk_digest);
		buf_add_str(out, ")\r\n");
		return;
	}
	if (!t->peer_given) {
		buf_add_str(out, t->peer_asked ? "\t(Client did not present a certificate)\r\n" :
		    "\t(No client certificate requested)\r\n");
		return;
	}
	buf_add_str(out, "\t(Client CN \"");
	put_comment_text(out, t->peer_cn);
	buf_add_str(out, "\", Issuer \"");
	put_comment_text(out, t->issuer_cn);
	buf_addf(out, "\" (%s))\r\n", t->peer_verified ? "verified OK" : "not verified");
}

static void
put_from(struct buf *out, const struct received *r, struct arena *a)
{
	buf_add_str(out, "Received: from ");
	put_word(out, r->helo.n > 0 ? r->helo : SPAN("unknown"));
	buf_add_str(out, " (");
	put_word(out, r->client_name.n > 0 ? r->client_name : SPAN("unknown"));
	buf_add_str(out, " [");
	put_word(out, address_literal_text(r->client_addr, a));
	buf_add_str(out, "])\r\n");
}

static void
put_date(struct buf *out, const struct received *r, struct arena *a)
{
	buf_add_str(out, "; ");
	buf_add_span(out, date_rfc5322(r->when_us, a));
	buf_add_str(out, "\r\n");
}

/* tls-cipher-name, dh-group */
static bool
is_registered_name(struct span s)
{
	if (s.n == 0 || !ascii_isalpha(s.p[0]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-')
			return false;
	return true;
}

/* RFC 8314 section 4.3: for whom the message was submitted must be able to see how it came. */
static void
put_tls_clause(struct buf *out, const struct received *r)
{
	if (!r->tls_used || !is_registered_name(r->tls_suite))
		return;
	buf_addf(out, "\r\n\ttls %.*s", SPAN_ARG(r->tls_suite));
	if (is_registered_name(r->tls_group))
		buf_addf(out, " group %.*s", SPAN_ARG(r->tls_group));
}

static void
put_client(struct buf *out, const struct received *r, struct arena *a)
{
	put_from(out, r, a);
	if (r->tls_used && r->tls != NULL) {
		put_tls_session(out, r->tls);
		put_tls_client(out, r->tls);
	}
	if (r->authenticated && r->login.n > 0) {
		put_comment_part(out, "\t(Authenticated sender: ", r->login);
		buf_add_str(out, ")\r\n");
	}
	buf_addf(out, "\tby %.*s (%.*s) with %.*s id %.*s", SPAN_ARG(r->by_host), SPAN_ARG(r->mail_name),
	    SPAN_ARG(received_protocol(r, a)), SPAN_ARG(r->qid));
	if (r->only_rcpt.n > 0) {
		buf_add_str(out, "\r\n\tfor <");
		buf_add_span(out, address_external(r->only_rcpt, a));
		buf_addc(out, '>');
	}
	put_tls_clause(out, r);
}

void
received_write(const struct received *r, struct arena *a, struct buf *out)
{
	if (r->local)
		buf_addf(out, "Received: by %.*s (%.*s, from userid %lu)\r\n\tid %.*s",
		    SPAN_ARG(r->by_host), SPAN_ARG(r->mail_name), r->userid, SPAN_ARG(r->qid));
	else if (r->hide_client)
		buf_addf(out, "Received: by %.*s (%.*s) id %.*s", SPAN_ARG(r->by_host),
		    SPAN_ARG(r->mail_name), SPAN_ARG(r->qid));
	else
		put_client(out, r, a);
	put_date(out, r, a);
}
