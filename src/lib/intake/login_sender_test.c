/* local_login_sender_maps: which sender which login may use, and that a table that fails is no permission. */
#include "intake/login_sender.h"

#include "conf/conf.h"
#include "conf/params.h"
#include "kit/kit.h"
#include "maps/maps.h"

static const struct row {
	const char *name, *table, *login, *sender;
	enum map_result want;
} rows[] = {
	{ "everybody may use everything by default", "static:*", "joe", "root@else.example", MAP_FOUND },
	{ "an address", "inline:{ {joe = joe@here.example, j@x.example} }", "joe", "j@x.example", MAP_FOUND },
	{ "in any case", "inline:{ {joe = J@X.example} }", "joe", "j@x.EXAMPLE", MAP_FOUND },
	{ "another address", "inline:{ {joe = joe@here.example} }", "joe", "ann@here.example", MAP_ABSENT },
	{ "another user", "inline:{ {joe = *} }", "ann", "ann@here.example", MAP_ABSENT },
	{ "extensions do not count", "inline:{ {joe = joe@here.example} }", "joe", "joe+lists@here.example", MAP_FOUND },
	{ "a domain", "inline:{ {joe = @x.example} }", "joe", "any.body@x.example", MAP_FOUND },
	{ "not its hosts", "inline:{ {joe = @x.example} }", "joe", "a@sub.x.example", MAP_ABSENT },
	{ "a sender without domain is one of $myorigin", "inline:{ {joe = joe@here.example} }", "joe", "joe", MAP_FOUND },
	{ "the star is no part of a pattern", "inline:{ {joe = *@x.example} }", "joe", "a@x.example", MAP_ABSENT },
	{ "the empty sender has its key", "inline:{ {joe = joe@here.example <>} }", "joe", "", MAP_FOUND },
	{ "and nothing else stands for it", "inline:{ {joe = joe@here.example @} }", "joe", "", MAP_ABSENT },
	{ "but the star", "inline:{ {joe = *} }", "joe", "", MAP_FOUND },
	{ "a uid without a name", "inline:{ {uid:1000 = *} {1000 = *} }", "", "a@x.example", MAP_FOUND },
	{ "another uid", "inline:{ {uid:1001 = *} }", "", "a@x.example", MAP_ABSENT },
	{ "a table that fails", "fail:x", "joe", "joe@here.example", MAP_DEFER },
};

static void
test_rows(void **state)
{
	static const char main_cf[] = "compatibility_level = 3.10\nmyorigin = here.example\nrecipient_delimiter = +\n";
	struct conf_report report;
	struct conf *conf;

	(void)state;
	conf_report_init(&report);
	conf_parse(span_str(main_cf), SPAN(""), &conf, &report);
	assert_non_null(conf);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct login_sender q = { .login = span_str(rows[i].login), .uid = 1000, .sender = span_str(rows[i].sender) };
		struct arena *a = arena_new(1u << 20);
		struct maps_env env = { 0 };
		struct fault why = { 0 };
		struct maps *m;

		assert_true(maps_open(span_str(rows[i].table), MAPS_NO_REGSUB | MAPS_STRICT, &env, &m, &why));
		if (login_sender_allowed(m, conf->params, &q, NULL, a, &why) != rows[i].want)
			fail_msg("%s", rows[i].name);
		maps_unref(&m);
		arena_free(&a);
	}
	conf_unref(&conf);
	conf_report_release(&report);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_rows),
};
KIT_MAIN(tests)
