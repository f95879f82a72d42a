/* Questions: asked once, answered later from the loop, forgotten safely. */
#include "maps/asks.h"

#include <stdio.h>

#include "base/loop.h"
#include "dns/dns.h"
#include "kit/kit.h"

#define MAX_SENT 64

static struct {
	uint64_t ids[MAX_SENT];
	char text[MAX_SENT][128];
	size_t n;
	bool refuse;
} sent;

static bool
send_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	if (sent.refuse)
		return false;
	snprintf(sent.text[sent.n], sizeof(sent.text[0]), "%.*s %.*s", SPAN_ARG(table), SPAN_ARG(key));
	sent.ids[sent.n++] = id;
	return true;
}

static bool
send_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	(void)ctx;
	if (sent.refuse)
		return false;
	snprintf(sent.text[sent.n], sizeof(sent.text[0]), "%.*s %u", SPAN_ARG(name), (unsigned)type);
	sent.ids[sent.n++] = id;
	return true;
}

static const struct asks_ops ops = { send_map, send_dns };

static int ready_calls;

static void
on_ready(void *ctx)
{
	(void)ctx;
	ready_calls++;
}

struct world {
	struct loop *loop;
	struct asks_link *link;
	struct asks *asks;
	struct arena *a;
};

static struct world
begin(int64_t timeout_ms)
{
	struct world w = { .loop = loop_new(), .a = arena_new(1 << 22) };

	memset(&sent, 0, sizeof(sent));
	ready_calls = 0;
	w.link = asks_link_new(w.loop, &ops, NULL, timeout_ms);
	w.asks = asks_new(w.link, on_ready, NULL);
	return w;
}

static void
end(struct world *w)
{
	asks_free(&w->asks);
	asks_link_free(&w->link);
	loop_free(&w->loop);
	arena_free(&w->a);
}

static enum map_result
ask(struct world *w, const char *table, const char *key, struct span *value_r, struct fault *why)
{
	return asks_map(w->asks, span_str(table), span_str(key), w->a, value_r, why);
}

static void
answers_come_once(void **state)
{
	struct world w = begin(60000);
	struct span value;
	struct fault why = { 0 };

	(void)state;
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, &why), MAP_WAIT);
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, &why), MAP_WAIT);
	assert_int_equal(ask(&w, "lmdb:/t", "b", &value, &why), MAP_WAIT);
	assert_int_equal(ask(&w, "lmdb:/u", "a", &value, &why), MAP_WAIT);
	assert_int_equal(sent.n, 3);
	assert_int_equal(asks_waiting(w.asks), 3);
	assert_true(asks_answer_map(w.link, sent.ids[0], MAP_FOUND, SPAN("one"), NULL));
	assert_false(asks_answer_map(w.link, sent.ids[0], MAP_FOUND, SPAN("two"), NULL));
	assert_true(asks_answer_map(w.link, sent.ids[1], MAP_ABSENT, SPAN(""), NULL));
	loop_turn(w.loop, 0);
	assert_int_equal(ready_calls, 0);
	fault_set(&why, "4.3.0", "disk on fire");
	assert_true(asks_answer_map(w.link, sent.ids[2], MAP_DEFER, SPAN(""), &why));
	assert_int_equal(ready_calls, 0);       /* never from inside a call */
	loop_turn(w.loop, 0);
	assert_int_equal(ready_calls, 1);
	fault_clear(&why);
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, &why), MAP_FOUND);
	assert_span(value, "one");
	assert_int_equal(ask(&w, "lmdb:/t", "b", &value, &why), MAP_ABSENT);
	assert_int_equal(ask(&w, "lmdb:/u", "a", &value, &why), MAP_DEFER);
	assert_string_equal(why.text, "lmdb:/u: disk on fire");
	assert_int_equal(sent.n, 3);
	end(&w);
}

