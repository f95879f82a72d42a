/* The scheduler on a scripted clock: windows, dead destinations, rates, turns. */
#include "role/queue/sched.h"

#include <stdio.h>

#include "base/panic.h"
#include "kit/kit.h"

enum { S = 1000000 };

static struct sched_limits limits;
static const uint32_t numbers[200];
static struct sched_job jobs[400];
static size_t n_jobs;

static void
give_limits(void *ctx, struct span transport, struct sched_limits *l, void **user)
{
	(void)ctx;
	(void)transport;
	(void)user;
	*l = limits;
}

static struct sched *
begin(void)
{
	limits = (struct sched_limits){ .recipients = 50, .concurrency = 20, .initial = 5, .failed_cohorts = 1,
		.positive = { 1, SCHED_FEEDBACK_FIXED }, .negative = { 1, SCHED_FEEDBACK_FIXED },
		.dead_us = 300 * (int64_t)S };
	n_jobs = 0;
	return sched_new(give_limits, NULL);
}

static struct sched_job *
add(struct sched *s, const char *transport, const char *dest, uint32_t n, int64_t now)
{
	struct sched_job *j = &jobs[n_jobs++];

	*j = (struct sched_job){ .rcpts = numbers, .n = n };
	list_init(&j->node);
	sched_add(s, j, sched_transport(s, span_str(transport)), span_str(dest), span_str(dest), now);
	return j;
}

/* Start all that may start now; how many. */
static unsigned
start_all(struct sched *s, int64_t now)
{
	struct sched_pick p;
	unsigned n = 0;

	while (sched_next(s, now, &p)) {
		assert_null(p.suspended);
		n++;
	}
	return n;
}

static struct sched_job *
add_retry(struct sched *s, const char *dest, int64_t now)
{
	struct sched_job *j = &jobs[n_jobs++];

	*j = (struct sched_job){ .rcpts = numbers, .n = 1, .retry = true };
	list_init(&j->node);
	sched_add(s, j, sched_transport(s, SPAN("smtp")), span_str(dest), span_str(dest), now);
	return j;
}

static struct sched_dest *
dest_of(struct sched *s, const char *dest)
{
	struct sched_pick p;
	struct sched_job *j = add(s, "smtp", dest, 1, 0);
	struct sched_dest *d = j->dest;

	(void)p;
	sched_cancel(s, j, 0);
	return d;
}

/* A hundred dead destinations are due; fresh mail comes in behind them. */
static void
test_retries_do_not_keep_fresh_mail_waiting(void **state)
{
	struct sched *s = begin();
	struct sched_pick p;
	struct sched_dest *busy[100];
	unsigned n = 0, at = 0;
	char name[40];

	(void)state;
	limits.processes = 10;
	limits.retries = 8;
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "dead%d.example", i);
		add_retry(s, name, 0);
	}
	while (sched_next(s, 0, &p))
		busy[n++] = p.dest;
	assert_int_equal(n, 8);         /* two of ten are left */
	add(s, "smtp", "live.example", 1, 0);
	assert_true(sched_next(s, 0, &p));
	assert_span(p.dest->key, "live.example");
	busy[n++] = p.dest;
	/* the turn goes round: three fresh ones for each retry */
	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "new%d.example", i);
		add(s, "smtp", name, 1, 0);
	}
	for (int i = 0; i < 12; i++) {
		sched_done(s, busy[i < 8 ? i : 8], SCHED_WORKS, NULL, 0);
		assert_true(sched_next(s, 0, &p));
		at += p.job->retry;
		busy[i < 8 ? i : 8] = p.dest;
	}
	assert_in_range(at, 3, 4);
	for (size_t i = 0; i < n_jobs; i++)
		sched_cancel(s, &jobs[i], 0);
	sched_free(&s);
}

