/* Ordered rules: reading them, skipping what is broken, evaluating if/endif. */
#include "maps/rules.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/panic.h"
#include "maps/source.h"

enum rule_op { RULE_VALUE, RULE_IF };

struct rule {
	enum rule_op op;
	bool negate;
	void *pattern;
	struct span value;
	unsigned line;
	size_t end;             /* IF: first rule behind its endif */
};

struct rule_set {
	const struct rules_type *type;
	struct arena *a;
	struct rule *v;
	size_t n, cap;
};

struct rules_state {
	const struct rules_type *type;
	struct textfile file;   /* unused when the rules stand in main.cf */
	bool is_inline;
	struct rule_set *set;
};

/* While a set is being read. */
struct rules_load {
	struct table *t;
	struct rule_set *set;
	unsigned *bad;
	struct fault *first;
	size_t *open_ifs;       /* indexes of rules */
	size_t n_open;
};

static struct rule_set *
set_new(const struct rules_type *type, size_t text_bytes)
{
	struct rule_set *s = calloc(1, sizeof(*s));

	if (s == NULL)
		panic("out of memory");
	s->type = type;
	s->a = arena_new(size_add(size_mul(text_bytes, 40), 1u << 20));
	return s;
}

static void
set_free(struct rule_set **s)
{
	if (*s == NULL)
		return;
	for (size_t i = 0; i < (*s)->n; i++)
		if ((*s)->type->release != NULL)
			(*s)->type->release((*s)->v[i].pattern);
	free((*s)->v);
	arena_free(&(*s)->a);
	free(*s);
	*s = NULL;
}

static void
set_add(struct rule_set *s, const struct rule *r)
{
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 16 : s->cap * 2;
		s->v = realloc(s->v, size_mul(s->cap, sizeof(s->v[0])));
		if (s->v == NULL)
			panic("out of memory");
	}
	s->v[s->n++] = *r;
}

static struct span
file_of(const struct table *t)
{
	const struct rules_state *s = t->state;

	return s->is_inline ? t->label : t->name;
}

static void
complain(struct rules_load *l, unsigned line, const struct fault *why)
{
	if (*l->bad < MAPS_LOGGED)
		log_warning_once(NULL, "%.*s:%u: %s: this rule is skipped", SPAN_ARG(file_of(l->t)), line, why->text);
	if ((*l->bad)++ == 0)
		fault_set(l->first, "4.3.5", "line %u: %s", line, why->text);
}

static struct span
skip_blanks(struct span s)
{
	while (s.n > 0 && ascii_isspace(s.p[0]))
		s = span_from(s, 1);
	return s;
}

bool
rules_delimited(struct span *rest, struct span *pattern_r, struct fault *why)
{
	char delimiter = rest->n > 0 ? rest->p[0] : 'x';
	size_t i = 1;

	if (ascii_isalnum(delimiter) || ascii_isspace(delimiter) || delimiter == '\\')
		return fault_set(why, "4.3.5", "expected a pattern between delimiters, such as /pattern/");
	while (i < rest->n && rest->p[i] != delimiter)
		i += rest->p[i] == '\\' ? 2 : 1;
	if (i >= rest->n)
		return fault_set(why, "4.3.5", "the pattern has no closing \"%c\"", delimiter);
	*pattern_r = span_slice(*rest, 1, i);
	*rest = span_from(*rest, i + 1);
	return true;
}

struct span
rules_flags(struct span *rest)
{
	size_t i = 0;
	struct span flags;

	while (i < rest->n && !ascii_isspace(rest->p[i]))
		i++;
	flags = span_slice(*rest, 0, i);
	*rest = span_from(*rest, i);
	return flags;
}

/*
 * One "$..." of a value at `*at` (behind the dollar): its number, or -1 for "$$"; `*at` moves behind it.
 * False when it is neither.
 */
static bool
next_reference(struct span value, size_t *at, int *number_r)
{
	char open = *at < value.n ? value.p[*at] : '\0';
	char close = open == '{' ? '}' : open == '(' ? ')' : '\0';
	size_t start, end;
	uint64_t n;

	if (open == '$') {
		*number_r = -1;
		(*at)++;
		return true;
	}
	start = end = *at + (close != '\0');
	while (end < value.n && ascii_isdigit(value.p[end]))
		end++;
	if (!span_u64(span_slice(value, start, end), RULES_GROUPS - 1, &n))
		return false;
	if (close != '\0' && (end >= value.n || value.p[end] != close))
		return false;
	*number_r = (int)n;
	*at = end + (close != '\0');
	return true;
}

