/* The items of aliases and .forward files. */
#include "role/local/items.h"

#include "base/buf.h"
#include "mail/address.h"

/* An item is two bytes at least ("a,"), so this bounds the array. */
static size_t
max_items(size_t n)
{
	return n / 2 + 1;
}

size_t
items_room(size_t n)
{
	return size_add(size_mul(max_items(n), sizeof(struct item)), size_add(size_mul(n, 8), 65536));
}

/* Index behind the quoted string that begins at `at`, or the end. */
static size_t
skip_quoted(struct span s, size_t at)
{
	for (at++; at < s.n; at++) {
		if (s.p[at] == '\\')
			at++;
		else if (s.p[at] == '"')
			return at + 1;
	}
	return s.n;
}

static size_t
skip_comment(struct span s, size_t at)
{
	size_t depth = 0;

	for (; at < s.n; at++) {
		if (s.p[at] == '\\')
			at++;
		else if (s.p[at] == '(')
			depth++;
		else if (s.p[at] == ')' && --depth == 0)
			return at + 1;
	}
	return s.n;
}

/* The text up to the next comma or line end that stands outside quotes, comments and angle brackets. */
static struct span
next_raw(struct span *rest)
{
	bool in_angle = false;
	size_t i = 0;
	struct span raw;

	while (i < rest->n) {
		char c = rest->p[i];

		if (c == '\n' || (c == ',' && !in_angle))
			break;
		if (c == '"') {
			i = skip_quoted(*rest, i);
			continue;
		}
		if (c == '(') {
			i = skip_comment(*rest, i);
			continue;
		}
		if (c == '<' || c == '>')
			in_angle = c == '<';
		i += c == '\\' ? 2 : 1;
	}
	raw = span_slice(*rest, 0, i);
	*rest = span_from(*rest, i < rest->n ? i + 1 : i);
	return span_trim(raw);
}

/* A text that is one quoted string from end to end, without its quotes; else the text itself. */
static struct span
unquote_whole(struct span s, struct arena *a)
{
	struct span inner;
	char *out;
	size_t n = 0;

	if (s.n < 2 || s.p[0] != '"' || s.p[s.n - 1] != '"' || skip_quoted(s, 0) != s.n)
		return s;
	inner = span_slice(s, 1, s.n - 1);
	out = arena_alloc(a, inner.n + 1);
	for (size_t i = 0; i < inner.n; i++) {
		if (inner.p[i] == '\\' && i + 1 < inner.n)
			i++;
		out[n++] = inner.p[i];
	}
	return span_of(out, n);
}

/* Without comments, and what is in angle brackets if there are any. */
static struct span
bare_address(struct span raw, struct arena *a)
{
	char *out = arena_alloc(a, raw.n + 1);
	size_t n = 0, i = 0;

	while (i < raw.n) {
		size_t end = i + 1;

		if (raw.p[i] == '(') {
			i = skip_comment(raw, i);
			continue;
		}
		if (raw.p[i] == '"')
			end = skip_quoted(raw, i);
		else if (raw.p[i] == '<')
			n = 0;
		else if (raw.p[i] == '>')
			break;
		if (raw.p[i] != '<') {
			memcpy(out + n, raw.p + i, end - i);
			n += end - i;
		}
		i = end;
	}
	return span_trim(span_of(out, n));
}

static struct item
item_with(enum item_kind kind, struct span text)
{
	return (struct item){ .kind = kind, .text = text };
}

/* By its first bytes, quoted or not: `"|cmd a b"`, `|"cmd a b"` and `|cmd` are the same kind. */
static struct item
classify(struct span raw, struct arena *a)
{
	struct span s = unquote_whole(raw, a);

	if (span_starts(s, SPAN("|")))
		return item_with(ITEM_COMMAND, unquote_whole(span_trim(span_from(s, 1)), a));
	if (span_starts(s, SPAN("/")))
		return item_with(ITEM_FILE, s);
	if (span_starts_ci(s, SPAN(":include:")))
		return item_with(ITEM_INCLUDE, unquote_whole(span_trim(span_from(s, 9)), a));
	if (span_starts(s, SPAN("\\")))
		return item_with(ITEM_LOCAL, address_internal(bare_address(span_from(s, 1), a), a));
	return item_with(ITEM_ADDRESS, address_internal(bare_address(raw, a), a));
}

static bool
has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 32 && s.p[i] != '\t')
			return true;
	return false;
}

static bool
add_list(struct span text, struct arena *a, struct items *list, struct fault *why)
{
	while (text.n > 0) {
		struct span raw = next_raw(&text);
		struct item item;

		if (raw.n == 0)
			continue;
		item = classify(raw, a);
		if (item.text.n == 0)
			continue;
		if (has_control(item.text))
			return fault_set(why, "4.3.5", "control character in \"%.*s\"",
			    SPAN_ARG(span_slice(raw, 0, 100)));
		list->v[list->n++] = item;
	}
	return true;
}

bool
items_parse(struct span text, struct arena *a, struct items *items_r, struct fault *why)
{
	items_r->v = ARENA_ARRAY(a, struct item, max_items(text.n));
	items_r->n = 0;
	return add_list(text, a, items_r, why);
}

bool
items_parse_file(struct span text, struct arena *a, struct items *items_r, struct fault *why)
{
	items_r->v = ARENA_ARRAY(a, struct item, max_items(text.n));
	items_r->n = 0;
	while (text.n > 0) {
		struct span line;

		span_cut(text, '\n', &line, &text);
		if (!span_starts(line, SPAN("#")) && !add_list(line, a, items_r, why))
			return false;
	}
	return true;
}
