/*
 * Unit-test kit on cmocka: a test fails on any warning it did not announce and on
 * any leaked descriptor. Use KIT_TEST(fn) rows and kit_run().
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/span.h"

/* A row of kit_run's table. */
#define KIT_TEST(fn) cmocka_unit_test_setup_teardown(fn, kit_setup, kit_teardown)
/* main() for a table of KIT_TEST rows. */
#define KIT_MAIN(tests)                                               \
	int main(void)                                                \
	{                                                             \
		return cmocka_run_group_tests((tests), NULL, NULL);   \
	}

int kit_setup(void **state);
int kit_teardown(void **state);

/* The test will log a line (warning or worse) that contains `text`; it fails if that line never comes. */
void expect_log(const char *text);
/* True when some line (of any level) logged in this test contains `text`. */
int kit_logged(const char *text);
/* From here on kit_logged() looks at new lines only: for rows of one test. */
void kit_log_mark(void);

#define assert_span(s, text) kit_assert_span((s), (text), __FILE__, __LINE__)
void kit_assert_span(struct span s, const char *text, const char *file, int line);

/* A fresh directory under $TMPDIR for this test; removed at teardown. Static storage. */
const char *kit_dir(void);
/* A file or directory and all below it; links are removed, not followed. */
void kit_remove_tree(const char *path);
/* Write a file below kit_dir(); its full path (static, four at a time). */
const char *kit_file(const char *name, const char *content);
/* `fn` in four threads at once, each with an argument of its own; it returns NULL, or anything else when something was wrong. */
void kit_threads(void *(*fn)(void *arg));
