/*
 * An intrusive hash table: objects hold a `struct hmap_node`; the caller hashes
 * (span_hash) and compares. The table grows, never shrinks, and owns no object.
 */
#pragma once

#include <stdint.h>

#include "base/list.h"

struct hmap_node {
	struct hmap_node *next;
	uint64_t hash;
};

struct hmap {
	struct hmap_node **slots;
	size_t count, cap;
};

#define HMAP_ENTRY(n, type, m) ((type *)(void *)((char *)(n) - offsetof(type, m)))
/* Every node with this hash; compare keys yourself. */
#define HMAP_EACH_HASH(n, map, h) \
	for (struct hmap_node *n = hmap_first(map, h); n != NULL; n = hmap_next(n))
/* Every node; the current one may be removed, nothing may be added. */
#define HMAP_EACH(n, map) \
	for (struct hmap_node *n = hmap_walk(map, NULL), *n##_next = n == NULL ? NULL : hmap_walk(map, n); n != NULL; \
	    n = n##_next, n##_next = n == NULL ? NULL : hmap_walk(map, n))

void hmap_init(struct hmap *m);
void hmap_release(struct hmap *m);
void hmap_add(struct hmap *m, struct hmap_node *n, uint64_t hash);
void hmap_remove(struct hmap *m, struct hmap_node *n);          /* must be in `m` */
struct hmap_node *hmap_first(const struct hmap *m, uint64_t hash);
struct hmap_node *hmap_next(const struct hmap_node *n);         /* next with the same hash */
struct hmap_node *hmap_walk(const struct hmap *m, const struct hmap_node *after);

/* Hash of a 64-bit id (scrambled, unkeyed: for our own ids only). */
static inline uint64_t
hash_u64(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ (x >> 33);
}
