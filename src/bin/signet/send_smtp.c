/* `signet send` as an SMTP client of the daemon's submission socket; who we are the kernel tells it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fd.h"
#include "conf/params.h"
#include "mail/address.h"
#include "mail/maildrop.h"
#include "signet/send.h"

/* A daemon that does not greet is as good as none: the maildrop has the message sooner. */
#define GREETING_MS 15000       /* greeting and EHLO of a daemon that works come at once; else there is the maildrop */
#define REPLY_MS 300000
#define RCPTS_AT_ONCE 500

struct talk {
	struct send_mail *m;
	int fd;
	struct buf in;
	char reply[1024];               /* last line of the last reply, without its code's dash */
	int wait_ms;
	int code;                       /* 0 = no reply: connection lost */
	bool dsn, eightbit, size, smtputf8;
};

int
send_connect(const struct params *p)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int n = snprintf(to.sun_path, sizeof(to.sun_path), "%s/public/submit", p->queue_directory);
	int fd, r;

	if (n < 0 || (size_t)n >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
	if (r < 0) {
		fd_close(&fd);
		return r;
	}
	return fd;
}

static bool
put(struct talk *t, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		/* MSG_NOSIGNAL: a daemon that goes away is an answer, no signal. */
		ssize_t r = send(t->fd, at, n, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		at += r;
		n -= (size_t)r;
	}
	return true;
}

/* The next line into `line`; false when the connection ends or is silent for too long. */
static bool
next_line(struct talk *t, char *line, size_t size)
{
	for (;;) {
		struct pollfd p = { .fd = t->fd, .events = POLLIN };
		ptrdiff_t lf = span_index(buf_span(&t->in), '\n');
		char chunk[4096];
		ssize_t got;

		if (lf >= 0) {
			snprintf(line, size, "%.*s", (int)lf, t->in.p);
			line[strcspn(line, "\r")] = '\0';
			buf_consume(&t->in, (size_t)lf + 1);
			return true;
		}
		if (poll(&p, 1, t->wait_ms) <= 0)
			return false;
		got = fd_read(t->fd, chunk, sizeof(chunk));
		if (got <= 0 || !buf_add(&t->in, chunk, (size_t)got))
			return false;
	}
}

static void
take_keyword(struct talk *t, const char *line)
{
	struct span s = span_str(line), word;

	span_cut(s, ' ', &word, &s);
	t->dsn |= span_eq_ci(word, SPAN("DSN"));
	t->eightbit |= span_eq_ci(word, SPAN("8BITMIME"));
	t->size |= span_eq_ci(word, SPAN("SIZE"));
	t->smtputf8 |= span_eq_ci(word, SPAN("SMTPUTF8"));
}

/* Read one reply; its code, 0 when there is none. */
static int
reply(struct talk *t)
{
	char line[1024];
	uint64_t code;

	for (;;) {
		t->code = 0;
		if (!next_line(t, line, sizeof(line)) || strlen(line) < 3 || !span_u64(span_of(line, 3), 599, &code))
			return 0;
		t->code = (int)code;
		if (line[3] == '-') {
			take_keyword(t, line + 4);
			continue;
		}
		take_keyword(t, strlen(line) > 4 ? line + 4 : "");
		snprintf(t->reply, sizeof(t->reply), "%s", line);
		return t->code;
	}
}

static int
command(struct talk *t, struct buf *line)
{
	bool sent = put(t, line->p, line->n);

	buf_clear(line);
	return sent ? reply(t) : (t->code = 0);
}

/* An answer that was not the one wanted, as a result. */
static enum send_result
unwanted(const struct talk *t, struct fault *why)
{
	if (t->code == 0)
		fault_set(why, "4.3.0", "the daemon closed the connection");
	else
		fault_set(why, t->code >= 500 ? "5.0.0" : "4.0.0", "%s", t->reply);
	return t->code >= 500 ? SEND_REFUSED : SEND_LATER;
}

static enum send_result
greet(struct talk *t, struct fault *why)
{
	struct buf line;
	enum send_result r = SEND_DONE;

	buf_init(&line, 4096);
	t->wait_ms = GREETING_MS;
	if (reply(t) != 220) {
		r = unwanted(t, why);
	} else {
		buf_addf(&line, "EHLO %s\r\n", t->m->p->myhostname);
		if (command(t, &line) != 250)
			r = unwanted(t, why);
		t->wait_ms = REPLY_MS;
	}
	buf_release(&line);
	return r;
}

