/* panic and fatal: the only two ways a Signet process ends itself. */
#include "base/panic.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

_Noreturn void
panic_at(const char *file, int line, const char *fmt, ...)
{
	void *stack[64];
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_emit(NULL, LOG_LEVEL_PANIC, "%s:%d: %s", file, line, text);
	log_flush();
	n = backtrace(stack, 64);
	backtrace_symbols_fd(stack, n, STDERR_FILENO);
	abort();
}

_Noreturn void
fatal(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_emit(NULL, LOG_LEVEL_FATAL, "%s", text);
	log_flush();
	exit(1);
}
