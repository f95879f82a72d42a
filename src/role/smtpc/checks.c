/*
 * smtp_header_checks, smtp_mime_header_checks, smtp_nested_header_checks and smtp_body_checks: what the content looks
 * like outside. One walk over it before any server is asked, header by header and line by line; what it leaves is
 * a list of edits that content.c carries out. It stops where a table's answer is not there yet and goes on from there.
 */
#include "intake/checks.h"

#include <stdlib.h>

#include "base/fd.h"
#include "base/panic.h"
#include "mail/header.h"
#include "mail/mime.h"
#include "maps/maps.h"
#include "role/smtpc/smtpc.h"

#define WINDOW ((size_t)64 * 1024)
/* More changes than that are no filter any more: the message waits for the administrator. */
#define EDITS_MAX 100000u
#define TEXT_MAX ((size_t)64 << 20)
#define HEADER_MAX ((size_t)16 << 20)
/* Answers that are remembered at once (ASKS_MAX is the end). */
#define UNITS_KEPT 2000u

struct checks {
	struct content_edits edits;
	struct arena *arena;            /* as long as the walk */
	struct arena *scratch;          /* one header or line */
	struct asks *asks;
	struct mime *mime;
	struct buf window;              /* of the file */
	uint64_t window_at;
	uint64_t at;                    /* all before it is done */
	bool mid_line;                  /* `at` is inside a line that is longer than line_length_limit */
	struct buf header;              /* the logical header that ends at `at` or later */
	uint64_t header_at;
	unsigned units;                 /* since answers were forgotten */
	bool done;
};

/* A piece of the content: a line, or a part of a long one. */
struct piece {
	struct span text;               /* without its CRLF */
	bool bol, eol;
	uint64_t next;
};

/* ---- edits */

static bool
edit(struct delivery *d, uint64_t at, uint64_t n, struct span text, struct fault *why)
{
	struct content_edits *e = &d->checks->edits;
	struct content_edit *last = e->n > 0 ? &e->list[e->n - 1] : NULL;

	if (n == 0 && text.n == 0)
		return true;
	if (e->n == EDITS_MAX || !buf_add_span(&e->text, text))
		return fault_set(why, "4.3.0", "too many changes by header or body checks");
	if (!span_is_ascii(text))
		d->env.eightbit = true;
	if (last != NULL && last->at + last->n == at) {
		last->n += n;
		last->text_n += text.n;
		return true;
	}
	if (e->n == e->cap) {
		size_t cap = e->cap == 0 ? 16 : e->cap * 2;
		struct content_edit *list = realloc(e->list, size_mul(cap, sizeof(*list)));

		if (list == NULL)
			panic("out of memory");
		e->list = list;
		e->cap = cap;
	}
	e->list[e->n++] = (struct content_edit){ .at = at, .n = n, .text_at = e->text.n - text.n, .text_n = text.n };
	return true;
}

/* ---- asking a table */

static void
log_check(const struct delivery *d, const struct check *check, const char *what, struct span text)
{
	log_info(&d->log, "%s: %s %.*s%s%.*s", check_word(check->action), what, SPAN_ARG(log_esc(span_slice(text, 0, 200))),
	    check->text.n > 0 ? ": " : "", SPAN_ARG(log_esc(check->text)));
}

/* Only what changes the text can be done here: the message has been accepted, and is on its way. */
static bool
possible(enum check_action action)
{
	return action == CHECK_DUNNO || action == CHECK_IGNORE || action == CHECK_INFO || action == CHECK_PREPEND ||
	    action == CHECK_REPLACE || action == CHECK_STRIP || action == CHECK_WARN;
}