static void
deadline_defers(void **state)
{
	struct world w = begin(20);
	const struct dns_answer *d;
	struct span value;
	struct fault why = { 0 };

	(void)state;
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, &why), MAP_WAIT);
	assert_int_equal(asks_dns(w.asks, SPAN("Example.COM"), DNS_TYPE_MX, &d), MAP_WAIT);
	for (int i = 0; i < 1000 && ready_calls == 0; i++)
		loop_turn(w.loop, 1000);
	assert_int_equal(ready_calls, 1);
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, &why), MAP_DEFER);
	assert_string_equal(why.text, "lmdb:/t: lookup timed out");
	assert_int_equal(asks_dns(w.asks, SPAN("example.com"), DNS_TYPE_MX, &d), MAP_FOUND);
	assert_int_equal(d->status, DNS_FAILED);
	assert_span(d->why, "lookup timed out");
	assert_false(asks_answer_map(w.link, sent.ids[0], MAP_FOUND, SPAN("late"), NULL));
	end(&w);
}

/* A peer that hangs is waited for once, and not by each table of a list; then it is tried now and then. */
static void
a_silent_peer_is_waited_for_once(void **state)
{
	struct world w = begin(1800);
	const struct dns_answer *d;
	struct fault why = { 0 };
	struct span value;

	(void)state;
	ask(&w, "lmdb:/t", "a", &value, NULL);
	while (asks_waiting(w.asks) > 0)
		loop_turn(w.loop, 100);
	assert_int_equal(ask(&w, "lmdb:/u", "a", &value, &why), MAP_DEFER);
	assert_string_equal(why.text, "lmdb:/u: the lookup service does not answer");
	assert_int_equal(sent.n, 1);
	/* a while later one is tried, but not for so long as DNS is waited for */
	for (unsigned n = 0; sent.n == 1; n++) {
		asks_clear(w.asks);
		loop_turn(w.loop, 20);
		ask(&w, "lmdb:/u", "b", &value, &why);
	}
	asks_dns(w.asks, SPAN("example.com"), DNS_TYPE_MX, &d);
	while (asks_waiting(w.asks) == 2)
		loop_turn(w.loop, 100);
	assert_int_equal(ask(&w, "lmdb:/u", "b", &value, &why), MAP_DEFER);
	assert_int_equal(asks_waiting(w.asks), 1);
	/* it answers after all, if late: everything is as before */
	assert_int_equal(ask(&w, "lmdb:/u", "c", &value, &why), MAP_DEFER);
	assert_false(asks_answer_map(w.link, sent.ids[0], MAP_ABSENT, SPAN(""), NULL));
	assert_int_equal(ask(&w, "lmdb:/u", "d", &value, &why), MAP_WAIT);
	end(&w);
}

static void
freed_before_the_answer(void **state)
{
	struct world w = begin(60000);
	struct span value;

	(void)state;
	ask(&w, "lmdb:/t", "a", &value, NULL);
	asks_clear(w.asks);
	assert_false(asks_answer_map(w.link, sent.ids[0], MAP_FOUND, SPAN("x"), NULL));
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, NULL), MAP_WAIT);
	assert_true(asks_answer_map(w.link, sent.ids[1], MAP_FOUND, SPAN("y"), NULL));
	asks_free(&w.asks);     /* ready was due: it must not come */
	loop_turn(w.loop, 0);
	assert_int_equal(ready_calls, 0);
	assert_null(asks_answer_arena(w.link, sent.ids[0]));
	end(&w);
}

static void
peers_that_are_gone(void **state)
{
	struct world w = begin(60000);
	const struct dns_answer *d;
	struct span value;
	struct fault why;

	(void)state;
	ask(&w, "lmdb:/t", "a", &value, NULL);
	asks_dns(w.asks, SPAN("a.example"), DNS_TYPE_A, &d);
	asks_lost_map(w.link);
	loop_turn(w.loop, 0);
	assert_int_equal(ready_calls, 0);       /* the resolver may still answer */
	asks_lost_dns(w.link);
	loop_turn(w.loop, 0);
	assert_int_equal(ready_calls, 1);
	assert_int_equal(ask(&w, "lmdb:/t", "a", &value, &why), MAP_DEFER);
	assert_int_equal(asks_dns(w.asks, SPAN("a.example"), DNS_TYPE_A, &d), MAP_FOUND);
	assert_int_equal(d->status, DNS_FAILED);
	sent.refuse = true;
	assert_int_equal(ask(&w, "lmdb:/t", "b", &value, &why), MAP_DEFER);
	assert_int_equal(asks_dns(w.asks, SPAN("b.example"), DNS_TYPE_A, &d), MAP_FOUND);
	assert_int_equal(d->status, DNS_FAILED);
	assert_int_equal(asks_waiting(w.asks), 0);
	assert_int_equal(asks_dns(NULL, SPAN("b.example"), DNS_TYPE_A, &d), MAP_FOUND);
	assert_int_equal(d->status, DNS_FAILED);
	end(&w);
}

