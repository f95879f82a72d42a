/*
 * Chains by SNI name (tls-server.md section 5.1): the tables are looked up here, their values are
 * PEM text in base64 or names of PEM files, and what was parsed is kept until a file changes.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "base/rand.h"
#include "dns/dns.h"
#include "role/keeper/keeper.h"

enum { NAMES_MAX = 50000, ARENA_BYTES = 8 << 20 };

static struct sni_entry *
find_entry(struct sni_maps *m, struct span name)
{
	HMAP_EACH_HASH(n, &m->entries, span_hash(name)) {
		struct sni_entry *e = HMAP_ENTRY(n, struct sni_entry, by_name);

		if (span_eq(span_str(e->name), name))
			return e;
	}
	return NULL;
}

static void
drop_entry(struct sni_maps *m, struct sni_entry *e)
{
	hmap_remove(&m->entries, &e->by_name);
	tls_chain_unref(&e->chain);
	free(e->name);
	free(e);
}

static struct sni_maps *
find_maps(struct keeper *k, struct span value)
{
	LIST_EACH(n, &k->sni) {
		struct sni_maps *m = LIST_ITEM(n, struct sni_maps, node);

		if (span_eq(span_str(m->value), value))
			return m;
	}
	return NULL;
}

static void
maps_drop(struct sni_maps *m)
{
	list_remove(&m->node);
	HMAP_EACH(n, &m->entries)
		drop_entry(m, HMAP_ENTRY(n, struct sni_entry, by_name));
	hmap_release(&m->entries);
	maps_unref(&m->maps);
	free(m->value);
	free(m);
}

static void
want(struct keeper *k, const struct conf_service *cs)
{
	const char *value = cs->params->tls_server_sni_maps;
	struct sni_maps *m = find_maps(k, span_str(value));
	struct fault why = { 0 };

	if (m == NULL) {
		m = calloc(1, sizeof(*m));
		ensure(m != NULL && (m->value = strdup(value)) != NULL);
		hmap_init(&m->entries);
		list_push_back(&k->sni, &m->node);
		if (!maps_open(span_str(value), 0, &k->role->maps_env, &m->maps, &why))
			log_error(NULL, "tls_server_sni_maps: %s: no handshake with a server name succeeds", why.text);
	}
	m->wanted = true;
	m->use.server = true;
	m->use.decrypt |= keeper_level_may(cs);
}

void
sni_configure(struct keeper *k)
{
	const struct conf *c = k->role->conf;

	LIST_EACH(n, &k->sni) {
		struct sni_maps *m = LIST_ITEM(n, struct sni_maps, node);

		if (m->wanted)
			m->unwanted_us = clock_mono_us();
		m->wanted = false;
		m->use = (struct key_use){ 0 };
	}
	for (size_t i = 0; i < c->service_count; i++) {
		const struct conf_service *cs = &c->services[i];

		if (cs->type == CONF_SERVICE_INET && !cs->disabled && strcmp(cs->command, "smtpd") == 0 &&
		    cs->params->tls_server_sni_maps[0] != '\0')
			want(k, cs);
	}
}

void
sni_mark_stale(struct keeper *k)
{
	LIST_EACH(n, &k->sni) {
		struct sni_maps *m = LIST_ITEM(n, struct sni_maps, node);

		HMAP_EACH(e, &m->entries)
			HMAP_ENTRY(e, struct sni_entry, by_name)->stale = true;
	}
}

/* The name, then .parent, the shortest last; there is no default key. */
static enum map_result
look_up(const struct sni_maps *m, struct span name, struct arena *a, struct map_hit *hit_r, struct fault *why)
{
	enum map_result got = maps_find(m->maps, name, NULL, a, hit_r, why);

	for (size_t i = 1; got == MAP_ABSENT && i < name.n; i++)
		if (name.p[i] == '.')
			got = maps_find_partial(m->maps, span_from(name, i), NULL, a, hit_r, why);
	return got;
}

static struct tls_chain *
parse(struct keeper *k, const struct map_hit *hit, struct span name, bool *later_r, struct fault *why)
{
	struct tls_opener o = keeper_opener(k, later_r);
	struct tls_chain *chain = NULL;
	struct buf pem;

	buf_init(&pem, TLS_FILE_MAX);
	if (tls_sni_value_pem(&o, hit->value, &pem, why))
		chain = tls_chain_parse(buf_span(&pem), "its files", why);
	if (pem.p != NULL)
		OPENSSL_cleanse(pem.p, pem.cap);
	buf_release(&pem);
	if (chain == NULL && hit->line > 0 && hit->file.n > 0)
		fault_prefix(why, "tls_server_sni_maps: %.*s:%u: server name %.*s", SPAN_ARG(hit->file), hit->line, SPAN_ARG(name));
	else if (chain == NULL)
		fault_prefix(why, "tls_server_sni_maps: %.*s: server name %.*s", SPAN_ARG(span_slice(hit->table, 0, 200)), SPAN_ARG(name));
	return chain;
}

