/* Tables in process: what each type knows, how it fails, when it is read again. */
#include "maps/maps.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "kit/kit.h"
#include "maps/build.h"

static int64_t now_us = 1000000;

static int64_t
fake_now(void)
{
	return now_us;
}

static struct maps_env env = { .data_directory = "/nonexistent", .default_database_type = "texthash",
	.alias_tables = "", .now_us = fake_now };

static enum map_result
look(const struct maps *m, const char *key, char *value, size_t n, struct fault *why)
{
	struct arena *a = arena_new(1 << 20);
	struct map_hit hit;
	enum map_result r = maps_find(m, span_str(key), NULL, a, &hit, why);

	snprintf(value, n, "%.*s", r == MAP_FOUND ? (int)hit.value.n : 0, hit.value.p);
	arena_free(&a);
	return r;
}

static struct maps *
must_open(const char *spec, unsigned flags)
{
	struct maps *m;
	struct fault why = { 0 };

	if (!maps_open(span_str(spec), flags, &env, &m, &why))
		fail_msg("%s: %s", spec, why.text);
	return m;
}

/* `want` NULL: absent; "!" in front: DEFER with this text somewhere. */
static void
check_in(const struct maps *m, const char *spec, const char *key, const char *want)
{
	char value[4096];
	struct fault why = { 0 };
	enum map_result r = look(m, key, value, sizeof(value), &why);

	if (want == NULL) {
		if (r != MAP_ABSENT)
			fail_msg("%s of %s: result %d \"%s\", want absent", key, spec, r, value);
	} else if (want[0] == '!') {
		if (r != MAP_DEFER || strstr(why.text, want + 1) == NULL)
			fail_msg("%s of %s: result %d \"%s\" fault \"%s\", want %s", key, spec, r, value, why.text, want);
	} else if (r != MAP_FOUND || strcmp(value, want) != 0) {
		fail_msg("%s of %s: result %d \"%s\" fault \"%s\", want %s", key, spec, r, value, why.text, want);
	}
}

static void
check(const char *spec, const char *key, const char *want)
{
	struct maps *m = must_open(spec, 0);

	check_in(m, spec, key, want);
	maps_unref(&m);
}

/* A header of 5 kB is a key that no table keeps, but a pattern has to see it. */
static void
long_keys_reach_patterns(void **state)
{
	char key[3 * MAPS_KEY_MAX];

	(void)state;
	memset(key, 'x', sizeof(key));
	memcpy(key + sizeof(key) - 10, "name=a.exe", 10);
	key[sizeof(key) - 1] = '\0';
	check("regexp:{ {/\\.ex$/ REJECT} }", key, "REJECT");
	check("pcre:{ {/\\.ex$/ REJECT} }", key, "REJECT");
	check("inline:{a=1}, static:x", key, "x");
	check("unionmap:{inline:{a=1}, pcre:{ {/\\.ex$/ REJECT} }}", key, "REJECT");
	check("fail:x", key, "!always fails");
	check("inline:{a=1}, texthash:/nonexistent/table", key, NULL);
}

