/* One connection: the socket, TLS, timers, and the engine in the middle. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "role/smtpd/smtpd.h"
#include "role/smtpd/tls_policy.h"

#define READS_PER_TURN 4
#define MEMORY_BODIES 90        /* per cent of memory_limit: bodies wait */

int64_t
now_us(const struct session *s)
{
	return loop_now_us(s->d->role->loop);
}

struct log
session_log(const struct session *s)
{
	struct log l = s->log;
	const char *qid = s->msg != NULL ? message_qid(s->msg) : "";

	if (qid[0] == '\0')
		qid = "NOQUEUE";
	memcpy(l.qid, qid, strlen(qid) + 1);
	return l;
}

static void
on_answers(void *ctx)
{
	session_pump(ctx);
}

struct asks *
session_asks(struct session *s)
{
	if (s->asks == NULL)
		s->asks = asks_new(s->d->role->asks, on_answers, s);
	return s->asks;
}

/* --- the end --- */

static void
log_disconnect(struct session *s)
{
	struct log_smtpd_count counts[SMTPS_VERBS];
	static char names[SMTPS_VERBS][16];

	for (unsigned v = 0; v < SMTPS_VERBS; v++) {
		struct smtps_count c = smtps_count(s->engine, (enum smtps_verb)v);
		const char *name = smtps_verb_name((enum smtps_verb)v);

		for (size_t i = 0; i + 1 < sizeof(names[v]) && name[i] != '\0'; i++)
			names[v][i] = ascii_lower(name[i]);
		counts[v] = (struct log_smtpd_count){ names[v], c.ok, c.total };
	}
	log_smtpd_disconnect(&s->log, s->facts.namaddr, counts, SMTPS_VERBS,
	    s->svc->bare_lf == SMTPS_BARE_LF_NOTE && smtps_saw_bare_lf(s->engine) ? "bare_lf" : "");
}

/* Frees what has ended: not before the callbacks of this turn are through. */
static void
session_free(struct session *s)
{
	while (!list_empty(&s->questions))
		question_free(LIST_ITEM(s->questions.next, struct question, node));
	asks_free(&s->asks);
	tls_policy_forget(s);
	loop_task_cancel(&s->more);
	smtps_free(&s->engine);
	free(s->login);
	if (s->facts_arena != s->arena)
		arena_free(&s->facts_arena);
	buf_release(&s->upstream);
	free(s->xforward);
	arena_free(&s->arena);
	free(s);
}

void
sessions_reap(void *ctx)
{
	struct smtpd *d = ctx;
	struct list *n;

	while ((n = list_pop_front(&d->dead)) != NULL)
		session_free(LIST_ITEM(n, struct session, node));
	if (d->role->draining && d->n_sessions == 0)
		role_done(d->role);
}

void
session_end(struct session *s)
{
	struct smtpd *d = s->d;

	if (s->ended)
		return;
	s->ended = true;
	message_cancel(s);
	auth_cancel(s);
	session_tell_trouble(s, true);
	if (s->counted)
		counters_disconnect(d->counters, s->counted_slot);
	if (s->logged_connect && !s->svc->local)
		log_disconnect(s);
	loop_timer_release(&s->timer);
	loop_fd_release(&s->watch);
	stream_release(&s->stream);
	fd_close(&s->fd);
	list_remove(&s->node);
	list_push_back(&d->dead, &s->node);
	d->n_sessions--;
	loop_defer(d->role->loop, &d->reap);
}

/* --- input and output --- */

/* True when something came in. */
static bool
read_some(struct session *s)
{
	static char bytes[SMTPS_FEED_MAX];
	bool moved = false;

	for (unsigned i = 0; i < READS_PER_TURN && s->read_ready && smtps_wants_input(s->engine); i++) {
		size_t got = 0;

		switch (stream_read(&s->stream, bytes, sizeof(bytes), &got)) {
		case STREAM_DONE:
			smtps_feed(s->engine, span_of(bytes, got), now_us(s));
			if (s->svc->auth != NULL)
				explicit_bzero(bytes, got);     /* there may have been a password in it */
			session_heard(s, got);
			moved = true;
			if (got < sizeof(bytes) && !stream_pending(&s->stream))
				s->read_ready = false;  /* that was all */
			break;
		case STREAM_WANT_READ:
		case STREAM_WANT_WRITE:
		case STREAM_WANT_CHAIN:
			s->read_ready = false;
			break;
		case STREAM_EOF:
		case STREAM_ERROR:
			s->read_ready = false;
			smtps_eof(s->engine, now_us(s));
			return true;
		}
	}
	return moved;
}

/* The client said something: the wait begins anew, or, with a deadline per request, is paid for in bytes. */
void
session_heard(struct session *s, size_t bytes)
{
	int64_t most = now_us(s) + s->p->smtpd_timeout_ms * 1000;

	if (!s->p->smtpd_per_request_deadline) {
		s->deadline_us = 0;
		return;
	}
	if (s->deadline_us == 0 || s->p->smtpd_min_data_rate <= 0)
		return;
	s->deadline_us += (int64_t)bytes * US_PER_S / s->p->smtpd_min_data_rate;
	if (s->deadline_us > most)
		s->deadline_us = most;
}

