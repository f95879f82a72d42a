/*
 * The socket of a TLSRPT collector. The kernel holds few datagrams for it (net.unix.max_dgram_qlen, 10 where nobody raised
 * it): what it does not take at once is tried again for some seconds, in bounds. Then it is lost, and that is said.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "role/smtpc/smtpc.h"

#define COMPLAIN_US (300 * US_PER_S)
#define PATIENCE_US (5 * US_PER_S)
#define AGAIN_MS 20
enum { UNSENT_MAX = 1000, UNSENT_BYTES_MAX = 1 << 20 };

struct unsent {
	struct list node;
	int64_t until_us;
	const char *path;               /* of the configuration or its arena: as long as the process */
	size_t n;
	char bytes[];
};

static void on_timer(void *ctx);

void
collector_init(struct collector *c, struct loop *loop)
{
	*c = (struct collector){ .loop = loop, .fd = -1 };
	list_init(&c->unsent);
	loop_timer_init(&c->timer, loop, on_timer, c);
}

static void
complain(struct collector *c, const char *path, int err)
{
	int64_t now = loop_now_us(c->loop);

	c->lost++;
	if (c->complained_us != 0 && now < c->complained_us + COMPLAIN_US)
		return;
	c->complained_us = now;
	log_warning(NULL, "TLSRPT collector at %s: %s: reports lost since the last warning: %llu; mail is delivered as ever", path,
	    fd_error(err), (unsigned long long)c->lost);
	c->lost = 0;
}

/* 0 or -errno. The socket is not connected: a collector that was started again is found by the next datagram. */
static int
send_now(struct collector *c, const char *path, struct span bytes)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	ssize_t sent;

	if (n >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, n);
	if (c->fd < 0)
		c->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return -errno;
	do
		sent = sendto(c->fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to));
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

static void
drop(struct collector *c, struct unsent *u)
{
	list_remove(&u->node);
	c->n_unsent--;
	c->unsent_bytes -= u->n;
	free(u);
}

static void
keep(struct collector *c, const char *path, struct span bytes)
{
	struct unsent *u;

	if (c->n_unsent >= UNSENT_MAX || c->unsent_bytes + bytes.n > UNSENT_BYTES_MAX) {
		complain(c, path, -EAGAIN);
		return;
	}
	u = malloc(sizeof(*u) + bytes.n);
	if (u == NULL)
		panic("out of memory");
	*u = (struct unsent){ .until_us = loop_now_us(c->loop) + PATIENCE_US, .path = path, .n = bytes.n };
	memcpy(u->bytes, bytes.p, bytes.n);
	list_push_back(&c->unsent, &u->node);
	c->n_unsent++;
	c->unsent_bytes += u->n;
	if (!loop_timer_pending(&c->timer))
		loop_timer_set_ms(&c->timer, AGAIN_MS);
}

static void
on_timer(void *ctx)
{
	struct collector *c = ctx;

	while (!list_empty(&c->unsent)) {
		struct unsent *u = LIST_ITEM(c->unsent.next, struct unsent, node);
		int err = send_now(c, u->path, (struct span){ u->bytes, u->n });

		if (err == -EAGAIN && loop_now_us(c->loop) < u->until_us) {
			loop_timer_set_ms(&c->timer, AGAIN_MS);
			return;
		}
		if (err != 0)
			complain(c, u->path, err);
		drop(c, u);
	}
}

void
collector_send(struct collector *c, const char *path, struct span datagram)
{
	int err = list_empty(&c->unsent) ? send_now(c, path, datagram) : -EAGAIN;

	if (err == -EAGAIN)
		keep(c, path, datagram);
	else if (err != 0)
		complain(c, path, err);
}

void
collector_release(struct collector *c)
{
	while (!list_empty(&c->unsent))
		drop(c, LIST_ITEM(c->unsent.next, struct unsent, node));
	loop_timer_release(&c->timer);
	fd_close(&c->fd);
}
