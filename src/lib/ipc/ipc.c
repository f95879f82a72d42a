/*
 * Frames between roles. Header, little-endian: u32 payload length, u16 type, u16 number
 * of descriptors (0 or 1), u64 id. A descriptor travels with the first byte of its frame;
 * the receiver queues descriptors and hands them out in frame order.
 */
#include "ipc/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "ipc/peer_private.h"

#define HEADER 16u
#define OUT_MAX (256u << 20)
#define READ_CHUNK 65536u
#define READ_BUDGET (1u << 20)

struct header {
	uint32_t length;
	uint16_t type, fds;
	uint64_t id;
};

static struct header
header_read(const char *p)
{
	struct rd r = rd_init(span_of(p, HEADER));
	struct header h;

	h.length = rd_u32(&r);
	h.type = rd_u16(&r);
	h.fds = rd_u16(&r);
	h.id = rd_u64(&r);
	return h;
}

static void
header_write(struct buf *b, const struct header *h)
{
	ipc_put(b, h->length, 4);
	ipc_put(b, h->type, 2);
	ipc_put(b, h->fds, 2);
	ipc_put(b, h->id, 8);
}

/* ---- sending */

uint64_t
ipc_new_id(struct ipc_peer *to)
{
	return to != NULL ? ++to->hub->last_id : 0;
}

struct buf *
ipc_frame_begin(struct ipc_peer *to, unsigned type, uint64_t id, int fd)
{
	if (to == NULL || to->closing)
		return NULL;
	if (!ipc_may_send(to->hub->self, to->role, type))
		panic("%s may not send %s to %s", ipc_role_name(to->hub->self), ipc_type_name(type),
		    ipc_role_name(to->role));
	if (fd >= 0 && to->n_out_fds == IPC_FDS_QUEUED)
		ipc_hub_flush(to->hub);
	if (to->closing || (fd >= 0 && to->n_out_fds == IPC_FDS_QUEUED))
		return NULL;
	to->frame_type = type;
	to->frame_id = id;
	to->frame_fd = fd;
	buf_clear(&to->frame);
	return &to->frame;
}

bool
ipc_frame_end(struct ipc_peer *to)
{
	struct header h = { (uint32_t)to->frame.n, (uint16_t)to->frame_type, to->frame_fd >= 0, to->frame_id };
	char space[HEADER];
	struct buf head = { .p = space, .cap = HEADER + 1, .max = HEADER };
	int copy = -1;

	if (to->frame.full || to->out.bytes + to->frame.n + HEADER > OUT_MAX) {
		log_warning(NULL, "message %s to %s is too large or the peer does not read: not sent",
		    ipc_type_name(to->frame_type), ipc_role_name(to->role));
		return false;
	}
	if (to->frame_fd >= 0) {
		copy = fcntl(to->frame_fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return false;
		to->out_fds[to->n_out_fds++] = (struct ipc_out_fd){ to->queued, copy };
	}
	header_write(&head, &h);
	ioq_add(&to->out, space, HEADER);
	ioq_add_span(&to->out, buf_span(&to->frame));
	to->queued += HEADER + to->frame.n;
	if (to->frame.cap > READ_CHUNK * 4)
		buf_release(&to->frame);
	return true;
}

/* One sendmsg: up to the next descriptor, or with the descriptor that is due now. */
static ssize_t
send_some(struct ipc_peer *p)
{
	struct iovec v[32];
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c = { 0 };
	struct msghdr msg = { .msg_iov = v };
	size_t limit = SIZE_MAX;
	ssize_t put;

	msg.msg_iovlen = (size_t)ioq_peek(&p->out, v, 32);
	if (p->n_out_fds > 0 && p->out_fds[0].at == p->sent) {
		msg.msg_control = &c;
		msg.msg_controllen = sizeof(c);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.h), &p->out_fds[0].fd, sizeof(int));
		if (p->n_out_fds > 1)
			limit = (size_t)(p->out_fds[1].at - p->sent);
	} else if (p->n_out_fds > 0) {
		limit = (size_t)(p->out_fds[0].at - p->sent);
	}
	for (size_t i = 0, sum = 0; i < msg.msg_iovlen; i++) {
		if (sum + v[i].iov_len >= limit) {
			v[i].iov_len = limit - sum;
			msg.msg_iovlen = i + 1;
			break;
		}
		sum += v[i].iov_len;
	}
	do
		put = sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return -errno;
	if (msg.msg_control != NULL) {
		fd_close(&p->out_fds[0].fd);
		p->n_out_fds--;
		memmove(p->out_fds, p->out_fds + 1, p->n_out_fds * sizeof(p->out_fds[0]));
	}
	return put;
}

