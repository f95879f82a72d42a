/* Tests of addresses. */
#include "mail/address.h"

#include "base/rand.h"
#include "kit/kit.h"

struct path_row {
	const char *name;
	const char *text;
	const char *strict;     /* NULL = refused */
	const char *lenient;
	const char *rest;       /* left behind the path; NULL = "" */
};

static const struct path_row path_rows[] = {
	{ "RFC 5321 D.1", "<Smith@bar.com>", "Smith@bar.com", "Smith@bar.com", NULL },
	{ "null path", "<>", "", "", NULL },
	{ "parameters follow", "<a@b.c> SIZE=5", "a@b.c", "a@b.c", " SIZE=5" },
	{ "postmaster alone", "<Postmaster>", "Postmaster", "Postmaster", NULL },
	{ "source route (RFC 5321 C)", "<@hosta.int,@jkl.org:userc@d.bar.org>", "userc@d.bar.org",
	  "userc@d.bar.org", NULL },
	{ "quoted local part", "<\"john doe\"@x.org>", "john doe@x.org", "john doe@x.org", NULL },
	{ "quoted at sign", "<\"a@b\"@x.org>", "a@b@x.org", "a@b@x.org", NULL },
	{ "quoted at sign and no domain", "<\"a@b\">", NULL, NULL, NULL },
	{ "quoted at sign in the domain", "<a@\"b@c\">", NULL, NULL, NULL },
	{ "escaped at sign", "<a\\@b@c>", NULL, "a@b@c", NULL },
	{ "escaped at sign alone", "<a\\@b>", NULL, NULL, NULL },
	{ "quoted pair", "<\"a\\\"b\\\\\"@x.org>", "a\"b\\@x.org", "a\"b\\@x.org", NULL },
	{ "greater-than inside quotes", "<\"a>b\"@x.org>", "a>b@x.org", "a>b@x.org", NULL },
	{ "IPv4 literal", "<a@[192.0.2.1]>", "a@[192.0.2.1]", "a@[192.0.2.1]", NULL },
	{ "IPv6 literal", "<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]",
	  NULL },
	{ "bad literal", "<a@[192.0.2.999]>", NULL, NULL, NULL },
	{ "bare IPv6 literal", "<a@[2001:db8::1]>", NULL, NULL, NULL },
	{ "UTF-8 both sides", "<\xc3\xa4@\xc3\xb6.example>", "\xc3\xa4@\xc3\xb6.example",
	  "\xc3\xa4@\xc3\xb6.example", NULL },
	{ "no brackets", "a@b.c", NULL, "a@b.c", NULL },
	{ "no brackets, parameters", "a@b.c BODY=8BITMIME", NULL, "a@b.c", " BODY=8BITMIME" },
	{ "blank in front", " <a@b.c>", NULL, "a@b.c", NULL },
	{ "phrase in front", "John Doe <a@b.c>", NULL, "a@b.c", NULL },
	{ "quoted phrase", "\"Doe, J\" <a@b.c> X=1", NULL, "a@b.c", " X=1" },
	{ "comment inside", "<a(com(m)ent)@b.c>", NULL, "a@b.c", NULL },
	{ "dots doubled", "<a..b@c.d>", NULL, "a..b@c.d", NULL },
	{ "dot last", "<a.@c.d>", NULL, "a.@c.d", NULL },
	{ "dot first", "<.a@c.d>", NULL, ".a@c.d", NULL },
	{ "percent and bang stay", "<a!b%c@d.e>", "a!b%c@d.e", "a!b%c@d.e", NULL },
	{ "two at signs", "<a@b@c.d>", NULL, "a@b@c.d", NULL },
	{ "unclosed", "<a@b.c", NULL, NULL, NULL },
	{ "opened late", "a@b.c>", NULL, NULL, NULL },
	{ "glued junk", "<a@b.c>x", NULL, NULL, NULL },
	{ "no local part", "<@b.c>", NULL, NULL, NULL },
	{ "no domain", "<a@>", NULL, NULL, NULL },
	{ "nothing", "", NULL, NULL, NULL },
	{ "blanks only", "  ", NULL, NULL, NULL },
	{ "control byte", "<a\001b@c.d>", NULL, NULL, NULL },
	{ "open quote", "<\"a@b.c>", NULL, NULL, NULL },
	{ "backslash last", "<a\\", NULL, NULL, NULL },
	{ "hyphens at label ends", "<a@-b.c>", NULL, NULL, NULL },
	{ "empty label", "<a@b..c>", NULL, NULL, NULL },
	{ "two words", "<a b@c.d>", NULL, NULL, NULL },
	{ "blanks that mean nothing", "< a @ c . d >", NULL, "a@c.d", NULL },
	{ "trailing dot", "<a@b.c.>", NULL, "a@b.c.", NULL },
};