/* A retry's destination that gets fresh mail moves into the turn of fresh mail. */
static void
test_fresh_mail_takes_its_destination_along(void **state)
{
	struct sched *s = begin();
	struct sched_pick p;

	(void)state;
	add_retry(s, "a.example", 0);
	add_retry(s, "b.example", 0);
	add(s, "smtp", "b.example", 1, 0);
	assert_true(sched_next(s, 0, &p));
	assert_span(p.dest->key, "b.example");
	assert_true(p.job->retry);      /* within a destination the order stays */
	for (size_t i = 0; i < n_jobs; i++)
		sched_cancel(s, &jobs[i], 0);
	sched_free(&s);
}

static void
test_window_grows_with_success_up_to_the_limit(void **state)
{
	struct sched *s = begin();
	struct sched_dest *d;

	(void)state;
	for (int i = 0; i < 100; i++)
		add(s, "smtp", "example.org", 1, 0);
	d = jobs[0].dest;
	assert_int_equal(start_all(s, 0), 5);
	sched_done(s, d, SCHED_WORKS, NULL, 0);
	assert_int_equal(d->window, 6);
	assert_int_equal(start_all(s, 0), 2);
	for (int i = 0; i < 30; i++) {
		sched_done(s, d, SCHED_WORKS, NULL, 0);
		start_all(s, 0);
	}
	assert_int_equal(d->window, 20);
	assert_int_equal(d->busy, 20);
	/* what was untried changes nothing */
	sched_done(s, d, SCHED_UNTRIED, NULL, 0);
	assert_int_equal(d->window, 20);
	while (d->busy > 0 || d->jobs_count > 0) {
		start_all(s, 0);
		sched_done(s, d, SCHED_WORKS, NULL, 0);
	}
	sched_free(&s);
}

static void
test_four_failures_of_five_make_a_destination_dead(void **state)
{
	struct sched *s = begin();
	const struct fault why = { "4.4.1", "connect to mx[192.0.2.1]:25: Connection refused" };
	struct sched_dest *d;
	struct sched_pick p;

	(void)state;
	for (int i = 0; i < 10; i++)
		add(s, "smtp", "dead.example", 60, 0);
	add(s, "smtp", "alive.example", 1, 0);
	d = jobs[0].dest;
	assert_int_equal(start_all(s, 0), 6);
	for (unsigned window = 5; window > 2; window--) {
		assert_int_equal(d->window, window);
		sched_done(s, d, SCHED_THROTTLE, &why, 0);
		assert_int_equal(start_all(s, 0), 0);
	}
	sched_done(s, d, SCHED_THROTTLE, &why, 0);
	assert_true(d->dead_until_us == 300 * (int64_t)S);
	/* all that waits comes back at once, whole jobs, without being tried */
	unsigned n = 0;
	while (sched_next(s, 0, &p)) {
		assert_ptr_equal(p.dest, d);
		assert_string_equal(p.suspended->dsn, "4.4.1");
		n += p.n;
	}
	assert_int_equal(n, 10 * 60 - 5 * 50);
	/* later mail too, until its time has come */
	add(s, "smtp", "dead.example", 1, 10 * S);
	assert_true(sched_next(s, 10 * S, &p));
	assert_non_null(p.suspended);
	assert_true(sched_wake_us(s) == 300 * (int64_t)S);
	add(s, "smtp", "dead.example", 1, 300 * (int64_t)S);
	assert_false(sched_next(s, 300 * (int64_t)S, &p));
	assert_int_equal(d->window, 1);         /* for the one that is still under way */
	sched_done(s, d, SCHED_WORKS, NULL, 301 * (int64_t)S);
	assert_true(sched_next(s, 301 * (int64_t)S, &p));
	assert_null(p.suspended);
	sched_done(s, d, SCHED_WORKS, NULL, 301 * (int64_t)S);
	sched_done(s, dest_of(s, "alive.example"), SCHED_WORKS, NULL, 301 * (int64_t)S);
	sched_free(&s);
}

