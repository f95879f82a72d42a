/* Another code and text for an outcome: the same for every agent. */
#include "role/common/status_filter.h"

#include <stdio.h>

static bool
may_replace(const char *old, struct span new)
{
	return new.n >= 5 && new.n < STATUS_DSN_MAX && (new.p[0] == '2' || new.p[0] == '4' || new.p[0] == '5') &&
	    new.p[1] == '.' && (new.p[0] == '2') == (old[0] == '2');
}

bool
status_filter(const struct maps *m, const char *param, const struct log *l, struct arena *a, char dsn[STATUS_DSN_MAX],
    struct span *text)
{
	struct span query, code, rest;
	struct map_hit hit;

	if (m == NULL)
		return false;
	query = arena_printf(a, "%s %.*s", dsn, SPAN_ARG(*text));
	if (maps_find(m, query, NULL, a, &hit, NULL) != MAP_FOUND)
		return false;
	(void)span_cut(span_trim(hit.value), ' ', &code, &rest);
	if (!may_replace(dsn, code)) {
		log_warning(l, "%s: \"%.*s\" cannot replace \"%.*s\"", param, SPAN_ARG(log_esc(hit.value)),
		    SPAN_ARG(log_esc(query)));
		return false;
	}
	snprintf(dsn, STATUS_DSN_MAX, "%.*s", SPAN_ARG(code));
	*text = span_trim(rest);
	return true;
}
