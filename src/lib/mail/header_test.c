/* Tests of headers and the address lists in them. */
#include "mail/header.h"

#include "base/rand.h"
#include "kit/kit.h"

static void
test_names(void **state)
{
	(void)state;
	assert_int_equal(header_name_length(SPAN("Subject: x")), 7);
	assert_int_equal(header_name_length(SPAN("Subject \t: x")), 7);
	assert_int_equal(header_name_length(SPAN(": x")), 0);
	assert_int_equal(header_name_length(SPAN("From me@x Mon")), 0);
	assert_int_equal(header_name_length(SPAN(" x: y")), 0);
	assert_int_equal(header_name_length(SPAN("a\xc3:")), 0);
	assert_int_equal(header_name_length(SPAN("")), 0);
}

static void
test_blocks(void **state)
{
	struct arena *a = arena_new(65536);
	struct span block = SPAN("A: 1\r\nB : 2\r\n\tmore \r\nC:\r\n\r\nbody: no\r\n");
	struct span header, name, value;

	(void)state;
	assert_true(header_find(block, SPAN("b"), a, &value));
	assert_span(value, "2\tmore");
	assert_false(header_find(block, SPAN("body"), a, &value));
	assert_true(header_next(&block, &header));
	assert_span(header, "A: 1\r\n");
	assert_true(header_next(&block, &header));
	assert_span(header_check_text(header, a), "B : 2\n\tmore ");
	assert_true(header_split(header, &name, &value));
	assert_span(name, "B");
	assert_span(value, "2\r\n\tmore");
	assert_true(header_next(&block, &header));
	assert_false(header_next(&block, &header));
	arena_free(&a);
}

/* Each address becomes "<n>" glued to what it was. */
static bool
mark(void *ctx, struct span addr, struct span *new_r)
{
	struct arena *a = ctx;

	*new_r = arena_printf(a, "%.*s!", SPAN_ARG(addr));
	return true;
}

static void
test_rewriting_keeps_the_rest(void **state)
{
	static const char *const rows[][2] = {
		{ "a@b", "a@b!" },
		{ "a@b, c@d", "a@b!, c@d!" },
		{ "John Doe <a@b> (x, y)", "John Doe <a@b!> (x, y)" },
		{ "\"Doe, J <x@y>\" <a@b>,\r\n\t c@d", "\"Doe, J <x@y>\" <a@b!>,\r\n\t c@d!" },
		{ "group: a@b, c@d; e@f", "group: a@b!, c@d!; e@f!" },
		{ "undisclosed-recipients:;", "undisclosed-recipients:;" },
		{ "<@r1,@r2:a@b>", "<a@b!>" },
		{ "<>", "<>" },
		{ "", "" },
		{ "\"a b\"@c", "\"a b\"@c!" },
		{ "a@[IPv6:::1]", "a@[IPv6:::1]!" },
		{ "(comment) a@b (c)", "(comment) a@b! (c)" },
		{ "a . b @ c", "a.b@c!" },
		{ "John Doe", "John Doe" },
		{ "root", "root!" },
		{ "\"a@b\"", "\"a@b\"" },
		{ "a@b, \"unclosed", "a@b!, \"unclosed" },
		{ "a@b, (unclosed", "a@b!, (unclosed" },
		{ "<a@b", "<a@b" },
		{ "a@b>, c@d", "a@b>, c@d!" },
		{ "<<a@b>>", "<<a@b>>" },
		{ "a@b,,, c@d", "a@b!,,, c@d!" },
		{ "=?utf-8?q?x?= <a@b>", "=?utf-8?q?x?= <a@b!>" },
	};
	struct arena *a = arena_new(1 << 20);
	struct buf out;

	(void)state;
	buf_init(&out, 65536);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&out);
		assert_true(header_rewrite_addresses(span_str(rows[i][0]), 10240, mark, a, a, &out));
		if (!span_eq(buf_span(&out), span_str(rows[i][1])))
			fail_msg("%s: got %.*s", rows[i][0], SPAN_ARG(buf_span(&out)));
	}
	buf_release(&out);
	arena_free(&a);
}

static void
test_token_limit_leaves_the_rest(void **state)
{
	struct arena *a = arena_new(65536);
	struct buf out;

	(void)state;
	buf_init(&out, 65536);
	header_rewrite_addresses(SPAN("a@b, c@d, e@f"), 7, mark, a, a, &out);
	assert_span(buf_span(&out), "a@b!, c@d, e@f");
	buf_release(&out);
	arena_free(&a);
}

static bool
same(void *ctx, struct span addr, struct span *new_r)
{
	(void)ctx;
	*new_r = addr;
	return true;
}

/* Rewriting to itself never changes a byte (there are no source routes in this soup). */
static void
test_identity_is_identity(void **state)
{
	static const char soup[] = "ab@.<>()\",;\\[] \t";

	(void)state;
	for (int i = 0; i < 3000; i++) {
		struct arena *a = arena_new(65536);
		char text[24];
		size_t n = rand_below(sizeof(text));
		struct buf out;

		for (size_t k = 0; k < n; k++)
			text[k] = soup[rand_below(sizeof(soup) - 1)];
		buf_init(&out, 4096);
		assert_true(header_rewrite_addresses(span_of(text, n), 100, same, NULL, a, &out));
		if (!span_eq(buf_span(&out), span_of(text, n)))
			fail_msg("%.*s became %.*s", (int)n, text, SPAN_ARG(buf_span(&out)));
		buf_release(&out);
		arena_free(&a);
	}
}

static void
collect(void *ctx, struct span addr)
{
	struct buf *b = ctx;

	buf_add_span(b, addr);
	buf_addc(b, '|');
}

static void
test_extracting(void **state)
{
	struct arena *a = arena_new(65536);
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	/* RFC 5322 appendix A.1.2, A.1.3, A.5 */
	header_each_address(SPAN("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>"), 1000,
	    collect, &b, a);
	header_each_address(SPAN("A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;"),
	    1000, collect, &b, a);
	header_each_address(SPAN("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"), 1000,
	    collect, &b, a);
	assert_span(buf_span(&b), "mary@x.test|jdoe@example.org|one@y.test|joe@where.test|joe@where.test|"
	    "jdoe@one.test|pete@silly.test|");
	buf_release(&b);
	arena_free(&a);
}

static void
test_writing(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	header_add(&b, SPAN("X"), SPAN("short"));
	header_add(&b, SPAN("Subject"), SPAN("this one is long enough to be folded once because it "
	    "passes the seventy-eighth column"));
	header_add_phrase(&b, SPAN("Mail Delivery System"));
	header_add_phrase(&b, SPAN("Doe, \"J\""));
	assert_span(buf_span(&b), "X: short\r\nSubject: this one is long enough to be folded once because "
	    "it passes the\r\n seventy-eighth column\r\nMail Delivery System\"Doe, \\\"J\\\"\"");
	buf_release(&b);
}

static void
test_what_names_mean(void **state)
{
	(void)state;
	assert_true(header_flags(SPAN("from")) & HEADER_SENDER);
	assert_true(header_flags(SPAN("RESENT-BCC")) & HEADER_EXTRACT);
	assert_int_equal(header_flags(SPAN("X-Spam")), 0);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_names),
	KIT_TEST(test_blocks),
	KIT_TEST(test_rewriting_keeps_the_rest),
	KIT_TEST(test_token_limit_leaves_the_rest),
	KIT_TEST(test_identity_is_identity),
	KIT_TEST(test_extracting),
	KIT_TEST(test_writing),
	KIT_TEST(test_what_names_mean),
};
KIT_MAIN(tests)
