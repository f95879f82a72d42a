/* A few threads, a bounded queue, an eventfd back into the loop. */
#include "role/resolver/native.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/panic.h"

enum { THREADS = 4, QUEUE_MAX = 2000, ADDRESSES_MAX = 64, TTL_S = 60, ARENA_BYTES = 1 << 20 };

struct job {
	struct list node;
	char name[DNS_NAME_MAX + 1];
	enum dns_type type;
	dns_answer_fn *fn;
	void *ctx;
	struct arena *arena;
	struct dns_answer answer;
};

struct native {
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_t thread[THREADS];
	struct list todo, done;
	size_t n_todo;
	bool stop;
	int wake;               /* eventfd: something is in `done` */
	struct loop_fd watch;
};

/* --- in the threads --- */

static void
put_addresses(struct job *j, const struct addrinfo *list)
{
	struct dns_answer *d = &j->answer;

	d->records = ARENA_ARRAY(j->arena, struct dns_record, ADDRESSES_MAX);
	for (; list != NULL && d->count < ADDRESSES_MAX; list = list->ai_next) {
		const struct sockaddr_in *v4 = (const void *)list->ai_addr;
		const struct sockaddr_in6 *v6 = (const void *)list->ai_addr;
		struct span bytes = j->type == DNS_TYPE_A ? span_of(&v4->sin_addr, 4) : span_of(&v6->sin6_addr, 16);

		d->records[d->count++] = (struct dns_record){ .type = (uint16_t)j->type,
			.data = arena_dup(j->arena, bytes) };
	}
}

/* What getaddrinfo and getnameinfo say when they have nothing. */
static void
put_nothing(struct job *j, int error)
{
	struct dns_answer *d = &j->answer;

	if (error == EAI_NONAME) {
		d->nxdomain = true;
		d->rcode = DNS_RCODE_NXDOMAIN;
	} else if (error == EAI_NODATA || error == EAI_ADDRFAMILY || error == 0) {
		d->nodata = true;
	} else {
		dns_answer_fail(d, j->arena, d->name, j->type, gai_strerror(error));
	}
}

static void
look_up_addresses(struct job *j)
{
	struct addrinfo hints = { .ai_family = j->type == DNS_TYPE_A ? AF_INET : AF_INET6,
		.ai_socktype = SOCK_STREAM }, *list = NULL;
	int error = getaddrinfo(j->name, NULL, &hints, &list);

	if (error == 0)
		put_addresses(j, list);
	if (error != 0 || j->answer.count == 0)
		put_nothing(j, error);
	if (list != NULL)
		freeaddrinfo(list);
}

static bool
hex_digit(struct span label, unsigned *value_r)
{
	static const char digits[] = "0123456789abcdef";
	const char *at;

	if (label.n != 1 || label.p[0] == '\0')
		return false;
	at = strchr(digits, ascii_lower(label.p[0]));
	*value_r = at != NULL ? (unsigned)(at - digits) : 0;
	return at != NULL;
}

/* The address that "1.2.0.192.in-addr.arpa" or the ip6.arpa form stands for; its length, 0 = none. */
static size_t
address_of(struct span name, uint8_t bytes_r[16])
{
	bool v4 = span_ends_ci(name, SPAN(".in-addr.arpa")), v6 = span_ends_ci(name, SPAN(".ip6.arpa"));
	struct span rest = name, label;
	uint64_t octet;
	unsigned nibble;

	memset(bytes_r, 0, 16);
	for (size_t i = 4; v4 && i-- > 0; bytes_r[i] = (uint8_t)octet)
		if (!span_cut(rest, '.', &label, &rest) || !span_u64(label, 255, &octet))
			return 0;
	for (size_t i = 32; v6 && i-- > 0; bytes_r[i / 2] |= (uint8_t)(i % 2 ? nibble : nibble << 4))
		if (!span_cut(rest, '.', &label, &rest) || !hex_digit(label, &nibble))
			return 0;
	if (!span_eq_ci(rest, v4 ? SPAN("in-addr.arpa") : SPAN("ip6.arpa")))
		return 0;
	return v4 ? 4 : v6 ? 16 : 0;
}

static void
look_up_name(struct job *j)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	char host[NI_MAXHOST];
	uint8_t bytes[16];
	size_t n = address_of(span_str(j->name), bytes);
	int error;

	if (n == 0) {
		put_nothing(j, EAI_NONAME);
		return;
	}
	memcpy(&v4.sin_addr, bytes, 4);
	memcpy(&v6.sin6_addr, bytes, 16);
	error = getnameinfo(n == 4 ? (const struct sockaddr *)(const void *)&v4 : (const void *)&v6,
	    n == 4 ? sizeof(v4) : sizeof(v6), host, sizeof(host), NULL, 0, NI_NAMEREQD);
	if (error != 0) {
		put_nothing(j, error);
		return;
	}
	j->answer.records = ARENA_NEW(j->arena, struct dns_record);
	j->answer.records[0] = (struct dns_record){ .type = DNS_TYPE_PTR,
		.data = dns_name_lower(j->arena, span_str(host)) };
	j->answer.count = 1;
}

