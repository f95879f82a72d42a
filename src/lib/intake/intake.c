/* The content of one message, line by line, through checks and MIME structure to the sink. */
#include "intake/intake.h"

#include <stdlib.h>

#include "base/panic.h"
#include "conf/params.h"
#include "intake/intake_private.h"
#include "mail/address.h"
#include "mail/header.h"
#include "maps/maps.h"

#define CONVERT_PIECE 16384u

/* Scratch is cleared for each line or header; the token limit and table values bound what one of them takes. */
#define SCRATCH_MAX ((size_t)2 * INTAKE_SCRATCH_BUDGET)

struct intake *
intake_new(const struct intake_input *in)
{
	const struct params *p = in->conf->p;
	struct intake *i = calloc(1, sizeof(*i));

	if (i == NULL)
		panic("out of memory");
	i->in = *in;
	if (in->log != NULL)
		i->log = *in->log;
	i->checks_off = in->header_checks_off || in->internal;
	i->scratch = arena_new(SCRATCH_MAX);
	i->own_line = arena_new(size_add((size_t)p->line_length_limit, 65536));
	i->own = arena_new(size_add((size_t)1 << 20, size_mul((size_t)p->mime_nesting_limit + 1,
	    size_add((size_t)p->mime_boundary_length_limit, 64))));
	i->mime = mime_new(i->own, (size_t)p->mime_nesting_limit, (size_t)p->mime_boundary_length_limit);
	buf_init(&i->line, (size_t)p->line_length_limit + 2);
	buf_init(&i->header, (size_t)p->header_size_limit + 2);
	buf_init(&i->converted, MIME_QP_ROOM(CONVERT_PIECE));
	if (p->force_mime_input_conversion && !in->internal)
		i->qp = mime_qp_new(i->own, MIME_QP_DECLARED, 0);
	return i;
}

void
intake_free(struct intake **ip)
{
	struct intake *i = *ip;

	if (i == NULL)
		return;
	buf_release(&i->line);
	buf_release(&i->header);
	buf_release(&i->converted);
	arena_free(&i->scratch);
	arena_free(&i->own_line);
	arena_free(&i->own);
	free(i);
	*ip = NULL;
}

bool
intake_decided(const struct intake *i)
{
	return i->decided;
}

/* Hand out what was gathered. */
static void
flush_run(struct intake *i)
{
	if (i->run.n > 0)
		i->in.sink(i->in.sink_ctx, i->run);
	i->run = SPAN("");
}

/*
 * Lines that stand behind each other in the caller's bytes go out in one piece: most of a
 * body is one call of the sink. Other memory does not live long enough to be gathered.
 */
void
intake_emit(struct intake *i, struct span bytes)
{
	bool lasts;

	if (i->decided || bytes.n == 0)
		return;
	lasts = i->input.n > 0 && bytes.p >= i->input.p && bytes.p + bytes.n <= i->input.p + i->input.n;
	i->out_bytes += bytes.n;
	if (lasts && i->run.n > 0 && i->run.p + i->run.n == bytes.p) {
		i->run.n += bytes.n;
		return;
	}
	flush_run(i);
	if (lasts)
		i->run = bytes;
	else
		i->in.sink(i->in.sink_ctx, bytes);
}

void
intake_emit_line(struct intake *i, struct span line)
{
	intake_emit(i, line);
	intake_emit(i, SPAN("\r\n"));
}

/* --- the body --- */

/* What a body line's check does to the line; the rest intake_check_act does. */
static void
emit_checked(struct intake *i, const struct check *c, struct span line, bool eol)
{
	if (c->action == CHECK_IGNORE || c->action == CHECK_STRIP)
		return;
	if (c->action == CHECK_PREPEND)
		intake_emit_line(i, c->text);
	if (c->action == CHECK_REPLACE)
		line = c->text;
	/* Untouched, the line still has its CRLF behind it. */
	if (eol && line.p == i->raw.p && line.n == i->raw.n) {
		intake_emit(i, span_of(line.p, line.n + 2));
		return;
	}
	intake_emit(i, line);
	if (eol)
		intake_emit(i, SPAN("\r\n"));
}

static void
strict_body(struct intake *i, struct span line)
{
	const struct params *p = i->in.conf->p;

	if ((p->strict_8bitmime_body || p->strict_8bitmime) && !i->in.internal && !span_is_ascii(line) &&
	    mime_encoding(i->mime) == MIME_7BIT)
		intake_mime_error(i, "improper use of 8-bit data in message body", line);
}

