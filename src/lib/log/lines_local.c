/* Lines of pickup and bounce. */
#include "log/lines_local.h"

void
log_pickup(const struct log *l, unsigned long uid, struct span from)
{
	log_info(l, "uid=%lu from=<%.*s>", uid, SPAN_ARG(log_esc(from)));
}

void
log_notice(const struct log *l, enum log_notice what, const char *qid)
{
	static const char *const words[] = {
		[LOG_NOTICE_FAILURE] = "sender non-delivery notification",
		[LOG_NOTICE_DELAY] = "sender delay notification",
		[LOG_NOTICE_SUCCESS] = "sender delivery status notification",
		[LOG_NOTICE_POSTMASTER] = "postmaster non-delivery notification",
		[LOG_NOTICE_POSTMASTER_DELAY] = "postmaster delay notification",
	};

	log_info(l, "%s: %s", words[what], qid);
}
