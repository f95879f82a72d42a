/* Services: the lines of master.cf, with the -o overrides of each. */
#include <stdlib.h>

#include "conf/conf_private.h"

#define BLANKS " \t\r\n"

/* The line being read. */
struct entry_line {
	struct conf_loading *l;
	struct conf_entry *e;
	unsigned number;
	struct span rest;
};

static bool
bad(struct entry_line *x, const char *fix, const char *what, struct span got)
{
	conf_report_add(x->l->report, CONF_ERROR, x->l->master_file, x->number, fix, "%s: \"%.*s\"", what,
	    (int)(got.n < 60 ? got.n : 60), got.p);
	return false;
}

static bool
parse_type(struct entry_line *x, struct span t)
{
	static const struct { struct span word; enum conf_service_type type; } types[] = {
		{ { "inet", 4 }, CONF_SERVICE_INET }, { { "unix", 4 }, CONF_SERVICE_UNIX },
		{ { "unix-dgram", 10 }, CONF_SERVICE_UNIX_DGRAM }, { { "fifo", 4 }, CONF_SERVICE_FIFO },
		{ { "pass", 4 }, CONF_SERVICE_PASS },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (span_eq(t, types[i].word)) {
			x->e->s.type = types[i].type;
			return true;
		}
	return bad(x, "inet, unix, unix-dgram, fifo or pass", "this is no type of service", t);
}

static bool
parse_flag(struct entry_line *x, struct span t, bool preset, bool *flag_r)
{
	*flag_r = preset;
	if (span_eq(t, SPAN("-")))
		return true;
	*flag_r = span_eq(t, SPAN("y"));
	return *flag_r || span_eq(t, SPAN("n")) || bad(x, "y, n or -", "this is no flag", t);
}

static bool
parse_wakeup(struct entry_line *x, struct span t)
{
	struct span number = t;
	uint64_t v = 0;

	x->e->s.wakeup_if_used = span_ends(t, SPAN("?"));
	if (x->e->s.wakeup_if_used)
		number.n--;
	if (!span_eq(t, SPAN("-")) && !span_u64(number, 86400 * 365, &v))
		return bad(x, "seconds, seconds?, 0 or -", "this is no wakeup time", t);
	x->e->s.wakeup_s = (int)v;
	return true;
}

static bool
parse_maxproc(struct entry_line *x, struct span t)
{
	uint64_t v = 0;

	x->e->s.maxproc = -1;
	if (span_eq(t, SPAN("-")))
		return true;
	if (!span_u64(t, 1000000, &v))
		return bad(x, "a number, 0 for no limit, or -", "this is no process limit", t);
	x->e->s.maxproc = (int)v;
	x->e->s.maxproc_given = true;
	return true;
}

static const char *
base_name(struct arena *a, struct span path)
{
	return arena_cstr(a, span_from(path, (size_t)(span_rindex(path, '/') + 1)));
}

static bool
parse_columns(struct entry_line *x)
{
	struct span t[8], line = span_trim(x->rest);
	struct conf_service *s = &x->e->s;

	for (size_t i = 0; i < 8; i++)
		if (!span_token(&x->rest, BLANKS, &t[i]))
			return bad(x, "service type private unpriv chroot wakeup maxproc command", "columns are missing",
			    line);
	s->name = arena_cstr(x->l->a, t[0]);
	s->command = base_name(x->l->a, t[7]);
	return parse_type(x, t[1]) && parse_flag(x, t[2], s->type != CONF_SERVICE_INET, &s->is_private) &&
	    parse_flag(x, t[3], true, &s->unpriv) && parse_flag(x, t[4], false, &s->chroot) &&
	    parse_wakeup(x, t[5]) && parse_maxproc(x, t[6]);
}

/* ---- arguments */

static bool
parse_override(struct entry_line *x, struct span text)
{
	struct span name, value;
	unsigned old;
	bool ok = span_cut(text, '=', &name, &value);

	name = span_trim(name);
	for (size_t i = 0; i < name.n; i++)
		ok = ok && (ascii_isalnum(name.p[i]) || name.p[i] == '_');
	if (!ok || name.n == 0)
		return bad(x, "-o name=value or -o { name = value }", "this is no override", text);
	conf_defs_put(&x->e->over, x->l->a, name, span_trim(value), x->l->master_file, x->number, &old);
	if (old != 0)
		conf_report_add(x->l->report, CONF_WARNING, x->l->master_file, x->number, "keep one of the two",
		    "-o %.*s is given twice for service %s; the later one counts", SPAN_ARG(name), x->e->s.name);
	return true;
}

/* `-o name=value`, `-oname=value`, `-o { name = value }`. */
static bool
parse_o(struct entry_line *x, struct span t)
{
	if (t.n > 2)
		return parse_override(x, span_from(t, 2));
	if (!span_token_brace(&x->rest, BLANKS, &t))
		return bad(x, "-o name=value", "an override is missing behind -o", t);
	if (t.p[0] == '{') {
		if (!span_ends(t, SPAN("}")))
			return bad(x, "close the brace", "this override has no end", t);
		t = span_trim(span_slice(t, 1, t.n - 1));
	}
	return parse_override(x, t);
}

static bool
count_v(struct span t, int *verbose)
{
	for (size_t i = 1; i < t.n; i++)
		if (t.p[i] != 'v')
			return false;
	*verbose += (int)t.n - 1;
	return t.n > 1;
}

/* Options first, as getopt stops at the first word that is none: what follows is the command's own. */
static bool
parse_args(struct entry_line *x)
{
	struct span t, before = x->rest;

	while (span_token_brace(&x->rest, BLANKS, &t) && t.p[0] == '-' && t.n > 1) {
		if (t.p[1] == 'o' ? !parse_o(x, t) : !count_v(t, &x->e->s.verbose) && !span_eq(t, SPAN("-D")))
			return t.p[1] == 'o' ? false :
			    bad(x, "-o, -v and -D are known", "this option means nothing here", t);
		before = x->rest;
	}
	x->e->s.args = arena_cstr(x->l->a, span_trim(before));
	return true;
}

/* ---- the list */

static bool
is_inet(enum conf_service_type t)
{
	return t == CONF_SERVICE_INET || t == CONF_SERVICE_PASS;
}

static struct conf_entry *
find_entry(struct conf_loading *l, const struct conf_service *s)
{
	for (size_t i = 0; i < l->entry_count; i++)
		if (strcmp(l->entries[i].s.name, s->name) == 0 && is_inet(l->entries[i].s.type) == is_inet(s->type))
			return &l->entries[i];
	return NULL;
}

static void
keep(struct conf_loading *l, const struct conf_entry *e)
{
	struct conf_entry *old = find_entry(l, &e->s);

	if (old != NULL) {
		conf_report_add(l->report, CONF_WARNING, l->master_file, e->s.line, "keep one of the two",
		    "service %s is already defined in line %u; this later one counts", e->s.name, old->s.line);
		conf_defs_release(&old->over);
		*old = *e;
		return;
	}
	if (l->entry_count == l->entry_cap) {
		l->entry_cap = l->entry_cap == 0 ? 32 : l->entry_cap * 2;
		l->entries = realloc(l->entries, size_mul(l->entry_cap, sizeof(*l->entries)));
		if (l->entries == NULL)
			abort();
	}
	l->entries[l->entry_count++] = *e;
}

static void
read_entry(struct conf_loading *l, struct span line, unsigned number)
{
	struct conf_entry e = { .s = { .file = l->master_file, .line = number } };
	struct entry_line x = { .l = l, .e = &e, .number = number, .rest = line };

	if (line.p[0] == ' ' || line.p[0] == '\t')
		bad(&x, "remove the blanks at its beginning", "the first line of the file must not begin with blanks", line);
	else if (parse_columns(&x) && parse_args(&x)) {
		keep(l, &e);
		return;
	}
	conf_defs_release(&e.over);
}

void
conf_read_master(struct conf_loading *l, struct span text)
{
	struct conf_lines lines;
	struct buf line;
	unsigned number = 0;

	buf_init(&line, CONF_FILE_MAX);
	conf_lines_init(&lines, text);
	while (l->entry_count < CONF_SERVICES_MAX && conf_lines_next(&lines, &line, &number))
		read_entry(l, buf_span(&line), number);
	if (l->entry_count == CONF_SERVICES_MAX)
		conf_report_add(l->report, CONF_ERROR, l->master_file, number, NULL, "more than %u services",
		    CONF_SERVICES_MAX);
	buf_release(&line);
}
