/* Source text: logical lines, entries, and that reading it in pieces of lines loses nothing. */
#include "maps/source.h"

#include <stdio.h>

#include "kit/kit.h"
#include "maps/maps.h"

struct out {
	struct buf text;
};

static bool
on_entry(void *ctx, struct span key, struct span value, unsigned line)
{
	struct out *o = ctx;

	return buf_addf(&o->text, "%u[%.*s][%.*s];", line, SPAN_ARG(key), SPAN_ARG(value));
}

static void
on_bad(void *ctx, unsigned line, const struct fault *why)
{
	struct out *o = ctx;

	(void)why;
	buf_addf(&o->text, "%u bad;", line);
}

static void
entries(void **state)
{
	static const struct {
		const char *name;
		enum source_form form;
		const char *text, *want;
	} rows[] = {
		{ "nothing", SOURCE_MAP, "", "" },
		{ "one, no newline at the end", SOURCE_MAP, "a b", "1[a][b];" },
		{ "CRLF", SOURCE_MAP, "a b\r\nc d\r\n", "1[a][b];2[c][d];" },
		{ "comments and blank lines", SOURCE_MAP, "#x\n\n  \n a#\nk v # not a comment\n", "4 bad;5[k][v # not a comment];" },
		{ "continued over a comment", SOURCE_MAP, "k v\n# c\n  w\n\n\tx\nq r\n", "1[k][v  w\tx];6[q][r];" },
		{ "value on the next line", SOURCE_MAP, "k\n  v\n", "1[k][v];" },
		{ "quoted part stays quoted", SOURCE_MAP, "\"a b\"@c v\n", "1[\"a b\"@c][v];" },
		{ "a backslash keeps a blank", SOURCE_MAP, "a\\ b v\n", "1[a\\ b][v];" },
		{ "open quote", SOURCE_MAP, "\"a v\nb c\n", "1 bad;2[b][c];" },
		{ "no value", SOURCE_MAP, "a\nb  \nc d\n", "1 bad;2 bad;3[c][d];" },
		{ "aliases", SOURCE_ALIASES, "a: b, c\n\"q r\" : |\"x: y\"\nroot:\n  x,\n  y\n",
		    "1[a][b, c];2[q r][|\"x: y\"];3[root][x,  y];" },
		{ "aliases in error", SOURCE_ALIASES, "a b\n: c\nd:\ne: f\n", "1 bad;2 bad;3 bad;4[e][f];" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct out o;
		struct source_reader r = { .form = rows[i].form, .entry = on_entry, .bad = on_bad, .ctx = &o };

		buf_init(&o.text, 4096);
		source_each(span_str(rows[i].text), &r);
		if (!span_eq(buf_span(&o.text), span_str(rows[i].want)))
			fail_msg("%s: got %.*s", rows[i].name, SPAN_ARG(buf_span(&o.text)));
		buf_release(&o.text);
	}
}

static void
lines_without_end(void **state)
{
	struct out o;
	struct source_reader r = { .entry = on_entry, .bad = on_bad, .ctx = &o };
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	buf_init(&o.text, 4096);
	buf_add_str(&text, "a ");
	for (unsigned i = 0; i < MAPS_VALUE_MAX / 16; i++)
		buf_add_str(&text, "\n 0123456789abcdef");
	buf_add_str(&text, "\nb c\n");
	for (unsigned i = 0; i < MAPS_KEY_MAX + 1; i++)
		buf_addc(&text, 'k');
	buf_add_str(&text, " v\n");
	source_each(buf_span(&text), &r);
	assert_span(buf_span(&o.text), "1 bad;8194[b][c];8195 bad;");
	buf_release(&text);
	buf_release(&o.text);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = { KIT_TEST(entries), KIT_TEST(lines_without_end) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
