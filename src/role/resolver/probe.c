/* DO queries by hand over UDP: the answer is only looked at, never used. */
#include "role/resolver/probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/panic.h"
#include "base/rand.h"
#include "dns/dns.h"

enum { SERVERS_MAX = 16, TYPE_RRSIG = 46 };

struct server {
	struct probe *probe;
	struct span text;
	struct loop_fd watch;
	int fd;
	uint8_t id[2];
	bool answered, good;
};

struct probe {
	struct loop *loop;
	struct arena *arena;
	struct server server[SERVERS_MAX];
	size_t count;
	bool recurse;
	struct loop_timer again, end;
	struct loop_task finish;
	probe_fn *fn;
	void *ctx;
};

static void
send_query(struct server *s)
{
	/* header, the question ". NS IN", an OPT record with DO set and 1232 bytes of room */
	uint8_t q[] = { 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0 };

	memcpy(q, s->id, 2);
	q[2] = s->probe->recurse ? 1 : 0;
	if (s->fd >= 0 && !s->answered)
		(void)fd_write(s->fd, q, sizeof(q));
}

static bool
has_signature(struct span packet)
{
	struct arena *a = arena_new(1 << 20);
	struct dns_answer d;
	bool good = dns_parse_packet(packet, SPAN("."), (enum dns_type)TYPE_RRSIG, a, &d, NULL) && d.count > 0;

	arena_free(&a);
	return good;
}

static void
on_readable(void *ctx, unsigned ready)
{
	struct server *s = ctx;
	uint8_t in[4096];
	ssize_t n = fd_read(s->fd, in, sizeof(in));
	size_t left = 0;

	(void)ready;
	if (n < 12 || memcmp(in, s->id, 2) != 0) {
		if (n < 0 && n != -EAGAIN)
			loop_fd_want(&s->watch, 0);     /* refused: nobody is there */
		return;
	}
	s->answered = true;
	s->good = has_signature(span_of(in, (size_t)n));
	loop_fd_want(&s->watch, 0);
	for (size_t i = 0; i < s->probe->count; i++)
		left += !s->probe->server[i].answered;
	if (left == 0)
		loop_defer(s->probe->loop, &s->probe->finish);
}

static bool
open_socket(struct server *s)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(53) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	struct span address, port_text;
	uint8_t bytes[16];
	uint64_t port = 53;
	size_t n;

	span_cut(s->text, '@', &address, &port_text);
	if (!dns_address_parse(address, bytes, &n) || (port_text.n > 0 && !span_u64(port_text, 65535, &port)))
		return false;
	memcpy(&v4.sin_addr, bytes, 4);
	memcpy(&v6.sin6_addr, bytes, 16);
	v4.sin_port = v6.sin6_port = htons((uint16_t)port);
	s->fd = socket(n == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return false;
	if (connect(s->fd, n == 4 ? (const struct sockaddr *)(const void *)&v4 : (const void *)&v6,
	    n == 4 ? sizeof(v4) : sizeof(v6)) == 0)
		return true;
	fd_close(&s->fd);
	return false;
}

static void
on_again(void *ctx)
{
	struct probe *p = ctx;

	for (size_t i = 0; i < p->count; i++)
		send_query(&p->server[i]);
}

static void
on_end(void *ctx)
{
	struct probe *p = ctx;
	struct arena *a = p->arena;
	struct span good = SPAN("");
	bool answered = false;

	p->arena = NULL;        /* `fn` may free the probe; the text must outlive that */
	for (size_t i = 0; i < p->count; i++) {
		answered = answered || p->server[i].answered;
		if (p->server[i].good)
			good = arena_printf(a, "%.*s%s%.*s", SPAN_ARG(good), good.n > 0 ? " " : "",
			    SPAN_ARG(p->server[i].text));
	}
	loop_timer_stop(&p->end);
	loop_timer_stop(&p->again);
	loop_task_cancel(&p->finish);
	p->fn(p->ctx, good, answered);
	arena_free(&a);
}

struct probe *
probe_new(struct loop *l, struct span servers, bool recurse, int64_t timeout_ms, probe_fn *fn, void *ctx)
{
	struct probe *p = calloc(1, sizeof(*p));
	struct span one;

	ensure(p != NULL);
	p->loop = l;
	p->arena = arena_new(1 << 20);
	p->recurse = recurse;
	p->fn = fn;
	p->ctx = ctx;
	loop_timer_init(&p->again, l, on_again, p);
	loop_timer_init(&p->end, l, on_end, p);
	loop_task_init(&p->finish, on_end, p);
	servers = arena_dup(p->arena, servers);
	while (p->count < SERVERS_MAX && span_token(&servers, " \t\r\n,", &one)) {
		struct server *s = &p->server[p->count++];

		s->probe = p;
		s->text = one;
		s->fd = -1;
		rand_bytes(s->id, sizeof(s->id));
		if (!open_socket(s))
			continue;
		loop_fd_init(&s->watch, l, s->fd, on_readable, s);
		loop_fd_want(&s->watch, LOOP_READ);
	}
	on_again(p);
	loop_timer_set_ms(&p->again, timeout_ms / 3);
	loop_timer_set_ms(&p->end, p->count == 0 ? 0 : timeout_ms);
	return p;
}

void
probe_free(struct probe **pp)
{
	struct probe *p = *pp;

	*pp = NULL;
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->count; i++)
		if (p->server[i].fd >= 0) {
			loop_fd_release(&p->server[i].watch);
			fd_close(&p->server[i].fd);
		}
	loop_task_cancel(&p->finish);
	loop_timer_release(&p->again);
	loop_timer_release(&p->end);
	arena_free(&p->arena);
	free(p);
}
