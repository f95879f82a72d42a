/*
 * Message content of the server engine: end of data, dots, bare line feeds.
 *
 * Only <CR><LF>.<CR><LF> ends the data (RFC 5321 section 4.1.1.4). A "." line with a
 * bare LF at either end is the tool of SMTP smuggling: it is dropped, never an end.
 */
#include "base/panic.h"
#include "smtp/server_private.h"

void
smtps_scan_init(struct smtps_scan *sc, bool dots, enum smtps_bare_lf mode, bool replace_cr)
{
	*sc = (struct smtps_scan){ .mode = mode, .dots = dots, .replace_cr = replace_cr };
}

static bool
bare_lf_kept(const struct smtps_scan *sc)
{
	return sc->mode == SMTPS_BARE_LF_ALLOW;
}

static void
emit(struct buf *out, const char *p, size_t n)
{
	ensure(buf_add(out, p, n));
}

static void
emit_stray_cr(struct smtps_scan *sc, struct buf *out)
{
	emit(out, sc->replace_cr ? " " : "\r", 1);
}

/* A line ended: `bare` without its CR. */
static void
line_end(struct smtps_scan *sc, bool bare)
{
	sc->prev_bare = bare;
	sc->saw_bare |= bare;
	sc->state = SCAN_LINE_START;
}

/* A whole line of "." was read, its own end `bare` or not: is it the end of data? */
static bool
dot_line(struct smtps_scan *sc, bool bare)
{
	bool prev_bare = sc->prev_bare;

	line_end(sc, bare);
	return bare_lf_kept(sc) || (!bare && !prev_bare);
}

/* Length of the run at `p` without CR and LF. */
static size_t
plain_run(const char *p, size_t n)
{
	const char *lf = memchr(p, '\n', n);
	const char *cr;

	if (lf != NULL)
		n = (size_t)(lf - p);
	cr = memchr(p, '\r', n);
	return cr != NULL ? (size_t)(cr - p) : n;
}

/* Whole clean lines at `p`, as they are: how many bytes can be copied in one go. */
static size_t
clean_lines(const struct smtps_scan *sc, const char *p, size_t n)
{
	size_t done = 0;

	while (done < n && !(sc->dots && p[done] == '.')) {
		size_t run = plain_run(p + done, n - done);

		if (n - done - run < 2 || p[done + run] != '\r' || p[done + run + 1] != '\n')
			break;
		done += run + 2;
	}
	return done;
}

/* In SCAN_LINE_START or SCAN_LINE: copy up to the next byte that needs thought. */
static size_t
scan_line(struct smtps_scan *sc, const char *p, size_t n, struct buf *out)
{
	size_t run = plain_run(p, n);

	emit(out, p, run);
	sc->state = SCAN_LINE;
	if (run == n)
		return n;
	if (p[run] == '\r') {
		sc->state = SCAN_CR;
	} else {
		emit(out, "\r\n", 2);
		line_end(sc, true);
	}
	return run + 1;
}

static size_t
scan_line_start(struct smtps_scan *sc, const char *p, size_t n, struct buf *out)
{
	size_t clean;

	if (sc->dots && *p == '.') {
		sc->state = SCAN_DOT;
		return 1;
	}
	clean = clean_lines(sc, p, n);
	if (clean == 0)
		return scan_line(sc, p, n, out);
	emit(out, p, clean);
	line_end(sc, false);
	return clean;
}

/* One step; returns bytes used (0: look at the same byte in the new state). */
static size_t
scan_step(struct smtps_scan *sc, const char *p, size_t n, struct buf *out, bool *end_r)
{
	switch (sc->state) {
	case SCAN_LINE_START:
		return scan_line_start(sc, p, n, out);
	case SCAN_LINE:
		return scan_line(sc, p, n, out);
	case SCAN_CR:
		if (*p == '\n') {
			emit(out, "\r\n", 2);
			line_end(sc, false);
			return 1;
		}
		emit_stray_cr(sc, out);
		sc->state = SCAN_LINE;
		return 0;
	case SCAN_DOT:
		if (*p == '\r') {
			sc->state = SCAN_DOT_CR;
			return 1;
		}
		if (*p == '\n') {
			*end_r = dot_line(sc, true);
			return 1;
		}
		sc->state = SCAN_LINE;
		return 0;
	case SCAN_DOT_CR:
		if (*p == '\n') {
			*end_r = dot_line(sc, false);
			return 1;
		}
		emit_stray_cr(sc, out);
		sc->state = SCAN_LINE;
		return 0;
	}
	panic("scan state %d", (int)sc->state);
}

size_t
smtps_scan(struct smtps_scan *sc, struct span in, struct buf *out, bool *end_r)
{
	/* A byte becomes two at most (bare LF), and one more may be pending (CR). */
	size_t room = out->max - out->n;
	size_t n = room < 4 ? 0 : (room - 2) / 2;
	size_t at = 0;

	if (n > in.n)
		n = in.n;
	*end_r = false;
	while (at < n && !*end_r)
		at += scan_step(sc, in.p + at, n - at, out, end_r);
	return at;
}

