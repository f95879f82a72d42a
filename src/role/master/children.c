/*
 * The roles as processes: fork and exec of our own binary, descriptors over the channel
 * (descriptor 3), a socket pair for every two roles that may talk, restarts with back-off.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "ipc/ipc_private.h"
#include "role/common/logring.h"
#include "role/master/master.h"

#define CHANNEL 3
#define STOP_GRACE_MS 4000
#define BACKOFF_MAX_MS 60000
#define COUNTED 16u

/* In starting order: log first, so that nothing said is lost. */
static const struct master_kind kinds[] = {
	{ IPC_ROLE_LOG, false, false, false },
	{ IPC_ROLE_RESOLVER, false, false, false },
	{ IPC_ROLE_KEEPER, false, false, false },
	{ IPC_ROLE_LOOKUP, false, true, false },
	{ IPC_ROLE_DELIVER, false, false, false },
	{ IPC_ROLE_LOCAL, false, true, false },
	{ IPC_ROLE_SMTPC, true, true, false },
	{ IPC_ROLE_QUEUE, false, false, false },
	{ IPC_ROLE_CONTROL, false, false, false },
	{ IPC_ROLE_SMTPD, true, true, true },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void slot_fill(struct slot *s);

static bool
may_talk(unsigned a, unsigned b)
{
	for (unsigned t = 1; t < IPC_TYPE_COUNT; t++)
		if (ipc_may_send(a, b, t) || ipc_may_send(b, a, t))
			return true;
	return false;
}

/* ---- telling */

static void
send_file(struct child *c, const struct watched_file *f)
{
	int fd = f->keeper_only && c->kind->role != IPC_ROLE_KEEPER ? -1 : files_open(f);
	struct ipc_role_file msg = { .path = span_str(f->path), .file = fd };

	if (!f->keeper_only || c->kind->role == IPC_ROLE_KEEPER)
		ipc_send_role_file(c->peer, &msg);
	fd_close(&fd);
}

/* All of them, in order before what needs them. */
static void
send_files(struct master *m, struct child *c)
{
	LIST_EACH(n, &m->files) {
		const struct watched_file *f = LIST_ITEM(n, struct watched_file, node);

		ipc_hub_flush(m->hub);
		if (!f->on_demand)
			send_file(c, f);
	}
}

void
children_tell_file(struct master *m, const struct watched_file *f)
{
	LIST_EACH(n, &m->children)
		send_file(LIST_ITEM(n, struct child, node), f);
}

static struct child *
find_role(struct master *m, unsigned role)
{
	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		if (c->kind->role == role && !c->leaving)
			return c;
	}
	return NULL;
}

void
children_give_keeper(struct master *m, struct span path)
{
	struct child *keeper = find_role(m, IPC_ROLE_KEEPER);
	struct ipc_role_file gone = { .path = path, .file = -1 };
	struct fault why = { 0 };
	struct watched_file *f = files_add_pem(m, path, &why);

	if (keeper == NULL)
		return;
	if (f != NULL) {
		send_file(keeper, f);
		return;
	}
	log_warning(NULL, "%s", why.text);
	ipc_send_role_file(keeper->peer, &gone);
}