static enum map_result
find(struct delivery *d, struct maps *maps, struct span text, bool header, struct check *check_r, struct fault *why)
{
	struct checks *s = d->checks;
	const char *what = header ? "header" : "body";
	struct map_hit hit = { 0 };
	enum map_result r;

	*check_r = (struct check){ .action = CHECK_DUNNO };
	if (maps_empty(maps))
		return MAP_ABSENT;
	r = maps_find(maps, text, s->asks, s->scratch, &hit, why);
	if (r == MAP_DEFER)
		log_warning(&d->log, "%s checks map lookup problem: %s", what, why->text);
	if (r != MAP_FOUND)
		return r;
	if (!check_parse(hit.value, header, check_r, why)) {
		log_warning(&d->log, "%.*s: %s", SPAN_ARG(hit.table), why->text);
		return MAP_DEFER;
	}
	if (!possible(check_r->action)) {
		log_warning(&d->log, "%.*s: \"%.*s\" is not possible when mail is delivered and changes nothing: it belongs in %s_checks",
		    SPAN_ARG(hit.table), SPAN_ARG(log_esc(hit.value)), what);
		*check_r = (struct check){ .action = CHECK_DUNNO };
	}
	return MAP_FOUND;
}

/* ---- headers */

static struct maps *
header_maps(const struct delivery *d, enum mime_where where, struct span name)
{
	if (where == MIME_PART || (header_flags(name) & HEADER_MIME) != 0 || span_starts_ci(name, SPAN("Content-")))
		return d->svc->mime_header_checks;
	return where == MIME_PRIMARY ? d->svc->header_checks : d->svc->nested_header_checks;
}

/* smtp_generic_maps on what the checks left. */
static enum map_result
generic(struct delivery *d, struct span *header, struct fault *why)
{
	struct checks *s = d->checks;
	struct span name, value;
	struct buf out;
	enum map_result r;
	size_t at;
	bool changed;

	if (maps_empty(d->svc->generic) || !header_split(*header, &name, &value) ||
	    (header_flags(name) & (HEADER_SENDER | HEADER_RECIPIENT)) == 0)
		return MAP_FOUND;
	buf_init(&out, HEADER_MAX);
	buf_add_span(&out, name);
	buf_add_str(&out, ": ");
	at = out.n;
	r = generic_value(d, s->asks, s->scratch, value, &out, why);
	changed = !span_eq(span_from(buf_span(&out), at), value);
	buf_add_str(&out, "\r\n");
	if (r == MAP_FOUND && out.full) {
		fault_set(why, "4.3.0", "header too long");
		r = MAP_DEFER;
	} else if (r == MAP_FOUND && changed) {
		*header = arena_dup(s->scratch, buf_span(&out));
	}
	buf_release(&out);
	return r;
}

static bool
apply_header(struct delivery *d, const struct check *check, struct span text, struct span header, struct fault *why)
{
	struct checks *s = d->checks;
	bool gone = check->action == CHECK_IGNORE || check->action == CHECK_STRIP;

	if (check->action != CHECK_DUNNO && check->action != CHECK_IGNORE)
		log_check(d, check, "header", text);
	if (check->action == CHECK_PREPEND &&
	    !edit(d, s->header_at, 0, header_wire_text(check->text, s->scratch), why))
		return false;
	if (gone)
		header = SPAN("");
	return span_eq(header, buf_span(&s->header)) || edit(d, s->header_at, s->header.n, header, why);
}

/* The header in s->header is complete. */
static enum map_result
flush_header(struct delivery *d, struct fault *why)
{
	struct checks *s = d->checks;
	struct span header = buf_span(&s->header), name = SPAN(""), value = SPAN(""), text;
	enum mime_where where = mime_where(s->mime);
	enum map_result r;
	struct check check;

	if (header.n == 0)
		return MAP_FOUND;
	if (s->header.full) {
		fault_set(why, "4.3.0", "header too long");
		return MAP_DEFER;
	}
	arena_clear(s->scratch);
	(void)header_split(header, &name, &value);
	text = header_check_text(header, s->scratch);
	r = find(d, header_maps(d, where, name), text, true, &check, why);
	if (r == MAP_WAIT || r == MAP_DEFER)
		return r;
	if (check.action == CHECK_REPLACE)
		header = header_wire_text(check.text, s->scratch);
	r = where == MIME_PRIMARY ? generic(d, &header, why) : MAP_FOUND;
	if (r != MAP_FOUND)
		return r;
	if (!apply_header(d, &check, text, header, why))
		return MAP_DEFER;
	mime_header(s->mime, name, value);
	buf_clear(&s->header);
	return MAP_FOUND;
}

