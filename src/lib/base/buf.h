/*
 * An owned, growing run of bytes with a mandatory maximum. Memory is taken on
 * first use; running out of memory aborts (lengths from outside are capped by `max`).
 */
#pragma once

#include <stdarg.h>

#include "base/span.h"

struct buf {
	char *p;
	size_t n, cap, max;
	bool full;              /* sticky: some add did not fit and was left out */
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);
/* Empty and usable; keeps the memory, clears `full`. */
void buf_clear(struct buf *b);

/* Append; false (and `full`) when it would pass `max`: then nothing was added. */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_addc(struct buf *b, char c);
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static inline bool
buf_add_span(struct buf *b, struct span s)
{
	return buf_add(b, s.p, s.n);
}

static inline bool
buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

/* Room for `n` more bytes at the end, to be filled and then counted with `b->n += used`; NULL when over max. */
char *buf_space(struct buf *b, size_t n);

/* Drop the first `n` bytes. */
void buf_consume(struct buf *b, size_t n);
/* Cut to the first `n` bytes. */
void buf_truncate(struct buf *b, size_t n);
/* Give the memory back when empty (idle sessions). */
void buf_trim(struct buf *b);

static inline struct span
buf_span(const struct buf *b)
{
	return (struct span){ b->p, b->n };
}

/* The content with a NUL behind it (not counted). Valid until the next change. */
const char *buf_cstr(struct buf *b);

/* Overflow-checked size sums; panic on overflow. */
size_t size_add(size_t a, size_t b);
size_t size_mul(size_t a, size_t b);