/* True when something went out. */
static bool
write_some(struct session *s)
{
	struct span out = smtps_output(s->engine);
	struct iovec v;
	size_t sent = 0;

	if (out.n == 0 || s->tls_handshake)
		return false;
	if (s->closing)
		stream_last_words(&s->stream);
	v.iov_base = (void *)(uintptr_t)out.p;
	v.iov_len = out.n;
	switch (stream_writev(&s->stream, &v, 1, &sent)) {
	case STREAM_DONE:
		smtps_output_taken(s->engine, sent, now_us(s));
		s->deadline_us = 0;
		return true;
	case STREAM_WANT_READ:
	case STREAM_WANT_WRITE:
	case STREAM_WANT_CHAIN:
		return false;
	case STREAM_EOF:
	case STREAM_ERROR:
		break;
	}
	/* Nobody reads any more. */
	if (!s->closing) {
		struct log l = session_log(s);

		log_smtpd_ended(&l, "lost connection", smtps_where(s->engine), s->facts.namaddr);
		s->closed_why = SMTPS_WHY_LOST;
	}
	session_end(s);
	return false;
}

/* --- news of the engine --- */

static void
log_end(struct session *s, enum smtps_why why)
{
	struct log l = session_log(s);
	const char *where = smtps_where(s->engine);

	switch (why) {
	case SMTPS_WHY_LOST:
		log_smtpd_ended(&l, "lost connection", where, s->facts.namaddr);
		break;
	case SMTPS_WHY_TIMEOUT:
		log_smtpd_ended(&l, "timeout", where, s->facts.namaddr);
		break;
	case SMTPS_WHY_ERRORS:
		log_smtpd_ended(&l, "too many errors", where, s->facts.namaddr);
		break;
	case SMTPS_WHY_CLIENT:
	case SMTPS_WHY_TOO_BIG:
	case SMTPS_WHY_BARE_LF:
	case SMTPS_WHY_QUIT:
		break;
	}
}

static void
take_event(struct session *s, const struct smtps_event *ev)
{
	switch ((unsigned)ev->kind) {
	case SMTPS_TELL_RESET:
		if (ev->why == SMTPS_WHY_BARE_LF)
			question_log_bare_lf(s, "END-OF-MESSAGE");
		message_cancel(s);
		xforward_reset(s);
		return;
	case SMTPS_TELL_PIPELINING:
		log_smtpd_pipelining(&s->log, smtps_command(s->engine), s->facts.namaddr, ev->text);
		return;
	case SMTPS_TELL_AUTH_END:
		auth_ended(s, ev->text);
		return;
	case SMTPS_TELL_BARE_LF:
		question_log_bare_lf(s, smtps_command(s->engine));
		return;
	case SMTPS_TELL_DISCARD:
		log_smtpd_discarding(&s->log, ev->text);
		return;
	case SMTPS_TELL_IMPROPER_X:
		log_smtpd_improper_x(&s->log, ev->verb == SMTPS_XCLIENT, s->facts.namaddr, ev->text);
		return;
	case SMTPS_TELL_NOTICE:
		session_tell_trouble(s, false);
		return;
	case SMTPS_TELL_CLOSE:
		s->closed_why = ev->why;
		if (!s->svc->local)
			log_end(s, ev->why);
		message_cancel(s);
		auth_cancel(s);
		s->closing = true;
		return;
	}
	question_take(s, ev);
}

/* --- the turn --- */

static bool
memory_tight(const struct session *s)
{
	return role_memory(s->d->role) > s->p->memory_limit / 100 * MEMORY_BODIES;
}

static bool
one_round(struct session *s)
{
	struct smtps_event ev;
	bool moved = false;

	if (!s->tls_handshake && s->read_ready && !s->closing)
		moved = read_some(s);
	while (!s->ended && smtps_next(s->engine, &ev)) {
		take_event(s, &ev);
		moved = true;
	}
	if (s->ended)
		return false;
	if (!s->closing)
		moved |= questions_run(s);
	if (!s->ended && s->msg != NULL && !smtps_closed(s->engine)) {
		if (smtps_content(s->engine).n > 0 && memory_tight(s))
			loop_timer_set_ms(&s->d->relief, 200);
		else
			moved |= message_pump(s->msg);
	}
	if (!s->ended)
		moved |= write_some(s);
	return moved && !s->ended;
}

/* Are we waiting for the client (or for its reading what we said)? */
static bool
waits_for_client(const struct session *s)
{
	if (s->tls_handshake || s->closing || smtps_output(s->engine).n > 0)
		return true;
	/* A body that waits for memory counts as well: if all of them did without an end, none would ever give any back. */
	return list_empty(&s->questions) && (s->msg == NULL || !message_busy(s->msg)) &&
	    (smtps_content(s->engine).n == 0 || memory_tight(s));
}

