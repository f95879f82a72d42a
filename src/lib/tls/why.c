/* The record of one attempt. */
#include "tls/why.h"

#include <openssl/x509.h>

#include "base/clock.h"
#include "base/text.h"
#include "tls/ladder.h"

enum { CHAIN_MAX = 3, NAME_MAX_SHOWN = 48, STEP_MAX_SHOWN = 60, RECORD_MAX_SHOWN = 56 };

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
	return !text_json_cut(out, value, max);
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
		text_json_cut(out, span_str(cn), NAME_MAX_SHOWN);
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
		text_json_cut(out, span_str(s->rule), STEP_MAX_SHOWN);
		buf_addc(out, ',');
		text_json_cut(out, s->result, STEP_MAX_SHOWN);
		buf_addc(out, ',');
		text_json_cut(out, s->source, STEP_MAX_SHOWN);
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
	whole = !text_json_cut(out, p->host, 80);
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
	(void)text_json_cut(&one, to, TLS_WHY_RCPT_MAX);
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
	text_json_cut(out, w->qid, 24);
	buf_add_str(out, ",\"nexthop\":");
	text_json_cut(out, w->nexthop, 80);
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
	text_json_cut(out, w->dsn, 12);
	buf_add_str(out, ",\"text\":");
	text_json_cut(out, w->text, 110);
	listed = recipients(out, w);
	buf_add_str(out, "}\n");
	return listed;
}
