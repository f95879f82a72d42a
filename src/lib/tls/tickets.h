/*
 * Ticket keys that forget (tls-server.md section 6). A root is stretched once an epoch (half the
 * life of a ticket) and replaced by its own child, so what is gone cannot be made again: the key
 * of an epoch encrypts for that epoch, decrypts for one more, and after that neither it nor
 * anything it could be derived from exists. A recorded resumed session is out of everybody's
 * reach at most one life of a ticket after the ticket was made.
 *
 *   key(e)    = HKDF-Expand(root(e), "signet ticket key")
 *   root(e+1) = HKDF-Expand(root(e), "signet ticket root"), then root(e) is wiped
 *
 * Time is the caller's (monotonic microseconds).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tls/server_ctx.h"

enum { TLS_TICKET_ROOT_BYTES = 32 };

struct tls_ticket_line {
	int64_t epoch_us;       /* length of an epoch */
	int64_t next_us;        /* when the next one begins */
	uint8_t root[TLS_TICKET_ROOT_BYTES];
	struct tls_ticket_keys keys;
};

/* Begin with this root (wiped behind us) at `now_us`; `life_s` is smtpd_tls_session_cache_timeout, > 0. */
void tls_ticket_line_init(struct tls_ticket_line *t, int64_t life_s, uint8_t root[TLS_TICKET_ROOT_BYTES], int64_t now_us);
/* Move to the epoch of `now_us`; true when the keys changed. However long the pause, it takes a bounded time. */
bool tls_ticket_line_turn(struct tls_ticket_line *t, int64_t now_us);
void tls_ticket_line_release(struct tls_ticket_line *t);
