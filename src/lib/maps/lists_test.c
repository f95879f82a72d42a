/* strlist, addrlist and address keys. */
#include <stdio.h>
#include <unistd.h>

#include "kit/kit.h"
#include "maps/addrkeys.h"
#include "maps/addrlist.h"
#include "maps/maps.h"
#include "maps/strlist.h"

static int64_t now_us = 1000000;

static int64_t
fake_now(void)
{
	return now_us;
}

static const struct maps_env env = { .data_directory = "", .default_database_type = "texthash",
	.alias_tables = "", .now_us = fake_now };

static enum map_result
in_strlist(const char *spec, unsigned flags, const char *name)
{
	struct arena *a = arena_new(1 << 16);
	struct fault why = { 0 };
	struct strlist *l;
	enum map_result r;

	if (!strlist_open(span_str(spec), flags, &env, &l, &why))
		fail_msg("%s: %s", spec, why.text);
	r = strlist_find(l, span_str(name), NULL, a, NULL, &why);
	strlist_free(&l);
	arena_free(&a);
	return r;
}

static void
names(void **state)
{
	enum { D = STRLIST_DOMAIN, P = STRLIST_DOMAIN | STRLIST_PARENTS };
	static const struct {
		const char *name, *spec;
		unsigned flags;
		const char *key;
		enum map_result want;
	} rows[] = {
		{ "empty list", "", D, "a", MAP_ABSENT },
		{ "a word, any case", "x, Example.COM y", 0, "example.com", MAP_FOUND },
		{ "strings have no parents", "example.com", 0, "a.example.com", MAP_ABSENT },
		{ "domains have none without the flag", "example.com", D, "a.example.com", MAP_ABSENT },
		{ "dot form covers hosts", ".example.com", D, "a.b.example.com", MAP_FOUND },
		{ "dot form is not the domain", ".example.com", D, "example.com", MAP_ABSENT },
		{ "parents flag", "example.com", P, "a.example.com", MAP_FOUND },
		{ "parents flag needs a whole label", "example.com", P, "badexample.com", MAP_ABSENT },
		{ "parents flag: dot form is literal", ".example.com", P, "a.example.com", MAP_ABSENT },
		{ "first match wins: excluded", "!a.example.com example.com", P, "a.example.com", MAP_ABSENT },
		{ "first match wins: included", "!a.example.com example.com", P, "b.example.com", MAP_FOUND },
		{ "two exclamation marks", "!!a", 0, "a", MAP_FOUND },
		{ "a table", "inline:{a=1}", 0, "A", MAP_FOUND },
		{ "a table: parents with dot", "inline:{.example.com=1}", D, "a.b.example.com", MAP_FOUND },
		{ "a table: parents without dot", "inline:{example.com=1}", P, "a.b.example.com", MAP_FOUND },
		{ "a table: no parents for strings", "inline:{.example.com=1}", 0, "a.example.com", MAP_ABSENT },
		{ "not in a table", "!inline:{a=1} static:x", 0, "a", MAP_ABSENT },
		{ "patterns see no parents", "regexp:{{/^example.com$/ x}}", P, "a.example.com", MAP_ABSENT },
		{ "a failing table", "fail:x a", 0, "a", MAP_DEFER },
		{ "matched before the failing table", "a fail:x", 0, "a", MAP_FOUND },
		{ "an address literal", "[192.0.2.1]", D, "[192.0.2.1]", MAP_FOUND },
		{ "an IPv6 literal", "[IPv6:2001:db8::1]", D, "[ipv6:2001:db8::1]", MAP_FOUND },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (in_strlist(rows[i].spec, rows[i].flags, rows[i].key) != rows[i].want)
			fail_msg("%s: \"%s\" in \"%s\"", rows[i].name, rows[i].key, rows[i].spec);
}

static enum map_result
in_addrlist(const char *spec, unsigned flags, const char *name, const char *addr)
{
	struct arena *a = arena_new(1 << 16);
	struct fault why = { 0 };
	struct addrlist *l;
	enum map_result r;

	if (!addrlist_open(span_str(spec), flags, &env, &l, &why))
		fail_msg("%s: %s", spec, why.text);
	r = addrlist_find(l, span_str(name), span_str(addr), NULL, a, NULL, &why);
	addrlist_free(&l);
	arena_free(&a);
	return r;
}

static void
addresses(void **state)
{
	static const struct {
		const char *name, *spec;
		unsigned flags;
		const char *host, *addr;
		enum map_result want;
	} rows[] = {
		{ "in a network", "10.0.0.0/8", 0, "", "10.1.2.3", MAP_FOUND },
		{ "outside", "10.0.0.0/8", 0, "", "11.1.2.3", MAP_ABSENT },
		{ "one address", "192.0.2.1", 0, "unknown", "192.0.2.1", MAP_FOUND },
		{ "IPv6 network", "[2001:db8::]/32", 0, "", "2001:db8:9::1", MAP_FOUND },
		{ "IPv6 network, bits inside a byte", "[2001:db8::]/29", 0, "", "2001:dbf::1", MAP_FOUND },
		{ "IPv6 address", "[::1]", 0, "", "::1", MAP_FOUND },
		{ "mapped", "127.0.0.0/8", 0, "", "::ffff:127.0.0.1", MAP_FOUND },
		{ "excluded first", "!10.1.0.0/16, 10.0.0.0/8", 0, "", "10.1.2.3", MAP_ABSENT },
		{ "host name", "mail.example.com", 0, "MAIL.example.com", "192.0.2.1", MAP_FOUND },
		{ "host below a domain", ".example.com", 0, "mail.example.com", "192.0.2.1", MAP_FOUND },
		{ "host below, parents", "example.com", ADDRLIST_PARENTS, "mail.example.com", "192.0.2.1", MAP_FOUND },
		{ "no name, no match", "example.com", ADDRLIST_PARENTS, "", "192.0.2.1", MAP_ABSENT },
		{ "a table by address", "inline:{192.0.2.1=x}", 0, "h", "192.0.2.1", MAP_FOUND },
		{ "a table by name", "inline:{h=x}", 0, "h", "192.0.2.1", MAP_FOUND },
		{ "cidr table", "cidr:{{192.0.2.0/24 x}}", 0, "h", "192.0.2.1", MAP_FOUND },
		{ "failing table", "fail:x", 0, "h", "192.0.2.1", MAP_DEFER },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (in_addrlist(rows[i].spec, rows[i].flags, rows[i].host, rows[i].addr) != rows[i].want)
			fail_msg("%s: %s[%s] in \"%s\"", rows[i].name, rows[i].host, rows[i].addr, rows[i].spec);
}

static void
bad_lists(void **state)
{
	static const char *const specs[] = { "10.0.0.1/8", "10.0.0", "[::1", "mysql:x", "10.0.0.0/8 !", "::1" };

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct addrlist *l;
		struct fault why = { 0 };

		if (addrlist_open(span_str(specs[i]), 0, &env, &l, &why) || why.text[0] == '\0')
			fail_msg("%s", specs[i]);
	}
}

static void
files_of_patterns(void **state)
{
	struct arena *a = arena_new(1 << 16);
	struct fault why = { 0 };
	struct addrlist *l;
	const char *path = kit_file("nets", "# ours\n10.0.0.0/8,\n  !192.0.2.7 192.0.2.0/24\nhost.example\n");

	(void)state;
	assert_true(addrlist_open(span_str(path), 0, &env, &l, &why));
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("10.1.1.1"), NULL, a, NULL, &why), MAP_FOUND);
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("192.0.2.7"), NULL, a, NULL, &why), MAP_ABSENT);
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("192.0.2.8"), NULL, a, NULL, &why), MAP_FOUND);
	expect_log("line 1: \"10.0.0.1/8\" has host bits");
	expect_log("nets:1: \"10.0.0.1/8\" has host bits");
	kit_file("nets", "10.0.0.1/8\n192.0.2.8\n");
	now_us += 1000001;
	/* half a list is none */
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("192.0.2.8"), NULL, a, NULL, &why), MAP_DEFER);
	assert_non_null(strstr(why.text, "nets: line 1"));
	kit_file("nets", "192.0.2.9\n");
	now_us += 1000001;
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("192.0.2.9"), NULL, a, NULL, &why), MAP_FOUND);
	addrlist_free(&l);

	assert_true(addrlist_open(SPAN("!/nonexistent/file 10.0.0.0/8"), 0, &env, &l, &why));
	expect_log("/nonexistent/file: No such file");
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("10.1.1.1"), NULL, a, NULL, &why), MAP_DEFER);
	addrlist_free(&l);
	snprintf(why.text, sizeof(why.text), "!%s 10.0.0.0/8", path);
	assert_true(addrlist_open(span_str(why.text), 0, &env, &l, NULL));
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("192.0.2.9"), NULL, a, NULL, &why), MAP_ABSENT);
	assert_int_equal(addrlist_find(l, SPAN(""), SPAN("10.1.1.1"), NULL, a, NULL, &why), MAP_FOUND);
	addrlist_free(&l);
	arena_free(&a);
}