/* A piece of body: a line, or a part of one that is longer than line_length_limit. */
static enum intake_result
take_body(struct intake *i, struct span line, bool bol, bool eol)
{
	const struct intake_conf *conf = i->in.conf;
	enum mime_line kind = bol ? mime_peek(i->mime, line) : MIME_LINE_TEXT;
	struct check c = { .action = CHECK_DUNNO };

	if (!maps_empty(conf->body_checks) && i->checked_bytes < conf->p->body_checks_size_limit) {
		arena_clear(i->scratch);
		if (intake_check_find(i, conf->body_checks, line, false, &c) == INTAKE_WAIT)
			return INTAKE_WAIT;
	}
	i->checked_bytes += line.n;
	if (kind != MIME_LINE_TEXT) {
		mime_line(i->mime, line);
		i->checked_bytes = 0;
	} else {
		strict_body(i, line);
	}
	intake_check_act(i, &c, false, line);
	emit_checked(i, &c, line, eol);
	return INTAKE_OK;
}

/* --- headers --- */

/* Collect a piece of a header; what passes header_size_limit is dropped. */
static void
collect(struct intake *i, struct span line, bool eol)
{
	size_t room = i->header.max - i->header.n;

	if (room > 2)
		buf_add_span(&i->header, span_slice(line, 0, room - 2));
	if (eol && (i->header.n < 2 || i->header.max - i->header.n >= 2))
		buf_add_str(&i->header, "\r\n");
}

static void
mime_complaints(struct intake *i, struct span line)
{
	const struct params *p = i->in.conf->p;
	const struct intake_conf *c = i->in.conf;
	bool strict = p->strict_mime_encoding_domain || p->strict_7bit_headers || p->strict_8bitmime ||
	    p->strict_8bitmime_body;
	bool looks = !maps_empty(c->header_checks) || !maps_empty(c->mime_header_checks) ||
	    !maps_empty(c->nested_header_checks);

	if (i->in.internal)
		return;
	/* Deeper than we follow, checks would not see what is inside. */
	if ((mime_faults(i->mime) & MIME_FAULT_NESTING) && (strict || looks) && !i->checks_off)
		intake_mime_error(i, "MIME nesting exceeds safety limit", line);
	if ((mime_faults(i->mime) & MIME_FAULT_DOMAIN) && p->strict_mime_encoding_domain)
		intake_mime_error(i, "invalid message/* or multipart/* encoding domain", line);
}

/* The headers of this entity ended at `line` (blank, or no header at all). */
static void
end_headers(struct intake *i, struct span line)
{
	if (mime_where(i->mime) == MIME_PRIMARY)
		intake_close_headers(i);
	mime_headers_end(i->mime);
	mime_complaints(i, line);
	i->checked_bytes = 0;
}

static bool
is_continuation(const struct intake *i, struct span line)
{
	return i->header.n > 0 && line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');
}

/* "From " or ">From " as the client's first line: a mailbox separator that leaked. */
static bool
is_mailbox_line(struct span line)
{
	while (line.n > 0 && line.p[0] == '>')
		line = span_from(line, 1);
	return span_starts(line, SPAN("From "));
}

/* A line while headers are expected. */
static enum intake_result
take_header_line(struct intake *i, struct span line, bool eol, bool first)
{
	bool primary = mime_where(i->mime) == MIME_PRIMARY;
	bool delimiter = !primary && mime_peek(i->mime, line) != MIME_LINE_TEXT;

	if (!delimiter && is_continuation(i, line)) {
		collect(i, line, eol);
		return INTAKE_OK;
	}
	if (intake_flush_header(i) == INTAKE_WAIT)
		return INTAKE_WAIT;
	if (delimiter)
		return take_body(i, line, true, eol);
	if (first && primary && is_mailbox_line(line)) {
		collect(i, SPAN("X-Mailbox-Line: "), false);
		collect(i, line, eol);
		return INTAKE_OK;
	}
	if (header_name_length(line) > 0) {
		collect(i, line, eol);
		return INTAKE_OK;
	}
	end_headers(i, line);
	if (line.n == 0 && eol) {
		intake_emit(i, SPAN("\r\n"));
		return INTAKE_OK;
	}
	/* A body that begins without the blank line: it gets one. */
	intake_emit(i, SPAN("\r\n"));
	if (mime_where(i->mime) == MIME_BODY)
		return take_body(i, line, true, eol);
	return take_header_line(i, line, eol, false);
}

/* --- lines --- */

/* Bits of enum intake_byte that occur in a line. */
static unsigned
kinds_of(const struct intake_conf *c, struct span line)
{
	unsigned kinds = 0;

	if (c->any_unwanted) {
		for (size_t k = 0; k < line.n; k++)
			kinds |= c->bytes[(unsigned char)line.p[k]];
		return kinds;
	}
	/* Without message_{reject,strip}_characters the C library's searches do, at many bytes a cycle. */
	if (span_index(line, '\r') >= 0 || span_index(line, '\n') >= 0)
		kinds |= INTAKE_BYTE_CRLF;
	if (!span_is_ascii(line))
		kinds |= INTAKE_BYTE_8BIT;
	return kinds;
}

