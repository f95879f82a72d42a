/* A connection: socket, TLS stream and engine together, driven by the loop. What events mean is in session.c. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "role/smtpc/smtpc.h"

#define ARENA_MAX ((size_t)16 << 20)
/* Turns of reading or writing before others get theirs. */
#define BUDGET 16

static void on_ready(void *ctx, unsigned ready);
static void on_timer(void *ctx);
static void on_again(void *ctx);

static void
name_peer(struct conn *c)
{
	const struct hop_address *a = &c->addr;

	snprintf(c->peer, sizeof(c->peer), "%.*s[%.*s]", SPAN_ARG(span_slice(a->host, 0, 255)),
	    SPAN_ARG(span_slice(a->text, 0, 110)));
	if (a->family == AF_UNIX)
		snprintf(c->peer_port, sizeof(c->peer_port), "%s", c->peer);
	else
		snprintf(c->peer_port, sizeof(c->peer_port), "%s:%u", c->peer, a->port);
}

struct conn *
conn_new(struct delivery *d, const struct hop_address *addr)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		panic("out of memory");
	c->role = d->role;
	c->svc = d->svc;
	c->fd = -1;
	c->arena = arena_new(ARENA_MAX);
	c->addr = *addr;
	c->addr.text = arena_dup(c->arena, addr->text);
	c->addr.host = arena_dup(c->arena, addr->host);
	c->addr.canon = arena_dup(c->arena, addr->canon);
	c->addr.table = NULL;           /* the delivery's, which may end before */
	c->addr.dane = NULL;
	name_peer(c);
	c->born_us = loop_now_us(c->role->loop);
	c->deadline_us = INT64_MAX;
	loop_timer_init(&c->timer, c->role->loop, on_timer, c);
	loop_task_init(&c->again, on_again, c);
	list_push_back(&c->role->conns, &c->node);
	c->role->n_conns++;
	c->d = d;
	d->conn = c;
	return c;
}

void
conn_free(struct conn *c)
{
	reuse_forget(c);
	if (c->d != NULL)
		c->d->conn = NULL;
	loop_task_cancel(&c->again);
	loop_timer_release(&c->timer);
	loop_fd_release(&c->watch);
	stream_release(&c->stream);
	if (c->engine_ready)
		smtpc_release(&c->engine);
	fd_close(&c->fd);
	list_remove(&c->node);
	c->role->n_conns--;
	if (c->scratch != NULL)
		arena_free(&c->scratch);
	arena_free(&c->arena);
	free(c);
}

/* ---- deadlines */

static void
arm(struct conn *c, int64_t deadline_us)
{
	int64_t now = loop_now_us(c->role->loop);

	c->deadline_us = deadline_us;
	if (deadline_us == INT64_MAX)
		return;                 /* a timer that fires early looks at the deadline again */
	if (loop_timer_pending(&c->timer) && c->armed_us <= deadline_us)
		return;
	c->armed_us = deadline_us;
	loop_timer_set_ms(&c->timer, deadline_us <= now ? 0 : (deadline_us - now) / US_PER_MS + 1);
}

static void
arm_in(struct conn *c, int64_t ms)
{
	arm(c, loop_now_us(c->role->loop) + ms * US_PER_MS);
}

void
conn_arm_idle(struct conn *c, int64_t deadline_us)
{
	arm(c, deadline_us);
	loop_fd_want(&c->watch, LOOP_READ);
}

static void
on_timer(void *ctx)
{
	struct conn *c = ctx;
	struct fault why;

	if (c->deadline_us == INT64_MAX)
		return;
	if (loop_now_us(c->role->loop) < c->deadline_us) {
		arm(c, c->deadline_us);
		return;
	}
	switch (c->phase) {
	case CONN_CONNECTING:
		session_connect_failed(c, "Connection timed out");
		return;
	case CONN_WRAPPER:
	case CONN_HANDSHAKE:
		fault_set(&why, "4.7.5", "Connection timed out");
		(void)session_tls_done(c, false, why.text);
		return;
	case CONN_IDLE:
		conn_quit(c);
		return;
	case CONN_TALK:
	case CONN_CLOSING:
		smtpc_timeout(&c->engine);
		conn_pump(c);
		return;
	}
}

/* ---- the conversation */

/* smtp_reply_filter: what the server "really" said. Tables in this process only. */
bool
conn_filter_reply(void *ctx, struct span line, struct span *new_r)
{
	struct conn *c = ctx;
	struct map_hit hit;

	if (c->scratch == NULL)
		c->scratch = arena_new((size_t)1 << 20);
	arena_clear(c->scratch);
	if (maps_find(c->svc->reply_filter, line, NULL, c->scratch, &hit, NULL) != MAP_FOUND)
		return false;
	*new_r = hit.value;
	return true;
}

