/*
 * $expansion as main.cf has it: $name, ${name}, $(name), ${name?text}, ${name:text},
 * ${name?{a}:{b}}, comparisons ${{$x} == {y} ? {a} : {b}}, $$. Pure: names come from
 * a callback, text goes into a buffer, what is wrong becomes a fault.
 */
#include "conf/expand.h"

#include "conf/conf_private.h"

struct expander {
	conf_lookup_fn *lookup;
	void *ctx;
	struct fault *why;
};

static bool expand(struct expander *x, struct span s, struct buf *out, unsigned depth);

static bool
is_name(char c)
{
	return ascii_isalnum(c) || c == '_';
}

static bool
fail(struct expander *x, const char *what, struct span where)
{
	return fault_set(x->why, "", "%s: \"%.*s\"", what, (int)(where.n < 60 ? where.n : 60), where.p);
}

static bool
put(struct expander *x, struct buf *out, struct span s)
{
	if (out->n + s.n <= CONF_VALUE_MAX && buf_add_span(out, s))
		return true;
	return fault_set(x->why, "", "the expanded value is longer than %u bytes", CONF_VALUE_MAX);
}

static struct span
skip_blanks(struct span s)
{
	while (s.n > 0 && ascii_isspace(s.p[0]))
		s = span_from(s, 1);
	return s;
}

/* `s` begins with an opening bracket: its content, and what follows it. */
static bool
bracketed(struct span s, struct span *inner_r, struct span *rest_r)
{
	char open = s.p[0], close = open == '{' ? '}' : ')';
	size_t level = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == open)
			level++;
		if (s.p[i] != close || --level > 0)
			continue;
		*inner_r = span_slice(s, 1, i);
		*rest_r = span_from(s, i + 1);
		return true;
	}
	return false;
}

static bool
name_value(struct expander *x, struct span name, struct span *value_r)
{
	const char *value = NULL;

	if (!x->lookup(x->ctx, name, &value))
		return false;
	*value_r = span_str(value);
	return true;
}

/* A `{text}` operand with blanks around it: expanded into `out`. */
static bool
operand(struct expander *x, struct span *s, struct buf *out, unsigned depth)
{
	struct span inner;

	*s = skip_blanks(*s);
	if (s->n == 0 || s->p[0] != '{' || !bracketed(*s, &inner, s))
		return fail(x, "\"{text}\" expected at", *s);
	*s = skip_blanks(*s);
	return expand(x, inner, out, depth);
}

enum operator { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE };

static const struct operator_row {
	struct span text;
	enum operator op;
	bool level;             /* compares compatibility levels */
} operators[] = {
	/* the longer form of a common beginning first */
	{ { "==level", 7 }, OP_EQ, true }, { { "!=level", 7 }, OP_NE, true },
	{ { "<=level", 7 }, OP_LE, true }, { { ">=level", 7 }, OP_GE, true },
	{ { "<level", 6 }, OP_LT, true }, { { ">level", 6 }, OP_GT, true },
	{ { "==", 2 }, OP_EQ, false }, { { "!=", 2 }, OP_NE, false }, { { "<=", 2 }, OP_LE, false },
	{ { ">=", 2 }, OP_GE, false }, { { "<", 1 }, OP_LT, false }, { { ">", 1 }, OP_GT, false },
};

static const struct operator_row *
take_operator(struct span *s)
{
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (span_starts(*s, operators[i].text)) {
			*s = span_from(*s, operators[i].text.n);
			return &operators[i];
		}
	return NULL;
}

/* x[.y[.z]] as one number. */
static bool
level_number(struct span s, uint64_t *v_r)
{
	uint64_t part, v = 0;
	unsigned parts = 0;
	bool more = true;

	while (more && parts < 3) {
		struct span head;

		more = span_cut(s, '.', &head, &s);
		if (!span_u64(head, 99999, &part))
			return false;
		v = v * 100000 + part;
		parts++;
	}
	for (; parts < 3; parts++)
		v *= 100000;
	*v_r = v;
	return !more;
}

bool
conf_is_level(struct span s)
{
	uint64_t v;

	return level_number(s, &v);
}

