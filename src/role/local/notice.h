/* Reports for the queue: BOUNCE_COMPOSE in, a submitted notice out. */
#pragma once

#include "role/local/local.h"

void notice_init(struct local *l);
void notice_begin(struct local *l, struct ipc_from from, struct ipc_bounce_compose *m);
void notice_peer_down(struct local *l, uint64_t peer_id);
