/* Shared counters: a fixed open-addressing table; slots are claimed and reused with compare-and-swap. */
#include "role/smtpd/counters.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/panic.h"
#include "base/rand.h"

#define PROBES 16u
#define IDLE_S 3600             /* a slot unused for so long may be given away */

struct window {
	uint32_t start_s, count;
};

struct counters_slot {
	uint64_t key;                   /* 0 = free */
	uint32_t used_s;
	uint16_t conns[COUNTERS_COLUMNS];
	struct window rates[COUNTERS_RATES];
};

struct shared {
	uint64_t seed;                  /* of the hash; set by the first worker */
	struct counters_slot slots[];
};

struct counters {
	struct shared *shared;
	size_t bytes, n_slots;
	unsigned column;
};

struct counters *
counters_open(int fd, unsigned column)
{
	struct counters *c = calloc(1, sizeof(*c));
	struct stat st;
	uint64_t seed = 0, none = 0;

	ensure(c != NULL && column < COUNTERS_COLUMNS);
	c->column = column;
	if (fd < 0 || fd_stat(fd, &st) < 0 || (size_t)st.st_size <= sizeof(struct shared))
		return c;
	c->bytes = (size_t)st.st_size;
	c->shared = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c->shared == MAP_FAILED) {
		c->shared = NULL;
		return c;
	}
	c->n_slots = (c->bytes - sizeof(struct shared)) / sizeof(struct counters_slot);
	rand_bytes(&seed, sizeof(seed));
	__atomic_compare_exchange_n(&c->shared->seed, &none, seed | 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	for (size_t i = 0; i < c->n_slots; i++)
		if (__atomic_load_n(&c->shared->slots[i].conns[column], __ATOMIC_RELAXED) != 0)
			__atomic_store_n(&c->shared->slots[i].conns[column], 0, __ATOMIC_RELAXED);
	return c;
}

void
counters_close(struct counters **cp)
{
	struct counters *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	if (c->shared != NULL)
		munmap(c->shared, c->bytes);
	free(c);
}

static uint64_t
mix(uint64_t h, unsigned char byte)
{
	return (h ^ byte) * 0x100000001b3ULL;
}

static uint64_t
key_of(uint64_t seed, const char *service, struct span addr, unsigned prefix_bits)
{
	uint64_t h = 0xcbf29ce484222325ULL ^ seed;

	for (const char *p = service; *p != '\0'; p++)
		h = mix(h, (unsigned char)*p);
	h = mix(h, (unsigned char)addr.n);
	for (size_t i = 0; i < addr.n; i++) {
		unsigned left = prefix_bits > i * 8 ? prefix_bits - (unsigned)i * 8 : 0;
		unsigned mask = left >= 8 ? 0xff : 0xff00u >> left;

		h = mix(h, (unsigned char)((unsigned char)addr.p[i] & mask));
	}
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ULL ^ seed;
	h ^= h >> 32;
	return h == 0 ? 1 : h;
}

static unsigned
connections(const struct counters_slot *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < COUNTERS_COLUMNS; i++)
		n += __atomic_load_n(&s->conns[i], __ATOMIC_RELAXED);
	return n;
}

/* Take over a slot that holds `old`; false when another worker was faster. */
static bool
claim(struct counters_slot *s, uint64_t old, uint64_t key)
{
	if (!__atomic_compare_exchange_n(&s->key, &old, key, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return false;
	for (unsigned r = 0; r < COUNTERS_RATES; r++)
		__atomic_store_n(&s->rates[r].start_s, 0, __ATOMIC_RELAXED);
	return true;
}

struct counters_slot *
counters_find(struct counters *c, const char *service, struct span addr, unsigned prefix_bits, int64_t now_s)
{
	struct counters_slot *spare = NULL;
	uint64_t key, spare_key = 0;

	if (c->shared == NULL)
		return NULL;
	key = key_of(c->shared->seed, service, addr, prefix_bits);
	for (unsigned i = 0; i < PROBES; i++) {
		struct counters_slot *s = &c->shared->slots[(key + i) % c->n_slots];
		uint64_t have = __atomic_load_n(&s->key, __ATOMIC_RELAXED);

		if (have == key) {
			__atomic_store_n(&s->used_s, (uint32_t)now_s, __ATOMIC_RELAXED);
			return s;
		}
		if (spare == NULL && (have == 0 || ((uint32_t)now_s - s->used_s > IDLE_S && connections(s) == 0))) {
			spare = s;
			spare_key = have;
		}
	}
	if (spare == NULL || !claim(spare, spare_key, key))
		return NULL;
	__atomic_store_n(&spare->used_s, (uint32_t)now_s, __ATOMIC_RELAXED);
	return spare;
}

unsigned
counters_connect(struct counters *c, struct counters_slot *s)
{
	if (s == NULL)
		return 1;
	__atomic_add_fetch(&s->conns[c->column], 1, __ATOMIC_RELAXED);
	return connections(s);
}

void
counters_disconnect(struct counters *c, struct counters_slot *s)
{
	if (s != NULL && __atomic_load_n(&s->conns[c->column], __ATOMIC_RELAXED) > 0)
		__atomic_sub_fetch(&s->conns[c->column], 1, __ATOMIC_RELAXED);
}

unsigned
counters_add(struct counters_slot *s, enum counters_rate rate, int64_t now_s, int64_t unit_s)
{
	struct window *w;
	uint32_t start;

	if (s == NULL)
		return 1;
	w = &s->rates[rate];
	start = __atomic_load_n(&w->start_s, __ATOMIC_RELAXED);
	if ((int64_t)((uint32_t)now_s - start) >= unit_s &&
	    __atomic_compare_exchange_n(&w->start_s, &start, (uint32_t)now_s, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		__atomic_store_n(&w->count, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&s->used_s, (uint32_t)now_s, __ATOMIC_RELAXED);
	return __atomic_add_fetch(&w->count, 1, __ATOMIC_RELAXED);
}

unsigned
counters_get(struct counters_slot *s, enum counters_rate rate, int64_t now_s, int64_t unit_s)
{
	const struct window *w;

	if (s == NULL)
		return 0;
	w = &s->rates[rate];
	if ((int64_t)((uint32_t)now_s - __atomic_load_n(&w->start_s, __ATOMIC_RELAXED)) >= unit_s)
		return 0;
	return __atomic_load_n(&w->count, __ATOMIC_RELAXED);
}
