/* One message at a time over a blocking wait: a role's start-up and the command line. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ipc/ipc_private.h"

#define HEADER 16u

static int
wait_for(int fd, short events, int64_t deadline_us)
{
	int64_t left_ms = (deadline_us - clock_mono_us()) / 1000;
	struct pollfd p = { fd, events, 0 };
	int n;

	if (left_ms < 0)
		return -ETIMEDOUT;
	n = poll(&p, 1, (int)left_ms + 1);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* Up to `n` bytes, keeping the first descriptor that comes along. */
static ssize_t
receive_some(int fd, char *p, size_t n, int *passed_fd_r)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec v = { p, n };
	struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	struct cmsghdr *h;
	ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (got < 0)
		return -errno;
	h = CMSG_FIRSTHDR(&msg);
	if (h != NULL && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int))) {
		fd_close(passed_fd_r);
		memcpy(passed_fd_r, CMSG_DATA(h), sizeof(int));
	}
	return got;
}

static int
receive_all(int fd, int64_t deadline_us, char *p, size_t n, int *passed_fd_r)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = receive_some(fd, p + have, n - have, passed_fd_r);

		if (got > 0) {
			have += (size_t)got;
			continue;
		}
		if (got == 0)
			return have == 0 ? 0 : -EPIPE;
		if (got != -EAGAIN && got != -EINTR)
			return (int)got;
		if ((got = wait_for(fd, POLLIN, deadline_us)) < 0)
			return (int)got;
	}
	return 1;
}

int
ipc_read_blocking(int fd, int timeout_ms, struct buf *b, uint64_t *id_r, struct span *payload_r,
    int *passed_fd_r)
{
	int64_t deadline = clock_mono_us() + (int64_t)timeout_ms * 1000;
	char head[HEADER], *room;
	struct rd r;
	uint32_t length;
	uint16_t type;
	int got;

	*passed_fd_r = -1;
	got = receive_all(fd, deadline, head, HEADER, passed_fd_r);
	if (got <= 0)
		return got;
	r = rd_init(span_of(head, HEADER));
	length = rd_u32(&r);
	type = rd_u16(&r);
	rd_u16(&r);
	*id_r = rd_u64(&r);
	buf_clear(b);
	room = length > IPC_FRAME_MAX ? NULL : buf_space(b, length);
	if (room == NULL)
		return -EMSGSIZE;
	if (length > 0 && (got = receive_all(fd, deadline, room, length, passed_fd_r)) <= 0)
		return got == 0 ? -EPIPE : got;
	b->n = length;
	*payload_r = buf_span(b);
	return type;
}

/* The first sendmsg carries the descriptor. */
static ssize_t
send_some(int fd, struct span s, int pass_fd)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c = { 0 };
	struct iovec v = { (void *)(uintptr_t)s.p, s.n };
	struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t put;

	if (pass_fd >= 0) {
		msg.msg_control = &c;
		msg.msg_controllen = sizeof(c);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &pass_fd, sizeof(int));
	}
	put = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return put < 0 ? -errno : put;
}

int
ipc_write_within(int fd, int timeout_ms, unsigned type, uint64_t id, struct span payload, int pass_fd)
{
	int64_t deadline = clock_mono_us() + (int64_t)timeout_ms * 1000;
	struct buf b;
	int result = 0;

	buf_init(&b, IPC_FRAME_MAX + HEADER);
	ipc_put(&b, payload.n, 4);
	ipc_put(&b, type, 2);
	ipc_put(&b, pass_fd >= 0, 2);
	ipc_put(&b, id, 8);
	if (!buf_add_span(&b, payload))
		result = -EMSGSIZE;
	for (size_t at = 0; result == 0 && at < b.n;) {
		ssize_t put = send_some(fd, span_from(buf_span(&b), at), pass_fd);

		if (put > 0) {
			at += (size_t)put;
			pass_fd = -1;
		} else if (put == -EAGAIN || put == -EINTR) {
			result = wait_for(fd, POLLOUT, deadline);
		} else {
			result = (int)put;
		}
	}
	explicit_bzero(b.p, b.n);       /* answers of keeper are secret */
	buf_release(&b);
	return result;
}

int
ipc_write_blocking(int fd, unsigned type, uint64_t id, struct span payload, int pass_fd)
{
	return ipc_write_within(fd, 10000, type, id, payload, pass_fd);
}
