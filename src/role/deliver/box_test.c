/* Mailboxes on real file systems: what is there afterwards, and what is not when anything failed. */
#include "role/deliver/box.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"

static const struct box_lock lock = {
	.fcntl = true, .dotlock = true, .attempts = 2, .pause_ms = 10, .stale_s = 500,
};

static struct box_message
message_of(struct span content)
{
	return (struct box_message){
		.head = SPAN("Return-Path: <a@example.org>\n"),
		.content = { .fd = fd_sealed("content", content), .size = content.n },
		.host = "mail.example.org",
	};
}

static const char *
path_of(const char *name)
{
	static char paths[16][600];
	static unsigned at;
	char *p = paths[at++ % 16];

	snprintf(p, sizeof(paths[0]), "%s/%s", kit_dir(), name);
	return p;
}

static unsigned
count_files(const char *dir, char *name_r, size_t size)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.') {
			n++;
			if (name_r != NULL)
				snprintf(name_r, size, "%s", e->d_name);
		}
	if (d != NULL)
		closedir(d);
	return n;
}

static void
assert_content(const char *path, const char *want)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	assert_int_equal(fd_read_file(AT_FDCWD, path, &b), 0);
	assert_span(buf_span(&b), want);
	buf_release(&b);
}

static void
test_maildir(void **state)
{
	struct box_message m = message_of(SPAN("Subject: x\r\n\r\nFrom me\r\n"));
	struct fault why = { 0 };
	char name[300] = "", full[1024];
	struct stat st;

	(void)state;
	assert_int_equal(maildir_deliver(path_of("Maildir"), kit_dir(), &m, &why), BOX_DONE);
	assert_int_equal(count_files(path_of("Maildir/new"), name, sizeof(name)), 1);
	assert_int_equal(count_files(path_of("Maildir/tmp"), NULL, 0), 0);
	assert_non_null(strstr(name, ".mail.example.org"));
	assert_non_null(strstr(name, ".V"));
	snprintf(full, sizeof(full), "%s/%s", path_of("Maildir/new"), name);
	assert_content(full, "Return-Path: <a@example.org>\nSubject: x\n\nFrom me\n");
	assert_int_equal(stat(full, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(path_of("Maildir/new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(maildir_deliver(path_of("Maildir"), kit_dir(), &m, &why), BOX_DONE);
	assert_int_equal(count_files(path_of("Maildir/new"), NULL, 0), 2);
	fd_close(&m.content.fd);
}

static void
test_maildir_host_name(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct fault why = { 0 };
	char name[300] = "";

	(void)state;
	m.host = "a/b:c";
	assert_int_equal(maildir_deliver(path_of("M"), kit_dir(), &m, &why), BOX_DONE);
	count_files(path_of("M/new"), name, sizeof(name));
	assert_non_null(strstr(name, ".a\\057b\\072c"));
	fd_close(&m.content.fd);
}

static void
test_missing_home(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct fault why = { 0 };

	(void)state;
	assert_int_equal(maildir_deliver(path_of("home/Maildir"), path_of("home"), &m, &why), BOX_DEFER);
	assert_string_equal(why.dsn, "4.2.0");
	assert_non_null(strstr(why.text, "No such file or directory"));
	assert_int_not_equal(access(path_of("home"), F_OK), 0);
	fd_close(&m.content.fd);
}

static void
test_deep_maildir(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct fault why = { 0 };

	(void)state;
	assert_int_equal(maildir_deliver(path_of("example.org/u/box"), kit_dir(), &m, &why), BOX_DONE);
	assert_int_equal(count_files(path_of("example.org/u/box/new"), NULL, 0), 1);
	fd_close(&m.content.fd);
}

static void
test_size_limit_bounces(void **state)
{
	struct box_message m = message_of(SPAN("0123456789\r\n"));
	struct box_mbox box = { .path = path_of("mbox"), .owner = geteuid(), .strict_owner = true, .lock = lock };
	struct fault why = { 0 };

	(void)state;
	m.limit_bytes = 20;
	assert_int_equal(maildir_deliver(path_of("M"), kit_dir(), &m, &why), BOX_BOUNCE);
	assert_string_equal(why.dsn, "5.2.2");
	assert_int_equal(count_files(path_of("M/new"), NULL, 0), 0);
	assert_int_equal(count_files(path_of("M/tmp"), NULL, 0), 0);
	kit_file("mbox", "From x\nold\n\n");
	box.path = path_of("mbox");
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_BOUNCE);
	assert_string_equal(why.dsn, "5.2.2");
	assert_content(path_of("mbox"), "From x\nold\n\n");
	fd_close(&m.content.fd);
}

static void
test_mbox(void **state)
{
	struct box_message m = message_of(SPAN("Subject: x\r\n\r\nFrom me\r\nend"));
	struct box_mbox box = { .path = path_of("mbox"), .owner = geteuid(), .strict_owner = true, .lock = lock };
	struct fault why = { 0 };

	(void)state;
	m.head = SPAN("From a@b Mon\n");
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DONE);
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DONE);
	assert_content(box.path, "From a@b Mon\nSubject: x\n\n>From me\nend\n\n"
	    "From a@b Mon\nSubject: x\n\n>From me\nend\n\n");
	assert_int_not_equal(access(path_of("mbox.lock"), F_OK), 0);
	fd_close(&m.content.fd);
}

static void
test_mbox_checks(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct box_mbox box = { .owner = geteuid() + 1, .strict_owner = true, .lock = lock };
	struct fault why = { 0 };

	(void)state;
	box.path = kit_file("other", "");
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	assert_string_equal(why.dsn, "4.2.0");
	assert_non_null(strstr(why.text, "is not owned by recipient"));
	box.strict_owner = false;
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DONE);
	box.path = path_of("link");
	assert_int_equal(link(path_of("other"), box.path), 0);
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	box.path = path_of("no/such/dir");
	box.lock.dotlock = false;
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	box.path = kit_dir();
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	fd_close(&m.content.fd);
}