/* Strays become blanks, unwanted bytes go; in scratch when something had to change. */
static struct span
clean(struct intake *i, struct span line)
{
	const struct intake_conf *c = i->in.conf;
	unsigned kinds = kinds_of(c, line);
	size_t n = 0;
	char *p;

	i->eightbit = i->eightbit || (kinds & INTAKE_BYTE_8BIT);
	if (!(kinds & ~(unsigned)INTAKE_BYTE_8BIT) || i->in.internal)
		return line;
	if (kinds & INTAKE_BYTE_REJECT)
		intake_decide(i, INTAKE_REJECT, "550 5.7.1 disallowed character");
	p = arena_alloc(i->own_line, line.n);
	for (size_t k = 0; k < line.n; k++) {
		unsigned kind = c->bytes[(unsigned char)line.p[k]];
		bool stray = (kind & INTAKE_BYTE_CRLF) && c->p->cleanup_replace_stray_cr_lf;

		if (!(kind & INTAKE_BYTE_STRIP))
			p[n++] = stray ? ' ' : line.p[k];
	}
	return span_of(p, n);
}

/* One line without its line end, or (bol/eol not both) a piece of a long one. Changes nothing when it answers INTAKE_WAIT. */
static enum intake_result
take_line(struct intake *i, struct span raw, bool eol)
{
	bool bol = !i->mid_line, first = !i->client_began && !i->in_own;
	enum intake_result res = INTAKE_OK;
	struct span line;

	if (i->decided)
		return INTAKE_OK;
	arena_clear(i->own_line);
	i->raw = raw;
	line = clean(i, raw);
	if (mime_where(i->mime) == MIME_BODY)
		res = take_body(i, line, bol, eol);
	else if (!bol && i->header.n > 0)
		collect(i, line, eol);
	else if (!bol)                  /* the rest of a very long delimiter line */
		res = take_body(i, line, false, eol);
	else
		res = take_header_line(i, line, eol, first);
	if (res == INTAKE_WAIT)
		return INTAKE_WAIT;
	i->mid_line = !eol;
	if (!i->in_own)
		i->client_began = true;
	return INTAKE_OK;
}

/* The held line, complete or as much of it as we hold at once. */
static enum intake_result
take_held(struct intake *i)
{
	bool eol = span_ends(buf_span(&i->line), SPAN("\r\n"));
	/* The CR of a CRLF that is still to come is not given away. */
	bool half = !eol && !i->finished_input && span_ends(buf_span(&i->line), SPAN("\r"));
	struct span line = span_slice(buf_span(&i->line), 0, i->line.n - (eol ? 2 : half ? 1 : 0));

	if (take_line(i, line, eol) == INTAKE_WAIT)
		return INTAKE_WAIT;
	buf_consume(&i->line, half ? i->line.n - 1 : i->line.n);
	i->line_ready = false;
	return INTAKE_OK;
}

/* How much of `s` ends the current line: up to and with CRLF; 0 when the end is not in it. */
static size_t
line_end(const struct intake *i, struct span s)
{
	size_t at = 0;

	while (at < s.n) {
		const char *lf = memchr(s.p + at, '\n', s.n - at);
		size_t n;

		if (lf == NULL)
			return 0;
		n = (size_t)(lf - s.p);
		if (n > 0 ? s.p[n - 1] == '\r' : span_ends(buf_span(&i->line), SPAN("\r")))
			return n + 1;
		at = n + 1;
	}
	return 0;
}

/* Take from the front of `s` one line or as much as there is of it; how much went is added to `*used`. */
static enum intake_result
step(struct intake *i, struct span s, size_t *used)
{
	size_t limit = (size_t)i->in.conf->p->line_length_limit;
	size_t end = line_end(i, span_slice(s, 0, limit + 2)), n;

	if (i->line.n == 0 && end > 0) {
		if (take_line(i, span_slice(s, 0, end - 2), true) == INTAKE_WAIT)
			return INTAKE_WAIT;
		*used += end;
		return INTAKE_OK;
	}
	n = end > 0 ? end : s.n;
	if (n > i->line.max - i->line.n) {
		n = i->line.max - i->line.n;
		end = 0;
	}
	buf_add(&i->line, s.p, n);
	*used += n;
	i->line_ready = end > 0 || i->line.n == i->line.max;
	return i->line_ready ? take_held(i) : INTAKE_OK;
}

static void
too_big(struct intake *i)
{
	uint64_t limit = i->in.conf->p->message_size_limit;

	if (limit > 0 && i->client_bytes > limit && !i->in.internal)
		intake_decide(i, INTAKE_REJECT, "552 5.3.4 Error: message file too big");
}