static int
order_of(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static bool
compare(struct expander *x, const struct operator_row *op, struct span a, struct span b, bool *holds_r)
{
	uint64_t left, right;
	int order;

	if (op->level) {
		if (!level_number(span_trim(a), &left))
			return fail(x, "this is no compatibility level (x.y.z)", a);
		if (!level_number(span_trim(b), &right))
			return fail(x, "this is no compatibility level (x.y.z)", b);
		order = order_of(left, right);
	} else if (span_u64(a, UINT64_MAX, &left) && span_u64(b, UINT64_MAX, &right)) {
		order = order_of(left, right);
	} else {
		order = span_cmp(a, b);
	}
	switch (op->op) {
	case OP_EQ: *holds_r = order == 0; break;
	case OP_NE: *holds_r = order != 0; break;
	case OP_LT: *holds_r = order < 0; break;
	case OP_LE: *holds_r = order <= 0; break;
	case OP_GT: *holds_r = order > 0; break;
	case OP_GE: *holds_r = order >= 0; break;
	}
	return true;
}

/* `{a} op {b}` at the start of `*s`; leaves `*s` behind it. */
static bool
comparison(struct expander *x, struct span *s, bool *holds_r, unsigned depth)
{
	const struct operator_row *op;
	struct buf a, b;
	bool ok;

	buf_init(&a, CONF_VALUE_MAX);
	buf_init(&b, CONF_VALUE_MAX);
	ok = operand(x, s, &a, depth);
	if (ok && (op = take_operator(s)) == NULL)
		ok = fail(x, "comparison expected at", *s);
	ok = ok && operand(x, s, &b, depth) && compare(x, op, buf_span(&a), buf_span(&b), holds_r);
	buf_release(&a);
	buf_release(&b);
	return ok;
}

/* What stands behind `?` or the first `:`: both texts, as far as they are given. */
struct choice {
	struct span yes, no;
};

static bool
parse_else(struct expander *x, struct span s, struct choice *c)
{
	struct span rest, trimmed = skip_blanks(s);

	c->no = s;
	if (trimmed.n == 0 || trimmed.p[0] != '{' || !bracketed(trimmed, &c->no, &rest))
		return true;
	if (skip_blanks(rest).n > 0)
		return fail(x, "unexpected text at", rest);
	return true;
}

static bool
parse_choice(struct expander *x, struct span s, struct choice *c)
{
	struct span rest, trimmed;

	*c = (struct choice){ SPAN(""), SPAN("") };
	if (s.p[0] == ':')
		return parse_else(x, span_from(s, 1), c);
	s = span_from(s, 1);
	trimmed = skip_blanks(s);
	if (trimmed.n == 0 || trimmed.p[0] != '{' || !bracketed(trimmed, &c->yes, &rest)) {
		c->yes = s;
		return true;
	}
	rest = skip_blanks(rest);
	if (rest.n == 0)
		return true;
	if (rest.p[0] != ':')
		return fail(x, "\":\" expected at", rest);
	return parse_else(x, span_from(rest, 1), c);
}

static bool
expand_comparison(struct expander *x, struct span s, struct buf *out, unsigned depth)
{
	struct choice c;
	bool holds = false;

	if (!comparison(x, &s, &holds, depth))
		return false;
	if (s.n == 0)
		return put(x, out, holds ? SPAN("bool:true") : SPAN(""));
	if (s.p[0] != '?' && s.p[0] != ':')
		return fail(x, "\"?\" or \":\" expected at", s);
	return parse_choice(x, s, &c) && expand(x, holds ? c.yes : c.no, out, depth);
}

/* The inside of ${...} or $(...). */
static bool
expand_braced(struct expander *x, struct span s, struct buf *out, unsigned depth)
{
	struct span name, value;
	struct choice c;
	size_t n = 0;

	s = skip_blanks(s);
	if (s.n > 0 && s.p[0] == '{')
		return expand_comparison(x, s, out, depth);
	while (n < s.n && is_name(s.p[n]))
		n++;
	name = span_slice(s, 0, n);
	s = skip_blanks(span_from(s, n));
	if (name.n == 0)
		return fail(x, "a name is missing at", s);
	if (s.n > 0 && s.p[0] != '?' && s.p[0] != ':')
		return fail(x, "this is no name", span_of(name.p, name.n + s.n + (size_t)(s.p - (name.p + name.n))));
	if (!name_value(x, name, &value))
		return false;
	if (s.n == 0)
		return put(x, out, value);
	return parse_choice(x, s, &c) && expand(x, value.n > 0 ? c.yes : c.no, out, depth);
}

/* One reference; `s` begins behind the `$`. Leaves `*s` behind the reference. */
static bool
reference(struct expander *x, struct span *s, struct buf *out, unsigned depth)
{
	struct span inner, value;
	size_t n = 0;

	if (s->n > 0 && s->p[0] == '$') {
		*s = span_from(*s, 1);
		return put(x, out, SPAN("$"));
	}
	if (s->n > 0 && (s->p[0] == '{' || s->p[0] == '(')) {
		struct span rest;

		if (!bracketed(*s, &inner, &rest))
			return fail(x, "the bracket is never closed", *s);
		*s = rest;
		return expand_braced(x, inner, out, depth + 1);
	}
	while (n < s->n && is_name(s->p[n]))
		n++;
	if (n == 0)
		return fail(x, "a name is missing behind $ (write $$ for a dollar sign)", *s);
	inner = span_slice(*s, 0, n);
	*s = span_from(*s, n);
	return name_value(x, inner, &value) && put(x, out, value);
}

static bool
expand(struct expander *x, struct span s, struct buf *out, unsigned depth)
{
	ptrdiff_t at;

	if (depth > CONF_DEPTH_MAX)
		return fail(x, "${...} is nested too deeply", s);
	while ((at = span_index(s, '$')) >= 0) {
		if (!put(x, out, span_slice(s, 0, (size_t)at)))
			return false;
		s = span_from(s, (size_t)at + 1);
		if (!reference(x, &s, out, depth))
			return false;
	}
	return put(x, out, s);
}

bool
conf_expand(struct span raw, conf_lookup_fn *lookup, void *ctx, struct buf *out, struct fault *why)
{
	struct expander x = { .lookup = lookup, .ctx = ctx, .why = why };

	return expand(&x, raw, out, 0);
}
