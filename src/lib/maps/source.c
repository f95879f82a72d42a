/* Reading table sources: logical lines and their entries. */
#include "maps/source.h"

#include "maps/maps.h"

#define LINE_MAX_BYTES (MAPS_KEY_MAX + MAPS_VALUE_MAX + 64)
#define PROGRESS_LINES 4096u

void
source_init(struct source *s, struct span text)
{
	*s = (struct source){ .rest = text, .next_line = 1 };
	buf_init(&s->joined, LINE_MAX_BYTES);
}

void
source_release(struct source *s)
{
	buf_release(&s->joined);
}

static struct span
take_line(struct source *s)
{
	struct span line, rest;

	span_cut(s->rest, '\n', &line, &rest);
	s->rest = rest;
	s->next_line++;
	if (span_ends(line, SPAN("\r")))
		line.n--;
	return line;
}

static bool
is_blank(char c)
{
	return ascii_isspace(c);
}

static bool
is_comment(struct span line)
{
	size_t i = 0;

	while (i < line.n && is_blank(line.p[i]))
		i++;
	return i == line.n || line.p[i] == '#';
}

/* Does the rest begin with a line that belongs to the one before (comments in between do not end it)? */
static bool
skip_to_continuation(struct source *s)
{
	while (s->rest.n > 0) {
		struct span line, rest;

		span_cut(s->rest, '\n', &line, &rest);
		if (!is_comment(line))
			return is_blank(line.p[0]);
		take_line(s);
	}
	return false;
}

static bool
add_joined(struct source *s, struct span line)
{
	if (!buf_add_span(&s->joined, line))
		s->too_long = true;
	return true;
}

bool
source_next(struct source *s, struct span *text_r, unsigned *line_r)
{
	struct span line;

	s->too_long = false;
	do {
		if (s->rest.n == 0)
			return false;
		*line_r = s->next_line;
		line = take_line(s);
	} while (is_comment(line));
	if (skip_to_continuation(s)) {
		buf_clear(&s->joined);
		add_joined(s, line);
		do
			add_joined(s, take_line(s));
		while (skip_to_continuation(s));
		line = buf_span(&s->joined);
	}
	if (line.n > LINE_MAX_BYTES)
		s->too_long = true;
	*text_r = line;
	return true;
}

/* Where the key ends: at white space outside quotes; a backslash takes the next byte along. -1: open quote. */
static ptrdiff_t
key_end(struct span text)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < text.n; i++) {
		if (text.p[i] == '\\' && i + 1 < text.n)
			i++;
		else if (text.p[i] == '"')
			quoted = !quoted;
		else if (is_blank(text.p[i]) && !quoted)
			break;
	}
	return quoted ? -1 : (ptrdiff_t)i;
}

static bool
map_entry(struct span text, struct span *key_r, struct span *value_r, struct fault *why)
{
	ptrdiff_t end;

	if (text.n > 0 && is_blank(text.p[0]))
		return fault_set(why, "4.3.5", "the first line begins with white space");
	end = key_end(text);
	if (end < 0)
		return fault_set(why, "4.3.5", "a double quote is not closed");
	*key_r = span_slice(text, 0, (size_t)end);
	*value_r = span_trim(span_from(text, (size_t)end));
	if (value_r->n == 0)
		return fault_set(why, "4.3.5", "expected \"key value\", there is no value");
	return true;
}

/* The colon that ends an alias name: outside quotes. -1: none. */
static ptrdiff_t
alias_colon(struct span text)
{
	bool quoted = false;

	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\\' && i + 1 < text.n)
			i++;
		else if (text.p[i] == '"')
			quoted = !quoted;
		else if (text.p[i] == ':' && !quoted)
			return (ptrdiff_t)i;
	}
	return -1;
}

static bool
alias_entry(struct span text, struct span *key_r, struct span *value_r, struct fault *why)
{
	ptrdiff_t colon = alias_colon(text);

	if (text.n > 0 && is_blank(text.p[0]))
		return fault_set(why, "4.3.5", "the first line begins with white space");
	if (colon <= 0)
		return fault_set(why, "4.3.5", "expected \"name: value\"");
	*key_r = span_trim(span_slice(text, 0, (size_t)colon));
	*value_r = span_trim(span_from(text, (size_t)colon + 1));
	if (key_r->n >= 2 && key_r->p[0] == '"' && key_r->p[key_r->n - 1] == '"')
		*key_r = span_slice(*key_r, 1, key_r->n - 1);
	if (key_r->n == 0 || value_r->n == 0)
		return fault_set(why, "4.3.5", "expected \"name: value\"");
	return true;
}

bool
source_entry(struct span text, enum source_form form, struct span *key_r, struct span *value_r,
    struct fault *why)
{
	bool ok = form == SOURCE_ALIASES ? alias_entry(text, key_r, value_r, why) :
	    map_entry(text, key_r, value_r, why);

	if (ok && key_r->n > MAPS_KEY_MAX)
		return fault_set(why, "4.3.5", "the key is longer than %u bytes", MAPS_KEY_MAX);
	if (ok && value_r->n > MAPS_VALUE_MAX)
		return fault_set(why, "4.3.5", "the value is longer than %u bytes", MAPS_VALUE_MAX);
	return ok;
}

static bool
one_line(struct source *s, struct span text, unsigned line, const struct source_reader *r)
{
	struct span key, value;
	struct fault why;

	if (s->too_long) {
		fault_set(&why, "4.3.5", "the line is longer than %u bytes", LINE_MAX_BYTES);
		r->bad(r->ctx, line, &why);
		return true;
	}
	if (!source_entry(text, r->form, &key, &value, &why)) {
		r->bad(r->ctx, line, &why);
		return true;
	}
	return r->entry(r->ctx, key, value, line);
}

bool
source_each(struct span text, const struct source_reader *r)
{
	struct source s;
	struct span line_text;
	unsigned line, count = 0;
	bool go_on = true;

	source_init(&s, text);
	while (go_on && source_next(&s, &line_text, &line)) {
		go_on = one_line(&s, line_text, line, r);
		if (r->at != NULL && ++count % PROGRESS_LINES == 0)
			r->at(r->ctx, text.n - s.rest.n);
	}
	source_release(&s);
	return go_on;
}
