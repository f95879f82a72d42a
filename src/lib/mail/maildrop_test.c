/* Maildrop heads: what is written is read, what only we may say is not. */
#include "mail/maildrop.h"

#include "kit/kit.h"

static void
test_round_trip(void **state)
{
	struct arena *a = arena_new(8 << 20);
	struct envelope_rcpt r = { .addr = SPAN("bob b@example.org"), .notify = ENVELOPE_NOTIFY_NEVER };
	struct maildrop_head h = { .extract_rcpts = true, .sender_given = true, .full_name = SPAN("J\xc3\xb6rg = x"),
		.env = { .sender = SPAN("alice@example.org"), .envid = SPAN("id"), .ret = ENVELOPE_RET_HDRS,
		    .filter = SPAN("smtp:[evil]"), .redirect = SPAN("x@y"), .client_addr = SPAN("127.0.0.1"),
		    .kind = ENVELOPE_DOUBLE_BOUNCE, .hold = true, .local_origin = true } };
	struct maildrop_head got;
	struct fault why = { 0 };
	size_t used;
	struct buf b;

	(void)state;
	buf_init(&b, MAILDROP_HEAD_MAX);
	envelope_add_rcpt(&h.env, a, &r);
	assert_true(maildrop_write(&h, &b));
	buf_add_str(&b, "Subject: x\n");
	assert_true(maildrop_read(buf_span(&b), a, &got, &used, &why));
	assert_span(span_from(buf_span(&b), used), "Subject: x\n");
	assert_true(got.extract_rcpts && got.sender_given);
	assert_span(got.full_name, "J\xc3\xb6rg = x");
	assert_span(got.env.sender, "alice@example.org");
	assert_int_equal(got.env.rcpt_count, 1);
	assert_span(got.env.rcpts[0].addr, "bob b@example.org");
	assert_int_equal(got.env.ret, ENVELOPE_RET_HDRS);
	assert_int_equal(got.env.filter.n + got.env.redirect.n + got.env.client_addr.n, 0);
	assert_int_equal(got.env.kind, ENVELOPE_MAIL);
	assert_false(got.env.hold || got.env.local_origin);
	for (size_t n = 0; n < used; n++)
		assert_false(maildrop_read(span_of(b.p, n), a, &got, &used, &why));
	buf_release(&b);
	arena_free(&a);
}

static void
test_damaged(void **state)
{
	static const char *const texts[] = {
		"", "\n", "Subject: x\n\n", "signet-maildrop 2 0 - \nrcpts=0\n", "signet-maildrop 1 -1 - \n",
		"signet-maildrop 1 99999999999 - \n", "signet-maildrop 1 8\nrcpts=0\n", "signet-maildrop 1 4 - \nabcd",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct arena *a = arena_new(1 << 20);
		struct maildrop_head h;
		struct fault why = { 0 };
		size_t used;

		assert_false(maildrop_read(span_str(texts[i]), a, &h, &used, &why));
		assert_int_equal(why.dsn[0], '5');
		arena_free(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { KIT_TEST(test_round_trip), KIT_TEST(test_damaged) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
