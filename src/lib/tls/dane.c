/* Which TLSA records count: usages, lengths, encodings, digests and their order. */
#include "tls/dane.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"
#include "tls/policy_private.h"

enum { USAGE_TA = 2, USAGE_EE = 3, FULL = 0, PRIVATE = 255 };

/* ---- digests */

static bool
name_is(const char *digest, const char *name)
{
	return span_eq_ci(span_str(digest), span_str(name));
}

/* The number that belongs to a name; 0 = none is fixed. */
static uint8_t
fixed_number(const char *name)
{
	return name_is(name, "sha256") ? 1 : name_is(name, "sha512") ? 2 : 0;
}

static bool
number_of(struct span text, const char *name, uint8_t *number_r, struct fault *why)
{
	uint8_t fixed = fixed_number(name);
	uint64_t n = fixed;

	if (text.n > 0 && (!span_u64(text, 254, &n) || n == FULL))
		return fault_set(why, "4.7.5", "\"%.*s\" is not a matching type from 1 to 254", SPAN_ARG(log_esc(text)));
	if (n == 0)
		return fault_set(why, "4.7.5", "\"%s\" needs its number: %s=NUMBER", name, name);
	if (fixed != 0 ? n != fixed : n <= 2 && name[0] != '\0')
		return fault_set(why, "4.7.5", "1 is sha256 and 2 is sha512, not \"%s=%u\"", name, (unsigned)n);
	*number_r = (uint8_t)n;
	return true;
}

static bool
take_digest(struct tls_dane_digests *d, struct span word, bool seen[256], struct fault *why)
{
	struct tls_dane_digest *at = &d->list[d->count];
	struct span name = word, number = SPAN("");
	bool given = span_cut(word, '=', &name, &number);

	memset(at, 0, sizeof(*at));
	if (name.n >= sizeof(at->name))
		return fault_set(why, "4.7.5", "unknown digest \"%.*s\"", SPAN_ARG(log_esc(name)));
	for (size_t i = 0; i < name.n; i++)
		at->name[i] = ascii_lower(name.p[i]);
	if ((given && number.n == 0) || !number_of(number, at->name, &at->matching, why))
		return given && number.n == 0 ? fault_set(why, "4.7.5", "no number in \"%.*s\"", SPAN_ARG(log_esc(word))) :
		    false;
	if (seen[at->matching])
		return fault_set(why, "4.7.5", "matching type %u is given twice", at->matching);
	seen[at->matching] = true;
	if (name.n == 0)
		return true;            /* switched off */
	at->bytes = tls_digest_bytes(at->name);
	if (at->bytes == 0)
		return fault_set(why, "4.7.5", "unknown digest \"%s\"", at->name);
	d->count++;
	return true;
}

bool
tls_dane_digests_parse(struct span text, struct tls_dane_digests *d_r, struct fault *why)
{
	bool seen[256] = { false };
	struct span word;

	d_r->count = 0;
	while (span_token(&text, TLS_SPACE_COMMA, &word)) {
		if (d_r->count == TLS_DANE_DIGESTS_MAX - 1)
			return fault_set(why, "4.7.5", "more than %d digests", TLS_DANE_DIGESTS_MAX - 1);
		if (!take_digest(d_r, word, seen, why))
			return false;
	}
	return true;
}

static size_t
rank_of(const struct tls_dane_digests *d, uint8_t matching)
{
	size_t i = 0;

	while (i < d->count && d->list[i].matching != matching)
		i++;
	return i;
}

/* ---- records */

