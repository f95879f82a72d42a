/* Address forms: quoting, splitting, folding. Paths of SMTP commands are in address_path.c. */
#include "mail/address.h"

bool
address_split(struct span addr, struct span *local_r, struct span *domain_r)
{
	ptrdiff_t at = span_rindex(addr, '@');

	if (at < 0) {
		*local_r = addr;
		*domain_r = span_from(addr, addr.n);
		return false;
	}
	*local_r = span_slice(addr, 0, (size_t)at);
	*domain_r = span_from(addr, (size_t)at + 1);
	return true;
}

struct span
address_complete(struct span addr, const char *origin, struct arena *a)
{
	return span_rindex(addr, '@') >= 0 ? addr : arena_printf(a, "%.*s@%s", SPAN_ARG(addr), origin);
}

/* atext of RFC 5322 section 3.2.3, and every byte above 127 (RFC 6532 section 3.2). */
static bool
is_atext(char c)
{
	return ascii_isalnum(c) || (unsigned char)c > 127 ||
	    (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_dot_string(struct span s)
{
	bool dot = true;        /* as if one stood in front: no dot may come first */

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.' ? dot : !is_atext(s.p[i]))
			return false;
		dot = s.p[i] == '.';
	}
	return !dot;
}

static void
quote_local(struct buf *out, struct span local)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < local.n; i++) {
		char c = local.p[i];

		if (c == '"' || c == '\\' || c == '\r' || c == '\n')
			buf_addc(out, '\\');
		buf_addc(out, c);
	}
	buf_addc(out, '"');
}

void
address_quote(struct buf *out, struct span addr)
{
	struct span local, domain;
	bool at = address_split(addr, &local, &domain);

	if (addr.n == 0)
		return;
	if (is_dot_string(local))
		buf_add_span(out, local);
	else
		quote_local(out, local);
	if (at) {
		buf_addc(out, '@');
		buf_add_span(out, domain);
	}
}

struct span
address_external(struct span addr, struct arena *a)
{
	struct span local, domain, out;
	struct buf b;

	address_split(addr, &local, &domain);
	if (addr.n == 0 || is_dot_string(local))
		return addr;
	buf_init(&b, size_add(size_mul(addr.n, 2), 2));
	address_quote(&b, addr);
	out = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}

static bool
unitext_plain(uint32_t c)
{
	return c > 32 && c < 127 && c != '+' && c != '=' && c != '\\';
}

/* The character at `i` (well-formed UTF-8, or its single byte) and its length. */
static uint32_t
decode_utf8(struct span s, size_t i, size_t *len_r)
{
	unsigned char first = (unsigned char)s.p[i];
	size_t len = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t c = len == 1 ? first : first & (0xffu >> (len + 1));

	if (s.n - i < len)
		len = s.n - i;
	for (size_t k = 1; k < len; k++)
		c = c << 6 | ((unsigned char)s.p[i + k] & 0x3f);
	*len_r = len;
	return c;
}

void
address_add_unitext(struct buf *out, struct span external)
{
	size_t len;

	for (size_t i = 0; i < external.n; i += len) {
		uint32_t c = decode_utf8(external, i, &len);

		if (unitext_plain(c))
			buf_addc(out, (char)c);
		else
			buf_addf(out, "\\x{%02X}", c);
	}
}

/* Where the domain's '@' stands in external form: the last one outside quotes. */
static size_t
external_at(struct span s)
{
	size_t at = s.n;
	bool quoted = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (s.p[i] == '@' && !quoted)
			at = i;
	}
	return at;
}

struct span
address_internal(struct span s, struct arena *a)
{
	size_t at = external_at(s), n = 0;
	char *p;

	if (span_index(s, '"') < 0 && span_index(s, '\\') < 0)
		return arena_dup(a, s);
	p = arena_alloc(a, s.n);
	for (size_t i = 0; i < at; i++) {
		if (s.p[i] == '"')
			continue;
		if (s.p[i] == '\\' && i + 1 < at)
			i++;
		p[n++] = s.p[i];
	}
	memcpy(p + n, s.p + at, s.n - at);
	return span_of(p, n + s.n - at);
}

/* Names that are never split, whatever the delimiter. */
static bool
is_special(struct span local, const char *delimiters, bool owner_request_special)
{
	if (span_eq_ci(local, SPAN("mailer-daemon")) || span_eq_ci(local, SPAN("postmaster")) ||
	    span_eq_ci(local, SPAN("double-bounce")))
		return true;
	return owner_request_special && strchr(delimiters, '-') != NULL &&
	    (span_starts_ci(local, SPAN("owner-")) || span_ends_ci(local, SPAN("-request")));
}

bool
address_split_extension(struct span local, const char *delimiters, bool owner_request_special,
    struct span *user_r, struct span *ext_r)
{
	*user_r = local;
	*ext_r = span_from(local, local.n);
	if (delimiters[0] == '\0' || is_special(local, delimiters, owner_request_special))
		return false;
	for (size_t i = 1; i < local.n; i++) {
		if (local.p[i] == '\0' || strchr(delimiters, local.p[i]) == NULL)
			continue;
		*user_r = span_slice(local, 0, i);
		*ext_r = span_from(local, i + 1);
		return true;
	}
	return false;
}

struct span
address_fold_domain(struct span addr, struct arena *a)
{
	struct span local, domain, copy;
	char *p;

	if (!address_split(addr, &local, &domain))
		return addr;
	copy = arena_dup(a, addr);
	p = (char *)(uintptr_t)copy.p;
	for (size_t i = local.n + 1; i < addr.n; i++)
		p[i] = ascii_lower(p[i]);
	return copy;
}

bool
address_same(struct span x, struct span y)
{
	struct span xl, xd, yl, yd;

	if (address_split(x, &xl, &xd) != address_split(y, &yl, &yd))
		return false;
	return span_eq(xl, yl) && span_eq_ci(xd, yd);
}

bool
address_valid_local(struct span local, bool utf8)
{
	if (local.n == 0 || local.n > 512)
		return false;
	for (size_t i = 0; i < local.n; i++) {
		unsigned char c = (unsigned char)local.p[i];

		if (c < ' ' || c == 127 || (c > 127 && !utf8))
			return false;
	}
	return !utf8 || span_is_utf8(local);
}
