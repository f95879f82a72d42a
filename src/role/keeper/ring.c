/* The keys, found by the digest of their public half. */
#include <stdlib.h>

#include "base/panic.h"
#include "role/keeper/keeper.h"

enum { READY_MAX = 4 };         /* schemes that one key is used with: one for TLS 1.3, one or two before */

struct ready {
	uint16_t scheme;
	EVP_MD_CTX *md;
};

struct ring_key {
	struct hmap_node by_id;
	uint8_t id[TLS_KEY_ID_BYTES];
	EVP_PKEY *key;
	struct key_use use, next;       /* next: what the configuration gives it, while that is being added up */
	bool wanted;
	int64_t retired_us;     /* 0 = in use */
	struct ready ready[READY_MAX];
	unsigned n_ready;
};

struct ring {
	pthread_rwlock_t lock;
	struct hmap keys;
};

struct ring *
ring_new(void)
{
	struct ring *r = calloc(1, sizeof(*r));

	ensure(r != NULL && pthread_rwlock_init(&r->lock, NULL) == 0);
	hmap_init(&r->keys);
	return r;
}

static void
drop(struct ring *r, struct ring_key *k)
{
	hmap_remove(&r->keys, &k->by_id);
	for (unsigned i = 0; i < k->n_ready; i++)
		EVP_MD_CTX_free(k->ready[i].md);
	EVP_PKEY_free(k->key);
	free(k);
}

void
ring_free(struct ring **rp)
{
	struct ring *r = *rp;

	*rp = NULL;
	HMAP_EACH(n, &r->keys)
		drop(r, HMAP_ENTRY(n, struct ring_key, by_id));
	hmap_release(&r->keys);
	pthread_rwlock_destroy(&r->lock);
	free(r);
}

static uint64_t
hash_of(const uint8_t *id)
{
	uint64_t h;

	memcpy(&h, id, sizeof(h));
	return h;
}

static struct ring_key *
find(struct ring *r, const uint8_t *id)
{
	HMAP_EACH_HASH(n, &r->keys, hash_of(id)) {
		struct ring_key *k = HMAP_ENTRY(n, struct ring_key, by_id);

		if (memcmp(k->id, id, TLS_KEY_ID_BYTES) == 0)
			return k;
	}
	return NULL;
}

static void
add_one(struct ring *r, X509 *leaf, EVP_PKEY *key, struct key_use use)
{
	uint8_t id[TLS_KEY_ID_BYTES];
	struct ring_key *k;

	/* of the certificate's public key: that is what a worker knows */
	if (!tls_key_id(X509_get0_pubkey(leaf), id))
		return;
	k = find(r, id);
	if (k == NULL) {
		k = calloc(1, sizeof(*k));
		ensure(k != NULL);
		memcpy(k->id, id, sizeof(id));
		EVP_PKEY_up_ref(key);
		k->key = key;
		hmap_add(&r->keys, &k->by_id, hash_of(id));
	}
	k->wanted = true;
	k->retired_us = 0;
	k->use.server |= use.server;
	k->use.client |= use.client;
	k->use.decrypt |= use.decrypt;
	k->next.server |= use.server;
	k->next.client |= use.client;
	k->next.decrypt |= use.decrypt;
}

void
ring_add(struct ring *r, const struct tls_chain *c, struct key_use use)
{
	STACK_OF(X509) *issuers;
	EVP_PKEY *key;
	X509 *leaf;

	pthread_rwlock_wrlock(&r->lock);
	for (size_t i = 0; tls_chain_at(c, i, &leaf, &issuers, &key); i++)
		add_one(r, leaf, key, use);
	pthread_rwlock_unlock(&r->lock);
}

void
ring_begin(struct ring *r)
{
	pthread_rwlock_wrlock(&r->lock);
	HMAP_EACH(n, &r->keys) {
		struct ring_key *k = HMAP_ENTRY(n, struct ring_key, by_id);

		k->wanted = false;
		k->next = (struct key_use){ 0 };
	}
	pthread_rwlock_unlock(&r->lock);
}

void
ring_end(struct ring *r, int64_t now_us, int64_t keep_us)
{
	pthread_rwlock_wrlock(&r->lock);
	HMAP_EACH(n, &r->keys) {
		struct ring_key *k = HMAP_ENTRY(n, struct ring_key, by_id);

		if (k->wanted) {
			k->use = k->next;
			continue;
		}
		if (k->retired_us == 0)
			k->retired_us = now_us;
		if (now_us - k->retired_us >= keep_us)
			drop(r, k);
	}
	pthread_rwlock_unlock(&r->lock);
}

EVP_PKEY *
ring_find(struct ring *r, struct span id, struct key_use *use_r)
{
	EVP_PKEY *key = NULL;
	struct ring_key *k;

	if (id.n != TLS_KEY_ID_BYTES)
		return NULL;
	pthread_rwlock_rdlock(&r->lock);
	k = find(r, (const uint8_t *)id.p);
	if (k != NULL) {
		EVP_PKEY_up_ref(k->key);
		key = k->key;
		*use_r = k->use;
	}
	pthread_rwlock_unlock(&r->lock);
	return key;
}

static EVP_MD_CTX *
copy(const EVP_MD_CTX *from)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	if (md != NULL && EVP_MD_CTX_copy_ex(md, from) != 1) {
		EVP_MD_CTX_free(md);
		md = NULL;
	}
	return md;
}

static EVP_MD_CTX *
copy_ready(const struct ring_key *k, uint16_t scheme)
{
	for (unsigned i = 0; i < k->n_ready; i++)
		if (k->ready[i].scheme == scheme)
			return copy(k->ready[i].md);
	return NULL;
}

EVP_MD_CTX *
ring_ready(struct ring *r, struct span id, uint16_t scheme)
{
	struct ring_key *k;
	EVP_MD_CTX *md;

	pthread_rwlock_rdlock(&r->lock);
	k = find(r, (const uint8_t *)id.p);
	md = k != NULL ? copy_ready(k, scheme) : NULL;
	pthread_rwlock_unlock(&r->lock);
	return md;
}

void
ring_set_ready(struct ring *r, struct span id, uint16_t scheme, const EVP_MD_CTX *md)
{
	struct ring_key *k;
	EVP_MD_CTX *mine = copy(md), *other = NULL;

	pthread_rwlock_wrlock(&r->lock);
	k = find(r, (const uint8_t *)id.p);
	if (mine != NULL && k != NULL && k->n_ready < READY_MAX && (other = copy_ready(k, scheme)) == NULL) {
		k->ready[k->n_ready++] = (struct ready){ scheme, mine };
		mine = NULL;
	}
	pthread_rwlock_unlock(&r->lock);
	EVP_MD_CTX_free(other);
	EVP_MD_CTX_free(mine);
}

size_t
ring_count(struct ring *r)
{
	size_t n;

	pthread_rwlock_rdlock(&r->lock);
	n = r->keys.count;
	pthread_rwlock_unlock(&r->lock);
	return n;
}
