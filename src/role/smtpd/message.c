/*
 * One transaction: the envelope as recipients are accepted, content through intake into
 * memory or a file of the queue's, and the hand-over: 250 only when the queue says it
 * is durable.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/panic.h"
#include "mail/address.h"
#include "role/smtpd/smtpd.h"
#include "smtp/transcript.h"

#define INLINE_MAX 65536u       /* larger content goes to a file (messages.tab) */
#define BODY_MAX (64u << 20)    /* what one call of intake may produce, at most */
#define PIECE 16384u
#define MESSAGE_ARENA (48u << 20)
#define RCPTS_ROOM (MESSAGE_ARENA / 2)  /* for recipients, whatever smtpd_recipient_limit says */
#define ENVELOPE_MAX 3000000u
#define TMP_MS 60000
#define SUBMIT_MS 300000
#define MBOX_LEAK 6u            /* strlen(">From ") */

enum stage {
	STAGE_ENVELOPE,         /* sender and recipients */
	STAGE_HEADERS,          /* our own headers go first */
	STAGE_CONTENT,
	STAGE_FINISH,           /* content is complete: intake decides */
	STAGE_EXPAND,           /* aliases */
	STAGE_SUBMIT,           /* the queue has it */
	STAGE_DONE,
};

struct message {
	struct session *s;
	struct arena *arena, *expanded;
	struct log log, cleanup_log;
	struct envelope env;
	struct smtps_mail mail;
	struct intake *intake;
	enum stage stage;
	struct span headers[64];        /* PREPENDed ones, then Received */
	size_t n_headers, next_header;
	struct buf start;               /* first bytes, until it is known whether they are an mbox line */
	bool started;
	struct buf body;                /* produced, not in the file */
	uint64_t size;                  /* of all that was produced */
	int file;
	uint64_t file_at;
	bool tmp_asked, failed, discard, hold;
	struct span filter, redirect;
	uint64_t ipc_id;
	uint32_t eom_id;
	struct envelope out;
};

static const char write_error[] = "Error: queue file write error";

/* --- life --- */

void
message_begin(struct session *s, const struct smtps_mail *mail)
{
	struct message *m;
	int64_t now = clock_wall_us();

	if (s->msg != NULL)
		return;                 /* asked again */
	/* Facts are looked up anew for each message: tables change, failures pass, and a long session stays small. */
	if (s->asks != NULL && asks_waiting(s->asks) == 0)
		asks_clear(s->asks);
	m = calloc(1, sizeof(*m));
	ensure(m != NULL);
	m->s = s;
	m->arena = arena_new(MESSAGE_ARENA);
	m->file = -1;
	m->log.tag = s->svc->log.tag;
	m->cleanup_log.tag = s->svc->cleanup_tag;
	buf_init(&m->body, BODY_MAX);
	buf_init(&m->start, 64);
	m->mail = *mail;
	m->mail.from = m->env.sender = arena_dup(m->arena, mail->from);
	m->env.envid = arena_dup(m->arena, mail->envid);
	m->env.verp = arena_dup(m->arena, mail->verp);
	m->env.ret = (enum envelope_ret)mail->ret;
	m->env.smtputf8 = mail->smtputf8;
	m->env.sasl_method = arena_dup(m->arena, s->facts.login_method);
	m->env.sasl_username = arena_dup(m->arena, s->facts.login);
	m->env.sasl_sender = session_auth_sender(s, mail, m->arena);
	m->env.begun_us = now;
	s->msg = m;
	for (const struct acl_action *act = s->standing; act != NULL; act = act->next)
		message_act(m, act);
}

static void
message_free(struct session *s)
{
	struct message *m = s->msg;

	s->msg = NULL;
	if (m->ipc_id != 0)
		ipc_forget(s->d->role->hub, m->ipc_id);
	intake_free(&m->intake);
	fd_close(&m->file);
	buf_release(&m->body);
	buf_release(&m->start);
	arena_free(&m->expanded);
	arena_free(&m->arena);
	free(m);
}

