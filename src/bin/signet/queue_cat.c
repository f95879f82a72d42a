/* One message as people read it, and the check of all files. */
#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "signet/cli.h"
#include "signet/control.h"
#include "signet/queue.h"
#include "store/store.h"

enum { ASK_MS = 60000, STEP = 65536 };

/* Where a message is. */
struct source {
	struct span envelope;
	int fd;
	uint64_t offset, size;
	struct store_op op;             /* without the daemon */
	struct control c;
	bool online;
	struct arena *arena;
};

static bool
open_online(struct source *s, const char *qid, struct fault *why)
{
	const struct ipc_queue_cat ask = { .qid = span_str(qid) };
	struct ipc_queue_cat_done got = { 0 };
	struct span payload;
	struct buf b;
	bool ok;

	buf_init(&b, 4096);
	ipc_encode_queue_cat(&b, &ask);
	ok = control_ask(&s->c, IPC_QUEUE_CAT, buf_span(&b), IPC_QUEUE_CAT_DONE, ASK_MS, &payload, &s->fd, why);
	buf_release(&b);
	if (ok && !ipc_decode_queue_cat_done(payload, s->arena, &got))
		ok = fault_set(why, NULL, "signetd sent a garbled answer");
	if (ok && !got.ok)
		ok = fault_set(why, NULL, "%s: %.*s", qid, SPAN_ARG(got.text));
	s->envelope = got.envelope;
	s->offset = got.offset;
	s->size = got.size;
	return ok;
}

static bool
open_offline(struct source *s, const struct conf *conf, const char *qid, struct fault *why)
{
	store_op_init(&s->op, STORE_LOAD, span_str(qid), NULL, NULL);
	s->op.want_fd = true;
	store_load_dir(conf->params->queue_directory, &s->op);
	if (s->op.result < 0)
		return fault_set(why, NULL, "%s: %s", qid, s->op.result == -ENOENT ? "no such message" : fd_error(s->op.result));
	s->envelope = s->op.envelope;
	s->fd = s->op.fd;
	s->op.fd = -1;
	s->offset = s->op.place.content_off;
	s->size = s->op.place.content_bytes;
	return true;
}

static bool
source_open(struct source *s, const struct conf *conf, const char *qid, struct fault *why)
{
	size_t n = strlen(qid);

	*s = (struct source){ .fd = -1, .op = { .fd = -1 } };
	s->arena = arena_new(16u << 20);
	if (n == 0 || n > STORE_QID_MAX || strchr(qid, '/') != NULL || qid[0] == '.')
		return fault_set(why, NULL, "%s: not a queue id", qid);
	s->online = control_open(&s->c, conf, why);
	return s->online ? open_online(s, qid, why) : open_offline(s, conf, qid, why);
}

static void
source_close(struct source *s)
{
	fd_close(&s->fd);
	if (s->online)
		control_close(&s->c);
	else if (s->op.qid[0] != '\0')
		store_op_release(&s->op);
	arena_free(&s->arena);
}

/* What of the content is shown so far: the blank line ends the headers. */
struct shown {
	struct queue_parts parts;
	bool in_body, line_start;
	unsigned cr;
};

static void
show(struct shown *w, struct span piece, struct buf *out)
{
	for (size_t i = 0; i < piece.n; i++) {
		char c = piece.p[i];
		bool ends_headers = !w->in_body && w->line_start && c == '\n';

		if (c == '\r' && !w->parts.wire)
			continue;
		if (w->in_body ? w->parts.body : w->parts.headers || (ends_headers && w->parts.body && w->parts.headers))
			buf_addc(out, c);
		if (ends_headers)
			w->in_body = true;
		if (c != '\r')
			w->line_start = c == '\n';
	}
}

static int
print_content(const struct cli *cli, const struct source *s, struct queue_parts parts, struct buf *out)
{
	struct shown w = { .parts = parts, .line_start = true };
	char piece[STEP];

	for (uint64_t at = 0; at < s->size;) {
		size_t n = s->size - at < STEP ? (size_t)(s->size - at) : STEP;
		int r = fd_pread_all(s->fd, piece, n, s->offset + at);

		if (r < 0)
			return cli_fail(cli, CLI_NO, "cannot read the message: %s", fd_error(r));
		show(&w, span_of(piece, n), out);
		at += n;
		r = cli_print(cli, out);
		if (r != CLI_DONE)
			return r;
	}
	return CLI_DONE;
}

int
queue_cat(const struct cli *cli, const struct conf *conf, const char *qid, struct queue_parts parts)
{
	struct fault why = { 0 };
	struct source s;
	struct buf out;
	int status = CLI_DONE;

	if (!source_open(&s, conf, qid, &why)) {
		source_close(&s);
		return cli_fail(cli, CLI_NO, "%s", why.text);
	}
	buf_init(&out, 16u << 20);
	if (parts.envelope) {
		buf_addf(&out, "*** ENVELOPE RECORDS %s ***\n", qid);
		buf_add_span(&out, s.envelope);
	}
	if (parts.envelope && (parts.headers || parts.body))
		buf_addf(&out, "*** MESSAGE CONTENTS %s ***\n", qid);
	if (parts.headers || parts.body)
		status = print_content(cli, &s, parts, &out);
	if (parts.envelope)
		buf_addf(&out, "*** MESSAGE FILE END %s ***\n", qid);
	if (status == CLI_DONE)
		status = cli_print(cli, &out);
	buf_release(&out);
	source_close(&s);
	return status;
}

/* ---- verify */

struct verify {
	const struct cli *cli;
	const char *dir;
	size_t good, torn, bad;
};

static bool
content_is_good(const struct verify *v, const char *qid)
{
	struct store_op op;
	bool ok;

	store_op_init(&op, STORE_LOAD, span_str(qid), NULL, NULL);
	op.verify = true;
	store_load_dir(v->dir, &op);
	ok = op.result == 0 || op.result == -ENOENT;    /* delivered meanwhile */
	store_op_release(&op);
	return ok;
}

static void
verify_one(void *ctx, const struct store_entry *e, int result)
{
	struct verify *v = ctx;

	(void)result;
	if (e == NULL)
		return;
	if (e->found == STORE_FOUND_TORN) {
		v->torn++;
	} else if (e->found == STORE_FOUND_BAD || !content_is_good(v, e->qid)) {
		v->bad++;
		printf("%s: damaged\n", e->qid);
	} else {
		v->good++;
	}
}

int
queue_verify(const struct cli *cli, const struct conf *conf)
{
	struct verify v = { .cli = cli, .dir = conf->params->queue_directory };
	int r = store_scan_dir(v.dir, verify_one, &v);

	if (r < 0)
		return cli_fail(cli, CLI_NO, "%s: %s", v.dir, fd_error(r));
	printf("%zu good, %zu damaged, %zu incomplete (being written, or never acknowledged)\n", v.good, v.bad, v.torn);
	return v.bad == 0 ? CLI_DONE : CLI_NO;
}
