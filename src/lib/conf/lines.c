/* Logical lines of main.cf and master.cf: continuation by leading blanks, comments also in between. */
#include "conf/conf_private.h"

void
conf_lines_init(struct conf_lines *l, struct span text)
{
	l->rest = text;
	l->next = 1;
}

static struct span
physical(struct conf_lines *l)
{
	struct span line, rest;

	span_cut(l->rest, '\n', &line, &rest);
	l->rest = rest;
	l->next++;
	if (span_ends(line, SPAN("\r")))
		line.n--;
	return line;
}

static bool
is_skipped(struct span line)
{
	struct span t = span_trim(line);

	return t.n == 0 || t.p[0] == '#';
}

/* Does the next physical line that says something continue the one before? */
static bool
continues(struct conf_lines *l)
{
	while (l->rest.n > 0) {
		struct conf_lines ahead = *l;
		struct span line = physical(&ahead);

		if (!is_skipped(line))
			return line.p[0] == ' ' || line.p[0] == '\t';
		*l = ahead;
	}
	return false;
}

bool
conf_lines_next(struct conf_lines *l, struct buf *line, unsigned *number_r)
{
	buf_clear(line);
	while (l->rest.n > 0) {
		unsigned number = l->next;
		struct span first = physical(l);

		if (is_skipped(first))
			continue;
		*number_r = number;
		buf_add_span(line, first);
		while (continues(l))
			buf_add_span(line, physical(l));
		return true;
	}
	return false;
}
