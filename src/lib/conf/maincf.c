/* Definitions: `name = value` of main.cf and of -o, the last one wins. */
#include <stdlib.h>
#include <string.h>

#include "conf/conf_private.h"

struct conf_def *
conf_defs_find(const struct conf_defs *d, const char *name)
{
	HMAP_EACH_HASH(n, &d->map, span_hash(span_str(name))) {
		struct conf_def *def = HMAP_ENTRY(n, struct conf_def, node);

		if (strcmp(def->name, name) == 0)
			return def;
	}
	return NULL;
}

struct conf_def *
conf_defs_put(struct conf_defs *d, struct arena *a, struct span name, struct span raw, const char *file,
    unsigned line, unsigned *old_line_r)
{
	const char *key = arena_cstr(a, name);
	struct conf_def *def = conf_defs_find(d, key);

	*old_line_r = def != NULL ? def->line : 0;
	if (def == NULL) {
		def = ARENA_NEW(a, struct conf_def);
		def->name = key;
		hmap_add(&d->map, &def->node, span_hash(name));
		if (d->count == d->cap) {
			d->cap = d->cap == 0 ? 64 : d->cap * 2;
			d->list = realloc(d->list, size_mul(d->cap, sizeof(void *)));
			if (d->list == NULL)
				abort();
		}
		d->list[d->count++] = def;
	}
	def->raw = arena_cstr(a, raw);
	def->file = file;
	def->line = line;
	return def;
}

void
conf_defs_release(struct conf_defs *d)
{
	hmap_release(&d->map);
	free(d->list);
	*d = (struct conf_defs){ .list = NULL };
}

bool
conf_is_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-' && s.p[i] != '.')
			return false;
	return s.n > 0;
}

static void
read_line(struct conf_loading *l, struct span line, unsigned number)
{
	struct span name, value;
	unsigned old;

	if (line.p[0] == ' ' || line.p[0] == '\t') {
		conf_report_add(l->report, CONF_ERROR, l->main_file, number, "remove the blanks at its beginning",
		    "the first line of the file must not begin with blanks");
		return;
	}
	if (!span_cut(line, '=', &name, &value)) {
		conf_report_add(l->report, CONF_ERROR, l->main_file, number, "write NAME = VALUE",
		    "\"=\" is missing: \"%.*s\"", (int)(line.n < 60 ? line.n : 60), line.p);
		return;
	}
	name = span_trim(name);
	if (!conf_is_name(name)) {
		conf_report_add(l->report, CONF_ERROR, l->main_file, number,
		    "names consist of letters, digits, _, - and .", "this is no name: \"%.*s\"",
		    (int)(name.n < 60 ? name.n : 60), name.p);
		return;
	}
	conf_defs_put(&l->main, l->a, name, span_trim(value), l->main_file, number, &old);
	if (old != 0)
		conf_report_add(l->report, CONF_WARNING, l->main_file, number, "keep one of the two",
		    "%.*s is already set in line %u; this later one counts", SPAN_ARG(name), old);
}

void
conf_read_main(struct conf_loading *l, struct span text)
{
	struct conf_lines lines;
	struct buf line;
	unsigned number;

	buf_init(&line, CONF_FILE_MAX);
	conf_lines_init(&lines, text);
	while (conf_lines_next(&lines, &line, &number))
		read_line(l, buf_span(&line), number);
	buf_release(&line);
}
