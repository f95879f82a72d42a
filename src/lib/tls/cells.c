/* Small pieces: spans of 64 kB, counted from 1, each with cells of one size and a map of those that are free. */
#include "tls/cells.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>

#include "base/panic.h"
#include "tls/space.h"

/* Sizes: each sixteen bytes up to 1024, then each 256. */
enum { SPAN_BYTES = 64 * 1024, FINE = 16, FINE_MOST = 1024, COARSE = 256, KINDS = FINE_MOST / FINE + (CELL_MOST - FINE_MOST) / COARSE };
enum { WORDS = SPAN_BYTES / FINE / 64, OPENED_AT_ONCE = 4, NONE = 0 };

struct span_of_cells {
	uint32_t bytes, cells;          /* of a cell, and how many */
	uint32_t inverse;               /* 2^32 / bytes, rounded up: a product instead of a division, exact below 64 kB */
	uint16_t kind, n_free;
	uint16_t first;                 /* no word below this one has a free cell */
	uint16_t before, next;          /* in the list of its kind's spans with free cells, or of empty ones */
};

static struct {
	pthread_mutex_t lock;
	struct space space;
	uint16_t empty;                 /* without pages, ready for any kind */
	uint16_t some[KINDS];           /* spans with free cells */
	struct span_of_cells span[CELL_SPANS + 1];
	uint64_t free[CELL_SPANS + 1][WORDS];   /* a bit for each cell */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .space = { .bytes = (size_t)CELL_SPANS * SPAN_BYTES } };

static unsigned
kind_of(size_t n)
{
	if (n <= FINE_MOST)
		return (unsigned)((n + FINE - 1) / FINE - 1);
	return (unsigned)(FINE_MOST / FINE + (n - FINE_MOST + COARSE - 1) / COARSE - 1);
}

static uint32_t
kind_bytes(unsigned kind)
{
	return kind < FINE_MOST / FINE ? (kind + 1) * FINE : FINE_MOST + (kind + 1 - FINE_MOST / FINE) * COARSE;
}

static char *
at(uint16_t i)
{
	return pool.space.base + ((size_t)i - 1) * SPAN_BYTES;
}

static size_t
offset_of(const void *p)
{
	return (size_t)((const char *)p - pool.space.base);
}

static uint16_t
span_of_offset(size_t offset)
{
	return (uint16_t)(offset / SPAN_BYTES + 1);
}

/* ---- lists */

static void
push(uint16_t *list, uint16_t i)
{
	pool.span[i].before = NONE;
	pool.span[i].next = *list;
	if (*list != NONE)
		pool.span[*list].before = i;
	*list = i;
}

static void
unlink_from(uint16_t *list, uint16_t i)
{
	struct span_of_cells *s = &pool.span[i];

	if (s->before != NONE)
		pool.span[s->before].next = s->next;
	else
		*list = s->next;
	if (s->next != NONE)
		pool.span[s->next].before = s->before;
}

/* ---- spans */

/* More empty ones. */
static bool
open_more(void)
{
	uint16_t first = span_of_offset(pool.space.opened);

	if (space_open(&pool.space, (size_t)OPENED_AT_ONCE * SPAN_BYTES) == NULL)
		return false;
	for (unsigned i = OPENED_AT_ONCE; i > 0; i--)
		push(&pool.empty, (uint16_t)(first + i - 1));
	return true;
}

/* An empty span becomes one of this kind. Not inline, like retire(): what is rare must not lengthen what each handshake does 1400 times. */
static bool __attribute__((noinline))
settle(unsigned kind)
{
	struct span_of_cells *s;
	uint64_t *free;
	uint16_t i;

	if (pool.empty == NONE && !open_more())
		return false;
	i = pool.empty;
	unlink_from(&pool.empty, i);
	s = &pool.span[i];
	free = pool.free[i];
	s->kind = (uint16_t)kind;
	s->bytes = kind_bytes(kind);
	s->inverse = UINT32_MAX / s->bytes + 1;
	s->cells = SPAN_BYTES / s->bytes;
	s->n_free = (uint16_t)s->cells;
	s->first = 0;
	memset(free, 0, WORDS * sizeof(*free));
	memset(free, 0xff, s->cells / 64 * sizeof(*free));
	if (s->cells % 64 != 0)
		free[s->cells / 64] = (UINT64_C(1) << s->cells % 64) - 1;
	push(&pool.some[kind], i);
	return true;
}

/* The last span with free cells of its kind stays: it will be wanted again. */
static void __attribute__((noinline))
retire(uint16_t *some, uint16_t i)
{
	if (*some == i && pool.span[i].next == NONE)
		return;
	unlink_from(some, i);
	push(&pool.empty, i);
	(void)madvise(at(i), SPAN_BYTES, MADV_DONTNEED);        /* locked memory stays, wiped as it is */
}

/* ---- cells */

static void *
take_locked(unsigned kind)
{
	struct span_of_cells *s;
	uint64_t *free;
	unsigned w, bit;
	uint16_t i;

	if (pool.some[kind] == NONE && !settle(kind))
		return NULL;
	i = pool.some[kind];
	s = &pool.span[i];
	free = pool.free[i];
	for (w = s->first; free[w] == 0; w++)
		;
	s->first = (uint16_t)w;
	bit = (unsigned)__builtin_ctzll(free[w]);
	free[w] &= free[w] - 1;
	if (--s->n_free == 0)
		unlink_from(&pool.some[kind], i);
	return at(i) + (w * 64 + bit) * s->bytes;
}

static void
give_locked(uint16_t i, uint32_t cell)
{
	struct span_of_cells *s = &pool.span[i];
	uint64_t bit = UINT64_C(1) << cell % 64, *word = &pool.free[i][cell / 64];

	ensure(cell < s->cells && (*word & bit) == 0);
	*word |= bit;
	if (cell / 64 < s->first)
		s->first = (uint16_t)(cell / 64);
	if (s->n_free++ == 0)
		push(&pool.some[s->kind], i);
	if (s->n_free == s->cells)
		retire(&pool.some[s->kind], i);
}

/* A process of one thread, as those that shake hands are, needs no lock. */
static bool
lock(void)
{
	bool others = !__libc_single_threaded;

	if (others)
		pthread_mutex_lock(&pool.lock);
	return others;
}

static void
unlock(bool locked)
{
	if (locked)
		pthread_mutex_unlock(&pool.lock);
}

void *
cell_take(size_t n)
{
	void *p;
	bool locked;

	if (n < 1 || n > CELL_MOST)
		return NULL;
	locked = lock();
	p = take_locked(kind_of(n));
	unlock(locked);
	return p;
}

bool
cell_is(const void *p)
{
	return space_has(&pool.space, p);
}

size_t
cell_bytes(const void *p)
{
	return pool.span[span_of_offset(offset_of(p))].bytes;
}

void
cell_give(void *p)
{
	size_t offset = offset_of(p);
	uint16_t i = span_of_offset(offset);
	const struct span_of_cells *s = &pool.span[i];
	uint32_t within = (uint32_t)(offset % SPAN_BYTES), cell = (uint32_t)((uint64_t)within * s->inverse >> 32);
	bool locked;

	ensure(cell * s->bytes == within);
	explicit_bzero(p, s->bytes);
	locked = lock();
	give_locked(i, cell);
	unlock(locked);
}
