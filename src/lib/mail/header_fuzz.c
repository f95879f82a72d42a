/* Fuzz: headers, address lists, MIME structure. Rewriting an address to itself changes nothing. */
#include "mail/header.h"

#include "base/panic.h"
#include "mail/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
same(void *ctx, struct span addr, struct span *new_r)
{
	(void)ctx;
	*new_r = addr;
	return true;
}

static void
check_identity(struct span value, struct arena *a)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	ensure(header_rewrite_addresses(value, 1000, same, NULL, a, &out));
	/* A source route is dropped: the only change there is. */
	if (span_index(value, ':') < 0)
		ensure(span_eq(buf_span(&out), value));
	buf_release(&out);
}

static void
check_mime(struct span text, struct arena *a)
{
	struct mime *m = mime_new(a, 5, 20);

	while (text.n > 0) {
		struct span line, header, name, value;

		if (mime_where(m) != MIME_BODY && mime_peek(m, text) == MIME_LINE_TEXT &&
		    header_next(&text, &header)) {
			if (header_split(header, &name, &value))
				mime_header(m, name, value);
			continue;
		}
		span_cut(text, '\n', &line, &text);
		if (mime_line(m, line) == MIME_LINE_TEXT && mime_where(m) != MIME_BODY)
			mime_headers_end(m);
		ensure(mime_depth(m) <= 5);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new(64 << 20);
	struct span s = span_of(p, n), rest = s, header, value;
	size_t total = 0;

	if (n > 65536)
		n = s.n = rest.n = 65536;
	while (header_next(&rest, &header)) {
		total += header.n;
		ensure(header.n > 0);
		header_unfold(header, a);
		header_check_text(header, a);
	}
	ensure(total + rest.n == s.n);
	header_find(s, SPAN("to"), a, &value);
	check_identity(s, a);
	check_mime(s, a);
	arena_free(&a);
	return 0;
}
