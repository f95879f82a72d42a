/*
 * deliver: root's hands for local delivery. It parses nothing: each request is a fixed set of
 * bounded fields, each is done by a child that first becomes the user it is for. No child
 * outlives its time, and no more than JOBS_MAX run at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/deliver/job.h"
#include "role/deliver/pickup.h"
#include "role/roles.h"

#define JOBS_MAX 100
#define WAITING_MAX 20000
#define BOX_LIMIT_MS 600000
#define READ_LIMIT_MS 60000
/* A child ends its command itself; this much later the child is ended, too. */
#define GRACE_MS 10000
/* Time for commands that still run when the system stops; master gives four seconds in all. */
#define COMMANDS_AT_STOP_MS 2500

struct deliver {
	struct role *role;
	struct job_env env;
	struct list running, waiting;
	size_t n_running, n_waiting;
	struct pickup pickup;
	struct loop_signal child_signal;
	struct loop_timer stop_timer;
	uint64_t done_count;
};

struct job {
	struct list node;
	struct deliver *d;
	struct ipc_from from;
	bool is_read;
	struct ipc_run_start run;
	struct ipc_run_read read;
	struct arena *arena;            /* copies of what the request points to; holds the job */
	pid_t pid;
	int pipe;
	struct loop_fd watch;
	struct loop_timer timer;
	struct buf got;
};

static void start_waiting(struct deliver *d);

static void
job_free(struct job *j)
{
	struct arena *a = j->arena;

	list_remove(&j->node);
	loop_fd_release(&j->watch);
	loop_timer_release(&j->timer);
	fd_close(&j->pipe);
	if (!j->is_read)
		fd_close(&j->run.file);
	buf_release(&j->got);
	arena_free(&a);
}

/* ---- answers */

static struct span
cut(const char *text, size_t size)
{
	return span_of(text, strnlen(text, size));
}

static void
answer(struct job *j, const struct job_report *r, struct span body)
{
	struct ipc_hub *hub = j->d->role->hub;

	if (j->is_read) {
		struct ipc_run_read_done m = {
			.state = r->result, .owner = r->owner, .mode = r->mode,
			.why = cut(r->text, sizeof(r->text)), .text = body,
		};

		ipc_reply_run_read_done(hub, j->from, &m);
	} else {
		struct ipc_run_done m = {
			.result = r->result, .code = r->code, .dsn = cut(r->dsn, sizeof(r->dsn)),
			.text = cut(r->text, sizeof(r->text)),
		};

		ipc_reply_run_done(hub, j->from, &m);
	}
}

static void
answer_failed(struct job *j, const char *text)
{
	struct job_report r = { .result = j->is_read ? RUN_READ_LATER : RUN_DEFERRED, .dsn = "4.3.0" };

	snprintf(r.text, sizeof(r.text), "%s", text);
	answer(j, &r, (struct span){ 0 });
}

static void
finish(struct job *j)
{
	struct deliver *d = j->d;
	struct job_report r;

	if (j->got.n < sizeof(r)) {
		answer_failed(j, "local delivery process died");
	} else {
		struct span body = span_from(buf_span(&j->got), sizeof(r));

		memcpy(&r, j->got.p, sizeof(r));
		if (body.n == r.body_n)
			answer(j, &r, body);
		else
			answer_failed(j, "local delivery process died");
	}
	d->n_running--;
	d->done_count++;
	job_free(j);
	start_waiting(d);
}

static void
on_report(void *ctx, unsigned ready)
{
	struct job *j = ctx;
	char chunk[65536];
	ssize_t got;

	(void)ready;
	got = fd_read(j->pipe, chunk, sizeof(chunk));
	if (got == -EAGAIN)
		return;
	if (got <= 0 || !buf_add(&j->got, chunk, (size_t)got))
		finish(j);
}

/*
 * Stopped means stopped: a command that still runs would go on for its whole time limit, and nobody would
 * take its result. Mailbox writes are short, and are never cut.
 */
static void
on_stop(void *ctx)
{
	struct deliver *d = ctx;

	LIST_EACH(n, &d->running) {
		struct job *j = LIST_ITEM(n, struct job, node);

		if (!j->is_read && j->run.kind == RUN_COMMAND)
			kill(j->pid, SIGTERM);
	}
}

