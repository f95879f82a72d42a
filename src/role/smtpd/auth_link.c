/* The connection to an authentication service: connecting, losing and finding it again, exchanges and their deadlines. */
#include "role/smtpd/auth_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hmap.h"
#include "base/panic.h"
#include "dns/dns.h"
#include "role/smtpd/smtpd.h"

#define CONNECT_MS 5000         /* connection and handshake */
#define RETRY_MS 1000
#define COMPLAIN_S 60           /* the same trouble is told again after */
#define ASKED_MAX 1000u          /* answers waited for at the same time */
#define READS_PER_TURN 8

enum link_state {
	LINK_DOWN,              /* the timer tries again */
	LINK_RESOLVING,
	LINK_CONNECTING,        /* until the handshake is complete */
	LINK_UP,
};

struct auth_link {
	struct list node;
	struct smtpd *d;
	const char *path;               /* as configured */
	const char *socket_path;        /* a UNIX socket, or NULL */
	struct span host;
	in_port_t port;
	enum link_state state;
	bool failed_before;             /* the last attempt came to nothing */
	int fd;
	struct loop_fd watch;
	struct loop_timer timer;
	struct asks *asks;
	struct dovecot *proto;
	struct list exchanges;
	struct hmap by_id;
	unsigned n_asked;
	char complaint[200];
	int64_t complained_us;
};

struct auth_exchange {
	struct list node;
	struct auth_link *link;         /* NULL: lost */
	struct hmap_node by_id;
	uint32_t id;
	bool asked;                     /* the service's turn */
	struct loop_timer timer;
	auth_answer_fn *fn;
	void *ctx;
};

static void link_connect(struct auth_link *l);

/* --- exchanges --- */

static void
exchange_free(struct auth_exchange *x)
{
	if (x->link != NULL) {
		x->link->n_asked -= x->asked;
		hmap_remove(&x->link->by_id, &x->by_id);
	}
	list_remove(&x->node);
	loop_timer_release(&x->timer);
	free(x);
}

/* It is over, by this answer. */
static void
exchange_end(struct auth_exchange *x, const struct auth_answer *answer)
{
	auth_answer_fn *fn = x->fn;
	void *ctx = x->ctx;

	exchange_free(x);
	fn(ctx, answer);
}

/* Only with a link: it is up as long as exchanges have it. */
static void
cancel(struct auth_exchange *x)
{
	dovecot_cancel(x->link->proto, x->id);
	loop_fd_want(&x->link->watch, LOOP_READ | LOOP_WRITE);
}

static void
on_late(void *ctx)
{
	struct auth_exchange *x = ctx;
	const struct auth_answer late = { .kind = AUTH_TROUBLE, .reason = SPAN("Connection lost to authentication server") };

	if (x->link != NULL) {
		log_warning_once(NULL, "SASL: %s does not answer within %d seconds", x->link->path, AUTH_ANSWER_MS / 1000);
		cancel(x);
	}
	exchange_end(x, &late);
}

/* The service is gone: who waits for it is told, who is at his client learns it with the next response. */
static void
lose_exchanges(struct auth_link *l)
{
	const struct auth_answer lost = { .kind = AUTH_TROUBLE, .reason = SPAN("Connection lost to authentication server") };
	struct list lost_ones, *n;

	list_init(&lost_ones);
	while ((n = list_pop_front(&l->exchanges)) != NULL) {
		struct auth_exchange *x = LIST_ITEM(n, struct auth_exchange, node);

		hmap_remove(&l->by_id, &x->by_id);
		x->link = NULL;
		if (x->asked)
			list_push_back(&lost_ones, &x->node);
	}
	l->n_asked = 0;
	while (!list_empty(&lost_ones))
		exchange_end(LIST_ITEM(lost_ones.next, struct auth_exchange, node), &lost);
}

static struct auth_exchange *
exchange_find(struct auth_link *l, uint32_t id)
{
	HMAP_EACH_HASH(n, &l->by_id, hash_u64(id)) {
		struct auth_exchange *x = HMAP_ENTRY(n, struct auth_exchange, by_id);

		if (x->id == id)
			return x;
	}
	return NULL;
}

/* --- up and down --- */

