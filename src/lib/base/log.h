/*
 * Log lines. A `struct log` belongs to an object (connection, message, delivery)
 * and supplies the tag and the queue id; lines go to the process's sink, which in
 * a role is a bounded ring drained to the log role without ever blocking.
 *
 * Levels: panic (our bug), fatal (cannot start), error (operator must act),
 * warning (should know), info (one line per event), debug (off).
 */
#pragma once

#include <stdarg.h>
#include <stdint.h>

#include "base/span.h"

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_INFO_ONCE,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_WARNING_ONCE,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_FATAL,
	LOG_LEVEL_PANIC,
};

struct log {
	const char *tag;        /* "postfix/smtpd"; NULL = the process's tag */
	char qid[24];           /* "" = none; else lines begin "QID: " */
};

/*
 * One line. `l` may be NULL. Severity words ("warning: ") are added here, behind the
 * queue id. Control bytes in the finished line become '?'.
 */
void log_emit(const struct log *l, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define log_debug(l, ...) log_emit((l), LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(l, ...) log_emit((l), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(l, ...) log_emit((l), LOG_LEVEL_WARNING, __VA_ARGS__)
/*
 * What every process of a role finds for itself, as a mistake in the configuration or a peer that is gone: the logger writes
 * it once (role/log/once.h).
 */
#define log_info_once(l, ...) log_emit((l), LOG_LEVEL_INFO_ONCE, __VA_ARGS__)
#define log_warning_once(l, ...) log_emit((l), LOG_LEVEL_WARNING_ONCE, __VA_ARGS__)
#define log_error(l, ...) log_emit((l), LOG_LEVEL_ERROR, __VA_ARGS__)

/*
 * Where lines go: called with the finished line (no newline, NUL-terminated). The
 * default writes "tag: line" to stderr. `flush` (may be NULL) is called before the
 * process ends.
 */
typedef void log_sink_fn(void *ctx, int64_t wall_us, enum log_level level, const char *tag,
    const char *line);
void log_set_sink(log_sink_fn *fn, void (*flush)(void *ctx), void *ctx);
log_sink_fn log_sink_none;                      /* for log_set_sink(): lines go nowhere */
void log_set_tag(const char *tag);              /* the process's tag; kept by pointer */
void log_set_debug(bool on);
/* While a process starts its services may find the same one after the other: each ..._once() line goes out once. */
void log_set_starting(bool on);
void log_flush(void);

/*
 * Bytes from outside, safe to print with "%.*s": other than printable ASCII and
 * well-formed UTF-8 becomes '?'. Result lives in one of eight static buffers (at most 512 bytes).
 */
struct span log_esc(struct span s);
