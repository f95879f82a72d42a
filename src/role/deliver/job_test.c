/* The child of deliver: whose rights it has, and that it reports whatever happens. */
#include "role/deliver/job.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"

#define NOBODY 65534

static struct job_report report;
static char body[65536];

static struct job_env
env_of(void)
{
	return (struct job_env){ .host = "h.example", .home_dir = "/", .lock_attempts = 2,
		.lock_pause_ms = 10, .lock_stale_s = 500, .mail_uid = (uid_t)-1 };
}

static void
collect(pid_t pid, int ends[2])
{
	size_t n = 0;
	ssize_t got;

	close(ends[1]);
	assert_int_equal(read(ends[0], &report, sizeof(report)), sizeof(report));
	while ((got = read(ends[0], body + n, sizeof(body) - 1 - n)) > 0)
		n += (size_t)got;
	body[n] = '\0';
	assert_int_equal(n, report.body_n);
	close(ends[0]);
	waitpid(pid, NULL, 0);
}

static void
run(struct ipc_run_start m, struct job_env env)
{
	int ends[2];
	pid_t pid;

	m.file = fd_sealed("content", SPAN("Subject: x\r\n\r\nhi\r\n"));
	m.size = 18;
	m.eol = SPAN("\n");
	m.limit_ms = 60000;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		job_run(&m, &env, ends[1]);
	fd_close(&m.file);
	collect(pid, ends);
}

static void
read_file(struct ipc_run_read m)
{
	struct job_env env = env_of();
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		job_read(&m, &env, ends[1]);
	collect(pid, ends);
}

static bool
be_root_with_open_dir(void)
{
	assert_int_equal(chmod(kit_dir(), 0777), 0);
	return geteuid() == 0;
}

static void
test_maildir_belongs_to_the_user(void **state)
{
	char path[600];
	struct stat st;

	(void)state;
	if (!be_root_with_open_dir())
		skip();
	snprintf(path, sizeof(path), "%s/M", kit_dir());
	run((struct ipc_run_start){ .kind = RUN_MAILDIR, .uid = NOBODY, .gid = NOBODY,
	    .path = span_str(path), .base = span_str(kit_dir()) }, env_of());
	assert_int_equal(report.result, RUN_DELIVERED);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
	assert_int_equal(st.st_gid, NOBODY);
}

static void
test_never_root(void **state)
{
	struct job_env env = env_of();

	(void)state;
	if (!be_root_with_open_dir())
		skip();
	run((struct ipc_run_start){ .kind = RUN_COMMAND, .uid = 0, .gid = 0, .argv = SPAN("id\0") }, env);
	assert_int_equal(report.result, RUN_DEFERRED);
	assert_string_equal(report.text, "refusing to deliver with root's rights");
	run((struct ipc_run_start){ .kind = RUN_COMMAND, .uid = 1234567, .gid = 0, .argv = SPAN("id\0") }, env);
	assert_int_equal(report.result, RUN_DEFERRED);
	assert_string_equal(report.text, "uid 1234567 has no account");
	env.mail_uid = NOBODY;
	run((struct ipc_run_start){ .kind = RUN_COMMAND, .uid = NOBODY, .gid = NOBODY, .argv = SPAN("id\0") }, env);
	assert_int_equal(report.result, RUN_DEFERRED);
	assert_string_equal(report.text, "refusing to deliver with the mail system's rights");
}

/* Everything the command can see of us: its ids, its groups, its descriptors, its environment. */
static void
test_command_sees_nothing_else(void **state)
{
	int leak;

	(void)state;
	if (!be_root_with_open_dir())
		skip();
	leak = open("/etc/shadow", O_RDONLY);
	run((struct ipc_run_start){ .kind = RUN_COMMAND, .uid = NOBODY, .gid = NOBODY,
	    .env = SPAN("PATH=/usr/bin:/bin\0A=b\0"),
	    .argv = SPAN("id -u; id -G; ls /proc/self/fd | wc -l; env | wc -l\0") }, env_of());
	close(leak);
	assert_int_equal(report.result, RUN_EXITED);
	assert_int_equal(report.code, 0);
	/* 0, 1, 2 and the directory that ls reads; PATH, A and the shell's PWD (dash) */
	assert_string_equal(report.text, "65534 65534 4 3 ");
}

