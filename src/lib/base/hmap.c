/* Intrusive chained hash table. */
#include "base/hmap.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/panic.h"

void
hmap_init(struct hmap *m)
{
	*m = (struct hmap){ 0 };
}

void
hmap_release(struct hmap *m)
{
	free(m->slots);
	*m = (struct hmap){ 0 };
}

static void
grow(struct hmap *m)
{
	size_t cap = m->cap == 0 ? 16 : size_mul(m->cap, 2);
	struct hmap_node **slots = calloc(cap, sizeof(*slots));

	if (slots == NULL)
		panic("out of memory");
	for (size_t i = 0; i < m->cap; i++) {
		struct hmap_node *n = m->slots[i];

		while (n != NULL) {
			struct hmap_node *next = n->next;
			struct hmap_node **slot = &slots[n->hash & (cap - 1)];

			n->next = *slot;
			*slot = n;
			n = next;
		}
	}
	free(m->slots);
	m->slots = slots;
	m->cap = cap;
}

void
hmap_add(struct hmap *m, struct hmap_node *n, uint64_t hash)
{
	struct hmap_node **slot;

	if (m->count >= m->cap)
		grow(m);
	slot = &m->slots[hash & (m->cap - 1)];
	n->hash = hash;
	n->next = *slot;
	*slot = n;
	m->count++;
}

void
hmap_remove(struct hmap *m, struct hmap_node *n)
{
	struct hmap_node **at;

	ensure(m->cap > 0);
	at = &m->slots[n->hash & (m->cap - 1)];
	while (*at != NULL && *at != n)
		at = &(*at)->next;
	if (*at == NULL)
		panic("hmap_remove: node is not in the table");
	*at = n->next;
	n->next = NULL;
	m->count--;
}

struct hmap_node *
hmap_first(const struct hmap *m, uint64_t hash)
{
	struct hmap_node *n;

	if (m->cap == 0)
		return NULL;
	n = m->slots[hash & (m->cap - 1)];
	while (n != NULL && n->hash != hash)
		n = n->next;
	return n;
}

struct hmap_node *
hmap_next(const struct hmap_node *n)
{
	struct hmap_node *next = n->next;

	while (next != NULL && next->hash != n->hash)
		next = next->next;
	return next;
}

struct hmap_node *
hmap_walk(const struct hmap *m, const struct hmap_node *after)
{
	size_t slot = 0;

	if (after != NULL) {
		if (after->next != NULL)
			return after->next;
		slot = (after->hash & (m->cap - 1)) + 1;
	}
	for (; slot < m->cap; slot++)
		if (m->slots[slot] != NULL)
			return m->slots[slot];
	return NULL;
}
