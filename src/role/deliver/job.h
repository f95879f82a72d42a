/* One piece of work of deliver: what was asked, and what the child that does it reports. */
#pragma once

#include "base/arena.h"
#include "ipc/messages.h"
#include "role/common/run.h"
#include "role/deliver/identity.h"

enum { JOB_TEXT_MAX = 1024, JOB_BODY_MAX = 1048576 };

/* What deliver adds from the configuration. */
struct job_env {
	const char *host;               /* for names in a Maildir */
	const char *home_dir;           /* working directory of commands that name none */
	unsigned lock_attempts;
	int64_t lock_pause_ms, lock_stale_s;
	uid_t mail_uid;                 /* mail_owner's; nobody's mail runs with it */
	gid_t spool_gid;
};

/* Fixed size, written by the child in one piece; `body_n` bytes follow. */
struct job_report {
	uint8_t result;                 /* enum run_result or run_read */
	uint32_t code, owner, mode, body_n;
	char dsn[12];
	char text[JOB_TEXT_MAX];
};

/*
 * In the child, still root: become the user, do it, write the report to `out`, end. Nothing
 * of the parent but `m->file` and `out` stays open.
 */
_Noreturn void job_run(const struct ipc_run_start *m, const struct job_env *env, int out);
_Noreturn void job_read(const struct ipc_run_read *m, const struct job_env *env, int out);
