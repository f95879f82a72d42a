/*
 * What one piece of work (a transaction, a route, a delivery) has asked and learned: a
 * memo of questions to the lookup and resolver roles. Rules are straight code: a known
 * answer returns at once, an unknown one is sent off and MAP_WAIT is returned; the
 * rule returns it up the stack, and when all answers are in, `ready` is called from
 * the loop and the owner runs the whole rule again.
 *
 * Limits: ASKS_MAX questions and ASKS_BYTES of answers in one piece of work; beyond,
 * a question is MAP_DEFER.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct asks_link;
struct dns_answer;
struct loop;

#define ASKS_MAX 20000u
#define ASKS_BYTES (8u << 20)

/*
 * The way out of the process: one per role. Each function sends a question and returns
 * false when it cannot (peer gone, queue full): that question is then MAP_DEFER.
 * They must not answer from inside the call.
 */
struct asks_ops {
	bool (*map)(void *ctx, uint64_t id, struct span table, struct span key);
	bool (*dns)(void *ctx, uint64_t id, struct span name, uint16_t type);
};

/*
 * `timeout_ms`: an unanswered question becomes MAP_DEFER "lookup timed out". Tables have 30 s at most; when one was not answered
 * in time, all fail at once for a while, and then those that are tried have a sixth of the time, until one is answered. `ops` is kept by pointer.
 */
struct asks_link *asks_link_new(struct loop *loop, const struct asks_ops *ops, void *ctx, int64_t timeout_ms);
/* All its asks must have been freed. */
void asks_link_free(struct asks_link **link);

/*
 * Answers, by the id of the question. False when nobody waits for it any more (timed out,
 * asks freed or cleared): drop it. Everything is copied. `result` is FOUND, ABSENT or DEFER;
 * `why` may be NULL and is for DEFER.
 */
bool asks_answer_map(struct asks_link *link, uint64_t id, enum map_result result, struct span value,
    const struct fault *why);
/*
 * A DNS answer is built in the arena of the asks that wants it: take the arena (NULL when nobody
 * waits any more), decode into it, then hand over what was decoded (NULL = it could not be).
 */
struct arena *asks_answer_arena(struct asks_link *link, uint64_t id);
bool asks_answer_dns(struct asks_link *link, uint64_t id, const struct dns_answer *answer);
/* The peer is gone: every question sent through it is answered with MAP_DEFER. */
void asks_lost_map(struct asks_link *link);
void asks_lost_dns(struct asks_link *link);

/* `ready(ctx)` is called from the loop, never from inside a call, when the last outstanding answer is in. */
struct asks *asks_new(struct asks_link *link, void (*ready)(void *ctx), void *ctx);
void asks_free(struct asks **asks);
/* Forget everything, wanted or known (RSET); `ready` will not be called for it. Answers handed out die. */
void asks_clear(struct asks *asks);
/* Questions without an answer yet. */
size_t asks_waiting(const struct asks *asks);

/*
 * Ask the lookup role's `table` ("lmdb:/etc/x") for `key`. `*value_r` lives in `a`. `asks` may be
 * NULL: MAP_DEFER. `why` may be NULL.
 */
enum map_result asks_map(struct asks *asks, struct span table, struct span key, struct arena *a,
    struct span *value_r, struct fault *why);

/*
 * Ask the resolver. MAP_FOUND (an answer object, whatever its status: a timeout is one with status
 * failed) or MAP_WAIT. The answer lives until asks_clear or asks_free.
 */
enum map_result asks_dns(struct asks *asks, struct span name, uint16_t type,
    const struct dns_answer **answer_r);

/*
 * Ask somebody whom the owner knows itself (a policy service): `send` returns false when it cannot, and must not
 * answer from inside the call; the answer comes by asks_answer_map(). `who` tells services apart. The question has
 * its own deadline; the service is expected to keep a shorter one.
 */
struct asks_way {
	bool (*send)(void *ctx, uint64_t id, struct span who, struct span question);
	void *ctx;
	int64_t timeout_ms;
};
enum map_result asks_other(struct asks *asks, const struct asks_way *way, struct span who, struct span question,
    struct arena *a, struct span *value_r, struct fault *why);
/* Does anybody still wait for the answer? */
bool asks_wants(const struct asks_link *link, uint64_t id);