static void
check_path(const struct path_row *row, bool strict, const char *want, struct arena *a)
{
	struct span rest = span_str(row->text), addr = SPAN("");
	bool ok = address_path(&rest, strict, a, &addr);

	if (ok != (want != NULL))
		fail_msg("%s (%s): %s", row->name, strict ? "strict" : "lenient", ok ? "taken" : "refused");
	if (!ok)
		return;
	if (!span_eq(addr, span_str(want)))
		fail_msg("%s: got %.*s", row->name, SPAN_ARG(addr));
	assert_span(rest, row->rest == NULL ? "" : row->rest);
}

static void
test_paths(void **state)
{
	struct arena *a = arena_new(65536);

	(void)state;
	for (size_t i = 0; i < sizeof(path_rows) / sizeof(path_rows[0]); i++) {
		check_path(&path_rows[i], true, path_rows[i].strict, a);
		check_path(&path_rows[i], false, path_rows[i].lenient, a);
	}
	arena_free(&a);
}

static void
test_long_paths_are_refused(void **state)
{
	struct arena *a = arena_new(65536);
	char text[ADDRESS_MAX + 10];
	struct span rest, addr;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "<", 1);
	memcpy(text + sizeof(text) - 5, "@b.c>", 5);
	rest = span_of(text, sizeof(text));
	assert_false(address_path(&rest, false, a, &addr));
	arena_free(&a);
}

static void
test_quoting(void **state)
{
	static const char *const rows[][2] = {
		{ "", "" },
		{ "a.b@c", "a.b@c" },
		{ "john doe@x", "\"john doe\"@x" },
		{ "a@b@c", "\"a@b\"@c" },
		{ "a\"\\@c", "\"a\\\"\\\\\"@c" },
		{ ".a@c", "\".a\"@c" },
		{ "a..b", "\"a..b\"" },
		{ "@c", "\"\"@c" },
		{ "\xc3\xa4@c", "\xc3\xa4@c" },
	};
	struct arena *a = arena_new(65536);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_span(address_external(span_str(rows[i][0]), a), rows[i][1]);
		assert_span(address_internal(span_str(rows[i][1]), a), rows[i][0]);
	}
	arena_free(&a);
}

/* What we print in <> is what we read, strictly, whatever the local part. */
static void
test_printed_paths_are_read(void **state)
{
	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct arena *a = arena_new(65536);
		char local[8];
		size_t n = 1 + rand_below(7);
		struct span addr, ext, rest, back = SPAN("");

		for (size_t k = 0; k < n; k++)
			local[k] = (char)(' ' + rand_below(95));
		addr = arena_printf(a, "%.*s@example.org", (int)n, local);
		ext = address_external(addr, a);
		rest = arena_printf(a, "<%.*s>", SPAN_ARG(ext));
		if (!address_path(&rest, true, a, &back) || !span_eq(back, addr))
			fail_msg("%.*s came back as %.*s", SPAN_ARG(ext), SPAN_ARG(back));
		assert_true(span_eq(address_internal(ext, a), addr));
		arena_free(&a);
	}
}

