/* Reports for the queue: BOUNCE_COMPOSE in, a submitted notice out. */
#pragma once

#include "role/local/local.h"

/* Read bounce_template_file. A file with a mistake is told of in the log, and reports have our own words. */
void notice_init(struct local *l);

/*
 * Compose the report and submit it; BOUNCE_COMPOSED goes to `from` when it is durable, or with what went wrong (it is not submitted then,
 * and the queue tries again). `m` stays the caller's; its file is only read before this returns.
 */
void notice_begin(struct local *l, struct ipc_from from, const struct ipc_bounce_compose *m);

/* That queue is gone: give up the reports nobody waits for any more. */
void notice_peer_down(struct local *l, uint64_t peer_id);
