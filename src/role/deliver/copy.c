/* Wire-form content to mailbox form, in pieces of whole lines. */
#include "role/deliver/copy.h"

#include <errno.h>

#include "base/fd.h"

#define CHUNK 65536

struct copier {
	const struct copy_form *form;
	copy_sink *sink;
	void *ctx;
	struct buf out;
	bool line_start;
	int error;
};

static bool
flush(struct copier *c)
{
	if (c->out.n > 0 && c->error == 0)
		c->error = c->sink(c->ctx, buf_span(&c->out));
	buf_clear(&c->out);
	return c->error == 0;
}

/* Room is always there: a piece is at most CHUNK, the buffer holds four. */
static bool
put(struct copier *c, struct span s)
{
	if (c->out.n + s.n > 2 * (size_t)CHUNK && !flush(c))
		return false;
	return buf_add_span(&c->out, s);
}

static bool
put_line_start(struct copier *c, struct span line)
{
	if (c->form->quote_from && span_starts(line, SPAN("From ")))
		return put(c, SPAN(">"));
	if (c->form->quote_dot && span_starts(line, SPAN(".")))
		return put(c, SPAN("."));
	return true;
}

/* `line` is a whole line with its LF, or the piece of one (`ended` false). */
static bool
put_line(struct copier *c, struct span line, bool ended)
{
	if (c->line_start && !put_line_start(c, line))
		return false;
	c->line_start = ended;
	if (!ended)
		return put(c, line);
	line.n--;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return put(c, line) && put(c, c->form->eol);
}

/*
 * Take the whole lines at the front of `have`; the number of bytes taken. A line
 * that fills the buffer goes out in pieces, except for a CR that may belong to CRLF.
 */
static size_t
take_lines(struct copier *c, struct span have)
{
	size_t done = 0;

	while (c->error == 0) {
		struct span rest = span_from(have, done);
		ptrdiff_t lf = span_index(rest, '\n');

		if (lf >= 0) {
			put_line(c, span_slice(rest, 0, (size_t)lf + 1), true);
			done += (size_t)lf + 1;
			continue;
		}
		if (rest.n == CHUNK) {
			put_line(c, span_slice(rest, 0, CHUNK - 1), false);
			done += CHUNK - 1;
		}
		break;
	}
	return done;
}

static void
finish(struct copier *c, struct span rest)
{
	if (rest.n > 0) {
		if (rest.p[rest.n - 1] == '\r')
			rest.n--;
		put_line(c, rest, false);
	}
	if (!c->line_start)
		put(c, c->form->eol);
	if (c->form->blank_line_end)
		put(c, c->form->eol);
	flush(c);
}

/* Read on until the content ends; 0, or -errno of the reading. */
static int
copy_all(struct copier *c, const struct content *in, char *chunk)
{
	uint64_t at = 0;
	size_t kept = 0;

	while (at < in->size && c->error == 0) {
		size_t want = CHUNK - kept;
		size_t taken;
		int r;

		if (want > in->size - at)
			want = (size_t)(in->size - at);
		r = fd_pread_all(in->fd, chunk + kept, want, in->off + at);
		if (r < 0)
			return r;
		at += want;
		kept += want;
		taken = take_lines(c, span_of(chunk, kept));
		kept -= taken;
		memmove(chunk, chunk + taken, kept);
	}
	if (c->error == 0)
		finish(c, span_of(chunk, kept));
	return 0;
}

enum copy_result
copy_content(const struct content *in, const struct copy_form *form, copy_sink *sink, void *ctx,
    int *error_r)
{
	struct copier c = { .form = form, .sink = sink, .ctx = ctx, .line_start = true };
	struct buf chunk;
	int r;

	buf_init(&c.out, 4 * (size_t)CHUNK);
	buf_init(&chunk, CHUNK);
	r = copy_all(&c, in, buf_space(&chunk, CHUNK));
	buf_release(&chunk);
	buf_release(&c.out);
	*error_r = r < 0 ? r : c.error;
	if (r < 0)
		return COPY_READ_FAILED;
	return c.error < 0 ? COPY_WRITE_FAILED : COPY_OK;
}
