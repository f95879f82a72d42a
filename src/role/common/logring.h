/* The process's log sink in a role: a bounded ring, drained to the logger's pipe without ever blocking. */
#pragma once

struct loop;

/* Take over the sink; lines queue until a pipe is set. */
void logring_open(struct loop *l);
/* Until a pipe is set, lines also go to stderr (master's start, where nobody reads a log yet). */
void logring_echo(void);
/* The logger's end (kept); an earlier one is closed. Called again when the logger was restarted. */
void logring_set_pipe(int fd);
/* Blocking, at most a second: before the process ends. */
void logring_finish(void);
