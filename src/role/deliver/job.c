/* The child of deliver: one user's rights, one file or command, one report. */
#include "role/deliver/job.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "role/deliver/box.h"
#include "role/deliver/command.h"

#define JOB_ARENA_MAX ((size_t)4 << 20)
#define WORDS_MAX 8192

/* Keep `a` and `b` alone; 0, 1 and 2 lead nowhere. */
static void
close_others(int *a, int *b)
{
	int null = fd_open(AT_FDCWD, "/dev/null", O_RDWR, 0);
	int keep_a = *a >= 0 ? fcntl(*a, F_DUPFD_CLOEXEC, 10) : -1;
	int keep_b = fcntl(*b, F_DUPFD_CLOEXEC, 10);

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	*b = dup3(keep_b, 3, O_CLOEXEC);
	if (keep_a >= 0)
		*a = dup3(keep_a, 4, O_CLOEXEC);
	syscall(SYS_close_range, keep_a >= 0 ? 5U : 4U, ~0U, 0);
}

static void
begin_child(int *file, int *out)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, 0);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(077);
	close_others(file, out);
}

static _Noreturn void
finish(int out, struct job_report *r, struct span body)
{
	r->body_n = (uint32_t)body.n;
	if (fd_write_all(out, r, sizeof(*r)) == 0)
		fd_write_all(out, body.p, body.n);
	_exit(0);
}

static void
set_fault(struct job_report *r, uint8_t result, const struct fault *why)
{
	r->result = result;
	snprintf(r->dsn, sizeof(r->dsn), "%s", why->dsn);
	snprintf(r->text, sizeof(r->text), "%s", why->text);
}

static bool
become(uint32_t uid, uint32_t gid, bool spool, const struct job_env *env, struct fault *why)
{
	struct identity id = { .uid = uid, .gid = gid, .spool_gid = spool ? env->spool_gid : 0 };

	if (gid == 0 && uid != 0) {
		const struct passwd *pw = getpwuid(uid);

		if (pw == NULL)
			return fault_set(why, "4.3.0", "uid %lu has no account", (unsigned long)uid);
		id.gid = pw->pw_gid;
	}
	return identity_allowed(&id, env->mail_uid, why) && identity_become(&id, why);
}

static struct content
content_of(const struct ipc_run_start *m)
{
	return (struct content){ .fd = m->file, .off = m->offset, .size = m->size };
}

static void
set_box_result(struct job_report *r, enum box_result result, const struct fault *why)
{
	switch (result) {
	case BOX_DONE:
		r->result = RUN_DELIVERED;
		return;
	case BOX_DEFER:
		set_fault(r, RUN_DEFERRED, why);
		return;
	case BOX_BOUNCE:
		set_fault(r, RUN_BOUNCED, why);
		return;
	}
}

static void
run_box(const struct ipc_run_start *m, const struct job_env *env, struct arena *a, struct job_report *r)
{
	struct box_message message = {
		.head = m->head, .content = content_of(m), .limit_bytes = m->limit_bytes, .host = env->host,
	};
	struct box_mbox mbox = {
		.path = arena_cstr(a, m->path), .owner = m->uid,
		.strict_owner = (m->flags & RUN_STRICT_OWNER) != 0,
		.special_ok = (m->flags & RUN_SPECIAL_OK) != 0,
		.lock = {
			.fcntl = (m->flags & RUN_LOCK_FCNTL) != 0, .flock = (m->flags & RUN_LOCK_FLOCK) != 0,
			.dotlock = (m->flags & RUN_LOCK_DOT) != 0,
			.dotlock_optional = (m->flags & RUN_LOCK_DOT_OPTIONAL) != 0,
			.attempts = env->lock_attempts, .pause_ms = env->lock_pause_ms,
			.stale_s = env->lock_stale_s,
		},
	};
	struct fault why = { 0 };
	enum box_result result = m->kind == RUN_MAILDIR ?
	    maildir_deliver(mbox.path, arena_cstr(a, m->base), &message, &why) :
	    mbox_deliver(&mbox, &message, &why);

	set_box_result(r, result, &why);
}

/* Texts that end in NUL each, as a NULL-terminated array. */
static char **
texts(struct span all, struct arena *a)
{
	char **v = ARENA_ARRAY(a, char *, WORDS_MAX + 1);
	size_t n = 0;

	while (all.n > 0 && n < WORDS_MAX) {
		struct span one;

		span_cut(all, '\0', &one, &all);
		v[n++] = arena_cstr(a, one);
	}
	return v;
}

