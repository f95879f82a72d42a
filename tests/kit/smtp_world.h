/*
 * A small world around the SMTP client role, in one loop: a queue that sends requests, a resolver that
 * answers from a table, and SMTP servers on 127.0.0.0/8 that follow rules (and speak TLS).
 */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "kit/certs.h"
#include "kit/kit.h"
#include "role/roles.h"
#include "role/smtpc/smtpc.h"
#include "tls/server_ctx.h"

/* ---- servers: rules by address and command prefix; the first that fits */

struct world_rule {
	const char *addr;               /* "127.0.0.2", NULL = any */
	const char *command;            /* prefix, "" = greeting, "." = end of data */
	const char *reply;              /* "!" closes; greeting "TLS": TLS first */
};

struct world_dns {
	const char *name;
	uint16_t type;
	const char *data;               /* "10 mx.example, 20 mx2.example" or addresses; "" = nodata, "!" = SERVFAIL, "#" = bogus, "?" = NXDOMAIN */
};

struct world;

struct world_client {
	struct list node;
	struct world *w;
	struct loop_fd watch;
	int fd;
	struct stream stream;
	bool shaking, greeted, data;
	char addr[64];
	struct buf in, out;
	size_t bdat_left;
};

struct world {
	struct loop *loop;
	struct role role;
	struct conf *conf;
	struct ipc_hub *queue, *smtpc;
	struct ipc_peer *to_smtpc;
	struct list clients;
	int listening;
	struct loop_fd accept;
	uint16_t port;
	unsigned connections, closed;
	const struct world_rule *rules;
	const struct world_dns *dns;
	struct tls_server_ctx *tls;
	unsigned fail_handshakes, stall_handshakes;     /* the next ones: closed, never answered */
	struct buf heard;               /* commands of every client, one line each */
	struct buf content;             /* of the last message */
	unsigned bare_lf;               /* lines that did not end in CRLF */
	bool answered;
	unsigned n_answers;
	struct arena *arena;
	struct ipc_deliver_done done;   /* the last answer, copied */
	struct list asked;
	bool hold_txt;                  /* TXT questions wait for world_answer_txt() */
};

static const char *
world_reply(const struct world_client *c, const char *command)
{
	static const struct world_rule usual[] = {
		{ NULL, "EHLO", "250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n" },
		{ NULL, "LHLO", "250-mx.example\r\n250 PIPELINING\r\n" },
		{ NULL, "STARTTLS", "220 2.0.0 Ready\r\n" },
		{ NULL, "MAIL", "250 2.1.0 Ok\r\n" }, { NULL, "RCPT", "250 2.1.5 Ok\r\n" }, { NULL, "DATA", "354 go\r\n" },
		{ NULL, ".", "250 2.0.0 Ok: queued as SINK\r\n" }, { NULL, "RSET", "250 2.0.0 Ok\r\n" },
		{ NULL, "QUIT", "221 2.0.0 Bye\r\n" }, { NULL, NULL, "500 5.5.2 what?\r\n" },
	};

	for (const struct world_rule *r = c->w->rules; r != NULL && r->command != NULL; r++)
		if ((r->addr == NULL || strcmp(r->addr, c->addr) == 0) && (command[0] == '\0' ? r->command[0] == '\0' :
		    r->command[0] != '\0' && strncmp(command, r->command, strlen(r->command)) == 0))
			return r->reply;
	if (command[0] == '\0')
		return "220 mx.example ESMTP\r\n";
	for (const struct world_rule *r = usual;; r++)
		if (r->command == NULL || strncmp(command, r->command, strlen(r->command)) == 0)
			return r->reply;
}

static void
world_client_free(struct world_client *c)
{
	c->w->closed++;
	loop_fd_release(&c->watch);
	stream_release(&c->stream);
	fd_close(&c->fd);
	buf_release(&c->in);
	buf_release(&c->out);
	list_remove(&c->node);
	free(c);
}