static void
test_special_files(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct box_mbox box = { .path = "/dev/null", .special_ok = true, .lock = lock };
	struct fault why = { 0 };

	(void)state;
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DONE);
	assert_int_not_equal(access("/dev/null.lock", F_OK), 0);
	box.path = "/dev/full";
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	assert_string_equal(why.dsn, "4.3.0");
	box.special_ok = false;
	box.path = "/dev/null";
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_BOUNCE);
	assert_string_equal(why.dsn, "5.2.0");
	fd_close(&m.content.fd);
}

static void
test_dot_lock_held(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct box_mbox box = { .path = path_of("mbox"), .owner = geteuid(), .lock = lock };
	struct fault why = { 0 };
	const struct timespec old[2] = { { .tv_sec = 1000000 }, { .tv_sec = 1000000 } };

	(void)state;
	kit_file("mbox.lock", "");
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	assert_non_null(strstr(why.text, "unable to create lock file"));
	assert_int_not_equal(access(box.path, F_OK), 0);
	/* Left by a program that died long ago: broken. */
	assert_int_equal(utimensat(AT_FDCWD, path_of("mbox.lock"), old, 0), 0);
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DONE);
	fd_close(&m.content.fd);
}

/* A lock of ours does not stop us, so another process holds it. */
static void
test_fcntl_lock_held(void **state)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct box_mbox box = { .path = kit_file("mbox", ""), .owner = geteuid(), .lock = lock };
	struct fault why = { 0 };
	int ready[2];
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct flock whole = { .l_type = F_WRLCK };
		int fd = open(box.path, O_RDWR);

		if (fcntl(fd, F_SETLK, &whole) == 0 && write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(mbox_deliver(&box, &m, &why), BOX_DEFER);
	assert_non_null(strstr(why.text, "unable to lock for exclusive access"));
	assert_content(box.path, "");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	fd_close(&m.content.fd);
}

/* Both formats with `room` bytes left; nothing of the message may be seen afterwards. */
static int
deliver_without_room(void *ctx)
{
	struct buf big;
	struct box_message m;
	struct box_mbox box = { .path = path_of("full/mbox"), .owner = geteuid(), .lock = lock };
	struct fault why = { 0 };
	struct stat st;

	(void)ctx;
	buf_init(&big, 1 << 20);
	for (size_t i = 0; i < 9000; i++)
		buf_add_str(&big, "a line of thirty bytes or so\r\n");
	m = message_of(buf_span(&big));
	if (maildir_deliver(path_of("full/M"), path_of("full"), &m, &why) != BOX_DEFER ||
	    why.dsn[0] != '4')
		return 1;
	if (count_files(path_of("full/M/new"), NULL, 0) + count_files(path_of("full/M/tmp"), NULL, 0) != 0)
		return 2;
	if (mbox_deliver(&box, &m, &why) != BOX_DEFER || why.dsn[0] != '4')
		return 3;
	if (stat(box.path, &st) == 0 && st.st_size != 0)
		return 4;
	return 0;
}

static int
in_child(int (*fn)(void *ctx), void *ctx)
{
	pid_t pid;
	int status = -1;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(fn(ctx));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
with_tmpfs(void *ctx)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", path_of("full"), "tmpfs", 0, "size=64k") < 0)
		return 77;
	return deliver_without_room(ctx);
}

static int
with_rlimit(void *ctx)
{
	const struct rlimit small = { 8192, 8192 };

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	return deliver_without_room(ctx);
}

static void
test_disk_full(void **state)
{
	int r;

	(void)state;
	kit_dir();
	assert_int_equal(mkdir(path_of("full"), 0700), 0);
	r = in_child(with_tmpfs, NULL);
	if (r == 77)
		skip();
	assert_int_equal(r, 0);
}

static void
test_file_size_rlimit(void **state)
{
	(void)state;
	kit_dir();
	assert_int_equal(mkdir(path_of("full"), 0700), 0);
	assert_int_equal(in_child(with_rlimit, NULL), 0);
}

static int
as_nobody(void *ctx)
{
	struct box_message m = message_of(SPAN("x\r\n"));
	struct box_mbox box = { .path = path_of("mbox"), .owner = 65534, .lock = lock };
	struct fault why = { 0 };

	(void)ctx;
	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 77;
	if (maildir_deliver(path_of("M"), kit_dir(), &m, &why) != BOX_DEFER ||
	    strstr(why.text, "Permission denied") == NULL)
		return 1;
	if (mbox_deliver(&box, &m, &why) != BOX_DEFER || strstr(why.text, "Permission denied") == NULL)
		return 2;
	box.lock.dotlock_optional = true;
	return mbox_deliver(&box, &m, &why) == BOX_DEFER ? 0 : 3;
}

static void
test_unwritable_directory(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(kit_dir(), 0755), 0);
	assert_int_equal(in_child(as_nobody, NULL), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_maildir),
		KIT_TEST(test_maildir_host_name),
		KIT_TEST(test_missing_home),
		KIT_TEST(test_deep_maildir),
		KIT_TEST(test_size_limit_bounces),
		KIT_TEST(test_mbox),
		KIT_TEST(test_mbox_checks),
		KIT_TEST(test_special_files),
		KIT_TEST(test_dot_lock_held),
		KIT_TEST(test_fcntl_lock_held),
		KIT_TEST(test_disk_full),
		KIT_TEST(test_file_size_rlimit),
		KIT_TEST(test_unwritable_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
