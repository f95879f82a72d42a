/* One pass over the source, one writer behind it: cdb or lmdb. */
#include "maps/build.h"

#include <cdb.h>
#include <errno.h>
#include <lmdb.h>

#include "base/fd.h"
#include "base/log.h"
#include "maps/maps.h"

#define LMDB_ROOM (16u << 20)
#define LMDB_PER_BYTE 8u        /* a page holds few entries of short text */

enum put_result { PUT_OK, PUT_DUPLICATE, PUT_BAD_KEY, PUT_FAILED };

struct build {
	const struct build_job *job;
	struct build_report *report;
	enum put_result (*put)(struct build *b, struct span key, struct span value);
	struct buf key;
	struct fault *why;
	struct cdb_make cdb;
	MDB_txn *txn;
	MDB_dbi dbi;
};

static struct span
fold(struct build *b, struct span key)
{
	buf_clear(&b->key);
	for (size_t i = 0; i < key.n; i++)
		buf_addc(&b->key, ascii_lower(key.p[i]));
	return buf_span(&b->key);
}

static void
on_bad(void *ctx, unsigned line, const struct fault *why)
{
	struct build *b = ctx;

	if (b->report->bad++ == 0)
		fault_set(&b->report->first_bad, "4.3.5", "line %u: %s", line, why->text);
	if (b->report->bad <= BUILD_LOGGED)
		log_warning(NULL, "%s:%u: %s: this line is skipped", b->job->name, line, why->text);
}

static bool
on_entry(void *ctx, struct span key, struct span value, unsigned line)
{
	struct build *b = ctx;
	struct fault bad_key;

	switch (b->put(b, b->job->keep_case ? key : fold(b, key), value)) {
	case PUT_OK:
		b->report->entries++;
		return true;
	case PUT_DUPLICATE:
		b->report->duplicates++;
		if (b->job->quiet_duplicates || b->report->duplicates > BUILD_LOGGED)
			return true;
		log_warning(NULL, "%s:%u: \"%.*s\" is here a second time: the first entry counts",
		    b->job->name, line, SPAN_ARG(log_esc(key)));
		return true;
	case PUT_BAD_KEY:
		fault_set(&bad_key, "4.3.5", "the key is too long for this type");
		on_bad(b, line, &bad_key);
		return true;
	case PUT_FAILED:
		break;
	}
	return false;
}

static void
on_progress(void *ctx, size_t done)
{
	struct build *b = ctx;

	if (b->job->progress != NULL)
		b->job->progress(b->job->ctx, done, b->job->text.n);
}

static bool
run(struct build *b)
{
	struct source_reader r = {
		.form = b->job->form, .entry = on_entry, .bad = on_bad, .at = on_progress, .ctx = b,
	};
	bool ok;

	*b->report = (struct build_report){ 0 };
	buf_init(&b->key, MAPS_KEY_MAX);
	ok = source_each(b->job->text, &r);
	buf_release(&b->key);
	if (b->report->bad > BUILD_LOGGED)
		log_warning(NULL, "%s: %zu lines in all cannot be understood", b->job->name, b->report->bad);
	if (b->report->duplicates > BUILD_LOGGED && !b->job->quiet_duplicates)
		log_warning(NULL, "%s: %zu keys in all are here a second time", b->job->name, b->report->duplicates);
	return ok;
}

static enum put_result
put_cdb(struct build *b, struct span key, struct span value)
{
	int r = cdb_make_put(&b->cdb, key.p, (unsigned)key.n, value.p, (unsigned)value.n, CDB_PUT_INSERT);

	if (r < 0)
		fault_set(b->why, "4.3.0", "cannot write: %s", fd_error(-errno));
	return r < 0 ? PUT_FAILED : r > 0 ? PUT_DUPLICATE : PUT_OK;
}

bool
build_cdb(const struct build_job *job, int fd, struct build_report *report_r, struct fault *why)
{
	struct build b = { .job = job, .report = report_r, .put = put_cdb, .why = why };
	bool ok;

	if (cdb_make_start(&b.cdb, fd) < 0)
		return fault_set(why, "4.3.0", "cannot write: %s", fd_error(-errno));
	ok = run(&b);
	if (ok && job->mark_bad && report_r->bad > 0)
		ok = put_cdb(&b, BUILD_BAD_KEY, span_str(report_r->first_bad.text)) != PUT_FAILED;
	if (cdb_make_finish(&b.cdb) < 0 && ok)
		ok = fault_set(why, "4.3.0", "cannot write: %s", fd_error(-errno));
	return ok;
}

static enum put_result
put_lmdb(struct build *b, struct span key, struct span value)
{
	MDB_val k = { key.n, (void *)(uintptr_t)key.p }, v = { value.n, (void *)(uintptr_t)value.p };
	int r = mdb_put(b->txn, b->dbi, &k, &v, MDB_NOOVERWRITE);

	if (r == 0)
		return PUT_OK;
	if (r == MDB_KEYEXIST)
		return PUT_DUPLICATE;
	if (r == MDB_BAD_VALSIZE)
		return PUT_BAD_KEY;
	fault_set(b->why, "4.3.0", "cannot write: %s", mdb_strerror(r));
	return PUT_FAILED;
}

/* 0 or an LMDB error; `ok_r` is false when an entry failed (why is filled). */
static int
fill_lmdb(struct build *b, MDB_env *env, bool *ok_r)
{
	int r = mdb_txn_begin(env, NULL, 0, &b->txn);

	if (r != 0)
		return r;
	r = mdb_dbi_open(b->txn, NULL, 0, &b->dbi);
	*ok_r = r == 0 && run(b);
	if (*ok_r)
		return mdb_txn_commit(b->txn);
	mdb_txn_abort(b->txn);
	return r;
}

bool
build_lmdb(const struct build_job *job, const char *path, struct build_report *report_r,
    struct fault *why)
{
	struct build b = { .job = job, .report = report_r, .put = put_lmdb, .why = why };
	MDB_env *env = NULL;
	bool ok = true;
	int r = mdb_env_create(&env);

	if (r == 0)
		r = mdb_env_set_mapsize(env, size_add(size_mul(job->text.n, LMDB_PER_BYTE), LMDB_ROOM));
	if (r == 0)
		r = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
	if (r == 0)
		r = fill_lmdb(&b, env, &ok);
	if (r == 0 && ok)
		r = mdb_env_sync(env, 1);
	mdb_env_close(env);
	if (r != 0)
		return fault_set(why, "4.3.0", "cannot write: %s", r > 0 ? fd_error(-r) : mdb_strerror(r));
	return ok;
}
