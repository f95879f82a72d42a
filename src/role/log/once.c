/* Lines that several processes say alike are written once. */
#include "role/log/once.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/panic.h"

#define ROUND_US (60 * US_PER_S)        /* processes start, and notice trouble, at about the same time */

static struct once_line *
find(struct once *o, struct span text)
{
	for (size_t i = 0; i < ONCE_LINES; i++)
		if (o->lines[i].text != NULL && span_eq(text, span_str(o->lines[i].text)))
			return &o->lines[i];
	return NULL;
}

static bool
has_said(const struct once_line *l, uint32_t pid)
{
	for (unsigned i = 0; i < l->n_pids; i++)
		if (l->pids[i] == pid)
			return true;
	return false;
}

static struct once_line *
replace(struct once *o, struct span text)
{
	struct once_line *l = &o->lines[o->next++ % ONCE_LINES];

	free(l->text);
	l->text = strndup(text.p, text.n);
	ensure(l->text != NULL);
	return l;
}

bool
once_is_new(struct once *o, int64_t wall_us, uint32_t pid, struct span text)
{
	struct once_line *l = find(o, text);

	if (l != NULL && llabs(wall_us - l->wall_us) < ROUND_US && l->n_pids < ONCE_PIDS && !has_said(l, pid)) {
		l->pids[l->n_pids++] = pid;
		return false;
	}
	if (l == NULL)
		l = replace(o, text);
	l->wall_us = wall_us;
	l->pids[0] = pid;
	l->n_pids = 1;
	return true;
}

void
once_clear(struct once *o)
{
	for (size_t i = 0; i < ONCE_LINES; i++)
		free(o->lines[i].text);
	*o = (struct once){ .next = 0 };
}
