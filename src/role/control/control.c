/*
 * control: the one door for the command line. It knows the caller by SO_PEERCRED, decides
 * what that user may ask, and passes the question on. It holds nothing itself.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/roles.h"

#define MAX_CALLERS 200
#define ASK_MS 60000
#define STATUS_MS 3000

struct listening {
	struct role *role;
	struct loop_fd watch;
	int fd;
};

struct control {
	struct listening door[8];
	size_t n_doors;
	unsigned next_index;
};

/* A question passed on: where the answer goes. */
struct relay {
	struct role *role;
	struct ipc_from from;
};

static struct relay *
relay_new(struct role *r, struct ipc_from from)
{
	struct relay *y = malloc(sizeof(*y));

	if (y == NULL)
		panic("out of memory");
	*y = (struct relay){ r, from };
	return y;
}

/* ---- who may */

static uid_t
caller(struct role *r, struct ipc_from from)
{
	struct ipc_peer *p = ipc_peer_find(r->hub, from.peer_id);
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t n = sizeof(who);

	if (p == NULL || getsockopt(ipc_peer_fd(p), SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
		return (uid_t)-1;
	return who.uid;
}

static bool
is_admin(struct role *r, struct ipc_from from)
{
	uid_t uid = caller(r, from);
	const struct passwd *owner = getpwnam(r->conf->params->mail_owner);

	return uid == 0 || uid == getuid() || (owner != NULL && owner->pw_uid == uid);
}

/* authorized_*_users: user names, or static:anyone. */
static bool
listed(struct role *r, struct ipc_from from, const char *list)
{
	uid_t uid = caller(r, from);
	const struct passwd *pw = uid == (uid_t)-1 ? NULL : getpwuid(uid);
	struct span rest = span_str(list), word;

	if (is_admin(r, from))
		return true;
	while (span_token(&rest, ", \t\n", &word)) {
		bool deny = word.p[0] == '!';

		if (deny)
			word = span_from(word, 1);
		if (span_eq(word, SPAN("static:anyone")) || span_eq(word, SPAN("static:all")) ||
		    (pw != NULL && span_eq(word, span_str(pw->pw_name))))
			return !deny;
	}
	return false;
}

static const char refused[] = "only root and the mail owner may do that";

/* ---- queue */

static void
on_listed(void *ctx, enum ipc_result result, struct ipc_queue_listed *m)
{
	struct relay *y = ctx;
	struct ipc_queue_listed none = { .text = SPAN("the queue process does not answer") };

	ipc_reply_queue_listed(y->role->hub, y->from, result == IPC_OK ? m : &none);
	free(y);
}

static void
on_queue_list(void *ctx, struct ipc_from from, struct ipc_queue_list *m)
{
	struct role *r = ctx;
	struct ipc_queue_listed no = { .text = SPAN("authorized_mailq_users does not let you see the queue") };
	struct relay *y;

	if (!listed(r, from, r->conf->params->authorized_mailq_users)) {
		ipc_reply_queue_listed(r->hub, from, &no);
		return;
	}
	y = relay_new(r, from);
	if (ipc_ask_queue_list(ipc_peer_any(r->hub, IPC_ROLE_QUEUE), m, ASK_MS, on_listed, y) == 0)
		on_listed(y, IPC_LOST, NULL);
}

static void
on_admin_done(void *ctx, enum ipc_result result, struct ipc_queue_admin_done *m)
{
	struct relay *y = ctx;
	struct ipc_queue_admin_done none = { .text = SPAN("the queue process does not answer") };

	ipc_reply_queue_admin_done(y->role->hub, y->from, result == IPC_OK ? m : &none);
	free(y);
}

static void
on_queue_admin(void *ctx, struct ipc_from from, struct ipc_queue_admin *m)
{
	struct role *r = ctx;
	bool flush = m->op <= 2;
	bool may = flush ? listed(r, from, r->conf->params->authorized_flush_users) : is_admin(r, from);
	struct ipc_queue_admin_done no = { .text = flush ? SPAN("authorized_flush_users does not let you flush the queue") :
		span_str(refused) };
	struct relay *y;

	if (!may) {
		ipc_reply_queue_admin_done(r->hub, from, &no);
		return;
	}
	y = relay_new(r, from);
	if (ipc_ask_queue_admin(ipc_peer_any(r->hub, IPC_ROLE_QUEUE), m, ASK_MS, on_admin_done, y) == 0)
		on_admin_done(y, IPC_LOST, NULL);
}

static void
on_cat_done(void *ctx, enum ipc_result result, struct ipc_queue_cat_done *m)
{
	struct relay *y = ctx;
	struct ipc_queue_cat_done none = { .text = SPAN("the queue process does not answer"), .file = -1 };

	ipc_reply_queue_cat_done(y->role->hub, y->from, result == IPC_OK ? m : &none);
	free(y);
}

static void
on_queue_cat(void *ctx, struct ipc_from from, struct ipc_queue_cat *m)
{
	struct role *r = ctx;
	struct ipc_queue_cat_done no = { .text = span_str(refused), .file = -1 };
	struct relay *y;

	if (!is_admin(r, from)) {
		ipc_reply_queue_cat_done(r->hub, from, &no);
		return;
	}
	y = relay_new(r, from);
	if (ipc_ask_queue_cat(ipc_peer_any(r->hub, IPC_ROLE_QUEUE), m, ASK_MS, on_cat_done, y) == 0)
		on_cat_done(y, IPC_LOST, NULL);
}

/* ---- resolver, for `signet tls` */

static void
on_resolved(void *ctx, enum ipc_result result, struct ipc_resolver_answer *m)
{
	struct relay *y = ctx;
	struct ipc_resolver_answer none = { 0 };

	ipc_reply_resolver_answer(y->role->hub, y->from, result == IPC_OK ? m : &none);
	free(y);
}

static void
on_resolver_ask(void *ctx, struct ipc_from from, struct ipc_resolver_ask *m)
{
	struct role *r = ctx;
	struct relay *y = relay_new(r, from);

	if (ipc_ask_resolver_ask(ipc_peer_any(r->hub, IPC_ROLE_RESOLVER), m, ASK_MS, on_resolved, y) == 0)
		on_resolved(y, IPC_LOST, NULL);
}

/* ---- master */

static void
on_master_answer(void *ctx, enum ipc_result result, struct ipc_master_answer *m)
{
	struct relay *y = ctx;
	struct ipc_master_answer none = { .text = SPAN("master does not answer") };

	ipc_reply_master_answer(y->role->hub, y->from, result == IPC_OK ? m : &none);
	free(y);
}

static bool
admin_or_refuse(struct role *r, struct ipc_from from)
{
	struct ipc_master_answer no = { .text = span_str(refused) };

	if (is_admin(r, from))
		return true;
	ipc_reply_master_answer(r->hub, from, &no);
	return false;
}

static void
on_master_reload(void *ctx, struct ipc_from from, struct ipc_master_reload *m)
{
	struct role *r = ctx;
	struct relay *y;

	if (!admin_or_refuse(r, from))
		return;
	y = relay_new(r, from);
	if (ipc_ask_master_reload(ipc_peer_at(r->hub, IPC_ROLE_MASTER, 0), m, ASK_MS, on_master_answer, y) == 0)
		on_master_answer(y, IPC_LOST, NULL);
}

static void
on_master_stop(void *ctx, struct ipc_from from, struct ipc_master_stop *m)
{
	struct role *r = ctx;
	struct relay *y;

	if (!admin_or_refuse(r, from))
		return;
	y = relay_new(r, from);
	if (ipc_ask_master_stop(ipc_peer_at(r->hub, IPC_ROLE_MASTER, 0), m, ASK_MS, on_master_answer, y) == 0)
		on_master_answer(y, IPC_LOST, NULL);
}

/* ---- status: master's view, then each role's own */

struct status {
	struct role *role;
	struct ipc_from from;
	struct buf json;
	unsigned waiting;
	bool first;
};

static void
status_finish(struct status *s)
{
	struct ipc_master_answer answer = { .ok = true };

	if (--s->waiting > 0)
		return;
	buf_add_str(&s->json, "]}");
	answer.text = buf_span(&s->json);
	ipc_reply_master_answer(s->role->hub, s->from, &answer);
	buf_release(&s->json);
	free(s);
}

static void
on_role_status(void *ctx, enum ipc_result result, struct ipc_status_report *m)
{
	struct status *s = ctx;

	if (result == IPC_OK) {
		buf_add_str(&s->json, s->first ? "" : ",\n");
		buf_add_span(&s->json, m->json);
		s->first = false;
	}
	status_finish(s);
}

static const unsigned status_roles[] = { IPC_ROLE_SMTPD, IPC_ROLE_QUEUE, IPC_ROLE_SMTPC, IPC_ROLE_RESOLVER, IPC_ROLE_LOOKUP,
	IPC_ROLE_LOCAL, IPC_ROLE_DELIVER, IPC_ROLE_KEEPER };

static void
on_master_status_known(void *ctx, enum ipc_result result, struct ipc_master_answer *m)
{
	struct status *s = ctx;
	struct ipc_status_ask ask = { 0 };

	buf_add_str(&s->json, "{\"master\": ");
	buf_add_span(&s->json, result == IPC_OK ? m->text : SPAN("null"));
	buf_add_str(&s->json, ",\n\"roles\": [");
	for (size_t i = 0; i < sizeof(status_roles) / sizeof(status_roles[0]); i++)
		for (unsigned at = 0; at < 64; at++) {
			struct ipc_peer *p = ipc_peer_at(s->role->hub, status_roles[i], at);

			if (p != NULL && ipc_ask_status_ask(p, &ask, STATUS_MS, on_role_status, s) != 0)
				s->waiting++;
		}
	status_finish(s);
}

static void
on_master_status(void *ctx, struct ipc_from from, struct ipc_master_status *m)
{
	struct role *r = ctx;
	struct status *s = calloc(1, sizeof(*s));

	if (s == NULL)
		panic("out of memory");
	*s = (struct status){ .role = r, .from = from, .waiting = 1, .first = true };
	buf_init(&s->json, 4000000);
	if (ipc_ask_master_status(ipc_peer_at(r->hub, IPC_ROLE_MASTER, 0), m, STATUS_MS, on_master_status_known, s) == 0)
		on_master_status_known(s, IPC_LOST, NULL);
}

/* ---- the door */

static void
on_door(void *ctx, unsigned ready)
{
	struct listening *d = ctx;
	struct control *c = d->role->state;

	(void)ready;
	for (;;) {
		int fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		if (ipc_peer_count(d->role->hub, IPC_ROLE_CLI) >= MAX_CALLERS) {
			fd_close(&fd);
			continue;
		}
		ipc_peer_add(d->role->hub, IPC_ROLE_CLI, c->next_index++, fd);
	}
}

static void
control_start(struct role *r)
{
	static struct control control;

	r->state = &control;
	for (size_t i = 0; i < r->n_listeners && control.n_doors < 8; i++) {
		struct listening *d = &control.door[control.n_doors++];

		d->role = r;
		d->fd = r->listeners[i].fd;
		loop_fd_init(&d->watch, r->loop, d->fd, on_door, d);
		loop_fd_want(&d->watch, LOOP_READ);
	}
}

const struct role_spec control_role = {
	.role = IPC_ROLE_CONTROL,
	.on = {
		.queue_list = on_queue_list,
		.queue_admin = on_queue_admin,
		.queue_cat = on_queue_cat,
		.resolver_ask = on_resolver_ask,
		.master_reload = on_master_reload,
		.master_status = on_master_status,
		.master_stop = on_master_stop,
	},
	.start = control_start,
};