static struct ipc_peer *
queue_of(struct session *s)
{
	return ipc_peer_any(s->d->role->hub, IPC_ROLE_QUEUE);
}

static void
drop_tmp(struct message *m)
{
	struct ipc_queue_tmp_drop drop = { .qid = span_str(m->log.qid) };
	struct ipc_peer *queue = queue_of(m->s);

	if (m->tmp_asked && queue != NULL)
		ipc_send_queue_tmp_drop(queue, &drop);
}

void
message_cancel(struct session *s)
{
	struct message *m = s->msg;

	if (m == NULL)
		return;
	/* What the queue already has may be taken: then it is delivered, whatever became of the client. */
	if (m->stage != STAGE_SUBMIT) {
		drop_tmp(m);
		if (m->log.qid[0] != '\0')
			log_smtpd_canceled(&m->cleanup_log);
	}
	message_free(s);
}

const char *
message_qid(const struct message *m)
{
	return m->log.qid;
}

bool
message_discarding(const struct message *m)
{
	return m->discard;
}

const struct smtps_mail *
message_mail(const struct message *m)
{
	return &m->mail;
}

size_t
message_rcpts(const struct message *m, struct span *only_r)
{
	*only_r = m->env.rcpt_count == 1 ? m->env.rcpts[0].addr : SPAN("");
	return m->env.rcpt_count;
}

bool
message_busy(const struct message *m)
{
	return m->ipc_id != 0 || m->stage >= STAGE_FINISH || m->stage == STAGE_HEADERS;
}

/* --- envelope --- */

/* Slot of the worker, generation, and a count of its own: no two makers share one (mail/qid.h). */
static uint64_t
next_tag(struct smtpd *d)
{
	struct role *r = d->role;

	return ((uint64_t)(r->generation & 3) * 64 + (r->index & 63)) * 4096 + (d->qid_count++ & 4095);
}

/* The first recipient was accepted: from here on the message has a name. */
static void
name_message(struct message *m)
{
	struct session *s = m->s;

	qid_make(clock_wall_us(), next_tag(s->d), m->log.qid);
	memcpy(m->cleanup_log.qid, m->log.qid, sizeof(m->log.qid));
	if (s->svc->local) {
		struct log pickup = m->log;

		pickup.tag = s->svc->pickup_tag;
		log_smtpd_pickup(&pickup, (unsigned long)s->uid, address_external(m->env.sender, m->arena));
	} else {
		struct log_smtpd_client who = { .namaddr = s->facts.namaddr, .sasl_method = s->facts.login_method,
			.sasl_username = s->facts.login, .sasl_sender = m->env.sasl_sender };

		if (s->xforward != NULL) {
			who.orig_queue_id = s->xforward->x.value[SMTPS_X_IDENT];
			who.orig_client = xforward_client(s, m->arena);
		}
		log_smtpd_client(&m->log, &who);
	}
}

bool
message_add_rcpt(struct message *m, const struct smtps_rcpt *r)
{
	struct envelope_rcpt rcpt = { .addr = arena_dup(m->arena, r->to), .orcpt = arena_dup(m->arena, r->orcpt),
		.notify = r->notify };

	rcpt.orig = rcpt.addr;
	if (arena_bytes(m->arena) > RCPTS_ROOM || !envelope_add_rcpt(&m->env, m->arena, &rcpt))
		return false;
	if (m->log.qid[0] == '\0')
		name_message(m);
	return true;
}

static void
prepend(struct message *m, struct span header)
{
	if (m->n_headers + 1 < sizeof(m->headers) / sizeof(m->headers[0]))
		m->headers[m->n_headers++] = arena_printf(m->arena, "%.*s\r\n", SPAN_ARG(header));
	else
		log_warning(&m->log, "too many PREPEND actions: one is left out");
}

