/* Submissions: content through intake into a buffer or a file of queue's, then the envelope. */
#include "role/local/submit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/panic.h"
#include "intake/intake.h"

#define INLINE_MAX 65536
#define ARENA_MAX (INTAKE_ENVELOPE_ROOM + ((size_t)64 << 20))
#define OUT_MAX ((size_t)8 << 20)
#define CHUNK 65536
#define ASK_MS 300000
/* Content per turn of the loop: one big message does not stop the others. */
#define TURN_BYTES ((size_t)1 << 20)

struct submission {
	struct list node;
	struct local *l;
	struct submit_input in;
	struct arena *arena;
	struct asks *asks;
	struct intake *intake;
	struct loop_task turn;
	struct log log;
	char qid[QID_MAX];
	struct envelope env, final;
	struct buf out;                 /* checked content not yet in the file */
	struct buf raw;                 /* read, not yet taken by intake */
	uint64_t read_at, bytes;
	size_t header_at;
	int tmp;                        /* queue's file, -1 = none */
	uint64_t tmp_at;
	uint64_t ask_id;                /* question to queue under way, 0 = none */
	bool content_done, finished, last_cr;
	struct intake_verdict verdict;
	struct submit_result result;
	bool over, overflow;
};

static void
release(struct submission *s)
{
	struct local *l = s->l;

	list_remove(&s->node);
	l->n_submissions--;
	loop_task_cancel(&s->turn);
	if (s->ask_id != 0)
		ipc_forget(l->role->hub, s->ask_id);
	intake_free(&s->intake);
	asks_free(&s->asks);
	fd_close(&s->tmp);
	buf_release(&s->out);
	buf_release(&s->raw);
	arena_free(&s->arena);
	free(s);
}

static void
drop_tmp(struct submission *s)
{
	struct ipc_peer *queue = ipc_peer_any(s->l->role->hub, IPC_ROLE_QUEUE);
	struct ipc_queue_tmp_drop m = { .qid = span_str(s->qid) };

	if (s->tmp >= 0 && queue != NULL)
		ipc_send_queue_tmp_drop(queue, &m);
	fd_close(&s->tmp);
}

/* The end, told in the next turn of the loop. */
static void
end(struct submission *s)
{
	s->over = true;
	if (!s->result.ok)
		drop_tmp(s);
	loop_defer(s->l->role->loop, &s->turn);
}

static void
end_failed(struct submission *s, const char *dsn, const char *text)
{
	fault_set(&s->result.why, dsn, "%s", text);
	end(s);
}

/* ---- the last step: queue */

static void
on_submitted(void *ctx, enum ipc_result result, struct ipc_queue_submitted *m)
{
	struct submission *s = ctx;

	s->ask_id = 0;
	if (result != IPC_OK) {
		end_failed(s, "4.3.0", "the queue process did not answer");
		return;
	}
	s->result.ok = m->ok;
	if (m->ok)
		fd_close(&s->tmp);
	else
		fault_set(&s->result.why, arena_cstr(s->arena, m->dsn), "%.*s", SPAN_ARG(m->text));
	end(s);
}

static void
send_to_queue(struct submission *s)
{
	struct ipc_peer *queue = ipc_peer_any(s->l->role->hub, IPC_ROLE_QUEUE);
	struct buf text;
	struct ipc_queue_submit m = { .qid = span_str(s->qid), .size = s->bytes, .tmp = s->tmp >= 0 };

	s->final.size = s->bytes;
	buf_init(&text, 3000000);
	if (!envelope_write(&s->final, &text)) {
		end_failed(s, "4.3.0", "too many recipients for one message");
	} else {
		m.envelope = buf_span(&text);
		m.content = s->tmp >= 0 ? SPAN("") : buf_span(&s->out);
		s->ask_id = ipc_ask_queue_submit(queue, &m, ASK_MS, on_submitted, s);
		if (s->ask_id == 0)
			end_failed(s, "4.3.0", "the queue process is not there");
	}
	buf_release(&text);
}

/* ---- envelope */

static void
expand_envelope(struct submission *s)
{
	unsigned flags = (s->in.internal ? INTAKE_NO_MAPPINGS : 0) | (s->in.no_bcc ? INTAKE_NO_BCC : 0);
	struct fault why = { 0 };

	s->final = (struct envelope){ 0 };
	switch (intake_envelope(&s->l->intake, s->asks, s->arena, &s->log, flags, &s->env, &s->final, &why)) {
	case MAP_WAIT:
		return;
	case MAP_FOUND:
		if (s->final.rcpt_count == 0 && s->final.expanded_count == 0)
			end_failed(s, "5.1.0", "no recipients");
		else
			send_to_queue(s);
		return;
	case MAP_DEFER:
	case MAP_ABSENT:
		s->result.why = why;
		end(s);
		return;
	}
}

