/* Tests of the envelope's way: canonical form and maps, masquerading, copies, aliases, duplicates, DSN parameters. */
#include <stdio.h>

#include "base/loop.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "intake/intake.h"
#include "intake/rewrite.h"
#include "kit/kit.h"
#include "maps/asks.h"
#include "maps/maps.h"

static struct {
	struct conf_report report;
	struct conf *conf;
	struct intake_conf ic;
	struct maps_env env;
	struct arena *a;
	struct envelope in, out;
	struct fault why;
} t;

#define HOST "myhostname=mx.example.org\nmyorigin=example.org\nmydestination=example.org\n" \
	"append_dot_mydomain=yes\nrecipient_delimiter=+\n"

static void
setup(const char *main_cf)
{
	char text[8192];
	struct fault why = { 0 };

	memset(&t, 0, sizeof(t));
	snprintf(text, sizeof(text), HOST "%s", main_cf);
	conf_report_init(&t.report);
	conf_parse(span_str(text), SPAN(""), &t.conf, &t.report);
	assert_non_null(t.conf);
	t.env = (struct maps_env){ .data_directory = "/nonexistent", .default_database_type = "hash",
		.alias_tables = "" };
	if (!intake_conf_init(&t.ic, t.conf->params, &t.env, &why))
		fail_msg("%s", why.text);
	t.a = arena_new((size_t)64 << 20);
	t.in.sender = SPAN("sender@example.net");
}

static void
teardown(void)
{
	arena_free(&t.a);
	intake_conf_release(&t.ic);
	conf_unref(&t.conf);
	conf_report_release(&t.report);
}

static void
add(const char *addr, unsigned notify)
{
	struct envelope_rcpt r = { .addr = span_str(addr), .orig = span_str(addr), .notify = notify };

	envelope_add_rcpt(&t.in, t.a, &r);
}

static enum map_result
run(unsigned flags)
{
	return intake_envelope(&t.ic, NULL, t.a, NULL, flags, &t.in, &t.out, &t.why);
}

/* "a@b c@d" */
static void
check(const char *want)
{
	char got[4096] = "";
	size_t n = 0;

	for (size_t i = 0; i < t.out.rcpt_count; i++)
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%.*s", i > 0 ? " " : "",
		    SPAN_ARG(t.out.rcpts[i].addr));
	assert_string_equal(got, want);
}

static void
test_canonical_form(void **state)
{
	static const char *const rows[][2] = {
		{ "", "" },
		{ "user", "user@example.org" },
		{ "user@host", "user@host.example.org" },
		{ "user@host.", "user@host" },
		{ "user@host.dom.", "user@host.dom" },
		{ "user@[192.0.2.1]", "user@[192.0.2.1]" },
		{ "site!user", "user@site.example.org" },
		{ "a!b!c", "b!c@a.example.org" },
		{ "user%dom.ain", "user@dom.ain" },
		{ "user%dom@host.x", "user%dom@host.x" },
		{ "@a,@b:user@c.d", "user@c.d" },
		{ "a@b@c.d", "a@b@c.d" },
	};

	(void)state;
	setup("");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_span(rewrite_form(t.conf->params, NULL, span_str(rows[i][0]), t.a), rows[i][1]);
	assert_span(rewrite_form(t.conf->params, "invalid.example", SPAN("user"), t.a), "user@invalid.example");
	/* Doing it again changes nothing. */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (i != 3)
			assert_span(rewrite_form(t.conf->params, NULL, span_str(rows[i][1]), t.a), rows[i][1]);
	teardown();
}

static void
test_canonical_maps(void **state)
{
	(void)state;
	setup("canonical_maps = inline:{ {a@x.y=b@x.y} {b@x.y=c@x.y} {c@x.y=c@x.y} {@old.z=@new.z} {local=gone@x.y} }\n"
	    "sender_canonical_maps = inline:{ {sender@example.net=s@example.net} }\n");
	add("a@x.y", 0);
	add("u+e@old.z", 0);
	add("local@example.org", 0);
	add("local@other.org", 0);
	add("a+ext@x.y", 0);
	assert_int_equal(run(0), MAP_FOUND);
	check("c@x.y u+e@new.z gone@x.y local@other.org c+ext@x.y");
	assert_span(t.out.sender, "s@example.net");
	assert_span(t.out.rcpts[0].orig, "a@x.y");
	assert_span(t.out.rcpts[0].orcpt, "rfc822;a@x.y");
	assert_int_equal(run(INTAKE_NO_MAPPINGS), MAP_FOUND);
	check("a@x.y u+e@old.z local@example.org local@other.org a+ext@x.y");
	teardown();
}