void
message_act(struct message *m, const struct acl_action *act)
{
	struct envelope_rcpt bcc = { .notify = ENVELOPE_NOTIFY_NEVER, .flags = ENVELOPE_RCPT_BCC };

	switch (act->act) {
	case ACL_ACT_HOLD:
		m->hold = true;
		break;
	case ACL_ACT_DISCARD:
		m->discard = true;
		break;
	case ACL_ACT_FILTER:
		m->filter = arena_dup(m->arena, act->arg);
		break;
	case ACL_ACT_REDIRECT:
		m->redirect = arena_dup(m->arena, act->arg);
		break;
	case ACL_ACT_BCC:
		bcc.addr = bcc.orig = address_internal(act->arg, m->arena);
		envelope_add_rcpt(&m->env, m->arena, &bcc);
		break;
	case ACL_ACT_PREPEND:
		prepend(m, act->arg);
		break;
	case ACL_ACT_WARN:
	case ACL_ACT_INFO:
	case ACL_ACT_REJECT_WARNING:
	case ACL_ACT_PERMIT:
	case ACL_ACT_LOG_WARNING:
		break;
	}
}

/* --- our own headers --- */

static struct span
signature_detail(const struct log_tls_signature *s, struct arena *a)
{
	struct span text;
	struct buf out;

	buf_init(&out, 256);
	log_tls_signature_size(&out, s);
	text = arena_dup(a, buf_span(&out));
	buf_release(&out);
	return text;
}

static void
received_tls(const struct session *s, struct received_tls *t)
{
	const struct log_tls *w = &s->tls->wire;
	const struct log_tls_signature *server = &w->server, *client = &w->client;

	*t = (struct received_tls){ .protocol = w->protocol, .cipher = w->cipher, .used_bits = (unsigned)w->bits_used,
		.alg_bits = (unsigned)w->bits_alg, .key_exchange = w->group, .server_signature = server->alg,
		.server_digest = server->digest, .client_signature = client->alg, .client_digest = client->digest,
		.peer_asked = s->tls->asked, .peer_given = s->tls->peer_cert, .peer_verified = s->tls->peer_trusted,
		.peer_cn = s->tls->peer_cn, .issuer_cn = s->tls->issuer_cn };
	t->server_signature_detail = signature_detail(server, s->msg->arena);
	t->client_signature_detail = signature_detail(client, s->msg->arena);
	if (s->tls->peer_rpk) {
		t->rpk_digest_name = span_str(s->p->smtpd_tls_fingerprint_digest);
		t->rpk_digest = s->tls->pkey_fp;
	}
}

static void
received_header(struct message *m)
{
	const struct session *s = m->s;
	struct received_tls tls;
	struct received r = { .by_host = span_str(s->p->myhostname), .mail_name = span_str(s->p->mail_name),
		.qid = span_str(m->log.qid), .when_us = clock_wall_us(), .local = s->svc->local, .userid = (unsigned long)s->uid,
		.hide_client = s->p->smtpd_hide_client_session && !s->svc->local, .helo = smtps_helo(s->engine),
		.client_name = s->facts.client_name, .client_addr = s->facts.addr,
		.with = smtps_esmtp(s->engine) ? RECEIVED_ESMTP : RECEIVED_SMTP, .smtputf8 = m->mail.smtputf8,
		.authenticated = s->facts.login.n > 0, .tls_used = s->tls != NULL };
	struct buf out;

	if (m->env.rcpt_count == 1)
		r.only_rcpt = m->env.rcpts[0].addr;
	if (s->p->smtpd_sasl_authenticated_header)
		r.login = s->facts.login;
	if (r.helo.n == 0)
		r.helo = s->facts.client_name;
	if (s->tls != NULL && s->p->smtpd_tls_received_header) {
		received_tls(s, &tls);
		r.tls = &tls;
	}
	if (s->tls != NULL && r.authenticated) {        /* a submission */
		r.tls_suite = s->tls->suite;
		r.tls_group = s->tls->group;
	}
	buf_init(&out, 16384);
	received_write(&r, m->arena, &out);
	m->headers[m->n_headers++] = arena_dup(m->arena, buf_span(&out));
	buf_release(&out);
}

