/*
 * lmdb: read where a crash hurts nobody else (lookup role, command line): LMDB maps the file, and a
 * file cut short under a mapping kills its reader. Writers (postmap) hold a lock on the file while
 * they change it in place; we do not wait for them, we defer.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>

#include "base/fd.h"
#include "base/log.h"
#include "maps/maps_private.h"

#define LMDB_KEY_MAX 511u

struct lmdb_state {
	struct watch w;
	MDB_env *env;
	MDB_txn *txn;           /* reset between lookups */
	MDB_dbi dbi;
	int lock_fd;            /* -1 = not open */
	bool with_nul;
	bool warned;
	struct fault why;
};

static bool
lmdb_open(struct table *t, struct fault *why)
{
	struct lmdb_state *s = ARENA_NEW(t->a, struct lmdb_state);

	(void)why;
	s->w.path = arena_printf(t->a, "%.*s.lmdb", SPAN_ARG(t->name)).p;
	s->lock_fd = -1;
	t->state = s;
	return true;
}

static void
drop(struct lmdb_state *s)
{
	if (s->txn != NULL)
		mdb_txn_abort(s->txn);
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->txn = NULL;
	s->env = NULL;
	fd_close(&s->lock_fd);
}

static void
mark_broken(struct table *t, const char *text)
{
	struct lmdb_state *s = t->state;
	struct fault why;

	drop(s);
	table_defer(t, &why, text);
	if (!s->warned || !span_eq(span_str(why.text), span_str(s->why.text)))
		log_warning_once(NULL, "%s", why.text);
	s->warned = true;
	s->why = why;
}

static const char *
words(int error)
{
	return error > 0 ? fd_error(-error) : mdb_strerror(error);
}

static int
open_env(struct lmdb_state *s)
{
	int r = mdb_env_create(&s->env);

	if (r == 0)
		r = mdb_env_open(s->env, s->w.path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0);
	if (r == 0)
		r = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->txn);
	if (r == 0)
		r = mdb_dbi_open(s->txn, NULL, 0, &s->dbi);
	if (r == 0)
		mdb_txn_reset(s->txn);
	return r;
}

static void
reopen(struct table *t)
{
	struct lmdb_state *s = t->state;
	int r;

	drop(s);
	s->lock_fd = watch_open(&s->w, t->env);
	r = s->lock_fd < 0 ? -s->lock_fd : open_env(s);
	if (r != 0) {
		s->w.known = false;
		mark_broken(t, s->lock_fd < 0 ? watch_trouble(t, &s->w, -r) : words(r));
		return;
	}
	watch_say_older(t, &s->w);
	s->warned = false;
	s->with_nul = false;
}

static bool
ready(struct table *t, struct fault *why)
{
	struct lmdb_state *s = t->state;
	int r = 0;

	switch (watch_poll(&s->w, t->env, &r)) {
	case WATCH_SAME:
		break;
	case WATCH_CHANGED:
		reopen(t);      /* also after writing in place: the mapping may have to grow */
		break;
	case WATCH_GONE:
		mark_broken(t, watch_trouble(t, &s->w, r));
		break;
	}
	if (s->env == NULL && why != NULL)
		*why = s->why;
	return s->env != NULL;
}

static int
lock(const struct lmdb_state *s, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(s->lock_fd, F_OFD_SETLK, &l) < 0 ? errno : 0;
}

static int
get(struct lmdb_state *s, struct span key, MDB_val *value_r)
{
	MDB_val k = { key.n, (void *)(uintptr_t)key.p };

	if (key.n > LMDB_KEY_MAX)
		return MDB_NOTFOUND;
	return mdb_get(s->txn, s->dbi, &k, value_r);
}

/* Keys may be stored with or without a NUL behind them. */
static int
get_value(struct lmdb_state *s, const struct lookup *q, struct span *value_r)
{
	struct span with_nul = span_of(arena_cstr(q->a, q->key), q->key.n + 1);
	MDB_val v = { 0, NULL };
	int r = get(s, s->with_nul ? with_nul : q->key, &v);

	if (r == MDB_NOTFOUND && !s->with_nul) {
		r = get(s, with_nul, &v);
		s->with_nul = r == 0;
	}
	if (r == 0 && v.mv_size > MAPS_VALUE_MAX)
		return EFBIG;
	if (r == 0)
		*value_r = arena_dup(q->a, span_of(v.mv_data, v.mv_size));
	if (r == 0 && s->with_nul && value_r->n > 0 && value_r->p[value_r->n - 1] == '\0')
		value_r->n--;
	return r;
}

static enum map_result
lmdb_find(struct table *t, const struct lookup *q, struct map_hit *hit, struct fault *why)
{
	struct lmdb_state *s = t->state;
	struct span value;
	int r;

	if (!ready(t, why))
		return MAP_DEFER;
	if (lock(s, F_RDLCK) != 0)
		return table_defer(t, why, "the table is being written");
	r = mdb_txn_renew(s->txn);
	if (r == 0)
		r = get_value(s, q, &value);
	mdb_txn_reset(s->txn);
	lock(s, F_UNLCK);
	if (r == MDB_NOTFOUND)
		return MAP_ABSENT;
	return r == 0 ? table_hit(t, q, value, t->name, 0, hit) : table_defer(t, why, words(r));
}

static void
lmdb_close(struct table *t)
{
	if (t->state != NULL)
		drop(t->state);
}

const struct table_type table_lmdb = {
	"lmdb", false, true, lmdb_open, lmdb_find, ready, lmdb_close
};
