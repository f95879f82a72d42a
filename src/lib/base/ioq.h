/*
 * Output that waits for a peer: fixed chunks, so that a slow reader costs what is
 * really queued and a long write never moves memory. The owner stops producing above
 * the high-water mark and goes on below the low one.
 */
#pragma once

#include <sys/uio.h>

#include "base/buf.h"

struct ioq_chunk;
struct ioq {
	struct ioq_chunk *head, *tail;
	size_t bytes, max;
};

void ioq_init(struct ioq *q, size_t max);
void ioq_release(struct ioq *q);
/* Copy in; false when it would pass `max` (nothing added). */
bool ioq_add(struct ioq *q, const void *p, size_t n);
static inline bool
ioq_add_span(struct ioq *q, struct span s)
{
	return ioq_add(q, s.p, s.n);
}
/* Up to `count` pieces of what is queued; number filled. Valid until the next change. */
int ioq_peek(const struct ioq *q, struct iovec *v, int count);
void ioq_consume(struct ioq *q, size_t n);
/* Write to `fd` until empty or would-block: bytes written or -errno (never -EAGAIN). */
ssize_t ioq_flush(struct ioq *q, int fd);
