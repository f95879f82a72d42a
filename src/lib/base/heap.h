/* An intrusive binary min-heap keyed by a 64-bit number (a time): the scheduler's "who is next". */
#pragma once

#include <stdint.h>

#include "base/list.h"

struct heap_node {
	int64_t key;
	size_t at;              /* 1-based place; 0 = not in a heap */
};

struct heap {
	struct heap_node **v;
	size_t n, cap;
};

#define HEAP_ENTRY(n, type, m) ((type *)(void *)((char *)(n) - offsetof(type, m)))

void heap_init(struct heap *h);
void heap_release(struct heap *h);
void heap_add(struct heap *h, struct heap_node *n, int64_t key);
void heap_remove(struct heap *h, struct heap_node *n);          /* harmless when not in a heap */
void heap_move(struct heap *h, struct heap_node *n, int64_t key);       /* adds when absent */
struct heap_node *heap_min(const struct heap *h);               /* NULL when empty */
