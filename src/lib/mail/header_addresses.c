/*
 * Address lists of headers (RFC 5322 section 3.4, obsolete forms of section 4.4 too), read token by token so
 * that an address can be replaced while everything around it stays byte for byte.
 */
#include "mail/header.h"

#include "base/panic.h"
#include "mail/address.h"

enum token {
	TOKEN_END,
	TOKEN_ATOM,
	TOKEN_QUOTED,
	TOKEN_COMMENT,
	TOKEN_LITERAL,
	TOKEN_SPECIAL,          /* one of ( ) < > , ; : @ . \ */
	TOKEN_BROKEN,           /* quote, comment or literal that never closes */
};

struct lexer {
	struct span s;
	size_t start, end;      /* the current token */
	size_t left;            /* tokens that may still be looked at */
};

/* An address being gathered. */
struct element {
	struct buf text;        /* internal form so far */
	size_t start, end;      /* first and last byte of the address in the value */
	bool any;
	bool angle, closed;
	bool bad;               /* not an address: leave it */
	bool route;             /* a source route stood in front and is not in `text` */
	bool after_word;
	bool at;                /* a real '@' was seen */
	bool hidden_at;         /* '@' inside quotes */
};

/* Everything that a walk over a list does with an address. */
typedef void element_fn(void *ctx, const struct element *e);

static bool
is_special(char c)
{
	return c != '\0' && strchr("()<>,;:@.\\\"[]", c) != NULL;
}

/* End of a run that `close` ends, backslash pairs skipped; 0 when it never ends. */
static size_t
find_close(struct span s, size_t at, char open, char close)
{
	unsigned depth = 1;

	while (at < s.n) {
		char c = s.p[at++];

		if (c == '\\')
			at++;
		else if (c == close && --depth == 0)
			return at;
		else if (c == open && open != close)
			depth++;
	}
	return 0;
}

static enum token
closed_token(struct lexer *l, char open, char close, enum token kind)
{
	size_t end = find_close(l->s, l->start + 1, open, close);

	l->end = end == 0 ? l->s.n : end;
	return end == 0 || end > l->s.n ? TOKEN_BROKEN : kind;
}

static enum token
next_token(struct lexer *l)
{
	size_t i = l->end;

	while (i < l->s.n && ascii_isspace(l->s.p[i]))
		i++;
	l->start = i;
	l->end = i;
	if (i == l->s.n || l->left == 0)
		return TOKEN_END;
	l->left--;
	l->end = i + 1;
	switch (l->s.p[i]) {
	case '"':
		return closed_token(l, '"', '"', TOKEN_QUOTED);
	case '(':
		return closed_token(l, '(', ')', TOKEN_COMMENT);
	case '[':
		return closed_token(l, ']', ']', TOKEN_LITERAL);
	}
	if (is_special(l->s.p[i]))
		return TOKEN_SPECIAL;
	while (l->end < l->s.n && !ascii_isspace(l->s.p[l->end]) && !is_special(l->s.p[l->end]))
		l->end++;
	return TOKEN_ATOM;
}

static void
element_reset(struct element *e)
{
	struct buf text = e->text;

	buf_clear(&text);
	*e = (struct element){ .text = text };
}

static void
element_extend(struct element *e, const struct lexer *l)
{
	if (!e->any)
		e->start = l->start;
	e->any = true;
	e->end = l->end;
}

static void
add_quoted(struct element *e, struct span inside)
{
	for (size_t i = 0; i < inside.n; i++) {
		if (inside.p[i] == '\\' && i + 1 < inside.n)
			i++;
		else if (inside.p[i] == '\r' || inside.p[i] == '\n')
			continue;
		e->hidden_at = e->hidden_at || inside.p[i] == '@';
		buf_addc(&e->text, inside.p[i]);
	}
}

static void
element_word(struct element *e, const struct lexer *l, enum token kind)
{
	struct span token = span_slice(l->s, l->start, l->end);

	if (e->closed)
		return;
	/* Two words side by side are a phrase: an address only if '<' follows (which starts afresh). */
	e->bad = e->bad || e->after_word;
	e->after_word = true;
	element_extend(e, l);
	if (kind == TOKEN_QUOTED)
		add_quoted(e, span_slice(token, 1, token.n - 1));
	else
		buf_add_span(&e->text, token);
}

