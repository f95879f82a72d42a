/*
 * An intrusive doubly linked list: put a `struct list` in the object, another as the head.
 * A node that is in no list points to itself, so removing it twice is harmless.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

/* The object that holds node `n` as its member `m`. */
#define LIST_ITEM(n, type, m) ((type *)(void *)((char *)(n) - offsetof(type, m)))
/* Walk `head`; the current node may be removed, its successor must stay. */
#define LIST_EACH(n, head) \
	for (struct list *n = (head)->next, *n##_next = n->next; n != (head); \
	    n = n##_next, n##_next = n->next)

static inline void
list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool
list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void
list_insert_before(struct list *at, struct list *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

static inline void
list_push_back(struct list *head, struct list *n)
{
	list_insert_before(head, n);
}

static inline void
list_push_front(struct list *head, struct list *n)
{
	list_insert_before(head->next, n);
}

static inline void
list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* The first node, taken off; NULL when empty. */
static inline struct list *
list_pop_front(struct list *head)
{
	struct list *n = head->next;

	if (n == head)
		return NULL;
	list_remove(n);
	return n;
}
