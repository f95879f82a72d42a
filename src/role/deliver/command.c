/* Commands: start, feed, listen, stop; one poll loop with one deadline. */
#include "role/deliver/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* The poll wakes at least this often to see whether the command has ended (kernels without pidfd). */
#define TICK_MS 1000

/* SIGTERM: deliver stops, and the command with it. */
static volatile sig_atomic_t stop_asked;

struct running {
	const struct command *c;
	struct command_result *r;
	pid_t pid;
	int in, out, pidfd;             /* its stdin (we write), its output (we read) */
	int64_t deadline_us;
	size_t kept;
	bool ended, timed_out, stopped;
	int wait_status;
};

static bool
needs_shell(const char *line)
{
	static const char plain[] = "1234567890!@%-_=+:,./ \t"
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return line[strspn(line, plain)] != '\0' || line[strspn(line, " \t")] == '\0';
}

static void
split_words(char *line, char **words, size_t max)
{
	size_t n = 0;

	while (n + 1 < max) {
		line += strspn(line, " \t");
		if (*line == '\0')
			break;
		words[n++] = line;
		line += strcspn(line, " \t");
		if (*line != '\0')
			*line++ = '\0';
	}
	words[n] = NULL;
}

/* Reached only when exec failed: an administrator's mistake, or a file system that is not there yet. Both may be better later. */
static _Noreturn void
exec_failed(const char *what)
{
	dprintf(STDERR_FILENO, "cannot run %s: %s", what, fd_error(-errno));
	_exit(EX_TEMPFAIL);
}

static _Noreturn void
exec_shell(const char *line)
{
	execl("/bin/sh", "sh", "-c", line, (char *)NULL);
	exec_failed("/bin/sh");
}

static _Noreturn void
exec_line(const struct command *c)
{
	char copy[8192];
	char *words[512];

	if (needs_shell(c->line) || strlen(c->line) >= sizeof(copy))
		exec_shell(c->line);
	snprintf(copy, sizeof(copy), "%s", c->line);
	split_words(copy, words, sizeof(words) / sizeof(words[0]));
	if (words[0] == NULL)
		exec_shell(c->line);    /* blanks */
	execvp(words[0], words);
	/* A word without a slash that is no program may be built into the shell ("exit 67"). */
	if (errno == ENOENT && strchr(words[0], '/') == NULL)
		exec_shell(c->line);
	exec_failed(words[0]);
}

static _Noreturn void
become_command(const struct command *c, int in, int out)
{
	sigset_t none;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(out, STDERR_FILENO) < 0)
		_exit(EX_TEMPFAIL);
	syscall(SYS_close_range, 3U, ~0U, 0);
	environ = c->env;
	if (c->line != NULL)
		exec_line(c);
	execvp(c->argv[0], c->argv);
	exec_failed(c->argv[0]);
}

static void
keep_output(struct running *x, const char *p, size_t n)
{
	for (size_t i = 0; i < n && x->kept < COMMAND_OUTPUT_MAX; i++) {
		unsigned char c = (unsigned char)p[i];

		x->r->output[x->kept++] = c < 32 || c == 127 ? ' ' : (char)c;
	}
	x->r->output[x->kept] = '\0';
}

/* Read what is there; what does not fit is read all the same, so that no writer blocks. */
static void
take_output(struct running *x)
{
	char piece[4096];
	ssize_t got;

	/* Bounded, so that an endless talker cannot keep us from the deadline. */
	for (int i = 0; i < 64 && x->out >= 0; i++) {
		got = fd_read(x->out, piece, sizeof(piece));
		if (got == -EAGAIN)
			return;
		if (got <= 0)
			fd_close(&x->out);
		else
			keep_output(x, piece, (size_t)got);
	}
}

static void
reap(struct running *x, int flags)
{
	pid_t got;

	if (x->ended)
		return;
	do
		got = waitpid(x->pid, &x->wait_status, flags);
	while (got < 0 && errno == EINTR);
	x->ended = got == x->pid || got < 0;
}

static void
on_term(int signo)
{
	(void)signo;
	stop_asked = 1;
}

static void
kill_group(struct running *x)
{
	x->timed_out = stop_asked == 0;
	x->stopped = stop_asked != 0;
	kill(-x->pid, SIGKILL);
	kill(x->pid, SIGKILL);
	reap(x, 0);
}