static void
test_canonical_loop_is_refused(void **state)
{
	(void)state;
	setup("canonical_maps = inline:{ {a@x.y=b@x.y} {b@x.y=a@x.y} }\n");
	add("a@x.y", 0);
	expect_log("unreasonable canonical_maps map nesting for a@x.y");
	assert_int_equal(run(0), MAP_DEFER);
	assert_string_equal(t.why.dsn, "4.6.0");
	teardown();
}

static void
test_masquerade(void **state)
{
	static const char *const rows[][2] = {
		{ "a@host.foo.org", "a@foo.org" },
		{ "a@foo.org", "a@foo.org" },
		{ "a@x.keep.foo.org", "a@x.keep.foo.org" },
		{ "a@keep.foo.org", "a@keep.foo.org" },
		{ "root@host.foo.org", "root@host.foo.org" },
		{ "a@barfoo.org", "a@barfoo.org" },
		{ "a", "a" },
	};
	struct rewrite r;

	(void)state;
	setup("masquerade_domains = !keep.foo.org foo.org\nmasquerade_exceptions = root\n");
	r = (struct rewrite){ .conf = &t.ic, .arena = t.a, .why = &t.why };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span got;

		assert_int_equal(rewrite_masquerade(&r, span_str(rows[i][0]), &got), MAP_FOUND);
		assert_span(got, rows[i][1]);
	}
	teardown();
}

static void
test_aliases(void **state)
{
	(void)state;
	setup("virtual_alias_maps = inline:{ {list@v.x=a@v.x, b@v.x} {a@v.x=c@v.x} {self@v.x=self@v.x, d@v.x} "
	    "{d@v.x=self@v.x} {@all.x=@real.x} {local=remote@v.x} }\n");
	add("list@v.x", 0);
	add("self@v.x", 0);
	add("u@all.x", 0);
	add("u+ext@all.x", 0);
	add("local@example.org", 0);
	add("list+tag@v.x", 0);
	assert_int_equal(run(0), MAP_FOUND);
	check("c@v.x b@v.x self@v.x u@real.x u+ext@real.x remote@v.x c+tag@v.x b+tag@v.x");
	teardown();
}

static void
test_alias_limits(void **state)
{
	(void)state;
	setup("virtual_alias_maps = inline:{ {a@v.x=b@v.x} {b@v.x=a@v.x} {m@v.x=1@v.x,2@v.x,3@v.x,4@v.x} {l@v.x=muchtoolong@v.x} }\n"
	    "virtual_alias_recursion_limit=5\nvirtual_alias_expansion_limit=3\nvirtual_alias_address_length_limit=10\n");
	expect_log("unreasonable virtual_alias_maps map nesting for a@v.x -- message not accepted, try again later");
	expect_log("unreasonable virtual_alias_maps map expansion size for m@v.x -- message not accepted");
	expect_log("unreasonable virtual_alias_maps map result for l@v.x -- message not accepted");
	add("a@v.x", 0);
	assert_int_equal(run(0), MAP_DEFER);
	assert_string_equal(t.why.text, "Alias expansion error");
	t.in.rcpts[0].addr = SPAN("m@v.x");
	assert_int_equal(run(0), MAP_DEFER);
	t.in.rcpts[0].addr = SPAN("l@v.x");
	assert_int_equal(run(0), MAP_DEFER);
	teardown();
}

static void
test_failed_lookup_refuses_all(void **state)
{
	(void)state;
	setup("virtual_alias_maps = fail:always\n");
	add("a@v.x", 0);
	expect_log("virtual_alias_maps map lookup problem for a@v.x -- message not accepted, try again later");
	assert_int_equal(run(0), MAP_DEFER);
	assert_string_equal(t.why.dsn, "4.6.0");
	teardown();
}