static void
test_words_are_not_for_the_shell(void **state)
{
	(void)state;
	if (!be_root_with_open_dir())
		skip();
	run((struct ipc_run_start){ .kind = RUN_COMMAND, .flags = RUN_WORDS, .uid = NOBODY, .gid = NOBODY,
	    .env = SPAN("PATH=/usr/bin:/bin\0"), .argv = SPAN("echo\0$(id)\0; a b\0") }, env_of());
	assert_int_equal(report.result, RUN_EXITED);
	assert_string_equal(report.text, "$(id) ; a b ");
}

static void
test_read(void **state)
{
	const char *path;

	(void)state;
	if (!be_root_with_open_dir())
		skip();
	path = kit_file("forward", "alice\n");
	assert_int_equal(chmod(path, 0644), 0);
	read_file((struct ipc_run_read){ .uid = NOBODY, .gid = NOBODY, .path = span_str(path) });
	assert_int_equal(report.result, RUN_READ_OK);
	assert_string_equal(body, "alice\n");
	assert_int_equal(report.owner, 0);
	assert_int_equal(report.mode & 07777, 0644);
	assert_int_equal(chmod(path, 0600), 0);
	read_file((struct ipc_run_read){ .uid = NOBODY, .gid = NOBODY, .path = span_str(path) });
	assert_int_equal(report.result, RUN_READ_DENIED);
	read_file((struct ipc_run_read){ .uid = NOBODY, .gid = NOBODY, .path = SPAN("/no/such/file") });
	assert_int_equal(report.result, RUN_READ_ABSENT);
	read_file((struct ipc_run_read){ .uid = NOBODY, .gid = NOBODY, .path = SPAN("/dev/zero") });
	assert_int_equal(report.result, RUN_READ_REFUSED);
	read_file((struct ipc_run_read){ .uid = 0, .gid = 0, .path = SPAN("/etc/shadow") });
	assert_int_equal(report.result, RUN_READ_LATER);
	assert_int_equal(report.body_n, 0);
}

/* The group of the spool directory lets a user make mailbox and lock in root:mail 2775. */
static void
test_spool_group(void **state)
{
	struct job_env env = env_of();
	char dir[600], box[700];
	struct stat st;

	(void)state;
	if (!be_root_with_open_dir())
		skip();
	snprintf(dir, sizeof(dir), "%s/spool", kit_dir());
	snprintf(box, sizeof(box), "%s/nobody", dir);
	assert_int_equal(mkdir(dir, 02775), 0);
	assert_int_equal(chown(dir, 0, 8), 0);
	assert_int_equal(chmod(dir, 02775), 0);
	run((struct ipc_run_start){ .kind = RUN_MBOX, .uid = NOBODY, .gid = NOBODY, .path = span_str(box),
	    .flags = RUN_SPOOL | RUN_LOCK_DOT | RUN_STRICT_OWNER, .head = SPAN("From x\n") }, env);
	assert_int_equal(report.result, RUN_DEFERRED);
	env.spool_gid = 8;
	run((struct ipc_run_start){ .kind = RUN_MBOX, .uid = NOBODY, .gid = NOBODY, .path = span_str(box),
	    .flags = RUN_SPOOL | RUN_LOCK_DOT | RUN_STRICT_OWNER, .head = SPAN("From x\n") }, env);
	assert_int_equal(report.result, RUN_DELIVERED);
	assert_int_equal(stat(box, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
	assert_int_equal(st.st_mode & 07777, 0600);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_maildir_belongs_to_the_user),
		KIT_TEST(test_never_root),
		KIT_TEST(test_command_sees_nothing_else),
		KIT_TEST(test_words_are_not_for_the_shell),
		KIT_TEST(test_read),
		KIT_TEST(test_spool_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