static void
test_revive_forgets_why(void **state)
{
	struct sched *s = begin();
	const struct fault why = { "4.3.0", "mail transport unavailable" };
	struct sched_pick p;

	(void)state;
	limits.initial = 1;
	add(s, "smtp", "a.example", 1, 0);
	assert_true(sched_next(s, 0, &p));
	sched_done(s, p.dest, SCHED_THROTTLE, &why, 0);
	add(s, "uucp", "b.example", 2, 0);
	sched_transport_down(s, sched_transport(s, SPAN("uucp")), 60 * S, &why, 0);
	assert_true(sched_next(s, 0, &p));
	assert_non_null(p.suspended);
	assert_int_equal(p.n, 2);
	sched_revive(s, 1);
	add(s, "uucp", "b.example", 2, 1);
	add(s, "smtp", "a.example", 1, 1);
	for (int i = 0; i < 2; i++) {
		assert_true(sched_next(s, 1, &p));
		assert_null(p.suspended);
		sched_done(s, p.dest, SCHED_WORKS, NULL, 1);
	}
	assert_false(sched_next(s, 1, &p));
	sched_free(&s);
}

static void
test_a_rate_delay_means_one_at_a_time_with_a_pause(void **state)
{
	struct sched *s = begin();
	struct sched_pick p;

	(void)state;
	limits.dest_delay_us = 2 * S;
	for (int i = 0; i < 3; i++)
		add(s, "slow", "example.org", 1, 0);
	for (int64_t t = 0; t < 9 * S; t += 3 * S) {
		assert_true(sched_next(s, t, &p));
		assert_false(sched_next(s, t, &(struct sched_pick){ 0 }));
		sched_done(s, p.dest, SCHED_WORKS, NULL, t + S);
		assert_false(sched_next(s, t + S, &(struct sched_pick){ 0 }));
		if (t < 6 * S)
			assert_true(sched_wake_us(s) == t + 3 * S);
	}
	limits.dest_delay_us = 0;
	limits.transport_delay_us = S;
	sched_reload(s);
	add(s, "slow", "a", 1, 9 * S);
	add(s, "slow", "b", 1, 9 * S);
	assert_true(sched_next(s, 9 * S, &p));
	assert_false(sched_next(s, 9 * S, &(struct sched_pick){ 0 }));
	sched_done(s, p.dest, SCHED_WORKS, NULL, 9 * S);
	assert_true(sched_wake_us(s) == 10 * S);
	assert_true(sched_next(s, 10 * S, &p));
	sched_done(s, p.dest, SCHED_WORKS, NULL, 10 * S);
	sched_free(&s);
}

static void
test_small_messages_do_not_wait_for_a_big_one(void **state)
{
	struct sched *s = begin();
	struct sched_pick p;
	struct sched_job *big;
	const struct sched_job *small;

	(void)state;
	limits.recipients = 2;
	limits.concurrency = limits.initial = 1;
	big = add(s, "smtp", "example.org", 100, 0);
	small = add(s, "smtp", "example.org", 1, 0);
	assert_true(sched_next(s, 0, &p));
	assert_ptr_equal(p.job, big);
	assert_int_equal(p.n, 2);
	sched_done(s, p.dest, SCHED_WORKS, NULL, 0);
	assert_true(sched_next(s, 0, &p));
	assert_ptr_equal(p.job, small);
	sched_done(s, p.dest, SCHED_WORKS, NULL, 0);
	sched_cancel(s, big, 0);
	assert_false(sched_next(s, 0, &p));
	sched_free(&s);
}

static void
test_destinations_and_transports_take_turns(void **state)
{
	struct sched *s = begin();
	struct sched_pick p;
	unsigned a = 0, b = 0, l = 0;

	(void)state;
	limits.processes = 6;
	for (int i = 0; i < 30; i++)
		add(s, "smtp", "a.example", 1, 0);
	for (int i = 0; i < 30; i++)
		add(s, "smtp", "b.example", 1, 0);
	for (int i = 0; i < 3; i++)
		add(s, "local", "l.example", 1, 0);
	for (unsigned i = 0; sched_next(s, 0, &p); i++) {
		a += span_eq(p.dest->nexthop, SPAN("a.example"));
		b += span_eq(p.dest->nexthop, SPAN("b.example"));
		l += span_eq(p.dest->nexthop, SPAN("l.example"));
		if (i == 5)
			assert_int_equal(l, 3); /* every other one */
	}
	assert_int_equal(a, 3);
	assert_int_equal(b, 3);
	for (size_t i = 0; i < n_jobs; i++)
		sched_cancel(s, &jobs[i], 0);
	sched_free(&s);
}

