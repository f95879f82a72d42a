/* Paths of MAIL and RCPT (RFC 5321 section 4.1.2), strict, and as leniently as Postfix takes them. */
#include "mail/address.h"

/* A path being read: `s` is what is left of the argument. */
struct path {
	struct span s;
	bool strict;
	struct buf out;         /* the address, internal form */
	/* A quoted '@' with no real one behind it: internal form would read it as the domain's. */
	bool hidden_at;
};

/* Append bytes that stood without quotes. */
static void
add_plain(struct path *p, struct span s)
{
	if (span_index(s, '@') >= 0)
		p->hidden_at = false;
	buf_add_span(&p->out, s);
}

/* Append a byte that quotes or a backslash took the meaning from. */
static void
add_quoted(struct path *p, char c)
{
	p->hidden_at = p->hidden_at || c == '@';
	buf_addc(&p->out, c);
}

static bool
peek(const struct path *p, char c)
{
	return p->s.n > 0 && p->s.p[0] == c;
}

static bool
accept(struct path *p, char c)
{
	if (!peek(p, c))
		return false;
	p->s = span_from(p->s, 1);
	return true;
}

/* Bytes that may stand unquoted in a local part. Lenient: whatever is not structure. */
static bool
is_atom_byte(const struct path *p, char c)
{
	unsigned char u = (unsigned char)c;

	if (u <= ' ' || u == 127)
		return false;
	if (p->strict)
		return strchr("()<>[]:;@\\,\"", c) == NULL;
	return strchr("()<>\",;:\\", c) == NULL;
}

/* Quoted-string (RFC 5321 section 4.1.2): printable bytes, backslash pairs. */
static bool
read_quoted(struct path *p)
{
	while (p->s.n > 0) {
		char c = p->s.p[0];
		unsigned char u = (unsigned char)c;

		p->s = span_from(p->s, 1);
		if (c == '"')
			return true;
		if (c == '\\') {
			if (p->s.n == 0)
				return false;
			c = p->s.p[0];
			u = (unsigned char)c;
			p->s = span_from(p->s, 1);
		}
		if (u < ' ' || u == 127)
			return false;
		add_quoted(p, c);
	}
	return false;
}

/* Dot-string by the letter: atoms between single dots. */
static bool
read_dot_string(struct path *p)
{
	size_t n = 0;
	bool dot = true;

	while (n < p->s.n && is_atom_byte(p, p->s.p[n])) {
		if (p->s.p[n] == '.' && dot)
			return false;
		dot = p->s.p[n] == '.';
		n++;
	}
	if (dot)
		return false;
	buf_add(&p->out, p->s.p, n);
	p->s = span_from(p->s, n);
	return true;
}

static bool
read_domain(struct path *p)
{
	size_t n = 0;
	struct span domain;

	if (peek(p, '[')) {
		ptrdiff_t end = span_index(p->s, ']');

		if (end < 0)
			return false;
		n = (size_t)end + 1;
		domain = span_slice(p->s, 0, n);
		/* General-address-literals (RFC 5321 section 4.1.3) name no one we could reach. */
		if (!address_literal(domain, NULL))
			return false;
	} else {
		while (n < p->s.n && is_atom_byte(p, p->s.p[n]) && p->s.p[n] != '[' && p->s.p[n] != ']')
			n++;
		domain = span_slice(p->s, 0, n);
		if (!address_valid_domain(domain, true))
			return false;
	}
	buf_add_span(&p->out, domain);
	p->s = span_from(p->s, n);
	return true;
}

/* "@one,@two:" in front of the mailbox: recognised and dropped (RFC 5321 section 4.1.1.3, appendix C). */
static bool
skip_route(struct path *p)
{
	ptrdiff_t colon;

	if (!peek(p, '@'))
		return true;
	colon = span_index(p->s, ':');
	if (colon < 0)
		return false;
	for (ptrdiff_t i = 0; i < colon; i++) {
		char c = p->s.p[i];

		if ((unsigned char)c <= ' ' || strchr("<>\"()", c) != NULL)
			return false;
	}
	p->s = span_from(p->s, (size_t)colon + 1);
	return true;
}

static bool
read_strict_mailbox(struct path *p)
{
	if (!(accept(p, '"') ? read_quoted(p) : read_dot_string(p)))
		return false;
	if (!accept(p, '@')) {
		/* RCPT TO:<postmaster> (RFC 5321 section 4.1.1.3); a bare name in MAIL is for the caller to complete or refuse. */
		return true;
	}
	add_plain(p, SPAN("@"));
	return read_domain(p);
}

static bool
read_strict(struct path *p)
{
	if (!accept(p, '<'))
		return false;
	if (accept(p, '>'))
		return true;
	return skip_route(p) && read_strict_mailbox(p) && accept(p, '>');
}

