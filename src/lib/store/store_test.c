/* The spool: what is acknowledged comes back as it was, whatever call fails on the way. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"
#include "store/store_private.h"
#include "store/store_test_io.h"

static const char QID[] = "4bXyZ10rTqz1";

static struct store *
open_spool(const struct store_io *io, unsigned threads, struct loop *loop)
{
	struct fault why = { 0 };
	struct store *s;

	if (!store_prepare(kit_dir(), (uid_t)-1, (gid_t)-1, &why))
		fail_msg("%s", why.text);
	s = store_open(kit_dir(), threads, loop, io, &why);
	if (s == NULL)
		fail_msg("%s", why.text);
	return s;
}

static void
count_done(void *ctx, struct store_op *op)
{
	(void)op;
	++*(int *)ctx;
}

static int
run_one(struct store *s, struct store_op *op)
{
	int done = 0;

	op->ctx = &done;
	op->done = count_done;
	store_submit(s, op);
	store_run(s);
	assert_int_equal(done, 1);
	return op->result;
}

static int
create(struct store *s, const char *qid, struct span envelope, struct span content, struct store_place *place)
{
	struct store_op op;

	store_op_init(&op, STORE_CREATE, span_str(qid), NULL, NULL);
	op.envelope = envelope;
	op.content = content;
	run_one(s, &op);
	*place = op.place;
	return op.result;
}

static int
update(struct store *s, const char *qid, const char *records, struct store_place *place)
{
	struct store_op op;

	store_op_init(&op, STORE_UPDATE, span_str(qid), NULL, NULL);
	op.records = span_str(records);
	op.place = *place;
	run_one(s, &op);
	*place = op.place;
	return op.result;
}

static int
load(struct store *s, const char *qid, struct store_op *op)
{
	store_op_init(op, STORE_LOAD, span_str(qid), NULL, NULL);
	op->verify = true;
	op->content_max = 1 << 20;
	return run_one(s, op);
}

static void
assert_loads(struct store *s, const char *qid, struct span envelope, struct span content, const char *records)
{
	struct store_op op;

	assert_int_equal(load(s, qid, &op), 0);
	assert_true(span_eq(op.envelope, envelope));
	assert_true(op.content_loaded);
	assert_true(span_eq(op.content, content));
	assert_span(op.records, records);
	store_op_release(&op);
}

static void
test_what_is_created_loads_again(void **state)
{
	struct store *s = open_spool(&store_io_disk, 0, NULL);
	struct store_place p;
	struct store_op op;

	(void)state;
	assert_int_equal(create(s, QID, SPAN("from a\nto b\n"), SPAN("Subject: x\r\n\r\nhello\r\n"), &p), 0);
	assert_int_equal(create(s, QID, SPAN("other"), SPAN("other"), &p), -EEXIST);
	assert_loads(s, QID, SPAN("from a\nto b\n"), SPAN("Subject: x\r\n\r\nhello\r\n"), "");
	assert_int_equal(load(s, "nosuchid", &op), -ENOENT);
	store_op_release(&op);
	store_op_init(&op, STORE_REMOVE, SPAN("4bXyZ10rTqz1"), NULL, NULL);
	assert_int_equal(run_one(s, &op), 0);
	assert_int_equal(load(s, QID, &op), -ENOENT);
	store_op_release(&op);
	store_close(&s);
}

static void
test_records_are_chained_and_survive_a_torn_tail(void **state)
{
	struct store *s = open_spool(&store_io_disk, 0, NULL);
	struct store_place p, torn;
	char path[FLAT_PATH];
	int fd;

	(void)state;
	assert_int_equal(create(s, QID, SPAN("env"), SPAN("content"), &p), 0);
	assert_int_equal(update(s, QID, "done 1\nlater 5\n", &p), 0);
	assert_int_equal(update(s, QID, "done 2\n", &p), 0);
	assert_loads(s, QID, SPAN("env"), SPAN("content"), "done 1\nlater 5\ndone 2\n");
	torn = p;
	assert_int_equal(update(s, QID, "done 3\ndone 4\n", &torn), 0);
	flat_path(QID, path);
	fd = fd_open(s->flat.dir, path, O_RDWR, 0);
	assert_int_equal(fd_pwrite_all(fd, "x", 1, p.tail + 10), 0);
	fd_close(&fd);
	/* "done 4" is whole, but stands on a record that is not */
	assert_loads(s, QID, SPAN("env"), SPAN("content"), "done 1\nlater 5\ndone 2\n");
	/* going on from the last good one hides the rest, also where line lengths agree */
	assert_int_equal(update(s, QID, "done 5\n", &p), 0);
	assert_loads(s, QID, SPAN("env"), SPAN("content"), "done 1\nlater 5\ndone 2\ndone 5\n");
	store_close(&s);
}

