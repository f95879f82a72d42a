/* cidr, regexp and pcre: patterns, if/endif, negation, substitution, lines in error. */
#include <stdio.h>

#include "kit/kit.h"
#include "maps/cidr.h"
#include "maps/maps.h"

static const struct maps_env env = { .data_directory = "", .default_database_type = "texthash",
	.alias_tables = "" };

struct row {
	const char *name, *key, *want;  /* want NULL: absent */
};

static void
check_rows(const char *type, const char *file, const char *text, const struct row *rows, size_t n)
{
	struct arena *a = arena_new(1 << 20);
	struct fault why = { 0 };
	struct maps *m;
	char spec[600];

	snprintf(spec, sizeof(spec), "%s:%s", type, kit_file(file, text));
	assert_true(maps_open(span_str(spec), 0, &env, &m, &why));
	for (size_t i = 0; i < n; i++) {
		struct map_hit hit;
		enum map_result r = maps_find(m, span_str(rows[i].key), NULL, a, &hit, &why);

		if (rows[i].want == NULL ? r != MAP_ABSENT :
		    r != MAP_FOUND || !span_eq(hit.value, span_str(rows[i].want)))
			fail_msg("%s: %s (\"%s\"): result %d \"%.*s\"", type, rows[i].name, rows[i].key, r,
			    SPAN_ARG(hit.value));
	}
	maps_unref(&m);
	arena_free(&a);
}
#define CHECK_ROWS(type, text, rows) check_rows(type, "rules", text, rows, sizeof(rows) / sizeof(rows[0]))

static void
expressions(void **state)
{
	static const char text[] =
	    "# both kinds read this alike\n"
	    "/^postmaster@/   OK\n"
	    "if !/^owner-/\n"
	    "/^(.*)-outgoing@(.*)$/  550 Use ${1}@$(2) instead of $1\n"
	    "endif\n"
	    "if /@a\\.example/\n"
	    "if /^x/\n"
	    "/y/ nested\n"
	    "endif\n"
	    "/z/ outer\n"
	    "ENDIF\n"
	    "!/@/ no at sign, $$5\n"
	    "/Case/i exact\n"
	    "|a/b|   slash\n"
	    "/opt(ional)?@(x)?y/ [$1][$2]\n"
	    "/cont/\n"
	    "  on two\n"
	    "  lines\n";
	static const struct row rows[] = {
		{ "case does not count", "PostMaster@b", "OK" },
		{ "groups are filled in", "list-outgoing@h.example", "550 Use list@h.example instead of list" },
		{ "if not", "owner-list-outgoing@h", NULL },
		{ "inside two ifs", "xy@a.example", "nested" },
		{ "inner if false", "qz@a.example", "outer" },
		{ "outer if false", "xyz@b.example", NULL },
		{ "negation and a dollar", "nothing", "no at sign, $5" },
		{ "i toggles: exact case", "Case@b", "exact" },
		{ "i toggles: other case", "case@b", NULL },
		{ "another delimiter", "a/b@c", "slash" },
		{ "an unset group is empty", "opt@y", "[][]" },
		{ "a set group", "optional@xy", "[ional][x]" },
		{ "a value on the next lines", "cont@", "on two  lines" },
	};

	(void)state;
	CHECK_ROWS("regexp", text, rows);
	CHECK_ROWS("pcre", text, rows);
}

static void
perl_only(void **state)
{
	static const char text[] =
	    "/^(?=x)(\\w+)\\d$/ word $1\n"
	    "/^a.b$/s dot is not newline\n"
	    "/^c.d$/ dot is newline\n"
	    "/^second$/m a line\n"
	    "/\xc3\xa4/ umlaut\n";
	static const struct row rows[] = {
		{ "look ahead, greedy", "xyz77", "word xyz7" },
		{ "s toggles off", "a\nb", NULL },
		{ "dotall by default", "c\nd", "dot is newline" },
		{ "m toggles on", "first\nsecond", "a line" },
		{ "utf-8 is caseless", "\xc3\x84", "umlaut" },
		{ "broken utf-8 in the key does no harm", "\xff\xfe", NULL },
	};

	(void)state;
	CHECK_ROWS("pcre", text, rows);
}

static void
broken_rules_are_skipped(void **state)
{
	static const char text[] =
	    "/good/ A\n"
	    "!/x/ B $1\n"
	    "/a(/ C\n"
	    "/only (one)/ D $2\n"
	    "/open pattern\n"
	    "word E\n"
	    "/flag/q F\n"
	    "endif\n"
	    "/p/ $ x\n"
	    "if /z/\n"
	    "/z/ Z\n";
	static const struct row rows[] = {
		{ "the good one", "good", "A" }, { "the last one", "z", "Z" }, { "none", "q", NULL },
	};
	static const char *const types[] = { "regexp", "pcre" };

	(void)state;
	expect_log("rules:2: a negated rule has no $number");
	expect_log("rules:3: ");
	expect_log("rules:4: $2 is more than the pattern has groups");
	expect_log("rules:5: the pattern has no closing \"/\"");
	expect_log("rules:6: expected a pattern between delimiters");
	expect_log("flag \"q\"");
	expect_log("rules:8: \"endif\" without \"if\"");
	expect_log("rules:9: \"$\" in the value is not");
	expect_log("rules:10: \"if\" without \"endif\"");
	for (size_t i = 0; i < 2; i++)
		CHECK_ROWS(types[i], text, rows);
}