/* '<' begins the address afresh, whatever phrase stood before it. */
static void
element_angle(struct element *e)
{
	if (e->angle) {
		e->bad = true;
		return;
	}
	element_reset(e);
	e->angle = true;
}

/* The ':' behind "@one,@two": the route goes, the place where it began stays. */
static void
element_route_end(struct element *e)
{
	size_t start = e->start;
	bool any = e->any;

	element_reset(e);
	e->angle = true;
	e->route = true;
	e->start = start;
	e->any = any;
}

static void
element_flush(struct element *e, element_fn *fn, void *ctx)
{
	bool usable = e->any && !e->bad && e->text.n > 0 && !e->text.full && e->angle == e->closed &&
	    (e->at || !e->hidden_at);

	if (usable)
		fn(ctx, e);
	element_reset(e);
}

static void
element_special(struct element *e, const struct lexer *l, element_fn *fn, void *ctx)
{
	char c = l->s.p[l->start];
	bool open = e->angle && !e->closed;

	if (c == ';' || (c == ',' && !open)) {
		element_flush(e, fn, ctx);
	} else if (c == ':' && !open) {
		element_reset(e);       /* the name of a group */
	} else if (c == ':') {
		element_route_end(e);
	} else if (c == '<') {
		element_angle(e);
	} else if (c == '>') {
		e->bad = e->bad || !open;
		e->closed = true;
	} else if (!e->closed) {
		e->at = e->at || c == '@';
		e->bad = e->bad || c == '\\' || c == ')' || c == ']';
		e->after_word = false;
		element_extend(e, l);
		buf_addc(&e->text, c);
	}
}

static void
walk(struct span value, size_t token_limit, element_fn *fn, void *ctx)
{
	struct lexer l = { .s = value, .left = token_limit };
	struct element e = { 0 };
	enum token kind;

	buf_init(&e.text, ADDRESS_MAX);
	while ((kind = next_token(&l)) != TOKEN_END) {
		switch (kind) {
		case TOKEN_ATOM:
		case TOKEN_QUOTED:
		case TOKEN_LITERAL:
			element_word(&e, &l, kind);
			continue;
		case TOKEN_SPECIAL:
			element_special(&e, &l, fn, ctx);
			continue;
		case TOKEN_BROKEN:
			e.bad = true;
			continue;
		case TOKEN_COMMENT:
			continue;
		case TOKEN_END:
			break;
		}
		panic("token");
	}
	if (l.start == value.n)         /* not when the limit cut an address in two */
		element_flush(&e, fn, ctx);
	buf_release(&e.text);
}

struct rewrite {
	struct span value;
	size_t copied;          /* bytes of the value already in `out` */
	header_rewrite_fn *fn;
	void *ctx;
	struct arena *a;
	struct buf *out;
};

static void
rewrite_one(void *ctx, const struct element *e)
{
	struct rewrite *r = ctx;
	struct span addr = arena_dup(r->a, buf_span(&e->text)), new;

	if (!r->fn(r->ctx, addr, &new) || (!e->route && span_eq(addr, new)))
		return;
	buf_add_span(r->out, span_slice(r->value, r->copied, e->start));
	address_quote(r->out, new);
	r->copied = e->end;
}

bool
header_rewrite_addresses(struct span value, size_t token_limit, header_rewrite_fn *fn, void *ctx,
    struct arena *a, struct buf *out)
{
	struct rewrite r = { .value = value, .fn = fn, .ctx = ctx, .a = a, .out = out };

	walk(value, token_limit, rewrite_one, &r);
	buf_add_span(out, span_from(value, r.copied));
	return !out->full;
}

struct each {
	header_address_fn *fn;
	void *ctx;
	struct arena *a;
};

static void
each_one(void *ctx, const struct element *e)
{
	struct each *x = ctx;

	x->fn(x->ctx, arena_dup(x->a, buf_span(&e->text)));
}

void
header_each_address(struct span value, size_t token_limit, header_address_fn *fn, void *ctx,
    struct arena *a)
{
	struct each x = { .fn = fn, .ctx = ctx, .a = a };

	walk(value, token_limit, each_one, &x);
}
