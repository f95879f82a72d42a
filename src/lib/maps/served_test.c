/* hash: and its kin served from a cdb built out of their text; the cdb reader against damage. */
#include "maps/served.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"
#include "maps/build.h"
#include "maps/cdb_read.h"
#include "maps/maps.h"

static int64_t now_us = 1000000;

static int64_t
fake_now(void)
{
	return now_us;
}

static struct maps_env
env_here(void)
{
	static char maps_dir[600];

	snprintf(maps_dir, sizeof(maps_dir), "%s/maps", kit_dir());
	fd_mkdir(AT_FDCWD, maps_dir, 0700);
	return (struct maps_env){ .data_directory = kit_dir(), .default_database_type = "hash",
		.alias_tables = "", .now_us = fake_now };
}

static void
build_one(const struct served *s)
{
	int fd = fd_open(AT_FDCWD, s->source, O_RDONLY, 0);
	struct fault why = { 0 };

	if (fd < 0 || !served_build(s, fd, &why))
		fail_msg("%s: %s", s->source, why.text);
	fd_close(&fd);
}

static void
expect_answer(const struct maps *m, const char *key, enum map_result want, const char *value)
{
	struct arena *a = arena_new(1 << 20);
	struct fault why = { 0 };
	struct map_hit hit;
	enum map_result r = maps_find(m, span_str(key), NULL, a, &hit, &why);

	if (r != want || (r == MAP_FOUND && !span_eq(hit.value, span_str(value))) ||
	    (r == MAP_DEFER && strstr(why.text, value) == NULL))
		fail_msg("%s: result %d \"%.*s\" fault \"%s\"", key, r, r == MAP_FOUND ? (int)hit.value.n : 0,
		    hit.value.p, why.text);
	arena_free(&a);
}

static void
finds_tables_in_text(void **state)
{
	struct maps_env env = { .data_directory = "/d", .alias_tables = "hash:/etc/aliases, nis:mail.aliases" };
	struct arena *a = arena_new(1 << 20);
	struct span text = SPAN("alias_maps = hash:/etc/aliases\nx = proxy:btree:/a/b,hash:/etc/aliases\n"
	    "y = unionmap:{hash:/c d, static:x}\nz = $mhash:/no lmdb:/e\nr = reject_hash:/q\nw = hash:\nv=dbm:/dd\n");
	struct served *s = served_list(text, &env, a);
	size_t n = 0, aliases = 0;

	(void)state;
	for (; s != NULL; s = s->next) {
		n++;
		aliases += s->aliases;
		if (s->aliases)
			assert_string_equal(s->cdb, "/d/maps/%2fetc%2faliases.aliases.cdb");
		if (span_eq(s->label, SPAN("btree:/a/b")))
			assert_string_equal(s->cdb, "/d/maps/%2fa%2fb.cdb");
	}
	assert_int_equal(n, 4);
	assert_int_equal(aliases, 1);
	arena_free(&a);
}

static void
long_paths_stay_apart(void **state)
{
	char one[1200] = "/", two[1200];
	struct buf x, y;

	(void)state;
	memset(one + 1, 'a', 1000);
	memcpy(two, one, sizeof(two));
	two[990] = 'b';
	buf_init(&x, 8192);
	buf_init(&y, 8192);
	served_path(&x, "/d", span_str(one), false);
	served_path(&y, "/d", span_str(two), false);
	assert_false(span_eq(buf_span(&x), buf_span(&y)));
	assert_true(x.n < 260);
	buf_release(&x);
	buf_release(&y);
}