static void
plain_tables(void **state)
{
	static const struct {
		const char *name, *spec, *key, *want;
	} rows[] = {
		{ "an empty list knows nothing", "", "a", NULL },
		{ "inline finds", "inline:{a=b, {c = d e}}", "c", "d e" },
		{ "inline folds the key", "inline:{Abc=b}", "aBC", "b" },
		{ "the first table that knows wins", "inline:{a=1}, inline:{a=2 b=3}", "a", "1" },
		{ "the next table is asked", "inline:{a=1}, inline:{a=2 b=3}", "b", "3" },
		{ "proxy: is the same table", "proxy:inline:{a=1}", "a", "1" },
		{ "static knows everything", "static:x", "whatever", "x" },
		{ "static in braces has blanks", "static:{550 go away}", "k", "550 go away" },
		{ "static may hold colons", "static:smtp:[h]:25", "k", "smtp:[h]:25" },
		{ "fail defers", "fail:it", "k", "!always fails" },
		{ "an earlier hit hides a failing table", "inline:{a=1} fail:x", "a", "1" },
		{ "a failing table hides a later hit", "fail:x inline:{a=1}", "a", "!always fails" },
		{ "union joins by commas", "unionmap:{static:a, inline:{k=b,q=c}, static:{d e}}", "k", "a,b,d e" },
		{ "union without any hit is absent", "unionmap:{inline:{a=b}, inline:{c=d}}", "k", NULL },
		{ "union fails with its parts", "unionmap:{static:a, fail:x}", "k", "!always fails" },
		{ "pipe feeds on", "pipemap:{inline:{a=b}, inline:{b=c}, static:z}", "a", "z" },
		{ "pipe ends where nothing is found", "pipemap:{inline:{a=b}, inline:{c=d}}", "a", NULL },
		{ "pipe inside union inside pipe", "pipemap:{unionmap:{inline:{a=b}},pipemap:{inline:{b=c}}}", "a", "c" },
		{ "randmap of one", "randmap:{x}", "k", "x" },
		{ "environ", "environ:x", "SIGNET_MAPS_TEST", "yes" },
		{ "an empty result is a broken table", "inline:{a=}", "a", "!empty string" },
		{ "an empty key is absent", "static:x", "", NULL },
	};

	(void)state;
	setenv("SIGNET_MAPS_TEST", "yes", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(rows[i].spec, rows[i].key, rows[i].want);
	/* as in Postfix */
	expect_log("\"A\" is here a second time: the last entry counts");
	check("inline:{a=1, {A = 2}}", "a", "2");
}

static void
refused(void **state)
{
	static const struct {
		const char *spec, *text;
	} rows[] = {
		{ "mysql:/etc/x", "\"mysql\" is not supported" },
		{ "ldap:/etc/x", "\"ldap\" is not supported" },
		{ "internal:x", "\"internal\" is not supported" },
		{ "hahs:/etc/x", "unknown table type \"hahs\"" },
		{ "hash:", "type:name" },
		{ "name", "type:name" },
		{ "/etc/x", "type:name" },
		{ "inline:{}", "needs an entry" },
		{ "inline:{ a = b }", "key = value" },
		{ "inline:x", "expected inline:{" },
		{ "inline:{a=b", "expected inline:{" },
		{ "static:{}", "no value" },
		{ "unionmap:{}", "unionmap:{ one" },
		{ "unionmap:{pgsql:x}", "pgsql" },
		{ "pipemap:{inline:{a=b},nope}", "type:name" },
		{ "inline:{a=b} nis:x", "nis" },
		{ "unix:shadow.byname", "only passwd.byname" },
		{ "cidr:{ 10.0.0.0/8 x }", "rule in braces" },
		{ "unionmap:{unionmap:{unionmap:{unionmap:{unionmap:{unionmap:{unionmap:{unionmap:{unionmap:{static:a}}}}}}}}}",
		    "nested too deeply" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct maps *m;
		struct fault why = { 0 };

		if (maps_open(span_str(rows[i].spec), MAPS_STRICT, &env, &m, &why))
			fail_msg("%s was opened", rows[i].spec);
		assert_null(m);
		if (strstr(why.text, rows[i].text) == NULL)
			fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].spec, why.text, rows[i].text);
	}
}

static void
texthash_finds_and_reloads(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct map_hit hit;
	struct maps *m;
	char spec[600];
	const char *path;

	(void)state;
	path = kit_file("t", "# c\nKey  v1\n\"a b\"@x.example two words \nk2 first\n # not the end\n  second\n");
	snprintf(spec, sizeof(spec), "texthash:%s", path);
	m = must_open(spec, 0);
	check_in(m, spec, "KEY", "v1");
	check_in(m, spec, "\"a b\"@x.example", "two words");
	check_in(m, spec, "k2", "first  second");
	assert_int_equal(maps_find(m, SPAN("k2"), NULL, a, &hit, NULL), MAP_FOUND);
	assert_int_equal(hit.line, 4);
	assert_span(hit.file, path);
	assert_span(hit.table, spec);

	kit_file("t", "key v2 longer\n");
	check_in(m, spec, "key", "v1");         /* not looked at again within the second */
	now_us += 1000001;
	check_in(m, spec, "key", "v2 longer");
	check_in(m, spec, "k2", NULL);

	expect_log("No such file or directory");
	unlink(path);
	now_us += 1000001;
	check_in(m, spec, "key", "!No such file");
	check_in(m, spec, "other", "!No such file");
	kit_file("t", "key v3\n");
	check_in(m, spec, "key", "!No such file");
	now_us += 1000001;
	check_in(m, spec, "key", "v3");
	maps_unref(&m);
	arena_free(&a);
}

