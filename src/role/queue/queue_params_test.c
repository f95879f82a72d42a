/* What parameters make of the queue: limits, feedback, transports held back, filters, who is told. */
#include "role/queue/queue.h"

#include "kit/queue_world.h"

/* How many deliveries a message for three at one place begins at once, and the size of the first. */
static void
test_limits_by_transport(void **state)
{
	static const struct {
		const char *conf;
		size_t deliveries, first;
	} rows[] = {
		{ "", 1, 3 },
		{ "default_destination_recipient_limit = 2\n", 2, 2 },
		{ "smtp_destination_recipient_limit = 2\n", 2, 2 },
		{ "smtp_destination_recipient_limit = 2\ndefault_destination_concurrency_limit = 1\n", 1, 2 },
		{ "smtp_destination_recipient_limit = 1\ndefault_destination_concurrency_limit = 1\n", 3, 1 },   /* then each is a destination */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin_empty(rows[i].conf);
		submit("4bXyZ10rTqz1", "a@b.example", "x@one.example y@one.example z@one.example");
		until(w.n_got >= rows[i].deliveries);
		for (int turns = 0; turns < 10; turns++)
			loop_turn(w.loop, 1);
		if (w.n_got != rows[i].deliveries || w.got[0].n != rows[i].first)
			fail_msg("%s: %zu deliveries, first of %zu", rows[i].conf, w.n_got, w.got[0].n);
		stop();
	}
}