static void
test_replaced_records_move_to_a_new_file(void **state)
{
	struct store *s = open_spool(&store_io_disk, 0, NULL);
	struct store_place p;
	struct store_op op;

	(void)state;
	assert_int_equal(create(s, QID, SPAN("env"), SPAN("content"), &p), 0);
	assert_int_equal(update(s, QID, "a\nb\nc\n", &p), 0);
	store_op_init(&op, STORE_UPDATE, span_str(QID), NULL, NULL);
	op.replace = true;
	op.records = SPAN("all\n");
	assert_int_equal(run_one(s, &op), 0);
	assert_int_equal(update(s, QID, "more\n", &op.place), 0);
	assert_loads(s, QID, SPAN("env"), SPAN("content"), "all\nmore\n");
	store_close(&s);
}

static void
large(struct store *s, const char *qid, struct span envelope, struct span content)
{
	struct store_op op;
	int fd;

	store_op_init(&op, STORE_CREATE, span_str(qid), NULL, NULL);
	fd = store_tmp(s, op.tmp_name);
	assert_true(fd >= 0);
	assert_int_equal(fd_pwrite_all(fd, content.p, content.n, STORE_TMP_CONTENT), 0);
	op.envelope = envelope;
	op.tmp_bytes = content.n;
	assert_int_equal(run_one(s, &op), 0);
	assert_int_equal(update(s, qid, "r1\n", &op.place), 0);
	assert_loads(s, qid, envelope, content, "r1\n");
	fd_close(&fd);
}

static void
test_large_content_comes_in_a_tmp_file(void **state)
{
	static char text[300000], envelope[6000];
	struct store *s = open_spool(&store_io_disk, 0, NULL);
	struct store_op op;

	(void)state;
	memset(text, 'x', sizeof(text));
	memset(envelope, 'e', sizeof(envelope));
	large(s, "small", SPAN("env"), span_of(text, sizeof(text)));
	large(s, "bigenvelope", span_of(envelope, sizeof(envelope)), span_of(text, sizeof(text)));
	/* a descriptor instead of the bytes */
	store_op_init(&op, STORE_LOAD, SPAN("small"), NULL, NULL);
	op.want_fd = true;
	assert_int_equal(run_one(s, &op), 0);
	assert_true(op.fd >= 0 && !op.content_loaded);
	assert_int_equal(op.place.content_off, STORE_TMP_CONTENT);
	store_op_release(&op);
	store_close(&s);
}

static void
test_a_sender_that_wrote_another_length_is_refused(void **state)
{
	struct store *s = open_spool(&store_io_disk, 0, NULL);
	struct store_op op;
	int fd;

	(void)state;
	store_op_init(&op, STORE_CREATE, span_str(QID), NULL, NULL);
	fd = store_tmp(s, op.tmp_name);
	assert_int_equal(fd_pwrite_all(fd, "abc", 3, STORE_TMP_CONTENT), 0);
	op.envelope = SPAN("e");
	op.tmp_bytes = 2;
	assert_int_equal(run_one(s, &op), -EMSGSIZE);
	fd_close(&fd);
	store_close(&s);
}

static int
files_in(const char *sub)
{
	char path[512];
	DIR *d;
	int n = 0;
	const struct dirent *e;

	snprintf(path, sizeof(path), "%s/%s", kit_dir(), sub);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	return n;
}

