/* Unit-test kit: announced log lines, leaked descriptors, a scratch directory. */
#include "kit/kit.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define MAX_LINES 4096
#define MAX_EXPECT 32

static char *lines[MAX_LINES];
static enum log_level levels[MAX_LINES];
static size_t n_lines, log_mark;       /* log_mark: where kit_logged() begins */
static const char *expected[MAX_EXPECT];
static size_t n_expected;
static char dir[256];
static int fds_before;

static void
sink(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	(void)ctx;
	(void)wall_us;
	(void)tag;
	if (n_lines < MAX_LINES) {
		levels[n_lines] = level;
		lines[n_lines++] = strdup(line);
	}
}

static int
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n;
}

int
kit_setup(void **state)
{
	(void)state;
	log_set_sink(sink, NULL, NULL);
	n_lines = n_expected = log_mark = 0;
	dir[0] = '\0';
	fds_before = count_fds();
	return 0;
}

static int
remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st;
	(void)what;
	(void)ftw;
	return remove(path);
}

void
kit_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int
check_lines(void)
{
	int bad = 0;

	log_mark = 0;
	for (size_t i = 0; i < n_expected; i++)
		if (!kit_logged(expected[i])) {
			fprintf(stderr, "expected log line never came: %s\n", expected[i]);
			bad = 1;
		}
	for (size_t i = 0; i < n_lines; i++) {
		size_t e = 0;

		if (levels[i] < LOG_LEVEL_WARNING)
			continue;
		while (e < n_expected && strstr(lines[i], expected[e]) == NULL)
			e++;
		if (e == n_expected) {
			fprintf(stderr, "unannounced log line: %s\n", lines[i]);
			bad = 1;
		}
	}
	return bad;
}

int
kit_teardown(void **state)
{
	int bad = check_lines();
	int fds = count_fds();

	(void)state;
	for (size_t i = 0; i < n_lines; i++)
		free(lines[i]);
	n_lines = log_mark = 0;
	log_set_sink(NULL, NULL, NULL);
	if (fds != fds_before) {
		fprintf(stderr, "descriptors before %d, after %d\n", fds_before, fds);
		bad = 1;
	}
	if (dir[0] != '\0')
		kit_remove_tree(dir);
	return bad ? -1 : 0;
}

void
expect_log(const char *text)
{
	if (n_expected < MAX_EXPECT)
		expected[n_expected++] = text;
}

void
kit_log_mark(void)
{
	log_mark = n_lines;
}

int
kit_logged(const char *text)
{
	for (size_t i = log_mark; i < n_lines; i++)
		if (strstr(lines[i], text) != NULL)
			return 1;
	return 0;
}

void
kit_assert_span(struct span s, const char *text, const char *file, int line)
{
	if (span_eq(s, span_str(text)))
		return;
	fprintf(stderr, "%s:%d: got \"%.*s\", want \"%s\"\n", file, line, SPAN_ARG(s), text);
	_fail(file, line);
}

const char *
kit_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (dir[0] == '\0') {
		snprintf(dir, sizeof(dir), "%s/signet-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
		if (mkdtemp(dir) == NULL)
			fail_msg("mkdtemp %s", dir);
	}
	return dir;
}

const char *
kit_file(const char *name, const char *content)
{
	static char paths[4][512];
	static unsigned at;
	char *path = paths[at++ % 4];
	FILE *f;

	snprintf(path, sizeof(paths[0]), "%s/%s", kit_dir(), name);
	f = fopen(path, "w");
	if (f == NULL)
		fail_msg("cannot write %s", path);
	fwrite(content, 1, strlen(content), f);
	fclose(f);
	return path;
}

void
kit_threads(void *(*fn)(void *arg))
{
	pthread_t t[4];
	int mine[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, &mine[i]), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong = &mine[i];

		assert_int_equal(pthread_join(t[i], &wrong), 0);
		assert_null(wrong);
	}
}