static void
arm_timer(struct session *s)
{
	int64_t wake = smtps_wake_us(s->engine), pause = questions_wake_us(s), after;

	if (!waits_for_client(s))
		s->deadline_us = 0;
	else if (s->deadline_us == 0)
		s->deadline_us = now_us(s) + s->p->smtpd_timeout_ms * 1000;
	if (pause < wake)
		wake = pause;
	if (s->deadline_us != 0 && s->deadline_us < wake)
		wake = s->deadline_us;
	if (wake == INT64_MAX) {
		loop_timer_stop(&s->timer);
		return;
	}
	after = wake - now_us(s);
	loop_timer_set_ms(&s->timer, after <= 0 ? 0 : after / 1000 + 1);
}

static void
arm(struct session *s)
{
	unsigned want = 0;

	if (s->tls_handshake)
		want = s->hello_waits ? 0 : s->handshake_writes ? LOOP_WRITE : LOOP_READ;
	else if (smtps_wants_input(s->engine) && !s->closing && !(s->svc->wrapper && s->tls == NULL))
		want = LOOP_READ;
	if (!s->tls_handshake && smtps_output(s->engine).n > 0)
		want |= LOOP_WRITE;
	loop_fd_want(&s->watch, want);
	if (!s->tls_handshake)
		stream_push(&s->stream);
	/* Bytes inside the TLS layer wake nobody. */
	if (s->read_ready && smtps_wants_input(s->engine) && !s->tls_handshake)
		loop_defer(s->d->role->loop, &s->more);
	arm_timer(s);
}

/* A session that only waits keeps no answers. */
static void
forget_answers(struct session *s)
{
	if (s->asks != NULL && !s->hello_waits && s->msg == NULL && list_empty(&s->questions) && smtps_idle(s->engine))
		asks_free(&s->asks);
}

void
session_pump(struct session *s)
{
	if (s->upstream_wait)
		return;
	if (s->hello_waits && !s->ended)
		session_tls_step(s);
	while (!s->ended && one_round(s))
		;
	if (s->ended)
		return;
	if (smtps_output(s->engine).n == 0) {
		if (s->closing) {
			if (stream_shutdown(&s->stream) == STREAM_WANT_WRITE) {
				loop_fd_want(&s->watch, LOOP_WRITE);
				arm_timer(s);
				return;
			}
			shutdown(s->fd, SHUT_WR);
			session_end(s);
			return;
		}
		/* the 220 may be held back: a client that makes errors is answered slowly */
		if (s->tls_wanted && smtps_idle(s->engine)) {
			session_tls_begin(s);
			session_pump(s);
			return;
		}
	}
	forget_answers(s);
	arm(s);
}

static void
on_fd(void *ctx, unsigned ready)
{
	struct session *s = ctx;

	if (s->upstream_wait) {
		upstream_read(s);
		return;
	}
	if (s->tls_handshake)
		session_tls_step(s);
	else if (ready & LOOP_READ)
		s->read_ready = true;
	session_pump(s);
}

static void
on_timer(void *ctx)
{
	struct session *s = ctx;

	if (s->upstream_wait) {
		upstream_timeout(s);
		return;
	}
	if (s->deadline_us != 0 && now_us(s) >= s->deadline_us) {
		if (s->closing) {
			session_end(s);
			return;
		}
		if (s->tls_handshake)
			session_tls_failed(s, "Connection timed out");
		else
			smtps_timeout(s->engine, now_us(s));
		s->deadline_us = 0;
	}
	if (!s->ended)
		smtps_tick(s->engine, now_us(s));
	session_pump(s);
}

static void
on_more(void *ctx)
{
	session_pump(ctx);
}

/* --- the beginning --- */

void
session_accept(struct smtpd *d, struct service *svc, int fd)
{
	struct session *s = calloc(1, sizeof(*s));
	bool stress = d->n_sessions >= d->max_sessions / 10 * 9;
	int on = 1;

	ensure(s != NULL);
	/* Replies of one turn leave in one write; waiting for the client's delayed ACK would cost 40 ms a message. */
	if (!svc->local)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->d = d;
	s->svc = svc;
	s->p = stress ? svc->cs->stress : svc->p;
	s->fd = fd;
	s->log = svc->log;
	s->arena = s->facts_arena = arena_new(SESSION_ARENA);
	list_init(&s->questions);
	stream_init(&s->stream, fd);
	loop_fd_init(&s->watch, d->role->loop, fd, on_fd, s);
	loop_timer_init(&s->timer, d->role->loop, on_timer, s);
	loop_task_init(&s->more, on_more, s);
	s->engine = smtps_new(&svc->engine[stress], now_us(s));
	edit_begin(s);
	list_push_back(&d->sessions, &s->node);
	d->n_sessions++;
	if (!client_identify(s)) {
		session_end(s);
		return;
	}
	/* The greeting waits a turn and looks for input first: who talks before it is no SMTP client. */
	s->read_ready = !svc->wrapper;
	if (!svc->local && strcmp(s->p->smtpd_upstream_proxy_protocol, "haproxy") == 0)
		upstream_begin(s);
	else
		loop_defer(d->role->loop, &s->more);
}
