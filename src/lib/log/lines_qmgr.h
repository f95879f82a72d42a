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
/* What an administrator did to a message, with the tag of postsuper: "QID: placed on hold" and so on, Postfix's words. */
enum log_postsuper { LOG_POSTSUPER_HELD, LOG_POSTSUPER_RELEASED, LOG_POSTSUPER_REQUEUED, LOG_POSTSUPER_REMOVED, LOG_POSTSUPER_EXPIRED };
void log_postsuper(const struct log *l, enum log_postsuper did);
