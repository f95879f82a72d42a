/* Block arenas. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/panic.h"

#define FIRST_BLOCK 512u
#define MAX_BLOCK 65536u

struct block {
	struct block *next;
	size_t used, cap;
	alignas(max_align_t) char data[];
};

struct arena {
	struct block *top;
	size_t total, max;
};

static struct block *
block_new(struct arena *a, size_t n)
{
	size_t cap = a->top == NULL ? FIRST_BLOCK : a->top->cap * 2;
	struct block *b;

	if (cap > MAX_BLOCK)
		cap = MAX_BLOCK;
	if (cap < n)
		cap = n;
	if (size_add(a->total, cap) > size_add(a->max, MAX_BLOCK))
		panic("arena over its maximum of %zu bytes", a->max);
	b = calloc(1, size_add(sizeof(*b), cap));
	if (b == NULL)
		panic("out of memory: %zu bytes", cap);
	b->cap = cap;
	b->next = a->top;
	a->top = b;
	a->total += cap;
	return b;
}

struct arena *
arena_new(size_t max)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (a == NULL)
		panic("out of memory");
	a->max = max;
	return a;
}

static void
drop_blocks(struct arena *a, struct block *keep)
{
	while (a->top != keep) {
		struct block *b = a->top;

		a->top = b->next;
		a->total -= b->cap;
		free(b);
	}
}

void
arena_free(struct arena **a)
{
	if (*a == NULL)
		return;
	drop_blocks(*a, NULL);
	free(*a);
	*a = NULL;
}

void
arena_clear(struct arena *a)
{
	struct block *first = a->top;

	if (first == NULL)
		return;
	while (first->next != NULL)
		first = first->next;
	drop_blocks(a, first);
	memset(first->data, 0, first->used);
	first->used = 0;
}

size_t
arena_bytes(const struct arena *a)
{
	return a->total;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	size_t align = alignof(max_align_t);
	size_t need = size_add(n == 0 ? 1 : n, align - 1) / align * align;
	struct block *b = a->top;
	void *p;

	if (b == NULL || b->cap - b->used < need)
		b = block_new(a, need);
	p = b->data + b->used;
	b->used += need;
	return p;
}

struct span
arena_dup(struct arena *a, struct span s)
{
	return span_of(arena_cstr(a, s), s.n);
}

struct span
arena_lower(struct arena *a, struct span s)
{
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(p[i]);
	return span_of(p, s.n);
}

char *
arena_cstr(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, size_add(s.n, 1));

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p;
}

struct span
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		panic("vsnprintf");
	p = arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return span_of(p, (size_t)n);
}