static int
files_in_mail(void)
{
	char sub[16];
	int n = 0;

	for (unsigned i = 0; i < FLAT_DIRS; i++) {
		snprintf(sub, sizeof(sub), "mail/%02x", i);
		n += files_in(sub);
	}
	return n;
}

static void
test_a_failing_call_leaves_no_half_message(void **state)
{
	(void)state;
	for (int error = 0; error < 2; error++)
		for (int n = 0;; n++) {
			struct faulty f;
			struct store_place p;
			struct store *s;
			int r;

			faulty_init(&f, n, error == 0 ? ENOSPC : EIO);
			s = open_spool(&f.io, 0, NULL);
			s->flat.sync_dirs = true;
			r = create(s, QID, SPAN("env"), SPAN("content"), &p);
			f.fail_at = -1;
			if (r == 0) {
				struct store_op op;

				assert_loads(s, QID, SPAN("env"), SPAN("content"), "");
				store_op_init(&op, STORE_REMOVE, span_str(QID), NULL, NULL);
				assert_int_equal(run_one(s, &op), 0);
			}
			assert_int_equal(files_in_mail(), 0);
			assert_int_equal(files_in("tmp"), 0);
			store_close(&s);
			if (n >= f.calls)
				break;
		}
}

static void
test_a_failing_call_leaves_no_half_large_message(void **state)
{
	(void)state;
	for (int n = 0;; n++) {
		struct faulty f;
		struct store *s;
		struct store_op op;
		int fd, r;

		faulty_init(&f, -1, EIO);
		s = open_spool(&f.io, 0, NULL);
		store_op_init(&op, STORE_CREATE, span_str(QID), NULL, NULL);
		fd = store_tmp(s, op.tmp_name);
		assert_int_equal(fd_pwrite_all(fd, "abc", 3, STORE_TMP_CONTENT), 0);
		op.envelope = SPAN("env");
		op.tmp_bytes = 3;
		f.fail_at = n;
		f.calls = 0;
		r = run_one(s, &op);
		f.fail_at = -1;
		fd_close(&fd);
		assert_int_equal(files_in_mail(), r == 0 ? 1 : 0);
		if (r == 0) {
			store_op_init(&op, STORE_REMOVE, span_str(QID), NULL, NULL);
			assert_int_equal(run_one(s, &op), 0);
		}
		store_close(&s);
		if (r == 0 && n >= f.calls)
			break;
	}
}

static void
test_a_failing_update_keeps_what_was_durable(void **state)
{
	(void)state;
	for (int n = 0;; n++) {
		struct faulty f;
		struct store_place p;
		struct store *s;
		struct store_op op;
		int r, calls;

		faulty_init(&f, -1, EIO);
		s = open_spool(&f.io, 0, NULL);
		assert_int_equal(create(s, QID, SPAN("env"), SPAN("content"), &p), 0);
		assert_int_equal(update(s, QID, "one\n", &p), 0);
		f.fail_at = n;
		f.calls = 0;
		r = update(s, QID, "two\n", &p);
		calls = f.calls;
		f.fail_at = -1;
		assert_int_equal(load(s, QID, &op), 0);
		assert_span(op.content, "content");
		if (r == 0)
			assert_span(op.records, "one\ntwo\n");
		else
			assert_true(span_starts(op.records, SPAN("one\n")));
		store_op_release(&op);
		/* whatever happened, going on works */
		assert_int_equal(update(s, QID, "three\n", &p), 0);
		assert_int_equal(load(s, QID, &op), 0);
		assert_true(span_ends(op.records, SPAN("three\n")));
		store_op_release(&op);
		store_op_init(&op, STORE_REMOVE, span_str(QID), NULL, NULL);
		assert_int_equal(run_one(s, &op), 0);
		store_close(&s);
		if (n >= calls)
			break;
	}
}