static void
add_mail(struct talk *t, struct buf *b)
{
	const struct envelope *e = &t->m->env;

	buf_addf(b, "MAIL FROM:<%.*s>", SPAN_ARG(address_external(e->sender, t->m->arena)));
	if (t->size && t->m->fd >= 0)
		buf_addf(b, " SIZE=%llu", (unsigned long long)t->m->size);
	if (t->eightbit && e->eightbit)
		buf_add_str(b, " BODY=8BITMIME");
	if (t->smtputf8 && e->smtputf8)
		buf_add_str(b, " SMTPUTF8");
	if (t->dsn && e->ret != ENVELOPE_RET_NONE)
		buf_addf(b, " RET=%s", e->ret == ENVELOPE_RET_HDRS ? "HDRS" : "FULL");
	if (t->dsn && e->envid.n > 0)
		buf_addf(b, " ENVID=%.*s", SPAN_ARG(e->envid));
	if (span_eq(e->verp, MAILDROP_VERP_DEFAULT))
		buf_add_str(b, " XVERP");
	else if (e->verp.n > 0)
		buf_addf(b, " XVERP=%.*s", SPAN_ARG(e->verp));
	buf_add_str(b, "\r\n");
}

static void
add_rcpt(struct talk *t, const struct envelope_rcpt *r, struct buf *b)
{
	buf_addf(b, "RCPT TO:<%.*s>", SPAN_ARG(address_external(r->addr, t->m->arena)));
	if (t->dsn && r->notify != 0)
		buf_addf(b, " NOTIFY=%s", envelope_notify_text(r->notify));
	buf_add_str(b, "\r\n");
}

static enum send_result
mail(struct talk *t, struct fault *why)
{
	struct buf line;
	enum send_result r = SEND_DONE;

	buf_init(&line, 8192);
	add_mail(t, &line);
	if (command(t, &line) != 250)
		r = unwanted(t, why);
	buf_release(&line);
	return r;
}

struct tally {
	size_t taken, refused;
};

/* Offer recipients [from, to). LATER as soon as one cannot be taken now: then none is. */
static enum send_result
offer(struct talk *t, size_t from, size_t to, struct tally *n, struct fault *why)
{
	enum send_result r = SEND_DONE;
	struct buf line;

	buf_init(&line, 8192);
	for (size_t i = from; i < to && r == SEND_DONE; i++) {
		const struct envelope_rcpt *rcpt = &t->m->env.rcpts[i];

		add_rcpt(t, rcpt, &line);
		command(t, &line);
		if (t->code / 100 == 2) {
			n->taken++;
		} else if (t->code >= 500) {
			fprintf(stderr, "signet send: %.*s: %s\n", SPAN_ARG(rcpt->addr), t->reply);
			fault_set(why, t->code == 550 ? "5.1.1" : "5.0.0", "%s", t->reply);
			n->refused++;
		} else {
			r = unwanted(t, why);
		}
	}
	buf_release(&line);
	return r;
}

/* The content with dots doubled (RFC 5321 section 4.5.2). */
static bool
put_content(struct talk *t)
{
	char chunk[65536];
	bool line_start = true;
	uint64_t at = 0;
	struct buf out;
	bool fine = true;

	buf_init(&out, 2 * sizeof(chunk) + 16);
	while (fine && at < t->m->size) {
		size_t n = t->m->size - at < sizeof(chunk) ? (size_t)(t->m->size - at) : sizeof(chunk);

		fine = fd_pread_all(t->m->fd, chunk, n, at) == 0;
		for (size_t i = 0; fine && i < n; i++) {
			if (line_start && chunk[i] == '.')
				buf_addc(&out, '.');
			buf_addc(&out, chunk[i]);
			line_start = chunk[i] == '\n';
		}
		at += n;
		fine = fine && put(t, out.p, out.n);
		buf_clear(&out);
	}
	buf_release(&out);
	if (fine && !line_start)
		fine = put(t, "\r\n", 2);
	return fine && put(t, ".\r\n", 3);
}

static enum send_result
data(struct talk *t, struct fault *why)
{
	if (!put(t, "DATA\r\n", 6) || reply(t) != 354)
		return unwanted(t, why);
	if (!put_content(t) || reply(t) != 250)
		return unwanted(t, why);
	return SEND_DONE;
}