static void
dns_answers_live_in_the_asks(void **state)
{
	struct world w = begin(60000);
	const struct dns_answer *d;
	struct dns_answer *mine;
	struct arena *room;

	(void)state;
	assert_int_equal(asks_dns(w.asks, SPAN("a.Example"), DNS_TYPE_MX, &d), MAP_WAIT);
	assert_string_equal(sent.text[0], "a.example 15");
	room = asks_answer_arena(w.link, sent.ids[0]);
	assert_non_null(room);
	mine = ARENA_NEW(room, struct dns_answer);
	mine->status = DNS_SECURE;
	assert_true(asks_answer_dns(w.link, sent.ids[0], mine));
	assert_int_equal(asks_dns(w.asks, SPAN("A.example"), DNS_TYPE_MX, &d), MAP_FOUND);
	assert_ptr_equal(d, mine);
	end(&w);
}

static void
too_much_is_deferred(void **state)
{
	static char big[100000];
	struct world w = begin(60000);
	struct span value;
	struct fault why = { 0 };
	enum map_result r = MAP_WAIT;
	int i;

	(void)state;
	memset(big, 'x', sizeof(big));
	for (i = 0; i < 1000 && r == MAP_WAIT; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i);
		sent.n = 0;
		r = ask(&w, "lmdb:/t", key, &value, &why);
		if (r == MAP_WAIT)
			asks_answer_map(w.link, sent.ids[0], MAP_FOUND, span_of(big, sizeof(big)), NULL);
	}
	assert_int_equal(r, MAP_DEFER);
	assert_true(i > 50 && i < 200);
	assert_non_null(strstr(why.text, "too many lookups"));
	end(&w);
}

static bool
send_other(void *ctx, uint64_t id, struct span who, struct span question)
{
	(void)ctx;
	return send_map(NULL, id, who, question);
}

/* Services of the owner's: memoised like tables, with their own time limit beside that of the others. */
static void
other_services_have_their_own_deadline(void **state)
{
	static const struct asks_way slow = { send_other, NULL, 60000 }, quick = { send_other, NULL, 30 };
	struct world w = begin(10000);
	struct fault why = { 0 };
	struct span value;

	(void)state;
	sent.n = 0;
	assert_int_equal(asks_other(w.asks, &slow, SPAN("one"), SPAN("q"), w.a, &value, &why), MAP_WAIT);
	assert_int_equal(asks_other(w.asks, &quick, SPAN("two"), SPAN("q"), w.a, &value, &why), MAP_WAIT);
	assert_int_equal(asks_other(w.asks, &slow, SPAN("one"), SPAN("q"), w.a, &value, &why), MAP_WAIT);
	assert_int_equal(sent.n, 2);
	assert_true(asks_wants(w.link, sent.ids[0]));
	for (int i = 0; i < 100 && asks_waiting(w.asks) == 2; i++)
		loop_turn(w.loop, 10);
	assert_int_equal(asks_other(w.asks, &quick, SPAN("two"), SPAN("q"), w.a, &value, &why), MAP_DEFER);
	assert_string_equal(why.text, "two: lookup timed out");
	assert_int_equal(asks_other(w.asks, &slow, SPAN("one"), SPAN("q"), w.a, &value, &why), MAP_WAIT);
	assert_true(asks_answer_map(w.link, sent.ids[0], MAP_FOUND, SPAN("DUNNO"), NULL));
	assert_false(asks_wants(w.link, sent.ids[0]));
	assert_int_equal(asks_other(w.asks, &slow, SPAN("one"), SPAN("q"), w.a, &value, &why), MAP_FOUND);
	assert_span(value, "DUNNO");
	end(&w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(answers_come_once), KIT_TEST(deadline_defers), KIT_TEST(a_silent_peer_is_waited_for_once), KIT_TEST(freed_before_the_answer),
		KIT_TEST(peers_that_are_gone), KIT_TEST(dns_answers_live_in_the_asks), KIT_TEST(too_much_is_deferred),
		KIT_TEST(other_services_have_their_own_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
