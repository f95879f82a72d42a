/* Tests of the envelope and its text. */
#include "mail/envelope.h"

#include "base/rand.h"
#include "kit/kit.h"

static void
fill(struct envelope *e, struct arena *a)
{
	struct envelope_rcpt r = {
		.addr = SPAN("john doe@example.org"),
		.orig = SPAN("j%d\n@x"),
		.orcpt = SPAN("rfc822;j+2Bx@example.org"),
		.notify = ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_DELAY,
		.flags = ENVELOPE_RCPT_BCC,
	};
	struct envelope_rcpt plain = { .addr = SPAN("a@b") };

	*e = (struct envelope){ 0 };
	e->kind = ENVELOPE_BOUNCE;
	e->sender = SPAN("");
	e->envid = SPAN("QQ314159");
	e->ret = ENVELOPE_RET_HDRS;
	e->smtputf8 = e->hold = e->no_milters = true;
	e->arrival_us = 1763632800123456;
	e->size = 18446744073709551615ull;
	e->client_name = SPAN("unknown");
	e->message_id = SPAN("<\xc3\xa4 =%@x>");
	envelope_add_rcpt(e, a, &r);
	envelope_add_rcpt(e, a, &plain);
	envelope_add_expanded(e, a, &plain);
}

static void
test_text_is_readable(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct envelope e;
	struct buf b;

	(void)state;
	buf_init(&b, 65536);
	fill(&e, a);
	assert_true(envelope_write(&e, &b));
	assert_span(buf_span(&b),
	    "kind=bounce\nenvid=QQ314159\narrival_us=1763632800123456\n"
	    "size=18446744073709551615\nclient_name=unknown\nmessage_id=<\xc3\xa4%20=%25@x>\n"
	    "ret=hdrs\nsmtputf8=yes\nhold=yes\nno_milters=yes\n"
	    "expanded=a@b\nrcpt=john%20doe@example.org orig=j%25d%0A@x orcpt=rfc822;j+2Bx@example.org "
	    "notify=SUCCESS,DELAY flags=1\nrcpt=a@b\nrcpts=2\n");
	buf_release(&b);
	arena_free(&a);
}

static void
assert_round_trip(const struct envelope *e)
{
	struct arena *a = arena_new(1 << 22);
	struct buf one, two;
	struct envelope back, copy;
	struct fault why = { 0 };

	buf_init(&one, 1 << 20);
	buf_init(&two, 1 << 20);
	assert_true(envelope_write(e, &one));
	if (!envelope_read(buf_span(&one), a, &back, &why))
		fail_msg("%s", why.text);
	envelope_copy(&copy, &back, a);
	assert_true(envelope_write(&copy, &two));
	assert_true(span_eq(buf_span(&one), buf_span(&two)));
	assert_int_equal(back.rcpt_count, e->rcpt_count);
	assert_true(span_eq(back.sender, e->sender));
	for (size_t i = 0; i < back.rcpt_count; i++) {
		assert_true(span_eq(back.rcpts[i].addr, e->rcpts[i].addr));
		assert_true(span_eq(back.rcpts[i].orig, e->rcpts[i].orig));
		assert_int_equal(back.rcpts[i].notify, e->rcpts[i].notify);
	}
	buf_release(&one);
	buf_release(&two);
	arena_free(&a);
}

static void
test_what_is_written_is_read(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct envelope e;

	(void)state;
	fill(&e, a);
	assert_round_trip(&e);
	e = (struct envelope){ 0 };
	assert_round_trip(&e);
	arena_free(&a);
}

static struct span
random_bytes(struct arena *a)
{
	size_t n = rand_below(20);
	char *p = arena_alloc(a, n);

	rand_bytes(p, n);
	return span_of(p, n);
}

