/* Replies of an SMTP server: cut bytes into lines, lines into replies. */
#include "smtp/reply.h"

#include <stdio.h>

/* A server may send ahead of what we look at, within reason: 1000 pipelined answers fit. */
#define IN_MAX ((size_t)512 * 1024)

void
smtp_replies_init(struct smtp_replies *r)
{
	*r = (struct smtp_replies){ 0 };
	buf_init(&r->in, IN_MAX);
	buf_init(&r->text, SMTP_REPLY_TEXT_MAX);
}

void
smtp_replies_release(struct smtp_replies *r)
{
	buf_release(&r->in);
	buf_release(&r->text);
}

void
smtp_replies_clear(struct smtp_replies *r)
{
	buf_clear(&r->in);
	buf_clear(&r->text);
	r->at = r->seen = r->lines = r->junk_lines = 0;
	r->done = false;
}

bool
smtp_replies_feed(struct smtp_replies *r, struct span bytes)
{
	return buf_add_span(&r->in, bytes);
}

bool
smtp_replies_pending(const struct smtp_replies *r)
{
	return r->in.n > r->at || (r->lines > 0 && !r->done);
}

/* Bytes `from` on, made safe to print: controls become '?', and so do bytes that are no UTF-8. */
static void
clean(struct buf *text, size_t from)
{
	bool utf8 = span_is_utf8(span_of(text->p + from, text->n - from));

	for (size_t i = from; i < text->n; i++) {
		unsigned char c = (unsigned char)text->p[i];

		if (c == '\t')
			text->p[i] = ' ';
		else if (c < 32 || c == 127 || (c > 127 && !utf8))
			text->p[i] = '?';
	}
}

static bool
has_code(struct span line)
{
	return line.n >= 3 && line.p[0] >= '2' && line.p[0] <= '5' && ascii_isdigit(line.p[1]) &&
	    ascii_isdigit(line.p[2]) && (line.n == 3 || line.p[3] == ' ' || line.p[3] == '-');
}

/* Length of the D.D.D at the start of `s`, 0 when there is none (RFC 3463 section 2). */
static size_t
dsn_length(struct span s)
{
	size_t i = 2;

	if (s.n < 5 || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		while (i < s.n && digits < 4 && ascii_isdigit(s.p[i])) {
			i++;
			digits++;
		}
		if (digits == 0 || digits > 3)
			return 0;
		if (part == 0 && (i >= s.n || s.p[i++] != '.'))
			return 0;
	}
	return i == s.n || s.p[i] == ' ' ? i : 0;
}

/* The enhanced code of the line, or one made from the class when there is none that fits. */
static void
set_dsn(struct smtp_reply *reply, struct span line)
{
	struct span rest = span_trim(span_from(line, 4));
	size_t n = dsn_length(rest);

	reply->has_dsn = n > 0 && rest.p[0] == line.p[0];
	if (reply->has_dsn) {
		memcpy(reply->dsn, rest.p, n);
		reply->dsn[n] = '\0';
		return;
	}
	/* a 3xx where a verdict was due is nobody's permanent failure */
	snprintf(reply->dsn, sizeof(reply->dsn), "%c.0.0", line.p[0] == '3' ? '4' : line.p[0]);
}

/* One line without its end. True when it completes a reply. */
static bool
take_line(struct smtp_replies *r, struct span line, struct smtp_reply *reply)
{
	size_t from = r->text.n;
	struct span new;

	if (r->filter != NULL && r->filter(r->filter_ctx, line, &new))
		line = span_slice(new, 0, SMTP_REPLY_LINE_MAX);
	if (!has_code(line)) {
		r->junk_lines++;
		return false;
	}
	r->lines++;
	if (from > 0)
		(void)buf_addc(&r->text, '\n');
	/* text beyond the maximum is dropped; code and verdict are taken from the line itself */
	if (r->text.n < r->text.max) {
		size_t at = r->text.n;

		(void)buf_add_span(&r->text, span_slice(line, 0, r->text.max - r->text.n));
		clean(&r->text, at);
	}
	if (line.n > 3 && line.p[3] == '-')
		return false;
	*reply = (struct smtp_reply){
		.code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'),
		.junk_before = r->junk_lines > 0,
	};
	set_dsn(reply, line);
	return true;
}

static void
start_anew(struct smtp_replies *r)
{
	if (!r->done)
		return;
	buf_clear(&r->text);
	r->lines = r->junk_lines = 0;
	r->done = false;
}

/* No line end is here yet: drop what was used; of a line that is too long keep the start. */
static void
wait_more(struct smtp_replies *r)
{
	buf_consume(&r->in, r->at);
	r->at = 0;
	if (r->in.n > SMTP_REPLY_LINE_MAX)
		buf_truncate(&r->in, SMTP_REPLY_LINE_MAX);
	r->seen = r->in.n;
}

/* The next line without its end; false when it is not here yet. */
static bool
next_line(struct smtp_replies *r, struct span *line_r)
{
	const char *start = r->in.n > r->seen ? r->in.p + r->at : NULL;
	const char *lf = start != NULL ? memchr(r->in.p + r->seen, '\n', r->in.n - r->seen) : NULL;
	size_t n;

	if (lf == NULL)
		return false;
	n = (size_t)(lf - start);
	r->at = r->seen = r->at + n + 1;
	if (n > 0 && start[n - 1] == '\r')
		n--;
	*line_r = span_of(start, n > SMTP_REPLY_LINE_MAX ? SMTP_REPLY_LINE_MAX : n);
	return true;
}

enum smtp_reply_result
smtp_replies_next(struct smtp_replies *r, struct smtp_reply *reply_r)
{
	struct span line;

	start_anew(r);
	while (next_line(r, &line)) {
		if (take_line(r, line, reply_r)) {
			r->done = true;
			reply_r->text = buf_span(&r->text);
			return SMTP_REPLY_DONE;
		}
		if (r->lines + r->junk_lines > SMTP_REPLY_LINES_MAX)
			return SMTP_REPLY_BAD;
	}
	wait_more(r);
	return SMTP_REPLY_MORE;
}

bool
smtp_reply_line(struct span *rest, struct span *line_r)
{
	struct span line, tail;

	if (rest->n == 0)
		return false;
	(void)span_cut(*rest, '\n', &line, &tail);
	*rest = tail;
	*line_r = span_trim(span_from(line, 4));
	return true;
}