/* --- content --- */

static void
write_failed(struct message *m, const char *why)
{
	if (!m->failed)
		log_error(&m->log, "cannot store content: %s", why);
	m->failed = true;
	buf_clear(&m->body);
}

static void
sink(void *ctx, struct span bytes)
{
	struct message *m = ctx;

	m->size += bytes.n;
	if (!m->failed && !buf_add_span(&m->body, bytes))
		write_failed(m, "too much at once");
}

/* Mail of our own users comes by the local service, as from Postfix's sendmail command. */
static bool
autodetects(const char *classes, bool local)
{
	struct span own = local ? SPAN("sendmail") : SPAN("smtpd");

	return intake_list_has(classes, "all", 3) || intake_list_has(classes, own.p, own.n);
}

/* Who the message came from first, as the client says: for logs and the next hop, never for access. */
static void
forwarded_origin(struct message *m)
{
	const struct xforward *xf = m->s->xforward;
	struct envelope *e = &m->env;

	e->client_name = arena_dup(m->arena, xforward_value(xf, SMTPS_X_NAME));
	e->client_reverse = e->client_name;
	e->client_addr = arena_dup(m->arena, xforward_value(xf, SMTPS_X_ADDR));
	e->client_port = arena_dup(m->arena, xf->x.value[SMTPS_X_PORT]);
	e->client_helo = arena_dup(m->arena, xf->x.value[SMTPS_X_HELO]);
	e->client_protocol = arena_dup(m->arena, xf->x.value[SMTPS_X_PROTO]);
	e->log_ident = arena_dup(m->arena, xf->x.value[SMTPS_X_IDENT]);
}

static struct span
origin_of(struct message *m)
{
	struct session *s = m->s;
	struct span client = s->xforward != NULL ? xforward_client(s, m->arena) : SPAN("");

	if (client.n > 0)
		return client;
	return s->svc->local ? SPAN("local") : s->facts.namaddr;
}

static void
start_intake(struct message *m)
{
	struct session *s = m->s;
	const struct params *p = s->p;
	struct envelope *e = &m->env;
	bool local = xforward_local(s, s->svc->local || s->local_headers);

	e->arrival_us = clock_wall_us();
	e->client_name = arena_dup(m->arena, s->facts.client_name);
	e->client_reverse = arena_dup(m->arena, s->facts.reverse_name);
	e->client_addr = arena_dup(m->arena, s->facts.addr);
	e->client_port = arena_dup(m->arena, s->port);
	e->client_helo = arena_dup(m->arena, smtps_helo(s->engine));
	e->client_protocol = smtps_esmtp(s->engine) ? SPAN("ESMTP") : SPAN("SMTP");
	if (s->xforward != NULL)
		forwarded_origin(m);
	e->local_origin = local;
	e->rewrite_context = local ? SPAN("local") : span_str(p->remote_header_rewrite_domain);
	e->hold = m->hold;
	e->filter = m->filter.n > 0 ? m->filter : span_str(p->content_filter);
	e->redirect = m->redirect;
	m->intake = intake_new(&(struct intake_input){ .conf = &s->svc->intake, .asks = session_asks(s), .arena = m->arena,
		.log = &m->cleanup_log, .qid = span_str(m->log.qid), .now_us = e->arrival_us, .env = e,
		.origin = origin_of(m), .full_name = s->full_name, .rewrite_headers = local,
		.header_checks_off = intake_list_has(p->receive_override_options, SPAN("no_header_body_checks").p, 21),
		.smtputf8_autodetect = p->smtputf8_enable && autodetects(p->smtputf8_autodetect_classes, s->svc->local),
		.no_mappings = intake_list_has(p->receive_override_options, SPAN("no_address_mappings").p, 19),
		.sink = sink, .sink_ctx = m });
}

