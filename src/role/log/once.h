/*
 * Lines that several processes say alike (log_warning_once()): the first one is written. The others have a minute to say it; a
 * process that says it again means something new by it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum { ONCE_LINES = 64, ONCE_PIDS = 64 };

struct once {
	struct once_line {
		char *text;
		int64_t wall_us;
		uint32_t pids[ONCE_PIDS];
		unsigned n_pids;
	} lines[ONCE_LINES];
	unsigned next;                  /* to be replaced */
};

/*
 * Process `pid` says `text` (copied) at `wall_us`, microseconds since 1970: has it to be written? Past the limits above it has. All zero is
 * an empty `o`; once_clear() frees what it holds and empties it.
 */
bool once_is_new(struct once *o, int64_t wall_us, uint32_t pid, struct span text);
void once_clear(struct once *o);