static void
flush_peer(struct ipc_peer *p)
{
	while (p->out.bytes > 0 && !p->closing) {
		ssize_t put = send_some(p);

		if (put == -EAGAIN)
			break;
		if (put < 0) {
			ipc_peer_close(p);
			return;
		}
		ioq_consume(&p->out, (size_t)put);
		p->sent += (uint64_t)put;
	}
	if (!p->closing)
		loop_fd_want(&p->watch, p->out.bytes > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

void
ipc_hub_flush(struct ipc_hub *hub)
{
	LIST_EACH(n, &hub->peers)
		flush_peer(LIST_ITEM(n, struct ipc_peer, node));
}

/* ---- receiving */

static ssize_t
receive(int fd, struct buf *in, int *fds, size_t *n_fds)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * 16)];
	} c;
	char *room = buf_space(in, READ_CHUNK);
	struct iovec v = { room, READ_CHUNK };
	struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	ssize_t got;

	if (room == NULL)
		return -EMSGSIZE;
	do
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h != NULL; h = CMSG_NXTHDR(&msg, h)) {
		size_t n = h->cmsg_type == SCM_RIGHTS ? (h->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

		for (size_t i = 0; i < n; i++) {
			int passed;

			memcpy(&passed, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (*n_fds < IPC_FDS_QUEUED)
				fds[(*n_fds)++] = passed;
			else
				fd_close(&passed);
		}
	}
	in->n += (size_t)got;
	return got;
}

static int
take_fd(int *fds, size_t *n_fds)
{
	int fd;

	if (*n_fds == 0)
		return -1;
	fd = fds[0];
	(*n_fds)--;
	memmove(fds, fds + 1, *n_fds * sizeof(fds[0]));
	return fd;
}

static bool
frame_ok(struct ipc_peer *p, const struct header *h)
{
	if (h->length <= IPC_FRAME_MAX && h->fds <= 1 && ipc_may_send(p->role, p->hub->self, h->type))
		return true;
	log_error(NULL, "%s sent a message that it may not send (%s, %u bytes): closing it",
	    ipc_role_name(p->role), ipc_type_name(h->type), h->length);
	return false;
}

/* One whole frame: to whoever waits for it, or to its handler. False closes the peer. */
static bool
handle(struct ipc_peer *p, const struct header *h, struct span payload)
{
	struct ipc_hub *hub = p->hub;
	struct ipc_from from = { p->id, h->id, (uint8_t)p->role, (uint16_t)p->index };
	enum ipc_dispatch done = IPC_HANDLED;
	int fd = h->fds > 0 ? take_fd(p->in_fds, &p->n_in_fds) : -1;

	if (ipc_is_answer(h->type)) {
		ipc_wait_answer(p, h->id, h->type, payload, &fd);
	} else {
		done = ipc_dispatch(hub->ops.on, hub->ops.ctx, h->type, from, payload, &fd, hub->scratch);
		arena_clear(hub->scratch);
	}
	fd_close(&fd);
	if (done != IPC_HANDLED)
		log_error(NULL, "%s sent a %s %s: closing it", ipc_role_name(p->role),
		    done == IPC_GARBLED ? "garbled" : "surprising", ipc_type_name(h->type));
	return done == IPC_HANDLED;
}

/* Handle the complete frames in p->in. */
static void
drain_in(struct ipc_peer *p)
{
	size_t at = 0;

	while (!p->closing && p->in.n - at >= HEADER) {
		struct header h = header_read(p->in.p + at);

		if (!frame_ok(p, &h)) {
			ipc_peer_close(p);
			return;
		}
		if (p->in.n - at - HEADER < h.length)
			break;
		if (!handle(p, &h, span_of(p->in.p + at + HEADER, h.length))) {
			ipc_peer_close(p);
			return;
		}
		at += HEADER + h.length;
	}
	if (at > 0)
		buf_consume(&p->in, at);
	if (p->in.n == 0 && p->in.cap > READ_CHUNK * 4)
		buf_release(&p->in);
}

static void
on_ready(void *ctx, unsigned ready)
{
	struct ipc_peer *p = ctx;
	size_t budget = READ_BUDGET;

	if (ready & LOOP_WRITE)
		flush_peer(p);
	while (!p->closing && (ready & LOOP_READ)) {
		ssize_t got = receive(p->fd, &p->in, p->in_fds, &p->n_in_fds);

		if (got == -EAGAIN)
			return;
		if (got <= 0) {
			ipc_peer_close(p);
			return;
		}
		drain_in(p);
		if ((size_t)got < READ_CHUNK || (size_t)got >= budget)
			return;
		budget -= (size_t)got;
	}
}

/* ---- peers */

static void
peer_free(struct ipc_peer *p)
{
	fd_close(&p->fd);
	for (size_t i = 0; i < p->n_in_fds; i++)
		fd_close(&p->in_fds[i]);
	for (size_t i = 0; i < p->n_out_fds; i++)
		fd_close(&p->out_fds[i].fd);
	buf_release(&p->in);
	buf_release(&p->frame);
	ioq_release(&p->out);
	free(p);
}

static void
on_reap(void *ctx)
{
	struct ipc_hub *hub = ctx;
	struct list *n;

	while ((n = list_pop_front(&hub->closing)) != NULL) {
		struct ipc_peer *p = LIST_ITEM(n, struct ipc_peer, node);

		ipc_waits_lost(p);
		if (hub->ops.peer_down != NULL)
			hub->ops.peer_down(hub->ops.ctx, p);
		peer_free(p);
	}
}

static void
on_turn_end(void *ctx)
{
	ipc_hub_flush(ctx);
}

struct ipc_hub *
ipc_hub_new(struct loop *l, unsigned self_role, const struct ipc_hub_ops *ops)
{
	struct ipc_hub *hub = calloc(1, sizeof(*hub));

	if (hub == NULL)
		panic("out of memory");
	hub->loop = l;
	hub->self = self_role;
	hub->ops = *ops;
	hub->last_id = (uint64_t)clock_mono_us() << 8;
	hub->scratch = arena_new(IPC_ARENA_MAX);
	list_init(&hub->peers);
	list_init(&hub->closing);
	loop_task_init(&hub->reap, on_reap, hub);
	loop_hook_add(l, &hub->hook, on_turn_end, hub);
	ipc_waits_init(hub);
	return hub;
}

void
ipc_hub_free(struct ipc_hub **hub)
{
	struct ipc_hub *h = *hub;

	if (h == NULL)
		return;
	ipc_hub_flush(h);
	ipc_waits_release(h);
	LIST_EACH(n, &h->peers)
		ipc_peer_close(LIST_ITEM(n, struct ipc_peer, node));
	LIST_EACH(n, &h->closing)
		peer_free(LIST_ITEM(n, struct ipc_peer, node));
	loop_task_cancel(&h->reap);
	loop_hook_remove(&h->hook);
	arena_free(&h->scratch);
	free(h);
	*hub = NULL;
}

struct ipc_peer *
ipc_peer_add(struct ipc_hub *hub, unsigned role, unsigned index, int fd)
{
	struct ipc_peer *old = ipc_peer_at(hub, role, index);
	struct ipc_peer *p = calloc(1, sizeof(*p));

	if (p == NULL)
		panic("out of memory");
	if (old != NULL && role != IPC_ROLE_CLI)
		ipc_peer_close(old);
	p->hub = hub;
	p->id = ++hub->last_peer_id;
	p->role = role;
	p->index = index;
	p->fd = fd;
	p->frame_fd = -1;
	buf_init(&p->in, IPC_FRAME_MAX + HEADER + READ_CHUNK);
	buf_init(&p->frame, IPC_FRAME_MAX);
	ioq_init(&p->out, OUT_MAX + IPC_FRAME_MAX);
	list_init(&p->waits);
	list_push_back(&hub->peers, &p->node);
	loop_fd_init(&p->watch, hub->loop, fd, on_ready, p);
	loop_fd_want(&p->watch, LOOP_READ);
	if (hub->ops.peer_up != NULL)
		hub->ops.peer_up(hub->ops.ctx, p);
	return p;
}

void
ipc_peer_close(struct ipc_peer *p)
{
	if (p->closing)
		return;
	p->closing = true;
	loop_fd_release(&p->watch);
	list_remove(&p->node);
	list_push_back(&p->hub->closing, &p->node);
	loop_defer(p->hub->loop, &p->hub->reap);
}

struct ipc_peer *
ipc_peer_at(struct ipc_hub *hub, unsigned role, unsigned index)
{
	LIST_EACH(n, &hub->peers) {
		struct ipc_peer *p = LIST_ITEM(n, struct ipc_peer, node);

		if (p->role == role && p->index == index)
			return p;
	}
	return NULL;
}

unsigned
ipc_peer_count(const struct ipc_hub *hub, unsigned role)
{
	unsigned count = 0;

	LIST_EACH(n, &hub->peers)
		count += LIST_ITEM(n, struct ipc_peer, node)->role == role;
	return count;
}

struct ipc_peer *
ipc_peer_any(struct ipc_hub *hub, unsigned role)
{
	unsigned count = ipc_peer_count(hub, role);
	unsigned pick = count == 0 ? 0 : hub->turn[role]++ % count;

	LIST_EACH(n, &hub->peers) {
		struct ipc_peer *p = LIST_ITEM(n, struct ipc_peer, node);

		if (p->role == role && pick-- == 0)
			return p;
	}
	return NULL;
}

struct ipc_peer *
ipc_peer_find(struct ipc_hub *hub, uint64_t peer_id)
{
	LIST_EACH(n, &hub->peers) {
		struct ipc_peer *p = LIST_ITEM(n, struct ipc_peer, node);

		if (p->id == peer_id)
			return p;
	}
	return NULL;
}

unsigned
ipc_peer_role(const struct ipc_peer *p)
{
	return p->role;
}

unsigned
ipc_peer_index(const struct ipc_peer *p)
{
	return p->index;
}

uint64_t
ipc_peer_id(const struct ipc_peer *p)
{
	return p->id;
}

int
ipc_peer_fd(const struct ipc_peer *p)
{
	return p->fd;
}

size_t
ipc_peer_backlog(const struct ipc_peer *p)
{
	return p->out.bytes;
}
