/*
 * The worker's end of keeper, which holds every private key: one channel per process (our keys
 * are the process's, not a session's). Questions block, for at most a second: signing is the one
 * thing that a TLS library cannot be made to wait for. While an answer is overdue further
 * questions fail at once, so that a keeper that hangs costs handshakes, not the worker's time.
 *
 * Without tls_keeper_require() keys are read from files in this process (tests, tools, the
 * benchmark's comparison).
 */
#pragma once

#include "base/loop.h"
#include "tls/client_ctx.h"
#include "tls/server_ctx.h"

enum { TLS_KEY_ID_BYTES = 32 };         /* SHA-256 of the public key (SubjectPublicKeyInfo) */

/* From now on keys come from keeper or not at all. `generation` of the configuration that this process runs. */
void tls_keeper_require(uint32_t generation);
bool tls_keeper_required(void);
/* A connected stream socket (owned from now on); replaces an earlier one. */
void tls_keeper_set_channel(int fd);
/* Watch the channel: `changed` is called from the loop when keeper says that files changed, and when a new channel came. */
void tls_keeper_watch(struct loop *l, void (*changed)(void *ctx), void *ctx);
void tls_keeper_release(void);
/* Could a signature be had now? False + why (logged once): the process is not there, or an answer is overdue. Waits for nothing. */
bool tls_keeper_ready(struct fault *why);

/* How long a process waits for its chains: at its start, while keeper may still be reading. */
enum { TLS_KEEPER_START_MS = 5000 };

/*
 * The chains of these parameters with keys that keeper uses for us. *chain_r is NULL when
 * nothing is configured. False + why naming parameter and file, or what keeper said.
 */
bool tls_keeper_chains(const struct tls_chain_params *p, struct tls_chain **chain_r, struct fault *why);

/* The chain for an SNI name from the tables in `maps` (value of tls_server_sni_maps). DEFER fills `why`. */
enum tls_sni { TLS_SNI_FOUND, TLS_SNI_ABSENT, TLS_SNI_DEFER };
enum tls_sni tls_keeper_sni(const char *maps, const char *name, struct tls_chain **chain_r, struct fault *why);

/* The ticket keys for this life; *next_ms_r = when to ask again. False: none (then there are no tickets). */
bool tls_keeper_tickets(int64_t life_s, struct tls_ticket_keys *keys_r, int64_t *next_ms_r);

/* --- for the provider --- */
/* `sig_r` holds `*n` bytes; on success *n is the signature's length. */
bool tls_keeper_sign(const uint8_t key[TLS_KEY_ID_BYTES], uint16_t scheme, struct span text, uint8_t *sig_r, size_t *n,
    struct fault *why);
/* RSA key exchange (TLS 1.2 at level may): always 48 bytes, random ones when the padding is wrong. */
bool tls_keeper_decrypt(const uint8_t key[TLS_KEY_ID_BYTES], uint16_t client_version, uint16_t version, struct span text,
    uint8_t premaster_r[48], struct fault *why);

/* A private key that is this public one, used through keeper. NULL + why: a type that we cannot serve. Caller frees. */
EVP_PKEY *tls_keeper_key(EVP_PKEY *pub, struct fault *why);
bool tls_key_id(EVP_PKEY *pub, uint8_t id_r[TLS_KEY_ID_BYTES]);

/* The spec of a chain as keeper knows it: "prefix\nchain_files\ncert\nkey\n..." */
void tls_chain_spec(const struct tls_chain_params *p, struct buf *spec_r);