void
message_open_content(struct message *m)
{
	received_header(m);
	start_intake(m);
	m->stage = STAGE_HEADERS;
}

static bool
feed_headers(struct message *m)
{
	while (m->next_header < m->n_headers) {
		if (intake_header(m->intake, m->headers[m->next_header]) == INTAKE_WAIT)
			return false;
		m->next_header++;
	}
	m->stage = STAGE_CONTENT;
	return true;
}

static void
on_tmp(void *ctx, enum ipc_result result, struct ipc_queue_tmp_ready *ready)
{
	struct message *m = ctx;
	struct session *s = m->s;

	m->ipc_id = 0;
	if (result == IPC_OK && ready->ok) {
		m->file = ready->file;
		ready->file = -1;
		m->file_at = ready->offset;
	} else {
		write_failed(m, result == IPC_OK ? "the queue has no room for a file" : "the queue does not answer");
	}
	session_pump(s);
}

/* Large content goes to a file; until queue has made one, nothing more is taken. */
static void
ask_tmp(struct message *m)
{
	struct ipc_queue_tmp ask = { .qid = span_str(m->log.qid) };

	m->tmp_asked = true;
	m->ipc_id = ipc_ask_queue_tmp(queue_of(m->s), &ask, TMP_MS, on_tmp, m);
	if (m->ipc_id == 0)
		write_failed(m, "the queue is not there");
}

/* True when there is room for more. */
static bool
spill(struct message *m)
{
	int r;

	if (m->failed || intake_decided(m->intake) || m->body.n <= INLINE_MAX - PIECE)
		return true;
	if (m->file < 0) {
		if (!m->tmp_asked)
			ask_tmp(m);
		return m->failed;
	}
	r = fd_pwrite_all(m->file, m->body.p, m->body.n, m->file_at);
	if (r < 0) {
		write_failed(m, fd_error(r));
		return true;
	}
	m->file_at += m->body.n;
	buf_clear(&m->body);
	return true;
}

/* A first line "From " or ">From " of an mbox is kept as a header (mta-core 1.4). True when it is known. */
static bool
look_at_start(struct message *m, struct span *content, size_t *used_r)
{
	size_t n = MBOX_LEAK - m->start.n;
	struct span first;

	*used_r = 0;
	if (m->started)
		return true;
	if (n > content->n)
		n = content->n;
	buf_add(&m->start, content->p, n);
	*used_r = n;
	first = buf_span(&m->start);
	if ((first.n < 5 && span_starts(SPAN("From "), first)) || (first.n < 6 && span_starts(SPAN(">From "), first)))
		return false;
	m->started = true;
	return true;
}

/* Give intake `bytes`; how many it took. */
static size_t
give(struct message *m, struct span bytes)
{
	size_t used = 0;

	if (m->failed || intake_decided(m->intake) || m->discard)
		return bytes.n;
	intake_feed(m->intake, bytes, &used);
	return used;
}

/* Hand on what was kept of the first line. True when all of it went. */
static bool
give_start(struct message *m)
{
	static const char name[] = "X-Mailbox-Line: ";
	size_t used;

	if (m->start.n == 0)
		return true;
	if (span_starts(buf_span(&m->start), SPAN("From ")) || span_starts(buf_span(&m->start), SPAN(">From "))) {
		struct buf with;

		buf_init(&with, 64);
		buf_add_str(&with, name);
		buf_add_span(&with, buf_span(&m->start));
		buf_clear(&m->start);
		buf_add_span(&m->start, buf_span(&with));
		buf_release(&with);
	}
	used = give(m, buf_span(&m->start));
	buf_consume(&m->start, used);
	return m->start.n == 0;
}

