/* Listing what tables say. */
#include "maps/entries.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "conf/words.h"
#include "maps/maps_private.h"
#include "maps/rules.h"
#include "maps/source.h"

struct listing {
	maps_entry_fn *fn;
	void *ctx;
	char file[4096];
};

/* ---- key and value */

static bool
on_entry(void *ctx, struct span key, struct span value, unsigned line)
{
	struct listing *l = ctx;

	l->fn(l->ctx, &(struct maps_entry){ .key = key, .value = value, .file = l->file, .line = line });
	return true;
}

static void
on_bad(void *ctx, unsigned line, const struct fault *why)
{
	(void)ctx;
	(void)line;
	(void)why;
}

static void
each_pair(struct listing *l, struct span text)
{
	source_each(text, &(struct source_reader){ .form = SOURCE_MAP, .entry = on_entry, .bad = on_bad, .ctx = l });
}

/* ---- rules */

static bool
cut_pattern(struct span *rest, struct span *pattern_r)
{
	struct span start = *rest;
	struct fault why;

	if (!rules_delimited(rest, pattern_r, &why))
		return false;
	rules_flags(rest);
	*pattern_r = span_slice(start, 0, start.n - rest->n);
	return true;
}

static void
one_rule(struct listing *l, struct span text, bool delimited, const char *file, unsigned line)
{
	struct maps_entry e = { .file = file, .line = line, .is_rule = delimited, .is_pattern = true };
	struct span rest = span_trim(text);

	while (span_starts(rest, SPAN("!")))
		rest = span_trim(span_from(rest, 1));
	if (delimited) {
		if (!cut_pattern(&rest, &e.key))        /* "if /pattern/" and "endif" too */
			return;
	} else if (!span_token(&rest, " \t", &e.key) || span_eq_ci(e.key, SPAN("if"))) {
		return;
	}
	e.value = span_trim(rest);
	if (e.value.n > 0)
		l->fn(l->ctx, &e);
}

static void
each_rule(struct listing *l, struct span text, bool delimited)
{
	struct source s;
	struct span one;
	unsigned line;

	source_init(&s, text);
	while (source_next(&s, &one, &line))
		if (!s.too_long)
			one_rule(l, one, delimited, l->file, line);
	source_release(&s);
}

/* ---- where the text is */

static void
each_of_file(struct listing *l, struct span path, bool rules, bool delimited)
{
	struct buf text;

	if (path.n >= sizeof(l->file))
		return;
	snprintf(l->file, sizeof(l->file), "%.*s", SPAN_ARG(path));
	buf_init(&text, MAPS_TEXT_MAX);
	if (fd_read_file(AT_FDCWD, l->file, &text) >= 0 && !text.full) {
		if (rules)
			each_rule(l, buf_span(&text), delimited);
		else
			each_pair(l, buf_span(&text));
	}
	buf_release(&text);
}

static void
each_of_inline(struct listing *l, struct span text, bool rules, bool delimited)
{
	struct span inner, token, pair;
	struct maps_entry e = { 0 };

	if (!maps_unbrace(text, &inner))
		return;
	while (span_token_brace(&inner, ", \t\r\n", &token)) {
		if (!maps_unbrace(token, &pair))
			pair = token;
		if (rules) {
			one_rule(l, pair, delimited, NULL, 0);
		} else if (span_cut(pair, '=', &e.key, &e.value)) {
			e.key = span_trim(e.key);
			e.value = span_trim(e.value);
			l->fn(l->ctx, &e);
		}
	}
}

static void
one_static(struct listing *l, struct span text)
{
	struct maps_entry e = { .key = SPAN("(any key)"), .value = text, .is_pattern = true };

	maps_unbrace(text, &e.value);
	l->fn(l->ctx, &e);
}

static const struct {
	const char *type;
	bool rules, delimited;
} readable[] = {
	{ "texthash", false, false }, { "hash", false, false }, { "btree", false, false }, { "dbm", false, false },
	{ "sdbm", false, false }, { "cdb", false, false }, { "lmdb", false, false }, { "inline", false, false },
	{ "cidr", true, false }, { "regexp", true, true }, { "pcre", true, true },
};

static void
one_table(struct listing *l, struct span label)
{
	struct span type, name;

	while (span_starts(label, SPAN("proxy:")))
		label = span_from(label, 6);
	if (!span_cut(label, ':', &type, &name))
		return;
	if (span_eq_ci(type, SPAN("static")))
		one_static(l, name);
	for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
		if (!span_eq_ci(type, span_str(readable[i].type)))
			continue;
		if (span_starts(name, SPAN("{")))
			each_of_inline(l, name, readable[i].rules, readable[i].delimited);
		else
			each_of_file(l, name, readable[i].rules, readable[i].delimited);
	}
}

void
maps_entries(struct span spec, maps_entry_fn *fn, void *ctx)
{
	struct listing l = { .fn = fn, .ctx = ctx };
	struct span label;

	while (word_next(&spec, &label))
		one_table(&l, label);
}
