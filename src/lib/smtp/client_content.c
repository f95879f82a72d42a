/*
 * Content on its way out. Nothing is copied: under DATA the pieces handed to writev are cut where a
 * line begins with a dot, and the second dot is a constant (RFC 5321 section 4.5.2); under BDAT
 * (RFC 3030) the content goes as it is.
 */
#include "base/panic.h"
#include "smtp/client_private.h"

static char dot[] = ".";

/* One look ahead for dots; what a single write takes is seldom more. */
#define LOOK_MAX ((size_t)256 * 1024)

/* Length of `s` up to and without the first dot that begins a line, or all of it (as far as we look). */
static size_t
until_dot(struct span s)
{
	struct span look = span_slice(s, 0, LOOK_MAX);
	const char *p = look.p, *end = look.p + look.n;

	/* from line end to line end: several times as fast as a search for the pair */
	while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL && ++p < end)
		if (*p == '.')
			return (size_t)(p - look.p);
	return look.n;
}

static struct iovec
iov(const char *p, size_t n)
{
	union {
		const char *in;
		char *out;
	} u = { .in = p };              /* writev reads only */

	return (struct iovec){ .iov_base = u.out, .iov_len = n };
}

/*
 * Pieces of `rest` with dots doubled. A piece that begins with a line's dot is preceded by a
 * piece of one dot, except when that one was already written (`line_start` is false then).
 */
static int
stuffed(const struct smtpc *c, struct iovec *v, int count)
{
	struct span rest = c->piece;
	bool line_start = c->line_start;
	int n = 0;

	while (rest.n > 0 && n < count) {
		size_t len;

		if (line_start && rest.p[0] == '.') {
			v[n++] = iov(dot, 1);
			if (n == count)
				break;
		}
		len = until_dot(rest);
		v[n++] = iov(rest.p, len);
		line_start = rest.p[len - 1] == '\n';
		rest = span_from(rest, len);
	}
	return n;
}

int
smtpc_content_output(struct smtpc *c, struct iovec *v, int count)
{
	if (c->piece.n == 0 || count == 0)
		return 0;
	if (!c->bdat)
		return stuffed(c, v, count);
	v[0] = iov(c->piece.p, c->piece.n);
	return 1;
}

void
smtpc_content_sent(struct smtpc *c, size_t n)
{
	while (n > 0 && c->piece.n > 0) {
		size_t len = until_dot(c->piece);

		if (c->bdat) {
			len = c->piece.n;
		} else if (c->line_start && c->piece.p[0] == '.') {
			c->line_start = false;  /* its twin is out */
			n--;
			continue;
		}
		if (len > n)
			len = n;
		c->line_start = c->piece.p[len - 1] == '\n';
		c->piece = span_from(c->piece, len);
		n -= len;
	}
	ensure(n == 0);
}