/* One write. DONE: something went out; WANT_*: not now; EOF: nothing to say. */
static enum stream_result
write_some(struct conn *c)
{
	struct iovec v[16];
	int n = smtpc_output(&c->engine, v, 16);
	size_t sent;
	enum stream_result r;

	if (n == 0)
		return STREAM_EOF;
	r = stream_writev(&c->stream, v, n, &sent);
	if (r == STREAM_DONE)
		smtpc_sent(&c->engine, sent, loop_now_us(c->role->loop));
	return r;
}

/* Everything the engine has to say is acted on. False when the connection is no longer ours to touch. */
static bool
run_events(struct conn *c)
{
	enum smtpc_event ev;

	while ((ev = smtpc_next(&c->engine)) != SMTPC_WAIT)
		if (!session_event(c, ev))
			return false;
	return true;
}

static void
watch(struct conn *c, bool blocked)
{
	if (c->phase != CONN_TALK && c->phase != CONN_CLOSING)
		return;                 /* a handshake or the cache has its own wishes */
	loop_fd_want(&c->watch, LOOP_READ | (blocked ? LOOP_WRITE : 0u));
	arm(c, smtpc_deadline(&c->engine));
}

void
conn_pump(struct conn *c)
{
	bool blocked = false;

	for (int i = 0; !blocked; i++) {
		enum stream_result r;

		if (!run_events(c))
			return;
		if (c->phase != CONN_TALK && c->phase != CONN_CLOSING)
			return;
		if (i == BUDGET) {
			blocked = true;
			break;
		}
		r = write_some(c);
		if (r == STREAM_EOF)
			break;
		if (r == STREAM_ERROR)
			smtpc_eof(&c->engine);
		blocked = r == STREAM_WANT_WRITE || r == STREAM_WANT_READ;
	}
	watch(c, blocked);
}

/* Bytes from the server into the engine. False when the connection is gone. */
static bool
read_some(struct conn *c)
{
	static char bytes[16384];
	size_t got;

	for (int i = 0; i < BUDGET; i++) {
		enum stream_result r = stream_read(&c->stream, bytes, sizeof(bytes), &got);

		if (r == STREAM_DONE) {
			c->answered = true;
			smtpc_feed(&c->engine, span_of(bytes, got), loop_now_us(c->role->loop));
			if (!run_events(c))
				return false;
			if (c->phase != CONN_TALK && c->phase != CONN_CLOSING && c->phase != CONN_IDLE)
				return true;    /* STARTTLS: what follows is not for us to read */
			if (got < sizeof(bytes) && !stream_pending(&c->stream))
				return true;
			continue;
		}
		if (r == STREAM_EOF || r == STREAM_ERROR)
			smtpc_eof(&c->engine);
		return true;
	}
	if (stream_pending(&c->stream))
		loop_defer(c->role->loop, &c->again);
	return true;
}

/* ---- TLS */

static void
handshake(struct conn *c)
{
	switch (stream_handshake(&c->stream)) {
	case STREAM_DONE:
		if (session_tls_done(c, true, NULL))
			conn_pump(c);
		return;
	case STREAM_WANT_READ:
	case STREAM_WANT_CHAIN:
		loop_fd_want(&c->watch, LOOP_READ);
		return;
	case STREAM_WANT_WRITE:
		loop_fd_want(&c->watch, LOOP_WRITE);
		return;
	case STREAM_EOF:
	case STREAM_ERROR:
		(void)session_tls_done(c, false, stream_failure(&c->stream)->text);
		return;
	}
}

void
conn_start_tls(struct conn *c, enum conn_phase phase)
{
	struct span helo = span_str(c->engine_ready ? c->engine.server_name : "");
	struct span where = arena_printf(c->arena, "%.*s:%u", SPAN_ARG(c->addr.text), c->addr.port);
	struct span key = tls_session_key(c->arena, c->svc->name, c->d->facts.key, c->addr.host, where, helo,
	    &c->decision);
	int64_t now_s = clock_wall_us() / US_PER_S;
	struct fault why;

	c->phase = phase;
	arm_in(c, c->svc->p->smtp_starttls_timeout_ms);
	if (c->plainer)
		key = SPAN("");         /* no tickets there */
	if (!stream_start_client(&c->stream, c->svc->tls_ctx, &c->decision, key, now_s, &why)) {
		(void)session_tls_done(c, false, why.text);
		return;
	}
	handshake(c);
}

/* ---- connecting */