static void
hash_is_served(void **state)
{
	struct maps_env env = env_here();
	struct arena *a = arena_new(1 << 20);
	const char *path = kit_file("virtual", "A@b.example c@d.example\n");
	struct fault why = { 0 };
	struct served *s;
	struct maps *m;
	char spec[600];

	(void)state;
	snprintf(spec, sizeof(spec), "hash:%s", path);
	assert_true(maps_open(span_str(spec), 0, &env, &m, &why));
	expect_log("not built yet");
	expect_answer(m, "a@b.example", MAP_DEFER, "not built yet");
	s = served_list(span_str(spec), &env, a);
	assert_int_equal(served_check(s), SERVED_STALE);
	assert_true(served_due(s, 1));
	assert_false(served_due(s, 2));         /* failed, or still running */
	assert_true(served_due(s, 1 + SERVED_RETRY_US));
	build_one(s);
	assert_int_equal(served_check(s), SERVED_FRESH);
	assert_false(served_due(s, 2 + SERVED_RETRY_US));
	expect_answer(m, "a@b.example", MAP_DEFER, "not built yet");
	now_us += 1000001;
	expect_answer(m, "a@B.example", MAP_FOUND, "c@d.example");

	kit_file("virtual", "a@b.example other\n");
	assert_int_equal(served_check(s), SERVED_STALE);
	assert_true(served_due(s, 3 + SERVED_RETRY_US));
	now_us += 1000001;
	expect_answer(m, "a@b.example", MAP_FOUND, "c@d.example");
	build_one(s);
	now_us += 1000001;
	expect_answer(m, "a@b.example", MAP_FOUND, "other");

	unlink(path);
	assert_int_equal(served_check(s), SERVED_NO_SOURCE);
	expect_log("the source text is gone");
	now_us += 1000001;
	expect_answer(m, "a@b.example", MAP_DEFER, "source text is gone");
	kit_file("virtual", "a@b.example back\n");
	build_one(s);
	now_us += 1000001;
	expect_answer(m, "a@b.example", MAP_FOUND, "back");
	expect_log("old entries are used");
	kit_file("virtual", "a@b.example newer\n");
	for (int i = 0; i < 40; i++) {
		now_us += 1000001;
		expect_answer(m, "a@b.example", MAP_FOUND, "back");
	}
	maps_unref(&m);
	arena_free(&a);
}

