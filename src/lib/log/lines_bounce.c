/* Log lines of notices. */
#include "log/lines_bounce.h"

void
log_bounce_notice(const struct log *l, enum log_bounce kind, struct span new_qid)
{
	static const char *const words[] = { "sender non-delivery", "sender delay",
		"sender delivery status", "postmaster non-delivery", "postmaster delay" };

	log_info(l, "%s notification: %.*s", words[kind], SPAN_ARG(log_esc(new_qid)));
}

void
log_bounce_discarded(const struct log *l)
{
	/* The queue id behind the word "warning", as Postfix has it. */
	struct log plain = { .tag = l->tag };

	log_warning(&plain, "%s: undeliverable postmaster notification discarded", l->qid);
}