/* Greetings wait for what the service offers. */
static void
wake_sessions(struct auth_link *l)
{
	LIST_EACH(n, &l->d->sessions) {
		struct session *s = LIST_ITEM(n, struct session, node);

		if (!list_empty(&s->questions))
			session_pump(s);
	}
}

static void
complain(struct auth_link *l, const char *why)
{
	int64_t now = loop_now_us(l->d->role->loop);

	if (strcmp(l->complaint, why) == 0 && now - l->complained_us < COMPLAIN_S * US_PER_S)
		return;
	snprintf(l->complaint, sizeof(l->complaint), "%s", why);
	l->complained_us = now;
	log_warning_once(NULL, "SASL: Connect to %s failed: %s; AUTH is not offered until the service answers", l->path, why);
}

static void
link_reset(struct auth_link *l)
{
	loop_fd_release(&l->watch);
	fd_close(&l->fd);
	asks_free(&l->asks);
	dovecot_free(&l->proto);
	l->state = LINK_DOWN;
}

/* Could not be reached, or turned out to be something else. */
static void
link_failed(struct auth_link *l, const char *why)
{
	link_reset(l);
	l->failed_before = true;
	complain(l, why);
	loop_timer_set_ms(&l->timer, RETRY_MS);
	lose_exchanges(l);
	wake_sessions(l);
}

/* It was there until now: a restart, most of all. */
static void
link_lost(struct auth_link *l, const char *why)
{
	if (l->state != LINK_UP) {
		link_failed(l, why);
		return;
	}
	log_warning_once(NULL, "SASL: connection to %s lost: %s", l->path, why);
	link_reset(l);
	l->failed_before = false;
	loop_timer_set_ms(&l->timer, 0);
	lose_exchanges(l);
}

static void
link_up(struct auth_link *l)
{
	l->state = LINK_UP;
	l->failed_before = false;
	loop_timer_stop(&l->timer);
	if (l->complaint[0] != '\0')
		log_info(NULL, "SASL: %s answers again", l->path);
	l->complaint[0] = '\0';
	wake_sessions(l);
}

/* --- input and output --- */

static void
want(struct auth_link *l)
{
	if (l->proto != NULL)
		loop_fd_want(&l->watch, dovecot_output(l->proto).n > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static bool
write_some(struct auth_link *l)
{
	struct span out = dovecot_output(l->proto);
	ssize_t n;

	while (out.n > 0) {
		n = fd_write(l->fd, out.p, out.n);
		if (n == -EAGAIN)
			return true;
		if (n < 0) {
			link_lost(l, fd_error((int)n));
			return false;
		}
		dovecot_output_taken(l->proto, (size_t)n);
		out = dovecot_output(l->proto);
	}
	return true;
}

static void
take_answer(struct auth_link *l, const struct dovecot_event *ev)
{
	struct auth_exchange *x = exchange_find(l, ev->id);
	struct auth_answer answer = { .data = ev->data, .user = ev->user, .reason = ev->reason };

	if (x == NULL || !x->asked)
		return;         /* canceled, or never ours */
	if (ev->kind == DOVECOT_CONT) {
		x->asked = false;
		l->n_asked--;
		loop_timer_stop(&x->timer);
		answer.kind = AUTH_CHALLENGE;
		x->fn(x->ctx, &answer);
		return;
	}
	answer.kind = ev->kind == DOVECOT_OK ? AUTH_GRANTED : ev->temporary ? AUTH_TROUBLE : AUTH_DENIED;
	exchange_end(x, &answer);
}

/* False: the connection is gone. */
static bool
take_events(struct auth_link *l)
{
	struct dovecot_event ev;

	while (dovecot_next(l->proto, &ev)) {
		switch (ev.kind) {
		case DOVECOT_READY:
			link_up(l);
			break;
		case DOVECOT_CONT:
		case DOVECOT_OK:
		case DOVECOT_FAIL:
			take_answer(l, &ev);
			break;
		case DOVECOT_BROKEN:
			link_lost(l, ev.reason.p);
			return false;
		}
	}
	return true;
}

static void
read_some(struct auth_link *l)
{
	static char bytes[DOVECOT_FEED_MAX];

	for (unsigned i = 0; i < READS_PER_TURN; i++) {
		ssize_t n = fd_read(l->fd, bytes, sizeof(bytes));

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			link_lost(l, n == 0 ? "the service closed it" : fd_error((int)n));
			return;
		}
		dovecot_feed(l->proto, span_of(bytes, (size_t)n));
		if (!take_events(l))
			return;
	}
}

static void
on_ready(void *ctx, unsigned ready)
{
	struct auth_link *l = ctx;

	if ((ready & LOOP_WRITE) && !write_some(l))
		return;
	if (ready & LOOP_READ)
		read_some(l);
	want(l);
}

/* --- connecting --- */

static void
attach(struct auth_link *l)
{
	l->state = LINK_CONNECTING;
	l->proto = dovecot_new((unsigned long)getpid());
	loop_fd_init(&l->watch, l->d->role->loop, l->fd, on_ready, l);
	loop_fd_want(&l->watch, LOOP_READ | LOOP_WRITE);
}

static void
connect_to(struct auth_link *l, const struct sockaddr *sa, socklen_t n)
{
	int r;

	l->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		link_failed(l, fd_error(-errno));
		return;
	}
	do
		r = connect(l->fd, sa, n);
	while (r != 0 && errno == EINTR);
	if (r != 0 && errno != EINPROGRESS)
		link_failed(l, fd_error(-errno));
	else
		attach(l);
}

