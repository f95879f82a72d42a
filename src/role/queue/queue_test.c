/*
 * The whole role in one process, with a real spool and peers that the test plays: what is
 * acknowledged is delivered, deferred, reported, kept over a restart.
 */
#include "role/queue/queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"
#include "role/queue/resolve.h"
#include "role/roles.h"

/* A delivery that an agent of ours got, and has not answered. */
struct got {
	struct ipc_from from;
	char qid[STORE_QID_MAX + 1];
	char service[32], nexthop[64], rcpt[64], content[64], envelope[512];
	uint32_t index[64];
	size_t n;
	uint64_t size;
	bool file;
	bool backlog;
};

struct world {
	struct role role;               /* the queue */
	struct conf *conf;
	struct loop *loop;
	struct ipc_hub *smtpd, *smtpc, *local, *control;
	struct ipc_peer *to_queue, *ctl_to_queue;
	int submitted_ok, submitted_no;
	char submit_text[200];
	struct got got[100];
	size_t n_got;
	struct {
		struct ipc_from from;
		uint8_t kind, action;
		char qid[STORE_QID_MAX + 1], to[64], addr[64], dsn[12], text[200];
		size_t n;
		bool file;
	} bounce[20];
	size_t n_bounces;
	bool admin_done, admin_ok;
	uint32_t admin_count;
	size_t listed;
	char list_text[2000];
	bool list_done, cat_done;
	char cat_text[1000];
	int64_t asked_index;
	char main_cf[2000];
};

static struct world w;

static void
copy(char *to, size_t cap, struct span s)
{
	snprintf(to, cap, "%.*s", SPAN_ARG(s));
}

/* ---- the peers */

static void
on_deliver(void *ctx, struct ipc_from from, struct ipc_deliver_start *m)
{
	struct got *g = &w.got[w.n_got++];

	(void)ctx;
	ensure(w.n_got <= 100 && m->n_rcpts <= 64 && m->n_rcpts > 0);
	*g = (struct got){ .from = from, .n = m->n_rcpts, .size = m->size, .backlog = m->backlog };
	copy(g->qid, sizeof(g->qid), m->qid);
	copy(g->service, sizeof(g->service), m->service);
	copy(g->nexthop, sizeof(g->nexthop), m->nexthop);
	copy(g->rcpt, sizeof(g->rcpt), m->rcpts[0].addr);
	copy(g->envelope, sizeof(g->envelope), m->envelope);
	for (size_t i = 0; i < g->n; i++)
		g->index[i] = m->rcpts[i].index;
	if (m->inline_content) {
		copy(g->content, sizeof(g->content), m->content);
	} else {
		g->file = true;
		ensure(fd_pread(m->file, g->content, 10, m->offset) == 10);
	}
}

static void
on_compose(void *ctx, struct ipc_from from, struct ipc_bounce_compose *m)
{
	size_t i = w.n_bounces++;

	(void)ctx;
	ensure(i < 20 && m->n_failed > 0);
	w.bounce[i].from = from;
	w.bounce[i].kind = m->kind;
	w.bounce[i].n = m->n_failed;
	w.bounce[i].action = m->failed[0].action;
	w.bounce[i].file = m->file >= 0;
	copy(w.bounce[i].qid, sizeof(w.bounce[i].qid), m->qid);
	copy(w.bounce[i].to, sizeof(w.bounce[i].to), m->to);
	copy(w.bounce[i].addr, sizeof(w.bounce[i].addr), m->failed[0].addr);
	copy(w.bounce[i].dsn, sizeof(w.bounce[i].dsn), m->failed[0].dsn);
	copy(w.bounce[i].text, sizeof(w.bounce[i].text), m->failed[0].text);
}

static const struct ipc_handlers nothing = { .role_go = NULL };
static const struct ipc_handlers smtpc_on = { .deliver_start = on_deliver };
static const struct ipc_handlers local_on = { .deliver_start = on_deliver, .bounce_compose = on_compose };

static void
queue_up(void *ctx, struct ipc_peer *p)
{
	queue_role.peer_up(ctx, p);
}

static void
queue_down(void *ctx, struct ipc_peer *p)
{
	queue_role.peer_down(ctx, p);
}