/* One line (or end of data). False: the server closes. */
static bool
world_line(struct world_client *c, struct span line)
{
	struct world *w = c->w;
	char text[600];
	const char *reply;

	if (c->data && !span_eq(line, SPAN("."))) {
		buf_add_span(&w->content, line);
		buf_add_str(&w->content, "\n");
		return true;
	}
	snprintf(text, sizeof(text), "%.*s", SPAN_ARG(line));
	buf_addf(&w->heard, "%s\n", text);
	reply = world_reply(c, text);
	if (reply[0] == '!')
		return false;
	buf_add_str(&c->out, reply);
	c->data = strcmp(text, "DATA") == 0 && reply[0] == '3';
	if (c->data)
		buf_clear(&w->content);
	if (strcmp(text, "STARTTLS") == 0 && reply[0] == '2')
		c->shaking = true;
	return true;
}

/* False when the client is gone. */
static bool
world_flush(struct world_client *c)
{
	size_t sent;

	while (c->out.n > 0) {
		struct iovec v = { c->out.p, c->out.n };

		if (stream_writev(&c->stream, &v, 1, &sent) != STREAM_DONE)
			return true;
		buf_consume(&c->out, sent);
	}
	if (c->shaking && !stream_is_tls(&c->stream)) {
		struct fault why;

		buf_clear(&c->in);
		if (c->w->stall_handshakes > 0) {
			c->w->stall_handshakes--;
			loop_fd_want(&c->watch, 0);
			return true;
		}
		if (c->w->fail_handshakes > 0) {
			c->w->fail_handshakes--;
			world_client_free(c);
			return false;
		}
		if (c->w->tls == NULL || !stream_start_server(&c->stream, c->w->tls, false, &why)) {
			world_client_free(c);
			return false;
		}
	}
	return true;
}

static bool
world_lines(struct world_client *c)
{
	ptrdiff_t lf;

	while (!c->shaking && (lf = span_index(buf_span(&c->in), '\n')) >= 0) {
		struct span line = span_slice(buf_span(&c->in), 0, (size_t)lf);
		char copy[1200];

		if (span_ends(line, SPAN("\r")))
			line.n--;
		else
			c->w->bare_lf++;
		snprintf(copy, sizeof(copy), "%.*s", SPAN_ARG(line));
		buf_consume(&c->in, (size_t)lf + 1);
		if (!world_line(c, span_str(copy))) {
			world_client_free(c);
			return false;
		}
	}
	return world_flush(c);
}

static void
world_client_ready(void *ctx, unsigned ready)
{
	struct world_client *c = ctx;
	char bytes[8192];
	size_t got;

	(void)ready;
	if (c->shaking && stream_is_tls(&c->stream)) {
		enum stream_result r = stream_handshake(&c->stream);

		if (r == STREAM_EOF || r == STREAM_ERROR) {
			world_client_free(c);
			return;
		}
		if (r != STREAM_DONE)
			return;
		c->shaking = false;
		if (!c->greeted) {
			c->greeted = true;
			buf_add_str(&c->out, "220 mx.example ESMTP\r\n");
			(void)world_flush(c);
		}
	}
	for (;;) {
		enum stream_result r = stream_read(&c->stream, bytes, sizeof(bytes), &got);

		if (r == STREAM_EOF || r == STREAM_ERROR) {
			world_client_free(c);
			return;
		}
		if (r != STREAM_DONE)
			return;
		buf_add(&c->in, bytes, got);
		if (!world_lines(c))
			return;
		if (c->shaking)
			return;
	}
}