static bool
take_content(struct message *m)
{
	struct session *s = m->s;
	struct span content = smtps_content(s->engine);
	size_t used;
	bool moved = false;

	while (content.n > 0 && s->msg == m && spill(m)) {
		if (!look_at_start(m, &content, &used) || (used > 0 && m->started)) {
			smtps_content_taken(s->engine, used, now_us(s));
		} else {
			if (!give_start(m))
				return moved;
			used = give(m, span_slice(content, 0, PIECE));
			if (used == 0)
				return moved;
			smtps_content_taken(s->engine, used, now_us(s));
		}
		moved = true;
		content = smtps_content(s->engine);
	}
	return moved;
}

/* --- the end --- */

/* `notice`: enum smtp_notice. */
static void
refuse(struct message *m, unsigned notice, unsigned code, const char *dsn, struct span text)
{
	struct session *s = m->s;
	struct smtps_reply r = { .code = code, .dsn = dsn, .text = text, .notice = notice };
	uint32_t id = m->eom_id;
	char words[512];

	/* The words may live in the message. */
	snprintf(words, sizeof(words), "%.*s", SPAN_ARG(text));
	r.text = span_str(words);
	message_cancel(s);
	xforward_reset(s);
	smtps_refuse(s->engine, id, &r, now_us(s));
}

/* Size and hops are what would have bounced later; other refusals are the administrator's. */
static unsigned
notice_of_line(struct span line)
{
	return span_starts(line, SPAN("552 5.3.4 ")) || span_starts(line, SPAN("554 5.4.0 ")) ? SMTP_NOTICE_BOUNCE : SMTP_NOTICE_POLICY;
}

/* "550 5.7.1 text" as it stands. */
static void
refuse_line(struct message *m, struct span line)
{
	struct span code, dsn, rest, text;
	uint64_t number = 451;
	char d[12] = "";

	span_cut(line, ' ', &code, &rest);
	text = rest;
	if (!span_u64(code, 599, &number) || number < 400)
		number = 451;
	if (span_cut(rest, ' ', &dsn, &rest) && dsn.n >= 5 && dsn.n < sizeof(d) && dsn.p[1] == '.') {
		memcpy(d, dsn.p, dsn.n);
		text = rest;
	}
	refuse(m, notice_of_line(line), (unsigned)number, d[0] != '\0' ? d : number < 500 ? "4.7.1" : "5.7.1", text);
}

static void
accept_as(struct message *m)
{
	struct session *s = m->s;
	uint32_t id = m->eom_id;
	char text[QID_MAX + 16];

	snprintf(text, sizeof(text), "queued as %s", m->log.qid);
	m->stage = STAGE_DONE;
	s->d->messages++;
	message_free(s);
	xforward_reset(s);
	smtps_accept(s->engine, id, span_str(text), now_us(s));
}

static void
accept_discarded(struct message *m)
{
	drop_tmp(m);
	log_info(&m->cleanup_log, "removed (discarded)");
	accept_as(m);
}

/* The queue said no: in its own words, or nothing came back. */
static void
refuse_submitted(struct message *m, const struct ipc_queue_submitted *done)
{
	char dsn[12] = "4.3.0";
	struct span text = span_str(write_error);

	/* It is the queue's no: nothing of it is there. */
	m->stage = STAGE_EXPAND;
	if (done != NULL && done->text.n > 0)
		text = done->text;
	if (done != NULL && done->dsn.n >= 5 && done->dsn.n < sizeof(dsn)) {
		memcpy(dsn, done->dsn.p, done->dsn.n);
		dsn[done->dsn.n] = '\0';
	}
	refuse(m, SMTP_NOTICE_RESOURCE, dsn[0] == '5' ? 554 : strcmp(dsn, "4.3.1") == 0 ? 452 : 451, dsn, text);
}

static void
on_submitted(void *ctx, enum ipc_result result, struct ipc_queue_submitted *done)
{
	struct message *m = ctx;
	struct session *s = m->s;

	m->ipc_id = 0;
	if (result == IPC_OK && done->ok)
		accept_as(m);
	else
		refuse_submitted(m, result == IPC_OK ? done : NULL);
	session_pump(s);
}

