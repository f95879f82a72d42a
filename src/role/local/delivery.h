/*
 * One DELIVER_START: recipients are worked off one after the other by the agent of the
 * service (local, virtual, pipe, error, discard); every step that has to wait ends in a
 * callback and then delivery_go() runs the agent again.
 */
#pragma once

#include "base/log.h"
#include "mail/envelope.h"
#include "mail/qid.h"
#include "role/common/run.h"
#include "role/local/local.h"
#include "role/local/plan.h"

struct delivery;
struct submission;

/* What an agent makes of a recipient, or of one target of it. */
enum outcome { OUTCOME_SENT, OUTCOME_DEFERRED, OUTCOME_BOUNCED };

/* Success reports (table/messages.tab, DELIVER_DONE). */
enum outcome_report { REPORT_NONE, REPORT_RELAYED, REPORT_DELIVERED, REPORT_EXPANDED };

struct agent {
	const char *command;            /* of the service in master.cf */
	const char *relay;              /* in the log; NULL = the service's name; "" = none */
	/* delivery status filter */
	struct maps *(*filter)(const struct agent_conf *c, const char **param_r);
	/* Work on the current recipient until it waits or calls delivery_rcpt_done(). */
	void (*work)(struct delivery *d);
};
extern const struct agent agent_local, agent_virtual, agent_pipe, agent_error, agent_discard;

struct delivery_rcpt {
	struct ipc_rcpt in;
	bool settled;                   /* has an outcome */
	enum outcome outcome;
	uint8_t report;
	char dsn[12];
	struct span text;
};

/* A .forward or :include: file that was asked for. */
struct delivery_read {
	struct delivery_read *next;
	struct delivery *d;
	struct plan_rights rights;
	struct span path;
	uint64_t ask_id;                /* 0 = answered */
	struct ipc_run_read_done done;
	bool lost;
};

typedef void delivery_run_fn(struct delivery *d, const struct ipc_run_done *m);

struct delivery {
	struct list node;
	struct local *l;
	struct arena *arena;
	struct ipc_from from;
	const struct agent *agent;
	const struct conf_service *service;
	struct agent_conf *conf;
	const struct params *p;
	struct log log;
	char qid[QID_MAX];
	struct span nexthop;
	struct envelope env;            /* without recipients */
	int fd;                         /* content, wire form */
	uint64_t off, size;
	int64_t active_us, handed_us;
	bool probe;
	struct span *delivered_to;      /* Delivered-To headers of the content */
	size_t n_delivered_to;
	struct delivery_rcpt *rcpts;
	size_t n_rcpts, at;             /* which one is being worked on */
	struct asks *asks;
	struct delivery_read *reads;
	size_t reads_waiting;
	struct loop_task turn;

	/* of the current recipient */
	bool begun;                     /* the agent has been here before */
	struct plan plan;
	struct plan_action *action;
	uint64_t run_id;                /* question to deliver under way */
	delivery_run_fn *run_done;
	struct submission *submission;
	void *agent_state;              /* in the arena */
};

void delivery_begin(struct local *l, struct ipc_from from, struct ipc_deliver_start *m);
void delivery_free(struct delivery *d);
/* Run the agent in the next turn of the loop. */
void delivery_go(struct delivery *d);

static inline struct delivery_rcpt *
delivery_rcpt(struct delivery *d)
{
	return &d->rcpts[d->at];
}

/*
 * One line in the log, and the recipient's outcome: the worst of all its targets. `to` is
 * who this target was delivered for (the recipient itself, or a user behind an alias).
 */
void delivery_outcome(struct delivery *d, struct span to, enum outcome outcome, enum outcome_report report,
    const char *dsn, struct span text);
void delivery_failed(struct delivery *d, struct span to, const struct fault *why);      /* by its code: 4 defers, 5 bounces */
/* The current recipient is finished; the next one begins in the next turn. */
void delivery_rcpt_done(struct delivery *d);
/* The rest of the recipients is finished, too (agents that take all at once). */
void delivery_all_done(struct delivery *d);

/* Was the message here before, for `addr` (Delivered-To)? */
bool delivery_looped(const struct delivery *d, struct span addr);

/* Ask deliver; content and limits of time are filled in. `done` gets NULL when there was no answer. */
void delivery_run(struct delivery *d, struct ipc_run_start *m, delivery_run_fn *done);
/* The end of a run as an outcome: `what` is the command for its messages. True when it was delivered. */
bool delivery_run_failed(const struct ipc_run_done *m, struct span what, struct fault *why);

/* Headers in front of the message, LF ends: which ones. */
enum delivery_head {
	HEAD_FROM = 1,          /* mbox "From " line */
	HEAD_RETURN_PATH = 2,
	HEAD_ORIGINAL_TO = 4,
	HEAD_DELIVERED_TO = 8,
};
struct span delivery_head(struct delivery *d, unsigned which, struct span sender, struct span eol);

/* PATH and export_environment, all that a pipe service gets. */
struct span delivery_exported(struct delivery *d);
/* ENVID for people: decoded when that is printable, else as it came. */
struct span delivery_envid(const struct delivery *d);
/* "NAME=value" texts for a command; `user` may be NULL. */
struct span delivery_env(struct delivery *d, const struct plan_user *user, struct span sender, struct span extension);
/* Lock bits of mailbox_delivery_lock and its like. */
uint32_t delivery_locks(const char *list);

/* A user of the system. */
enum map_result delivery_user(struct delivery *d, struct span name, struct plan_user *u_r, struct fault *why);
/* A small file, read as that user; MAP_WAIT until it is there. */
enum map_result delivery_read_file(struct delivery *d, struct span path, const struct plan_rights *rights,
    const struct ipc_run_read_done **done_r, struct fault *why);

/* Submit the message anew to the addresses of `first` and all later actions of its kind and sender (they are marked done). */
void delivery_forward(struct delivery *d, struct plan_action *first);
