/* Chunked output queue. */
#include "base/ioq.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/panic.h"

#define CHUNK 4096u

struct ioq_chunk {
	struct ioq_chunk *next;
	size_t from, to, cap;
	char data[];
};

void
ioq_init(struct ioq *q, size_t max)
{
	*q = (struct ioq){ .max = max };
}

void
ioq_release(struct ioq *q)
{
	while (q->head != NULL) {
		struct ioq_chunk *c = q->head;

		q->head = c->next;
		free(c);
	}
	*q = (struct ioq){ .max = q->max };
}

static void
chunk_add(struct ioq *q, size_t want)
{
	size_t cap = want < CHUNK ? CHUNK - sizeof(struct ioq_chunk) : want;
	struct ioq_chunk *c = malloc(size_add(sizeof(*c), cap));

	if (c == NULL)
		panic("out of memory");
	*c = (struct ioq_chunk){ .cap = cap };
	if (q->tail != NULL)
		q->tail->next = c;
	else
		q->head = c;
	q->tail = c;
}

bool
ioq_add(struct ioq *q, const void *p, size_t n)
{
	const char *at = p;

	if (n > q->max || q->bytes > q->max - n)
		return false;
	q->bytes += n;
	while (n > 0) {
		size_t room = q->tail == NULL ? 0 : q->tail->cap - q->tail->to;
		size_t part = n < room ? n : room;

		if (part == 0) {
			chunk_add(q, n);
			continue;
		}
		memcpy(q->tail->data + q->tail->to, at, part);
		q->tail->to += part;
		at += part;
		n -= part;
	}
	return true;
}

int
ioq_peek(const struct ioq *q, struct iovec *v, int count)
{
	int i = 0;

	for (struct ioq_chunk *c = q->head; c != NULL && i < count; c = c->next) {
		if (c->to == c->from)
			continue;
		v[i].iov_base = c->data + c->from;
		v[i++].iov_len = c->to - c->from;
	}
	return i;
}

void
ioq_consume(struct ioq *q, size_t n)
{
	ensure(n <= q->bytes);
	q->bytes -= n;
	while (q->head != NULL) {
		struct ioq_chunk *c = q->head;
		size_t have = c->to - c->from;

		if (n < have) {
			c->from += n;
			return;
		}
		n -= have;
		q->head = c->next;
		if (q->head == NULL)
			q->tail = NULL;
		free(c);
	}
}

ssize_t
ioq_flush(struct ioq *q, int fd)
{
	ssize_t total = 0;

	while (q->bytes > 0) {
		struct iovec v[16];
		ssize_t put = fd_writev(fd, v, ioq_peek(q, v, 16));

		if (put == -EAGAIN)
			break;
		if (put < 0)
			return put;
		ioq_consume(q, (size_t)put);
		total += put;
	}
	return total;
}
