/* What the two mailbox formats share: the meaning of a failed system call. */
#include "role/deliver/box.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/fd.h"

/* RFC 3463: 2.x mailbox, 3.x mail system. A full disk is ours to solve, a full quota the user's. */
static const char *
dsn_of(int neg_errno)
{
	switch (-neg_errno) {
	case EDQUOT:
		return "5.2.2";
	case ENOSPC:
	case ENFILE:
	case EMFILE:
	case ENOMEM:
	case EIO:
	case EROFS:
		return "4.3.0";
	default:
		return "4.2.0";
	}
}

enum box_result
box_failed(int neg_errno, struct fault *why, const char *fmt, ...)
{
	const char *dsn = dsn_of(neg_errno);
	char what[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	fault_set(why, dsn, "%s: %s", what, fd_error(neg_errno));
	return dsn[0] == '5' ? BOX_BOUNCE : BOX_DEFER;
}