static void
test_a_failed_sync_is_not_repeated_on_the_same_pages(void **state)
{
	struct faulty f;
	struct store_place p;
	struct store *s;
	struct stat before, after;
	char path[FLAT_PATH];

	(void)state;
	faulty_init(&f, -1, EIO);
	s = open_spool(&f.io, 0, NULL);
	assert_int_equal(create(s, QID, SPAN("env"), SPAN("content"), &p), 0);
	flat_path(QID, path);
	assert_int_equal(fstatat(s->flat.dir, path, &before, 0), 0);
	f.syncs_only = 1;
	f.calls = f.fail_at = 0;
	assert_int_equal(update(s, QID, "one\n", &p), 0);
	assert_int_equal(fstatat(s->flat.dir, path, &after, 0), 0);
	assert_true(before.st_ino != after.st_ino);
	assert_int_equal(f.calls, 3);   /* failed, new file, its directory */
	assert_loads(s, QID, SPAN("env"), SPAN("content"), "one\n");
	/* a disk that syncs nothing any more: refused, and nothing left */
	f.calls = 0;
	f.from_then_on = 1;
	assert_int_equal(update(s, QID, "two\n", &p), -EIO);
	assert_int_equal(create(s, "other", SPAN("env"), SPAN("content"), &p), -EIO);
	assert_int_equal(files_in_mail(), 1);
	store_close(&s);
}

struct seen {
	int good, torn, bad, over;
	char last_torn[STORE_QID_MAX + 1], last_bad[STORE_QID_MAX + 1];
};

static void
see(void *ctx, const struct store_entry *e, int result)
{
	struct seen *seen = ctx;

	if (e == NULL) {
		assert_int_equal(result, 0);
		seen->over++;
	} else if (e->found == STORE_FOUND_GOOD) {
		seen->good++;
		assert_true(span_starts(e->envelope, SPAN("env")));
	} else if (e->found == STORE_FOUND_TORN) {
		seen->torn++;
		memcpy(seen->last_torn, e->qid, sizeof(e->qid));
	} else {
		seen->bad++;
		memcpy(seen->last_bad, e->qid, sizeof(e->qid));
	}
}

static void
test_scan_tells_torn_from_damaged(void **state)
{
	struct store *s = open_spool(&store_io_disk, 0, NULL);
	struct seen seen = { 0 };
	struct store_place p;
	struct store_op op;
	char path[FLAT_PATH];
	int fd;

	(void)state;
	assert_int_equal(create(s, "good", SPAN("env"), SPAN("content"), &p), 0);
	assert_int_equal(update(s, "good", "one\n", &p), 0);
	assert_int_equal(create(s, "torn", SPAN("env"), SPAN("content"), &p), 0);
	flat_path("torn", path);
	fd = fd_open(s->flat.dir, path, O_RDWR, 0);
	assert_int_equal(ftruncate(fd, FLAT_PREAMBLE + 5), 0);
	fd_close(&fd);
	assert_int_equal(create(s, "rotten", SPAN("env"), SPAN("content"), &p), 0);
	flat_path("rotten", path);
	fd = fd_open(s->flat.dir, path, O_RDWR, 0);
	assert_int_equal(fd_pwrite_all(fd, "X", 1, FLAT_PREAMBLE), 0);
	fd_close(&fd);
	assert_int_equal(store_scan_dir(kit_dir(), see, &seen), 0);
	assert_int_equal(seen.good, 1);
	assert_int_equal(seen.torn, 1);
	assert_string_equal(seen.last_torn, "torn");
	assert_int_equal(seen.bad, 1);
	assert_string_equal(seen.last_bad, "rotten");
	store_op_init(&op, STORE_CORRUPT, SPAN("rotten"), NULL, NULL);
	assert_int_equal(run_one(s, &op), 0);
	assert_int_equal(files_in("corrupt"), 1);
	/* damaged content is found when it is to be delivered */
	assert_int_equal(create(s, "later", SPAN("env"), SPAN("content"), &p), 0);
	flat_path("later", path);
	fd = fd_open(s->flat.dir, path, O_RDWR, 0);
	assert_int_equal(fd_pwrite_all(fd, "X", 1, p.content_off), 0);
	fd_close(&fd);
	assert_int_equal(load(s, "later", &op), -EBADMSG);
	store_op_release(&op);
	store_close(&s);
}