/* Every $ of the value must be one we can fill in. `*uses_r`: it has a $number. */
static bool
check_value(struct span value, unsigned groups, bool *uses_r, struct fault *why)
{
	*uses_r = false;
	for (size_t i = 0; i < value.n;) {
		int number;

		if (value.p[i++] != '$')
			continue;
		if (!next_reference(value, &i, &number))
			return fault_set(why, "4.3.5", "\"$\" in the value is not $number, ${number}, $(number) or $$");
		if (number == 0 || (number > 0 && (unsigned)number > groups))
			return fault_set(why, "4.3.5", "$%d is more than the pattern has groups", number);
		*uses_r |= number > 0;
	}
	return true;
}

static bool
check_rule(const struct rules_load *l, const struct rule *r, unsigned groups, struct fault *why)
{
	bool uses;

	if (r->value.n == 0 && !l->set->type->empty_value)
		return fault_set(why, "4.3.5", "there is no value");
	if (r->value.n > MAPS_VALUE_MAX)
		return fault_set(why, "4.3.5", "the value is longer than %u bytes", MAPS_VALUE_MAX);
	if (!l->set->type->substitutes)
		return true;
	if (!check_value(r->value, r->negate ? RULES_GROUPS : groups, &uses, why))
		return false;
	if (uses && r->negate)
		return fault_set(why, "4.3.5", "a negated rule has no $number");
	if (uses && l->t->flags & MAPS_NO_REGSUB)
		return fault_set(why, "4.3.5", "$number is not allowed in this table");
	return true;
}

/* "if" / "endif" in front of something that is not a letter or digit. */
static bool
keyword(struct span text, struct span word)
{
	return span_starts_ci(text, word) && (text.n == word.n || !ascii_isalnum(text.p[word.n]));
}

static bool
add_rule(struct rules_load *l, struct span text, unsigned line, enum rule_op op, struct fault *why)
{
	struct rule r = { .op = op, .line = line };
	unsigned groups = 0;

	while (text.n > 0 && text.p[0] == '!') {
		r.negate = !r.negate;
		text = skip_blanks(span_from(text, 1));
	}
	r.pattern = l->set->type->compile(l->set->a, &text, &groups, why);
	if (r.pattern == NULL)
		return false;
	text = span_trim(text);
	if (op == RULE_IF && text.n > 0)
		log_warning_once(NULL, "%.*s:%u: the text behind the pattern of \"if\" is ignored",
		    SPAN_ARG(file_of(l->t)), line);
	if (op == RULE_VALUE)
		r.value = arena_dup(l->set->a, text);
	if (op == RULE_VALUE && !check_rule(l, &r, groups, why)) {
		if (l->set->type->release != NULL)
			l->set->type->release(r.pattern);
		return false;
	}
	set_add(l->set, &r);
	return true;
}

static bool
add_if(struct rules_load *l, struct span text, unsigned line, struct fault *why)
{
	if (!add_rule(l, skip_blanks(span_from(text, 2)), line, RULE_IF, why))
		return false;
	l->open_ifs = realloc(l->open_ifs, size_mul(l->n_open + 1, sizeof(size_t)));
	if (l->open_ifs == NULL)
		panic("out of memory");
	l->open_ifs[l->n_open++] = l->set->n - 1;
	return true;
}

static bool
add_endif(struct rules_load *l, struct fault *why)
{
	if (l->n_open == 0)
		return fault_set(why, "4.3.5", "\"endif\" without \"if\"");
	l->set->v[l->open_ifs[--l->n_open]].end = l->set->n;
	return true;
}

static void
add_line(struct rules_load *l, struct span text, unsigned line, bool too_long)
{
	struct fault why = { 0 };
	bool ok;

	if (too_long)
		ok = fault_set(&why, "4.3.5", "the line is too long");
	else if (text.n > 0 && ascii_isspace(text.p[0]))
		ok = fault_set(&why, "4.3.5", "the first line begins with white space");
	else if (keyword(text, SPAN("if")))
		ok = add_if(l, text, line, &why);
	else if (keyword(text, SPAN("endif")))
		ok = add_endif(l, &why);
	else
		ok = add_rule(l, text, line, RULE_VALUE, &why);
	if (!ok)
		complain(l, line, &why);
}

static void
finish(struct rules_load *l)
{
	while (l->n_open > 0) {
		struct rule *r = &l->set->v[l->open_ifs[--l->n_open]];
		struct fault why;

		r->end = l->set->n;
		fault_set(&why, "4.3.5", "\"if\" without \"endif\"");
		complain(l, r->line, &why);
	}
	free(l->open_ifs);
}

static void
load(struct table *t, struct span text, unsigned *bad_r, struct fault *first)
{
	struct rules_state *s = t->state;
	struct rules_load l = { .t = t, .bad = bad_r, .first = first };
	struct source src;
	struct span line_text;
	unsigned line;

	l.set = set_new(s->type, text.n);
	source_init(&src, text);
	while (source_next(&src, &line_text, &line))
		add_line(&l, line_text, line, src.too_long);
	source_release(&src);
	finish(&l);
	set_free(&s->set);
	s->set = l.set;
}

