/* Lines of notices, logged under the queue id of the message they are about (mta-core.md section 9). */
#pragma once

#include "base/log.h"
#include "base/span.h"

enum log_bounce {
	LOG_BOUNCE_SENDER,              /* "sender non-delivery notification: NEWID" */
	LOG_BOUNCE_SENDER_DELAY,        /* "sender delay notification: NEWID" */
	LOG_BOUNCE_SENDER_STATUS,       /* "sender delivery status notification: NEWID" */
	LOG_BOUNCE_POSTMASTER,          /* "postmaster non-delivery notification: NEWID" */
	LOG_BOUNCE_POSTMASTER_DELAY,    /* "postmaster delay notification: NEWID" */
};

void log_bounce_notice(const struct log *l, enum log_bounce kind, struct span new_qid);
/* A report about a report that failed: "warning: QID: undeliverable postmaster notification discarded" */
void log_bounce_discarded(const struct log *l);
