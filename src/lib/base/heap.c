/* Binary min-heap of intrusive nodes. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/panic.h"

void
heap_init(struct heap *h)
{
	*h = (struct heap){ 0 };
}

void
heap_release(struct heap *h)
{
	free(h->v);
	*h = (struct heap){ 0 };
}

static void
put(struct heap *h, size_t at, struct heap_node *n)
{
	h->v[at - 1] = n;
	n->at = at;
}

static void
sift_up(struct heap *h, struct heap_node *n)
{
	size_t at = n->at;

	while (at > 1 && h->v[at / 2 - 1]->key > n->key) {
		put(h, at, h->v[at / 2 - 1]);
		at /= 2;
	}
	put(h, at, n);
}

static void
sift_down(struct heap *h, struct heap_node *n)
{
	size_t at = n->at;

	for (;;) {
		size_t kid = at * 2;

		if (kid > h->n)
			break;
		if (kid < h->n && h->v[kid]->key < h->v[kid - 1]->key)
			kid++;
		if (h->v[kid - 1]->key >= n->key)
			break;
		put(h, at, h->v[kid - 1]);
		at = kid;
	}
	put(h, at, n);
}

void
heap_add(struct heap *h, struct heap_node *n, int64_t key)
{
	if (h->n == h->cap) {
		h->cap = h->cap == 0 ? 16 : size_mul(h->cap, 2);
		h->v = reallocarray(h->v, h->cap, sizeof(struct heap_node *));
		if (h->v == NULL)
			panic("out of memory");
	}
	n->key = key;
	h->n++;
	put(h, h->n, n);
	sift_up(h, n);
}

void
heap_remove(struct heap *h, struct heap_node *n)
{
	struct heap_node *last;
	size_t at = n->at;

	if (at == 0)
		return;
	ensure(at <= h->n && h->v[at - 1] == n);
	last = h->v[h->n - 1];
	h->n--;
	n->at = 0;
	if (last == n)
		return;
	put(h, at, last);
	sift_up(h, last);
	sift_down(h, last);
}

void
heap_move(struct heap *h, struct heap_node *n, int64_t key)
{
	if (n->at == 0) {
		heap_add(h, n, key);
		return;
	}
	n->key = key;
	sift_up(h, n);
	sift_down(h, n);
}

struct heap_node *
heap_min(const struct heap *h)
{
	return h->n == 0 ? NULL : h->v[0];
}