/* A stream from this child's ring to the logger. */
static void
connect_log(struct master *m, struct child *c)
{
	struct child *logger = find_role(m, IPC_ROLE_LOG);
	struct ipc_role_logger to_child;
	struct ipc_log_stream to_log = { .role = (uint8_t)c->kind->role, .index = (uint16_t)c->index };
	int fds[2];

	if (logger == NULL || c == logger || fd_socketpair(SOCK_STREAM, fds) < 0)
		return;
	shutdown(fds[1], SHUT_RD);
	to_child.pipe = fds[1];
	to_log.stream = fds[0];
	ipc_send_role_logger(c->peer, &to_child);
	ipc_send_log_stream(logger->peer, &to_log);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

/* master's own lines take the same way. */
static void
connect_own_log(struct child *logger)
{
	struct ipc_log_stream to_log = { .role = IPC_ROLE_MASTER };
	int fds[2];

	if (fd_socketpair(SOCK_STREAM, fds) < 0)
		return;
	shutdown(fds[1], SHUT_RD);
	to_log.stream = fds[0];
	ipc_send_log_stream(logger->peer, &to_log);
	logring_set_pipe(fds[1]);
	fd_close(&fds[0]);
}

static void
introduce(struct child *a, struct child *b)
{
	struct ipc_role_peer to_a = { .role = (uint8_t)b->kind->role, .index = (uint16_t)b->index };
	struct ipc_role_peer to_b = { .role = (uint8_t)a->kind->role, .index = (uint16_t)a->index };
	int fds[2];

	if (!may_talk(a->kind->role, b->kind->role) || fd_socketpair(SOCK_STREAM, fds) < 0)
		return;
	to_a.sock = fds[0];
	to_b.sock = fds[1];
	ipc_send_role_peer(a->peer, &to_a);
	ipc_send_role_peer(b->peer, &to_b);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static void
send_listeners(struct master *m, struct child *c)
{
	bool control = c->kind->role == IPC_ROLE_CONTROL;

	if (!control && c->kind->role != IPC_ROLE_SMTPD)
		return;
	LIST_EACH(n, &m->listeners) {
		struct listener *l = LIST_ITEM(n, struct listener, node);
		struct ipc_role_listener msg = { .service = span_str(l->service), .address = span_str(l->address), .sock = l->fd };

		if ((strcmp(l->service, "control") == 0) == control)
			ipc_send_role_listener(c->peer, &msg);
	}
}

static void
send_shared(struct master *m, struct child *c)
{
	struct ipc_role_shared counters = { .name = SPAN("counters"), .mem = m->shared_counters };

	if (c->kind->role != IPC_ROLE_SMTPD)
		return;
	ipc_send_role_shared(c->peer, &counters);
}

static void
send_log_file(struct master *m, struct child *c)
{
	struct ipc_log_file msg;
	struct fault why = { 0 };

	if (c->kind->role != IPC_ROLE_LOG || *m->conf->params->maillog_file == '\0')
		return;
	msg.file = maillog_open(m, &why);
	if (msg.file < 0) {
		log_error(NULL, "%s", why.text);
		return;
	}
	ipc_send_log_file(c->peer, &msg);
	fd_close(&msg.file);
}

/* No more of those than have columns of their own in the counters (role/smtpd/counters.h). */
static unsigned
workers(const struct master *m, const struct master_kind *k)
{
	unsigned n = k->per_core ? m->cores : 1, more = k->sleeps ? n / 2 : 0, room = n < COUNTED ? COUNTED - n : 0;

	return n + (more < room ? more : room);
}

/* Everything that a fresh process needs, in order; ROLE_GO ends it. */
static void
send_start(struct master *m, struct child *c)
{
	struct ipc_role_begin begin = { .index = (uint16_t)c->index, .workers = (uint16_t)workers(m, c->kind),
		.as_root = m->as_root, .reload = m->generation > 0, .generation = m->generation,
		.config_dir = span_str(m->o->config_dir), .conf = m->conf_fd };
	struct ipc_role_go go = { 0 };

	ipc_send_role_begin(c->peer, &begin);
	connect_log(m, c);
	send_listeners(m, c);
	send_shared(m, c);
	send_files(m, c);
	LIST_EACH(n, &m->children) {
		struct child *other = LIST_ITEM(n, struct child, node);

		if (other != c && !(other->leaving && other->kind == c->kind))
			introduce(c, other);
	}
	ipc_send_role_go(c->peer, &go);
	send_log_file(m, c);
	if (c->kind->role != IPC_ROLE_LOG)
		return;
	connect_own_log(c);
	LIST_EACH(n, &m->children)
		connect_log(m, LIST_ITEM(n, struct child, node));
}

/* ---- processes */

static _Noreturn void
exec_role(struct master *m, unsigned role, int channel)
{
	const char *name = ipc_role_name(role);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (channel == CHANNEL)
		fd_cloexec(channel, false);
	else if (dup2(channel, CHANNEL) < 0)
		_exit(127);
	fd_nonblock(CHANNEL, true);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execl(m->o->program, m->o->program, "--role", name, (char *)NULL);
	_exit(127);
}

/* The smallest number that no live process of this kind has: old and new generations never share one. */
static unsigned
free_index(struct master *m, const struct master_kind *k)
{
	unsigned index = 0;
	bool taken;

	do {
		taken = false;
		LIST_EACH(n, &m->children) {
			struct child *c = LIST_ITEM(n, struct child, node);

			taken = taken || (c->kind == k && c->index == index);
		}
		index += taken;
	} while (taken);
	return index;
}

static struct child *
child_start(struct master *m, const struct master_kind *k)
{
	struct child *c = calloc(1, sizeof(*c));
	int fds[2], r = fd_socketpair(SOCK_STREAM, fds);

	if (c == NULL)
		panic("out of memory");
	c->m = m;
	c->kind = k;
	c->index = free_index(m, k);
	c->started_us = clock_mono_us();
	c->pid = r < 0 ? -1 : fork();
	if (c->pid == 0)
		exec_role(m, k->role, fds[1]);
	if (c->pid < 0) {
		log_error(NULL, "cannot start %s: %s", ipc_role_name(k->role), fd_error(r < 0 ? r : -errno));
		if (r == 0) {
			fd_close(&fds[0]);
			fd_close(&fds[1]);
		}
		free(c);
		return NULL;
	}
	fd_close(&fds[1]);
	c->peer = ipc_peer_add(m->hub, k->role, c->index, fds[0]);
	list_push_back(&m->children, &c->node);
	send_start(m, c);
	ipc_hub_flush(m->hub);
	return c;
}

static void
on_again(void *ctx)
{
	slot_fill(ctx);
}

static void
slot_fill(struct slot *s)
{
	if (s->m->stopping || s->child != NULL)
		return;
	s->child = child_start(s->m, s->kind);
	if (s->child == NULL)
		loop_timer_set_ms(&s->again, 5000);
}

static void
slot_new(struct master *m, const struct master_kind *k)
{
	struct slot *s = calloc(1, sizeof(*s));

	if (s == NULL)
		panic("out of memory");
	s->m = m;
	s->kind = k;
	loop_timer_init(&s->again, m->loop, on_again, s);
	list_push_back(&m->slots, &s->node);
	slot_fill(s);
}

void
children_start(struct master *m)
{
	for (size_t i = 0; i < KINDS; i++)
		for (unsigned n = 0; n < workers(m, &kinds[i]); n++)
			slot_new(m, &kinds[i]);
}

/* Died after less than ten seconds: wait 1, 2, 4 ... 60 s; else start at once. */
static void
slot_emptied(struct slot *s, int64_t lived_us, bool clean)
{
	int64_t wait_ms;

	s->child = NULL;
	if (s->m->stopping)
		return;
	s->failures = lived_us < 10 * US_PER_S && !clean ? s->failures + 1 : 0;
	if (s->failures == 0) {
		slot_fill(s);
		return;
	}
	wait_ms = s->failures > 6 ? BACKOFF_MAX_MS : INT64_C(500) << s->failures;
	if (wait_ms > BACKOFF_MAX_MS)
		wait_ms = BACKOFF_MAX_MS;
	log_warning(NULL, "%s died soon after its start (%u times in a row): next try in %lld s",
	    ipc_role_name(s->kind->role), s->failures, (long long)(wait_ms / 1000));
	loop_timer_set_ms(&s->again, wait_ms);
}

static void
child_died(struct master *m, struct child *c, int status)
{
	bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0 && (c->said_bye || c->leaving);

	if (WIFSIGNALED(status))
		log_error(NULL, "process %s[%d] ended by signal %d (%s)", ipc_role_name(c->kind->role), (int)c->pid,
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (!clean && !m->stopping)
		log_error(NULL, "process %s[%d] ended with status %d", ipc_role_name(c->kind->role), (int)c->pid,
		    WEXITSTATUS(status));
	if (c->peer != NULL)
		ipc_peer_close(c->peer);
	list_remove(&c->node);
	LIST_EACH(n, &m->slots) {
		struct slot *s = LIST_ITEM(n, struct slot, node);

		if (s->child == c)
			slot_emptied(s, clock_mono_us() - c->started_us, clean);
	}
	free(c);
}

static void stop_next_stage(struct master *m);

void
children_reap(struct master *m)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0)
			break;
		if (builder_ended(m, pid))
			continue;
		LIST_EACH(n, &m->children) {
			struct child *c = LIST_ITEM(n, struct child, node);

			if (c->pid == pid) {
				child_died(m, c, status);
				break;
			}
		}
	}
	if (m->stopping)
		stop_next_stage(m);
}