static struct ipc_hub *
join(unsigned role, const struct ipc_handlers *on, struct ipc_peer **to_r)
{
	struct ipc_hub_ops ops = { .on = on };
	struct ipc_hub *hub = ipc_hub_new(w.loop, role, &ops);
	struct ipc_peer *to;
	int fds[2];

	assert_int_equal(fd_socketpair(SOCK_STREAM, fds), 0);
	to = ipc_peer_add(hub, IPC_ROLE_QUEUE, 0, fds[0]);
	ipc_peer_add(w.role.hub, role, 0, fds[1]);
	if (to_r != NULL)
		*to_r = to;
	return hub;
}

/* ---- beginning and end */

static bool
no_question(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)id;
	(void)table;
	(void)key;
	return false;
}

static const struct asks_ops no_asks = { .map = no_question };

static void
start(void)
{
	struct conf_report report;
	struct fault why = { 0 };
	struct queue *q;
	struct buf cf;
	char spool[400];
	const struct ipc_hub_ops ops = { .on = &queue_role.on, .peer_up = queue_up, .peer_down = queue_down,
		.ctx = &w.role };

	snprintf(spool, sizeof(spool), "%s/spool", kit_dir());
	buf_init(&cf, 10000);
	buf_addf(&cf, "compatibility_level = 3.6\nmyhostname = mx.example.org\nmyorigin = example.org\nmydestination = example.org\n"
	    "mynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\nqueue_directory = %s\ndata_directory = %s\n%s\n",
	    spool, kit_dir(), w.main_cf);
	conf_report_init(&report);
	if (!conf_parse(buf_span(&cf), SPAN("smtp unix - - n - - smtp\nrelay unix - - n - - smtp\n"
	    "local unix - n n - - local\nvirtual unix - n n - - virtual\nerror unix - - n - - error\nretry unix - - n - - error\n"), &w.conf, &report)) {
		struct buf b;

		buf_init(&b, 10000);
		conf_report_print(&report, CONF_NOTE, &b);
		fail_msg("%s", buf_cstr(&b));
	}
	conf_report_release(&report);
	buf_release(&cf);
	if (!store_prepare(spool, (uid_t)-1, (gid_t)-1, &why))
		fail_msg("%s", why.text);
	w.loop = loop_new();
	w.role = (struct role){ .spec = &queue_role, .loop = w.loop, .conf = w.conf, .workers = 1 };
	w.role.hub = ipc_hub_new(w.loop, IPC_ROLE_QUEUE, &ops);
	w.role.maps_env = (struct maps_env){ .data_directory = kit_dir(), .default_database_type = "cdb", .alias_tables = "" };
	w.role.asks = asks_link_new(w.loop, &no_asks, NULL, 1000);
	q = calloc(1, sizeof(*q));
	w.role.state = q;
	q->resolve = resolve_new(&w.role, &why);
	if (q->resolve == NULL)
		fail_msg("%s", why.text);
	queue_role.start(&w.role);
	w.smtpd = join(IPC_ROLE_SMTPD, &nothing, &w.to_queue);
	w.smtpc = join(IPC_ROLE_SMTPC, &smtpc_on, NULL);
	w.local = join(IPC_ROLE_LOCAL, &local_on, NULL);
	w.control = join(IPC_ROLE_CONTROL, &nothing, &w.ctl_to_queue);
}

static void
stop(void)
{
	ipc_hub_free(&w.smtpd);
	ipc_hub_free(&w.smtpc);
	ipc_hub_free(&w.local);
	ipc_hub_free(&w.control);
	for (int i = 0; i < 5; i++)
		loop_turn(w.loop, 10);
	queue_release(&w.role);
	ipc_hub_free(&w.role.hub);
	asks_link_free(&w.role.asks);
	loop_free(&w.loop);
	conf_unref(&w.conf);
}

static void
begin(const char *main_cf)
{
	memset(&w, 0, sizeof(w));
	snprintf(w.main_cf, sizeof(w.main_cf), "%s", main_cf);
	start();
}