/* Its own limit did not work: it hangs in the file system. The answer need not wait for its end. */
static void
on_too_long(void *ctx)
{
	struct job *j = ctx;
	struct deliver *d = j->d;

	kill(j->pid, SIGKILL);
	log_warning(NULL, "local delivery process %d is stuck and was ended", (int)j->pid);
	answer_failed(j, "local delivery took too long");
	d->n_running--;
	job_free(j);
	start_waiting(d);
}

static void
on_child(void *ctx)
{
	(void)ctx;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* ---- starting */

static int64_t
limit_of(const struct job *j)
{
	if (j->is_read)
		return READ_LIMIT_MS;
	return j->run.kind == RUN_COMMAND ? (int64_t)j->run.limit_ms + GRACE_MS : BOX_LIMIT_MS;
}

static int
fork_job(struct job *j)
{
	int ends[2];
	int r = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;

	if (r < 0)
		return r;
	j->pid = fork();
	if (j->pid == 0) {
		if (j->is_read)
			job_read(&j->read, &j->d->env, ends[1]);
		job_run(&j->run, &j->d->env, ends[1]);
	}
	r = j->pid < 0 ? -errno : 0;
	fd_close(&ends[1]);
	j->pipe = ends[0];
	return r;
}

static void
start(struct job *j)
{
	struct deliver *d = j->d;
	int r = fork_job(j);

	if (r < 0) {
		answer_failed(j, arena_printf(j->arena, "cannot start a delivery process: %s", fd_error(r)).p);
		job_free(j);
		return;
	}
	fd_nonblock(j->pipe, true);
	list_push_back(&d->running, &j->node);
	d->n_running++;
	loop_fd_init(&j->watch, d->role->loop, j->pipe, on_report, j);
	loop_fd_want(&j->watch, LOOP_READ);
	loop_timer_set_ms(&j->timer, limit_of(j));
	if (!j->is_read)
		fd_close(&j->run.file);
}

static void
start_waiting(struct deliver *d)
{
	while (d->n_running < JOBS_MAX && !list_empty(&d->waiting)) {
		struct job *j = LIST_ITEM(list_pop_front(&d->waiting), struct job, node);

		d->n_waiting--;
		start(j);
	}
	if (d->role->draining && d->n_running == 0)
		role_done(d->role);
}

static void
accept_job(struct job *j)
{
	struct deliver *d = j->d;

	if (d->n_running < JOBS_MAX) {
		start(j);
	} else if (d->n_waiting < WAITING_MAX) {
		list_push_back(&d->waiting, &j->node);
		d->n_waiting++;
	} else {
		answer_failed(j, "too many local deliveries at once");
		job_free(j);
	}
}

static struct job *
job_new(struct deliver *d, struct ipc_from from, size_t bytes)
{
	struct arena *a = arena_new(size_add(bytes, 65536));
	struct job *j = ARENA_NEW(a, struct job);

	j->arena = a;
	j->d = d;
	j->from = from;
	j->pipe = j->run.file = -1;
	list_init(&j->node);
	loop_timer_init(&j->timer, d->role->loop, on_too_long, j);
	buf_init(&j->got, sizeof(struct job_report) + JOB_BODY_MAX);
	return j;
}

static void
on_run_start(void *ctx, struct ipc_from from, struct ipc_run_start *m)
{
	struct role *r = ctx;
	struct job *j = job_new(r->state, from, m->path.n + m->base.n + m->argv.n + m->env.n + m->head.n +
	    m->dir.n + m->eol.n);

	j->run = *m;
	j->run.path = arena_dup(j->arena, m->path);
	j->run.base = arena_dup(j->arena, m->base);
	j->run.argv = arena_dup(j->arena, m->argv);
	j->run.env = arena_dup(j->arena, m->env);
	j->run.head = arena_dup(j->arena, m->head);
	j->run.dir = arena_dup(j->arena, m->dir);
	j->run.eol = arena_dup(j->arena, m->eol);
	m->file = -1;
	if (m->kind >= RUN_KINDS || j->run.file < 0) {
		answer_failed(j, "malformed delivery request");
		job_free(j);
		return;
	}
	accept_job(j);
}

static void
on_run_read(void *ctx, struct ipc_from from, struct ipc_run_read *m)
{
	struct role *r = ctx;
	struct job *j = job_new(r->state, from, m->path.n);

	j->is_read = true;
	j->read = *m;
	j->read.path = arena_dup(j->arena, m->path);
	accept_job(j);
}

/* ---- the maildrop */

static void
on_run_pickup(void *ctx, struct ipc_from from, struct ipc_run_pickup *m)
{
	struct role *r = ctx;
	struct deliver *d = r->state;
	struct pickup_file f;
	struct ipc_run_pickup_done done;

	pickup_open(&d->pickup, m->name, &f);
	done = (struct ipc_run_pickup_done){
		.state = (uint8_t)f.state, .uid = f.uid, .size = f.size, .mtime_s = f.mtime_s,
		.why = span_str(f.why), .file = f.fd,
	};
	ipc_reply_run_pickup_done(r->hub, from, &done);
	fd_close(&f.fd);
}

static void
on_run_pickup_remove(void *ctx, struct ipc_from from, struct ipc_run_pickup_remove *m)
{
	struct role *r = ctx;
	struct deliver *d = r->state;

	(void)from;
	pickup_remove(&d->pickup, m->name, m->aside);
}

/* ---- the role */

/* The group that may make files in the spool directory (Debian: mail), so that a user can make its mailbox and lock. */
static gid_t
spool_group(const char *dir)
{
	struct stat st;

	if (stat(dir, &st) < 0 || (st.st_mode & S_IWGRP) == 0)
		return 0;
	return st.st_gid;
}

static void
set_env(struct deliver *d)
{
	const struct params *p = d->role->conf->params;
	const struct passwd *owner = getpwnam(p->mail_owner);

	d->env = (struct job_env){
		.host = p->myhostname,
		.home_dir = p->queue_directory,
		.lock_attempts = (unsigned)p->deliver_lock_attempts,
		.lock_pause_ms = p->deliver_lock_delay_ms,
		.lock_stale_s = p->stale_lock_time_ms / 1000,
		.mail_uid = d->role->as_root && owner != NULL ? owner->pw_uid : (uid_t)-1,
		.spool_gid = spool_group(p->mail_spool_directory),
	};
}

static void
deliver_open(struct role *r)
{
	static struct deliver d;
	struct fault why = { 0 };

	d.role = r;
	r->state = &d;
	list_init(&d.running);
	list_init(&d.waiting);
	set_env(&d);
	if (!pickup_init(&d.pickup, r->conf->params->queue_directory, &why))
		fatal("%s", why.text);
}

static void
deliver_start(struct role *r)
{
	struct deliver *d = r->state;

	loop_signal_init(&d->child_signal, r->loop, SIGCHLD, on_child, d);
	loop_timer_init(&d->stop_timer, r->loop, on_stop, d);
}

static void
deliver_reconf(struct role *r, const struct conf *old)
{
	(void)old;
	set_env(r->state);
}

static void
deliver_drain(struct role *r, bool stop)
{
	struct deliver *d = r->state;

	if (d->n_running == 0)
		role_done(r);
	else if (stop)
		loop_timer_set_ms(&d->stop_timer, COMMANDS_AT_STOP_MS);
}

static void
deliver_status(struct role *r, struct buf *json)
{
	const struct deliver *d = r->state;

	buf_addf(json, "\"running\": %zu, \"waiting\": %zu, \"done\": %llu", d->n_running, d->n_waiting,
	    (unsigned long long)d->done_count);
}

const struct role_spec deliver_role = {
	.role = IPC_ROLE_DELIVER,
	.on = {
		.run_start = on_run_start,
		.run_read = on_run_read,
		.run_pickup = on_run_pickup,
		.run_pickup_remove = on_run_pickup_remove,
	},
	.keeps_root = true,
	.open = deliver_open,
	.start = deliver_start,
	.reconf = deliver_reconf,
	.drain = deliver_drain,
	.status = deliver_status,
};
