/*
 * Memory that is freed all at once: one arena per connection, per transaction, per
 * delivery attempt. Everything handed out is zeroed and lives until clear or free.
 */
#pragma once

#include <stdarg.h>

#include "base/span.h"

struct arena;

/* `max` bytes in all; passing it is our bug (callers cap what comes from outside) and panics. */
struct arena *arena_new(size_t max);
void arena_free(struct arena **a);
/* Forget everything; keeps the first block. */
void arena_clear(struct arena *a);
/* Bytes taken from the system, for memory accounting. */
size_t arena_bytes(const struct arena *a);

void *arena_alloc(struct arena *a, size_t n);           /* zeroed, aligned for anything */
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_alloc((a), size_mul(sizeof(type), (count))))

struct span arena_dup(struct arena *a, struct span s);
struct span arena_lower(struct arena *a, struct span s);        /* ASCII lower-cased copy */
char *arena_cstr(struct arena *a, struct span s);               /* NUL-terminated copy */
struct span arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull(2)));