void
children_end(struct master *m, unsigned role, unsigned index)
{
	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		if (c->kind->role == role && c->index == index)
			kill(c->pid, SIGKILL);
	}
}

void
child_gone_from_hub(struct master *m, struct ipc_peer *p)
{
	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		if (c->peer == p)
			c->peer = NULL;
	}
}

/* ---- reload and stop */

static void
renew_slot(struct master *m, struct slot *s)
{
	struct ipc_role_drain drain = { .grace_ms = (uint32_t)m->conf->params->reload_drain_time_ms };
	struct child *old = s->child;

	s->child = NULL;
	s->failures = 0;
	if (old != NULL)
		old->leaving = true;
	slot_fill(s);
	if (old != NULL && old->peer != NULL)
		ipc_send_role_drain(old->peer, &drain);
}

void
children_renew(struct master *m)
{
	LIST_EACH(n, &m->slots) {
		struct slot *s = LIST_ITEM(n, struct slot, node);
		struct ipc_role_conf conf = { .conf = m->conf_fd };

		if (s->kind->renewed)
			renew_slot(m, s);
		else if (s->child != NULL && s->child->peer != NULL) {
			send_files(m, s->child);        /* the new values may name tables that the role never had */
			ipc_send_role_conf(s->child->peer, &conf);
		}
		if (s->kind->role == IPC_ROLE_LOG && s->child != NULL)
			send_log_file(m, s->child);
	}
}

