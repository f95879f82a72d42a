/*
 * The decisions of the local agent, without doing anything: a recipient, the alias
 * tables, the user database and .forward texts in, a list of actions out. Facts come
 * through `plan_ops`; one that is not there yet makes the whole plan MAP_WAIT, and it
 * is made again when the answers are in.
 */
#pragma once

#include <sys/types.h>

#include "base/arena.h"
#include "base/fault.h"
#include "maps/map_result.h"

/* Whose rights a command or file gets. */
struct plan_rights {
	uid_t uid;
	gid_t gid;              /* 0 = the primary group of `uid` */
};

struct plan_user {
	struct span name, home, shell;
	struct plan_rights rights;
};

struct plan_text {
	struct span text;
	uid_t owner;            /* of the file it came from: an alias table, an :include: file */
};

struct plan_ops {
	/* Look an alias up (name in lower case). */
	enum map_result (*alias)(void *ctx, struct span name, struct plan_text *r, struct fault *why);
	enum map_result (*user)(void *ctx, struct span name, struct plan_user *u_r, struct fault *why);
	/* The first .forward of forward_path that exists, read as the user. ABSENT: none, or not to be trusted. */
	enum map_result (*forward)(void *ctx, const struct plan_user *u, struct span ext, struct span *text_r,
	    struct fault *why);
	/* An :include: file, read with `rights`. ABSENT is a fault of its own here: DEFER says why. */
	enum map_result (*include)(void *ctx, struct span path, const struct plan_rights *rights,
	    struct plan_text *r, struct fault *why);
	/* Is this domain delivered here, by this agent? */
	enum map_result (*is_local)(void *ctx, struct span domain, struct fault *why);
	/* A fallback: a transport for a name without account (mailbox_transport, fallback_transport). */
	enum map_result (*transport)(void *ctx, struct span name, bool known_user, struct span *transport_r,
	    struct fault *why);
	/* The address that luser_relay gives an unknown name. */
	enum map_result (*luser)(void *ctx, struct span name, struct span ext, struct span *addr_r,
	    struct fault *why);
};

struct plan_conf {
	const char *delimiter;                  /* recipient_delimiter */
	const char *myorigin;
	bool owner_request_special, expand_owner_alias;
	bool commands_in_alias, commands_in_forward, commands_in_include;
	bool files_in_alias, files_in_forward, files_in_include;
	bool extension_to_alias, extension_to_forward, extension_to_include;
	struct plan_rights default_rights;      /* default_privs */
};

enum plan_kind {
	PLAN_MAILBOX,           /* `user`, by the configured method */
	PLAN_FILE,              /* `text` = path, with `rights` */
	PLAN_COMMAND,           /* `text` = command, with `rights`; `user` when it is from .forward */
	PLAN_FORWARD,           /* `text` = address: a new message from `sender` */
	PLAN_TRANSPORT,         /* `text` = transport:nexthop */
	PLAN_DISCARD,           /* postmaster or mailer-daemon without alias: `text` = the name */
	PLAN_FAIL,              /* `why` */
};

struct plan_action {
	struct plan_action *next;
	enum plan_kind kind;
	struct span text;
	struct span to;                         /* address this action is logged for */
	struct span sender;
	struct span extension;
	struct plan_user user;                  /* name empty: none */
	struct plan_rights rights;
	struct fault why;
	bool done;                              /* for whoever carries the plan out */
};

struct plan {
	struct plan_action *first, **last;
	size_t count;
	bool expanded;                          /* several targets: a success report says "expanded" */
};

/*
 * `rcpt` in internal form, `sender` likewise. FOUND: `*plan_r` has at least one action.
 * DEFER: a lookup failed, nothing may be done (`why`). WAIT: call again with the same arguments.
 */
enum map_result plan_make(const struct plan_conf *conf, const struct plan_ops *ops, void *ctx, struct span rcpt,
    struct span sender, struct arena *a, struct plan *plan_r, struct fault *why);
