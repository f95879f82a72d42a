/* Hex, base64, xtext and JSON strings. */
#include "base/text.h"

#include <stdio.h>

static const char hex_low[] = "0123456789abcdef";
static const char hex_up[] = "0123456789ABCDEF";
static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
text_hex(struct buf *out, struct span bytes)
{
	for (size_t i = 0; i < bytes.n; i++) {
		unsigned char c = (unsigned char)bytes.p[i];

		buf_addc(out, hex_low[c >> 4]);
		buf_addc(out, hex_low[c & 15]);
	}
}

static int
hex_value(char c)
{
	if (ascii_isdigit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
hex_pair(struct span s, size_t at, char *byte_r)
{
	int hi, lo;

	if (s.n - at < 2)
		return false;
	hi = hex_value(s.p[at]);
	lo = hex_value(s.p[at + 1]);
	if (hi < 0 || lo < 0)
		return false;
	*byte_r = (char)(hi * 16 + lo);
	return true;
}

bool
text_unhex(struct buf *out, struct span hex)
{
	char c;

	for (size_t i = 0; i < hex.n; i += 2)
		if (!hex_pair(hex, i, &c) || !buf_addc(out, c))
			return false;
	return true;
}

void
text_base64(struct buf *out, struct span bytes)
{
	for (size_t i = 0; i < bytes.n; i += 3) {
		size_t left = bytes.n - i;
		uint32_t v = (uint32_t)(unsigned char)bytes.p[i] << 16;

		if (left > 1)
			v |= (uint32_t)(unsigned char)bytes.p[i + 1] << 8;
		if (left > 2)
			v |= (unsigned char)bytes.p[i + 2];
		buf_addc(out, b64[v >> 18]);
		buf_addc(out, b64[(v >> 12) & 63]);
		buf_addc(out, left > 1 ? b64[(v >> 6) & 63] : '=');
		buf_addc(out, left > 2 ? b64[v & 63] : '=');
	}
}

static int
b64_value(char c)
{
	const char *hit = c == '\0' ? NULL : strchr(b64, c);

	return hit == NULL ? -1 : (int)(hit - b64);
}

static bool
b64_quad(const char *q, bool last, struct buf *out)
{
	size_t n = last && q[3] == '=' ? (q[2] == '=' ? 1 : 2) : 3;
	uint32_t v = 0;

	for (size_t i = 0; i < 4; i++) {
		int d = i <= n ? b64_value(q[i]) : 0;

		if (d < 0)
			return false;
		v = v << 6 | (uint32_t)d;
	}
	if ((n == 1 && (v & 0xffff)) || (n == 2 && (v & 0xff)))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!buf_addc(out, (char)(v >> (16 - 8 * i))))
			return false;
	return true;
}

bool
text_unbase64(struct buf *out, struct span s)
{
	if (s.n % 4 != 0)
		return false;
	for (size_t i = 0; i < s.n; i += 4)
		if (!b64_quad(s.p + i, i + 4 == s.n, out))
			return false;
	return true;
}

void
text_xtext(struct buf *out, struct span bytes)
{
	for (size_t i = 0; i < bytes.n; i++) {
		unsigned char c = (unsigned char)bytes.p[i];

		if (c > 32 && c < 127 && c != '+' && c != '=') {
			buf_addc(out, (char)c);
			continue;
		}
		buf_addc(out, '+');
		buf_addc(out, hex_up[c >> 4]);
		buf_addc(out, hex_up[c & 15]);
	}
}

bool
text_unxtext(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '+') {
			if (!hex_pair(s, i + 1, &c))
				return false;
			i += 2;
		} else if (c <= 32 || c >= 127 || c == '=') {
			return false;
		}
		if (!buf_addc(out, c))
			return false;
	}
	return true;
}

/* ---- JSON strings */

static bool
is_plain(char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* Bytes of the UTF-8 character at the start of `s`; 0 = none. */
static size_t
character(struct span s)
{
	for (size_t n = 1; n <= 4 && n <= s.n; n++)
		if (span_is_utf8(span_slice(s, 0, n)))
			return n;
	return 0;
}

/* What stands for the one character at the start of `s`, which is not plain; how many bytes of `s` it takes. */
static struct span
json_piece(struct span s, char escape[8], size_t *taken_r)
{
	size_t n = character(s);

	*taken_r = n > 0 ? n : 1;
	if (n == 0 || s.p[0] == '\0')            /* many readers of JSON end at \u0000 */
		return SPAN("?");
	if (n > 1)
		return span_slice(s, 0, n);
	if (s.p[0] == '"' || s.p[0] == '\\')
		return span_of(escape, (size_t)snprintf(escape, 8, "\\%c", s.p[0]));
	return span_of(escape, (size_t)snprintf(escape, 8, "\\u%04x", (unsigned char)s.p[0]));
}

bool
text_json_cut(struct buf *out, struct span s, size_t max)
{
	char escape[8];

	buf_addc(out, '"');
	while (s.n > 0) {
		struct span piece;
		size_t n = 0;

		while (n < s.n && n < max && is_plain(s.p[n]))
			n++;
		piece = n > 0 ? span_slice(s, 0, n) : json_piece(s, escape, &n);
		if (piece.n > max)
			break;
		buf_add_span(out, piece);
		max -= piece.n;
		s = span_from(s, n);
	}
	buf_addc(out, '"');
	return s.n > 0;
}

void
text_json(struct buf *out, struct span s)
{
	(void)text_json_cut(out, s, SIZE_MAX);
}