static void
test_any_bytes_survive(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		struct arena *a = arena_new(1 << 20);
		struct envelope e = { 0 };
		size_t n = rand_below(5);

		e.sender = random_bytes(a);
		e.client_helo = random_bytes(a);
		e.tls_optional = rand_below(2) == 1;
		for (size_t k = 0; k < n; k++) {
			struct envelope_rcpt r = { .addr = random_bytes(a), .orig = random_bytes(a),
				.orcpt = random_bytes(a), .notify = rand_below(8) << 1,
				.flags = rand_below(4) };

			envelope_add_rcpt(&e, a, &r);
		}
		assert_round_trip(&e);
		arena_free(&a);
	}
}

static void
test_later_versions_are_kept(void **state)
{
	static const char text[] = "sender=a@b\nfuture=what%20ever\nrcpt=c@d new=1 other=2\nrcpts=1\n";
	struct arena *a = arena_new(1 << 20);
	struct envelope e;
	struct buf b;

	(void)state;
	buf_init(&b, 65536);
	assert_true(envelope_read(SPAN("sender=a@b\nfuture=what%20ever\nrcpt=c@d new=1 orig=x other=2\n"
	    "rcpts=1\n"), a, &e, NULL));
	assert_span(e.rcpts[0].extra, "new=1 other=2");
	e.rcpts[0].orig = SPAN("");
	assert_true(envelope_write(&e, &b));
	assert_span(buf_span(&b), text);
	buf_release(&b);
	arena_free(&a);
}

static void
test_damage_is_seen(void **state)
{
	static const char *const bad[] = {
		"", "sender=a\n", "rcpts=1\n", "rcpt=a\nrcpts=0\n", "rcpts=0", "rcpts=0\nsender=a\n",
		"sender=%4\nrcpts=0\n", "sender=%zz\nrcpts=0\n", "sender=a b\nrcpts=0\n",
		"no equals\nrcpts=0\n", "\nrcpts=0\n", "size=x\nrcpts=0\n", "hold=no\nrcpts=0\n",
		"arrival_us=9223372036854775808\nrcpts=0\n", "kind=x\nrcpts=0\n",
		"rcpt=a  orig=b\nrcpts=1\n", "rcpt=a notify=NEVER,DELAY\nrcpts=1\n", "x=\001\nrcpts=0\n",
	};
	struct arena *a = arena_new(1 << 20);
	struct envelope e;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (envelope_read(span_str(bad[i]), a, &e, &why))
			fail_msg("taken: %s", bad[i]);
	arena_free(&a);
}

static void
test_every_cut_is_seen(void **state)
{
	struct arena *a = arena_new(1 << 24);
	struct envelope e, back;
	struct buf b;

	(void)state;
	buf_init(&b, 65536);
	fill(&e, a);
	envelope_write(&e, &b);
	for (size_t n = 0; n < b.n; n++)
		assert_false(envelope_read(span_of(b.p, n), a, &back, NULL));
	buf_release(&b);
	arena_free(&a);
}

static void
test_notify_words(void **state)
{
	unsigned n;

	(void)state;
	assert_true(envelope_notify_parse(SPAN("never"), &n));
	assert_int_equal(n, ENVELOPE_NOTIFY_NEVER);
	assert_true(envelope_notify_parse(SPAN("DELAY,Success"), &n));
	assert_string_equal(envelope_notify_text(n), "SUCCESS,DELAY");
	assert_false(envelope_notify_parse(SPAN("NEVER,DELAY"), &n));
	assert_false(envelope_notify_parse(SPAN(""), &n));
	assert_false(envelope_notify_parse(SPAN("DELAY,"), &n));
	assert_false(envelope_notify_parse(SPAN("OFTEN"), &n));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_text_is_readable),
	KIT_TEST(test_what_is_written_is_read),
	KIT_TEST(test_any_bytes_survive),
	KIT_TEST(test_later_versions_are_kept),
	KIT_TEST(test_damage_is_seen),
	KIT_TEST(test_every_cut_is_seen),
	KIT_TEST(test_notify_words),
};
KIT_MAIN(tests)
