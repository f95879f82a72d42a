/*
 * Log ring. Record: u32 length of the rest, u32 pid, i64 wall clock in us, u8 level, tag NUL, line.
 * When the ring is full lines are counted, and the count is logged when there is room again.
 */
#include "role/common/logring.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ioq.h"
#include "base/log.h"
#include "base/loop.h"

#define RING_MAX (1u << 20)

static struct ioq ring;
static int pipe_fd = -1;
static struct loop_fd watch;
static struct loop *ring_loop;
static struct loop_hook hook;
static unsigned long lost;
static bool echo;

static bool
add_record(int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	char head[17];
	size_t tag_n = strlen(tag) + 1, line_n = strlen(line);
	uint32_t length = (uint32_t)(13 + tag_n + line_n), pid = (uint32_t)getpid();

	if (ring.bytes + 4 + length > RING_MAX)
		return false;
	memcpy(head, &length, 4);
	memcpy(head + 4, &pid, 4);
	memcpy(head + 8, &wall_us, 8);
	head[16] = (char)level;
	ioq_add(&ring, head, sizeof(head));
	ioq_add(&ring, tag, tag_n);
	ioq_add(&ring, line, line_n);
	return true;
}

static void
note_lost(const char *tag)
{
	char line[100];

	if (lost == 0)
		return;
	snprintf(line, sizeof(line), "warning: %lu log lines were lost: the log could not keep up", lost);
	if (add_record(clock_wall_us(), LOG_LEVEL_WARNING, tag, line))
		lost = 0;
}

static void
sink(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	(void)ctx;
	if (echo)
		fprintf(stderr, "%s: %s\n", tag, line);
	note_lost(tag);
	if (lost > 0 || !add_record(wall_us, level, tag, line))
		lost++;
}

static void
drain(void)
{
	if (pipe_fd < 0)
		return;
	if (ioq_flush(&ring, pipe_fd) < 0) {
		/* the logger died; master hands over a new pipe. A record cut in half is dropped with it. */
		loop_fd_release(&watch);
		fd_close(&pipe_fd);
		ioq_release(&ring);
		return;
	}
	loop_fd_want(&watch, ring.bytes > 0 ? LOOP_WRITE : 0);
}

static void
on_writable(void *ctx, unsigned ready)
{
	(void)ctx;
	(void)ready;
	drain();
}

static void
on_turn_end(void *ctx)
{
	(void)ctx;
	if (ring.bytes > 0)
		drain();
}

static void
finish_sink(void *ctx)
{
	(void)ctx;
	logring_finish();
}

void
logring_open(struct loop *l)
{
	ioq_init(&ring, RING_MAX);
	ring_loop = l;
	loop_hook_add(l, &hook, on_turn_end, NULL);
	log_set_sink(sink, finish_sink, NULL);
}

void
logring_echo(void)
{
	echo = true;
}

void
logring_set_pipe(int fd)
{
	echo = false;
	if (pipe_fd >= 0) {
		loop_fd_release(&watch);
		fd_close(&pipe_fd);
	}
	pipe_fd = fd;
	fd_nonblock(fd, true);
	loop_fd_init(&watch, ring_loop, fd, on_writable, NULL);
	drain();
}

void
logring_finish(void)
{
	int64_t deadline = clock_mono_us() + US_PER_S;

	while (pipe_fd >= 0 && ring.bytes > 0 && clock_mono_us() < deadline) {
		struct pollfd p = { pipe_fd, POLLOUT, 0 };

		poll(&p, 1, 100);
		drain();
	}
}