static void
broken_lines(void **state)
{
	char spec[600];
	struct maps *m;
	struct fault why;

	(void)state;
	snprintf(spec, sizeof(spec), "texthash:%s", kit_file("t", "a 1\nnovalue\nb 2\na 3\n\"open x\n"));
	expect_log("t:2: expected \"key value\", there is no value: this line is skipped");
	expect_log("t:4: \"a\" is here a second time");
	expect_log("t:5: a double quote is not closed");
	expect_log("texthash:");
	m = must_open(spec, 0);
	check_in(m, spec, "a", "1");
	check_in(m, spec, "b", "2");
	assert_true(maps_check(m, &why));
	maps_unref(&m);
	m = must_open(spec, MAPS_STRICT);
	check_in(m, spec, "a", "!line 2: expected");
	assert_false(maps_check(m, &why));
	kit_file("t", "a 1\n");
	now_us += 1000001;
	check_in(m, spec, "a", "1");
	maps_unref(&m);
}

static void
no_fold_keeps_case(void **state)
{
	struct maps *m = must_open("inline:{Ab=c}", MAPS_NO_FOLD);

	(void)state;
	check_in(m, "inline", "Ab", "c");
	check_in(m, "inline", "ab", NULL);
	maps_unref(&m);
}

static void
partial_keys_pass_over_patterns(void **state)
{
	struct maps *m = must_open("regexp:{ {/./ R} } pcre:{ {/./ P} } cidr:{ {0.0.0.0/0 C} } inline:{10.0.0=I}", 0);
	struct arena *a = arena_new(1 << 16);
	struct map_hit hit;

	(void)state;
	assert_int_equal(maps_find_partial(m, SPAN("10.0.0"), NULL, a, &hit, NULL), MAP_FOUND);
	assert_span(hit.value, "I");
	assert_int_equal(maps_find(m, SPAN("10.0.0"), NULL, a, &hit, NULL), MAP_FOUND);
	assert_span(hit.value, "R");
	arena_free(&a);
	maps_unref(&m);
}

static void
remote_tables_need_asks(void **state)
{
	(void)state;
	check("lmdb:/etc/x", "k", "!cannot be asked here");
	check("unix:passwd.byname", "root", "!cannot be asked here");
}

static void
direct_unix(void **state)
{
	struct arena *a = arena_new(1 << 16);
	struct map_hit hit;
	struct maps *m;

	(void)state;
	env.direct = true;
	check("unix:passwd.byname", "no.such.user", NULL);
	m = must_open("unix:passwd.byname unix:group.byname", 0);
	assert_int_equal(maps_find(m, SPAN("ROOT"), NULL, a, &hit, NULL), MAP_FOUND);
	assert_true(span_starts(hit.value, SPAN("root:")));
	assert_true(span_find(hit.value, SPAN(":0:0:")) > 0);
	maps_unref(&m);
	arena_free(&a);
	env.direct = false;
}

static int
count_entries(struct build_job *job, const char *path, bool lmdb)
{
	struct build_report report;
	struct fault why = { 0 };
	bool ok;
	int fd;

	if (lmdb) {
		ok = build_lmdb(job, path, &report, &why);
	} else {
		fd = fd_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		assert_true(fd >= 0);
		ok = build_cdb(job, fd, &report, &why);
		fd_close(&fd);
	}
	if (!ok)
		fail_msg("build: %s", why.text);
	return (int)report.entries;
}

