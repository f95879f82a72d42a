/*
 * The whole role in one process, with a real spool and peers that the test plays: what is
 * acknowledged is delivered, deferred, reported, kept over a restart.
 */
#include "role/queue/queue.h"

#include "kit/queue_world.h"

static void
test_mail_is_delivered_and_removed(void **state)
{
	(void)state;
	begin("");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example y@one.example z@two.example");
	until(w.submitted_ok == 1 && w.n_got == 2);
	assert_string_equal(w.got[0].service, "smtp");
	assert_string_equal(w.got[0].nexthop, "one.example");
	assert_int_equal(w.got[0].n, 2);
	assert_string_equal(w.got[0].content, "Subject: x\r\n\r\nhello\r\n");
	assert_non_null(strstr(w.got[0].envelope, "a@b.example"));
	assert_null(strstr(w.got[0].envelope, "one.example"));
	outcome(0, 0, "2.0.0", "250 ok", NULL);
	outcome(1, 0, "2.0.0", "250 ok", NULL);
	until(count(STAGE_ACTIVE) == 0 && count(STAGE_REMOVING) == 0);
	assert_true(kit_logged("4bXyZ10rTqz1: from=<a@b.example>, size=21, nrcpt=3 (queue active)"));
	assert_true(kit_logged("4bXyZ10rTqz1: removed"));
	stop();
	/* nothing comes back */
	start();
	until(!((struct queue *)w.role.state)->scanning);
	assert_int_equal(count(STAGE_DEFERRED), 0);
	stop();
}

