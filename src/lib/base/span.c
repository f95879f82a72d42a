/* Borrowed bytes: comparison, search, splitting, hashing. */
#include "base/span.h"

#include <sys/random.h>

#include "base/panic.h"

bool
span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
span_eq_ci(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

int
span_cmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

	if (c != 0)
		return c;
	return a.n < b.n ? -1 : a.n > b.n;
}

bool
span_starts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq(span_of(s.p, prefix.n), prefix);
}

bool
span_starts_ci(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq_ci(span_of(s.p, prefix.n), prefix);
}

bool
span_ends(struct span s, struct span suffix)
{
	return s.n >= suffix.n && span_eq(span_from(s, s.n - suffix.n), suffix);
}

bool
span_ends_ci(struct span s, struct span suffix)
{
	return s.n >= suffix.n && span_eq_ci(span_from(s, s.n - suffix.n), suffix);
}

ptrdiff_t
span_index(struct span s, char c)
{
	const char *hit = s.n == 0 ? NULL : memchr(s.p, c, s.n);

	return hit == NULL ? -1 : hit - s.p;
}

ptrdiff_t
span_rindex(struct span s, char c)
{
	const char *hit = s.n == 0 ? NULL : memrchr(s.p, c, s.n);

	return hit == NULL ? -1 : hit - s.p;
}

ptrdiff_t
span_find(struct span s, struct span needle)
{
	const char *hit;

	if (needle.n == 0)
		return 0;
	hit = s.n == 0 ? NULL : memmem(s.p, s.n, needle.p, needle.n);
	return hit == NULL ? -1 : hit - s.p;
}

ptrdiff_t
span_find_ci(struct span s, struct span needle)
{
	for (size_t i = 0; i + needle.n <= s.n; i++)
		if (span_eq_ci(span_of(s.p + i, needle.n), needle))
			return (ptrdiff_t)i;
	return -1;
}

struct span
span_slice(struct span s, size_t from, size_t to)
{
	if (to > s.n)
		to = s.n;
	if (from > to)
		from = to;
	/* NULL plus nothing is undefined all the same. */
	return span_of(from > 0 ? s.p + from : s.p, to - from);
}

struct span
span_from(struct span s, size_t from)
{
	return span_slice(s, from, s.n);
}

struct span
span_trim(struct span s)
{
	while (s.n > 0 && ascii_isspace(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && ascii_isspace(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool
span_cut(struct span s, char sep, struct span *head_r, struct span *tail_r)
{
	ptrdiff_t at = span_index(s, sep);

	if (at < 0) {
		*head_r = s;
		*tail_r = span_from(s, s.n);
		return false;
	}
	*head_r = span_slice(s, 0, (size_t)at);
	*tail_r = span_from(s, (size_t)at + 1);
	return true;
}

static bool
is_sep(char c, const char *seps)
{
	return c != '\0' && strchr(seps, c) != NULL;
}

bool
span_token(struct span *rest, const char *seps, struct span *token_r)
{
	size_t i = 0, start;

	while (i < rest->n && is_sep(rest->p[i], seps))
		i++;
	start = i;
	while (i < rest->n && !is_sep(rest->p[i], seps))
		i++;
	*token_r = span_slice(*rest, start, i);
	*rest = span_from(*rest, i);
	return token_r->n > 0;
}

bool
span_token_brace(struct span *rest, const char *seps, struct span *token_r)
{
	size_t i = 0, start, depth = 0;

	while (i < rest->n && is_sep(rest->p[i], seps))
		i++;
	start = i;
	while (i < rest->n && (depth > 0 || !is_sep(rest->p[i], seps))) {
		if (rest->p[i] == '{')
			depth++;
		else if (rest->p[i] == '}' && depth > 0)
			depth--;
		i++;
	}
	*token_r = span_slice(*rest, start, i);
	*rest = span_from(*rest, i);
	return token_r->n > 0;
}

bool
span_u64(struct span s, uint64_t max, uint64_t *value_r)
{
	uint64_t v = 0;

	*value_r = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint64_t d;

		if (!ascii_isdigit(s.p[i]))
			return false;
		d = (uint64_t)(s.p[i] - '0');
		if (v > (max - d) / 10 || d > max)
			return false;
		v = v * 10 + d;
	}
	*value_r = v;
	return true;
}

bool
span_is_ascii(struct span s)
{
	uint64_t word, all = 0;
	size_t i = 0;

	for (; i + sizeof(word) <= s.n; i += sizeof(word)) {
		memcpy(&word, s.p + i, sizeof(word));
		all |= word;
	}
	for (; i < s.n; i++)
		all |= (unsigned char)s.p[i];
	return (all & 0x8080808080808080u) == 0;
}

/* Length of the UTF-8 sequence at `p` (at most `left` bytes), 0 when malformed. */
static size_t
utf8_len(const unsigned char *p, size_t left)
{
	unsigned char c = p[0];
	size_t n;

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool
span_is_utf8(struct span s)
{
	size_t i = 0;

	while (i < s.n) {
		size_t n = utf8_len((const unsigned char *)s.p + i, s.n - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

static uint64_t
rotl(uint64_t x, unsigned b)
{
	return (x << b) | (x >> (64 - b));
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

static void
sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static const uint64_t *
hash_key(void)
{
	static uint64_t key[2];
	static bool drawn;

	if (!drawn) {
		if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
			panic("getrandom");
		drawn = true;
	}
	return key;
}

static uint64_t
sip13(struct span s, bool fold)
{
	const uint64_t *key = hash_key();
	struct sip st = {
		key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
		key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL,
	};
	uint64_t m = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = fold ? ascii_lower(s.p[i]) : s.p[i];

		m |= (uint64_t)(unsigned char)c << (8 * (i & 7));
		if ((i & 7) == 7) {
			st.v3 ^= m;
			sip_round(&st);
			st.v0 ^= m;
			m = 0;
		}
	}
	m |= (uint64_t)(s.n & 0xff) << 56;
	st.v3 ^= m;
	sip_round(&st);
	st.v0 ^= m;
	st.v2 ^= 0xff;
	sip_round(&st);
	sip_round(&st);
	sip_round(&st);
	return st.v0 ^ st.v1 ^ st.v2 ^ st.v3;
}

uint64_t
span_hash(struct span s)
{
	return sip13(s, false);
}

uint64_t
span_hash_ci(struct span s)
{
	return sip13(s, true);
}
