/* Findings of the configuration, in order, each said once. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_private.h"

#define FINDINGS_MAX 10000

void
conf_report_init(struct conf_report *r)
{
	*r = (struct conf_report){ .arena = arena_new(64U << 20) };
}

void
conf_report_release(struct conf_report *r)
{
	free(r->list);
	arena_free(&r->arena);
	*r = (struct conf_report){ .arena = NULL };
}

static bool
is_known(const struct conf_report *r, const struct conf_finding *f)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->list[i].line == f->line && r->list[i].severity == f->severity &&
		    strcmp(r->list[i].text, f->text) == 0 && strcmp(r->list[i].file, f->file) == 0)
			return true;
	return false;
}

static void
keep(struct conf_report *r, const struct conf_finding *f)
{
	if (r->count == r->cap) {
		r->cap = r->cap == 0 ? 16 : r->cap * 2;
		r->list = realloc(r->list, size_mul(r->cap, sizeof(*r->list)));
		if (r->list == NULL)
			abort();
	}
	r->list[r->count++] = *f;
}

void
conf_report_add(struct conf_report *r, enum conf_severity severity, const char *file, unsigned line,
    const char *fix, const char *fmt, ...)
{
	struct conf_finding f = { .severity = severity, .line = line };
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->errors += severity == CONF_ERROR;
	f.text = text;
	f.file = file != NULL ? file : "";
	if (r->count >= FINDINGS_MAX || is_known(r, &f))
		return;
	r->warnings += severity == CONF_WARNING;
	f.text = arena_cstr(r->arena, span_str(text));
	f.file = arena_cstr(r->arena, span_str(f.file));
	f.fix = arena_cstr(r->arena, span_str(fix));
	keep(r, &f);
}

void
conf_report_print(const struct conf_report *r, enum conf_severity least, struct buf *out)
{
	static const char *const words[] = { "note", "warning", "error" };

	for (size_t i = 0; i < r->count; i++) {
		const struct conf_finding *f = &r->list[i];

		if (f->severity < least)
			continue;
		if (f->file[0] != '\0' && f->line > 0)
			buf_addf(out, "%s:%u: ", f->file, f->line);
		else if (f->file[0] != '\0')
			buf_addf(out, "%s: ", f->file);
		buf_addf(out, "%s: %s", words[f->severity], f->text);
		if (f->fix[0] != '\0')
			buf_addf(out, " (%s)", f->fix);
		buf_addc(out, '\n');
	}
}
