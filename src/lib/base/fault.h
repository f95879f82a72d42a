/*
 * A failure as a value: what went wrong, in words an administrator can act on,
 * with the enhanced status code (RFC 3463) that a reply or DSN would carry.
 * Filled by whoever knows most, printed once by whoever acts.
 */
#pragma once

#include <stdbool.h>

struct fault {
	char dsn[10];           /* "4.7.5"; empty when no code applies */
	char text[502];
};

/* Fill `f` (may be NULL) and return false, so that callers can `return fault_set(...)`. */
bool fault_set(struct fault *f, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "prefix: " in front of the text, e.g. the file:line where a table entry stands. */
void fault_prefix(struct fault *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void fault_clear(struct fault *f);