/* A full cache starts anew: names are the administrator's, but .parent keys let clients invent some. */
static struct sni_entry *
keep(struct keeper *k, struct sni_maps *m, struct span name, struct tls_chain *chain)
{
	struct sni_entry *e = find_entry(m, name);

	if (e == NULL) {
		if (m->entries.count >= NAMES_MAX)
			HMAP_EACH(n, &m->entries)
				drop_entry(m, HMAP_ENTRY(n, struct sni_entry, by_name));
		e = calloc(1, sizeof(*e));
		ensure(e != NULL && (e->name = strndup(name.p, name.n)) != NULL);
		hmap_add(&m->entries, &e->by_name, span_hash(name));
	}
	tls_chain_unref(&e->chain);
	e->chain = chain;
	e->stale = false;
	ring_add(k->ring, chain, m->use);
	return e;
}

/* What is in use stays when what came is worse. */
static enum chain_state
fall_back(struct sni_entry *old, struct tls_chain **chain_r, const struct fault *why)
{
	if (old == NULL) {
		log_warning(NULL, "%s", why->text);
		return CHAIN_BROKEN;
	}
	log_warning(NULL, "%s; the certificates in use stay", why->text);
	old->stale = false;
	*chain_r = old->chain;
	return CHAIN_HERE;
}

static enum chain_state
look_again(struct keeper *k, struct sni_maps *m, struct span name, struct arena *a, struct tls_chain **chain_r,
    struct fault *why)
{
	struct sni_entry *old = find_entry(m, name);
	struct tls_chain *chain;
	struct map_hit hit;
	bool later = false;

	switch (look_up(m, name, a, &hit, why)) {
	case MAP_FOUND:
		break;
	case MAP_ABSENT:
		if (old != NULL)
			drop_entry(m, old);
		return CHAIN_ABSENT;
	case MAP_DEFER:
	case MAP_WAIT:
		fault_prefix(why, "tls_server_sni_maps");
		log_warning(NULL, "%s", why->text);
		return CHAIN_BROKEN;
	}
	chain = parse(k, &hit, name, &later, why);
	if (later) {
		tls_chain_unref(&chain);
		return CHAIN_LATER;
	}
	if (chain == NULL)
		return fall_back(old, chain_r, why);
	if (old != NULL && !chain_fit(chain, old->chain, why)) {
		fault_prefix(why, "server name %.*s", SPAN_ARG(name));
		tls_chain_unref(&chain);
		return fall_back(old, chain_r, why);
	}
	*chain_r = keep(k, m, name, chain)->chain;
	return CHAIN_HERE;
}

enum chain_state
sni_find(struct keeper *k, struct span value, struct span name, struct tls_chain **chain_r, struct fault *why)
{
	struct sni_maps *m = find_maps(k, value);
	struct sni_entry *e;
	enum chain_state state;
	struct arena *a;

	*chain_r = NULL;
	if (m == NULL || m->maps == NULL || !dns_name_is_host(name)) {
		fault_set(why, NULL, m == NULL ? "tls_server_sni_maps: no such tables" : "tls_server_sni_maps: no usable table or name");
		return CHAIN_BROKEN;
	}
	e = find_entry(m, name);
	if (e != NULL && !e->stale) {
		*chain_r = e->chain;
		return CHAIN_HERE;
	}
	a = arena_new(ARENA_BYTES);
	state = look_again(k, m, arena_lower(a, name), a, chain_r, why);
	arena_free(&a);
	ERR_clear_error();
	return state;
}

void
sni_sweep(struct keeper *k, int64_t before_us)
{
	LIST_EACH(n, &k->sni) {
		struct sni_maps *m = LIST_ITEM(n, struct sni_maps, node);

		if (!m->wanted && m->unwanted_us < before_us) {
			maps_drop(m);
			continue;
		}
		if (!m->wanted)
			continue;
		HMAP_EACH(e, &m->entries)
			ring_add(k->ring, HMAP_ENTRY(e, struct sni_entry, by_name)->chain, m->use);
	}
}

void
sni_release(struct keeper *k)
{
	while (!list_empty(&k->sni))
		maps_drop(LIST_ITEM(k->sni.next, struct sni_maps, node));
}
