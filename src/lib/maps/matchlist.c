/* Compiling and matching lists of patterns. */
#include "maps/matchlist.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/panic.h"
#include "maps/cidr.h"
#include "maps/source.h"

#define SEPARATORS ", \t\r\n"

enum pattern_kind { PATTERN_NAME, PATTERN_NET, PATTERN_TABLE, PATTERN_FILE };

struct pattern {
	enum pattern_kind kind;
	bool negate;
	struct span text;       /* without "!" */
	struct cidr net;
	struct table *table;
	struct list_file *file;
};

struct patterns {
	struct pattern *v;
	size_t n;
	struct arena *a;
};

struct matchlist {
	unsigned flags;
	const struct maps_env *env;
	struct patterns patterns;
};

/* A file of patterns. It is a table only for what watches it. */
struct list_file {
	struct table table;
	struct textfile file;
	struct matchlist *owner;
	struct patterns patterns;
};

static bool add_word(struct matchlist *l, struct patterns *p, struct span word, bool in_file,
    struct fault *why);

static void
release(struct patterns *p)
{
	for (size_t i = 0; i < p->n; i++) {
		table_close(&p->v[i].table);
		if (p->v[i].file != NULL)
			release(&p->v[i].file->patterns);
	}
	free(p->v);
	arena_free(&p->a);
	*p = (struct patterns){ 0 };
}

static bool
add_words(struct matchlist *l, struct patterns *p, struct span text, bool in_file, struct fault *why)
{
	struct span word;

	while (span_token_brace(&text, SEPARATORS, &word))
		if (!add_word(l, p, word, in_file, why))
			return false;
	return true;
}

/* A word that is no pattern is skipped with a warning; the file is then not to be trusted (bad_r). */
static void
load_file(struct table *t, struct span text, unsigned *bad_r, struct fault *first)
{
	struct list_file *f = t->state;
	struct patterns fresh = { .a = arena_new(size_add(size_mul(text.n, 8), 1u << 20)) };
	struct source src;
	struct span line_text;
	unsigned line;

	source_init(&src, text);
	while (source_next(&src, &line_text, &line)) {
		struct fault why = { 0 };

		if (!src.too_long && add_words(f->owner, &fresh, line_text, true, &why))
			continue;
		log_warning_once(NULL, "%.*s:%u: %s", SPAN_ARG(t->label), line, src.too_long ? "line too long" : why.text);
		if ((*bad_r)++ == 0)
			fault_set(first, "4.3.5", "line %u: %s", line, why.text);
	}
	source_release(&src);
	release(&f->patterns);
	f->patterns = fresh;
}

static void
open_file(struct matchlist *l, struct patterns *p, struct pattern *pat)
{
	struct list_file *f = ARENA_NEW(p->a, struct list_file);

	f->owner = l;
	/* strict: half a list is none, it would let in or keep out the wrong ones */
	f->table = (struct table){ .label = pat->text, .flags = MAPS_STRICT, .env = l->env, .state = f };
	textfile_init(&f->file, arena_cstr(p->a, pat->text));
	pat->kind = PATTERN_FILE;
	pat->file = f;
}

/* Only what an address or network can be made of, or in brackets. */
static bool
looks_like_net(struct span text)
{
	if (text.n == 0 || text.p[0] == '[')
		return text.n > 0;
	for (size_t i = 0; i < text.n; i++)
		if (!ascii_isdigit(text.p[i]) && text.p[i] != '.' && text.p[i] != '/')
			return false;
	return true;
}

static bool
compile(struct matchlist *l, struct patterns *p, struct pattern *pat, bool in_file, struct fault *why)
{
	if (pat->text.n == 0)
		return fault_set(why, "4.3.5", "\"!\" without a pattern");
	if (pat->text.p[0] == '/') {
		if (in_file)
			return fault_set(why, "4.3.5", "%.*s: a file of patterns inside another", SPAN_ARG(pat->text));
		open_file(l, p, pat);
		return true;
	}
	if (l->flags & MATCHLIST_ADDRS && looks_like_net(pat->text)) {
		pat->kind = PATTERN_NET;
		return cidr_parse(pat->text, &pat->net, why);
	}
	/* "[2001:db8::1]" in a list of names is a literal domain */
	if (pat->text.p[0] != '[' && span_index(pat->text, ':') >= 0) {
		pat->kind = PATTERN_TABLE;
		return table_open(pat->text, 0, l->env, 0, &pat->table, why);
	}
	pat->kind = PATTERN_NAME;
	return true;
}

static bool
add_word(struct matchlist *l, struct patterns *p, struct span word, bool in_file, struct fault *why)
{
	struct pattern pat = { .negate = false };

	while (word.n > 0 && word.p[0] == '!') {
		pat.negate = !pat.negate;
		word = span_from(word, 1);
	}
	pat.text = arena_dup(p->a, word);
	if (!compile(l, p, &pat, in_file, why))
		return false;
	p->v = realloc(p->v, size_mul(p->n + 1, sizeof(pat)));
	if (p->v == NULL)
		panic("out of memory");
	p->v[p->n++] = pat;
	return true;
}