static void
world_accept(void *ctx, unsigned ready)
{
	struct world *w = ctx;
	struct world_client *c = calloc(1, sizeof(*c));
	struct sockaddr_in local;
	socklen_t n = sizeof(local);
	const char *greeting;

	(void)ready;
	c->w = w;
	c->fd = accept4(w->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(c->fd >= 0);
	w->connections++;
	getsockname(c->fd, (struct sockaddr *)&local, &n);
	inet_ntop(AF_INET, &local.sin_addr, c->addr, sizeof(c->addr));
	buf_init(&c->in, 1 << 20);
	buf_init(&c->out, 1 << 20);
	stream_init(&c->stream, c->fd);
	list_push_back(&w->clients, &c->node);
	loop_fd_init(&c->watch, w->loop, c->fd, world_client_ready, c);
	loop_fd_want(&c->watch, LOOP_READ);
	greeting = world_reply(c, "");
	if (greeting[0] == '!') {
		world_client_free(c);
		return;
	}
	if (strcmp(greeting, "TLS") == 0) {
		c->shaking = true;
		(void)world_flush(c);
		return;
	}
	c->greeted = true;
	buf_add_str(&c->out, greeting);
	(void)world_flush(c);
}

static void
world_listen(struct world *w)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);

	w->listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(w->listening >= 0);
	assert_int_equal(bind(w->listening, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(w->listening, 1000), 0);
	getsockname(w->listening, (struct sockaddr *)&a, &n);
	w->port = ntohs(a.sin_port);
	loop_fd_init(&w->accept, w->loop, w->listening, world_accept, w);
	loop_fd_want(&w->accept, LOOP_READ);
}

/* ---- the resolver */

struct world_ask {
	struct loop_task task;
	struct list node;
	struct world *w;
	uint64_t id;
	char name[256];
	uint16_t type;
};

static void
world_add_record(struct arena *a, struct dns_answer *d, struct span word)
{
	struct dns_record *r = &d->records[d->count++];
	uint8_t ip[16];
	size_t n;
	struct span pref, rest;
	uint64_t number = 0;

	*r = (struct dns_record){ .type = d->type };
	word = span_trim(word);
	if (d->type == DNS_TYPE_MX) {
		span_cut(word, ' ', &pref, &rest);
		assert_true(span_u64(pref, 65535, &number));
		r->pref = (uint16_t)number;
		r->data = arena_dup(a, rest);
		return;
	}
	if (d->type == DNS_TYPE_TXT) {
		r->data = arena_dup(a, word);
		return;
	}
	assert_true(dns_address_parse(word, ip, &n));
	r->data = arena_dup(a, span_of(ip, n));
}

static void
world_answer(void *ctx)
{
	struct world_ask *q = ctx;
	struct arena *a = asks_answer_arena(q->w->role.asks, q->id);
	struct dns_answer *d;

	list_remove(&q->node);
	if (a != NULL) {
		const char *data = "?";
		struct span rest, word;

		for (const struct world_dns *r = q->w->dns; r != NULL && r->name != NULL; r++)
			if (strcmp(r->name, q->name) == 0 && (r->type == q->type || data[0] == '?'))
				data = r->type == q->type ? r->data : "";
		d = ARENA_NEW(a, struct dns_answer);
		*d = (struct dns_answer){ .name = arena_dup(a, span_str(q->name)), .type = q->type, .status = DNS_INSECURE };
		d->canon = d->name;
		d->records = ARENA_ARRAY(a, struct dns_record, 128);
		rest = span_str(data);
		if (data[0] == '!')
			d->status = DNS_FAILED;
		else if (data[0] == '#')
			d->status = DNS_BOGUS;
		else if (data[0] == '?')
			d->nxdomain = true;
		else
			while (span_token(&rest, ",", &word))
				world_add_record(a, d, word);
		d->nodata = data[0] == '\0';
		asks_answer_dns(q->w->role.asks, q->id, d);
	}
	free(q);
}

static bool
world_ask_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	struct world *w = ctx;
	struct world_ask *q = calloc(1, sizeof(*q));

	q->w = w;
	q->id = id;
	q->type = type;
	snprintf(q->name, sizeof(q->name), "%.*s", SPAN_ARG(name));
	list_push_back(&w->asked, &q->node);
	loop_task_init(&q->task, world_answer, q);
	if (!w->hold_txt || type != DNS_TYPE_TXT)
		loop_defer(w->loop, &q->task);
	return true;
}

static inline void
world_answer_txt(struct world *w)
{
	w->hold_txt = false;
	LIST_EACH(n, &w->asked) {
		struct world_ask *q = LIST_ITEM(n, struct world_ask, node);

		if (q->type == DNS_TYPE_TXT)
			loop_defer(w->loop, &q->task);
	}
}