static bool
open_talk(struct talk *t, struct fault *why)
{
	t->fd = send_connect(t->m->p);
	if (t->fd < 0)
		return fault_set(why, "4.3.0", "cannot reach the daemon at %s/public/submit: %s",
		    t->m->p->queue_directory, fd_error(t->fd));
	buf_init(&t->in, 65536);
	return true;
}

static void
close_talk(struct talk *t)
{
	if (t->code != 0 && put(t, "QUIT\r\n", 6))
		reply(t);
	buf_release(&t->in);
	fd_close(&t->fd);
}

/*
 * One transaction for recipients [from, to). With the first that cannot be taken now nothing of it is
 * sent, so that the maildrop can have the whole of it.
 */
static enum send_result
transaction(struct talk *t, size_t from, size_t to, struct tally *n, struct fault *why)
{
	size_t before = n->taken;
	enum send_result r = mail(t, why);

	if (r == SEND_DONE)
		r = offer(t, from, to, n, why);
	if (r == SEND_DONE && n->taken > before)
		r = data(t, why);
	if (r != SEND_DONE)
		n->taken = before;
	return r;
}

/* What was sent is taken off the envelope, so that the maildrop gets the rest. */
static void
drop_sent(struct envelope *e, size_t n)
{
	memmove(e->rcpts, e->rcpts + n, (e->rcpt_count - n) * sizeof(*e->rcpts));
	e->rcpt_count -= n;
}

enum send_result
send_smtp(struct send_mail *m, struct fault *why)
{
	struct talk t = { .m = m };
	struct tally n = { 0 };
	enum send_result r;
	size_t at = 0;

	if (!open_talk(&t, why))
		return SEND_LATER;
	r = greet(&t, why);
	while (r == SEND_DONE && at < m->env.rcpt_count) {
		size_t to = at + RCPTS_AT_ONCE < m->env.rcpt_count ? at + RCPTS_AT_ONCE : m->env.rcpt_count;

		r = transaction(&t, at, to, &n, why);
		if (r == SEND_DONE)
			at = to;
	}
	close_talk(&t);
	drop_sent(&m->env, at);
	return r == SEND_DONE && n.refused > 0 ? SEND_REFUSED : r;
}

enum send_result
send_verify(struct send_mail *m, struct fault *why)
{
	struct talk t = { .m = m };
	enum send_result r;
	bool refused = false;
	struct buf line;

	if (!open_talk(&t, why))
		return SEND_LATER;
	buf_init(&line, 8192);
	r = greet(&t, why);
	if (r == SEND_DONE)
		r = mail(&t, why);
	for (size_t i = 0; r == SEND_DONE && i < m->env.rcpt_count; i++) {
		add_rcpt(&t, &m->env.rcpts[i], &line);
		if (command(&t, &line) == 0)
			r = unwanted(&t, why);
		else
			printf("%.*s: %s: %s\n", SPAN_ARG(m->env.rcpts[i].addr),
			    t.code / 100 == 2 ? "deliverable" : t.code >= 500 ? "undeliverable" : "not known now", t.reply);
		refused |= t.code / 100 != 2;
	}
	buf_release(&line);
	close_talk(&t);
	if (r == SEND_DONE && refused)
		fault_set(why, "5.1.1", "not all recipients are deliverable");
	return r == SEND_DONE && refused ? SEND_REFUSED : r;
}

/* ---- -bs */

/* What is there from one side to the other; false at its end. */
static bool
pass(int from, int to)
{
	char chunk[65536];
	ssize_t got = fd_read(from, chunk, sizeof(chunk));

	return got > 0 && fd_write_all(to, chunk, (size_t)got) == 0;
}

int
send_session(const struct params *p)
{
	int fd = send_connect(p);
	bool typing = true, greeted = false;

	if (fd < 0) {
		printf("421 4.3.0 the mail system is not running\r\n");
		return EX_TEMPFAIL;
	}
	/* A script gives all it has at once, and ends: before the greeting the daemon would take that for a client that left. */
	for (;;) {
		struct pollfd both[2] = {
			{ .fd = fd, .events = POLLIN },
			{ .fd = typing && greeted ? STDIN_FILENO : -1, .events = POLLIN },
		};

		if (poll(both, 2, -1) < 0)
			continue;
		if (both[0].revents != 0 && !pass(fd, STDOUT_FILENO))
			break;
		greeted |= both[0].revents != 0;
		if (both[1].revents != 0 && !pass(STDIN_FILENO, fd)) {
			typing = false;
			shutdown(fd, SHUT_WR);
		}
	}
	fd_close(&fd);
	return EX_OK;
}