/* Full data must be one certificate or one key, and nothing behind it. */
static bool
decodes(const struct tls_tlsa *r)
{
	const unsigned char *p = (const unsigned char *)r->data.p, *end = p + r->data.n;
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	bool ok;

	if (r->selector == 0) {
		cert = d2i_X509(NULL, &p, (long)r->data.n);
		ok = cert != NULL && X509_get0_pubkey(cert) != NULL;
	} else {
		key = d2i_PUBKEY(NULL, &p, (long)r->data.n);
		ok = key != NULL;
	}
	ok = ok && p == end;
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

static enum tls_tlsa_fate
judge(const struct tls_dane_digests *d, const struct tls_tlsa *r)
{
	size_t rank = rank_of(d, r->matching);

	if (r->usage != USAGE_TA && r->usage != USAGE_EE)
		return TLS_TLSA_USAGE;
	if (r->selector > 1)
		return TLS_TLSA_SELECTOR;
	if (r->data.n == 0 || r->data.n > TLS_TLSA_DATA_MAX)
		return TLS_TLSA_LENGTH;
	if (r->matching == FULL)
		return decodes(r) ? TLS_TLSA_USABLE : TLS_TLSA_DATA;
	if (r->matching == PRIVATE || rank == d->count)
		return TLS_TLSA_MATCHING;
	return r->data.n == d->list[rank].bytes ? TLS_TLSA_USABLE : TLS_TLSA_LENGTH;
}

size_t
tls_dane_judge(const struct tls_dane_digests *digests, struct tls_tlsa *records, size_t count)
{
	size_t best[4][2], usable = 0;

	for (size_t u = 0; u < 4; u++)
		best[u][0] = best[u][1] = SIZE_MAX;
	for (size_t i = 0; i < count; i++) {
		struct tls_tlsa *r = &records[i];
		size_t rank = rank_of(digests, r->matching);

		r->fate = judge(digests, r);
		if (r->fate == TLS_TLSA_USABLE && r->matching != FULL && rank < best[r->usage][r->selector])
			best[r->usage][r->selector] = rank;
	}
	for (size_t i = 0; i < count; i++) {
		struct tls_tlsa *r = &records[i];

		if (r->fate == TLS_TLSA_USABLE && r->matching != FULL &&
		    rank_of(digests, r->matching) > best[r->usage][r->selector])
			r->fate = TLS_TLSA_WEAKER;
		usable += r->fate == TLS_TLSA_USABLE;
	}
	return usable;
}

const char *
tls_tlsa_fate_text(enum tls_tlsa_fate fate)
{
	switch (fate) {
	case TLS_TLSA_USABLE: return "usable";
	case TLS_TLSA_USAGE: return "unsupported TLSA certificate usage";
	case TLS_TLSA_SELECTOR: return "unknown selector";
	case TLS_TLSA_MATCHING: return "matching type not in tls_dane_digests";
	case TLS_TLSA_LENGTH: return "wrong length";
	case TLS_TLSA_DATA: return "certificate or key cannot be decoded";
	case TLS_TLSA_WEAKER: return "a stronger digest is published";
	}
	return "?";
}

static void
add_hex(struct buf *out, struct span bytes)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < bytes.n; i++) {
		buf_addc(out, hex[(uint8_t)bytes.p[i] >> 4]);
		buf_addc(out, hex[bytes.p[i] & 15]);
	}
}

struct span
tls_tlsa_text(const struct tls_tlsa *r, struct arena *a)
{
	struct span text;
	struct buf b;

	buf_init(&b, 256);
	buf_addf(&b, "%u %u %u ", r->usage, r->selector, r->matching);
	if (r->data.n <= 64) {
		add_hex(&b, r->data);
	} else {
		add_hex(&b, span_slice(r->data, 0, 32));
		buf_add_str(&b, "...");
		add_hex(&b, span_from(r->data, r->data.n - 32));
	}
	text = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return text;
}

bool
tls_dane_keys_only(const struct tls_tlsa *records, size_t count)
{
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		const struct tls_tlsa *r = &records[i];

		if (r->fate != TLS_TLSA_USABLE)
			continue;
		if (r->usage != USAGE_EE || r->selector != 1)
			return false;
		any = true;
	}
	return any;
}
