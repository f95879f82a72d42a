/*
 * What has become of a message's recipients so far, and its records in the spool: one text line per change, read
 * in order. Lines and fields of unknown names are passed over, so that a later version may write more.
 *
 *     sent 0-3,7                        delivered
 *     told 5                            its report is durable, nothing left to do
 *     failed 5 dsn=5.1.1 text=...       a non-delivery report is due
 *     report 6 action=relayed dsn=...   delivered, and a success report is due
 *     later 4,8-9 dsn=4.4.1 text=...    why the last attempt did not work
 *     next 1790000000000000 3           wall clock of the next attempt, number of attempts
 *     hold | release | warned | expire | crash 2
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

enum rcpt_stage {
	RCPT_TODO,
	RCPT_FAILED,            /* a non-delivery report is due */
	RCPT_REPORT,            /* a success report is due */
	RCPT_DONE,
};

/* As in outcome.flags of table/messages.tab. */
enum rcpt_report { REPORT_NONE, REPORT_RELAYED, REPORT_DELIVERED, REPORT_EXPANDED };

struct rcpt_state {
	enum rcpt_stage stage;
	enum rcpt_report report;
	struct span dsn, text;          /* of the last attempt; empty = none */
	struct span remote_mta, diagnostic, final;
};

struct mail_state {
	struct rcpt_state *rcpts;
	size_t n;
	int64_t next_us;                /* 0 = never tried */
	uint32_t attempts, crashes;
	bool hold, warned, expire;
};

/* All to do. `hold`, `warned` and `expire` as the envelope says. */
void state_init(struct mail_state *s, size_t rcpts, struct arena *a);
/* Apply the records of a message; texts are copied into `a` (which needs at most their size). */
void state_apply(struct mail_state *s, struct span records, struct arena *a);
/* Recipients in that stage. */
size_t state_count(const struct mail_state *s, enum rcpt_stage stage);

/* One record about recipients: `verb` and, from `with` (NULL = nothing), the fields that are set. */
void state_write(struct buf *out, const char *verb, const uint32_t *rcpts, size_t n,
    const struct rcpt_state *with);
/* The records of these recipients as they are now: what is still to do and has no reason is left out. */
void state_write_rcpts(struct buf *out, const struct mail_state *s, const uint32_t *rcpts, size_t n);
/* The fewest records that say the same. */
void state_write_all(const struct mail_state *s, struct buf *out);
