/* The record of one attempt. */
#include "tls/why.h"

#include <openssl/x509.h>

#include "base/clock.h"
#include "tls/ladder.h"

enum { CHAIN_MAX = 3, NAME_MAX_SHOWN = 48, STEP_MAX_SHOWN = 60, RECORD_MAX_SHOWN = 56 };

/* Bytes of the UTF-8 character at the start of `s`; 0 = none. */
static size_t
character(struct span s)
{
	for (size_t n = 1; n <= 4 && n <= s.n; n++)
		if (span_is_utf8(span_slice(s, 0, n)))
			return n;
	return 0;
}

/* How much of the start of `s` stands for itself, `max` at most. */
static size_t
plain(struct span s, size_t max)
{
	size_t n = 0;

	while (n < s.n && n < max && s.p[n] >= ' ' && s.p[n] < 0x7f && s.p[n] != '"' && s.p[n] != '\\')
		n++;
	return n;
}

bool
tls_why_string(struct buf *out, struct span s, size_t max)
{
	size_t used = 0;

	buf_addc(out, '"');
	while (s.n > 0) {
		size_t run = plain(s, max - used), n = character(span_from(s, run));
		char c;
		bool quoted;

		buf_add_span(out, span_slice(s, 0, run));
		used += run;
		s = span_from(s, run);
		if (s.n == 0 || used == max)
			break;
		c = n == 1 ? s.p[0] : n == 0 ? '?' : 'x';
		quoted = c == '"' || c == '\\';
		if (n == 1 && ((unsigned char)c < ' ' || c == 0x7f))
			c = '?';
		if (used + (n > 1 ? n : 1) + quoted > max)
			break;
		if (quoted)
			buf_addc(out, '\\');
		if (n > 1)
			buf_add_span(out, span_slice(s, 0, n));
		else
			buf_addc(out, c);
		used += (n > 1 ? n : 1) + quoted;
		s = span_from(s, n == 0 ? 1 : n);
	}
	buf_addc(out, '"');
	return s.n > 0;
}

/* ,"name":"value" when there is a value and room. False when it had to be cut or left out. */
static bool
member(struct buf *out, const char *name, struct span value, size_t max)
{
	size_t room = TLS_WHY_PEER_MAX - (out->n < TLS_WHY_PEER_MAX ? out->n : TLS_WHY_PEER_MAX);

	if (value.n == 0)
		return true;
	if (room < strlen(name) + 16)
		return false;
	if (max > room - strlen(name) - 8)
		max = room - strlen(name) - 8;
	buf_addf(out, ",\"%s\":", name);
	return !tls_why_string(out, value, max);
}

static void
flag(struct buf *out, const char *name, bool value)
{
	if (value && out->n + strlen(name) + 10 < TLS_WHY_PEER_MAX)
		buf_addf(out, ",\"%s\":true", name);
}

/* [["subject CN","SHA-256, first 16 bytes"],...] from the leaf on. */
static bool
chain(struct buf *out, SSL *ssl)
{
	STACK_OF(X509) *v = SSL_get_peer_cert_chain(ssl);
	int count = v == NULL ? 0 : sk_X509_num(v);

	for (int i = 0; i < count && i < CHAIN_MAX; i++) {
		X509 *cert = sk_X509_value(v, i);
		struct tls_digest digest = { 0 };
		char cn[256] = "";

		if (out->n + 110 > TLS_WHY_PEER_MAX) {
			if (i > 0)
				buf_addc(out, ']');
			return false;
		}
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
		tls_cert_digest(cert, "sha256", &digest);
		buf_add_str(out, i == 0 ? ",\"chain\":[[" : ",[");
		tls_why_string(out, span_str(cn), NAME_MAX_SHOWN);
		buf_add_str(out, ",\"");
		for (size_t k = 0; k < 16 && k < digest.n; k++)
			buf_addf(out, "%02x", digest.bytes[k]);
		buf_add_str(out, "\"]");
	}
	if (count > 0)
		buf_addc(out, ']');
	return count <= CHAIN_MAX;
}

/* What came of the handshake. */
static bool
handshake(struct buf *out, const struct tls_why_peer *p)
{
	const struct tls_verdict *v = p->verdict;
	bool whole = true;

	if (p->ssl == NULL || p->info == NULL || v == NULL)
		return true;
	whole &= member(out, "protocol", span_str(SSL_get_version(p->ssl)), 12);
	whole &= member(out, "cipher", span_str(SSL_get_cipher_name(p->ssl)), 40);
	whole &= member(out, "group", p->info->wire.group, 24);
	whole &= member(out, "trust", span_str(tls_trust_name(v->trust)), 12);
	flag(out, "matched", v->matched);
	flag(out, "resumed", p->info->resumed);
	flag(out, "forward_secret", p->info->forward_secret);
	whole &= member(out, "matched_by", span_str(v->matched_name), NAME_MAX_SHOWN);
	(void)member(out, "record", span_str(v->dane_match), RECORD_MAX_SHOWN);         /* the start of its digest will do */
	whole &= member(out, "reason", span_str(v->reason), 150);
	return chain(out, p->ssl) && whole;
}

