/* Lines of pickup and bounce, in Postfix's format (mta-core.md sections 9 and 11). */
#pragma once

#include "base/log.h"
#include "base/span.h"

/* "uid=1000 from=<alice@example.org>"; `from` in external form. */
void log_pickup(const struct log *l, unsigned long uid, struct span from);

enum log_notice {
	LOG_NOTICE_FAILURE,
	LOG_NOTICE_DELAY,
	LOG_NOTICE_SUCCESS,
	LOG_NOTICE_POSTMASTER,
	LOG_NOTICE_POSTMASTER_DELAY,
};
/* "sender non-delivery notification: NEWID" and its kin */
void log_notice(const struct log *l, enum log_notice what, const char *qid);
