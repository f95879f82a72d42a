/* Policy services on the wire: jobs (one request each), connections, attempts and their time limits. */
#include "role/smtpd/policy_pool.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "dns/dns.h"
#include "role/smtpd/policy_service.h"
#include "role/smtpd/smtpd.h"
#include "smtp/policyd.h"

struct policy_pool {
	struct smtpd *d;
	struct policy_service *svc;
	struct asks_way way;
	struct list waiting;            /* jobs without a connection */
	struct list conns;
	unsigned n_jobs, n_conns;
	struct loop_task run;           /* hand out jobs: never from inside a call of the asker's */
};

struct job {
	struct list node;
	struct policy_pool *pool;
	uint64_t id;                    /* of the question */
	struct buf request;
	unsigned tries;
	bool free_try_used;             /* a kept connection had died: that was nobody's attempt */
	bool pausing;                   /* between attempts */
	struct loop_timer timer;        /* the pause, or the wait for a connection */
};

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_WRITING, CONN_READING, CONN_IDLE };

struct conn {
	struct list node;
	struct policy_pool *pool;
	enum conn_state state;
	struct job *job;                /* NULL when idle */
	struct asks *asks;              /* the service's address */
	int fd;
	struct loop_fd watch;
	struct loop_timer timer;
	struct buf in;
	size_t sent;
	unsigned served;
	int64_t born_us;
};

static int64_t
pool_now(const struct policy_pool *p)
{
	return loop_now_us(p->d->role->loop);
}

/* --- jobs --- */

static void
job_free(struct job *j)
{
	j->pool->n_jobs--;
	list_remove(&j->node);
	loop_timer_release(&j->timer);
	buf_release(&j->request);
	free(j);
}

static void
job_answer(struct job *j, enum map_result result, struct span action, const struct fault *why)
{
	asks_answer_map(j->pool->d->role->asks, j->id, result, action, why);
	job_free(j);
}

/* Back in line, last: its time to wait begins anew. */
static void
job_queue(struct job *j)
{
	struct policy_pool *p = j->pool;

	j->pausing = false;
	list_push_back(&p->waiting, &j->node);
	loop_timer_set_ms(&j->timer, p->svc->timeout_ms);
	loop_defer(p->d->role->loop, &p->run);
}

/* An attempt failed: another one after a pause, or that was it. */
static void
job_failed(struct job *j, const char *why)
{
	const struct policy_service *s = j->pool->svc;
	struct fault fault = { 0 };

	list_remove(&j->node);
	list_init(&j->node);
	if (++j->tries < s->try_limit && asks_wants(j->pool->d->role->asks, j->id)) {
		j->pausing = true;
		loop_timer_set_ms(&j->timer, s->retry_delay_ms);
		return;
	}
	log_warning(NULL, "problem talking to server %s: %s", s->name, why);
	fault_set(&fault, "4.3.5", "%s", why);
	job_answer(j, MAP_DEFER, SPAN(""), &fault);
}

static void
on_job_timer(void *ctx)
{
	struct job *j = ctx;

	if (j->pausing)
		job_queue(j);
	else
		job_failed(j, "all connections to it are busy");
}

/* --- connections --- */

static void
conn_free(struct conn *c)
{
	list_remove(&c->node);
	c->pool->n_conns--;
	asks_free(&c->asks);
	loop_fd_release(&c->watch);
	loop_timer_release(&c->timer);
	fd_close(&c->fd);
	buf_release(&c->in);
	loop_defer(c->pool->d->role->loop, &c->pool->run);
	free(c);
}

/* Kept ones that died with this one: a service that was started anew. */
static void
drop_idle(struct policy_pool *p)
{
	LIST_EACH(n, &p->conns) {
		struct conn *c = LIST_ITEM(n, struct conn, node);

		if (c->state == CONN_IDLE)
			conn_free(c);
	}
}

/* This connection is of no use any more. */
static void
conn_failed(struct conn *c, const char *why, bool died)
{
	struct policy_pool *p = c->pool;
	struct job *j = c->job;
	bool stale = died && c->served > 0 && c->in.n == 0;
	char text[200];

	snprintf(text, sizeof(text), "%s", why);        /* it may live in the connection */
	conn_free(c);
	if (j == NULL)
		return;
	if (stale && !j->free_try_used) {
		j->free_try_used = true;
		drop_idle(p);
		job_queue(j);
	} else {
		job_failed(j, text);
	}
}