static void
built_tables(void **state)
{
	struct build_job job = { .text = SPAN("Key value one\nk2 v2\nk2 again\nbad\n"), .name = "src" };
	char path[600], spec[600];

	(void)state;
	expect_log("src:3: \"k2\" is here a second time");
	expect_log("src:4: expected \"key value\"");
	snprintf(path, sizeof(path), "%s/db.cdb", kit_dir());
	assert_int_equal(count_entries(&job, path, false), 2);
	snprintf(spec, sizeof(spec), "cdb:%s/db", kit_dir());
	check(spec, "KEY", "value one");
	check(spec, "k2", "v2");
	check(spec, "k3", NULL);

	snprintf(path, sizeof(path), "%s/db.lmdb", kit_dir());
	assert_int_equal(count_entries(&job, path, true), 2);
	snprintf(spec, sizeof(spec), "lmdb:%s/db", kit_dir());
	env.direct = true;
	check(spec, "KEY", "value one");
	check(spec, "k2", "v2");
	check(spec, "k3", NULL);
	expect_log("lmdb:/nonexistent/x: No such file");
	check("lmdb:/nonexistent/x", "a", "!No such file");
	env.direct = false;
}

static void
cdb_follows_its_file(void **state)
{
	struct build_job one = { .text = SPAN("k one\n"), .name = "src" };
	struct build_job two = { .text = SPAN("k two and more\n"), .name = "src" };
	char path[600], spec[600];
	struct maps *m;

	(void)state;
	snprintf(path, sizeof(path), "%s/db.cdb", kit_dir());
	snprintf(spec, sizeof(spec), "cdb:%s/db", kit_dir());
	m = must_open(spec, 0);
	expect_log("No such file");
	check_in(m, spec, "k", "!No such file");
	count_entries(&one, path, false);
	now_us += 1000001;
	check_in(m, spec, "k", "one");
	count_entries(&two, path, false);
	now_us += 1000001;
	check_in(m, spec, "k", "two and more");

	/* cut short while open: an answer of "defer", within the second and behind it */
	assert_int_equal(truncate(path, 2050), 0);
	check_in(m, spec, "k", "!damaged cdb");
	now_us += 1000001;
	check_in(m, spec, "k", "!damaged cdb");
	expect_log("too short for a cdb");
	assert_int_equal(truncate(path, 100), 0);
	now_us += 1000001;
	check_in(m, spec, "k", "!too short for a cdb");
	maps_unref(&m);
}

/* Prints what a lookup costs; asserts only that it is right. */
static void
hundred_thousand_rows(void **state)
{
	enum { ROWS = 100000, ASKED = 20000 };
	struct arena *a = arena_new(1 << 20);
	struct build_job job = { .name = "src" };
	struct map_hit hit;
	struct maps *m;
	struct buf text;
	int64_t start;
	char path[600], key[64];

	(void)state;
	buf_init(&text, 16 << 20);
	for (int i = 0; i < ROWS; i++)
		buf_addf(&text, "domain%d.example verify match=.mx%d.example\n", i, i % 97);
	job.text = buf_span(&text);
	snprintf(path, sizeof(path), "%s/big.cdb", kit_dir());
	assert_int_equal(count_entries(&job, path, false), ROWS);
	buf_release(&text);
	snprintf(path, sizeof(path), "cdb:%s/big", kit_dir());
	m = must_open(path, 0);
	start = clock_mono_us();
	for (int i = 0; i < ASKED; i++) {
		int n = (i * 7919) % (2 * ROWS);        /* half of them are not there */

		arena_clear(a);
		snprintf(key, sizeof(key), "Domain%d.example", n);
		assert_int_equal(maps_find(m, span_str(key), NULL, a, &hit, NULL), n < ROWS ? MAP_FOUND : MAP_ABSENT);
	}
	printf("cdb of %d rows: %.2f us a lookup\n", ROWS, (double)(clock_mono_us() - start) / ASKED);
	maps_unref(&m);
	arena_free(&a);
}

static void
shared_by_reference(void **state)
{
	struct maps *m = must_open("static:a", 0), *second = maps_ref(m);

	(void)state;
	maps_unref(&m);
	assert_null(m);
	check_in(second, "static:a", "k", "a");
	maps_unref(&second);
	maps_unref(&second);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(plain_tables), KIT_TEST(long_keys_reach_patterns), KIT_TEST(refused), KIT_TEST(texthash_finds_and_reloads),
		KIT_TEST(broken_lines), KIT_TEST(no_fold_keeps_case), KIT_TEST(partial_keys_pass_over_patterns),
		KIT_TEST(remote_tables_need_asks), KIT_TEST(direct_unix), KIT_TEST(built_tables),
		KIT_TEST(cdb_follows_its_file), KIT_TEST(shared_by_reference),
		KIT_TEST(hundred_thousand_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