static void
look_up(struct job *j)
{
	struct dns_answer *d = &j->answer;

	d->name = d->canon = dns_name_lower(j->arena, span_str(j->name));
	d->type = (uint16_t)j->type;
	d->status = DNS_INSECURE;
	d->local = true;
	d->ttl_s = TTL_S;
	if (j->type == DNS_TYPE_PTR)
		look_up_name(j);
	else
		look_up_addresses(j);
}

static void *
worker(void *ctx)
{
	struct native *n = ctx;
	uint64_t one = 1;

	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		struct list *node = list_pop_front(&n->todo);

		if (node == NULL) {
			pthread_cond_wait(&n->work, &n->lock);
			continue;
		}
		n->n_todo--;
		pthread_mutex_unlock(&n->lock);
		look_up(LIST_ITEM(node, struct job, node));
		pthread_mutex_lock(&n->lock);
		list_push_back(&n->done, node);
		(void)fd_write(n->wake, &one, sizeof(one));
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* --- in the loop --- */

static void
job_free(struct job *j)
{
	arena_free(&j->arena);
	free(j);
}

static void
on_done(void *ctx, unsigned ready)
{
	struct native *n = ctx;
	uint64_t count;
	struct list batch;

	(void)ready;
	(void)fd_read(n->wake, &count, sizeof(count));
	list_init(&batch);
	pthread_mutex_lock(&n->lock);
	for (struct list *node; (node = list_pop_front(&n->done)) != NULL;)
		list_push_back(&batch, node);
	pthread_mutex_unlock(&n->lock);
	for (struct list *node; (node = list_pop_front(&batch)) != NULL;) {
		struct job *j = LIST_ITEM(node, struct job, node);

		j->fn(j->ctx, &j->answer);
		job_free(j);
	}
}

struct native *
native_new(struct loop *l)
{
	struct native *n = calloc(1, sizeof(*n));
	sigset_t all, old;

	ensure(n != NULL);
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->work, NULL);
	list_init(&n->todo);
	list_init(&n->done);
	n->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ensure(n->wake >= 0);
	loop_fd_init(&n->watch, l, n->wake, on_done, n);
	loop_fd_want(&n->watch, LOOP_READ);
	sigfillset(&all);               /* signals are the loop's business */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < THREADS; i++)
		ensure(pthread_create(&n->thread[i], NULL, worker, n) == 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

void
native_free(struct native **np)
{
	struct native *n = *np;

	*np = NULL;
	if (n == NULL)
		return;
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_broadcast(&n->work);
	pthread_mutex_unlock(&n->lock);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(n->thread[i], NULL);
	for (struct list *node; (node = list_pop_front(&n->todo)) != NULL;)
		job_free(LIST_ITEM(node, struct job, node));
	for (struct list *node; (node = list_pop_front(&n->done)) != NULL;)
		job_free(LIST_ITEM(node, struct job, node));
	loop_fd_release(&n->watch);
	fd_close(&n->wake);
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->work);
	free(n);
}

void
native_ask(struct native *n, struct span name, enum dns_type type, dns_answer_fn *fn, void *ctx)
{
	struct job *j = calloc(1, sizeof(*j));
	bool askable = (type == DNS_TYPE_A || type == DNS_TYPE_AAAA || type == DNS_TYPE_PTR) && name.n > 0 &&
	    name.n <= DNS_NAME_MAX && memchr(name.p, '\0', name.n) == NULL;
	uint64_t one = 1;

	ensure(j != NULL);
	j->type = type;
	j->fn = fn;
	j->ctx = ctx;
	j->arena = arena_new(ARENA_BYTES);
	if (askable)
		memcpy(j->name, name.p, name.n);
	pthread_mutex_lock(&n->lock);
	if (askable && n->n_todo < QUEUE_MAX) {
		list_push_back(&n->todo, &j->node);
		n->n_todo++;
		pthread_cond_signal(&n->work);
	} else {
		dns_answer_fail(&j->answer, j->arena, name, type, askable ? "too many native lookups are waiting" :
		    "not a native lookup");
		list_push_back(&n->done, &j->node);
		(void)fd_write(n->wake, &one, sizeof(one));
	}
	pthread_mutex_unlock(&n->lock);
}