static void
conn_enter(struct conn *c, enum conn_state state)
{
	c->state = state;
	switch (state) {
	case CONN_RESOLVING:
		return;         /* one time limit for this and for connecting */
	case CONN_CONNECTING:
		loop_fd_want(&c->watch, LOOP_WRITE);
		return;
	case CONN_WRITING:
		loop_fd_want(&c->watch, LOOP_WRITE);
		break;
	case CONN_READING:
	case CONN_IDLE:
		loop_fd_want(&c->watch, LOOP_READ);
		break;
	}
	loop_timer_set_ms(&c->timer, state == CONN_IDLE ? c->pool->svc->max_idle_ms : c->pool->svc->timeout_ms);
}

static void
conn_begin(struct conn *c, struct job *j)
{
	loop_timer_stop(&j->timer);
	list_remove(&j->node);
	list_init(&j->node);
	c->job = j;
	c->sent = 0;
	buf_clear(&c->in);
}

/* The request is answered: keep the connection, or do not. */
static void
conn_rest(struct conn *c)
{
	const struct policy_service *s = c->pool->svc;
	bool worn = s->request_limit != 0 && c->served >= s->request_limit;

	c->job = NULL;
	buf_clear(&c->in);
	if (worn || s->max_idle_ms <= 0 || pool_now(c->pool) - c->born_us >= s->max_ttl_ms * 1000) {
		conn_free(c);
		return;
	}
	conn_enter(c, CONN_IDLE);
	loop_defer(c->pool->d->role->loop, &c->pool->run);
}

static void
conn_write(struct conn *c)
{
	const struct buf *request = &c->job->request;
	ssize_t n = 0;

	while (c->sent < request->n) {
		n = fd_write(c->fd, request->p + c->sent, request->n - c->sent);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			conn_failed(c, fd_error((int)n), true);
			return;
		}
		c->sent += (size_t)n;
	}
	conn_enter(c, CONN_READING);
}

static void
conn_parse(struct conn *c)
{
	struct job *j = c->job;
	struct fault why = { 0 };
	struct span action;

	switch (policyd_reply_parse(buf_span(&c->in), c->pool->svc->utf8, &action, &why)) {
	case POLICYD_MORE:
		return;
	case POLICYD_BAD:
		conn_failed(c, why.text, false);
		return;
	case POLICYD_DONE:
		break;
	}
	c->served++;
	job_answer(j, MAP_FOUND, action, NULL);
	conn_rest(c);
}

static void
conn_read(struct conn *c)
{
	char bytes[2048];
	size_t room = POLICYD_REPLY_MAX - c->in.n;
	ssize_t n = fd_read(c->fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		conn_failed(c, n == 0 ? "it closed the connection" : fd_error((int)n), true);
		return;
	}
	if (c->state == CONN_IDLE) {
		log_warning(NULL, "policy service %s: %zd bytes that nobody asked for: connection closed", c->pool->svc->name, n);
		conn_free(c);
		return;
	}
	buf_add(&c->in, bytes, (size_t)n);
	conn_parse(c);
}

static void
conn_connected(struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
		error = errno;
	if (error != 0) {
		conn_failed(c, fd_error(-error), false);
		return;
	}
	conn_enter(c, CONN_WRITING);
	conn_write(c);
}

static void
on_conn(void *ctx, unsigned ready)
{
	struct conn *c = ctx;

	(void)ready;
	switch (c->state) {
	case CONN_RESOLVING:
		return;
	case CONN_CONNECTING:
		conn_connected(c);
		return;
	case CONN_WRITING:
		conn_write(c);
		return;
	case CONN_READING:
	case CONN_IDLE:
		conn_read(c);
		return;
	}
}

static void
on_conn_timer(void *ctx)
{
	struct conn *c = ctx;

	switch (c->state) {
	case CONN_RESOLVING:
	case CONN_CONNECTING:
		conn_failed(c, "it cannot be connected to in time", false);
		return;
	case CONN_WRITING:
		conn_failed(c, "it does not read in time", false);
		return;
	case CONN_READING:
		conn_failed(c, "it does not answer in time", false);
		return;
	case CONN_IDLE:
		conn_free(c);
		return;
	}
}

/* --- connecting --- */

static void
connect_to(struct conn *c, const struct sockaddr *sa, socklen_t n)
{
	int r;

	c->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		conn_failed(c, fd_error(-errno), false);
		return;
	}
	do
		r = connect(c->fd, sa, n);
	while (r != 0 && errno == EINTR);
	if (r != 0 && errno != EINPROGRESS) {
		conn_failed(c, fd_error(-errno), false);
		return;
	}
	loop_fd_init(&c->watch, c->pool->d->role->loop, c->fd, on_conn, c);
	conn_enter(c, CONN_CONNECTING);
}