static void
aliases_are_read_as_such(void **state)
{
	struct maps_env env = env_here();
	struct arena *a = arena_new(1 << 20);
	const char *path = kit_file("aliases", "# c\nroot: admin, |\"/bin/x y\"\n\"John Doe\":\n  jd@h.example,\n  :include:/l\nbad line\n");
	struct served *s;
	struct maps *m;
	struct stat st;
	char spec[600], list[620];

	(void)state;
	snprintf(spec, sizeof(spec), "hash:%s", path);
	snprintf(list, sizeof(list), "nis:x proxy:%s", spec);
	env.alias_tables = list;
	expect_log("aliases:6: expected \"name: value\"");
	assert_int_equal(chmod(path, 0600), 0);
	s = served_list(span_str(spec), &env, a);
	build_one(s);
	assert_int_equal(stat(s->cdb, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(maps_open(span_str(spec), 0, &env, &m, NULL));
	expect_answer(m, "Root", MAP_FOUND, "admin, |\"/bin/x y\"");
	expect_answer(m, "john doe", MAP_FOUND, "jd@h.example,  :include:/l");
	expect_answer(m, "bad", MAP_ABSENT, "");
	maps_unref(&m);
	arena_free(&a);
}

static void
strict_tables_see_bad_lines(void **state)
{
	struct maps_env env = env_here();
	struct arena *a = arena_new(1 << 20);
	const char *path = kit_file("policy", "a.example dane\nb.example\n");
	struct maps *strict, *lenient;
	struct served *s;
	char spec[600];

	(void)state;
	snprintf(spec, sizeof(spec), "hash:%s", path);
	expect_log("policy:2: expected \"key value\"");
	expect_log("policy: line 2: expected \"key value\"");
	s = served_list(span_str(spec), &env, a);
	build_one(s);
	assert_true(maps_open(span_str(spec), MAPS_STRICT, &env, &strict, NULL));
	assert_true(maps_open(span_str(spec), 0, &env, &lenient, NULL));
	expect_answer(strict, "a.example", MAP_DEFER, "line 2: expected");
	expect_answer(lenient, "a.example", MAP_FOUND, "dane");
	kit_file("policy", "a.example dane-only\n");
	build_one(s);
	now_us += 1000001;
	expect_answer(strict, "a.example", MAP_FOUND, "dane-only");
	maps_unref(&strict);
	maps_unref(&lenient);
	arena_free(&a);
}

/* A cdb with values from empty to the maximum. */
static struct span
make_cdb(struct arena *a, const char *path, struct span text)
{
	struct build_job job = { .text = text, .name = "src" };
	struct build_report report;
	struct buf b;
	struct span copy;
	int fd = fd_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(build_cdb(&job, fd, &report, NULL));
	fd_close(&fd);
	buf_init(&b, 4 << 20);
	assert_int_equal(fd_read_file(AT_FDCWD, path, &b), 0);
	copy = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return copy;
}

static void
write_file(const char *path, struct span s)
{
	int fd = fd_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(fd_write_all(fd, s.p, s.n), 0);
	fd_close(&fd);
}

static void
probe_all(const char *path)
{
	struct cdb_file c;
	struct arena *a = arena_new(1 << 20);
	struct span value;
	struct fault why;
	int fd = fd_open(AT_FDCWD, path, O_RDONLY, 0);

	if (cdb_file_init(&c, fd, &why)) {
		for (int i = 0; i < 20; i++) {
			char key[16];
			enum map_result r;

			snprintf(key, sizeof(key), "key%d", i);
			r = cdb_file_find(&c, span_str(key), a, &value, &why);
			assert_true(r == MAP_FOUND || r == MAP_ABSENT || r == MAP_DEFER);
			arena_clear(a);
		}
	}
	cdb_file_release(&c);
	arena_free(&a);
}

static void
damage_never_crashes(void **state)
{
	struct arena *a = arena_new(8 << 20);
	char path[600], text[2000];
	size_t n = 0;
	struct span good;
	unsigned seed = 1;

	(void)state;
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "key%d value number %d\n", i, i);
	snprintf(path, sizeof(path), "%s/c.cdb", kit_dir());
	good = make_cdb(a, path, span_of(text, n));
	for (size_t cut = 0; cut < good.n; cut += 7) {
		write_file(path, span_slice(good, 0, cut));
		probe_all(path);
	}
	for (int round = 0; round < 300; round++) {
		char *bad = arena_cstr(a, good);

		for (int i = 0; i < 20; i++) {
			seed = seed * 1103515245u + 12345u;
			bad[(seed >> 8) % good.n] = (char)(seed >> 3);
		}
		write_file(path, span_of(bad, good.n));
		probe_all(path);
	}
	arena_free(&a);
}

static void
longest_values(void **state)
{
	struct arena *a = arena_new(8 << 20);
	struct buf text;
	struct span value;
	struct cdb_file c;
	char path[600];
	int fd;

	(void)state;
	buf_init(&text, 1 << 20);
	buf_add_str(&text, "most ");
	for (unsigned i = 0; i < MAPS_VALUE_MAX; i++)
		buf_addc(&text, 'x');
	buf_add_str(&text, "\nmore ");
	for (unsigned i = 0; i <= MAPS_VALUE_MAX; i++)
		buf_addc(&text, 'y');
	buf_addc(&text, '\n');
	snprintf(path, sizeof(path), "%s/c.cdb", kit_dir());
	expect_log("src:2: the value is longer than");
	make_cdb(a, path, buf_span(&text));
	fd = fd_open(AT_FDCWD, path, O_RDONLY, 0);
	assert_true(cdb_file_init(&c, fd, NULL));
	assert_int_equal(cdb_file_find(&c, SPAN("most"), a, &value, NULL), MAP_FOUND);
	assert_int_equal(value.n, MAPS_VALUE_MAX);
	assert_int_equal(cdb_file_find(&c, SPAN("more"), a, &value, NULL), MAP_ABSENT);
	cdb_file_release(&c);
	buf_release(&text);
	arena_free(&a);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(finds_tables_in_text), KIT_TEST(long_paths_stay_apart), KIT_TEST(hash_is_served),
		KIT_TEST(aliases_are_read_as_such), KIT_TEST(strict_tables_see_bad_lines), KIT_TEST(damage_never_crashes), KIT_TEST(longest_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
