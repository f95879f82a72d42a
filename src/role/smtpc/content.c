/*
 * Content for the engine: the inline copy or the queue's file, changed where checks and rewriting (checks.c) want it,
 * and converted when the server lacks 8BITMIME (RFC 6152 section 3) or a line is too long (RFC 5322 section 2.1.1).
 */
#include <string.h>

#include "base/fd.h"
#include "mail/mime_qp.h"
#include "role/smtpc/smtpc.h"

#define PIECE ((size_t)64 * 1024)

struct content_state {
	size_t edit;                    /* the next of checks_edits() */
	uint64_t at;                    /* of the original content */
	struct buf in, out;
	struct mime_qp *filter;         /* NULL: as it is */
	bool ended;
};

static struct content_state *
state_new(struct delivery *d)
{
	struct content_state *s = ARENA_NEW(d->arena, struct content_state);

	buf_init(&s->in, PIECE);
	buf_init(&s->out, MIME_QP_ROOM(PIECE) * 2);
	return s;
}

static void
state_release(struct content_state *s)
{
	buf_release(&s->in);
	buf_release(&s->out);
}

/* The next raw piece; empty at the end, or where an edit only removes. False when the file cannot be read. */
static bool
raw_next(struct delivery *d, struct content_state *s, struct span *piece_r)
{
	const struct content_edits *e = checks_edits(d);
	uint64_t stop = s->edit < e->n ? e->list[s->edit].at : d->size;
	uint64_t left = stop > s->at ? stop - s->at : 0;
	size_t n = left < PIECE ? (size_t)left : PIECE;

	if (s->edit < e->n && left == 0) {
		*piece_r = span_of(e->text.p + e->list[s->edit].text_at, e->list[s->edit].text_n);
		s->at += e->list[s->edit++].n;
		return true;
	}
	if (d->file < 0) {
		*piece_r = span_slice(d->content, (size_t)s->at, (size_t)stop);
		s->at = stop;
		return true;
	}
	buf_clear(&s->in);
	if (n > 0 && fd_pread_all(d->file, buf_space(&s->in, n), n, d->offset + s->at) < 0)
		return false;
	s->in.n = n;
	s->at += n;
	*piece_r = buf_span(&s->in);
	return true;
}

static bool
raw_ended(const struct delivery *d, const struct content_state *s)
{
	return s->edit == checks_edits(d)->n && s->at >= d->size;
}

static uint64_t
raw_bytes(const struct delivery *d)
{
	const struct content_edits *e = checks_edits(d);
	uint64_t bytes = d->size;

	for (size_t i = 0; i < e->n; i++)
		bytes += e->list[i].text_n - e->list[i].n;
	return bytes;
}

/* ---- long lines */

static bool
long_line(struct span piece, size_t limit, size_t *run)
{
	while (piece.n > 0) {
		const char *lf = memchr(piece.p, '\n', piece.n);
		size_t n = lf == NULL ? piece.n : (size_t)(lf - piece.p);

		*run += n;
		if (*run > limit + 1)           /* its CR counts in run, not in the limit */
			return true;
		if (lf == NULL)
			return false;
		*run = 0;
		piece = span_from(piece, n + 1);
	}
	return false;
}

static bool
has_long_lines(struct delivery *d)
{
	int limit = d->svc->p->smtp_line_length_limit;
	struct content_state *s;
	struct span piece;
	size_t run = 0;

	if (limit <= 0)
		return false;
	if (d->long_lines != LINES_UNKNOWN)
		return d->long_lines == LINES_LONG;
	d->long_lines = LINES_FIT;
	s = state_new(d);
	while (d->long_lines == LINES_FIT && !raw_ended(d, s) && raw_next(d, s, &piece))
		if (long_line(piece, (size_t)limit, &run))
			d->long_lines = LINES_LONG;
	state_release(s);
	return d->long_lines == LINES_LONG;
}

/* ---- conversion */

/* A converter that has seen the whole content once, so that it touches only the parts that need it. */
static struct mime_qp *
filter_new(struct delivery *d, bool convert)
{
	int limit = d->svc->p->smtp_line_length_limit;
	struct mime_qp *m = mime_qp_new(d->arena, convert ? MIME_QP_CONVERT : 0u, limit > 0 ? (size_t)limit : 0);
	struct content_state *s;
	struct span piece;

	if (!convert)
		return m;
	s = state_new(d);
	while (!raw_ended(d, s) && raw_next(d, s, &piece))
		mime_qp_scan(m, piece);
	mime_qp_scan_end(m);
	state_release(s);
	return m;
}

/* Can it be converted at all? Learned before DATA: afterwards there is no way back. */
static bool
convertible(struct delivery *d, struct fault *why)
{
	struct content_state *s = state_new(d);
	struct mime_qp *m = filter_new(d, true);
	struct span piece;
	bool ok = true;

	while (ok && !raw_ended(d, s)) {
		if (!raw_next(d, s, &piece)) {
			ok = fault_set(why, "4.3.0", "reading the message from the queue failed");
			break;
		}
		buf_clear(&s->out);
		ok = mime_qp_feed(m, piece, &s->out, why) == MIME_QP_OK;
	}
	buf_clear(&s->out);
	ok = ok && mime_qp_end(m, &s->out, why) == MIME_QP_OK;
	state_release(s);
	return ok;
}

bool
content_prepare(struct delivery *d, struct conn *c, struct fault *why)
{
	bool eightbit = (c->l.engine.caps.bits & SMTPC_CAP_8BITMIME) != 0 ||
	    (d->env.smtputf8 && (c->l.engine.caps.bits & SMTPC_CAP_SMTPUTF8) != 0);
	bool convert = d->env.eightbit && !eightbit;

	if (convert && d->svc->p->disable_mime_output_conversion)
		return fault_set(why, "5.6.3", "8-bit content, but 8BITMIME was not offered by host %s", c->l.peer);
	if (convert && !convertible(d, why))
		return false;
	content_release(d);
	d->cstate = state_new(d);
	if (convert || has_long_lines(d))
		d->cstate->filter = filter_new(d, convert);
	d->tx.bytes = raw_bytes(d);
	d->tx.exact = d->cstate->filter == NULL;
	d->tx.body_8bit = d->env.eightbit && !convert;
	return true;
}

/* Raw pieces through the filter until something comes out. */
static bool
filtered_next(struct delivery *d, struct content_state *s, struct span *piece_r)
{
	struct fault why;
	struct span raw;

	buf_clear(&s->out);
	while (s->out.n == 0 && !s->ended) {
		if (raw_ended(d, s)) {
			s->ended = true;
			if (mime_qp_end(s->filter, &s->out, &why) != MIME_QP_OK)
				return false;
		} else if (!raw_next(d, s, &raw) || mime_qp_feed(s->filter, raw, &s->out, &why) != MIME_QP_OK) {
			return false;
		}
	}
	*piece_r = buf_span(&s->out);
	return !s->out.full;
}

bool
content_give(struct conn *c)
{
	struct delivery *d = c->d;
	struct content_state *s = d->cstate;
	struct span piece;

	if (s->filter != NULL) {
		if (!filtered_next(d, s, &piece))
			return false;
		smtpc_content(&c->l.engine, piece, s->ended);
		return true;
	}
	do {
		if (!raw_next(d, s, &piece))
			return false;
	} while (piece.n == 0 && !raw_ended(d, s));
	smtpc_content(&c->l.engine, piece, raw_ended(d, s));
	return true;
}

void
content_release(struct delivery *d)
{
	if (d->cstate == NULL)
		return;
	state_release(d->cstate);
	d->cstate = NULL;
}