static enum map_result
collect(struct checks *s, const struct piece *p)
{
	if (s->header.n == 0)
		s->header_at = s->at;
	buf_add_span(&s->header, p->text);
	if (p->eol)
		buf_add_str(&s->header, "\r\n");
	return MAP_FOUND;
}

/* ---- the body */

static bool
apply_body(struct delivery *d, const struct check *check, const struct piece *p, struct fault *why)
{
	struct checks *s = d->checks;
	struct span end = p->eol ? SPAN("\r\n") : SPAN("");

	if (check->action == CHECK_DUNNO)
		return true;
	if (check->action != CHECK_IGNORE)
		log_check(d, check, "body", p->text);
	if (check->action == CHECK_PREPEND)
		return edit(d, s->at, 0, check->text, why) && edit(d, s->at, 0, SPAN("\r\n"), why);
	if (check->action == CHECK_REPLACE)
		return edit(d, s->at, p->next - s->at, check->text, why) && edit(d, p->next, 0, end, why);
	if (check->action == CHECK_IGNORE || check->action == CHECK_STRIP)
		return edit(d, s->at, p->next - s->at, SPAN(""), why);
	return true;
}

static enum map_result
take_body(struct delivery *d, const struct piece *p, struct fault *why)
{
	struct check check;
	enum map_result r;

	arena_clear(d->checks->scratch);
	r = find(d, d->svc->body_checks, p->text, false, &check, why);
	if (r == MAP_WAIT || r == MAP_DEFER)
		return r;
	if (!apply_body(d, &check, p, why))
		return MAP_DEFER;
	if (p->bol)
		(void)mime_line(d->checks->mime, p->text);
	return MAP_FOUND;
}

/* ---- lines */

static enum map_result
take_header_line(struct delivery *d, const struct piece *p, struct fault *why)
{
	struct checks *s = d->checks;
	bool delimiter = mime_where(s->mime) != MIME_PRIMARY && mime_peek(s->mime, p->text) != MIME_LINE_TEXT;
	bool blank = p->text.n > 0 && (p->text.p[0] == ' ' || p->text.p[0] == '\t');
	enum map_result r;

	if (!delimiter && blank && s->header.n > 0)
		return collect(s, p);
	r = flush_header(d, why);
	if (r != MAP_FOUND || delimiter)
		return r == MAP_FOUND ? take_body(d, p, why) : r;
	if (header_name_length(p->text) > 0)
		return collect(s, p);
	mime_headers_end(s->mime);
	if (p->text.n == 0 && p->eol)
		return MAP_FOUND;
	return mime_where(s->mime) == MIME_BODY ? take_body(d, p, why) : take_header_line(d, p, why);
}

static enum map_result
take(struct delivery *d, const struct piece *p, struct fault *why)
{
	struct checks *s = d->checks;

	if (mime_where(s->mime) == MIME_BODY)
		return take_body(d, p, why);
	if (p->bol)
		return take_header_line(d, p, why);
	return s->header.n > 0 ? collect(s, p) : take_body(d, p, why);
}

/* `n` bytes at s->at, or what is left. */
static bool
look(struct delivery *d, size_t n, struct span *bytes_r, struct fault *why)
{
	struct checks *s = d->checks;
	uint64_t left = d->size - s->at;

	if (left < n)
		n = (size_t)left;
	if (d->file < 0) {
		*bytes_r = span_slice(span_from(d->content, (size_t)s->at), 0, n);
		return true;
	}
	if (s->at < s->window_at || s->at + n > s->window_at + s->window.n) {
		size_t want = left < WINDOW ? (size_t)left : WINDOW;

		buf_clear(&s->window);
		s->window_at = s->at;
		if (fd_pread_all(d->file, buf_space(&s->window, want), want, d->offset + s->at) < 0)
			return fault_set(why, "4.3.0", "reading the message from the queue failed");
		s->window.n = want;
	}
	*bytes_r = span_slice(span_from(buf_span(&s->window), (size_t)(s->at - s->window_at)), 0, n);
	return true;
}

