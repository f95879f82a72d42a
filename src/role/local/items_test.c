/* Alias items: every form aliases(5) describes, and what nobody should write. */
#include "role/local/items.h"

#include "base/buf.h"
#include "kit/kit.h"

static const struct item_row {
	const char *name, *text;
	const char *want;               /* kind letter and text, joined by '\n' */
} item_rows[] = {
	{ "addresses", "alice, bob@example.org", "Aalice\nAbob@example.org" },
	{ "empty items are nothing", " , ,alice,,", "Aalice" },
	{ "nothing", " \t ", "" },
	{ "a backslash stops aliasing", "\\alice, bob", "Lalice\nAbob" },
	{ "a quoted backslash too", "\"\\\\alice\"", "Lalice" },
	{ "a quoted command", "\"|/usr/bin/vacation -a 'x, y' alice\", \\alice",
	    "C/usr/bin/vacation -a 'x, y' alice\nLalice" },
	{ "quotes behind the bar", "|\"cat > \\\"a b\\\"\"", "Ccat > \"a b\"" },
	{ "a bare command ends at the comma", "|/bin/prog arg,bob", "C/bin/prog arg\nAbob" },
	{ "files", "/var/log/mail, \"/with blank\", Maildir/", "F/var/log/mail\nF/with blank\nAMaildir/" },
	{ "include files", ":include:/etc/list, \":include:/etc/other list\", :INCLUDE:/x",
	    "I/etc/list\nI/etc/other list\nI/x" },
	{ "phrases and comments", "Alice A. (the boss, really) <alice@example.org>, bob (x)",
	    "Aalice@example.org\nAbob" },
	{ "a quoted phrase with a comma", "\"A, B\" <alice@example.org>", "Aalice@example.org" },
	{ "a quoted local part", "\"john doe\"@example.org", "Ajohn doe@example.org" },
	{ "a quoted name", "\"john doe\"", "Ajohn doe" },
};

static void
add(struct buf *b, const struct items *items)
{
	for (size_t i = 0; i < items->n; i++)
		buf_addf(b, "%s%c%.*s", i > 0 ? "\n" : "", "ALFCI"[items->v[i].kind],
		    SPAN_ARG(items->v[i].text));
}

static void
test_rows(void **state)
{
	struct arena *a = arena_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(item_rows) / sizeof(item_rows[0]); i++) {
		const struct item_row *row = &item_rows[i];
		struct items items;
		struct fault why = { 0 };
		struct buf b;

		buf_init(&b, 4096);
		assert_true(items_parse(span_str(row->text), a, &items, &why));
		add(&b, &items);
		if (!span_eq(buf_span(&b), span_str(row->want)))
			fail_msg("%s: got \"%s\"", row->name, buf_cstr(&b));
		buf_release(&b);
	}
	arena_free(&a);
}

static void
test_file(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct fault why = { 0 };
	struct items items;

	(void)state;
	assert_true(items_parse_file(SPAN("# mine\nalice, bob\r\n\n\"|cmd\n#\nlast"), a, &items, &why));
	assert_int_equal(items.n, 4);
	assert_true(items_parse_file(SPAN("#only\n"), a, &items, &why));
	assert_int_equal(items.n, 0);
	assert_false(items_parse_file(SPAN("|a\001b\n"), a, &items, &why));
	assert_int_equal(why.dsn[0], '4');
	arena_free(&a);
}

/* Any bytes, any prefix of them: no item is longer than the text, and the room is enough. */
static void
test_every_prefix(void **state)
{
	static const char text[] = "\"a\\\"b\", (c(d)e) <f@g>, |h \"i,j\", /k\\, :include:l, \\\\m, \"n";

	(void)state;
	for (size_t n = 0; n < sizeof(text); n++) {
		struct arena *a = arena_new(items_room(n));
		struct fault why = { 0 };
		struct items items;

		if (items_parse(span_of(text, n), a, &items, &why))
			for (size_t i = 0; i < items.n; i++)
				assert_true(items.v[i].text.n <= n);
		arena_free(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_rows),
		KIT_TEST(test_file),
		KIT_TEST(test_every_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
