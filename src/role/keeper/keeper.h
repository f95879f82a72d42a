/*
 * keeper: the process that holds private keys, the tables and files of tls_server_sni_maps, and
 * the roots of ticket keys. It opens no file and no socket: master hands it descriptors.
 *
 * The main thread reads files, answers for chains and ticket keys, and logs. One thread per core
 * signs: it waits for the workers' channels, takes one question, answers it, goes on. What the
 * threads share with the main one is the ring of keys (ring.c) and the list of askers (serve.c).
 */
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>

#include "base/hmap.h"
#include "maps/maps.h"
#include "role/common/role.h"
#include "tls/credentials.h"
#include "tls/keeper.h"
#include "tls/tickets.h"

/* --- ring.c: keys by the digest of their public half. Safe in any thread. --- */

struct key_use {
	bool server : 1;        /* smtpd may sign with it */
	bool client : 1;        /* smtpc may */
	bool decrypt : 1;       /* RSA key exchange: a listener's level is may */
};

struct ring;
struct ring *ring_new(void);
void ring_free(struct ring **r);
/* The keys of a chain are in use (again). */
void ring_add(struct ring *r, const struct tls_chain *c, struct key_use use);
/*
 * Between begin and end every key that is still wanted is added again; the others are kept for
 * `keep_us` more (sessions and workers of the last configuration), then wiped.
 */
void ring_begin(struct ring *r);
void ring_end(struct ring *r, int64_t now_us, int64_t keep_us);
/* A reference (EVP_PKEY_free) to the key; NULL when there is none. */
EVP_PKEY *ring_find(struct ring *r, struct span id, struct key_use *use_r);
/*
 * Setting up a signature costs the library more than an ECDSA signature: done once for each key and scheme, copied then.
 * A context (EVP_MD_CTX_free) of the key that ring_find() found; NULL when there is none yet. They go with their key.
 */
EVP_MD_CTX *ring_ready(struct ring *r, struct span id, uint16_t scheme);
void ring_set_ready(struct ring *r, struct span id, uint16_t scheme, const EVP_MD_CTX *md);
size_t ring_count(struct ring *r);

/* --- sign.c: what a key is used for, pure but for the key. Safe in any thread. --- */

/* Sign `text` for this role (IPC_ROLE_SMTPD, IPC_ROLE_SMTPC), if it is a handshake of that side. False + why. */
bool keeper_sign(struct ring *r, unsigned role, struct span key, uint16_t scheme, struct span text, uint8_t *sig_r,
    size_t *n, struct fault *why);
bool keeper_decrypt(struct ring *r, unsigned role, struct span key, unsigned client_version, unsigned version,
    struct span text, uint8_t premaster_r[48], struct fault *why);

/* --- serve.c: the workers' channels and the threads --- */

/* A question that the main thread answers; its asker waits. */
struct asker;
struct ask {
	struct list node;
	struct asker *asker;
	unsigned role;
	unsigned type;
	uint64_t id;
	struct buf payload;
};

struct server;
struct server *server_new(struct ring *ring);
void server_add(struct server *s, unsigned role, unsigned index, int fd);
/* Begin: `threads` of them; `on_ask` is called from the loop, and must call server_answer or server_refuse. */
void server_start(struct server *s, struct loop *l, unsigned threads, void (*on_ask)(void *ctx, struct ask *a), void *ctx);
/* Send the answer; `a` is gone afterwards. */
void server_answer(struct server *s, struct ask *a, unsigned type, struct span payload);
/* What was asked is no question for keeper: the channel is closed; `a` is gone. */
void server_refuse(struct server *s, struct ask *a, const char *text);
/* KEEPER_CHANGED to everybody. */
void server_tell_changed(struct server *s);
struct server_counts {
	uint64_t signatures, refused;
	unsigned askers;
};
struct server_counts server_counts(struct server *s);
/* Only for tests: wait for the threads to end. */
void server_free(struct server **s);

/* --- the state --- */

enum chain_state { CHAIN_HERE, CHAIN_ABSENT, CHAIN_BROKEN, CHAIN_LATER };

/* The chains of one set of parameters. */
struct chain_set {
	struct list node;
	char *spec;                     /* tls_chain_spec() */
	char *strings;
	struct tls_chain_params p;
	struct key_use use;
	bool wanted;                    /* the configuration has it */
	bool dirty;                     /* a file of it changed */
	int64_t unwanted_us;
	enum chain_state state;
	struct tls_chain *chain;
	struct fault why;
};

struct sni_entry {
	struct hmap_node by_name;
	char *name;
	struct tls_chain *chain;        /* NULL: no entry for this name */
	bool stale;                     /* look again */
};

/* One value of tls_server_sni_maps. */
struct sni_maps {
	struct list node;
	char *value;
	struct maps *maps;
	struct key_use use;
	bool wanted;
	int64_t unwanted_us;
	struct hmap entries;
};

struct ticket_line {
	struct list node;
	int64_t life_s;
	bool wanted;
	struct tls_ticket_line line;
};

struct keeper {
	struct role *role;
	struct ring *ring;
	struct server *server;
	struct list sets, sni, lines;
	struct loop_timer settle;       /* files changed: look when they stopped changing */
	struct loop_timer again;        /* and once more, when the tables have looked too */
	struct loop_timer sweep;
	struct loop_timer epoch;
};

/* chains.c */
void chains_configure(struct keeper *k);
void chains_file_changed(struct keeper *k, const char *path);
/* Read again what changed; true when something was taken. */
bool chains_reload(struct keeper *k);
struct chain_set *chains_find(struct keeper *k, struct span spec);
/* May `fresh` take the place of `old` (NULL: nothing is in use)? False + why: out of date, incomplete. */
bool chain_fit(const struct tls_chain *fresh, const struct tls_chain *old, struct fault *why);
/* The keys of all sets are wanted; sets that the configuration has not had since then go. */
void chains_sweep(struct keeper *k, int64_t before_us);
void chains_release(struct keeper *k);

/* sni.c */
void sni_configure(struct keeper *k);
void sni_mark_stale(struct keeper *k);
/* CHAIN_LATER: a file was asked for. */
enum chain_state sni_find(struct keeper *k, struct span maps, struct span name, struct tls_chain **chain_r, struct fault *why);
void sni_sweep(struct keeper *k, int64_t before_us);
void sni_release(struct keeper *k);

/* keeper.c: is this smtpd's level may (RSA key exchange is possible)? */
bool keeper_level_may(const struct conf_service *cs);
/* Which keys are wanted now */
void keeper_sweep_keys(struct keeper *k);
/* An opener for credentials: only what master handed over; what it has not is asked for. */
struct tls_opener keeper_opener(struct keeper *k, bool *asked_r);
