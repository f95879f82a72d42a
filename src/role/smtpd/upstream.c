/*
 * smtpd_upstream_proxy_protocol: in front of everything else, TLS too, stands a header of the proxy's.
 * Nothing behind it is taken here. Without a good header in time there is no session: one line, and the
 * connection is closed.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "role/smtpd/smtpd.h"
#include "smtp/haproxy.h"

void
upstream_begin(struct session *s)
{
	s->upstream_wait = true;
	buf_init(&s->upstream, HAPROXY_MAX);
	loop_timer_set_ms(&s->timer, s->p->smtpd_upstream_proxy_timeout_ms);
	loop_fd_want(&s->watch, LOOP_READ);
}

static void
drop(struct session *s, const char *why)
{
	log_warning(&s->log, "haproxy header of %.*s for service %s: %s; connection closed", SPAN_ARG(s->facts.addr), s->svc->name,
	    why);
	session_end(s);
}

static void
take_header(struct session *s, const struct haproxy_header *h)
{
	s->upstream_wait = false;
	loop_timer_stop(&s->timer);
	buf_release(&s->upstream);
	if (!h->direct) {
		client_set_server(s, span_of(h->server, h->server_n), h->server_port);
		client_set_address(s, span_of(h->client, h->client_n), h->client_port);
	}
	session_pump(s);
}

/* The bytes are looked at first and then taken as far as they are the header's. */
void
upstream_read(struct session *s)
{
	struct haproxy_header h;
	struct fault why = { 0 };
	size_t had = s->upstream.n;
	char *room = buf_space(&s->upstream, HAPROXY_MAX - had);
	ssize_t n;

	do
		n = recv(s->fd, room, HAPROXY_MAX - had, MSG_PEEK);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop(s, n == 0 ? "the connection ended before it" : fd_error(-errno));
		return;
	}
	s->upstream.n += (size_t)n;
	switch (haproxy_parse(buf_span(&s->upstream), &h, &why)) {
	case HAPROXY_MORE:
		fd_read(s->fd, room, (size_t)n);
		break;
	case HAPROXY_DONE:
		fd_read(s->fd, room, h.used - had);
		take_header(s, &h);
		break;
	case HAPROXY_BAD:
		drop(s, why.text);
		break;
	}
}

void
upstream_timeout(struct session *s)
{
	drop(s, "it did not come in time");
}
