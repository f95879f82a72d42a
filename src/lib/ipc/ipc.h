/*
 * Messages between roles over stream sockets: frames with an id, at most one
 * descriptor each, a deadline on every question, and a permission table
 * (table/messages.tab). A peer that sends what it may not, or garbage, is closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/loop.h"

struct ipc_handlers;
struct ipc_hub;                 /* all peers of this process, and what it waits for */
struct ipc_peer;

enum ipc_result { IPC_OK, IPC_LOST, IPC_TIMEOUT };

/* Who asked: keep it and reply later; a reply to a peer that is gone is dropped. */
struct ipc_from {
	uint64_t peer_id, id;
	uint8_t role;           /* enum ipc_role of the sender */
	uint16_t index;
};

/* `peer_down` is called from the loop after every pending question to that peer got IPC_LOST. All may be NULL. */
struct ipc_hub_ops {
	const struct ipc_handlers *on;
	void (*peer_up)(void *ctx, struct ipc_peer *p);
	void (*peer_down)(void *ctx, struct ipc_peer *p);
	void *ctx;
};

struct ipc_hub *ipc_hub_new(struct loop *l, unsigned self_role, const struct ipc_hub_ops *ops);
void ipc_hub_free(struct ipc_hub **hub);

/*
 * Take a connected non-blocking stream socket (owned from now on). A peer of the same
 * role and index replaces an older one.
 */
struct ipc_peer *ipc_peer_add(struct ipc_hub *hub, unsigned role, unsigned index, int fd);
/* Close on the next turn of the loop; its questions get IPC_LOST. */
void ipc_peer_close(struct ipc_peer *p);

/*
 * A live peer: by role and index, or any of that role (round robin); NULL when none. Every ipc_send_*
 * and ipc_ask_* takes NULL for a peer that is not there, and then sends nothing.
 */
struct ipc_peer *ipc_peer_at(struct ipc_hub *hub, unsigned role, unsigned index);
struct ipc_peer *ipc_peer_any(struct ipc_hub *hub, unsigned role);
struct ipc_peer *ipc_peer_find(struct ipc_hub *hub, uint64_t peer_id);
unsigned ipc_peer_role(const struct ipc_peer *p);
unsigned ipc_peer_index(const struct ipc_peer *p);
uint64_t ipc_peer_id(const struct ipc_peer *p);
int ipc_peer_fd(const struct ipc_peer *p);              /* for SO_PEERCRED */
/* Bytes queued to the peer and not yet taken by the kernel: for flow control. */
size_t ipc_peer_backlog(const struct ipc_peer *p);
/* Number of live peers of that role. */
unsigned ipc_peer_count(const struct ipc_hub *hub, unsigned role);

/* The asker died: nobody will be called for this id any more. */
void ipc_forget(struct ipc_hub *hub, uint64_t id);

/* Write out what the turn queued; the loop's hook does it, a role that ends calls it. */
void ipc_hub_flush(struct ipc_hub *hub);

const char *ipc_role_name(unsigned role);
const char *ipc_type_name(unsigned type);

/*
 * Blocking forms for start-up and for the command line: the next message from `fd`, waiting
 * at most `timeout_ms`. Its type, 0 at the end of the stream, or -errno. `payload_r` points
 * into `b`; `passed_fd_r` is the descriptor that came with it (the caller's) or -1.
 */
int ipc_read_blocking(int fd, int timeout_ms, struct buf *b, uint64_t *id_r, struct span *payload_r,
    int *passed_fd_r);
/* Send one message; `pass_fd` -1 or a descriptor to pass (stays the caller's). 0 or -errno. */
int ipc_write_blocking(int fd, unsigned type, uint64_t id, struct span payload, int pass_fd);
/* The same within `timeout_ms`. Safe in any thread, as is ipc_read_blocking. */
int ipc_write_within(int fd, int timeout_ms, unsigned type, uint64_t id, struct span payload, int pass_fd);
