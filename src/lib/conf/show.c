/* The configuration as a list. */
#include "conf/show.h"

#include <stdlib.h>

#include "conf/conf_private.h"

static int
by_name(const void *a, const void *b)
{
	const struct conf_item *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void
fill(const struct conf_value *v, bool own, struct conf_item *i)
{
	*i = (struct conf_item){ .name = v->name, .value = v->value, .row = v->row };
	i->raw = v->row != NULL && !v->row->computed ? v->row->def : v->value != NULL ? v->value : "";
	if (v->def == NULL)
		return;
	i->raw = v->def->raw;
	i->file = v->def->file;
	i->line = v->def->line;
	i->overridden = own;
}

static size_t
count_values(const struct conf_set *s)
{
	size_t n = 0;

	for (const struct conf_value *v = s->first; v != NULL; v = v->next)
		n++;
	return n;
}

struct conf_item *
conf_items(const struct conf_service *s, size_t *count_r)
{
	const struct conf_set *set = s->set, *base = set->base;
	struct conf_item *items = calloc(count_values(set) + (base != NULL ? count_values(base) : 0) + 1, sizeof(*items));
	size_t n = 0;

	if (items == NULL)
		abort();
	for (const struct conf_value *v = set->first; v != NULL; v = v->next)
		if (v->row != NULL || v->def != NULL)
			fill(v, base != NULL && v->def != NULL && v->def->file == s->file, &items[n++]);
	for (const struct conf_value *v = base != NULL ? base->first : NULL; v != NULL; v = v->next)
		if ((v->row != NULL || v->def != NULL) && conf_set_own(set, span_str(v->name)) == NULL)
			fill(v, false, &items[n++]);
	qsort(items, n, sizeof(*items), by_name);
	*count_r = n;
	return items;
}

void
conf_items_free(struct conf_item **items)
{
	free(*items);
	*items = NULL;
}

bool
conf_is_given(const struct conf_service *s, const char *name)
{
	const struct conf_value *v = conf_set_find(s->set, span_str(name));

	return v != NULL && (v->def != NULL || v->given);
}