/* Each service has limits of its own: local and virtual take one recipient (or as many as are set) a time. */
static void
test_limits_of_named_services(void **state)
{
	static const struct {
		const char *conf, *rcpts, *service;
		size_t deliveries, first;
	} rows[] = {
		{ "", "x@example.org y@example.org", "local", 2, 1 },
		{ "local_destination_recipient_limit = 2\n", "x@example.org y@example.org", "local", 1, 2 },
		{ "local_destination_recipient_limit = 2\n", "x@example.org y@example.org z@example.org", "local", 2, 2 },
		{ "local_destination_recipient_limit = 2\nlocal_destination_concurrency_limit = 1\n", "x@example.org y@example.org z@example.org", "local", 1, 2 },
		{ "virtual_destination_recipient_limit = 1\n", "x@box.example y@box.example", "virtual", 2, 1 },
		{ "virtual_destination_recipient_limit = 2\nvirtual_destination_concurrency_limit = 1\n", "x@box.example y@box.example z@box.example",
		    "virtual", 1, 2 },
		{ "relay_destination_recipient_limit = 2\n", "x@relay.example y@relay.example z@relay.example", "relay", 2, 2 },
		{ "relay_destination_recipient_limit = 2\nrelay_destination_concurrency_limit = 1\n", "x@relay.example y@relay.example z@relay.example",
		    "relay", 1, 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char conf[1000];

		snprintf(conf, sizeof(conf), "virtual_mailbox_domains = box.example\nrelay_domains = relay.example\n%s", rows[i].conf);
		begin_empty(conf);
		submit("4bXyZ10rTqz1", "a@b.example", rows[i].rcpts);
		until(w.n_got >= rows[i].deliveries);
		for (int turns = 0; turns < 10; turns++)
			loop_turn(w.loop, 1);
		if (w.n_got != rows[i].deliveries || w.got[0].n != rows[i].first || strcmp(w.got[0].service, rows[i].service) != 0)
			fail_msg("%s: %zu deliveries, first of %zu by %s", rows[i].conf, w.n_got, w.got[0].n, w.got[0].service);
		stop();
	}
}

/* After one failure of the connection: is the destination dead at once? */
static void
test_feedback(void **state)
{
	static const struct {
		const char *conf;
		size_t after_failure;
	} rows[] = {
		{ "initial_destination_concurrency = 1\n", 1 },
		{ "initial_destination_concurrency = 1\ndefault_destination_concurrency_failed_cohort_limit = 0\n", 2 },
		{ "initial_destination_concurrency = 2\ndefault_destination_concurrency_negative_feedback = 0\n", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin_empty(rows[i].conf);
		submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
		until(w.n_got == 1);
		outcome(0, 1, "4.4.1", "refused", "refused");
		until(count(STAGE_DEFERRED) == 1);
		submit("4bXyZ10rTqz2", "a@b.example", "x@one.example");
		until(w.submitted_ok == 2 && (w.n_got == 2 || count(STAGE_DEFERRED) == 2));
		if (w.n_got != rows[i].after_failure)
			fail_msg("%s: %zu deliveries", rows[i].conf, w.n_got);
		stop();
	}
}

/* A connection is worth keeping when more mail for its destination waits or is under way. */
static void
test_backlog(void **state)
{
	(void)state;
	begin_empty("initial_destination_concurrency = 2\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	submit("4bXyZ10rTqz2", "a@b.example", "x@one.example");
	submit("4bXyZ10rTqz3", "a@b.example", "x@one.example");
	submit("4bXyZ10rTqz4", "a@b.example", "x@other.example");
	until(w.n_got == 3 && w.submitted_ok == 4);
	outcome(0, 0, "2.0.0", "250 ok", NULL);
	until(w.n_got == 4);
	for (size_t i = 0; i < 4; i++)
		if (w.got[i].backlog != (i != 0 && strcmp(w.got[i].nexthop, "other.example") != 0))
			fail_msg("delivery %zu to %s: backlog %d", i, w.got[i].nexthop, w.got[i].backlog);
	stop();
}

/* With no positive feedback a window stays as it began. */
static void
test_positive_feedback(void **state)
{
	static const struct {
		const char *conf;
		size_t deliveries;
	} rows[] = {
		{ "initial_destination_concurrency = 1\n", 3 },
		{ "initial_destination_concurrency = 1\ndefault_destination_concurrency_positive_feedback = 0\n", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin_empty(rows[i].conf);
		submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
		submit("4bXyZ10rTqz2", "a@b.example", "x@one.example");
		submit("4bXyZ10rTqz3", "a@b.example", "x@one.example");
		until(w.submitted_ok == 3 && w.n_got == 1);
		outcome(0, 0, "2.0.0", "ok", NULL);
		until(w.n_got >= rows[i].deliveries);
		for (int turns = 0; turns < 10; turns++)
			loop_turn(w.loop, 1);
		if (w.n_got != rows[i].deliveries)
			fail_msg("%s: %zu deliveries", rows[i].conf, w.n_got);
		stop();
	}
}

static void
test_held_back_transports(void **state)
{
	(void)state;
	begin_empty("defer_transports = smtp\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(count(STAGE_DEFERRED) == 1);
	assert_int_equal(w.n_got, 0);
	stop();
	/* one delivery per pause, wherever it goes */
	begin_empty("default_transport_rate_delay = 600s\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example y@two.example");
	until(w.n_got == 1);
	for (int turns = 0; turns < 20; turns++)
		loop_turn(w.loop, 1);
	assert_int_equal(w.n_got, 1);
	stop();
}

static void
test_filter_routes(void **state)
{
	static const struct {
		const char *conf, *filter, *nexthop;
	} rows[] = {
		{ "", "smtp:[scan]:10025", "[scan]:10025" }, { "", "smtp:", "one.example" },
		{ "default_filter_nexthop = [scan.example]\n", "smtp:", "[scan.example]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arena *a = arena_new(1 << 20);
		struct envelope e = { .sender = SPAN("a@b.example"), .arrival_us = clock_wall_us(), .filter = span_str(rows[i].filter) };
		const struct envelope_rcpt r = { .addr = SPAN("x@one.example"), .orig = SPAN("x@one.example") };
		struct buf b;

		begin_empty(rows[i].conf);
		envelope_add_rcpt(&e, a, &r);
		buf_init(&b, 1 << 20);
		envelope_write(&e, &b);
		const struct ipc_queue_submit m = { .qid = SPAN("4bXyZ10rTqz1"), .envelope = buf_span(&b), .content = SPAN("A: b\r\n\r\n"), .size = 8 };
		assert_true(ipc_ask_queue_submit(w.to_queue, &m, 10000, submitted, NULL) != 0);
		until(w.n_got == 1);
		assert_string_equal(w.got[0].nexthop, rows[i].nexthop);
		stop();
		buf_release(&b);
		arena_free(&a);
	}
}

static void
test_who_is_told_what(void **state)
{
	(void)state;
	/* our own notices give up sooner */
	begin_empty("bounce_queue_lifetime = 0\nnotify_classes = 2bounce\n");
	submit("4bXyZ10rTqz1", "", "x@one.example");
	until(w.n_got == 1);
	outcome(0, 1, "4.4.1", "timed out", NULL);
	until(w.n_bounces == 1);
	assert_int_equal(w.bounce[0].kind, 4);
	bounce_done(0, true);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
	begin_empty("double_bounce_sender = twice\nnotify_classes = 2bounce\n");
	expect_log("undeliverable postmaster notification discarded");
	submit("4bXyZ10rTqz2", "twice@example.org", "x@one.example");
	until(w.n_got == 1);
	outcome(0, 2, "5.1.1", "no", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	assert_int_equal(w.n_bounces, 0);
	stop();
	begin_empty("delay_warning_time = 1s\nnotify_classes = delay\ndelay_notice_recipient = watcher@far.example\n");
	submit("4bXyZ10rTqz3", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	LIST_ITEM(((struct queue *)w.role.state)->all.next, struct message, all)->arrival_us -= 5000000;
	outcome(0, 1, "4.4.1", "timed out", NULL);
	until(w.n_bounces == 1);
	assert_string_equal(w.bounce[0].to, "watcher@far.example");
	bounce_done(0, true);
	until(w.n_bounces == 2);
	bounce_done(1, true);
	until(count(STAGE_DEFERRED) == 1);
	stop();
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_limits_by_transport),
	KIT_TEST(test_limits_of_named_services),
	KIT_TEST(test_feedback),
	KIT_TEST(test_backlog),
	KIT_TEST(test_positive_feedback),
	KIT_TEST(test_held_back_transports),
	KIT_TEST(test_filter_routes),
	KIT_TEST(test_who_is_told_what),
};
KIT_MAIN(tests)
