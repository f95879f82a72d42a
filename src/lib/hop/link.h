/*
 * A connection to one server of a next hop: socket, byte stream and the client's engine together, driven by the loop.
 * It connects, shakes hands and carries bytes; what the events mean is its owner's business. Deliveries (role smtpc)
 * and `signet tls probe` speak to servers through this.
 *
 * The owner embeds the struct, which must stay where it is, and may release it inside any of its callbacks; one that
 * returns bool then says false.
 */
#pragma once

#include "base/loop.h"
#include "hop/hop.h"
#include "smtp/client.h"
#include "tls/client_ctx.h"
#include "tls/stream.h"

enum hop_link_phase {
	HOP_LINK_CONNECTING,
	HOP_LINK_WRAPPER,               /* TLS before the greeting */
	HOP_LINK_TALK,
	HOP_LINK_HANDSHAKE,             /* behind STARTTLS */
	HOP_LINK_IDLE,                  /* kept by the owner; nothing should come */
	HOP_LINK_CLOSING,               /* QUIT under way */
};

struct hop_link_ops {
	/* The socket is connected: hop_link_talk() and true, or hop_link_start_tls() and false. */
	bool (*ready)(void *owner);
	void (*connect_failed)(void *owner, const char *reason);
	/* The handshake is over. True: go on talking (behind WRAPPER, after hop_link_talk()). */
	bool (*tls_done)(void *owner, bool ok, const char *reason);
	bool (*event)(void *owner, enum smtpc_event ev);
	/* IDLE: its time is over, or (`broken`) the server closed or spoke. */
	void (*idle_over)(void *owner, bool broken);
	/* Bytes as they go by, without TLS; NULL = nobody listens. */
	void (*tap)(void *owner, bool from_server, struct span bytes);
};

struct hop_link {
	const struct hop_link_ops *ops;
	void *owner;
	struct loop *loop;
	const struct params *p;
	struct arena *arena;            /* the owner's; texts of `addr` live there */
	enum hop_link_phase phase;
	int fd;
	bool connected;
	bool answered;                  /* the server said something; the owner may take it back */
	struct stream stream;
	struct smtpc engine;
	bool engine_ready;
	struct hop_address addr;        /* without the facts that it came with */
	char peer[400];                 /* "host[addr]" */
	char peer_port[410];            /* "host[addr]:port" */

	/* private */
	struct loop_fd watch;
	struct loop_timer timer;
	struct loop_task again;         /* decrypted bytes are waiting */
	int64_t deadline_us, armed_us;
};

/* `l` is zeroed, but for ops, owner, loop, p and arena. */
void hop_link_init(struct hop_link *l, const struct hop_address *addr);
/* Closes at once. */
void hop_link_release(struct hop_link *l);

/* Connect, from smtp_bind_address or else `from` (no address = any). ready() or connect_failed() may come inside. */
void hop_link_connect(struct hop_link *l, const struct hop_bind *from);
/* What the parameters say about the conversation; `opt_r` then still wants peer, discard and filter. */
void hop_link_options(const struct params *p, bool lmtp, struct smtpc_options *opt_r);
/* Begin to talk. */
void hop_link_talk(struct hop_link *l, const struct smtpc_options *opt);
/* Shake hands; tls_done() tells, perhaps inside. `d` must live until the verdict; `key` as in stream_start_client(). */
void hop_link_start_tls(struct hop_link *l, enum hop_link_phase phase, struct tls_client_ctx *ctx, const struct tls_decision *d, struct span key);
/* Act on events, write, watch; the owner may have released it when this returns. */
void hop_link_pump(struct hop_link *l);
/* Nothing is to come until then. */
void hop_link_idle(struct hop_link *l, int64_t deadline_us);
/* Polite end: SMTPC_CLOSED or SMTPC_FAILED come. Only when the engine is ready and idle. */
void hop_link_quit(struct hop_link *l);

static inline int64_t
hop_link_now_us(const struct hop_link *l)
{
	return loop_now_us(l->loop);
}
