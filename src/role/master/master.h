/*
 * master: validates the configuration, binds, opens what only root may, starts the
 * roles by fork and exec of the same binary, introduces them to each other, restarts
 * what dies, and reloads. It parses nothing but the configuration and its own children's messages.
 */
#pragma once

#include "base/hmap.h"
#include "conf/conf.h"
#include "ipc/messages.h"
#include "role/roles.h"

/* One kind of role: how many, and how it lives through a reload. */
struct master_kind {
	unsigned role;
	bool per_core;          /* else exactly one */
	bool renewed;           /* a reload starts new processes; else it gets ROLE_CONF */
	bool sleeps;            /* now and then on keeper: half as many more, or cores idle */
};

struct child {
	struct list node;
	struct master *m;
	const struct master_kind *kind;
	struct ipc_peer *peer;
	pid_t pid;
	unsigned index;
	bool ready, leaving, said_bye;
	int64_t started_us;
};

/* A place that must be filled: restarts with back-off. */
struct slot {
	struct list node;
	struct master *m;
	const struct master_kind *kind;
	struct child *child;
	struct loop_timer again;
	unsigned failures;      /* in a row */
};

struct listener {
	struct list node;
	char *service, *address;
	int fd;
	bool seen;              /* still wanted by the new configuration */
	bool submit_path;       /* a unix socket, unlinked at the end */
};

struct watched_file {
	struct list node;
	char *path;
	int64_t mtime_ns;
	uint64_t ino, size;
	bool there;
	bool keeper_only;       /* private keys, or tables of them */
	bool on_demand;         /* keeper asked for it, and asks again when it starts anew */
};

struct served;

/* A child that builds a table; what it has to say comes through a pipe, one line each. */
struct builder {
	pid_t pid;              /* 0 = none */
	int fd;
	struct loop_fd watch;
	struct buf in;
};

struct master {
	const struct master_options *o;
	struct loop *loop;
	struct ipc_hub *hub;
	struct ipc_handlers on;
	struct conf *conf;
	int conf_fd;
	uint32_t generation;
	bool as_root, stopping, announced;
	unsigned cores;
	int stop_stage;
	struct list children, slots, listeners, files;
	struct loop_signal chld, term, intr, hup;
	struct loop_timer poll, deadline;
	int shared_counters;
	int lock_fd;
	struct served *served;          /* hash: tables to keep built */
	struct arena *served_arena;
	struct builder builder;         /* the child that builds one of them */
	char tag[64];
};

/* children.c */
void children_start(struct master *m);
/* New processes for the roles that are renewed; the old ones drain. Singletons get the values. */
void children_renew(struct master *m);
void children_reap(struct master *m);
void children_stop(struct master *m);
/* That process hangs. */
void children_end(struct master *m, unsigned role, unsigned index);
void child_gone_from_hub(struct master *m, struct ipc_peer *p);
void children_tell_file(struct master *m, const struct watched_file *f);
/* A file that keeper asked for. */
void children_give_keeper(struct master *m, struct span path);
void master_status_json(struct master *m, struct buf *json);

/* listen.c: false (and log lines) when a new configuration's address cannot be bound. */
bool listeners_open(struct master *m, const struct conf *conf);
void listeners_close(struct master *m, bool only_unseen);

/* files.c: tables that master opens for the others */
void files_collect(struct master *m, const struct conf *conf);
void files_poll(struct master *m);
int files_open(const struct watched_file *f);
/* A PEM file for keeper, watched from now on; NULL with a fault: no file that we open for it. */
struct watched_file *files_add_pem(struct master *m, struct span path, struct fault *why);

/* builder.c: tables that we build (hash: and its kin) */
/* All that are due, one after the other, waiting for each: before the roles run. */
void builder_run_all(struct master *m);
/* The next one that is due, in the background. */
void builder_poll(struct master *m);
/* True when the dead child was the builder. */
bool builder_ended(struct master *m, pid_t pid);

/* spool.c: directories, ownership, marker and lock; false with a fault */
bool spool_prepare(struct master *m, struct fault *why);
int maillog_open(struct master *m, struct fault *why);
void notify_systemd(const char *state);
