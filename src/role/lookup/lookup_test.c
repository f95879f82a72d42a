/* Which tables are served, and what is answered. */
#include "role/lookup/lookup.c" /* NOLINT: its statics are what is tested */

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "kit/kit.h"
#include "maps/build.h"

static struct lookup_state
begin(void)
{
	struct lookup_state s = {
		.env = { .data_directory = "", .default_database_type = "cdb", .alias_tables = "", .direct = true },
		.a = arena_new(CONF_MAX), .scratch = arena_new(ANSWER_ROOM),
	};

	return s;
}

static void
end(struct lookup_state *s)
{
	LIST_EACH(n, &s->tables) {
		struct lookup_table *t = LIST_ITEM(n, struct lookup_table, node);

		maps_unref(&t->maps);
	}
	arena_free(&s->a);
	arena_free(&s->scratch);
}

static enum map_result
ask(struct lookup_state *s, const char *table, const char *key, struct map_hit *hit, struct fault *why)
{
	struct ipc_lookup_ask m = { .table = span_str(table), .key = span_str(key) };

	return answer(s, &m, hit, why);
}

static void
only_what_is_configured(void **state)
{
	struct lookup_state s = begin();
	struct build_job job = { .text = SPAN("key value\n"), .name = "src" };
	struct build_report report;
	struct map_hit hit;
	struct fault why = { 0 };
	char path[600], label[600];

	(void)state;
	list_init(&s.tables);
	snprintf(path, sizeof(path), "%s/t.lmdb", kit_dir());
	assert_true(build_lmdb(&job, path, &report, &why));
	snprintf(label, sizeof(label), "lmdb:%s/t", kit_dir());
	scan_labels(SPAN("x = proxy:unix:passwd.byname $y unix:/run/x.sock unix:passwd.byname"), "unix", on_unix, &s);
	scan_labels(span_str(label), "lmdb", add_table, &s);
	assert_int_equal(ask(&s, label, "KEY", &hit, &why), MAP_FOUND);
	assert_span(hit.value, "value");
	assert_int_equal(ask(&s, label, "other", &hit, &why), MAP_ABSENT);
	assert_int_equal(ask(&s, "unix:passwd.byname", "root", &hit, &why), MAP_FOUND);
	assert_int_equal(ask(&s, "unix:group.byname", "root", &hit, &why), MAP_DEFER);
	assert_int_equal(ask(&s, "lmdb:/etc/other", "root", &hit, &why), MAP_DEFER);
	assert_string_equal(why.text, "the configuration names no such table");
	end(&s);
}

static void
a_missing_file_defers(void **state)
{
	struct lookup_state s = begin();
	struct map_hit hit;
	struct fault why = { 0 };

	(void)state;
	list_init(&s.tables);
	expect_log("lmdb:/nonexistent/t: No such file or directory");
	scan_labels(SPAN("a lmdb:/nonexistent/t b"), "lmdb", add_table, &s);
	assert_int_equal(ask(&s, "lmdb:/nonexistent/t", "k", &hit, &why), MAP_DEFER);
	assert_span(without_label(span_str(why.text), SPAN("lmdb:/nonexistent/t")), "No such file or directory: /nonexistent/t.lmdb; build it: signet map build lmdb:/nonexistent/t");
	end(&s);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = { KIT_TEST(only_what_is_configured), KIT_TEST(a_missing_file_defers) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