/* As many steps as fit, in order. */
static bool
trail(struct buf *out, const struct tls_decision *d)
{
	size_t i;

	for (i = 0; i < d->n_trail; i++) {
		const struct tls_step *s = &d->trail[i];

		if (out->n + strlen(s->rule) + 2 * STEP_MAX_SHOWN + 32 > TLS_WHY_PEER_MAX)
			break;
		buf_add_str(out, i == 0 ? ",\"trail\":[[" : ",[");
		tls_why_string(out, span_str(s->rule), STEP_MAX_SHOWN);
		buf_addc(out, ',');
		tls_why_string(out, s->result, STEP_MAX_SHOWN);
		buf_addc(out, ',');
		tls_why_string(out, s->source, STEP_MAX_SHOWN);
		buf_addc(out, ']');
	}
	if (i > 0)
		buf_addc(out, ']');
	return i == d->n_trail;
}

static bool
server(struct buf *out, const struct tls_why_peer *p)
{
	const struct tls_decision *d = p->decision;
	bool whole;

	buf_add_str(out, "\"host\":");
	whole = !tls_why_string(out, p->host, 80);
	whole &= member(out, "address", p->address, 64);
	if (p->port != 0)
		buf_addf(out, ",\"port\":%u", p->port);
	whole &= member(out, "asked", span_str(tls_level_name(d->asked)), 16);
	whole &= member(out, "level", span_str(tls_level_name(d->level)), 16);
	return member(out, "tls", span_str(p->tls), 40) && whole;
}

void
tls_why_write_brief(struct buf *out, const struct tls_why_peer *p)
{
	(void)server(out, p);
}

void
tls_why_write_peer(struct buf *out, const struct tls_why_peer *p)
{
	const struct tls_decision *d = p->decision;
	bool whole = server(out, p);

	whole &= member(out, "sni", d->sni, 64);
	if (d->rung != TLS_RUNG_FULL)
		whole &= member(out, "plainer", span_str(tls_rung_text(d->rung)), 40);
	whole &= member(out, "failure", p->failure, 110);
	if (p->report != NULL)
		whole &= member(out, "tlsrpt", span_str(p->report), 60);
	if (p->unusable != NULL)
		whole &= member(out, "unusable", span_str(p->unusable->text), 150);
	for (size_t i = 0; d->invalid && i < d->n_warnings && i < 1; i++)
		whole &= member(out, "because", d->warnings[i], 150);
	whole &= handshake(out, p);
	whole &= trail(out, d);
	if (!whole && out->n + 12 <= TLS_WHY_PEER_MAX + 12)
		buf_add_str(out, ",\"cut\":true");
}

/* An address and what it takes around it; what is longer than any address can be is cut. */
static bool
put_recipient(struct buf *out, struct span to, bool first, size_t room)
{
	struct buf one;
	bool ok;

	buf_init(&one, TLS_WHY_RCPT_MAX + 3);
	(void)tls_why_string(&one, to, TLS_WHY_RCPT_MAX);
	ok = one.n + (first ? sizeof(",\"to\":[]") - 1 : 1) <= room;
	if (ok)
		buf_addf(out, "%s%.*s", first ? ",\"to\":[" : ",", SPAN_ARG(buf_span(&one)));
	buf_release(&one);
	return ok;
}

/* How many were listed. The line must not grow beyond TLS_WHY_MAX, its end included. */
static size_t
recipients(struct buf *out, const struct tls_why *w)
{
	const size_t end = sizeof("]}\n") - 1 + (w->last ? sizeof(",\"unlisted\":4294967295") - 1 : 0);
	size_t n;

	for (n = 0; n < w->n_to; n++)
		if (out->n + end > TLS_WHY_MAX || !put_recipient(out, w->to[n], n == 0, TLS_WHY_MAX - end - out->n))
			break;
	if (n > 0)
		buf_addc(out, ']');
	if (w->last && n < w->n_to)
		buf_addf(out, ",\"unlisted\":%zu", w->n_to - n);
	return n;
}

size_t
tls_why_write(struct buf *out, const struct tls_why *w)
{
	size_t listed;

	buf_addf(out, "{\"time\":%lld,\"queue_id\":", (long long)(w->wall_us / US_PER_S));
	tls_why_string(out, w->qid, 24);
	buf_add_str(out, ",\"nexthop\":");
	tls_why_string(out, w->nexthop, 80);
	buf_addf(out, ",\"recipients\":%u", w->rcpts);
	if (w->continued)
		buf_add_str(out, ",\"continued\":true");
	if (w->peer.n > 0 && w->peer.n <= TLS_WHY_PEER_MAX + 12) {
		buf_addc(out, ',');
		buf_add_span(out, w->peer);
	} else if (w->tried > 0) {
		buf_addf(out, ",\"tried\":%u", w->tried);
	}
	buf_addf(out, ",\"outcome\":\"%s\",\"dsn\":", w->outcome);
	tls_why_string(out, w->dsn, 12);
	buf_add_str(out, ",\"text\":");
	tls_why_string(out, w->text, 110);
	listed = recipients(out, w);
	buf_add_str(out, "}\n");
	return listed;
}
