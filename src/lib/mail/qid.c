/* Long queue ids. */
#include "mail/qid.h"

#include "base/panic.h"

/* Digits and consonants: no id spells a word. 'z' separates, so it is no digit in base 51. */
static const char alphabet[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
#define BASE 52u
#define TAG_BASE 51u

/* `v` in `base`, with zeros in front up to `width`; returns where the text begins in `tmp`. */
static size_t
digits(uint64_t v, unsigned base, size_t width, char tmp[16])
{
	size_t at = 16;

	do {
		tmp[--at] = alphabet[v % base];
		v /= base;
	} while (v > 0);
	while (16 - at < width)
		tmp[--at] = '0';
	return at;
}

static size_t
append(char *out, size_t n, uint64_t v, unsigned base, size_t width)
{
	char tmp[16];
	size_t at = digits(v, base, width, tmp);

	memcpy(out + n, tmp + at, 16 - at);
	return n + 16 - at;
}

void
qid_make(int64_t wall_us, uint64_t tag, char out[QID_MAX])
{
	size_t n;

	/* Six digits of seconds last until the year 2596; then `out` would be too small for the largest tags. */
	ensure(wall_us >= 0 && wall_us / 1000000 < 19770609664);
	n = append(out, 0, (uint64_t)wall_us / 1000000, BASE, 6);
	n = append(out, n, (uint64_t)wall_us % 1000000, BASE, 4);
	out[n++] = 'z';
	n = append(out, n, tag, TAG_BASE, 1);
	out[n] = '\0';
}

static int
digit_value(char c)
{
	const char *hit = c == '\0' ? NULL : strchr(alphabet, c);

	return hit == NULL ? -1 : (int)(hit - alphabet);
}

static bool
is_long(struct span s)
{
	ptrdiff_t z;

	if (s.n < 12 || s.n >= QID_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (digit_value(s.p[i]) < 0)
			return false;
	z = span_rindex(s, 'z');
	return z >= 10 && (size_t)z + 1 < s.n;
}

static bool
is_short(struct span s)
{
	if (s.n < 6 || s.n >= QID_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isdigit(s.p[i]) && !(s.p[i] >= 'A' && s.p[i] <= 'F'))
			return false;
	return true;
}

bool
qid_valid(struct span s)
{
	return is_long(s) || is_short(s);
}

int64_t
qid_time_us(struct span s)
{
	int64_t secs = 0, us = 0;
	ptrdiff_t z;

	if (!is_long(s))
		return 0;
	z = span_rindex(s, 'z');
	if (z > 12)
		return 0;
	for (ptrdiff_t i = 0; i < z - 4; i++)
		secs = secs * BASE + digit_value(s.p[i]);
	for (ptrdiff_t i = z - 4; i < z; i++)
		us = us * BASE + digit_value(s.p[i]);
	return us < 1000000 ? secs * 1000000 + us : 0;
}