static void
connect_path(struct auth_link *l)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memcpy(un.sun_path, l->socket_path, strlen(l->socket_path) + 1);
	connect_to(l, (struct sockaddr *)&un, sizeof(un));
}

static void
connect_address(struct auth_link *l, const uint8_t *bytes, size_t n)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(l->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(l->port) };

	if (n == 4) {
		memcpy(&in4.sin_addr, bytes, 4);
		connect_to(l, (struct sockaddr *)&in4, sizeof(in4));
	} else {
		memcpy(&in6.sin6_addr, bytes, 16);
		connect_to(l, (struct sockaddr *)&in6, sizeof(in6));
	}
}

/* The first address of the name. */
static void
resolve(void *ctx)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	struct auth_link *l = ctx;
	const struct dns_answer *answer;
	uint8_t bytes[16];

	for (size_t i = 0; i < 2; i++) {
		if (asks_dns(l->asks, l->host, types[i], &answer) != MAP_FOUND)
			return;
		if (dns_known(answer) && answer->count > 0 && answer->records[0].data.n <= sizeof(bytes)) {
			size_t n = answer->records[0].data.n;

			memcpy(bytes, answer->records[0].data.p, n);
			connect_address(l, bytes, n);
			return;
		}
	}
	link_failed(l, "its host name has no address");
}

static void
link_connect(struct auth_link *l)
{
	uint8_t bytes[16];
	size_t n;

	loop_timer_set_ms(&l->timer, CONNECT_MS);
	if (l->socket_path != NULL) {
		connect_path(l);
	} else if (dns_address_parse(l->host, bytes, &n)) {
		connect_address(l, bytes, n);
	} else {
		l->state = LINK_RESOLVING;
		l->asks = asks_new(l->d->role->asks, resolve, l);
		resolve(l);
	}
}

static void
on_timer(void *ctx)
{
	struct auth_link *l = ctx;

	if (l->state == LINK_DOWN)
		link_connect(l);
	else if (l->state != LINK_UP)
		link_failed(l, "no answer in time");
}

/* --- life --- */

static bool
take_inet(struct auth_link *l, struct span text, struct fault *why)
{
	ptrdiff_t colon = span_rindex(text, ':');
	struct span host;
	uint64_t port;

	if (colon <= 0 || !span_u64(span_from(text, (size_t)colon + 1), 65535, &port) || port == 0)
		return fault_set(why, "", "smtpd_sasl_path = %s: inet:host:port is wanted, the port as a number", l->path);
	host = span_slice(text, 0, (size_t)colon);
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_slice(host, 1, host.n - 1);
	if (span_eq_ci(host, SPAN("localhost")))
		host = SPAN("127.0.0.1");
	l->host = arena_dup(l->d->arena, host);
	l->port = (in_port_t)port;
	return true;
}

