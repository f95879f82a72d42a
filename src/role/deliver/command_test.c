/* Commands that behave, misbehave, talk too much, never end, or never read. */
#include "role/deliver/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "kit/kit.h"

static char path_env[] = "PATH=/usr/bin:/bin";
static char user_env[] = "USER=alice";
static char *env[] = { path_env, user_env, NULL };

static struct command_result
run(const char *line, struct span content, int64_t limit_ms)
{
	struct command c = {
		.line = line, .env = env, .dir = "", .head = SPAN("X-Head: y\n"),
		.content = { .fd = fd_sealed("content", content), .size = content.n },
		.form = { .eol = { "\n", 1 } }, .limit_ms = limit_ms,
	};
	struct command_result r;

	command_run(&c, &r);
	fd_close(&c.content.fd);
	return r;
}

static const struct command_row {
	const char *name, *line, *output;
	int status;
} command_rows[] = {
	{ "the message is on stdin", "cat", "X-Head: y a b ", 0 },
	{ "a shell builtin runs", "exit 67", "", 67 },
	{ "a shell is used where the line needs one", "echo $USER | tr a-z A-Z", "ALICE ", 0 },
	{ "stderr is kept too", "sh -c 'echo out; echo err >&2; exit 3'", "out err ", 3 },
	{ "the environment is ours alone", "env | grep -c =", "3 ", 0 },
	{ "unread input is no failure", "true", "", 0 },
	{ "a program that is not there", "/no/such/program", "cannot run /no/such/program: No such file or directory", 75 },
	{ "a word that is not there", "no-such-program-at-all", "sh: 1: no-such-program-at-all: not found ", 127 },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(command_rows) / sizeof(command_rows[0]); i++) {
		const struct command_row *row = &command_rows[i];
		struct command_result r = run(row->line, SPAN("a\r\nb\r\n"), 60000);

		if (r.end != COMMAND_EXITED || r.status != row->status || strcmp(r.output, row->output) != 0)
			fail_msg("%s: end %d status %d output '%s'", row->name, r.end, r.status, r.output);
	}
}

static void
test_argv_is_not_split(void **state)
{
	char word0[] = "printf", word1[] = "%s|", word2[] = "a b; exit 9", word3[] = "";
	char *argv[] = { word0, word1, word2, word3, NULL };
	struct command c = {
		.argv = argv, .env = env, .dir = "/", .form = { .eol = { "\n", 1 } },
		.content = { .fd = fd_sealed("content", SPAN("")) }, .limit_ms = 60000,
	};
	struct command_result r;
	char before[4096];

	(void)state;
	assert_non_null(getcwd(before, sizeof(before)));
	command_run(&c, &r);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(r.end, COMMAND_EXITED);
	assert_string_equal(r.output, "a b; exit 9||");
	c.dir = "/no/such/dir";
	command_run(&c, &r);
	assert_int_equal(r.end, COMMAND_NOT_RUN);
	assert_int_equal(r.why.dsn[0], '4');
	fd_close(&c.content.fd);
}

/* More input than a pipe holds, echoed back while we still write: neither side may block the other. */
static void
test_big_echo(void **state)
{
	struct buf big;
	struct command_result r;

	(void)state;
	buf_init(&big, 4 << 20);
	while (big.n < 2 << 20)
		buf_add_str(&big, "0123456789012345678901234567890123456789\r\n");
	r = run("cat", buf_span(&big), 60000);
	assert_int_equal(r.end, COMMAND_EXITED);
	assert_int_equal(strlen(r.output), COMMAND_OUTPUT_MAX);
	r = run("sh -c 'exit 0'", buf_span(&big), 60000);
	assert_int_equal(r.end, COMMAND_EXITED);
	assert_int_equal(r.status, 0);
	buf_release(&big);
}

static void
test_time_limit_kills_the_group(void **state)
{
	char line[700], path[600];
	struct command_result r;
	struct buf pid;
	int64_t begun = clock_mono_us();

	(void)state;
	snprintf(path, sizeof(path), "%s/pid", kit_dir());
	snprintf(line, sizeof(line), "echo stuck; sleep 600 & echo $! > %s; wait", path);
	r = run(line, SPAN("x\r\n"), 1500);
	assert_int_equal(r.end, COMMAND_TIMED_OUT);
	assert_string_equal(r.output, "stuck ");
	assert_true(clock_mono_us() - begun < 60 * US_PER_S);
	buf_init(&pid, 64);
	assert_int_equal(fd_read_file(AT_FDCWD, path, &pid), 0);
	uint64_t n = 0;
	assert_true(span_u64(span_trim(buf_span(&pid)), 1 << 30, &n));
	/* Gone, or a zombie that init has not fetched yet. */
	for (int i = 0; i < 1000 && kill((pid_t)n, 0) == 0; i++) {
		char stat_path[64];
		struct buf text;

		snprintf(stat_path, sizeof(stat_path), "/proc/%d/stat", (int)n);
		buf_init(&text, 4096);
		bool zombie = fd_read_file(AT_FDCWD, stat_path, &text) != 0 ||
		    span_find(buf_span(&text), SPAN(") Z ")) >= 0;
		buf_release(&text);
		if (zombie)
			break;
		usleep(10000);
		assert_true(i < 999);
	}
	buf_release(&pid);
}

static void
test_stop_ends_the_group(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct command_result r = run("kill -TERM $PPID; sleep 600 & wait", SPAN("x\r\n"), 600000);

		_exit(r.end == COMMAND_NOT_RUN && strcmp(r.why.text, "the mail system is stopping") == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
test_signal(void **state)
{
	struct command_result r = run("kill -9 $$", SPAN("x\r\n"), 60000);

	(void)state;
	assert_int_equal(r.end, COMMAND_SIGNALED);
	assert_int_equal(r.status, SIGKILL);
}

/* A daemon that the command left behind holds the pipes open: the command's end counts. */
static void
test_background_child(void **state)
{
	struct command_result r = run("sleep 30 & echo done", SPAN("x\r\n"), 20000);

	(void)state;
	assert_int_equal(r.end, COMMAND_EXITED);
	assert_string_equal(r.output, "done ");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_rows),
		KIT_TEST(test_argv_is_not_split),
		KIT_TEST(test_big_echo),
		KIT_TEST(test_time_limit_kills_the_group),
		KIT_TEST(test_stop_ends_the_group),
		KIT_TEST(test_signal),
		KIT_TEST(test_background_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