/* ---- content */

static void
on_tmp_ready(void *ctx, enum ipc_result result, struct ipc_queue_tmp_ready *m)
{
	struct submission *s = ctx;

	s->ask_id = 0;
	if (result != IPC_OK || !m->ok || m->file < 0) {
		s->result.why = (struct fault){ 0 };
		end_failed(s, "4.3.0", result == IPC_OK ? arena_cstr(s->arena, m->text) :
		    "the queue process did not answer");
		return;
	}
	s->tmp = m->file;
	s->tmp_at = m->offset;
	m->file = -1;
	loop_defer(s->l->role->loop, &s->turn);
}

static void
ask_tmp(struct submission *s)
{
	struct ipc_queue_tmp m = { .qid = span_str(s->qid) };

	s->ask_id = ipc_ask_queue_tmp(ipc_peer_any(s->l->role->hub, IPC_ROLE_QUEUE), &m, ASK_MS, on_tmp_ready, s);
	if (s->ask_id == 0)
		end_failed(s, "4.3.0", "the queue process is not there");
}

/* Room for more? Content that has outgrown its frame goes to the file. False: wait for it, or it is over. */
static bool
make_room(struct submission *s)
{
	int r;

	if (s->out.n <= INLINE_MAX && s->tmp < 0)
		return true;
	if (s->tmp < 0) {
		ask_tmp(s);
		return false;
	}
	r = fd_pwrite_all(s->tmp, s->out.p, s->out.n, s->tmp_at);
	if (r < 0) {
		fault_set(&s->result.why, "4.3.0", "cannot write the message: %s", fd_error(r));
		end(s);
		return false;
	}
	s->tmp_at += s->out.n;
	buf_clear(&s->out);
	return true;
}

static void
sink(void *ctx, struct span bytes)
{
	struct submission *s = ctx;

	s->bytes += bytes.n;
	if (!buf_add_span(&s->out, bytes))
		s->overflow = true;     /* checks that add much to each line, and text made for them */
}

/* Submitted text may end its lines with LF alone. */
static void
add_wire(struct submission *s, struct span text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\n' && !s->last_cr)
			buf_addc(&s->raw, '\r');
		buf_addc(&s->raw, text.p[i]);
		s->last_cr = text.p[i] == '\r';
	}
}

/* The next piece of the source into `raw`; false when it cannot be read. */
static bool
read_more(struct submission *s)
{
	uint64_t size = s->in.text.n > 0 ? s->in.text.n : s->in.size;
	size_t n = size - s->read_at < CHUNK ? (size_t)(size - s->read_at) : CHUNK;
	char chunk[CHUNK];
	struct span got = span_of(chunk, n);
	int r;

	if (s->in.text.n > 0) {
		got = span_slice(s->in.text, (size_t)s->read_at, (size_t)s->read_at + n);
	} else if ((r = fd_pread_all(s->in.fd, chunk, n, s->in.off + s->read_at)) < 0) {
		fault_set(&s->result.why, "4.3.0", "cannot read the message: %s", fd_error(r));
		return false;
	}
	s->read_at += n;
	if (s->in.lf_ends)
		add_wire(s, got);
	else
		buf_add_span(&s->raw, got);
	if (s->read_at >= size)
		s->content_done = true;
	return true;
}

enum step { STEP_ON, STEP_WAIT, STEP_OVER };

static enum step
feed_headers(struct submission *s)
{
	for (; s->header_at < sizeof(s->in.headers) / sizeof(s->in.headers[0]); s->header_at++)
		if (s->in.headers[s->header_at].n > 0 &&
		    intake_header(s->intake, s->in.headers[s->header_at]) == INTAKE_WAIT)
			return STEP_WAIT;
	return STEP_ON;
}

