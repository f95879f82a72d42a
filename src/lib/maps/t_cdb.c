/* cdb: an indexed file beside its source; hash, btree, dbm, sdbm: the same, kept built from the source text. */
#include "base/fd.h"
#include "base/log.h"
#include "maps/build.h"
#include "maps/cdb_read.h"
#include "maps/maps_private.h"
#include "maps/served.h"

#define STALE_WARN_US (30 * INT64_C(1000000))

struct cdb_state {
	struct watch w;
	struct cdb_file file;
	struct fault why;       /* when file.fd is -1 */
	bool warned;
	bool with_nul;          /* keys of this file were seen to end in NUL */
	struct span source;     /* what the table is made from, for people */
	struct watch source_w;  /* served tables: the text must be there */
	bool served, source_gone;
	int64_t stale_since_us;
};

static bool
open_state(struct table *t, const char *path, struct cdb_state **s_r)
{
	struct cdb_state *s = ARENA_NEW(t->a, struct cdb_state);

	s->w.path = path;
	s->file.fd = -1;
	s->source = t->name;
	t->state = *s_r = s;
	return true;
}

static bool
cdb_open(struct table *t, struct fault *why)
{
	struct cdb_state *s;

	(void)why;
	return open_state(t, arena_printf(t->a, "%.*s.cdb", SPAN_ARG(t->name)).p, &s);
}

static bool
served_open(struct table *t, struct fault *why)
{
	struct cdb_state *s;
	struct buf path;
	bool ok;

	buf_init(&path, 4096);
	served_path(&path, t->env->data_directory, t->name, served_is_alias(t->env, t->label));
	ok = !path.full && open_state(t, arena_cstr(t->a, buf_span(&path)), &s);
	if (ok) {
		s->served = true;
		s->source_w.path = arena_cstr(t->a, t->name);
	} else {
		fault_set(why, "4.3.5", "%.*s: the path is too long", SPAN_ARG(t->label));
	}
	buf_release(&path);
	return ok;
}

/* The file cannot be used: said once, until it changes. */
static void
mark_broken(struct table *t, struct cdb_state *s, const char *text)
{
	struct fault why;

	cdb_file_release(&s->file);
	table_defer(t, &why, text);
	if (!s->warned || !span_eq(span_str(why.text), span_str(s->why.text)))
		log_warning_once(NULL, "%s", why.text);
	s->warned = true;
	s->why = why;
}

/* A policy table whose source has a line in error is not to be used (the builder left a note). */
static bool
has_bad_line(const struct table *t, struct cdb_state *s, struct fault *why)
{
	struct arena *a;
	struct span text;
	bool bad;

	if (!s->served || !(t->flags & MAPS_STRICT))
		return false;
	a = arena_new(MAPS_VALUE_MAX);
	bad = cdb_file_find(&s->file, BUILD_BAD_KEY, a, &text, why) == MAP_FOUND;
	if (bad)
		fault_set(why, "4.3.5", "%.*s", SPAN_ARG(text));
	arena_free(&a);
	return bad;
}

static void
reopen(struct table *t, struct cdb_state *s)
{
	struct fault why = { 0 };
	int fd = watch_open(&s->w, t->env);

	cdb_file_release(&s->file);
	s->with_nul = false;
	if (fd < 0) {
		s->w.known = false;
		mark_broken(t, s, s->served ? fd_error(fd) : watch_trouble(t, &s->w, fd));
	} else if (!cdb_file_init(&s->file, fd, &why) || has_bad_line(t, s, &why)) {
		mark_broken(t, s, why.text);
	} else {
		s->warned = false;
		if (!s->served)
			watch_say_older(t, &s->w);
	}
}

