/* A connection: socket, TLS stream and engine together, driven by the loop. */
#include "hop/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/params.h"

/* Turns of reading or writing before others get theirs. */
#define BUDGET 16

static void on_ready(void *ctx, unsigned ready);
static void on_timer(void *ctx);
static void on_again(void *ctx);

static void
name_peer(struct hop_link *l)
{
	const struct hop_address *a = &l->addr;

	snprintf(l->peer, sizeof(l->peer), "%.*s[%.*s]", SPAN_ARG(span_slice(a->host, 0, 255)),
	    SPAN_ARG(span_slice(a->text, 0, 110)));
	if (a->family == AF_UNIX)
		snprintf(l->peer_port, sizeof(l->peer_port), "%s", l->peer);
	else
		snprintf(l->peer_port, sizeof(l->peer_port), "%s:%u", l->peer, a->port);
}

void
hop_link_init(struct hop_link *l, const struct hop_address *addr)
{
	l->fd = -1;
	l->addr = *addr;
	l->addr.text = arena_dup(l->arena, addr->text);
	l->addr.host = arena_dup(l->arena, addr->host);
	l->addr.canon = arena_dup(l->arena, addr->canon);
	l->addr.table = NULL;           /* of whoever gathered them, who may end before */
	l->addr.dane = NULL;
	name_peer(l);
	l->deadline_us = INT64_MAX;
	loop_timer_init(&l->timer, l->loop, on_timer, l);
	loop_task_init(&l->again, on_again, l);
}

void
hop_link_release(struct hop_link *l)
{
	loop_task_cancel(&l->again);
	loop_timer_release(&l->timer);
	loop_fd_release(&l->watch);
	stream_release(&l->stream);
	if (l->engine_ready)
		smtpc_release(&l->engine);
	l->engine_ready = false;
	fd_close(&l->fd);
}

/* ---- deadlines */

static void
arm(struct hop_link *l, int64_t deadline_us)
{
	int64_t now = loop_now_us(l->loop);

	l->deadline_us = deadline_us;
	if (deadline_us == INT64_MAX)
		return;                 /* a timer that fires early looks at the deadline again */
	if (loop_timer_pending(&l->timer) && l->armed_us <= deadline_us)
		return;
	l->armed_us = deadline_us;
	loop_timer_set_ms(&l->timer, deadline_us <= now ? 0 : (deadline_us - now) / US_PER_MS + 1);
}

static void
arm_in(struct hop_link *l, int64_t ms)
{
	arm(l, loop_now_us(l->loop) + ms * US_PER_MS);
}

void
hop_link_idle(struct hop_link *l, int64_t deadline_us)
{
	l->phase = HOP_LINK_IDLE;
	arm(l, deadline_us);
	loop_fd_want(&l->watch, LOOP_READ);
}

static void
on_timer(void *ctx)
{
	struct hop_link *l = ctx;

	if (l->deadline_us == INT64_MAX)
		return;
	if (loop_now_us(l->loop) < l->deadline_us) {
		arm(l, l->deadline_us);
		return;
	}
	switch (l->phase) {
	case HOP_LINK_CONNECTING:
		l->ops->connect_failed(l->owner, "Connection timed out");
		return;
	case HOP_LINK_WRAPPER:
	case HOP_LINK_HANDSHAKE:
		(void)l->ops->tls_done(l->owner, false, "Connection timed out");
		return;
	case HOP_LINK_IDLE:
		l->ops->idle_over(l->owner, false);
		return;
	case HOP_LINK_TALK:
	case HOP_LINK_CLOSING:
		smtpc_timeout(&l->engine);
		hop_link_pump(l);
		return;
	}
}

/* ---- the conversation */

static void
tap_sent(struct hop_link *l, const struct iovec *v, int count, size_t sent)
{
	for (int i = 0; i < count && sent > 0; i++) {
		size_t n = v[i].iov_len < sent ? v[i].iov_len : sent;

		l->ops->tap(l->owner, false, span_of(v[i].iov_base, n));
		sent -= n;
	}
}

/* One write. DONE: something went out; WANT_*: not now; EOF: nothing to say. */
static enum stream_result
write_some(struct hop_link *l)
{
	struct iovec v[16];
	int n = smtpc_output(&l->engine, v, 16);
	size_t sent;
	enum stream_result r;

	if (n == 0)
		return STREAM_EOF;
	r = stream_writev(&l->stream, v, n, &sent);
	if (r != STREAM_DONE)
		return r;
	if (l->ops->tap != NULL)
		tap_sent(l, v, n, sent);
	smtpc_sent(&l->engine, sent, loop_now_us(l->loop));
	return r;
}

/* Everything the engine has to say is acted on. False when the connection is no longer ours to touch. */
static bool
run_events(struct hop_link *l)
{
	enum smtpc_event ev;

	while ((ev = smtpc_next(&l->engine)) != SMTPC_WAIT)
		if (!l->ops->event(l->owner, ev))
			return false;
	return true;
}

