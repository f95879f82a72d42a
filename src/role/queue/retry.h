/* When a message is tried again, warned about, or given up: pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct retry_params {
	int64_t backoff_min_us, backoff_max_us;
	int64_t lifetime_us;            /* for this sender: maximal_ or bounce_queue_lifetime */
	int64_t warning_us;             /* delay_warning_time, 0 = never */
};

/*
 * Wall time of the next attempt: after a pause as long as the message is old, spread by an eighth to
 * both sides so that what came together does not stay together; a spread that would leave the limits
 * lies beside them instead. `random` is any 32-bit number.
 */
int64_t retry_next_us(const struct retry_params *p, int64_t arrival_us, int64_t now_us, uint32_t random);

/* After a failed attempt: has its time run out? */
bool retry_expired(const struct retry_params *p, int64_t arrival_us, int64_t now_us);
/* Is a delay warning due (the caller remembers that it was sent)? */
bool retry_warn(const struct retry_params *p, int64_t arrival_us, int64_t now_us);
