/*
 * hash: and its kin are served from a cdb of our own: built by a child without privileges
 * before the roles start, and again when a source changes. The child's log lines come
 * through a pipe: it must not write to master's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "maps/served.h"
#include "role/common/confine.h"
#include "role/master/master.h"

#define LINES_MAX 65536u        /* one line is 4096 at most */

/* ---- the child */

static void
to_pipe(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	const int *fd = ctx;

	(void)wall_us;
	(void)tag;
	(void)dprintf(*fd, "%d%s\n", (int)level, line);
}

static _Noreturn void
build_in_child(const struct master *m, const struct served *s, int source, int lines)
{
	struct fault why = { 0 };
	bool ok = true;

	log_set_sink(to_pipe, NULL, &lines);
	if (m->as_root)
		ok = confine_user(m->conf->params->mail_owner, &why);
	confine_no_new_privs();
	ok = ok && served_build(s, source, &why);
	if (!ok)
		log_error(NULL, "%.*s: %s", SPAN_ARG(s->label), why.text);
	_exit(ok ? 0 : 1);
}

/* ---- master */

/* The child wrote "3error: text": our own log puts the word in front again. */
static void
say(struct span line)
{
	struct span word, text;
	enum log_level level = LOG_LEVEL_WARNING;

	if (line.n == 0)
		return;
	if (line.p[0] >= '0' + LOG_LEVEL_INFO && line.p[0] <= '0' + LOG_LEVEL_ERROR)
		level = (enum log_level)(line.p[0] - '0');
	line = span_from(line, 1);
	if (level > LOG_LEVEL_INFO && span_cut(line, ' ', &word, &text) && span_ends(word, SPAN(":")))
		line = text;
	log_emit(NULL, level, "%.*s", SPAN_ARG(line));
}

static void
say_lines(struct builder *b)
{
	struct span rest = buf_span(&b->in), line, tail;

	while (span_cut(rest, '\n', &line, &tail)) {
		say(line);
		rest = tail;
	}
	buf_consume(&b->in, b->in.n - rest.n);
}

/* False at the end of the pipe. */
static bool
read_lines(struct builder *b)
{
	for (;;) {
		char *room = buf_space(&b->in, 4096);
		ssize_t got = room == NULL ? 0 : fd_read(b->fd, room, 4096);

		if (got <= 0)
			return got == -EAGAIN;
		b->in.n += (size_t)got;
		say_lines(b);
	}
}

static void
close_pipe(struct builder *b)
{
	loop_fd_release(&b->watch);
	fd_close(&b->fd);
	buf_release(&b->in);
}

static void
on_lines(void *ctx, unsigned ready)
{
	struct builder *b = ctx;

	(void)ready;
	if (!read_lines(b))
		close_pipe(b);
}

/* False with a log line when it could not even begin. */
static bool
begin(const struct master *m, const struct served *s, struct builder *b)
{
	int source = fd_open(AT_FDCWD, s->source, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
	int fds[2] = { -1, -1 };

	if (source < 0) {
		log_error(NULL, "%.*s: cannot open %s: %s", SPAN_ARG(s->label), s->source, fd_error(source));
		return false;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		panic("pipe2");
	b->pid = fork();
	if (b->pid == 0)
		build_in_child(m, s, source, fds[1]);
	fd_close(&source);
	fd_close(&fds[1]);
	if (b->pid < 0) {
		b->pid = 0;
		fd_close(&fds[0]);
		log_error(NULL, "%.*s: cannot start a process", SPAN_ARG(s->label));
		return false;
	}
	b->fd = fds[0];
	buf_init(&b->in, LINES_MAX);
	return true;
}

void
builder_run_all(struct master *m)
{
	for (struct served *s = m->served; s != NULL; s = s->next) {
		struct builder b;

		if (!served_due(s, clock_mono_us()) || !begin(m, s, &b))
			continue;
		(void)read_lines(&b);   /* until its end: the pipe blocks */
		waitpid(b.pid, NULL, 0);
		fd_close(&b.fd);
		buf_release(&b.in);
	}
}

void
builder_poll(struct master *m)
{
	if (m->builder.pid != 0)
		return;
	for (struct served *s = m->served; s != NULL; s = s->next) {
		if (!served_due(s, clock_mono_us()) || !begin(m, s, &m->builder))
			continue;
		fd_nonblock(m->builder.fd, true);
		loop_fd_init(&m->builder.watch, m->loop, m->builder.fd, on_lines, &m->builder);
		loop_fd_want(&m->builder.watch, LOOP_READ);
		return;
	}
}

bool
builder_ended(struct master *m, pid_t pid)
{
	if (pid != m->builder.pid)
		return false;
	m->builder.pid = 0;
	if (m->builder.fd >= 0) {
		(void)read_lines(&m->builder);
		close_pipe(&m->builder);
	}
	return true;
}
