/*
 * Who connects how often, counted together by all smtpd workers in shared memory
 * (Postfix's anvil): simultaneous connections, and rates per anvil_rate_time_unit. Lost
 * updates under races cost accuracy, never correctness of memory.
 */
#pragma once

#include <stdint.h>

#include "base/span.h"

struct counters;
struct counters_slot;

enum counters_rate {
	COUNTERS_CONNECTIONS,
	COUNTERS_MESSAGES,
	COUNTERS_RECIPIENTS,
	COUNTERS_NEW_TLS,
	COUNTERS_AUTH,
	COUNTERS_RATES,
};

/*
 * Map the memory (`fd` stays the caller's; -1: nothing is counted). `column` is this worker's
 * own among COUNTERS_COLUMNS: what a dead predecessor left in it is forgotten.
 */
#define COUNTERS_COLUMNS 32u
struct counters *counters_open(int fd, unsigned column);
void counters_close(struct counters **c);

/*
 * The slot of a client (address bytes, cut to `prefix_bits`) of a service; NULL when the table is full:
 * then the client is not counted. Valid until the process ends, for as long as a connection is counted in it.
 */
struct counters_slot *counters_find(struct counters *c, const char *service, struct span addr, unsigned prefix_bits,
    int64_t now_s);

/* One more / one less connection; the number of all workers together. NULL slot: 1. */
unsigned counters_connect(struct counters *c, struct counters_slot *s);
void counters_disconnect(struct counters *c, struct counters_slot *s);
/* One more event; how many there were in this time unit. NULL slot: 1. */
unsigned counters_add(struct counters_slot *s, enum counters_rate rate, int64_t now_s, int64_t unit_s);
/* How many there were so far. NULL slot: 0. */
unsigned counters_get(struct counters_slot *s, enum counters_rate rate, int64_t now_s, int64_t unit_s);
