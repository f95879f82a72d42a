/* Failures as values. */
#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool
fault_set(struct fault *f, const char *dsn, const char *fmt, ...)
{
	va_list ap;

	if (f == NULL)
		return false;
	snprintf(f->dsn, sizeof(f->dsn), "%s", dsn != NULL ? dsn : "");
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return false;
}

void
fault_prefix(struct fault *f, const char *fmt, ...)
{
	char old[sizeof(f->text)];
	va_list ap;
	size_t n;

	if (f == NULL)
		return;
	memcpy(old, f->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	n = strlen(f->text);
	snprintf(f->text + n, sizeof(f->text) - n, ": %.*s",
	    (int)(sizeof(f->text) - n), old);
}

void
fault_clear(struct fault *f)
{
	memset(f, 0, sizeof(*f));
}