static void
watch(struct hop_link *l, bool blocked)
{
	if (l->phase != HOP_LINK_TALK && l->phase != HOP_LINK_CLOSING)
		return;                 /* a handshake or the cache has its own wishes */
	loop_fd_want(&l->watch, LOOP_READ | (blocked ? LOOP_WRITE : 0u));
	arm(l, smtpc_deadline(&l->engine));
}

void
hop_link_pump(struct hop_link *l)
{
	bool blocked = false;

	for (int i = 0; !blocked; i++) {
		enum stream_result r;

		if (!run_events(l))
			return;
		if (l->phase != HOP_LINK_TALK && l->phase != HOP_LINK_CLOSING)
			return;
		if (i == BUDGET) {
			blocked = true;
			break;
		}
		r = write_some(l);
		if (r == STREAM_EOF)
			break;
		if (r == STREAM_ERROR)
			smtpc_eof(&l->engine);
		blocked = r == STREAM_WANT_WRITE || r == STREAM_WANT_READ;
	}
	watch(l, blocked);
}

/* Bytes from the server into the engine. False when the connection is gone. */
static bool
read_some(struct hop_link *l)
{
	static char bytes[16384];
	size_t got;

	for (int i = 0; i < BUDGET; i++) {
		enum stream_result r = stream_read(&l->stream, bytes, sizeof(bytes), &got);

		if (r == STREAM_DONE) {
			l->answered = true;
			if (l->ops->tap != NULL)
				l->ops->tap(l->owner, true, span_of(bytes, got));
			smtpc_feed(&l->engine, span_of(bytes, got), loop_now_us(l->loop));
			if (!run_events(l))
				return false;
			if (l->phase != HOP_LINK_TALK && l->phase != HOP_LINK_CLOSING && l->phase != HOP_LINK_IDLE)
				return true;    /* STARTTLS: what follows is not for us to read */
			if (got < sizeof(bytes) && !stream_pending(&l->stream))
				return true;
			continue;
		}
		if (r == STREAM_EOF || r == STREAM_ERROR)
			smtpc_eof(&l->engine);
		return true;
	}
	if (stream_pending(&l->stream))
		loop_defer(l->loop, &l->again);
	return true;
}

void
hop_link_options(const struct params *p, bool lmtp, struct smtpc_options *opt_r)
{
	*opt_r = (struct smtpc_options){
		.helo_name = p->smtp_helo_name, .my_name = p->myhostname, .lmtp = lmtp,
		.never_ehlo = p->smtp_never_send_ehlo, .always_ehlo = p->smtp_always_send_ehlo,
		.skip_5xx_greeting = p->smtp_skip_5xx_greeting, .skip_quit_reply = p->smtp_skip_quit_response,
		.per_request_deadline = p->smtp_per_request_deadline,
		.min_data_rate = p->smtp_min_data_rate > 0 ? (uint32_t)p->smtp_min_data_rate : 0,
		.helo_ms = p->smtp_helo_timeout_ms, .starttls_ms = p->smtp_starttls_timeout_ms,
		.auth_ms = p->smtp_helo_timeout_ms, .mail_ms = p->smtp_mail_timeout_ms,
		.rcpt_ms = p->smtp_rcpt_timeout_ms, .data_init_ms = p->smtp_data_init_timeout_ms,
		.data_xfer_ms = p->smtp_data_xfer_timeout_ms, .data_done_ms = p->smtp_data_done_timeout_ms,
		.rset_ms = p->smtp_rset_timeout_ms, .quit_ms = p->smtp_quit_timeout_ms,
		.xforward_ms = p->smtp_xforward_timeout_ms,
	};
}

void
hop_link_talk(struct hop_link *l, const struct smtpc_options *opt)
{
	smtpc_init(&l->engine, opt, loop_now_us(l->loop));
	l->engine_ready = true;
	l->phase = HOP_LINK_TALK;
	if (l->stream.handshaken)
		smtpc_tls_started(&l->engine, loop_now_us(l->loop));
}

/* ---- TLS */

static void
handshake(struct hop_link *l)
{
	switch (stream_handshake(&l->stream)) {
	case STREAM_DONE:
		if (l->ops->tls_done(l->owner, true, NULL))
			hop_link_pump(l);
		return;
	case STREAM_WANT_READ:
	case STREAM_WANT_CHAIN:
		loop_fd_want(&l->watch, LOOP_READ);
		return;
	case STREAM_WANT_WRITE:
		loop_fd_want(&l->watch, LOOP_WRITE);
		return;
	case STREAM_EOF:
	case STREAM_ERROR:
		(void)l->ops->tls_done(l->owner, false, stream_failure(&l->stream)->text);
		return;
	}
}

