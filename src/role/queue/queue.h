/*
 * The queue role: the one process that reads and writes the spool and decides when
 * what is tried. Inside the role only.
 *
 * A message is a small `struct message` for as long as it exists; while it is being
 * delivered it also has a `struct active` with the envelope, the recipients' progress
 * and (within a bound) the content. Its way:
 *
 *     WRITING    the create is under way; the sender waits
 *     INCOMING   durable, waits for room among the active
 *     ACTIVE     loaded, routed, delivered, reported, journaled (enum phase)
 *     DEFERRED   in the heap of due times        HELD    until released
 *     REMOVING   its file is being unlinked
 */
#pragma once

#include "base/clock.h"
#include "base/heap.h"
#include "base/hmap.h"
#include "base/log.h"
#include "base/panic.h"
#include "mail/envelope.h"
#include "role/common/role.h"
#include "role/queue/retry.h"
#include "role/queue/sched.h"
#include "store/state.h"
#include "store/store.h"

enum {
	QUEUE_INLINE_MAX = 65536,               /* content that travels inside messages */
	QUEUE_CACHE_BYTES = 64 << 20,           /* content of active messages that is kept in memory */
	QUEUE_PENDING_BYTES = 128 << 20,        /* content that waits for the disk: beyond, 4xx */
	QUEUE_ARENA_MAX = 256 << 20,
	QUEUE_RECORDS_MAX = 16 << 20,
	QUEUE_COMPACT_BYTES = 256 << 10,        /* records of one message, then they are written anew */
	QUEUE_CRASHES_MAX = 3,
};

enum message_stage {
	STAGE_WRITING,
	STAGE_INCOMING,
	STAGE_ACTIVE,
	STAGE_DEFERRED,
	STAGE_HELD,
	STAGE_REMOVING,
};

struct journal;

struct message {
	struct hmap_node by_qid;
	struct list all;                /* queue->all, in the order in which we learned of it */
	struct list line;               /* queue->incoming */
	struct heap_node due;           /* DEFERRED: wall clock of the next attempt */
	char qid[STORE_QID_MAX + 1];
	uint8_t stage;                  /* enum message_stage */
	uint8_t crashes;                /* agents that died with it in flight */
	bool unverified : 1;            /* found at start: content not checked yet */
	bool expire : 1;                /* by the administrator: fail what does not work now */
	bool retry : 1;                 /* came out of DEFERRED into ACTIVE */
	bool want_hold : 1;             /* when its deliveries under way have ended */
	bool want_delete : 1;
	bool flush : 1;                 /* asked for while active: again at once */
	struct store_place place;
	int64_t arrival_us;             /* wall clock */
	uint32_t *sites;                /* hashes of recipient domains, for flush of a site */
	uint32_t n_sites;
	struct journal *journal;        /* records on their way to the disk; NULL = none */
	struct active *active;
};

enum phase { PHASE_LOAD, PHASE_ROUTE, PHASE_RUN, PHASE_REPORT };

struct notice;

/* What a message needs while it is being delivered. */
struct active {
	struct queue *q;
	struct message *m;
	struct arena *arena;
	struct envelope env;
	struct mail_state st;
	struct span env_text;           /* for the agents: without recipients */
	char *content;                  /* NULL = not in memory */
	size_t content_bytes;
	int fd;                         /* -1 = not open */
	uint64_t fd_offset;
	enum phase phase;
	bool alone : 1;                 /* counted in queue->suspects_running */
	bool crashed : 1;               /* an agent died in this pass */
	bool busy : 1;                  /* a LOAD is under way */
	struct store_op load;
	struct asks *asks;
	uint32_t left;                  /* recipients of this pass without an outcome */
	unsigned running;               /* deliveries under way */
	struct list jobs;
	int64_t active_us;              /* wall clock: came into the active queue */
	struct notice *notices;         /* reports to be made, in order; arena */
	struct list waiting;            /* queue->suspects, queue->reporters */
	struct loop_task next;          /* goes on from the loop */
};

/* One destination's part of a message. In the active's arena. */
struct job {
	struct list node;
	struct sched_job sj;
	struct active *a;
	struct sched_transport *transport;
	struct span key, nexthop;
	bool passed;                    /* another agent passed it on */
};

/* A place in queue->all that stays good when messages go. */
struct cursor {
	struct list node;
	struct message *next;
};

struct queue {
	struct role *role;
	struct loop *loop;
	const struct store_io *disk;    /* NULL = the real one, with threads; the simulator's is run by hand (store_run) */
	struct store *store;
	struct sched *sched;
	const struct params *params;
	struct hmap messages;
	struct list all;
	struct list incoming;
	struct heap due;
	struct list cursors;
	struct list stuck;              /* journals that wait to be tried again */
	struct list suspects;           /* active messages that wait to run apart */
	struct list reporters;          /* active messages that wait to have a report made */
	struct list handed;             /* deliveries in the agents' hands */
	struct list rolls;              /* agents that were asked what they have in hand */
	struct loop_timer roll_timer;
	unsigned suspects_running;
	bool suspect_alone;
	unsigned active_count, active_retries, deliveries, notices_running;
	size_t count[STAGE_REMOVING + 1];
	uint64_t cache_bytes, pending_bytes;
	uint64_t accepted, removed;     /* since the start */
	bool take_deferred;             /* whose turn it is when there is room */
	bool scanning;
	bool choked;                    /* the agents have enough to do */
	int64_t alone_since_us[IPC_ROLE_COUNT];         /* no agent of that role since then; 0 = there is */
	struct loop_task work;          /* activate and dispatch */
	struct loop_timer timer;
	struct loop_timer stuck_timer;
	struct loop_timer tmp_timer;    /* the oldest of tmps has had its time */
	struct list sweeps, listings, tmps;
	unsigned n_tmps;
	struct transports *transports;
	struct resolve *resolve;
	char *error_tag;                /* what suspended deliveries are logged as */
	char *postsuper_tag;            /* what an administrator does is logged as */
};

