/* Address space: one mmap() without access for all of it, then mprotect(). */
#include "tls/space.h"

#include <sys/mman.h>

#include "tls/sanitizer.h"

static bool
reserve(struct space *s)
{
	void *p;

	if (s->base != NULL || s->none)
		return !s->none;
	p = SANITIZED ? MAP_FAILED : mmap(NULL, s->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	s->none = p == MAP_FAILED;
	if (!s->none)
		__atomic_store_n(&s->base, p, __ATOMIC_RELEASE);
	return !s->none;
}

char *
space_open(struct space *s, size_t n)
{
	char *p;

	if (!reserve(s) || s->bytes - s->opened < n)
		return NULL;
	p = s->base + s->opened;
	if (mprotect(p, n, PROT_READ | PROT_WRITE) != 0)
		return NULL;
	s->opened += n;
	return p;
}