#define until(cond)                                                    \
	for (int turns_ = 0; !(cond); turns_++) {                      \
		if (turns_ > 2000)                                     \
			fail_msg("never: %s", #cond);                  \
		loop_turn(w.loop, 10);                                 \
	}

static size_t
count(enum message_stage stage)
{
	return ((struct queue *)w.role.state)->count[stage];
}

/* ---- deeds */

static void
submitted(void *ctx, enum ipc_result result, struct ipc_queue_submitted *m)
{
	(void)ctx;
	if (result == IPC_OK && m->ok) {
		w.submitted_ok++;
	} else {
		w.submitted_no++;
		if (result == IPC_OK)
			copy(w.submit_text, sizeof(w.submit_text), m->text);
	}
}

static struct span
envelope_text(struct arena *a, const char *sender, const char *rcpts, unsigned notify, bool hold)
{
	struct envelope e = { .sender = span_str(sender), .arrival_us = clock_wall_us(), .hold = hold };
	struct span rest = span_str(rcpts), one;
	struct buf b;
	struct span s;

	while (span_token(&rest, " ", &one)) {
		const struct envelope_rcpt r = { .addr = one, .orig = one, .notify = notify };

		envelope_add_rcpt(&e, a, &r);
	}
	buf_init(&b, 1 << 20);
	envelope_write(&e, &b);
	s = arena_dup(a, buf_span(&b));
	buf_release(&b);
	return s;
}

static void
submit_as(const char *qid, const char *sender, const char *rcpts, unsigned notify, bool hold)
{
	struct arena *a = arena_new(1 << 20);
	const struct ipc_queue_submit m = { .qid = span_str(qid), .envelope = envelope_text(a, sender, rcpts, notify, hold),
		.content = SPAN("Subject: x\r\n\r\nhello\r\n"), .size = 21 };

	assert_true(ipc_ask_queue_submit(w.to_queue, &m, 10000, submitted, NULL) != 0);
	arena_free(&a);
}

static void
submit(const char *qid, const char *sender, const char *rcpts)
{
	submit_as(qid, sender, rcpts, 0, false);
}

/* Answer delivery `i`: the same for all recipients. */
static void
outcome(size_t i, uint8_t status, const char *dsn, const char *text, const char *throttle)
{
	struct got *g = &w.got[i];
	struct ipc_outcome o[64];
	struct ipc_deliver_done d = { .outcomes = o, .n_outcomes = g->n, .throttle = span_str(throttle),
		.throttle_dsn = throttle != NULL ? SPAN("4.4.1") : SPAN("") };

	for (size_t k = 0; k < g->n; k++)
		o[k] = (struct ipc_outcome){ .index = g->index[k], .status = status, .dsn = span_str(dsn),
			.text = span_str(text), .flags = status == 0 ? REPORT_RELAYED : 0 };
	ipc_reply_deliver_done(g->from.role == IPC_ROLE_QUEUE && (strcmp(g->service, "local") == 0 || strcmp(g->service, "virtual") == 0) ?
	    w.local : w.smtpc, g->from, &d);
}

static void
bounce_done(size_t i, bool ok)
{
	const struct ipc_bounce_composed m = { .ok = ok, .qid = SPAN("NEWID"), .text = SPAN("no") };

	ipc_reply_bounce_composed(w.local, w.bounce[i].from, &m);
}

static void
admin_answer(void *ctx, enum ipc_result result, struct ipc_queue_admin_done *m)
{
	(void)ctx;
	w.admin_done = true;
	w.admin_ok = result == IPC_OK && m->ok;
	w.admin_count = m->count;
}

static uint32_t
admin(uint8_t op, const char *which)
{
	const struct ipc_queue_admin m = { .op = op, .which = span_str(which) };

	w.admin_done = false;
	assert_true(ipc_ask_queue_admin(w.ctl_to_queue, &m, 10000, admin_answer, NULL) != 0);
	until(w.admin_done);
	return w.admin_count;
}

enum { FLUSH_ALL, FLUSH_ONE, FLUSH_SITE, HOLD, RELEASE, REQUEUE, DELETE, EXPIRE };

/* ---- tests */

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

/* ---- parameters of one word */

/* Begin with an empty spool. */
static void
begin_empty(const char *main_cf)
{
	char spool[400];

	snprintf(spool, sizeof(spool), "%s/spool", kit_dir());
	kit_remove_tree(spool);
	begin(main_cf);
}

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
		KIT_TEST(test_limits_by_transport),
		KIT_TEST(test_limits_of_named_services),
		KIT_TEST(test_feedback),
		KIT_TEST(test_backlog),
		KIT_TEST(test_positive_feedback),
		KIT_TEST(test_held_back_transports),
		KIT_TEST(test_filter_routes),
		KIT_TEST(test_who_is_told_what),
		KIT_TEST(test_an_expanded_alias_is_reported),
		KIT_TEST(test_mail_to_the_double_bounce_address_is_discarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