bool
matchlist_open(struct span spec, unsigned flags, const struct maps_env *env, struct matchlist **l_r,
    struct fault *why)
{
	struct matchlist *l = calloc(1, sizeof(*l));

	if (l == NULL)
		panic("out of memory");
	l->flags = flags;
	l->env = env;
	l->patterns.a = arena_new(size_add(size_mul(spec.n, 64), 1u << 20));
	if (!add_words(l, &l->patterns, spec, false, why))
		matchlist_free(&l);
	*l_r = l;
	return l != NULL;
}

void
matchlist_free(struct matchlist **l)
{
	if (*l == NULL)
		return;
	release(&(*l)->patterns);
	free(*l);
	*l = NULL;
}

bool
matchlist_empty(const struct matchlist *l)
{
	return l == NULL || l->patterns.n == 0;
}

static bool
name_matches(const struct matchlist *l, struct span pattern, struct span name)
{
	if (span_eq_ci(name, pattern))
		return true;
	if (!(l->flags & MATCHLIST_DOMAINS) || name.n <= pattern.n || !span_ends_ci(name, pattern))
		return false;
	if (l->flags & MATCHLIST_PARENTS)
		return name.p[name.n - pattern.n - 1] == '.';
	return pattern.p[0] == '.';
}

/* A name is asked for itself and, being a domain, for its parents (".parent" unless PARENTS). */
static enum map_result
table_has_name(struct matchlist *l, struct table *t, const struct match_query *q, struct map_hit *hit,
    struct fault *why)
{
	struct lookup look = { .key = q->name, .asks = q->asks, .a = q->a };

	while (look.key.n > 0) {
		enum map_result r = table_find(t, &look, hit, why);
		ptrdiff_t dot;

		if (r != MAP_ABSENT || !(l->flags & MATCHLIST_DOMAINS))
			return r;
		dot = span_index(span_from(look.key, 1), '.');
		if (dot < 0)
			break;
		look.key = span_from(look.key, (size_t)dot + 1 + (l->flags & MATCHLIST_PARENTS ? 1 : 0));
		look.partial = true;
	}
	return MAP_ABSENT;
}

static enum map_result
table_has(struct matchlist *l, struct table *t, const struct match_query *q, struct map_hit *hit,
    struct fault *why)
{
	struct lookup look = { .key = q->addr, .asks = q->asks, .a = q->a };
	enum map_result r = MAP_ABSENT;

	if (q->name.n > 0)
		r = table_has_name(l, t, q, hit, why);
	if (r == MAP_ABSENT && q->addr.n > 0)
		r = table_find(t, &look, hit, why);
	return r;
}

static enum map_result find_in(struct matchlist *l, struct patterns *p, const struct match_query *q,
    struct map_hit *hit, bool *negated_r, struct fault *why);

static bool
net_has(const struct pattern *p, const struct match_query *q)
{
	struct cidr addr;

	return q->addr.n > 0 && cidr_addr(q->addr, &addr) && cidr_match(&p->net, &addr);
}

/* Does this pattern match (whatever that means for the list)? `*negated_r` may be turned by a file's own "!". */
static enum map_result
matches(struct matchlist *l, struct pattern *p, const struct match_query *q, struct map_hit *hit,
    bool *negated_r, struct fault *why)
{
	hit->table = p->text;
	switch (p->kind) {
	case PATTERN_NAME:
		return q->name.n > 0 && name_matches(l, p->text, q->name) ? MAP_FOUND : MAP_ABSENT;
	case PATTERN_NET:
		return net_has(p, q) ? MAP_FOUND : MAP_ABSENT;
	case PATTERN_TABLE:
		return table_has(l, p->table, q, hit, why);
	case PATTERN_FILE:
		if (!textfile_ready(&p->file->file, &p->file->table, load_file, why))
			return MAP_DEFER;
		return find_in(l, &p->file->patterns, q, hit, negated_r, why);
	}
	panic("pattern kind");
}

static enum map_result
find_in(struct matchlist *l, struct patterns *p, const struct match_query *q, struct map_hit *hit,
    bool *negated_r, struct fault *why)
{
	for (size_t i = 0; i < p->n; i++) {
		bool inner = false;
		enum map_result r = matches(l, &p->v[i], q, hit, &inner, why);

		if (r == MAP_ABSENT)
			continue;
		*negated_r = inner != p->v[i].negate;
		return r;
	}
	return MAP_ABSENT;
}

enum map_result
matchlist_find(struct matchlist *l, const struct match_query *q, struct map_hit *hit_r,
    struct fault *why)
{
	struct map_hit unused;
	struct map_hit *hit = hit_r != NULL ? hit_r : &unused;
	bool negated = false;
	enum map_result r;

	*hit = (struct map_hit){ 0 };
	if (l == NULL)
		return MAP_ABSENT;
	r = find_in(l, &l->patterns, q, hit, &negated, why);
	if (r == MAP_FOUND)
		hit->table = arena_dup(q->a, hit->table);
	return r == MAP_FOUND && negated ? MAP_ABSENT : r;
}