/* As many lines as are there. `*used_r` counts also when the answer is INTAKE_WAIT. */
static enum intake_result
take_bytes(struct intake *i, struct span bytes, size_t *used_r)
{
	enum intake_result res = INTAKE_OK;

	*used_r = 0;
	i->input = bytes;
	if (i->line_ready)
		res = take_held(i);
	while (res == INTAKE_OK && *used_r < bytes.n && !i->decided)
		res = step(i, span_from(bytes, *used_r), used_r);
	flush_run(i);
	i->input = SPAN("");
	if (i->decided)
		*used_r = bytes.n;
	return res;
}

/* What force_mime_input_conversion has made and nobody has taken yet. */
static enum intake_result
take_converted(struct intake *i)
{
	enum intake_result res;
	size_t used;

	res = take_bytes(i, buf_span(&i->converted), &used);
	buf_consume(&i->converted, used);
	return res;
}

/* force_mime_input_conversion: what is declared as 8-bit is converted before anyone looks at it. */
static enum intake_result
convert_bytes(struct intake *i, struct span bytes, size_t *used_r)
{
	enum intake_result res = take_converted(i);

	*used_r = 0;
	while (res == INTAKE_OK && *used_r < bytes.n && !i->decided) {
		struct span piece = span_slice(bytes, *used_r, *used_r + CONVERT_PIECE);

		/* Only what is declared is converted: that is never impossible. */
		mime_qp_feed(i->qp, piece, &i->converted, NULL);
		*used_r += piece.n;
		res = take_converted(i);
	}
	if (i->decided)
		*used_r = bytes.n;
	return res;
}

enum intake_result
intake_feed(struct intake *i, struct span bytes, size_t *used_r)
{
	enum intake_result res;
	size_t used;

	res = i->qp != NULL && !i->in_own ? convert_bytes(i, bytes, &used) : take_bytes(i, bytes, &used);
	i->client_bytes += i->in_own ? 0 : used;
	too_big(i);
	*used_r = used;
	return res;
}

enum intake_result
intake_header(struct intake *i, struct span header)
{
	enum intake_result res;
	size_t used = 0;

	ensure(!i->client_began && span_ends(header, SPAN("\r\n")));
	i->in_own = true;
	res = intake_feed(i, span_from(header, i->own_used), &used);
	/* Flushed now, not by the line behind it: what is ours must not be taken for the client's. */
	i->own_used += used;
	if (res == INTAKE_OK)
		res = intake_flush_header(i);
	if (res == INTAKE_OK) {
		i->own_used = 0;
		i->in_own = false;
	}
	return res;
}

/* --- the end --- */

static void
fill_envelope(struct intake *i)
{
	struct envelope *e = i->in.env;
	bool resent = i->resent_count > 0;
	const struct envelope_rcpt *list = resent ? i->resent_to : i->to;
	size_t count = resent ? i->resent_count : i->to_count;

	e->size = i->out_bytes;
	e->eightbit = i->eightbit;
	e->hold = e->hold || i->hold;
	e->tls_optional = e->tls_optional || i->tls_optional;
	if (i->filter.n > 0)
		e->filter = i->filter;
	if (i->redirect.n > 0)
		e->redirect = i->redirect;
	if (i->in.smtputf8_autodetect && i->eightbit_header)
		e->smtputf8 = true;
	for (size_t k = 0; k < count; k++)
		envelope_add_rcpt(e, i->in.arena, &list[k]);
	for (size_t k = 0; k < i->bcc_count; k++) {
		struct envelope_rcpt r = { .addr = i->bcc[k], .orig = i->bcc[k],
			.notify = ENVELOPE_NOTIFY_NEVER, .flags = ENVELOPE_RCPT_BCC };

		envelope_add_rcpt(e, i->in.arena, &r);
	}
}

enum intake_result
intake_finish(struct intake *i, struct intake_verdict *verdict_r)
{
	if (i->qp != NULL && !i->finished_input)
		mime_qp_end(i->qp, &i->converted, NULL);
	i->finished_input = true;
	if (!i->decided && i->qp != NULL && take_converted(i) == INTAKE_WAIT)
		return INTAKE_WAIT;
	/* Content that does not end in CRLF gets one: wire form has no other end. */
	if (!i->decided && i->line.n > 0 && take_held(i) == INTAKE_WAIT)
		return INTAKE_WAIT;
	if (!i->decided && intake_flush_header(i) == INTAKE_WAIT)
		return INTAKE_WAIT;
	if (i->mid_line)
		intake_emit(i, SPAN("\r\n"));
	i->mid_line = false;
	if (mime_where(i->mime) == MIME_PRIMARY)
		intake_close_headers(i);
	if (!i->decided)
		fill_envelope(i);
	verdict_r->action = i->decided ? i->action : INTAKE_ACCEPT;
	verdict_r->reply = i->reply;
	return INTAKE_OK;
}
