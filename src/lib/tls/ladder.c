/* The ladder's rungs (pure) and its memory (bounded). */
#include "tls/ladder.h"

#include <openssl/ssl.h>
#include <stdlib.h>

#include "base/hmap.h"
#include "base/panic.h"
#include "tls/groups.h"

enum { RUNGS = TLS_RUNG_TLS12 + 1 };

const char *
tls_rung_text(enum tls_rung rung)
{
	switch (rung) {
	case TLS_RUNG_FULL: return "full";
	case TLS_RUNG_PLAIN: return "no ticket, no post-quantum share";
	case TLS_RUNG_TLS12: return "TLSv1.2";
	}
	return "?";
}

/* --- rungs --- */

/* The table and the parameters say `encrypt` and the like on purpose; `may` and `dane` take what there is. */
bool
tls_ladder_has(const struct tls_decision *d)
{
	return d->level > TLS_LEVEL_NONE && (d->asked == TLS_LEVEL_MAY || d->asked == TLS_LEVEL_DANE);
}

/* Would TLS 1.2 be allowed, and less than what was tried? */
static bool
tls12_allowed(const struct tls_protocols *p)
{
	return p->min <= TLS1_2_VERSION && (p->max == 0 || p->max > TLS1_2_VERSION) &&
	    (p->options_off & (SSL_OP_NO_TLSv1_2 | SSL_OP_NO_TLSv1_3)) == 0;
}

static bool
allowed(const struct tls_decision *d, enum tls_rung rung)
{
	/* who lists post-quantum groups only wants nothing else */
	bool classical = tls_groups_have_classical(d->groups_curves, d->groups_ffdhe);

	switch (rung) {
	case TLS_RUNG_FULL: return true;
	case TLS_RUNG_PLAIN: return classical;
	case TLS_RUNG_TLS12: return classical && tls12_allowed(&d->protocols);
	}
	return false;
}

bool
tls_ladder_next(const struct tls_decision *d, unsigned tried, enum tls_rung *rung_r)
{
	if (!tls_ladder_has(d))
		return false;
	for (unsigned r = 0; r < RUNGS; r++)
		if ((tried & 1u << r) == 0 && allowed(d, (enum tls_rung)r)) {
			*rung_r = (enum tls_rung)r;
			return true;
		}
	return false;
}

struct span
tls_ladder_text(const struct tls_decision *d, struct arena *a)
{
	unsigned tried = 1u << TLS_RUNG_FULL;
	struct span text = SPAN("");
	enum tls_rung r;

	for (; tls_ladder_next(d, tried, &r); tried |= 1u << r)
		text = arena_printf(a, "%.*s%s%s", SPAN_ARG(text), text.n > 0 ? "; then " : "", tls_rung_text(r));
	return text;
}

void
tls_ladder_apply(struct tls_decision *d, enum tls_rung rung)
{
	ensure(rung == TLS_RUNG_FULL || (tls_ladder_has(d) && allowed(d, rung)));
	d->rung = rung;
	if (rung == TLS_RUNG_TLS12)
		d->protocols.max = TLS1_2_VERSION;
}

/* --- memory --- */

struct host {
	struct hmap_node node;
	struct list age;
	int64_t failed_s;       /* the first failure at full strength */
	bool twice;             /* and another one, long enough after it */
	enum tls_rung rung;     /* what worked then; FULL = nothing yet */
	int64_t since_s;        /* when it was learned */
	size_t n;
	char name[];
};

struct tls_ladder {
	struct hmap hosts;
	struct list oldest;     /* heard of longest ago first */
	size_t max;
};

struct tls_ladder *
tls_ladder_new(size_t hosts_max)
{
	struct tls_ladder *l = calloc(1, sizeof(*l));

	ensure(l != NULL && hosts_max > 0);
	hmap_init(&l->hosts);
	list_init(&l->oldest);
	l->max = hosts_max;
	return l;
}

static void
forget(struct tls_ladder *l, struct host *h)
{
	hmap_remove(&l->hosts, &h->node);
	list_remove(&h->age);
	free(h);
}

void
tls_ladder_free(struct tls_ladder **lp)
{
	struct tls_ladder *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	while (!list_empty(&l->oldest))
		forget(l, LIST_ITEM(l->oldest.next, struct host, age));
	hmap_release(&l->hosts);
	free(l);
}

size_t
tls_ladder_count(const struct tls_ladder *l)
{
	return l->hosts.count;
}

static bool
too_old(const struct host *h, int64_t now_s)
{
	return now_s - (h->rung != TLS_RUNG_FULL ? h->since_s : h->failed_s) >= TLS_LADDER_KEEP_S;
}

/* What is known about a host, if it is not too old. */
static struct host *
find(struct tls_ladder *l, struct span name, int64_t now_s)
{
	HMAP_EACH_HASH(n, &l->hosts, span_hash(name)) {
		struct host *h = HMAP_ENTRY(n, struct host, node);

		if (!span_eq(span_of(h->name, h->n), name))
			continue;
		if (!too_old(h, now_s))
			return h;
		forget(l, h);
		return NULL;
	}
	return NULL;
}

static void
add(struct tls_ladder *l, struct span name, int64_t now_s)
{
	struct host *h;

	while (l->hosts.count >= l->max)
		forget(l, LIST_ITEM(l->oldest.next, struct host, age));
	h = calloc(1, size_add(sizeof(*h), name.n));
	ensure(h != NULL);
	h->failed_s = now_s;
	h->n = name.n;
	memcpy(h->name, name.p, name.n);
	list_init(&h->age);
	list_push_back(&l->oldest, &h->age);
	hmap_add(&l->hosts, &h->node, span_hash(name));
}

enum tls_rung
tls_ladder_start(struct tls_ladder *l, struct span host, const struct tls_decision *d, int64_t now_s)
{
	struct host *h = find(l, host, now_s);

	if (h == NULL || !tls_ladder_has(d) || !allowed(d, h->rung))
		return TLS_RUNG_FULL;
	return h->rung;
}

static void
full_failed(struct tls_ladder *l, struct span host, int64_t now_s)
{
	struct host *h = find(l, host, now_s);

	if (h == NULL) {
		add(l, host, now_s);
		return;
	}
	if (now_s - h->failed_s >= TLS_LADDER_APART_S)
		h->twice = true;
	list_remove(&h->age);
	list_push_back(&l->oldest, &h->age);
}

void
tls_ladder_failed(struct tls_ladder *l, struct span host, enum tls_rung rung, int64_t now_s)
{
	struct host *h;

	if (rung == TLS_RUNG_FULL) {
		full_failed(l, host, now_s);
		return;
	}
	h = find(l, host, now_s);
	if (h != NULL && h->rung == rung)
		forget(l, h);
}

void
tls_ladder_worked(struct tls_ladder *l, struct span host, enum tls_rung rung, int64_t now_s)
{
	struct host *h = find(l, host, now_s);

	if (h == NULL)
		return;
	if (rung == TLS_RUNG_FULL) {
		forget(l, h);
	} else if (h->twice && h->rung == TLS_RUNG_FULL) {
		h->rung = rung;
		h->since_s = now_s;     /* using it does not make it younger */
	}
}
