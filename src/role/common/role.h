/*
 * What every role shares: the first page of its life (descriptors, configuration, open,
 * drop, sandbox, loop) and its ties to master, the logger and the other roles.
 *
 * A role is a `struct role_spec`; its main page is `open`, `start` and its handlers. Every
 * handler in `on` gets the `struct role *` as ctx; the ROLE_* and STATUS_ASK members of `on` are filled in here.
 */
#pragma once

#include "base/loop.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "ipc/ipc.h"
#include "ipc/messages.h"
#include "maps/asks.h"
#include "maps/maps.h"

struct role;

/* Who a role becomes, of those that do not keep root. The name may be in a static buffer. */
const char *role_user(const struct params *p, bool network, bool keys);
/* The directories that every role but keeper may read. */
void role_reach(const struct conf *c, void (*allow)(void *ctx, const char *path), void *ctx);

/* A socket that master bound: services of master.cf, or our own "submit" and "control". */
struct role_listener {
	const char *service;    /* first column of master.cf, or "submit", "control" */
	const char *address;    /* "127.0.0.1:25", "[::1]:25" or a path; for the log */
	int fd;
};

struct role_spec {
	unsigned role;                  /* IPC_ROLE_* */
	struct ipc_handlers on;
	bool keeps_root;                /* deliver: no drop, no sandbox */
	bool network;                   /* becomes mail_owner's network user where that exists */
	bool keys;                      /* keeper: a user of its own where that exists, no file system, no dumps, memory locked */
	/*
	 * With the privileges of the start, before the loop: open what needs them, name the
	 * directories that stay reachable (role_allow_dir). fatal() on what cannot work.
	 */
	void (*open)(struct role *r);
	/* Confined: build the state, arm the loop. Peers may come and go from now on. */
	void (*start)(struct role *r);
	/* Singletons: r->conf is the new configuration, `old` dies after the call. */
	void (*reconf)(struct role *r, const struct conf *old);
	/* Stop taking new work; call role_done() when what was begun is finished. NULL = at once. `stop` = the whole system stops. */
	void (*drain)(struct role *r, bool stop);
	/* Before `open` already: a socket to another role that this role serves itself (keeper and its askers). True when taken. */
	bool (*take_peer)(struct role *r, unsigned role, unsigned index, int fd);
	/* Master handed over new content of a file, after the start. */
	void (*file_changed)(struct role *r, const char *path);
	void (*peer_up)(struct role *r, struct ipc_peer *p);
	void (*peer_down)(struct role *r, struct ipc_peer *p);
	/* Members of a JSON object for `signet status`: "sessions": 3, ... (no braces, no trailing comma). */
	void (*status)(struct role *r, struct buf *json);
};

struct role {
	const struct role_spec *spec;
	struct loop *loop;
	struct ipc_hub *hub;
	struct conf *conf;
	unsigned index, workers;        /* which of how many of this role */
	uint32_t generation;            /* counts reloads */
	bool as_root;                   /* master runs as root: ids can change */
	bool draining, reloaded;
	bool memory_locked;             /* all of it (spec->keys) */
	struct role_listener *listeners;
	size_t n_listeners;
	struct maps_env maps_env;       /* ready for maps_open */
	struct asks_link *asks;         /* ready for asks_new */
	void *state;                    /* the role's own */
	struct role_private *priv;
};

/* main() of a role: never returns. */
_Noreturn void role_main(const struct role_spec *spec);

/*
 * A role inside a process that is not its own (tests/sim): the same ties and handlers, but no master and no sandbox.
 * The caller adds peers, calls spec->open and spec->start, and before role_detach gives back the role's state.
 */
void role_attach(struct role *r, const struct role_spec *spec, struct loop *loop, struct conf *conf);
void role_detach(struct role *r);

/* In open(): the directory stays reachable after the sandbox closed; what is below it, too. */
void role_allow_dir(struct role *r, const char *path, bool write);
/* A memory area shared by the workers of a role (smtpd): its descriptor, -1 when there is none. */
int role_shared(struct role *r, const char *name);
/* Open a file named in the configuration: what master handed over when there is something, else open(2). -errno on failure. */
int role_open_file(struct role *r, const char *path);
/* Only what master handed over: -ENOENT when it said that there is nothing, -EAGAIN when it never spoke of this file. */
int role_handed_file(struct role *r, const char *path);
/* All work is done: say goodbye and end with status 0. */
void role_done(struct role *r);

/* Bytes of memory in use (private and resident), re-read at most every 100 ms; for memory_limit. */
uint64_t role_memory(struct role *r);

/* `-c`-independent paths: "<queue_directory>/<name>" in `a`. */
const char *role_queue_path(struct role *r, struct arena *a, const char *name);