static bool
take_path(struct auth_link *l, struct span text, struct fault *why)
{
	struct smtpd *d = l->d;

	l->socket_path = arena_cstr(d->arena, text);
	if (text.n == 0 || text.p[0] != '/')
		l->socket_path = arena_cstr(d->arena, arena_printf(d->arena, "%s/%.*s", d->role->conf->params->queue_directory,
		    SPAN_ARG(text)));
	if (strlen(l->socket_path) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return true;
	return fault_set(why, "", "smtpd_sasl_path = %s: the path is too long for a socket", l->path);
}

struct auth_link *
auth_link_get(struct smtpd *d, const char *path, struct fault *why)
{
	struct span text = span_str(path);
	struct auth_link *l;
	bool fine;

	LIST_EACH(n, &d->auth_links) {
		l = LIST_ITEM(n, struct auth_link, node);
		if (strcmp(l->path, path) == 0)
			return l;
	}
	l = ARENA_NEW(d->arena, struct auth_link);
	l->d = d;
	l->path = path;
	l->fd = -1;
	list_init(&l->exchanges);
	hmap_init(&l->by_id);
	if (span_starts(text, SPAN("inet:")))
		fine = take_inet(l, span_from(text, 5), why);
	else
		fine = take_path(l, span_starts(text, SPAN("unix:")) ? span_from(text, 5) : text, why);
	if (!fine)
		return NULL;
	list_push_back(&d->auth_links, &l->node);
	return l;
}

void
auth_links_start(struct smtpd *d)
{
	LIST_EACH(n, &d->auth_links) {
		struct auth_link *l = LIST_ITEM(n, struct auth_link, node);

		if (l->timer.loop == NULL) {
			loop_timer_init(&l->timer, d->role->loop, on_timer, l);
			link_connect(l);
		}
	}
}

void
auth_links_close(struct smtpd *d)
{
	struct list *n;

	while ((n = list_pop_front(&d->auth_links)) != NULL) {
		struct auth_link *l = LIST_ITEM(n, struct auth_link, node);

		link_reset(l);
		loop_timer_release(&l->timer);
		hmap_release(&l->by_id);
	}
}

const struct dovecot *
auth_link_service(const struct auth_link *l)
{
	return l->state == LINK_UP ? l->proto : NULL;
}

bool
auth_link_pending(const struct auth_link *l)
{
	return l->state != LINK_UP && !l->failed_before;
}

unsigned
auth_links_count(struct smtpd *d, unsigned *down_r)
{
	unsigned n = 0;

	*down_r = 0;
	LIST_EACH(at, &d->auth_links) {
		n++;
		*down_r += LIST_ITEM(at, struct auth_link, node)->state != LINK_UP;
	}
	return n;
}

/* --- exchanges, from outside --- */

/* What was queued leaves at once; trouble shows in the next turn. */
static void
send_now(struct auth_exchange *x)
{
	x->asked = true;
	x->link->n_asked++;
	loop_timer_set_ms(&x->timer, AUTH_ANSWER_MS);
	loop_fd_want(&x->link->watch, LOOP_READ | LOOP_WRITE);
}

struct auth_exchange *
auth_begin(struct auth_link *l, const struct dovecot_request *r, auth_answer_fn *fn, void *ctx, bool *too_long_r)
{
	struct auth_exchange *x;
	uint32_t id;

	*too_long_r = false;
	if (l->state != LINK_UP || l->n_asked >= ASKED_MAX || dovecot_full(l->proto))
		return NULL;
	if (!dovecot_start(l->proto, r, &id)) {
		*too_long_r = true;
		return NULL;
	}
	x = calloc(1, sizeof(*x));
	ensure(x != NULL);
	x->link = l;
	x->id = id;
	x->fn = fn;
	x->ctx = ctx;
	list_push_back(&l->exchanges, &x->node);
	hmap_add(&l->by_id, &x->by_id, hash_u64(id));
	loop_timer_init(&x->timer, l->d->role->loop, on_late, x);
	send_now(x);
	return x;
}

bool
auth_respond(struct auth_exchange *x, struct span response, bool *too_long_r)
{
	*too_long_r = false;
	if (x->link == NULL || dovecot_full(x->link->proto))
		return false;
	*too_long_r = !dovecot_continue(x->link->proto, x->id, response);
	if (!*too_long_r)
		send_now(x);
	return !*too_long_r;
}

void
auth_drop(struct auth_exchange **xp)
{
	struct auth_exchange *x = *xp;

	if (x == NULL)
		return;
	*xp = NULL;
	if (x->link != NULL)
		cancel(x);
	exchange_free(x);
}