static void
test_extensions(void **state)
{
	static const struct {
		const char *local, *delim;
		bool special;
		const char *user, *ext; /* ext NULL = not split */
	} rows[] = {
		{ "user+ext", "+", true, "user", "ext" },
		{ "user+ext", "", true, "user+ext", NULL },
		{ "user-a+b", "+-", true, "user", "a+b" },
		{ "+ext", "+", true, "+ext", NULL },
		{ "user+", "+", true, "user", "" },
		{ "owner-list", "-", true, "owner-list", NULL },
		{ "list-request", "-", true, "list-request", NULL },
		{ "owner-list", "-", false, "owner", "list" },
		{ "owner-list+x", "+", true, "owner-list", "x" },
		{ "Mailer-Daemon", "-", false, "Mailer-Daemon", NULL },
		{ "double-bounce", "-", true, "double-bounce", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span user, ext;
		bool split = address_split_extension(span_str(rows[i].local), rows[i].delim,
		    rows[i].special, &user, &ext);

		assert_int_equal(split, rows[i].ext != NULL);
		assert_span(user, rows[i].user);
		assert_span(ext, rows[i].ext == NULL ? "" : rows[i].ext);
	}
}

static void
test_domains(void **state)
{
	struct arena *a = arena_new(65536);
	struct span ip, ascii;
	struct fault why;

	(void)state;
	assert_true(address_literal(SPAN("[ipv6:::1]"), &ip));
	assert_span(ip, "::1");
	assert_false(address_literal(SPAN("[]"), NULL));
	assert_false(address_literal(SPAN("192.0.2.1"), NULL));
	assert_span(address_literal_text(SPAN("::1"), a), "IPv6:::1");
	assert_true(address_valid_domain(SPAN("xn--bcher-kva.example"), false));
	assert_false(address_valid_domain(SPAN("b\xc3\xbc.example"), false));
	assert_true(address_valid_domain(SPAN("b\xc3\xbc.example"), true));
	assert_false(address_valid_domain(SPAN("b\xc3.example"), true));
	assert_false(address_valid_domain(SPAN("a b"), true));
	assert_true(address_domain_ascii(SPAN("B\xc3\xbc" "cher.Example"), a, &ascii, &why));
	assert_span(ascii, "xn--bcher-kva.example");
	/* Non-transitional: sharp s stays itself (IDNA2008). */
	assert_true(address_domain_ascii(SPAN("fa\xc3\x9f.de"), a, &ascii, &why));
	assert_span(ascii, "xn--fa-hia.de");
	assert_true(address_domain_ascii(SPAN("_Dmarc.EX"), a, &ascii, &why));
	assert_span(ascii, "_dmarc.ex");
	assert_false(address_domain_ascii(SPAN("a\xe2\x80\xae.de"), a, &ascii, &why));
	assert_span(address_domain_utf8(SPAN("xn--bcher-kva.example"), a), "b\xc3\xbc" "cher.example");
	assert_span(address_domain_utf8(SPAN("plain.example"), a), "plain.example");
	arena_free(&a);
}

static void
test_comparing(void **state)
{
	struct arena *a = arena_new(65536);

	(void)state;
	assert_true(address_same(SPAN("a@B.c"), SPAN("a@b.C")));
	assert_false(address_same(SPAN("A@b.c"), SPAN("a@b.c")));
	assert_false(address_same(SPAN("a"), SPAN("a@")));
	assert_span(address_fold_domain(SPAN("Aa@Bb.C"), a), "Aa@bb.c");
	assert_span(address_fold_domain(SPAN("Aa"), a), "Aa");
	assert_true(address_valid_local(SPAN("a b"), false));
	assert_false(address_valid_local(SPAN("a\nb"), false));
	assert_false(address_valid_local(SPAN("\xc3\xa4"), false));
	assert_true(address_valid_local(SPAN("\xc3\xa4"), true));
	arena_free(&a);
}

static void
test_completing(void **state)
{
	struct arena *a = arena_new(4096);

	(void)state;
	assert_true(span_eq(address_complete(SPAN("postmaster"), "o.example", a), SPAN("postmaster@o.example")));
	assert_true(span_eq(address_complete(SPAN("a@b"), "o.example", a), SPAN("a@b")));
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_paths),
	KIT_TEST(test_long_paths_are_refused),
	KIT_TEST(test_quoting),
	KIT_TEST(test_printed_paths_are_read),
	KIT_TEST(test_extensions),
	KIT_TEST(test_domains),
	KIT_TEST(test_comparing),
	KIT_TEST(test_completing),
};
KIT_MAIN(tests)