struct many {
	struct store *s;
	struct loop *loop;
	struct store_op ops[300];
	int done, failed;
	struct seen seen;
};

static void
one_done(void *ctx, struct store_op *op)
{
	struct many *m = ctx;

	m->done++;
	m->failed += op->result != 0;
}

static void
test_threads_bring_everything_back_to_the_loop(void **state)
{
	static struct many m;
	char qid[STORE_QID_MAX + 1];

	(void)state;
	m.loop = loop_new();
	m.s = open_spool(&store_io_disk, 3, m.loop);
	for (int i = 0; i < 300; i++) {
		snprintf(qid, sizeof(qid), "m%d", i);
		store_op_init(&m.ops[i], STORE_CREATE, span_str(qid), one_done, &m);
		m.ops[i].envelope = SPAN("env");
		m.ops[i].content = SPAN("content");
		store_submit(m.s, &m.ops[i]);
		if (i % 50 == 0)
			loop_turn(m.loop, 0);
	}
	assert_true(store_pending(m.s) > 0);
	while (m.done < 300)
		loop_turn(m.loop, 1000);
	assert_int_equal(m.failed, 0);
	assert_int_equal(store_pending(m.s), 0);
	store_scan(m.s, see, &m.seen);
	while (m.seen.over == 0)
		loop_turn(m.loop, 1000);
	assert_int_equal(m.seen.good, 300);
	/* a scan that nobody waits for, and operations in flight, at the end */
	store_scan(m.s, see, &m.seen);
	store_op_init(&m.ops[0], STORE_LOAD, SPAN("m7"), one_done, &m);
	m.ops[0].want_fd = true;
	store_submit(m.s, &m.ops[0]);
	store_close(&m.s);
	assert_int_equal(m.done, 301);
	assert_true(m.ops[0].fd >= 0);
	store_op_release(&m.ops[0]);
	loop_free(&m.loop);
}

static void
test_spools_of_others_are_refused(void **state)
{
	struct fault why = { 0 };
	struct store *s;

	(void)state;
	kit_file("stranger", "x");
	assert_false(store_prepare(kit_dir(), (uid_t)-1, (gid_t)-1, &why));
	assert_non_null(strstr(why.text, "\"stranger\""));
	assert_null(store_open(kit_dir(), 0, NULL, &store_io_disk, &why));
	assert_non_null(strstr(why.text, "not a Signet spool"));
	char path[512];
	snprintf(path, sizeof(path), "%s/active", kit_dir());
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/incoming", kit_dir());
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(store_prepare(kit_dir(), (uid_t)-1, (gid_t)-1, &why));
	assert_non_null(strstr(why.text, "Postfix queue"));
	rmdir(path);
	snprintf(path, sizeof(path), "%s/stranger", kit_dir());
	unlink(path);
	snprintf(path, sizeof(path), "%s/active", kit_dir());
	rmdir(path);
	s = open_spool(&store_io_disk, 0, NULL);
	assert_null(store_open(kit_dir(), 0, NULL, &store_io_disk, &why));
	assert_non_null(strstr(why.text, "in use"));
	store_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_what_is_created_loads_again),
		KIT_TEST(test_records_are_chained_and_survive_a_torn_tail),
		KIT_TEST(test_replaced_records_move_to_a_new_file),
		KIT_TEST(test_large_content_comes_in_a_tmp_file),
		KIT_TEST(test_a_sender_that_wrote_another_length_is_refused),
		KIT_TEST(test_a_failing_call_leaves_no_half_message),
		KIT_TEST(test_a_failing_call_leaves_no_half_large_message),
		KIT_TEST(test_a_failing_update_keeps_what_was_durable),
		KIT_TEST(test_a_failed_sync_is_not_repeated_on_the_same_pages),
		KIT_TEST(test_scan_tells_torn_from_damaged),
		KIT_TEST(test_threads_bring_everything_back_to_the_loop),
		KIT_TEST(test_spools_of_others_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
