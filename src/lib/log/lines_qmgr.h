/* Lines of the queue manager in Postfix's format (mta-core section 11). Delivery lines are in lines_smtp.h. */
#pragma once

#include "base/log.h"
#include "base/span.h"

/* "QID: from=<s>, size=N, nrcpt=N (queue active)"; the sender in external form */
void log_qmgr_active(const struct log *l, struct span sender, uint64_t size, size_t rcpts);
/* "QID: removed" */
void log_qmgr_removed(const struct log *l);
/* "QID: from=<s>, status=expired, returned to sender"; `forced`: status=force-expired */
void log_qmgr_expired(const struct log *l, struct span sender, bool forced);
