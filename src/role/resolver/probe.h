/*
 * Do these servers hand out DNSSEC signatures? One query for ". NS" with the DO bit to each,
 * sent twice; a server is good when its answer has a signature in it.
 */
#pragma once

#include "base/span.h"

struct loop;
struct probe;

/* `good`: those of the servers that do, in the same notation; `answered`: some server said something. */
typedef void probe_fn(void *ctx, struct span good, bool answered);

/*
 * `servers`: "addr[@port] ...", at most 16 of them. `recurse` = they are resolvers, else
 * authoritative. `fn` is called once from the loop, after `timeout_ms` at most.
 */
struct probe *probe_new(struct loop *l, struct span servers, bool recurse, int64_t timeout_ms, probe_fn *fn, void *ctx);
/* Nobody is called any more. May be called from inside `fn`. */
void probe_free(struct probe **p);
