/* Small pieces of the wire form: numbers, bounded bytes, counts, printing. */
#include "base/log.h"
#include "ipc/ipc_private.h"

void
ipc_put(struct buf *b, uint64_t v, size_t bytes)
{
	char le[8];

	for (size_t i = 0; i < bytes; i++)
		le[i] = (char)(v >> (8 * i));
	buf_add(b, le, bytes);
}

void
ipc_put_bytes(struct buf *b, struct span s, size_t max)
{
	if (s.n > max) {
		if (max > 4096)
			b->full = true;
		s.n = max;
	}
	ipc_put(b, s.n, 4);
	buf_add_span(b, s);
}

size_t
ipc_count(struct rd *r, size_t max)
{
	size_t n = rd_u32(r);

	/* every element takes at least four bytes, so a count cannot ask for more memory than was sent */
	if (n > max || n > rd_left(r) / 4) {
		r->bad = true;
		return 0;
	}
	return n;
}

void
ipc_show_bytes(struct buf *b, const char *name, struct span s)
{
	struct span shown = log_esc(span_slice(s, 0, 60));

	buf_addf(b, " %s=\"%.*s\"", name, SPAN_ARG(shown));
	if (s.n > 60)
		buf_addf(b, "...(%zu)", s.n);
}