void
smtps_scan_finish(struct smtps_scan *sc, struct buf *out)
{
	if (sc->state == SCAN_CR || sc->state == SCAN_DOT_CR)
		emit_stray_cr(sc, out);
	if (sc->state != SCAN_LINE_START)
		emit(out, "\r\n", 2);
	sc->state = SCAN_LINE_START;
}

/* --- the engine's side --- */

void
smtps_content_begin(struct smtps *s, struct smtps_cmd *c)
{
	bool dots = c->row->verb == SMTPS_DATA;

	smtps_scan_init(&s->scan, dots, s->client.bare_lf, s->conf->replace_stray_cr);
	s->scan.prev_bare = dots && c->bare_lf;
	s->content_bytes = s->raw_bytes = s->chunks = 0;
}

/* Bytes were appended from `before` on: count them, drop them beyond the limit. */
static void
count_content(struct smtps *s, size_t before)
{
	s->content_bytes += s->content.n - before;
	if (s->conf->size_limit != 0 && s->content_bytes > s->conf->size_limit)
		s->too_big = true;
	if (s->too_big)
		buf_truncate(&s->content, before);
	s->saw_bare_lf |= s->scan.saw_bare;
}

static void
take(struct smtps *s, size_t n)
{
	s->view = span_from(s->view, n);
	s->raw_bytes += n;
}

/* All content of the message is here. */
static void
content_done(struct smtps *s, struct smtps_cmd *c)
{
	s->rx = RX_LINES;
	c->content_done = true;
}

static bool
step_dot(struct smtps *s, struct smtps_cmd *c)
{
	size_t before = s->content.n;
	bool end;
	size_t n = smtps_scan(&s->scan, s->view, &s->content, &end);

	count_content(s, before);
	take(s, n);
	if (end)
		content_done(s, c);
	return n > 0;
}

static void
chunk_end(struct smtps *s, struct smtps_cmd *c)
{
	size_t before = s->content.n;

	s->rx = RX_LINES;
	if (c->chunk_drop) {
		c->life = LIFE_ANSWERED;
		if (s->tx != NULL && c->chunk_last && s->phase == PH_BDAT)
			smtps_tx_end(s, true, s->too_big ? SMTPS_WHY_TOO_BIG : SMTPS_WHY_CLIENT);
		return;
	}
	if (!c->chunk_last) {
		smtps_say(s, c, "250 2.0.0 Ok: %llu bytes", (unsigned long long)c->chunk);
		return;
	}
	smtps_scan_finish(&s->scan, &s->content);
	count_content(s, before);
	content_done(s, c);
}

static bool
step_chunk(struct smtps *s, struct smtps_cmd *c)
{
	struct span in = span_slice(s->view, 0, s->chunk_left < s->view.n ? (size_t)s->chunk_left : s->view.n);
	size_t before = s->content.n;
	size_t n = in.n;
	bool end;

	if (s->chunk_left == 0 && s->content.max - s->content.n > 8) {
		chunk_end(s, c);
		return true;
	}
	if (!c->chunk_drop) {
		n = smtps_scan(&s->scan, in, &s->content, &end);
		count_content(s, before);
	}
	take(s, n);
	s->chunk_left -= n;
	return n > 0;
}

/* Everything was taken away: judge, or ask the owner. */
static bool
step_end(struct smtps *s, struct smtps_cmd *c)
{
	if (s->content.n > 0 || c->id != 0 || c->life != LIFE_WAITING)
		return false;
	s->where = "END-OF-MESSAGE";
	if (s->too_big) {
		smtps_say(s, c, "552 5.3.4 Error: message file too big");
		c->notice = SMTP_NOTICE_BOUNCE;
		smtps_tx_end(s, true, SMTPS_WHY_TOO_BIG);
	} else if (s->scan.saw_bare && s->scan.mode == SMTPS_BARE_LF_REJECT) {
		smtps_say(s, c, "%u %c.5.2 %.*s Error: bare <LF> received", s->conf->bare_lf_code,
		    s->conf->bare_lf_code < 500 ? '4' : '5', SPAN_ARG(s->conf->hostname));
		smtps_tx_end(s, true, SMTPS_WHY_BARE_LF);
	} else {
		smtps_ask(s, c, SMTPS_ASK_EOM);
	}
	return true;
}

bool
smtps_content_step(struct smtps *s)
{
	struct smtps_cmd *c = LIST_ITEM(s->cmds.next, struct smtps_cmd, node);

	if (list_empty(&s->cmds))
		return false;
	if (c->content_done)
		return step_end(s, c);
	switch (s->rx) {
	case RX_LINES:
	case RX_AUTH:
		return false;
	case RX_DOT:
		return s->view.n > 0 && step_dot(s, c);
	case RX_CHUNK:
		return step_chunk(s, c);
	}
	panic("rx %d", (int)s->rx);
}