static const struct asks_ops world_asks = { NULL, world_ask_dns };

/* ---- the world */

static void
world_open(struct world *w, const char *main_cf, const char *master_cf)
{
	struct ipc_hub_ops q = { 0 }, s = { .on = &smtpc_role.on, .ctx = &w->role };
	struct conf_report report;
	char text[8192];
	int fds[2];
	const char *port = strstr(main_cf, "%u");       /* of the servers */
	struct buf findings;

	*w = (struct world){ .loop = loop_new(), .arena = arena_new(64 << 20) };
	list_init(&w->clients);
	list_init(&w->asked);
	buf_init(&w->heard, 1 << 20);
	buf_init(&w->content, 8 << 20);
	world_listen(w);
	conf_report_init(&report);
	snprintf(text, sizeof(text), "myhostname = client.example\ninet_protocols = ipv4\ninet_interfaces = 127.0.0.1\nproxy_interfaces = 192.0.2.200\n"
	    "smtp_randomize_addresses = no\n%.*s", port != NULL ? (int)(port - main_cf) : (int)strlen(main_cf), main_cf);
	if (port != NULL)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u%s", w->port, port + 2);
	if (!conf_parse(span_str(text), span_str(master_cf != NULL ? master_cf :
	    "smtp unix - - n - - smtp\nlmtp unix - - n - - lmtp\n"), &w->conf, &report)) {
		buf_init(&findings, 65536);
		conf_report_print(&report, CONF_WARNING, &findings);
		fail_msg("%s", buf_cstr(&findings));
	}
	conf_report_release(&report);
	w->queue = ipc_hub_new(w->loop, IPC_ROLE_QUEUE, &q);
	w->smtpc = ipc_hub_new(w->loop, IPC_ROLE_SMTPC, &s);
	assert_int_equal(fd_socketpair(SOCK_STREAM, fds), 0);
	w->to_smtpc = ipc_peer_add(w->queue, IPC_ROLE_SMTPC, 0, fds[0]);
	ipc_peer_add(w->smtpc, IPC_ROLE_QUEUE, 0, fds[1]);
	w->role = (struct role){ .spec = &smtpc_role, .loop = w->loop, .hub = w->smtpc, .conf = w->conf, .workers = 1,
		.maps_env = { .data_directory = "/nonexistent", .default_database_type = "hash", .alias_tables = "" },
		.asks = asks_link_new(w->loop, &world_asks, w, 20000) };
	smtpc_state_open(&w->role);
}

static void
world_close(struct world *w)
{
	smtpc_state_free(&w->role);
	while (!list_empty(&w->clients))
		world_client_free(LIST_ITEM(w->clients.next, struct world_client, node));
	loop_fd_release(&w->accept);
	fd_close(&w->listening);
	LIST_EACH(n, &w->asked) {
		struct world_ask *q = LIST_ITEM(n, struct world_ask, node);

		loop_task_cancel(&q->task);
		list_remove(&q->node);
		free(q);
	}
	ipc_hub_free(&w->queue);
	ipc_hub_free(&w->smtpc);
	asks_link_free(&w->role.asks);
	conf_unref(&w->conf);
	if (w->tls != NULL)
		tls_server_ctx_unref(&w->tls);
	buf_release(&w->heard);
	buf_release(&w->content);
	arena_free(&w->arena);
	loop_free(&w->loop);
}

static void
world_done(void *ctx, enum ipc_result result, struct ipc_deliver_done *m)
{
	struct world *w = ctx;
	struct buf copy;

	assert_int_equal(result, IPC_OK);
	buf_init(&copy, 8 << 20);
	ipc_encode_deliver_done(&copy, m);
	assert_true(ipc_decode_deliver_done(arena_dup(w->arena, buf_span(&copy)), w->arena, &w->done));
	buf_release(&copy);
	w->answered = true;
	w->n_answers++;
}