static void
test_copies(void **state)
{
	(void)state;
	setup("always_bcc = archive\nsender_bcc_maps = inline:{ {sender@example.net=s@bcc.x} }\n"
	    "recipient_bcc_maps = inline:{ {@v.x=r@bcc.x} }\nvirtual_alias_maps = inline:{ {r@bcc.x=real@bcc.x} }\n");
	add("a@v.x", ENVELOPE_NOTIFY_SUCCESS);
	assert_int_equal(run(0), MAP_FOUND);
	check("a@v.x real@bcc.x archive@example.org s@bcc.x");
	assert_int_equal(t.out.rcpts[0].notify, ENVELOPE_NOTIFY_SUCCESS);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(t.out.rcpts[i].notify, ENVELOPE_NOTIFY_NEVER);
	assert_int_equal(run(INTAKE_NO_BCC), MAP_FOUND);
	check("a@v.x");
	teardown();
}

static void
test_duplicates(void **state)
{
	(void)state;
	setup("virtual_alias_maps = inline:{ {x@v.x=a@v.x} }\n");
	add("a@v.x", 0);
	add("x@v.x", 0);
	add("a@V.X", 0);
	t.in.rcpts[2].orig = SPAN("a@v.x");
	assert_int_equal(run(0), MAP_FOUND);
	check("a@v.x a@v.x");   /* two ways, two X-Original-To */
	teardown();
	setup("virtual_alias_maps = inline:{ {x@v.x=a@v.x} }\nenable_original_recipient=no\n");
	add("a@v.x", 0);
	add("x@v.x", 0);
	assert_int_equal(run(0), MAP_FOUND);
	check("a@v.x");
	teardown();
}

/* One sender, recipients, and what they become. */
static void
test_parameters_of_rewriting(void **state)
{
	static const struct {
		const char *conf, *sender, *rcpts[3], *new_sender, *want;
	} rows[] = {
		{ "canonical_maps = inline:{ {@o.x=@n.x} }\n", "s@o.x", { "r@o.x" }, "s@n.x", "r@n.x" },
		{ "canonical_maps = inline:{ {@o.x=@n.x} }\ncanonical_classes = envelope_recipient\n", "s@o.x", { "r@o.x" }, "s@o.x", "r@n.x" },
		{ "sender_canonical_maps = inline:{ {@o.x=@n.x} }\nsender_canonical_classes = header_sender\n", "s@o.x", { "r@o.x" }, "s@o.x", "r@o.x" },
		{ "recipient_canonical_maps = inline:{ {@o.x=@n.x} }\n", "s@o.x", { "r@o.x" }, "s@o.x", "r@n.x" },
		{ "recipient_canonical_maps = inline:{ {@o.x=@n.x} }\nrecipient_canonical_classes = header_recipient\n", "s@o.x", { "r@o.x" }, "s@o.x", "r@o.x" },
		{ "masquerade_domains = foo.org\n", "s@h.foo.org", { "r@h.foo.org" }, "s@foo.org", "r@h.foo.org" },
		{ "masquerade_domains = foo.org\nmasquerade_classes = envelope_recipient\n", "s@h.foo.org", { "r@h.foo.org" }, "s@h.foo.org", "r@foo.org" },
		{ "duplicate_filter_limit = 1\n", "s@o.x", { "a@v.x", "b@v.x", "b@v.x" }, "s@o.x", "a@v.x b@v.x b@v.x" },
		{ "", "s@o.x", { "a@v.x", "b@v.x", "b@v.x" }, "s@o.x", "a@v.x b@v.x" },
		{ "virtual_alias_maps = inline:{ {a@v.x=b@v.x} }\n", "s@o.x", { "a+t@v.x" }, "s@o.x", "b+t@v.x" },
		{ "virtual_alias_maps = inline:{ {a@v.x=b@v.x} }\npropagate_unmatched_extensions = canonical\n", "s@o.x", { "a+t@v.x" }, "s@o.x", "b@v.x" },
		{ "virtual_maps = inline:{ {a@v.x=b@v.x} }\n", "s@o.x", { "a@v.x" }, "s@o.x", "b@v.x" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		setup(rows[i].conf);
		t.in.sender = span_str(rows[i].sender);
		for (size_t k = 0; k < 3 && rows[i].rcpts[k] != NULL; k++)
			add(rows[i].rcpts[k], 0);
		assert_int_equal(run(0), MAP_FOUND);
		check(rows[i].want);
		assert_span(t.out.sender, rows[i].new_sender);
		teardown();
	}
}

static void
test_dsn_parameters(void **state)
{
	(void)state;
	setup("virtual_alias_maps = inline:{ {two@v.x=a@v.x, b@v.x} {one@v.x=c@v.x} }\n");
	add("two@v.x", ENVELOPE_NOTIFY_SUCCESS);
	add("two+x@v.x", ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_FAILURE);
	add("one@v.x", ENVELOPE_NOTIFY_SUCCESS);
	t.in.rcpts[2].orcpt = SPAN("rfc822;Given+2B@x");
	assert_int_equal(run(0), MAP_FOUND);
	check("a@v.x b@v.x a+x@v.x b+x@v.x c@v.x");
	assert_int_equal(t.out.rcpts[0].notify, ENVELOPE_NOTIFY_NEVER);
	assert_int_equal(t.out.rcpts[2].notify, ENVELOPE_NOTIFY_FAILURE);
	assert_int_equal(t.out.rcpts[4].notify, ENVELOPE_NOTIFY_SUCCESS);
	assert_span(t.out.rcpts[4].orcpt, "rfc822;Given+2B@x");
	assert_span(t.out.rcpts[2].orcpt, "rfc822;two+2Bx@v.x");
	assert_int_equal(t.out.expanded_count, 2);
	assert_span(t.out.expanded[0].addr, "two@v.x");
	teardown();
}

static void
test_utf8_orcpt(void **state)
{
	(void)state;
	setup("");
	add("\xc3\xa4+\xe2\x82\xac@x.y", 0);
	assert_int_equal(run(0), MAP_FOUND);
	assert_span(t.out.rcpts[0].orcpt, "utf-8;\\x{E4}\\x{2B}\\x{20AC}@x.y");
	teardown();
}

/* --- remote tables --- */

static struct {
	uint64_t ids[64];
	size_t n;
} sent;

static bool
send_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)table;
	(void)key;
	sent.ids[sent.n++] = id;
	return true;
}