/* "{ {rule}, {rule} }": each is one line, numbered in order. A broken one refuses the table: it is main.cf that is wrong. */
static bool
load_inline(struct table *t, struct span inner, struct fault *why)
{
	struct rules_state *s = t->state;
	unsigned bad = 0, nth = 0;
	struct rules_load l = { .t = t, .bad = &bad, .first = why };
	struct span token, rule;

	l.set = set_new(s->type, inner.n);
	while (span_token_brace(&inner, ", \t\r\n", &token)) {
		nth++;
		if (maps_unbrace(token, &rule)) {
			add_line(&l, rule, nth, false);
			continue;
		}
		fault_set(why, "4.3.5", "expected a rule in braces instead of \"%.*s\"", SPAN_ARG(token));
		bad++;
		break;
	}
	finish(&l);
	s->set = l.set;
	if (bad > 0 && t->flags & MAPS_STRICT)
		set_free(&s->set);
	if (bad > 0)
		fault_prefix(why, "%.*s", SPAN_ARG(t->label));
	return s->set != NULL;
}

bool
rules_open(struct table *t, const struct rules_type *type, struct fault *why)
{
	struct rules_state *s = ARENA_NEW(t->a, struct rules_state);
	struct span inner;

	s->type = type;
	t->state = s;
	if (t->name.p[0] == '{') {
		s->is_inline = true;
		if (!maps_unbrace(t->name, &inner))
			return fault_set(why, "4.3.5", "%.*s: braces do not match", SPAN_ARG(t->label));
		return load_inline(t, inner, why);
	}
	textfile_init(&s->file, arena_cstr(t->a, t->name));
	return true;
}

static bool
expand(struct span value, const struct rules_match *m, struct buf *out)
{
	for (size_t i = 0; i < value.n;) {
		int number = -1;

		if (value.p[i] != '$') {
			buf_addc(out, value.p[i++]);
			continue;
		}
		i++;
		if (!next_reference(value, &i, &number))
			continue;       /* checked when it was read */
		if (number < 0)
			buf_addc(out, '$');
		else if ((size_t)number < m->n)
			buf_add_span(out, m->groups[number]);
	}
	return !out->full;
}

static enum map_result
answer(struct table *t, const struct rule *r, const struct rules_match *m, const struct lookup *q,
    struct map_hit *hit, struct fault *why)
{
	struct rules_state *s = t->state;
	enum map_result result;
	struct buf out;

	if (!s->type->substitutes)
		return table_hit(t, q, r->value, s->is_inline ? span_str(NULL) : t->name, r->line, hit);
	buf_init(&out, MAPS_VALUE_MAX);
	if (expand(r->value, m, &out))
		result = table_hit(t, q, buf_span(&out), s->is_inline ? span_str(NULL) : t->name, r->line, hit);
	else
		result = table_defer(t, why, "the result is too long");
	buf_release(&out);
	return result;
}

static enum map_result
rule_failed(const struct table *t, const struct rule *r, struct fault *why)
{
	fault_prefix(why, "%.*s:%u", SPAN_ARG(file_of(t)), r->line);
	return MAP_DEFER;
}

static enum map_result
evaluate(struct table *t, const struct rule_set *set, const void *parsed, const struct lookup *q,
    struct map_hit *hit, struct fault *why)
{
	struct rules_match m;
	size_t i = 0;

	while (i < set->n) {
		const struct rule *r = &set->v[i];
		enum map_result got;

		m.n = 0;
		m.apart = false;
		got = set->type->match(r->pattern, q->key, parsed, &m, why);
		if (got == MAP_DEFER)
			return rule_failed(t, r, why);
		if (m.apart || (got == MAP_FOUND) == r->negate)
			i = r->op == RULE_IF ? r->end : i + 1;
		else if (r->op == RULE_IF)
			i++;
		else
			return answer(t, r, &m, q, hit, why);
	}
	return MAP_ABSENT;
}

enum map_result
rules_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct rules_state *s = t->state;
	const void *parsed = &q->key;

	if (!s->is_inline && !textfile_ready(&s->file, t, load, why))
		return MAP_DEFER;
	if (s->type->parse_key != NULL && (parsed = s->type->parse_key(q->a, q->key)) == NULL)
		return MAP_ABSENT;
	return evaluate(t, s->set, parsed, q, hit, why);
}

bool
rules_check(struct table *t, struct fault *why)
{
	struct rules_state *s = t->state;

	return s->is_inline || textfile_ready(&s->file, t, load, why);
}

void
rules_close(struct table *t)
{
	struct rules_state *s = t->state;

	if (s != NULL)
		set_free(&s->set);
}