/*
 * Wait for room on its stdin (when `want_write`), for output or for its end. False when
 * there is nothing more to wait for: it ended, or its time is over.
 */
static bool
wait_turn(struct running *x, bool want_write)
{
	struct pollfd p[3] = {
		{ .fd = want_write ? x->in : -1, .events = POLLOUT },
		{ .fd = x->out, .events = POLLIN },
		{ .fd = x->pidfd, .events = POLLIN },
	};
	int64_t left_ms = (x->deadline_us - clock_mono_us()) / US_PER_MS;

	if (left_ms <= 0 || stop_asked) {
		kill_group(x);
		return false;
	}
	poll(p, 3, left_ms < TICK_MS ? (int)left_ms + 1 : TICK_MS);
	take_output(x);
	reap(x, WNOHANG);
	return !x->ended;
}

static int
sink(void *ctx, struct span bytes)
{
	struct running *x = ctx;

	while (bytes.n > 0) {
		ssize_t put = fd_write(x->in, bytes.p, bytes.n);

		if (put >= 0)
			bytes = span_from(bytes, (size_t)put);
		else if (put != -EAGAIN)
			return (int)put;
		else if (!wait_turn(x, true))
			return -EPIPE;
	}
	return 0;
}

/* A command that does not read its input to the end decides for itself: EPIPE is no failure. */
static bool
feed(struct running *x)
{
	int r = sink(x, x->c->head);
	bool fine = true;

	if (r == 0 && copy_content(&x->c->content, &x->c->form, sink, x, &r) == COPY_READ_FAILED)
		fine = fault_set(&x->r->why, "4.3.0", "queue file read error: %s", fd_error(r));
	if (!fine)
		kill_group(x);
	fd_close(&x->in);
	return fine;
}

static void
conclude(struct running *x)
{
	struct command_result *r = x->r;

	while (!x->ended && wait_turn(x, false))
		;
	take_output(x);
	if (x->stopped) {
		r->end = COMMAND_NOT_RUN;
		fault_set(&r->why, "4.3.2", "the mail system is stopping");
	} else if (x->timed_out) {
		r->end = COMMAND_TIMED_OUT;
	} else if (WIFSIGNALED(x->wait_status)) {
		r->end = COMMAND_SIGNALED;
		r->status = WTERMSIG(x->wait_status);
	} else {
		r->end = COMMAND_EXITED;
		r->status = WEXITSTATUS(x->wait_status);
	}
}

static int
start(struct running *x)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	int r = pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ? -errno : 0;

	if (r == 0) {
		x->pid = fork();
		if (x->pid == 0)
			become_command(x->c, in[0], out[1]);
		r = x->pid < 0 ? -errno : 0;
	}
	fd_close(&in[0]);
	fd_close(&out[1]);
	x->in = in[1];
	x->out = out[0];
	if (r < 0)
		return r;
	/* Both sides do it, so that a kill of the group never comes too early. */
	setpgid(x->pid, x->pid);
	fd_nonblock(x->in, true);
	fd_nonblock(x->out, true);
	x->pidfd = (int)syscall(SYS_pidfd_open, x->pid, 0);
	return 0;
}

void
command_run(const struct command *c, struct command_result *r)
{
	struct running x = { .c = c, .r = r, .in = -1, .out = -1, .pidfd = -1,
		.deadline_us = clock_mono_us() + c->limit_ms * US_PER_MS };
	int failed;

	memset(r, 0, sizeof(*r));
	r->end = COMMAND_NOT_RUN;
	if (c->dir[0] != '\0' && chdir(c->dir) < 0) {
		fault_set(&r->why, "4.3.5", "cannot change directory to %s: %s", c->dir,
		    fd_error(-errno));
		return;
	}
	signal(SIGPIPE, SIG_IGN);
	/* Without SA_RESTART: a wait ends at once. */
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = on_term }, NULL);
	failed = start(&x);
	if (failed < 0)
		fault_set(&r->why, "4.3.0", "cannot start a process: %s", fd_error(failed));
	else if (feed(&x))
		conclude(&x);
	fd_close(&x.in);
	fd_close(&x.out);
	fd_close(&x.pidfd);
}
