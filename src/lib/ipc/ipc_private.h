/* What the generated codec and the frame layer share. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/rd.h"
#include "ipc/ipc.h"

#define IPC_FRAME_MAX (8u << 20)
#define IPC_ARENA_MAX (64u << 20)

typedef void ipc_any_fn(void);
enum ipc_dispatch { IPC_HANDLED, IPC_UNWANTED, IPC_GARBLED };

/*
 * Start a frame to `to`: where to encode the payload, or NULL when the peer is dead or
 * choked. A duplicate of `fd` goes with it (-1 = none).
 */
struct buf *ipc_frame_begin(struct ipc_peer *to, unsigned type, uint64_t id, int fd);
bool ipc_frame_end(struct ipc_peer *to);
uint64_t ipc_new_id(struct ipc_peer *to);
void ipc_wait_add(struct ipc_peer *to, uint64_t id, unsigned asked, unsigned answer, int64_t timeout_ms,
    ipc_any_fn *fn, void *ctx);

void ipc_put(struct buf *b, uint64_t v, size_t bytes);
/* Texts (max <= 4096) are cut; longer ones mark the frame as full, and the send fails. */
void ipc_put_bytes(struct buf *b, struct span s, size_t max);
/* A u32 count of at most `max` that the rest of the frame can hold. */
size_t ipc_count(struct rd *r, size_t max);
void ipc_show_bytes(struct buf *b, const char *name, struct span s);

/* Generated. */
bool ipc_is_answer(unsigned type);
bool ipc_may_send(unsigned from, unsigned to, unsigned type);
enum ipc_dispatch ipc_dispatch(const struct ipc_handlers *on, void *ctx, unsigned type, struct ipc_from from,
    struct span payload, int *fd, struct arena *a);
void ipc_wait_call(unsigned asked, ipc_any_fn *fn, void *ctx, enum ipc_result result, struct span payload,
    int *fd, struct arena *a);
void ipc_print(struct buf *b, unsigned type, struct span payload, struct arena *a);