/* "(comments may (nest))" */
static bool
skip_comment(struct path *p)
{
	unsigned depth = 1;

	while (p->s.n > 0 && depth > 0) {
		char c = p->s.p[0];

		p->s = span_from(p->s, 1);
		if (c == '\\')
			p->s = span_from(p->s, 1);
		else if (c == '(')
			depth++;
		else if (c == ')')
			depth--;
	}
	return depth == 0;
}

/* One piece of a lenient local part or domain: a literal in brackets, or atom bytes. */
static bool
read_lenient_piece(struct path *p)
{
	size_t n = 0;

	if (accept(p, '"'))
		return read_quoted(p);
	if (accept(p, '('))
		return skip_comment(p);
	if (accept(p, '\\')) {
		if (p->s.n == 0 || (unsigned char)p->s.p[0] < ' ' || p->s.p[0] == 127)
			return false;
		add_quoted(p, p->s.p[0]);
		p->s = span_from(p->s, 1);
		return true;
	}
	while (n < p->s.n && is_atom_byte(p, p->s.p[n]))
		n++;
	/* Inside brackets colons are no structure: [IPv6:::1]. */
	if (n > 0 && memchr(p->s.p, '[', n) != NULL && memchr(p->s.p, ']', n) == NULL) {
		ptrdiff_t end = span_index(p->s, ']');

		if (end < 0)
			return false;
		n = (size_t)end + 1;
	}
	if (n == 0)
		return false;
	add_plain(p, span_slice(p->s, 0, n));
	p->s = span_from(p->s, n);
	return true;
}

/* Blanks around '@' and dots mean nothing (RFC 822 section 3.1.4); between two words they make it no address. */
static bool
blank_is_harmless(const struct path *p)
{
	char last = p->out.n > 0 ? p->out.p[p->out.n - 1] : '@';

	return last == '@' || last == '.' || p->s.n == 0 || strchr("@.>(", p->s.p[0]) != NULL;
}

/* Up to '>' (inside brackets) or a blank or the end (without). */
static bool
read_lenient_mailbox(struct path *p, bool bracket)
{
	while (p->s.n > 0 && !peek(p, '>')) {
		if (peek(p, ' ') || peek(p, '\t')) {
			if (!bracket)
				return true;
			p->s = span_from(p->s, 1);
			if (!peek(p, ' ') && !peek(p, '\t') && !blank_is_harmless(p))
				return false;
			continue;
		}
		if (!read_lenient_piece(p))
			return false;
	}
	return true;
}

static void
skip_blanks(struct path *p)
{
	while (peek(p, ' ') || peek(p, '\t'))
		p->s = span_from(p->s, 1);
}

/* A display name before '<': 'John Doe <j@x>', '"Doe, J" <j@x>'. */
static void
skip_phrase(struct path *p)
{
	ptrdiff_t angle = span_index(p->s, '<');
	bool blank = false;

	for (ptrdiff_t i = 0; i < angle; i++) {
		if (p->s.p[i] == '@' || p->s.p[i] == '=')
			return;         /* already the address, or a parameter */
		blank = true;
	}
	if (blank)
		p->s = span_from(p->s, (size_t)angle);
}

static bool
read_lenient(struct path *p)
{
	bool bracket;

	skip_blanks(p);
	skip_phrase(p);
	bracket = accept(p, '<');
	if (bracket)
		skip_blanks(p);
	else if (p->s.n == 0)
		return false;
	if (!skip_route(p) || !read_lenient_mailbox(p, bracket))
		return false;
	if (bracket ? !accept(p, '>') : peek(p, '>') || p->out.n == 0)
		return false;
	return true;
}

/* Lenient or not, what comes out must be storable and printable. */
static bool
result_ok(const struct path *p)
{
	struct span local, domain, addr = buf_span(&p->out);
	bool at = address_split(addr, &local, &domain);

	if (p->out.full || p->hidden_at)
		return false;
	if (addr.n == 0)
		return true;
	if (local.n == 0 || (at && domain.n == 0))
		return false;
	if (!at)
		return true;
	if (domain.p[0] == '[')
		return address_literal(domain, NULL);
	if (!p->strict && domain.p[domain.n - 1] == '.')
		domain = span_slice(domain, 0, domain.n - 1);
	return address_valid_domain(domain, true);
}

bool
address_path(struct span *rest, bool strict, struct arena *a, struct span *addr_r)
{
	struct path p = { .s = *rest, .strict = strict };
	bool ok;

	buf_init(&p.out, ADDRESS_MAX);
	ok = (strict ? read_strict(&p) : read_lenient(&p)) && result_ok(&p);
	/* Parameters follow behind a blank; anything else glued to the path makes it none. */
	ok = ok && (p.s.n == 0 || peek(&p, ' ') || peek(&p, '\t'));
	if (ok) {
		*addr_r = arena_dup(a, buf_span(&p.out));
		*rest = p.s;
	}
	buf_release(&p.out);
	return ok;
}