/* ---- message.c */
struct message *message_new(struct queue *q, struct span qid);
struct message *message_find(struct queue *q, struct span qid);         /* NULL = unknown */
void message_free(struct queue *q, struct message *m);
/* Move to a stage, in or out of the lists and the heap that belong to it. `due_us` for DEFERRED. */
void message_stage(struct queue *q, struct message *m, enum message_stage stage, int64_t due_us);
struct log message_log(const struct message *m);
uint32_t message_site_hash(struct span domain);
void message_set_sites(struct message *m, const struct envelope *e, const struct mail_state *st);
void cursor_start(struct queue *q, struct cursor *c, struct message *at);
struct message *cursor_next(struct queue *q, struct cursor *c);
void cursor_stop(struct cursor *c);
/* Time has come or room is there: look from the loop. */
void queue_wake(struct queue *q);

/* ---- journal.c: records of one message reach the disk in order, one operation at a time */
/* Where to append record lines; journal_send afterwards. */
struct buf *journal_records(struct queue *q, struct message *m);
void journal_send(struct queue *q, struct message *m);
/* Instead of all records so far, these; journal_send afterwards. */
void journal_replace(struct queue *q, struct message *m, const struct mail_state *st);
/* Unlink the message (after what is under way) and forget it; logs "removed". */
void journal_remove(struct queue *q, struct message *m);
void journal_retry(void *ctx);
/* Shutdown: forget what could not be written. */
void journal_drop(struct queue *q, struct message *m);

/* ---- submit.c */
void submit_message(void *ctx, struct ipc_from from, struct ipc_queue_submit *m);
void submit_tmp(void *ctx, struct ipc_from from, struct ipc_queue_tmp *m);
void submit_tmp_drop(void *ctx, struct ipc_from from, struct ipc_queue_tmp_drop *m);
void submit_peer_down(struct queue *q, uint64_t peer_id);
void submit_expire(void *ctx);
void submit_release(struct queue *q);

/* ---- active.c */
struct active *active_new(struct queue *q, struct message *m);
/* Drop the memory; the message stays where it is. */
void active_free(struct queue *q, struct message *m);
void active_drop_content(struct queue *q, struct active *a);
/* The state of an envelope's recipients before any record: aliases that only have to be reported as expanded stand last. */
void active_state_init(struct active *a);
/* Those that wait to run apart, as far as they may now. */
void active_run_suspects(struct queue *q);
/* Begin an attempt of a message that is INCOMING or DEFERRED. */
void active_begin(struct queue *q, struct message *m);
/* Everybody in this pass may have an outcome: then go on. */
void active_check(struct active *a);
/* No further deliveries in this pass (hold, delete). */
void active_cancel(struct active *a);
/* Reports are made: journal, and leave the active queue. */
void active_settle(struct active *a);

/* ---- route.c */
/* Route what is to do and queue it; goes on by itself when answers come. */
void route_begin(struct active *a);
/* An agent found that these belong to that transport (transport[:nexthop]); without a next hop, to `nexthop` there. */
void route_pass(struct active *a, const uint32_t *rcpts, size_t n, struct span transport, struct span nexthop);

/* ---- deliver.c */
/* Start what may start. */
void deliver_dispatch(struct queue *q);
void deliver_peer_up(struct queue *q, struct ipc_peer *p);

/* Every delivery given to that agent before the question `roll_id`, and not in its list, is lost. */
struct ipc_deliver_rolled;
void deliver_check_roll(struct queue *q, uint64_t peer_id, uint64_t roll_id, const struct ipc_deliver_rolled *m);

/* ---- roll.c */
/* Ask every agent what it has in hand; its own timer. */
void roll_call(void *ctx);
/* That agent is alive. */
void roll_heard(struct queue *q, uint64_t peer_id);
void roll_release(struct queue *q);

/* ---- bounce.c */
/* Make the reports that are due, then active_settle. */
void bounce_begin(struct active *a);

/* ---- transport.c */
struct transports *transports_new(struct queue *q);
void transports_free(struct transports **t);
void transports_reload(struct queue *q);
void transport_limits(void *ctx, struct span name, struct sched_limits *limits_r, void **user_r);
/* The role that serves it; IPC_ROLE_COUNT = nobody. */
unsigned transport_role(const struct sched_transport *t);
/* Listed in defer_transports. */
bool transport_deferred(const struct sched_transport *t);

/* ---- admin.c, list.c */
void admin_request(void *ctx, struct ipc_from from, struct ipc_queue_admin *m);
void admin_cat(void *ctx, struct ipc_from from, struct ipc_queue_cat *m);
void admin_sweep(struct queue *q);
/* State number of messages.tab. */
uint8_t admin_state(const struct message *m);
void admin_release(struct queue *q);
void list_request(void *ctx, struct ipc_from from, struct ipc_queue_list *m);
void list_forget(struct queue *q);

/* ---- recover.c */
void recover_begin(struct queue *q);

/* ---- queue.c: give everything back, when nothing is under way (tests) */
void queue_release(struct role *r);
