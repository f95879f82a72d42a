/* The queue manager's lines. */
#include "log/lines_qmgr.h"

void
log_qmgr_active(const struct log *l, struct span sender, uint64_t size, size_t rcpts)
{
	struct span s = log_esc(sender);

	log_info(l, "from=<%.*s>, size=%llu, nrcpt=%zu (queue active)", SPAN_ARG(s), (unsigned long long)size, rcpts);
}

void
log_qmgr_removed(const struct log *l)
{
	log_info(l, "removed");
}

void
log_qmgr_expired(const struct log *l, struct span sender, bool forced)
{
	struct span s = log_esc(sender);

	log_info(l, "from=<%.*s>, status=%s, returned to sender", SPAN_ARG(s), forced ? "force-expired" : "expired");
}

void
log_postsuper(const struct log *l, enum log_postsuper did)
{
	static const char *const words[] = { [LOG_POSTSUPER_HELD] = "placed on hold", [LOG_POSTSUPER_RELEASED] = "released from hold",
		[LOG_POSTSUPER_REQUEUED] = "requeued", [LOG_POSTSUPER_REMOVED] = "removed", [LOG_POSTSUPER_EXPIRED] = "expired" };

	log_info(l, "%s", words[did]);
}
