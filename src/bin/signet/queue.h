/* signet queue: its parts. */
#pragma once

#include "base/buf.h"
#include "base/fault.h"
#include "ipc/messages.h"

struct cli;
struct conf;

/* What is done with each message of the queue, wherever it comes from. False to stop. */
typedef bool queue_entry_fn(void *ctx, const struct ipc_qentry *e);

/* The lists of mailq and of postqueue -j. */
int queue_list(const struct cli *cli, const struct conf *conf, bool json);

/* One operation (QUEUE_ADMIN of messages.tab) on one id, a site, or "ALL"; without the daemon, on the spool. */
enum { QUEUE_NAMES = 4 };
enum queue_op { QUEUE_FLUSH_ALL, QUEUE_FLUSH_ONE, QUEUE_FLUSH_SITE, QUEUE_HOLD, QUEUE_RELEASE, QUEUE_REQUEUE,
	QUEUE_DELETE, QUEUE_EXPIRE };
bool queue_admin(const struct conf *conf, enum queue_op op, const char *which, uint32_t *count_r, struct fault *why);

/* The same on a spool that no daemon has open. */
bool queue_offline_each(const struct conf *conf, queue_entry_fn *fn, void *ctx, struct fault *why);
bool queue_offline_admin(const struct conf *conf, enum queue_op op, const char *which, uint32_t *count_r,
    struct fault *why);

/* Print one message: parts as in postcat. */
struct queue_parts { bool envelope, headers, body, wire; };
int queue_cat(const struct cli *cli, const struct conf *conf, const char *qid, struct queue_parts parts);

/* By the number of a qentry's state. */
extern const char *const queue_names[QUEUE_NAMES];

/* Check every file of the spool to the last byte. */
int queue_verify(const struct cli *cli, const struct conf *conf);