static void
connect_path(struct conn *c, const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memcpy(un.sun_path, path, strlen(path) + 1);
	connect_to(c, (struct sockaddr *)&un, sizeof(un));
}

static void
connect_address(struct conn *c, const uint8_t *bytes, size_t n)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)c->pool->svc->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)c->pool->svc->port) };

	if (n == 4) {
		memcpy(&in4.sin_addr, bytes, 4);
		connect_to(c, (struct sockaddr *)&in4, sizeof(in4));
	} else {
		memcpy(&in6.sin6_addr, bytes, 16);
		connect_to(c, (struct sockaddr *)&in6, sizeof(in6));
	}
}

/* The first address of the name; another attempt may get another one. */
static void
resolve(void *ctx)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	struct conn *c = ctx;
	const struct dns_answer *answer;
	uint8_t bytes[16];

	for (size_t i = 0; i < 2; i++) {
		if (asks_dns(c->asks, c->pool->svc->host, types[i], &answer) != MAP_FOUND)
			return;
		if (dns_known(answer) && answer->count > 0 && answer->records[0].data.n <= sizeof(bytes)) {
			size_t n = answer->records[0].data.n;

			memcpy(bytes, answer->records[0].data.p, n);
			connect_address(c, bytes, n);
			return;
		}
	}
	conn_failed(c, "its host name has no address", false);
}

static void
conn_open(struct policy_pool *p, struct job *j)
{
	struct conn *c = calloc(1, sizeof(*c));
	uint8_t bytes[16];
	size_t n;

	ensure(c != NULL);
	c->pool = p;
	c->fd = -1;
	c->born_us = pool_now(p);
	buf_init(&c->in, POLICYD_REPLY_MAX);
	loop_timer_init(&c->timer, p->d->role->loop, on_conn_timer, c);
	loop_timer_set_ms(&c->timer, p->svc->timeout_ms);
	list_push_back(&p->conns, &c->node);
	p->n_conns++;
	conn_begin(c, j);
	c->state = CONN_RESOLVING;
	if (p->svc->socket_path != NULL) {
		connect_path(c, p->svc->socket_path);
	} else if (dns_address_parse(p->svc->host, bytes, &n)) {
		connect_address(c, bytes, n);
	} else {
		c->asks = asks_new(p->d->role->asks, resolve, c);
		resolve(c);
	}
}

/* --- handing out --- */

static struct conn *
idle_conn(struct policy_pool *p)
{
	int64_t now = pool_now(p);

	LIST_EACH(n, &p->conns) {
		struct conn *c = LIST_ITEM(n, struct conn, node);

		if (c->state != CONN_IDLE)
			continue;
		if (now - c->born_us < p->svc->max_ttl_ms * 1000)
			return c;
		conn_free(c);
	}
	return NULL;
}

static void
on_run(void *ctx)
{
	struct policy_pool *p = ctx;

	while (!list_empty(&p->waiting)) {
		struct job *j = LIST_ITEM(p->waiting.next, struct job, node);
		struct conn *c;

		if (!asks_wants(p->d->role->asks, j->id)) {
			job_free(j);    /* the session is gone */
			continue;
		}
		c = idle_conn(p);
		if (c != NULL) {
			conn_begin(c, j);
			conn_enter(c, CONN_WRITING);
			conn_write(c);
		} else if (p->n_conns < POLICY_CONNS_MAX) {
			conn_open(p, j);
		} else {
			return;
		}
	}
}

static bool
take_question(void *ctx, uint64_t id, struct span who, struct span question)
{
	struct policy_pool *p = ctx;
	struct job *j;

	(void)who;
	if (p->n_jobs >= POLICY_JOBS_MAX)
		return false;
	j = calloc(1, sizeof(*j));
	ensure(j != NULL);
	j->pool = p;
	j->id = id;
	buf_init(&j->request, POLICYD_REQUEST_MAX);
	buf_add_span(&j->request, question);
	loop_timer_init(&j->timer, p->d->role->loop, on_job_timer, j);
	p->n_jobs++;
	job_queue(j);
	return true;
}

const struct asks_way *
policy_pool_way(void *smtpd, struct policy_service *service)
{
	struct smtpd *d = smtpd;
	struct policy_pool *p = service->pool;

	if (p == NULL) {
		p = ARENA_NEW(d->arena, struct policy_pool);
		p->d = d;
		p->svc = service;
		p->way = (struct asks_way){ take_question, p, policy_service_patience_ms(service) };
		list_init(&p->waiting);
		list_init(&p->conns);
		loop_task_init(&p->run, on_run, p);
		service->pool = p;
	}
	return &p->way;
}
