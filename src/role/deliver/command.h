/*
 * Run one command with the message on its standard input. The caller has become the
 * user already; the command gets its own process group, a limit on its time, and a
 * few hundred bytes of its output are kept for the report.
 */
#pragma once

#include "role/deliver/copy.h"

enum { COMMAND_OUTPUT_MAX = 400 };

struct command {
	const char *line;               /* run by the shell if it needs one; NULL: use argv */
	char **argv;                    /* run as it is */
	char **env;                     /* the whole environment, PATH included */
	const char *dir;                /* working directory; "" = stay */
	struct span head;               /* written before the content */
	struct content content;
	struct copy_form form;
	int64_t limit_ms;
};

enum command_end {
	COMMAND_EXITED,                 /* `status` is the exit status */
	COMMAND_SIGNALED,               /* `status` is the signal */
	COMMAND_TIMED_OUT,              /* its process group was killed */
	COMMAND_NOT_RUN,                /* `why` says why; try again later */
};

struct command_result {
	enum command_end end;
	int status;
	char output[COMMAND_OUTPUT_MAX + 1];    /* stdout and stderr, blanks for controls */
	struct fault why;
};

void command_run(const struct command *c, struct command_result *r);
