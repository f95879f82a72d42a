/* The hub and its peers, as ipc.c and wait.c see them. */
#pragma once

#include "base/heap.h"
#include "base/hmap.h"
#include "base/ioq.h"
#include "ipc/ipc_private.h"
#include "ipc/messages.h"

#define IPC_FDS_QUEUED 64

/* A descriptor to send: it leaves with the byte at stream offset `at`. */
struct ipc_out_fd {
	uint64_t at;
	int fd;
};

struct ipc_peer {
	struct list node;               /* in hub->peers or hub->closing */
	struct ipc_hub *hub;
	struct loop_fd watch;
	uint64_t id;
	unsigned role, index;
	int fd;
	bool closing;
	struct buf in;
	int in_fds[IPC_FDS_QUEUED];
	size_t n_in_fds;
	struct buf frame;               /* being encoded */
	unsigned frame_type;
	uint64_t frame_id;
	int frame_fd;
	struct ioq out;
	uint64_t queued, sent;          /* stream offsets */
	struct ipc_out_fd out_fds[IPC_FDS_QUEUED];
	size_t n_out_fds;
	struct list waits;              /* questions asked of this peer */
};

struct ipc_wait {
	struct hmap_node by_id;
	struct heap_node due;
	struct list of_peer;
	uint64_t id;
	unsigned asked, answer;
	ipc_any_fn *fn;
	void *ctx;
};

struct ipc_hub {
	struct loop *loop;
	struct loop_hook hook;
	struct loop_timer timer;        /* earliest deadline */
	struct loop_task reap;
	struct ipc_hub_ops ops;
	unsigned self;
	struct list peers, closing;
	uint64_t last_id, last_peer_id;
	unsigned turn[IPC_ROLE_COUNT];  /* round robin */
	struct hmap waits;
	struct heap due;
	struct arena *scratch;          /* decoded messages; cleared after each */
};

void ipc_waits_init(struct ipc_hub *hub);
void ipc_waits_release(struct ipc_hub *hub);
/* Deliver an answer from `p`; false when nobody waits for it (late or forgotten: harmless). */
bool ipc_wait_answer(struct ipc_peer *p, uint64_t id, unsigned type, struct span payload, int *fd);
/* Every question to `p` is lost. */
void ipc_waits_lost(struct ipc_peer *p);
