/*
 * A read cursor over bytes that nobody vouches for. Getters return zero after a
 * failure and set the sticky `bad`: parse straight on, test once at the end.
 * Numbers are little-endian (our IPC); the `be` forms are network order (DNS, TLS).
 */
#pragma once

#include "base/span.h"

struct rd {
	const uint8_t *p, *end;
	bool bad;
};

struct rd rd_init(struct span s);
static inline size_t
rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
uint16_t rd_be16(struct rd *r);
uint32_t rd_be32(struct rd *r);
/* The next `n` bytes, borrowed from the input. */
struct span rd_bytes(struct rd *r, size_t n);
/* A u32 length of at most `max`, then that many bytes. */
struct span rd_sized(struct rd *r, size_t max);
/* True when everything was read and nothing was bad. */
bool rd_done(const struct rd *r);
