/* The two words that end a process: panic (our bug) and fatal (the machine or the configuration, at start only). */
#pragma once

#include <stdarg.h>

/* Print where and a stack to stderr and to the log sink, then abort(). Only for our own bugs. */
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void panic_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Log `fatal: ...` and exit(1). Only during start-up, never because of a peer. */
_Noreturn void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Abort with a stack unless `cond` holds. Stays on in release builds. */
#define ensure(cond) ((cond) ? (void)0 : panic("ensure failed: %s", #cond))
