/*
 * One piece of address space, reserved when it is first needed and opened from its beginning, never closed: what lies in it is told from
 * other memory by its address alone. Under sanitizers there is none, so that they see each malloc().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct space {
	size_t bytes;                   /* all of it; the user's to set, whole pages */
	size_t opened;                  /* of that, from `base` on, can be used */
	char *base;                     /* NULL before the first, then the same for ever */
	bool none;                      /* there is no address space */
};

/*
 * Opens the next `n` bytes, whole pages of zeros, and returns where they begin; one thread at a time. NULL: no address space, not that
 * much left of it, or no memory.
 */
char *space_open(struct space *s, size_t n);

/* Does `p` lie in it? Any thread may ask, about any pointer; NULL does not. */
static inline bool
space_has(const struct space *s, const void *p)
{
	const char *base = __atomic_load_n(&s->base, __ATOMIC_ACQUIRE);

	return base != NULL && (uintptr_t)p - (uintptr_t)base < s->bytes;
}