static void
submit(struct message *m)
{
	struct ipc_queue_submit ask = { .qid = span_str(m->log.qid), .size = m->size, .tmp = m->file >= 0 };
	struct buf text;

	m->stage = STAGE_SUBMIT;
	m->out.size = m->size;
	buf_init(&text, ENVELOPE_MAX);
	if (envelope_write(&m->out, &text)) {
		ask.envelope = buf_span(&text);
		if (!ask.tmp)
			ask.content = buf_span(&m->body);
		m->ipc_id = ipc_ask_queue_submit(queue_of(m->s), &ask, SUBMIT_MS, on_submitted, m);
	}
	buf_release(&text);
	if (m->ipc_id == 0)
		refuse_submitted(m, NULL);
}

/* Content is complete in memory or in the file. False: the file is not there yet. */
static bool
settle(struct message *m)
{
	int r;

	if (m->file < 0 && m->body.n <= INLINE_MAX && !m->tmp_asked)
		return true;
	if (m->file < 0) {
		if (!m->tmp_asked)
			ask_tmp(m);
		return m->failed;
	}
	r = fd_pwrite_all(m->file, m->body.p, m->body.n, m->file_at);
	if (r < 0)
		write_failed(m, fd_error(r));
	m->file_at += m->body.n;
	buf_clear(&m->body);
	return true;
}

static bool
step_finish(struct message *m)
{
	struct intake_verdict verdict;

	if (m->discard) {
		accept_discarded(m);
		return true;
	}
	if (m->failed) {
		refuse(m, SMTP_NOTICE_RESOURCE, 451, "4.3.0", span_str(write_error));
		return true;
	}
	if (!give_start(m) || intake_finish(m->intake, &verdict) == INTAKE_WAIT)
		return false;
	switch (verdict.action) {
	case INTAKE_REJECT:
		refuse_line(m, verdict.reply);
		break;
	case INTAKE_DISCARD:
		accept_discarded(m);
		break;
	case INTAKE_ACCEPT:
		m->stage = STAGE_EXPAND;
		break;
	}
	return true;
}

static bool
step_expand(struct message *m)
{
	struct session *s = m->s;
	unsigned flags = intake_list_has(s->p->receive_override_options, SPAN("no_address_mappings").p, 19) ? INTAKE_NO_MAPPINGS : 0;
	struct fault why = { 0 };

	if (!settle(m))
		return false;
	if (m->failed) {
		refuse(m, SMTP_NOTICE_RESOURCE, 451, "4.3.0", span_str(write_error));
		return true;
	}
	if (m->expanded == NULL)
		m->expanded = arena_new(2 * INTAKE_ENVELOPE_ROOM);
	arena_clear(m->expanded);
	switch (intake_envelope(&s->svc->intake, session_asks(s), m->expanded, &m->cleanup_log, flags, &m->env, &m->out, &why)) {
	case MAP_FOUND:
		submit(m);
		return true;
	case MAP_WAIT:
		return false;
	case MAP_ABSENT:
	case MAP_DEFER:
		break;
	}
	refuse(m, SMTP_NOTICE_RESOURCE, 451, why.dsn[0] != '\0' ? why.dsn : "4.3.0", span_str(why.text));
	return true;
}

bool
message_pump(struct message *m)
{
	switch (m->stage) {
	case STAGE_ENVELOPE:
	case STAGE_SUBMIT:
	case STAGE_DONE:
		return false;
	case STAGE_HEADERS:
		return feed_headers(m);
	case STAGE_CONTENT:
		return take_content(m);
	case STAGE_FINISH:
		return step_finish(m);
	case STAGE_EXPAND:
		return m->ipc_id == 0 && step_expand(m);
	}
	panic("stage %d", (int)m->stage);
}

void
message_finish(struct message *m, uint32_t id)
{
	m->eom_id = id;
	m->stage = STAGE_FINISH;
}