static void
test_what_is_deferred_survives_a_restart_and_keeps_its_recipients(void **state)
{
	(void)state;
	begin("");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example z@two.example");
	until(w.n_got == 2);
	outcome(0, 0, "2.0.0", "250 ok", NULL);
	outcome(1, 1, "4.4.1", "connect to mx.two.example[192.0.2.1]:25: timed out", NULL);
	until(count(STAGE_DEFERRED) == 1 && store_pending(((struct queue *)w.role.state)->store) == 0);
	stop();
	w.n_got = 0;
	start();
	until(count(STAGE_DEFERRED) == 1);
	loop_turn(w.loop, 10);
	assert_int_equal(w.n_got, 0);   /* not yet its time */
	assert_int_equal(admin(FLUSH_ALL, ""), 1);
	until(w.n_got == 1);
	assert_string_equal(w.got[0].rcpt, "z@two.example");
	assert_string_equal(w.got[0].content, "Subject: x\r\n\r\nhello\r\n");
	assert_int_equal(w.got[0].index[0], 1);
	outcome(0, 0, "2.0.0", "250 ok", NULL);
	until(count(STAGE_DEFERRED) + count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
}

static void
test_failures_are_reported_before_the_message_goes(void **state)
{
	(void)state;
	begin("");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	outcome(0, 2, "5.1.1", "host said: 550 no such user", NULL);
	until(w.n_bounces == 1);
	assert_int_equal(w.bounce[0].kind, 0);
	assert_string_equal(w.bounce[0].to, "a@b.example");
	assert_string_equal(w.bounce[0].addr, "x@one.example");
	assert_string_equal(w.bounce[0].dsn, "5.1.1");
	assert_string_equal(w.bounce[0].text, "host said: 550 no such user");
	assert_true(w.bounce[0].file);
	assert_int_equal(count(STAGE_ACTIVE), 1);
	/* it cannot be made now: the message waits, and nobody is asked to deliver again */
	expect_log("cannot make a delivery report: no");
	bounce_done(0, false);
	until(count(STAGE_DEFERRED) == 1);
	admin(FLUSH_ONE, "4bXyZ10rTqz1");
	until(w.n_bounces == 2);
	assert_int_equal(w.n_got, 1);
	bounce_done(1, true);
	until(count(STAGE_DEFERRED) + count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	assert_true(kit_logged("4bXyZ10rTqz1: removed"));
	stop();
}

static void
test_notify_decides_who_is_told(void **state)
{
	(void)state;
	begin("");
	submit_as("4bXyZ10rTqz1", "a@b.example", "x@one.example", ENVELOPE_NOTIFY_NEVER, false);
	until(w.n_got == 1);
	outcome(0, 2, "5.1.1", "no", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0 && w.submitted_ok == 1);
	assert_int_equal(w.n_bounces, 0);
	submit_as("4bXyZ10rTqz2", "a@b.example", "x@one.example", ENVELOPE_NOTIFY_SUCCESS, false);
	until(w.n_got == 2);
	outcome(1, 0, "2.0.0", "250 ok", NULL);
	until(w.n_bounces == 1);
	assert_int_equal(w.bounce[0].kind, 2);
	assert_int_equal(w.bounce[0].action, 3);        /* relayed */
	bounce_done(0, true);
	/* bounces of bounces are dropped, unless somebody asked for them */
	submit("4bXyZ10rTqz3", "", "x@one.example");
	until(w.n_got == 3);
	outcome(2, 2, "5.1.1", "no", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	assert_int_equal(w.n_bounces, 1);
	stop();
	begin("notify_classes = 2bounce\n");
	submit("4bXyZ10rTqz4", "", "x@one.example");
	until(w.n_got == 1);
	outcome(0, 2, "5.1.1", "no", NULL);
	until(w.n_bounces == 1);
	assert_int_equal(w.bounce[0].kind, 4);
	assert_string_equal(w.bounce[0].to, "postmaster@example.org");
	bounce_done(0, true);
	expect_log("undeliverable postmaster notification discarded");
	submit("4bXyZ10rTqz5", "double-bounce@example.org", "x@one.example");
	until(w.n_got == 2);
	outcome(1, 2, "5.1.1", "no", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	assert_int_equal(w.n_bounces, 1);
	stop();
}

static void
test_time_runs_out_after_a_failed_attempt(void **state)
{
	(void)state;
	begin("maximal_queue_lifetime = 0\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	outcome(0, 1, "4.4.1", "timed out", NULL);
	until(w.n_bounces == 1);
	assert_string_equal(w.bounce[0].dsn, "4.4.1");
	assert_int_equal(w.bounce[0].action, 0);
	assert_true(kit_logged("4bXyZ10rTqz1: from=<a@b.example>, status=expired, returned to sender"));
	bounce_done(0, true);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
}

static void
test_a_delay_warning_is_sent_once(void **state)
{
	(void)state;
	begin("delay_warning_time = 1s\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	((struct queue *)w.role.state)->all.next == NULL ? (void)0 :
	    (void)(LIST_ITEM(((struct queue *)w.role.state)->all.next, struct message, all)->arrival_us -= 5000000);
	outcome(0, 1, "4.4.1", "timed out", NULL);
	until(w.n_bounces == 1);
	assert_int_equal(w.bounce[0].kind, 1);
	assert_int_equal(w.bounce[0].action, 1);
	bounce_done(0, true);
	until(count(STAGE_DEFERRED) == 1);
	admin(FLUSH_ALL, "");
	until(w.n_got == 2);
	outcome(1, 1, "4.4.1", "timed out", NULL);
	until(count(STAGE_DEFERRED) == 1);
	assert_int_equal(w.n_bounces, 1);
	stop();
}

static void
test_a_delay_that_is_over_is_told(void **state)
{
	(void)state;
	begin("delay_warning_time = 1s\nconfirm_delay_cleared = yes\ndefault_destination_recipient_limit = 2\n");
	submit("4bXyZ10rTqz0", "a@b.example", "in-time@one.example");
	until(w.n_got == 1);
	outcome(0, 0, "2.0.0", "250 ok", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0 && w.submitted_ok == 1);
	assert_int_equal(w.n_bounces, 0);
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 2);
	LIST_ITEM(((struct queue *)w.role.state)->all.next, struct message, all)->arrival_us -= 5000000;
	outcome(1, 1, "4.4.1", "timed out", NULL);
	until(w.n_bounces == 1);
	assert_int_equal(w.bounce[0].kind, 1);
	bounce_done(0, true);
	until(count(STAGE_DEFERRED) == 1);
	admin(FLUSH_ALL, "");
	until(w.n_got == 3);
	outcome(2, 0, "2.0.0", "250 ok", NULL);
	until(w.n_bounces == 2);
	assert_int_equal(w.bounce[1].kind, 2);
	assert_int_equal(w.bounce[1].action, 3);        /* relayed */
	assert_string_equal(w.bounce[1].addr, "x@one.example");
	bounce_done(1, true);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
}

static void
test_a_dead_destination_suspends_the_rest(void **state)
{
	(void)state;
	begin("initial_destination_concurrency = 1\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	submit("4bXyZ10rTqz2", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	outcome(0, 1, "4.4.1", "connect to one.example[192.0.2.1]:25: Connection refused",
	    "connect to one.example[192.0.2.1]:25: Connection refused");
	until(count(STAGE_DEFERRED) == 2);
	assert_int_equal(w.n_got, 1);
	assert_true(kit_logged("to=<x@one.example>, relay=none, delay="));
	assert_true(kit_logged("dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to "
	    "one.example[192.0.2.1]:25: Connection refused)"));
	/* a flush tries again */
	assert_int_equal(admin(FLUSH_SITE, "one.example"), 2);
	until(w.n_got == 2);
	outcome(1, 0, "2.0.0", "250 ok", NULL);
	until(w.n_got == 3);
	outcome(2, 0, "2.0.0", "250 ok", NULL);
	until(count(STAGE_DEFERRED) + count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
}

static void
test_hold_release_delete_expire(void **state)
{
	(void)state;
	begin("");
	submit_as("4bXyZ10rTqz1", "a@b.example", "x@one.example", 0, true);
	until(w.submitted_ok == 1 && count(STAGE_HELD) == 1);
	submit("4bXyZ10rTqz2", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	assert_int_equal(admin(HOLD, "4bXyZ10rTqz2"), 1);
	outcome(0, 1, "4.0.0", "later", NULL);
	until(count(STAGE_HELD) == 2);
	until(store_pending(((struct queue *)w.role.state)->store) == 0);
	stop();
	start();
	until(count(STAGE_HELD) == 2);
	assert_int_equal(admin(FLUSH_ALL, ""), 0);
	assert_int_equal(admin(RELEASE, "ALL"), 2);
	until(w.n_got == 3);
	assert_int_equal(admin(DELETE, "4bXyZ10rTqz1"), 1);
	assert_int_equal(admin(EXPIRE, "4bXyZ10rTqz2"), 1);
	outcome(1, 1, "4.0.0", "later", NULL);
	outcome(2, 1, "4.0.0", "later", NULL);
	until(w.n_bounces == 1);
	assert_string_equal(w.bounce[0].qid, "4bXyZ10rTqz2");
	assert_true(kit_logged("4bXyZ10rTqz2: from=<a@b.example>, status=force-expired, returned to sender"));
	bounce_done(0, true);
	until(count(STAGE_HELD) + count(STAGE_DEFERRED) + count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	assert_int_equal(admin(DELETE, "4bXyZ10rTqz1"), 0);
	assert_false(w.admin_ok);
	stop();
}

static void
test_an_agent_that_dies_three_times_makes_the_message_held(void **state)
{
	(void)state;
	begin("");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	expect_log("held: 3 times the agent");
	for (int i = 0; i < 3; i++) {
		until(w.n_got == (size_t)i + 1);
		ipc_hub_free(&w.smtpc);
		until(count(STAGE_ACTIVE) == 0);
		w.smtpc = join(IPC_ROLE_SMTPC, &smtpc_on, NULL);
		if (i < 2)
			admin(FLUSH_ALL, "");
	}
	until(count(STAGE_HELD) == 1);
	until(store_pending(((struct queue *)w.role.state)->store) == 0);
	stop();
	start();
	until(count(STAGE_HELD) == 1);
	stop();
}

static void
test_an_expanded_alias_is_reported(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct envelope e = { .sender = SPAN("a@b.example"), .arrival_us = clock_wall_us() };
	const struct envelope_rcpt r = { .addr = SPAN("x@one.example"), .orig = SPAN("x@one.example"), .notify = ENVELOPE_NOTIFY_NEVER };
	const struct envelope_rcpt list = { .addr = SPAN("list@here.example"), .orig = SPAN("list@here.example"), .notify = ENVELOPE_NOTIFY_SUCCESS };
	struct buf b;

	(void)state;
	envelope_add_rcpt(&e, a, &r);
	envelope_add_expanded(&e, a, &list);
	buf_init(&b, 1 << 20);
	envelope_write(&e, &b);
	for (int again = 0; again < 2; again++) {
		const struct ipc_queue_submit m = { .qid = SPAN("4bXyZ10rTqz1"), .envelope = buf_span(&b), .content = SPAN("A: b\r\n\r\n"), .size = 8 };

		begin_empty("");
		assert_true(ipc_ask_queue_submit(w.to_queue, &m, 10000, submitted, NULL) != 0);
		until(w.n_got == 1);
		assert_int_equal(w.got[0].n, 1);        /* nobody is delivered to for the alias itself */
		outcome(0, again == 0 ? 0 : 1, "2.0.0", "said", NULL);
		until(w.n_bounces == 1);
		assert_int_equal(w.bounce[0].kind, 2);
		assert_int_equal(w.bounce[0].action, 4);
		assert_string_equal(w.bounce[0].addr, "list@here.example");
		assert_string_equal(w.bounce[0].dsn, "2.0.0");
		assert_string_equal(w.bounce[0].text, "alias expanded");
		bounce_done(0, true);
		if (again == 0) {
			until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
		} else {
			until(count(STAGE_DEFERRED) == 1);
			assert_int_equal(w.n_bounces, 1);
		}
		stop();
	}
	buf_release(&b);
	arena_free(&a);
}

static void
test_mail_to_the_double_bounce_address_is_discarded(void **state)
{
	(void)state;
	begin_empty("double_bounce_sender = twice\n");
	expect_log("4bXyZ10rTqz1: undeliverable postmaster notification discarded");
	submit("4bXyZ10rTqz1", "", "twice@example.org");
	until(w.submitted_ok == 1 && count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	assert_int_equal(w.n_got, 0);
	/* elsewhere it is an address like any other */
	submit("4bXyZ10rTqz2", "", "twice@one.example");
	until(w.n_got == 1);
	outcome(0, 0, "2.0.0", "250 ok", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
}

static int tmp_fd;

static void
tmp_ready(void *ctx, enum ipc_result result, struct ipc_queue_tmp_ready *m)
{
	assert_int_equal(result, IPC_OK);
	assert_true(m->ok);
	(void)ctx;
	tmp_fd = m->file;
	m->file = -1;
}

static void
test_large_content_goes_by_file(void **state)
{
	static char text[200000];
	struct arena *a = arena_new(1 << 20);
	const struct ipc_queue_tmp t = { .qid = SPAN("4bXyZ10rTqz1") };

	(void)state;
	tmp_fd = -1;
	begin("");
	memset(text, 'y', sizeof(text));
	ipc_ask_queue_tmp(w.to_queue, &t, 10000, tmp_ready, NULL);
	until(tmp_fd >= 0);
	assert_int_equal(fd_write_all(tmp_fd, text, sizeof(text)), 0);
	fd_close(&tmp_fd);
	const struct ipc_queue_submit m = { .qid = SPAN("4bXyZ10rTqz1"), .tmp = true, .size = sizeof(text),
		.envelope = envelope_text(a, "a@b.example", "x@one.example", 0, false), .content = SPAN("") };
	ipc_ask_queue_submit(w.to_queue, &m, 10000, submitted, NULL);
	until(w.n_got == 1);
	assert_true(w.got[0].file && w.got[0].size == sizeof(text));
	assert_string_equal(w.got[0].content, "yyyyyyyyyy");
	outcome(0, 0, "2.0.0", "ok", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	arena_free(&a);
	stop();
}

static void
listed(void *ctx, enum ipc_result result, struct ipc_queue_listed *m)
{
	(void)ctx;
	assert_int_equal(result, IPC_OK);
	w.list_done = true;
	for (size_t i = 0; i < m->n_entries; i++) {
		size_t n = strlen(w.list_text);

		w.listed++;
		snprintf(w.list_text + n, sizeof(w.list_text) - n, "%.*s %u %.*s %.*s (%.*s);", SPAN_ARG(m->entries[i].qid),
		    m->entries[i].state, SPAN_ARG(m->entries[i].sender), SPAN_ARG(m->entries[i].rcpts[0].addr),
		    SPAN_ARG(m->entries[i].rcpts[0].reason));
	}
}

static void
catted(void *ctx, enum ipc_result result, struct ipc_queue_cat_done *m)
{
	(void)ctx;
	assert_int_equal(result, IPC_OK);
	w.cat_done = true;
	if (m->ok)
		assert_int_equal(fd_pread(m->file, w.cat_text, m->size, m->offset), m->size);
}

static void
test_listing_and_looking(void **state)
{
	struct ipc_queue_list l = { .max = 1 };
	struct ipc_queue_cat c = { .qid = SPAN("4bXyZ10rTqz1") };

	(void)state;
	begin("");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	submit("4bXyZ10rTqz2", "", "y@two.example");
	until(w.n_got == 2);
	outcome(0, 1, "4.4.1", "timed out", NULL);
	until(count(STAGE_DEFERRED) == 1);
	ipc_ask_queue_list(w.ctl_to_queue, &l, 10000, listed, NULL);
	until(w.list_done);
	w.list_done = false;
	l.after = SPAN("4bXyZ10rTqz1");
	ipc_ask_queue_list(w.ctl_to_queue, &l, 10000, listed, NULL);
	until(w.list_done);
	assert_string_equal(w.list_text, "4bXyZ10rTqz1 2 a@b.example x@one.example (timed out);"
	    "4bXyZ10rTqz2 0  y@two.example ();");
	ipc_ask_queue_cat(w.ctl_to_queue, &c, 10000, catted, NULL);
	until(w.cat_done);
	assert_string_equal(w.cat_text, "Subject: x\r\n\r\nhello\r\n");
	outcome(1, 0, "2.0.0", "ok", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
}

static void
test_what_cannot_be_kept_is_refused(void **state)
{
	const struct ipc_queue_submit bad = { .qid = SPAN("4bXyZ10rTqz9"), .envelope = SPAN("nonsense"), .content = SPAN("x"),
		.size = 1 };

	(void)state;
	begin("");
	ipc_ask_queue_submit(w.to_queue, &bad, 10000, submitted, NULL);
	until(w.submitted_no == 1);
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.n_got == 1);
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.submitted_no == 2);
	outcome(0, 0, "2.0.0", "ok", NULL);
	until(count(STAGE_ACTIVE) + count(STAGE_REMOVING) == 0);
	stop();
	begin("queue_minfree = 5000000000000000\n");
	submit("4bXyZ10rTqz1", "a@b.example", "x@one.example");
	until(w.submitted_no == 1);
	assert_string_equal(w.submit_text, "Insufficient system storage");
	stop();
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_mail_is_delivered_and_removed),
	KIT_TEST(test_what_is_deferred_survives_a_restart_and_keeps_its_recipients),
	KIT_TEST(test_failures_are_reported_before_the_message_goes),
	KIT_TEST(test_notify_decides_who_is_told),
	KIT_TEST(test_time_runs_out_after_a_failed_attempt),
	KIT_TEST(test_a_delay_warning_is_sent_once),
	KIT_TEST(test_a_delay_that_is_over_is_told),
	KIT_TEST(test_a_dead_destination_suspends_the_rest),
	KIT_TEST(test_hold_release_delete_expire),
	KIT_TEST(test_an_agent_that_dies_three_times_makes_the_message_held),
	KIT_TEST(test_large_content_goes_by_file),
	KIT_TEST(test_listing_and_looking),
	KIT_TEST(test_what_cannot_be_kept_is_refused),
	KIT_TEST(test_an_expanded_alias_is_reported),
	KIT_TEST(test_mail_to_the_double_bounce_address_is_discarded),
};
KIT_MAIN(tests)