void
hop_link_start_tls(struct hop_link *l, enum hop_link_phase phase, struct tls_client_ctx *ctx, const struct tls_decision *d, struct span key)
{
	struct fault why;

	l->phase = phase;
	arm_in(l, l->p->smtp_starttls_timeout_ms);
	if (!stream_start_client(&l->stream, ctx, d, key, clock_wall_us() / US_PER_S, &why)) {
		(void)l->ops->tls_done(l->owner, false, why.text);
		return;
	}
	handshake(l);
}

/* ---- connecting */

static void
connected(struct hop_link *l)
{
	int one = 1;

	if (l->addr.family != AF_UNIX)
		(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	stream_init(&l->stream, l->fd);
	l->connected = true;
	if (l->ops->ready(l->owner))
		hop_link_pump(l);
}

static void
finish_connect(struct hop_link *l)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
		error = EIO;
	if (error != 0)
		l->ops->connect_failed(l->owner, fd_error(-error));
	else
		connected(l);
}

static void
on_ready(void *ctx, unsigned ready)
{
	struct hop_link *l = ctx;

	switch (l->phase) {
	case HOP_LINK_CONNECTING:
		finish_connect(l);
		return;
	case HOP_LINK_WRAPPER:
	case HOP_LINK_HANDSHAKE:
		handshake(l);
		return;
	case HOP_LINK_IDLE:
		l->ops->idle_over(l->owner, true);
		return;
	case HOP_LINK_TALK:
	case HOP_LINK_CLOSING:
		if ((ready & LOOP_READ) == 0 || read_some(l))
			hop_link_pump(l);
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
fill_path(const struct hop_link *l, union any_address *u)
{
	struct span path = l->addr.text;

	if (path.p[0] != '/')
		path = arena_printf(l->arena, "%s/%.*s", l->p->queue_directory, SPAN_ARG(path));
	if (path.n >= sizeof(u->un.sun_path))
		return 0;
	memset(u, 0, sizeof(*u));
	u->sa.sa_family = AF_UNIX;
	memcpy(u->un.sun_path, path.p, path.n);
	return sizeof(u->un);
}

/* smtp_bind_address, or the only address of inet_interfaces. False when it must be used and cannot be. */
static bool
bind_local(struct hop_link *l, const struct hop_bind *from, const char **reason_r)
{
	bool v6 = l->addr.family == AF_INET6;
	struct span text = span_str(v6 ? l->p->smtp_bind_address6 : l->p->smtp_bind_address);
	struct hop_address local = { .family = l->addr.family };
	union any_address u;
	size_t n;
	socklen_t len;

	if (text.n == 0)
		text = v6 ? from->v6 : from->v4;
	if (text.n == 0 || l->addr.family == AF_UNIX)
		return true;
	if (text.n > 2 && text.p[0] == '[')
		text = span_slice(text, 1, text.n - 1);
	if (!dns_address_parse(text, local.ip, &n) || n != (v6 ? 16u : 4u)) {
		*reason_r = "bad local address";
	} else {
		len = fill_address(&u, &local);
		if (bind(l->fd, &u.sa, len) == 0)
			return true;
		*reason_r = fd_error(-errno);
	}
	log_warning(NULL, "bind %.*s: %s", SPAN_ARG(text), *reason_r);
	return !l->p->smtp_bind_address_enforce;
}

/* 0 = connected, 1 = under way, -1 = failed with a reason. */
static int
try_connect(struct hop_link *l, const struct hop_bind *from, const char **reason_r)
{
	union any_address u;
	socklen_t len = l->addr.family == AF_UNIX ? fill_path(l, &u) : fill_address(&u, &l->addr);
	int r;

	l->fd = socket(l->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || len == 0) {
		*reason_r = len == 0 ? "path is too long" : fd_error(-errno);
		return -1;
	}
	if (!bind_local(l, from, reason_r))
		return -1;
	do
		r = connect(l->fd, &u.sa, len);
	while (r != 0 && errno == EINTR);
	if (r == 0)
		return 0;
	if (errno == EINPROGRESS)
		return 1;
	*reason_r = fd_error(-errno);
	return -1;
}

void
hop_link_connect(struct hop_link *l, const struct hop_bind *from)
{
	int64_t limit = l->p->smtp_connect_timeout_ms;
	const char *reason = "";
	int r = try_connect(l, from, &reason);

	l->phase = HOP_LINK_CONNECTING;
	if (r < 0) {
		l->ops->connect_failed(l->owner, reason);
		return;
	}
	loop_fd_init(&l->watch, l->loop, l->fd, on_ready, l);
	loop_fd_want(&l->watch, LOOP_WRITE);
	arm_in(l, limit > 0 ? limit : 600000);
	if (r == 0)
		connected(l);
}

/* ---- the end */

void
hop_link_quit(struct hop_link *l)
{
	l->phase = HOP_LINK_CLOSING;
	smtpc_quit(&l->engine, loop_now_us(l->loop));
	hop_link_pump(l);
}