/* Who stops when: first what takes in, then what sends out, then the queue, then those they all ask. */
static int
stage_of(unsigned role)
{
	switch (role) {
	case IPC_ROLE_SMTPD:
	case IPC_ROLE_CONTROL:
		return 1;
	case IPC_ROLE_SMTPC:
	case IPC_ROLE_LOCAL:
		return 2;
	case IPC_ROLE_QUEUE:
		return 3;
	case IPC_ROLE_LOG:
		return 5;
	default:
		return 4;
	}
}

static void
stop_next_stage(struct master *m)
{
	struct ipc_role_stop stop = { .grace_ms = STOP_GRACE_MS };
	int first = 6;

	LIST_EACH(n, &m->children) {
		int stage = stage_of(LIST_ITEM(n, struct child, node)->kind->role);

		if (stage < first)
			first = stage;
	}
	if (first == 6) {
		loop_stop(m->loop);
		return;
	}
	if (first <= m->stop_stage)
		return;
	m->stop_stage = first;
	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		if (stage_of(c->kind->role) == first && c->peer != NULL)
			ipc_send_role_stop(c->peer, &stop);
	}
	loop_timer_set_ms(&m->deadline, STOP_GRACE_MS + 2000);
}

/* The stage did not end in time: no more asking. */
static void
on_deadline(void *ctx)
{
	struct master *m = ctx;

	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		if (stage_of(c->kind->role) <= m->stop_stage) {
			log_warning(NULL, "process %s[%d] did not stop in time", ipc_role_name(c->kind->role), (int)c->pid);
			kill(c->pid, SIGKILL);
		}
	}
	loop_timer_set_ms(&m->deadline, 1000);
}

void
children_stop(struct master *m)
{
	if (m->stopping)
		return;
	m->stopping = true;
	loop_timer_init(&m->deadline, m->loop, on_deadline, m);
	stop_next_stage(m);
}

void
master_status_json(struct master *m, struct buf *json)
{
	bool first = true;

	buf_addf(json, "{\"pid\": %d, \"version\": \"%s\", \"generation\": %u, \"processes\": [", (int)getpid(), SIGNET_VERSION,
	    m->generation);
	LIST_EACH(n, &m->children) {
		struct child *c = LIST_ITEM(n, struct child, node);

		buf_addf(json, "%s{\"role\": \"%s\", \"index\": %u, \"pid\": %d, \"up_s\": %lld, \"state\": \"%s\"}",
		    first ? "" : ", ", ipc_role_name(c->kind->role), c->index, (int)c->pid,
		    (long long)((clock_mono_us() - c->started_us) / US_PER_S),
		    c->leaving ? "leaving" : c->ready ? "ready" : "starting");
		first = false;
	}
	buf_add_str(json, "]}");
}
