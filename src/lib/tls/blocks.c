/* Large blocks: one piece of address space, opened bit by bit; a stack of free blocks with their pages, and one of those without. */
#include "tls/blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/panic.h"
#include "tls/sanitizer.h"

enum { OPENED_AT_ONCE = 16, WIPED = 4096 };

static struct {
	pthread_mutex_t lock;
	char *base;                     /* address space for all, made readable piece by piece; NULL before the first */
	bool never;                     /* there is no address space */
	uint32_t opened;
	uint16_t kept[BLOCKS_KEPT], cold[BLOCKS_MAX];
	uint32_t n_kept, n_cold;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static char *
at(uint32_t i)
{
	return pool.base + (size_t)i * BLOCK_BYTES;
}

static bool
reserve(void)
{
	void *p;

	if (pool.base != NULL || pool.never)
		return !pool.never;
	p = SANITIZED ? MAP_FAILED : mmap(NULL, (size_t)BLOCKS_MAX * BLOCK_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	pool.never = p == MAP_FAILED;
	if (!pool.never)
		__atomic_store_n(&pool.base, p, __ATOMIC_RELEASE);
	return !pool.never;
}

/* More cold ones. */
static bool
open_more(void)
{
	if (pool.opened + OPENED_AT_ONCE > BLOCKS_MAX ||
	    mprotect(at(pool.opened), (size_t)OPENED_AT_ONCE * BLOCK_BYTES, PROT_READ | PROT_WRITE) != 0)
		return false;
	for (uint32_t i = OPENED_AT_ONCE; i > 0; i--)
		pool.cold[pool.n_cold++] = (uint16_t)(pool.opened + i - 1);
	pool.opened += OPENED_AT_ONCE;
	return true;
}

static void *
take_locked(void)
{
	if (!reserve())
		return NULL;
	if (pool.n_kept > 0)
		return at(pool.kept[--pool.n_kept]);
	if (pool.n_cold == 0 && !open_more())
		return NULL;
	return at(pool.cold[--pool.n_cold]);
}

void *
block_take(size_t n)
{
	void *p;

	if (n < BLOCK_LEAST || n > BLOCK_BYTES)
		return NULL;
	pthread_mutex_lock(&pool.lock);
	p = take_locked();
	pthread_mutex_unlock(&pool.lock);
	return p;
}

bool
block_is(const void *p)
{
	const char *base = __atomic_load_n(&pool.base, __ATOMIC_ACQUIRE);

	return base != NULL && (const char *)p >= base && (const char *)p < base + (size_t)BLOCKS_MAX * BLOCK_BYTES;
}

void
block_give(void *p)
{
	size_t offset = (size_t)((char *)p - pool.base);
	uint16_t i = (uint16_t)(offset / BLOCK_BYTES);

	ensure(offset % BLOCK_BYTES == 0);
	explicit_bzero(p, WIPED);
	pthread_mutex_lock(&pool.lock);
	if (pool.n_kept < BLOCKS_KEPT) {
		pool.kept[pool.n_kept++] = i;
	} else {
		(void)madvise(p, BLOCK_BYTES, MADV_DONTNEED);   /* locked memory stays, which is all the same */
		pool.cold[pool.n_cold++] = i;
	}
	pthread_mutex_unlock(&pool.lock);
}