static const struct asks_ops ops = { send_map, NULL };

static void
on_ready(void *ctx)
{
	(void)ctx;
}

static void
test_questions_travel_together(void **state)
{
	struct loop *loop = loop_new();
	struct asks_link *link = asks_link_new(loop, &ops, NULL, 60000);
	struct asks *asks = asks_new(link, on_ready, NULL);
	size_t done = 0, rounds = 0;

	(void)state;
	setup("virtual_alias_maps = lmdb:/nowhere\n");
	for (int i = 0; i < 10; i++)
		add(i % 2 == 0 ? "a@v.x" : "b@v.x", 0);
	while (intake_envelope(&t.ic, asks, t.a, NULL, 0, &t.in, &t.out, &t.why) == MAP_WAIT) {
		rounds++;
		for (; done < sent.n; done++)
			asks_answer_map(link, sent.ids[done], MAP_ABSENT, SPAN(""), NULL);
	}
	check("a@v.x b@v.x");
	assert_int_equal(sent.n, 3);    /* a@v.x, b@v.x, then @v.x */
	assert_int_equal(rounds, 2);
	asks_free(&asks);
	asks_link_free(&link);
	loop_free(&loop);
	teardown();
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_canonical_form),
	KIT_TEST(test_canonical_maps),
	KIT_TEST(test_canonical_loop_is_refused),
	KIT_TEST(test_masquerade),
	KIT_TEST(test_aliases),
	KIT_TEST(test_alias_limits),
	KIT_TEST(test_failed_lookup_refuses_all),
	KIT_TEST(test_copies),
	KIT_TEST(test_duplicates),
	KIT_TEST(test_parameters_of_rewriting),
	KIT_TEST(test_dsn_parameters),
	KIT_TEST(test_utf8_orcpt),
	KIT_TEST(test_questions_travel_together),
};
KIT_MAIN(tests)
