/* The table of messages, and the lists and heaps that they stand in. */
#include <stdlib.h>

#include "mail/address.h"
#include "role/queue/queue.h"

enum { SITES_MAX = 1000 };

struct message *
message_new(struct queue *q, struct span qid)
{
	struct message *m = calloc(1, sizeof(*m));

	ensure(m != NULL && qid.n > 0 && qid.n <= STORE_QID_MAX);
	memcpy(m->qid, qid.p, qid.n);
	list_init(&m->line);
	list_push_back(&q->all, &m->all);
	hmap_add(&q->messages, &m->by_qid, span_hash(qid));
	m->stage = STAGE_WRITING;
	q->count[STAGE_WRITING]++;
	return m;
}

struct message *
message_find(struct queue *q, struct span qid)
{
	HMAP_EACH_HASH(n, &q->messages, span_hash(qid)) {
		struct message *m = HMAP_ENTRY(n, struct message, by_qid);

		if (span_eq(span_str(m->qid), qid))
			return m;
	}
	return NULL;
}

static struct message *
after(struct queue *q, struct message *m)
{
	return m->all.next == &q->all ? NULL : LIST_ITEM(m->all.next, struct message, all);
}

void
message_free(struct queue *q, struct message *m)
{
	ensure(m->active == NULL && m->journal == NULL);
	LIST_EACH(n, &q->cursors) {
		struct cursor *c = LIST_ITEM(n, struct cursor, node);

		if (c->next == m)
			c->next = after(q, m);
	}
	q->count[m->stage]--;
	q->active_retries -= m->retry;
	list_remove(&m->line);
	heap_remove(&q->due, &m->due);
	list_remove(&m->all);
	hmap_remove(&q->messages, &m->by_qid);
	free(m->sites);
	free(m);
}

void
message_stage(struct queue *q, struct message *m, enum message_stage stage, int64_t due_us)
{
	q->active_retries -= m->retry;
	m->retry = stage == STAGE_ACTIVE && m->stage == STAGE_DEFERRED;
	q->active_retries += m->retry;
	q->count[m->stage]--;
	q->count[stage]++;
	m->stage = (uint8_t)stage;
	list_remove(&m->line);
	heap_remove(&q->due, &m->due);
	if (stage == STAGE_INCOMING)
		list_push_back(&q->incoming, &m->line);
	else if (stage == STAGE_DEFERRED)
		heap_add(&q->due, &m->due, due_us);
	queue_wake(q);
}

struct log
message_log(const struct message *m)
{
	struct log l = { .tag = NULL };

	memcpy(l.qid, m->qid, sizeof(m->qid));
	return l;
}

uint32_t
message_site_hash(struct span domain)
{
	return (uint32_t)span_hash_ci(domain);
}

/* Domains of the recipients that are not done. Beyond SITES_MAX a flush of a site does not find them all: they wait for their time. */
void
message_set_sites(struct message *m, const struct envelope *e, const struct mail_state *st)
{
	uint32_t seen[SITES_MAX], n = 0;

	for (size_t i = 0; i < e->rcpt_count && n < SITES_MAX; i++) {
		struct span local, domain;
		uint32_t h, j = 0;

		if (st->rcpts[i].stage == RCPT_DONE)
			continue;
		address_split(e->rcpts[i].addr, &local, &domain);
		h = message_site_hash(domain);
		while (j < n && seen[j] != h)
			j++;
		if (j == n)
			seen[n++] = h;
	}
	free(m->sites);
	m->sites = NULL;
	m->n_sites = n;
	if (n == 0)
		return;
	m->sites = calloc(n, sizeof(*m->sites));
	ensure(m->sites != NULL);
	memcpy(m->sites, seen, n * sizeof(*m->sites));
}

void
cursor_start(struct queue *q, struct cursor *c, struct message *at)
{
	list_push_back(&q->cursors, &c->node);
	c->next = at != NULL ? at : list_empty(&q->all) ? NULL : LIST_ITEM(q->all.next, struct message, all);
}

struct message *
cursor_next(struct queue *q, struct cursor *c)
{
	struct message *m = c->next;

	if (m != NULL)
		c->next = after(q, m);
	return m;
}

void
cursor_stop(struct cursor *c)
{
	list_remove(&c->node);
}