static void
connected(struct conn *c)
{
	int one = 1;

	if (c->addr.family != AF_UNIX)
		(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	stream_init(&c->stream, c->fd);
	c->connected = true;
	if (session_ready(c))
		conn_pump(c);
}

static void
finish_connect(struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
		error = EIO;
	if (error != 0)
		session_connect_failed(c, fd_error(-error));
	else
		connected(c);
}

static void
on_ready(void *ctx, unsigned ready)
{
	struct conn *c = ctx;

	(void)ready;
	switch (c->phase) {
	case CONN_CONNECTING:
		finish_connect(c);
		return;
	case CONN_WRAPPER:
	case CONN_HANDSHAKE:
		handshake(c);
		return;
	case CONN_IDLE:
		conn_free(c);           /* it closed, or said something that nobody asked */
		return;
	case CONN_TALK:
	case CONN_CLOSING:
		if ((ready & LOOP_READ) == 0 || read_some(c))
			conn_pump(c);
		return;
	}
}

static void
on_again(void *ctx)
{
	on_ready(ctx, LOOP_READ);
}

union any_address {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static socklen_t
fill_address(union any_address *u, const struct hop_address *a)
{
	memset(u, 0, sizeof(*u));
	u->sa.sa_family = a->family;
	if (a->family == AF_INET) {
		memcpy(&u->in4.sin_addr, a->ip, 4);
		u->in4.sin_port = htons(a->port);
		return sizeof(u->in4);
	}
	if (a->family == AF_INET6) {
		memcpy(&u->in6.sin6_addr, a->ip, 16);
		u->in6.sin6_port = htons(a->port);
		return sizeof(u->in6);
	}
	return 0;
}

/* A path that is not absolute is below the queue directory. 0 when it is too long. */
static socklen_t
fill_path(const struct conn *c, union any_address *u)
{
	struct span path = c->addr.text;

	if (path.p[0] != '/')
		path = arena_printf(c->arena, "%s/%.*s", c->svc->p->queue_directory, SPAN_ARG(path));
	if (path.n >= sizeof(u->un.sun_path))
		return 0;
	memset(u, 0, sizeof(*u));
	u->sa.sa_family = AF_UNIX;
	memcpy(u->un.sun_path, path.p, path.n);
	return sizeof(u->un);
}

/* smtp_bind_address, or the only address of inet_interfaces. False when it must be used and cannot be. */
static bool
bind_local(struct conn *c, const char **reason_r)
{
	const struct params *p = c->svc->p;
	bool v6 = c->addr.family == AF_INET6;
	struct span text = span_str(v6 ? p->smtp_bind_address6 : p->smtp_bind_address);
	struct hop_address local = { .family = c->addr.family };
	union any_address u;
	size_t n;
	socklen_t len;

	if (text.n == 0)
		text = v6 ? c->role->bind6 : c->role->bind4;
	if (text.n == 0 || c->addr.family == AF_UNIX)
		return true;
	if (text.n > 2 && text.p[0] == '[')
		text = span_slice(text, 1, text.n - 1);
	if (!dns_address_parse(text, local.ip, &n) || n != (v6 ? 16u : 4u)) {
		*reason_r = "bad local address";
	} else {
		len = fill_address(&u, &local);
		if (bind(c->fd, &u.sa, len) == 0)
			return true;
		*reason_r = fd_error(-errno);
	}
	log_warning(NULL, "bind %.*s: %s", SPAN_ARG(text), *reason_r);
	return !p->smtp_bind_address_enforce;
}

/* 0 = connected, 1 = under way, -1 = failed with a reason. */
static int
try_connect(struct conn *c, const char **reason_r)
{
	union any_address u;
	socklen_t len = c->addr.family == AF_UNIX ? fill_path(c, &u) : fill_address(&u, &c->addr);
	int r;

	c->fd = socket(c->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || len == 0) {
		*reason_r = len == 0 ? "path is too long" : fd_error(-errno);
		return -1;
	}
	if (!bind_local(c, reason_r))
		return -1;
	do
		r = connect(c->fd, &u.sa, len);
	while (r != 0 && errno == EINTR);
	if (r == 0)
		return 0;
	if (errno == EINPROGRESS)
		return 1;
	*reason_r = fd_error(-errno);
	return -1;
}

void
conn_connect(struct conn *c)
{
	int64_t limit = c->svc->p->smtp_connect_timeout_ms;
	const char *reason = "";
	int r = try_connect(c, &reason);

	c->phase = CONN_CONNECTING;
	if (r < 0) {
		session_connect_failed(c, reason);
		return;
	}
	loop_fd_init(&c->watch, c->role->loop, c->fd, on_ready, c);
	loop_fd_want(&c->watch, LOOP_WRITE);
	arm_in(c, limit > 0 ? limit : 600000);
	if (r == 0)
		connected(c);
}

/* ---- the end */

void
conn_quit(struct conn *c)
{
	reuse_forget(c);
	if (c->d != NULL) {
		c->d->conn = NULL;
		c->d = NULL;
	}
	if (!c->engine_ready || !smtpc_idle(&c->engine)) {
		conn_free(c);
		return;
	}
	c->phase = CONN_CLOSING;
	smtpc_quit(&c->engine, loop_now_us(c->role->loop));
	conn_pump(c);
}