struct world_mail {
	const char *service;            /* NULL = smtp */
	const char *nexthop;            /* with %u for the port */
	const char *sender;             /* NULL = a@client.example */
	const char *rcpts;              /* NULL = b@example.org; blank separated */
	const char *content;            /* NULL = a small message */
	unsigned notify;
	int64_t waited_s;               /* age when it became active */
	bool eightbit, smtputf8, backlog, probe, tls_optional;
	int file;                       /* instead of content, when > 0 (taken) */
	uint64_t size;
};

static void
world_send(struct world *w, const struct world_mail *mail)
{
	static const char small[] = "Subject: hi\r\n\r\nhello\r\n";
	struct envelope env = { .sender = span_str(mail->sender != NULL ? mail->sender : "a@client.example"),
		.eightbit = mail->eightbit, .smtputf8 = mail->smtputf8, .tls_optional = mail->tls_optional };
	struct ipc_deliver_start m = { .qid = SPAN("QID1"), .service = span_str(mail->service != NULL ? mail->service : "smtp") };
	struct ipc_rcpt rcpts[64];
	struct span rest = span_str(mail->rcpts != NULL ? mail->rcpts : "b@example.org"), one;
	struct buf text;
	char nexthop[256];

	snprintf(nexthop, sizeof(nexthop), "%s", mail->nexthop);
	char *port = strstr(nexthop, "%u");
	if (port != NULL)
		snprintf(port, sizeof(nexthop) - (size_t)(port - nexthop), "%u%s", w->port, mail->nexthop + (port - nexthop) + 2);
	buf_init(&text, 65536);
	assert_true(envelope_write(&env, &text));
	m.envelope = buf_span(&text);
	m.nexthop = span_str(nexthop);
	m.active_us = clock_wall_us();
	m.arrival_us = m.active_us - mail->waited_s * US_PER_S;
	m.backlog = mail->backlog;
	m.probe = mail->probe;
	m.file = mail->file > 0 ? mail->file : -1;
	m.inline_content = mail->file <= 0;
	m.content = span_str(m.inline_content ? mail->content != NULL ? mail->content : small : "");
	m.size = m.inline_content ? m.content.n : mail->size;
	for (; span_token(&rest, " ", &one); m.n_rcpts++)
		rcpts[m.n_rcpts] = (struct ipc_rcpt){ .index = (uint32_t)m.n_rcpts, .addr = one, .notify = (uint8_t)mail->notify };
	m.rcpts = rcpts;
	w->answered = false;
	assert_true(ipc_ask_deliver_start(w->to_smtpc, &m, 60000, world_done, w) != 0);
	ipc_hub_flush(w->queue);
	buf_release(&text);
	if (mail->file > 0)
		close(mail->file);
}

static void
world_wait(struct world *w, unsigned answers)
{
	int64_t end = clock_mono_us() + 30 * US_PER_S;

	while (w->n_answers < answers && clock_mono_us() < end)
		loop_turn(w->loop, 100);
	if (w->n_answers < answers)
		fail_msg("%u answers of %u in 30 s, %u connections, %u closed; heard:\n%s", w->n_answers, answers, w->connections, w->closed, buf_cstr(&w->heard));
}

/* Send and wait; then the answer is in w->done. */
static void
world_mail(struct world *w, struct world_mail mail)
{
	unsigned want = w->n_answers + 1;

	world_send(w, &mail);
	world_wait(w, want);
}

/* "0 2.0.0 text" of recipient i. */
static void
world_outcome(const struct world *w, size_t i, char *out, size_t size)
{
	const struct ipc_outcome *o = &w->done.outcomes[i];

	assert_true(i < w->done.n_outcomes);
	snprintf(out, size, "%u %.*s %.*s", o->status, SPAN_ARG(o->dsn), SPAN_ARG(o->text));
}

static void
assert_outcome(const struct world *w, size_t i, const char *want)
{
	char got[2048];

	world_outcome(w, i, got, sizeof(got));
	if (strstr(got, want) == NULL)
		fail_msg("outcome is \"%s\", not \"%s\"; heard:\n%.*s", got, want, SPAN_ARG(buf_span(&w->heard)));
}