static enum step
feed_content(struct submission *s)
{
	size_t turn = 0;

	while (!s->content_done || s->raw.n > 0) {
		size_t used = 0;
		enum intake_result r;

		if (intake_decided(s->intake))
			break;
		if (!make_room(s))
			return s->over ? STEP_OVER : STEP_WAIT;
		if (s->raw.n == 0 && !read_more(s)) {
			end(s);
			return STEP_OVER;
		}
		r = intake_feed(s->intake, buf_span(&s->raw), &used);
		turn += used;
		buf_consume(&s->raw, used);
		if (s->overflow) {
			end_failed(s, "4.3.0", "header or body checks add too much to the message");
			return STEP_OVER;
		}
		if (r == INTAKE_WAIT)
			return STEP_WAIT;
		if (turn > TURN_BYTES) {
			loop_defer(s->l->role->loop, &s->turn);
			return STEP_WAIT;
		}
	}
	return STEP_ON;
}

static enum step
finish_content(struct submission *s)
{
	if (intake_finish(s->intake, &s->verdict) == INTAKE_WAIT)
		return STEP_WAIT;
	s->finished = true;
	if (s->overflow) {
		end_failed(s, "4.3.0", "header or body checks add too much to the message");
		return STEP_OVER;
	}
	switch (s->verdict.action) {
	case INTAKE_ACCEPT:
		return STEP_ON;
	case INTAKE_DISCARD:
		s->result.ok = true;
		drop_tmp(s);
		end(s);
		return STEP_OVER;
	case INTAKE_REJECT:
		/* "550 5.7.1 text" */
		s->result.rejected = s->verdict.reply.n > 0 && s->verdict.reply.p[0] == '5';
		fault_set(&s->result.why, s->result.rejected ? "5.6.0" : "4.6.0", "%.*s",
		    SPAN_ARG(span_from(s->verdict.reply, 4)));
		end(s);
		return STEP_OVER;
	}
	return STEP_OVER;
}

static void
go_on(struct submission *s)
{
	if (!s->finished) {
		if (feed_headers(s) != STEP_ON || feed_content(s) != STEP_ON || finish_content(s) != STEP_ON)
			return;
		/* What came out last. */
	}
	if ((s->tmp >= 0 || s->out.n > INLINE_MAX) && !make_room(s))
		return;
	expand_envelope(s);
}

static void
on_turn(void *ctx)
{
	struct submission *s = ctx;

	if (s->over) {
		submit_done_fn *done = s->in.done;
		void *done_ctx = s->in.ctx;
		struct submit_result r = s->result;
		char qid[QID_MAX];
		struct local *l = s->l;

		snprintf(qid, sizeof(qid), "%s", s->qid);
		r.qid = qid;
		release(s);
		done(done_ctx, &r);
		local_check_idle(l);
	} else if (s->ask_id == 0) {
		go_on(s);
	}
}

static void
on_ready(void *ctx)
{
	struct submission *s = ctx;

	if (!s->over && s->ask_id == 0)
		go_on(s);
}

static void
open_intake(struct submission *s)
{
	struct intake_input in = {
		.conf = &s->l->intake, .asks = s->asks, .arena = s->arena, .log = &s->log,
		.qid = span_str(s->qid), .now_us = clock_wall_us(), .env = &s->env,
		.origin = s->in.origin, .full_name = s->in.full_name, .rewrite_headers = s->in.rewrite_headers,
		.header_checks_off = s->in.header_checks_off, .extract_rcpts = s->in.extract_rcpts,
		.internal = s->in.internal, .sink = sink, .sink_ctx = s,
	};

	s->intake = intake_new(&in);
}

struct submission *
submit(struct local *l, const char *qid, const struct submit_input *in)
{
	struct submission *s = calloc(1, sizeof(*s));

	if (s == NULL)
		panic("out of memory");
	s->l = l;
	s->in = *in;
	s->tmp = -1;
	s->arena = arena_new(ARENA_MAX);
	s->asks = asks_new(l->role->asks, on_ready, s);
	s->log.tag = l->cleanup_tag;
	snprintf(s->log.qid, sizeof(s->log.qid), "%s", qid);
	snprintf(s->qid, sizeof(s->qid), "%s", qid);
	buf_init(&s->out, OUT_MAX);
	buf_init(&s->raw, 2 * CHUNK + 16);
	envelope_copy(&s->env, in->env, s->arena);
	loop_task_init(&s->turn, on_turn, s);
	list_push_back(&l->submissions, &s->node);
	l->n_submissions++;
	open_intake(s);
	loop_defer(l->role->loop, &s->turn);
	return s;
}

void
submit_cancel(struct submission **s)
{
	if (*s == NULL)
		return;
	drop_tmp(*s);
	release(*s);
	*s = NULL;
}