/* Mail that was to be handed back, but nobody came for it in time: the destination is no longer dead, and this mail is tried. */
static void
test_a_dead_destination_revives_in_its_turn(void **state)
{
	struct sched *s = begin();
	const struct fault why = { "4.4.1", "connect to mx[192.0.2.1]:25: Connection refused" };
	struct sched_job *last = NULL;
	struct sched_pick p;

	(void)state;
	for (int i = 0; i < 6; i++)
		last = add(s, "smtp", "dead.example", 1, 0);
	assert_int_equal(start_all(s, 0), 5);
	for (int i = 0; i < 5; i++)
		sched_done(s, last->dest, SCHED_THROTTLE, &why, 0);
	assert_true(last->dest->dead_until_us == 300 * (int64_t)S && last->dest->in_turn);
	assert_true(sched_next(s, 301 * (int64_t)S, &p));
	assert_ptr_equal(p.job, last);
	assert_null(p.suspended);
	sched_done(s, p.dest, SCHED_WORKS, NULL, 301 * (int64_t)S);
	sched_free(&s);
}

static void
test_ten_thousand_dead_destinations_stop_nobody(void **state)
{
	static struct sched_job many[10000];
	struct sched *s = begin();
	const struct fault why = { "4.4.1", "timed out" };
	struct sched_pick p;
	char name[32];

	(void)state;
	limits.initial = 1;
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "d%d.example", i);
		many[i] = (struct sched_job){ .rcpts = numbers, .n = 1 };
		sched_add(s, &many[i], sched_transport(s, SPAN("smtp")), span_str(name), span_str(name), 0);
		assert_true(sched_next(s, 0, &p));
		sched_done(s, p.dest, SCHED_THROTTLE, &why, 0);
	}
	add(s, "smtp", "alive.example", 1, 1);
	assert_true(sched_next(s, 1, &p));
	assert_null(p.suspended);
	sched_done(s, p.dest, SCHED_WORKS, NULL, 1);
	/* once they have revived and idled, they are forgotten */
	assert_false(sched_next(s, 300 * (int64_t)S, &p));
	assert_false(sched_next(s, 311 * (int64_t)S, &p));
	assert_int_equal(sched_transport(s, SPAN("smtp"))->dests, 0);
	sched_free(&s);
}

static void
test_feedback_forms(void **state)
{
	struct sched_feedback f;

	(void)state;
	assert_true(sched_feedback_parse(SPAN("1"), &f));
	assert_true(sched_feedback_parse(SPAN("0.25"), &f) && f.value > 0.24 && f.value < 0.26);
	assert_true(sched_feedback_parse(SPAN("1/concurrency"), &f));
	assert_int_equal(f.form, SCHED_FEEDBACK_PER);
	assert_true(sched_feedback_parse(SPAN(".5 / sqrt_concurrency"), &f));
	assert_int_equal(f.form, SCHED_FEEDBACK_PER_SQRT);
	assert_false(sched_feedback_parse(SPAN("2"), &f));
	assert_false(sched_feedback_parse(SPAN(""), &f));
	assert_false(sched_feedback_parse(SPAN("1/x"), &f));
	assert_false(sched_feedback_parse(SPAN("-1"), &f));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_window_grows_with_success_up_to_the_limit),
		KIT_TEST(test_retries_do_not_keep_fresh_mail_waiting),
		KIT_TEST(test_fresh_mail_takes_its_destination_along),
		KIT_TEST(test_four_failures_of_five_make_a_destination_dead),
		KIT_TEST(test_revive_forgets_why),
		KIT_TEST(test_a_rate_delay_means_one_at_a_time_with_a_pause),
		KIT_TEST(test_small_messages_do_not_wait_for_a_big_one),
		KIT_TEST(test_destinations_and_transports_take_turns),
		KIT_TEST(test_a_dead_destination_revives_in_its_turn),
		KIT_TEST(test_ten_thousand_dead_destinations_stop_nobody),
		KIT_TEST(test_feedback_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