static void
strict_refuses_the_table(void **state)
{
	struct arena *a = arena_new(1 << 16);
	struct fault why = { 0 };
	struct maps *m;
	char spec[600];

	(void)state;
	expect_log("rules:2: ");
	expect_log("line 2: ");
	snprintf(spec, sizeof(spec), "cidr:%s", kit_file("rules", "10.0.0.0/8 ok\n10.0.0.1/8 bad\n"));
	assert_true(maps_open(span_str(spec), MAPS_STRICT, &env, &m, &why));
	assert_int_equal(maps_find(m, SPAN("10.1.1.1"), NULL, a, NULL, &why), MAP_DEFER);
	assert_non_null(strstr(why.text, "line 2: \"10.0.0.1/8\" has host bits set, perhaps 10.0.0.0/8 is meant"));
	maps_unref(&m);
	arena_free(&a);
}

static void
substitution_can_be_forbidden(void **state)
{
	struct arena *a = arena_new(1 << 16);
	struct map_hit hit;
	struct maps *m;

	(void)state;
	expect_log("$number is not allowed in this table");
	assert_true(maps_open(SPAN("regexp:{ {/(a)/ $1}, {/a/ fixed} }"), MAPS_NO_REGSUB, &env, &m, NULL));
	assert_int_equal(maps_find(m, SPAN("a"), NULL, a, &hit, NULL), MAP_FOUND);
	assert_span(hit.value, "fixed");
	assert_int_equal(hit.line, 2);
	maps_unref(&m);
	arena_free(&a);
}

static void
networks(void **state)
{
	static const char text[] =
	    "1.2.3.0/24 A\n"
	    "[2001:db8::]/32 B\n"
	    "if 10.0.0.0/8\n"
	    "10.9.0.0/16 inner\n"
	    "! 10.8.0.0/16 not eight\n"
	    "endif\n"
	    "192.0.2.7 one\n"
	    "2001:db9::1 v6 one\n"
	    "if !10.0.0.0/8\n"
	    "2001:dba::/32 never\n"
	    "endif\n"
	    "if 2001:dbb::/32\n"
	    "!192.0.2.0/24 never\n"
	    "!2001:dbb:1::/48 not one\n"
	    "endif\n";
	static const struct row rows[] = {
		{ "in the network", "1.2.3.9", "A" }, { "outside", "1.2.4.9", NULL },
		{ "brackets in the table", "2001:db8:1::5", "B" }, { "brackets in the key", "[1.2.3.4]", "A" },
		{ "inside if", "10.9.1.1", "inner" }, { "negated", "10.7.1.1", "not eight" },
		{ "not negated", "10.8.1.1", NULL }, { "an address alone", "192.0.2.7", "one" },
		{ "its neighbour", "192.0.2.8", NULL }, { "v6 address alone", "2001:DB9:0::1", "v6 one" },
		{ "a name is no address", "example.com", NULL }, { "mapped IPv4", "::ffff:1.2.3.4", "A" },
		{ "no negation reaches over to the other family", "2001:dba::1", NULL }, { "nor inside a block", "2001:dbb:2::1", "not one" },
		{ "leading zeros are no address", "01.2.3.4", NULL },
	};

	(void)state;
	CHECK_ROWS("cidr", text, rows);
}

static void
network_syntax(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{ "10.0.0.0/8", true }, { "0.0.0.0/0", true }, { "::/0", true }, { "[::1]", true }, { "[::1]/128", true },
		{ "[2001:db8::/32]", true }, { "[10.0.0.0]/8", true }, { "10.0.0.0/33", false }, { "10.0.0/8", false },
		{ "::/129", false }, { "10.0.0.0/", false }, { "10.0.0.0/-1", false }, { "", false }, { "[", false }, { "[]", false },
		{ "[::1", false }, { "10.128.0.0/8", false }, { "10.0.0.0/8/8", false }, { "fe80::1%lo", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cidr c;

		if (cidr_parse(span_str(rows[i].text), &c, NULL) != rows[i].ok)
			fail_msg("\"%s\"", rows[i].text);
	}
}

static void
explosive_patterns_defer(void **state)
{
	struct arena *a = arena_new(1 << 16);
	struct fault why = { 0 };
	struct maps *m;

	(void)state;
	assert_true(maps_open(SPAN("pcre:{ {/^(a+)+$/ x} }"), 0, &env, &m, NULL));
	assert_int_equal(maps_find(m, SPAN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), NULL, a, NULL, &why),
	    MAP_DEFER);
	assert_non_null(strstr(why.text, "limit"));
	maps_unref(&m);
	arena_free(&a);
}

static void
huge_results_defer(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct fault why = { 0 };
	struct maps *m;
	char key[4000], rule[600] = "pcre:{ {/^(.*)$/ ";
	size_t n = strlen(rule);

	(void)state;
	for (int i = 0; i < 40; i++)
		n += (size_t)snprintf(rule + n, sizeof(rule) - n, "$1 ");
	snprintf(rule + n, sizeof(rule) - n, "} }");
	memset(key, 'x', sizeof(key));
	assert_true(maps_open(span_str(rule), 0, &env, &m, NULL));
	assert_int_equal(maps_find(m, span_of(key, sizeof(key)), NULL, a, NULL, &why), MAP_DEFER);
	assert_non_null(strstr(why.text, "too long"));
	maps_unref(&m);
	arena_free(&a);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(expressions), KIT_TEST(perl_only), KIT_TEST(broken_rules_are_skipped),
		KIT_TEST(strict_refuses_the_table), KIT_TEST(substitution_can_be_forbidden), KIT_TEST(networks),
		KIT_TEST(network_syntax), KIT_TEST(explosive_patterns_defer), KIT_TEST(huge_results_defer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
