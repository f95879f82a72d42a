/* Large blocks: a stack of free ones with their pages, and one of those without. */
#include "tls/blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/panic.h"
#include "tls/space.h"

enum { OPENED_AT_ONCE = 16, WIPED = 4096 };

static struct {
	pthread_mutex_t lock;
	struct space space;
	uint16_t kept[BLOCKS_KEPT], cold[BLOCKS_MAX];
	uint32_t n_kept, n_cold;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .space = { .bytes = (size_t)BLOCKS_MAX * BLOCK_BYTES } };

static char *
at(uint32_t i)
{
	return pool.space.base + (size_t)i * BLOCK_BYTES;
}

/* More cold ones. */
static bool
open_more(void)
{
	uint32_t first = (uint32_t)(pool.space.opened / BLOCK_BYTES);

	if (space_open(&pool.space, (size_t)OPENED_AT_ONCE * BLOCK_BYTES) == NULL)
		return false;
	for (uint32_t i = OPENED_AT_ONCE; i > 0; i--)
		pool.cold[pool.n_cold++] = (uint16_t)(first + i - 1);
	return true;
}

static void *
take_locked(void)
{
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
	return space_has(&pool.space, p);
}

void
block_give(void *p)
{
	size_t offset = (size_t)((char *)p - pool.space.base);
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
