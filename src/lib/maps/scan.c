/* Finding table names in text. */
#include "maps/scan.h"

#define ENDS ", \t\r\n{}"

/* A table's name begins here: at the start, behind a separator, or behind "proxy:". */
static bool
may_begin(struct span text, size_t at)
{
	return at == 0 || strchr(ENDS "=:!", text.p[at - 1]) != NULL;
}

static size_t
name_end(struct span text, size_t at)
{
	while (at < text.n && text.p[at] != '\0' && strchr(ENDS, text.p[at]) == NULL)
		at++;
	return at;
}

void
scan_labels(struct span text, const char *type,
    void (*each)(void *ctx, struct span label, struct span name), void *ctx)
{
	struct span word = span_str(type);
	size_t at = 0, colon, end;
	ptrdiff_t hit;

	for (; (hit = span_find(span_from(text, at), word)) >= 0; at += word.n) {
		at += (size_t)hit;
		colon = at + word.n;
		if (!may_begin(text, at) || colon >= text.n || text.p[colon] != ':')
			continue;
		end = name_end(text, colon + 1);
		if (end > colon + 1)
			each(ctx, span_slice(text, at, end), span_slice(text, colon + 1, end));
	}
}