static void
address_keys(void **state)
{
	enum { V = ADDRKEYS_VIRTUAL, A = ADDRKEYS_ACCESS | ADDRKEY_PARENTS,
		T = ADDRKEY_FULL | ADDRKEY_NOEXT | ADDRKEY_DOMAIN | ADDRKEY_DOT_PARENTS | ADDRKEY_STAR };
	static const struct {
		const char *name, *spec;
		unsigned keys;
		bool local;
		const char *addr, *want, *ext;
	} rows[] = {
		{ "whole address first", "inline:{u+x@d.e=1,u@d.e=2}", V, false, "u+x@d.e", "1", "" },
		{ "then without extension", "inline:{u@d.e=2,@d.e=3}", V, false, "U+x@D.e", "2", "+x" },
		{ "local part of our domain", "inline:{u+x=1,u=2,@d.e=3}", V, true, "u+x@d.e", "1", "" },
		{ "user of our domain", "inline:{u=2,@d.e=3}", V, true, "u+x@d.e", "2", "+x" },
		{ "user of another domain is not asked", "inline:{u=2,@d.e=3}", V, false, "u+x@d.e", "3", "" },
		{ "domain last", "inline:{@d.e=3}", V, true, "u+x@d.e", "3", "" },
		{ "parents are not for virtual", "inline:{.e=3,e=4,d.e=5}", V, true, "u@d.e", NULL, "" },
		{ "access: domain before user@", "inline:{d.e=1,u@=2}", A, false, "u@d.e", "1", "" },
		{ "access: parent", "inline:{e=1}", A, false, "u@c.d.e", "1", "" },
		{ "access: user@", "inline:{u@=2}", A, false, "u+x@d.e", "2", "" },
		{ "transport: .parent", "inline:{.e=1,e=2}", T, false, "u@c.d.e", "1", "" },
		{ "transport: star", "inline:{*=9}", T, false, "u@d.e", "9", "" },
		{ "full key for patterns", "regexp:{{/^u\\+x@d/ r}}", V, false, "u+x@d.e", "r", "" },
		{ "partial keys not for patterns", "regexp:{{/^u@d/ r}}", V, false, "u+x@d.e", NULL, "" },
		{ "quoted local part", "inline:{ {\"a b\"@d.e=q} }", V, false, "a b@d.e", "q", "" },
		{ "bare local part", "inline:{u=1}", V, true, "u", "1", "" },
		{ "no delimiter at the front", "inline:{@d.e=3}", V, false, "+x@d.e", "3", "" },
	};
	struct arena *a = arena_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addrkey_query q = { .addr = span_str(rows[i].addr), .keys = rows[i].keys,
			.delimiter = "+", .local_domain = rows[i].local };
		struct fault why = { 0 };
		struct map_hit hit;
		struct span ext;
		struct maps *m;
		enum map_result r;

		assert_true(maps_open(span_str(rows[i].spec), 0, &env, &m, &why));
		r = addrkeys_find(m, &q, NULL, a, &hit, &ext, &why);
		if (rows[i].want == NULL ? r != MAP_ABSENT : r != MAP_FOUND ||
		    !span_eq(hit.value, span_str(rows[i].want)) || !span_eq(ext, span_str(rows[i].ext)))
			fail_msg("%s: result %d \"%.*s\" ext \"%.*s\"", rows[i].name, r, SPAN_ARG(hit.value), SPAN_ARG(ext));
		maps_unref(&m);
	}
	arena_free(&a);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(names), KIT_TEST(addresses), KIT_TEST(bad_lists), KIT_TEST(files_of_patterns),
		KIT_TEST(address_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