/* The next line, or as much of it as line_length_limit holds (a CR whose LF would be cut off waits for it). */
static bool
next_piece(struct delivery *d, struct piece *p, struct fault *why)
{
	struct checks *s = d->checks;
	size_t limit = (size_t)d->svc->p->line_length_limit;
	struct span bytes = SPAN("");
	ptrdiff_t end;

	limit = limit > WINDOW - 2 ? WINDOW - 2 : limit;
	if (!look(d, limit + 2, &bytes, why))
		return false;
	end = span_find(bytes, SPAN("\r\n"));
	*p = (struct piece){ .bol = !s->mid_line, .eol = end >= 0 };
	p->text = span_slice(bytes, 0, end >= 0 ? (size_t)end : limit);
	if (end < 0 && bytes.n > limit && p->text.n > 1 && span_ends(p->text, SPAN("\r")))
		p->text.n--;
	p->next = s->at + p->text.n + (p->eol ? 2 : 0);
	return true;
}

static enum map_result
walk(struct delivery *d, struct fault *why)
{
	struct checks *s = d->checks;
	bool body = !maps_empty(d->svc->body_checks) || !maps_empty(d->svc->mime_header_checks) ||
	    !maps_empty(d->svc->nested_header_checks);
	struct piece p;
	enum map_result r;

	while (s->at < d->size) {
		if (!body && mime_where(s->mime) != MIME_PRIMARY)
			return MAP_FOUND;       /* nobody looks there */
		if (!next_piece(d, &p, why))
			return MAP_DEFER;
		r = take(d, &p, why);
		if (r != MAP_FOUND)
			return r;
		s->at = p.next;
		s->mid_line = !p.eol;
		if (++s->units >= UNITS_KEPT) {
			asks_clear(s->asks);
			s->units = 0;
		}
	}
	return flush_header(d, why);
}

/* ---- begin and end */

static void
begin(struct delivery *d)
{
	struct checks *s = ARENA_NEW(d->arena, struct checks);
	const struct params *p = d->svc->p;

	s->arena = arena_new(size_add((size_t)1 << 20, size_mul((size_t)p->mime_nesting_limit + 1,
	    size_add((size_t)p->mime_boundary_length_limit, 64))));
	s->scratch = arena_new((size_t)2 * GENERIC_SCRATCH_BUDGET);
	s->asks = asks_new(d->role->role->asks, deliver_ready, d);
	s->mime = mime_new(s->arena, (size_t)p->mime_nesting_limit, (size_t)p->mime_boundary_length_limit);
	buf_init(&s->window, WINDOW);
	buf_init(&s->header, HEADER_MAX);
	buf_init(&s->edits.text, TEXT_MAX);
	d->checks = s;
}

static void
end_walk(struct checks *s)
{
	asks_free(&s->asks);
	arena_free(&s->scratch);
	arena_free(&s->arena);
	buf_release(&s->window);
	buf_release(&s->header);
}

void
checks_release(struct delivery *d)
{
	struct checks *s = d->checks;

	if (s == NULL)
		return;
	end_walk(s);
	free(s->edits.list);
	buf_release(&s->edits.text);
	d->checks = NULL;
}

static bool
wanted(const struct service *svc)
{
	return !maps_empty(svc->header_checks) || !maps_empty(svc->mime_header_checks) ||
	    !maps_empty(svc->nested_header_checks) || !maps_empty(svc->body_checks) || !maps_empty(svc->generic);
}

enum map_result
checks_run(struct delivery *d, struct fault *why)
{
	enum map_result r;

	if (!wanted(d->svc) || (d->checks != NULL && d->checks->done))
		return MAP_FOUND;
	if (d->checks == NULL)
		begin(d);
	r = walk(d, why);
	if (r == MAP_FOUND) {
		d->checks->done = true;
		end_walk(d->checks);
	}
	return r;
}

const struct content_edits *
checks_edits(const struct delivery *d)
{
	static const struct content_edits none;

	return d->checks != NULL ? &d->checks->edits : &none;
}
