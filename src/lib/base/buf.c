/* Owned bytes with a maximum. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"

enum { LIKELY = 48 };           /* room for most of what is formatted, so that it is formatted once */

size_t
size_add(size_t a, size_t b)
{
	size_t r;

	if (__builtin_add_overflow(a, b, &r))
		panic("size overflow: %zu + %zu", a, b);
	return r;
}

size_t
size_mul(size_t a, size_t b)
{
	size_t r;

	if (__builtin_mul_overflow(a, b, &r))
		panic("size overflow: %zu * %zu", a, b);
	return r;
}

void
buf_init(struct buf *b, size_t max)
{
	ensure(max > 0);
	*b = (struct buf){ .max = max };
}

void
buf_release(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ .max = b->max };
}

void
buf_clear(struct buf *b)
{
	b->n = 0;
	b->full = false;
}

/* Make room for `n` more bytes and one NUL. */
static bool
grow(struct buf *b, size_t n)
{
	size_t need, cap;

	if (n > b->max || b->n > b->max - n) {
		b->full = true;
		return false;
	}
	need = size_add(size_add(b->n, n), 1);
	if (need <= b->cap)
		return true;
	cap = b->cap == 0 ? 64 : b->cap;
	while (cap < need)
		cap = size_mul(cap, 2);
	b->p = realloc(b->p, cap);
	if (b->p == NULL)
		panic("out of memory: %zu bytes", cap);
	b->cap = cap;
	return true;
}

bool
buf_add(struct buf *b, const void *p, size_t n)
{
	if (!grow(b, n))
		return false;
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return true;
}

bool
buf_addc(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

bool
buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	size_t room;
	va_list again;
	int n;

	grow(b, b->max - b->n < LIKELY ? 0 : LIKELY);
	room = b->cap - b->n;
	va_copy(again, ap);
	n = vsnprintf(room > 0 ? b->p + b->n : NULL, room, fmt, again);
	va_end(again);
	if (n < 0)
		panic("vsnprintf");
	if (!grow(b, (size_t)n))
		return false;
	if ((size_t)n >= room)
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
	b->n += (size_t)n;
	return true;
}

bool
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = buf_vaddf(b, fmt, ap);
	va_end(ap);
	return ok;
}

char *
buf_space(struct buf *b, size_t n)
{
	return grow(b, n) ? b->p + b->n : NULL;
}

void
buf_consume(struct buf *b, size_t n)
{
	ensure(n <= b->n);
	b->n -= n;
	if (b->n > 0)
		memmove(b->p, b->p + n, b->n);
}

void
buf_truncate(struct buf *b, size_t n)
{
	ensure(n <= b->n);
	b->n = n;
}

void
buf_trim(struct buf *b)
{
	if (b->n == 0)
		buf_release(b);
}

const char *
buf_cstr(struct buf *b)
{
	if (b->cap <= b->n) {
		b->p = realloc(b->p, b->n + 1);
		if (b->p == NULL)
			panic("out of memory");
		b->cap = b->n + 1;
	}
	b->p[b->n] = '\0';
	return b->p;
}
