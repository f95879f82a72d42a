/* Files behind tables: noticed when they change, reported once when they break. */
#include "maps/maps_private.h"

#include <errno.h>
#include <fcntl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

int64_t
maps_now_us(const struct maps_env *env)
{
	return env->now_us != NULL ? env->now_us() : clock_mono_us();
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* The path is out of our reach, but somebody may have handed us the file. */
static int
stat_handed(const struct watch *w, const struct maps_env *env, struct stat *st)
{
	int fd = env->open(env->open_ctx, w->path);
	int r = fd < 0 ? fd : fd_stat(fd, st);

	fd_close(&fd);
	return r;
}

enum watch_state
watch_poll(struct watch *w, const struct maps_env *env, int *errno_r)
{
	int64_t now = maps_now_us(env);
	struct stat st;
	int r;

	if (w->checked_us != 0 && now - w->checked_us < US_PER_S)
		return WATCH_SAME;
	w->checked_us = now != 0 ? now : 1;
	r = fd_stat_path(w->path, &st);
	if (r == -EACCES && env->open != NULL)
		r = stat_handed(w, env, &st);
	if (r < 0) {
		w->known = false;
		*errno_r = r;
		return WATCH_GONE;
	}
	if (w->known && same_file(&w->st, &st))
		return WATCH_SAME;
	w->st = st;
	w->known = true;
	return WATCH_CHANGED;
}

const char *
watch_trouble(const struct table *t, struct watch *w, int error)
{
	if (error != -ENOENT)
		return fd_error(error);
	if (w->missing == NULL)
		w->missing = arena_cstr(t->a, arena_printf(t->a, "%s: %s; build it: signet map build %.*s", fd_error(error), w->path,
		    SPAN_ARG(t->label)));
	return w->missing;
}

void
watch_say_older(const struct table *t, struct watch *w)
{
	struct stat source;
	bool older;

	if (w->source == NULL)
		w->source = arena_cstr(t->a, t->name);
	if (fd_stat_path(w->source, &source) < 0 || !S_ISREG(source.st_mode))
		return;
	older = source.st_mtim.tv_sec > w->st.st_mtim.tv_sec ||
	    (source.st_mtim.tv_sec == w->st.st_mtim.tv_sec && source.st_mtim.tv_nsec > w->st.st_mtim.tv_nsec);
	if (older)
		log_warning_once(NULL, "%.*s: the text was changed after %s was built: old entries are used; build it: signet map build %.*s",
		    SPAN_ARG(t->label), w->path, SPAN_ARG(t->label));
}

static int
plain_open(const char *path)
{
	/* not blocking: a FIFO where a table should be must not stop a role */
	return fd_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
}

int
watch_open(struct watch *w, const struct maps_env *env)
{
	int fd = env->open != NULL ? env->open(env->open_ctx, w->path) : plain_open(w->path);

	if (fd < 0)
		return fd;
	if (fd_stat(fd, &w->st) == 0 &&
	    (S_ISREG(w->st.st_mode) || span_eq(span_str(w->path), SPAN("/dev/null"))))
		return fd;
	fd_close(&fd);
	return -EINVAL;
}

int
watch_read(struct watch *w, const struct maps_env *env, struct buf *b)
{
	int fd = watch_open(w, env);
	ssize_t got = 1;

	if (fd < 0)
		return fd;
	while (got > 0) {
		char *room = buf_space(b, 65536);

		/* by offset: a descriptor handed to us may be shared */
		got = room == NULL ? -EFBIG : fd_pread(fd, room, 65536, b->n);
		if (got > 0)
			b->n += (size_t)got;
	}
	fd_close(&fd);
	return (int)got;
}

void
textfile_init(struct textfile *f, const char *path)
{
	*f = (struct textfile){ .w.path = path };
}

/* Logged when the state changes, not for each lookup. */
static void
mark_broken(struct textfile *f, const struct table *t, const char *text)
{
	struct fault why;

	table_defer(t, &why, text);
	if (!f->broken || !span_eq(span_str(why.text), span_str(f->why.text)))
		log_warning_once(NULL, "%s", why.text);
	f->broken = true;
	f->why = why;
}

static void
reload(struct textfile *f, struct table *t, textfile_load_fn *load)
{
	struct fault first = { 0 };
	unsigned bad = 0;
	struct buf text;
	int r;

	buf_init(&text, MAPS_TEXT_MAX);
	r = watch_read(&f->w, t->env, &text);
	if (r < 0) {
		f->w.known = false;     /* try again at the next look */
		mark_broken(f, t, fd_error(r));
	} else {
		load(t, buf_span(&text), &bad, &first);
		f->loaded = true;
		f->broken = false;
		if (bad > 0 && t->flags & MAPS_STRICT)
			mark_broken(f, t, first.text);
	}
	buf_release(&text);
}

bool
textfile_ready(struct textfile *f, struct table *t, textfile_load_fn *load, struct fault *why)
{
	int r = 0;

	switch (watch_poll(&f->w, t->env, &r)) {
	case WATCH_SAME:
		break;
	case WATCH_CHANGED:
		reload(f, t, load);
		break;
	case WATCH_GONE:
		mark_broken(f, t, fd_error(r));
		break;
	}
	if (f->broken && why != NULL)
		*why = f->why;
	return f->loaded && !f->broken;
}
