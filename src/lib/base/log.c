/* Log lines: formatting and the sink. */
#include "base/log.h"

#include <stdio.h>

#include "base/clock.h"

static const char *process_tag = "signet";
static bool debug_on, starting;

static void
sink_stderr(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	(void)ctx;
	(void)wall_us;
	(void)level;
	fprintf(stderr, "%s: %s\n", tag, line);
}

static log_sink_fn *sink = sink_stderr;
static void (*sink_flush)(void *ctx);
static void *sink_ctx;

static const char *
level_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_DEBUG:
	case LOG_LEVEL_INFO:
	case LOG_LEVEL_INFO_ONCE:
		return "";
	case LOG_LEVEL_WARNING:
	case LOG_LEVEL_WARNING_ONCE:
		return "warning: ";
	case LOG_LEVEL_ERROR:
		return "error: ";
	case LOG_LEVEL_FATAL:
		return "fatal: ";
	case LOG_LEVEL_PANIC:
		return "panic: ";
	}
	return "";
}

/* Once, while the process starts. */
static bool
is_echo(enum log_level level, const char *line)
{
	static uint64_t told[64];
	static size_t n;
	uint64_t hash = span_hash(span_str(line));

	if (!starting || (level != LOG_LEVEL_INFO_ONCE && level != LOG_LEVEL_WARNING_ONCE))
		return false;
	for (size_t i = 0; i < n; i++)
		if (told[i] == hash)
			return true;
	if (n < sizeof(told) / sizeof(told[0]))
		told[n++] = hash;
	return false;
}

void
log_emit(const struct log *l, enum log_level level, const char *fmt, ...)
{
	const char *tag = l != NULL && l->tag != NULL ? l->tag : process_tag;
	char line[4096];
	size_t n = 0;
	va_list ap;

	if (level == LOG_LEVEL_DEBUG && !debug_on)
		return;
	if (l != NULL && l->qid[0] != '\0')
		n += (size_t)snprintf(line, sizeof(line), "%s: ", l->qid);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s", level_word(level));
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	for (char *p = line; *p != '\0'; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	if (!is_echo(level, line))
		sink(sink_ctx, clock_wall_us(), level, tag, line);
}

void
log_sink_none(void *ctx, int64_t wall_us, enum log_level level, const char *tag, const char *line)
{
	(void)ctx;
	(void)wall_us;
	(void)level;
	(void)tag;
	(void)line;
}

void
log_set_sink(log_sink_fn *fn, void (*flush)(void *ctx), void *ctx)
{
	sink = fn != NULL ? fn : sink_stderr;
	sink_flush = flush;
	sink_ctx = ctx;
}

void
log_set_tag(const char *tag)
{
	process_tag = tag;
}

void
log_set_debug(bool on)
{
	debug_on = on;
}

void
log_set_starting(bool on)
{
	starting = on;
}

void
log_flush(void)
{
	if (sink_flush != NULL)
		sink_flush(sink_ctx);
}

struct span
log_esc(struct span s)
{
	static char ring[8][512];
	static unsigned at;
	char *out = ring[at++ % 8];
	bool text = span_is_utf8(s);

	if (s.n > sizeof(ring[0]))
		s.n = sizeof(ring[0]);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		out[i] = c < 32 || c == 127 || (c > 127 && !text) ? '?' : (char)c;
	}
	return span_of(out, s.n);
}