static void
set_command_result(struct job_report *r, const struct command_result *c)
{
	r->code = (uint32_t)c->status;
	snprintf(r->text, sizeof(r->text), "%s", c->output);
	switch (c->end) {
	case COMMAND_EXITED:
		r->result = RUN_EXITED;
		return;
	case COMMAND_SIGNALED:
		r->result = RUN_SIGNALED;
		return;
	case COMMAND_TIMED_OUT:
		r->result = RUN_TIMED_OUT;
		return;
	case COMMAND_NOT_RUN:
		set_fault(r, RUN_DEFERRED, &c->why);
		return;
	}
}

static void
run_command(const struct ipc_run_start *m, struct arena *a, struct job_report *r)
{
	char **words = texts(m->argv, a);
	struct command c = {
		.line = (m->flags & RUN_WORDS) == 0 ? words[0] : NULL, .argv = words, .env = texts(m->env, a),
		.dir = arena_cstr(a, m->dir),
		.head = m->head, .content = content_of(m),
		.form = {
			.eol = m->eol, .quote_from = (m->flags & RUN_QUOTE_FROM) != 0,
			.quote_dot = (m->flags & RUN_QUOTE_DOT) != 0,
			.blank_line_end = (m->flags & RUN_BLANK_LINE) != 0,
		},
		.limit_ms = (int64_t)m->limit_ms,
	};
	struct command_result result;

	if (words[0] == NULL) {
		r->result = RUN_DEFERRED;
		snprintf(r->dsn, sizeof(r->dsn), "4.3.5");
		snprintf(r->text, sizeof(r->text), "empty command");
		return;
	}
	command_run(&c, &result);
	set_command_result(r, &result);
}

/* The home that has to be there (require_home_directory, home_mailbox); a Maildir looks for itself. */
static bool
base_there(const struct ipc_run_start *m, struct arena *a, struct fault *why)
{
	const char *base = arena_cstr(a, m->base);
	struct stat st;

	if (m->kind == RUN_MAILDIR || *base == '\0' || stat(base, &st) == 0)
		return true;
	return fault_set(why, "4.2.0", "cannot find home directory %s: %s", base, fd_error(-errno));
}

_Noreturn void
job_run(const struct ipc_run_start *asked, const struct job_env *env, int out)
{
	struct ipc_run_start m = *asked;
	struct arena *a = arena_new(JOB_ARENA_MAX);
	struct job_report r = { 0 };
	struct fault why = { 0 };

	begin_child(&m.file, &out);
	/* Postfix runs commands in the queue directory; a user need not be able to look into it. */
	if (chdir(env->home_dir) < 0)
		(void)!chdir("/");
	if (!become(m.uid, m.gid, (m.flags & RUN_SPOOL) != 0, env, &why) || !base_there(&m, a, &why))
		set_fault(&r, RUN_DEFERRED, &why);
	else if (m.kind == RUN_COMMAND)
		run_command(&m, a, &r);
	else
		run_box(&m, env, a, &r);
	finish(out, &r, (struct span){ 0 });
}

static void
read_failed(struct job_report *r, int neg_errno, const char *path)
{
	switch (-neg_errno) {
	case ENOENT:
	case ENOTDIR:
		r->result = RUN_READ_ABSENT;
		break;
	case EACCES:
	case EPERM:
		r->result = RUN_READ_DENIED;
		break;
	case ELOOP:
	case ENXIO:
	case EISDIR:
	case EFBIG:
		r->result = RUN_READ_REFUSED;
		break;
	default:
		r->result = RUN_READ_LATER;
		break;
	}
	snprintf(r->text, sizeof(r->text), "cannot open file %s: %s", path, fd_error(neg_errno));
}

static int
read_regular(int fd, struct job_report *r, struct buf *body)
{
	struct stat st;
	int e = fd_stat(fd, &st);

	if (e < 0)
		return e;
	r->owner = st.st_uid;
	r->mode = st.st_mode;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	for (;;) {
		char chunk[16384];
		ssize_t got = fd_read(fd, chunk, sizeof(chunk));

		if (got <= 0)
			return (int)got;
		if (!buf_add(body, chunk, (size_t)got))
			return -EFBIG;
	}
}

_Noreturn void
job_read(const struct ipc_run_read *m, const struct job_env *env, int out)
{
	struct arena *a = arena_new(JOB_ARENA_MAX);
	const char *path = arena_cstr(a, m->path);
	struct job_report r = { 0 };
	struct fault why = { 0 };
	struct buf body;
	int none = -1;

	begin_child(&none, &out);
	buf_init(&body, JOB_BODY_MAX);
	if (!become(m->uid, m->gid, false, env, &why)) {
		set_fault(&r, RUN_READ_LATER, &why);
	} else {
		int fd = fd_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
		int e = fd < 0 ? fd : read_regular(fd, &r, &body);

		if (e < 0)
			read_failed(&r, e, path);
	}
	if (r.result != RUN_READ_OK)
		buf_clear(&body);
	finish(out, &r, buf_span(&body));
}