/* A served table whose text is gone is no table; one whose text is newer is served old for a moment. */
static void
look_at_source(struct table *t, struct cdb_state *s)
{
	int64_t now = maps_now_us(t->env);
	int r = 0;

	switch (watch_poll(&s->source_w, t->env, &r)) {
	case WATCH_GONE:
		s->source_gone = true;
		mark_broken(t, s, "the source text is gone: write it, or take the table out");
		s->w.known = false;
		s->w.checked_us = 0;
		return;
	case WATCH_CHANGED:
		s->source_gone = false;
		s->stale_since_us = 0;
		break;
	case WATCH_SAME:
		break;
	}
	if (s->source_gone || !s->w.known)
		return;
	if (s->w.st.st_mtim.tv_sec == s->source_w.st.st_mtim.tv_sec &&
	    s->w.st.st_mtim.tv_nsec == s->source_w.st.st_mtim.tv_nsec) {
		s->stale_since_us = 0;
	} else if (s->stale_since_us == 0) {
		s->stale_since_us = now;
	} else if (s->stale_since_us > 0 && now - s->stale_since_us > STALE_WARN_US) {
		log_warning_once(NULL, "%.*s: the text has changed but the table was not built again: old entries are used",
		    SPAN_ARG(t->label));
		s->stale_since_us = -1; /* once */
	}
}

static bool
ready(struct table *t, struct fault *why)
{
	struct cdb_state *s = t->state;
	int r = 0;

	if (s->served)
		look_at_source(t, s);
	if (!s->source_gone) {
		switch (watch_poll(&s->w, t->env, &r)) {
		case WATCH_SAME:
			break;
		case WATCH_CHANGED:
			reopen(t, s);
			break;
		case WATCH_GONE:
			mark_broken(t, s, s->served ? "not built yet from its source text" : watch_trouble(t, &s->w, r));
			break;
		}
	}
	if (s->file.fd < 0 && why != NULL)
		*why = s->why;
	return s->file.fd >= 0;
}

static enum map_result
find_form(struct cdb_state *s, const struct lookup *q, bool with_nul, struct span *value_r,
    struct fault *why)
{
	struct span key = q->key;
	enum map_result r;

	if (with_nul)
		key = span_of(arena_cstr(q->a, q->key), q->key.n + 1);
	r = cdb_file_find(&s->file, key, q->a, value_r, why);
	if (r == MAP_FOUND && with_nul && value_r->n > 0 && value_r->p[value_r->n - 1] == '\0')
		value_r->n--;
	return r;
}

/* Keys may be stored with or without a NUL behind them; once seen, a file keeps its habit. */
static enum map_result
find_value(struct cdb_state *s, const struct lookup *q, struct span *value_r, struct fault *why)
{
	enum map_result r = find_form(s, q, s->with_nul, value_r, why);

	if (r != MAP_ABSENT || s->with_nul || s->served)
		return r;
	r = find_form(s, q, true, value_r, why);
	if (r == MAP_FOUND)
		s->with_nul = true;
	return r;
}

static enum map_result
cdb_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct cdb_state *s = t->state;
	enum map_result r;
	struct span value;

	if (!ready(t, why))
		return MAP_DEFER;
	r = find_value(s, q, &value, why);
	if (r == MAP_DEFER)
		fault_prefix(why, "%.*s", SPAN_ARG(t->label));
	return r == MAP_FOUND ? table_hit(t, q, value, s->source, 0, hit) : r;
}

static void
cdb_close(struct table *t)
{
	struct cdb_state *s = t->state;

	if (s != NULL)
		cdb_file_release(&s->file);
}

const struct table_type table_cdb = { "cdb", false, true, cdb_open, cdb_find, ready, cdb_close };
const struct table_type table_hash = { "hash", false, true, served_open, cdb_find, ready, cdb_close };
const struct table_type table_btree = { "btree", false, true, served_open, cdb_find, ready, cdb_close };
const struct table_type table_dbm = { "dbm", false, true, served_open, cdb_find, ready, cdb_close };
const struct table_type table_sdbm = { "sdbm", false, true, served_open, cdb_find, ready, cdb_close };
