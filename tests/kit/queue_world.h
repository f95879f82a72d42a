/* The whole queue role in one process, with a real spool and peers that the test plays. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"
#include "role/queue/queue.h"
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

static inline void
copy(char *to, size_t cap, struct span s)
{
	snprintf(to, cap, "%.*s", SPAN_ARG(s));
}

/* ---- the peers */

static inline void
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

static inline void
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

static inline void
queue_up(void *ctx, struct ipc_peer *p)
{
	queue_role.peer_up(ctx, p);
}

static inline void
queue_down(void *ctx, struct ipc_peer *p)
{
	queue_role.peer_down(ctx, p);
}

static inline struct ipc_hub *
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

static inline bool
no_question(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)id;
	(void)table;
	(void)key;
	return false;
}

static const struct asks_ops no_asks = { .map = no_question };

static inline void
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

static inline void
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

static inline void
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

static inline size_t
count(enum message_stage stage)
{
	return ((struct queue *)w.role.state)->count[stage];
}

/* ---- deeds */

static inline void
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

static inline struct span
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

static inline void
submit_as(const char *qid, const char *sender, const char *rcpts, unsigned notify, bool hold)
{
	struct arena *a = arena_new(1 << 20);
	const struct ipc_queue_submit m = { .qid = span_str(qid), .envelope = envelope_text(a, sender, rcpts, notify, hold),
		.content = SPAN("Subject: x\r\n\r\nhello\r\n"), .size = 21 };

	assert_true(ipc_ask_queue_submit(w.to_queue, &m, 10000, submitted, NULL) != 0);
	arena_free(&a);
}

static inline void
submit(const char *qid, const char *sender, const char *rcpts)
{
	submit_as(qid, sender, rcpts, 0, false);
}

/* Answer delivery `i`: the same for all recipients. */
static inline void
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

static inline void
bounce_done(size_t i, bool ok)
{
	const struct ipc_bounce_composed m = { .ok = ok, .qid = SPAN("NEWID"), .text = SPAN("no") };

	ipc_reply_bounce_composed(w.local, w.bounce[i].from, &m);
}

static inline void
admin_answer(void *ctx, enum ipc_result result, struct ipc_queue_admin_done *m)
{
	(void)ctx;
	w.admin_done = true;
	w.admin_ok = result == IPC_OK && m->ok;
	w.admin_count = m->count;
}

static inline uint32_t
admin(uint8_t op, const char *which)
{
	const struct ipc_queue_admin m = { .op = op, .which = span_str(which) };

	w.admin_done = false;
	assert_true(ipc_ask_queue_admin(w.ctl_to_queue, &m, 10000, admin_answer, NULL) != 0);
	until(w.admin_done);
	return w.admin_count;
}

enum { FLUSH_ALL, FLUSH_ONE, FLUSH_SITE, HOLD, RELEASE, REQUEUE, DELETE, EXPIRE };

/* Begin with an empty spool. */
static inline void
begin_empty(const char *main_cf)
{
	char spool[400];

	snprintf(spool, sizeof(spool), "%s/spool", kit_dir());
	kit_remove_tree(spool);
	begin(main_cf);
}
