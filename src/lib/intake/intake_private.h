/* Insides of one message's intake, shared by intake.c (lines), headers.c and act.c (what checks do). */
#pragma once

#include "base/buf.h"
#include "intake/checks.h"
#include "intake/intake.h"
#include "intake/rewrite.h"
#include "mail/mime.h"
#include "mail/mime_qp.h"

struct maps;

/* More memory than that for one header: its lookups are given up. */
#define INTAKE_SCRATCH_BUDGET ((size_t)128 << 20)

/* Primary headers that were seen: what is missing is added at their end. */
enum intake_seen {
	INTAKE_SEEN_FROM = 1,
	INTAKE_SEEN_DATE = 2,
	INTAKE_SEEN_MESSAGE_ID = 4,
	INTAKE_SEEN_RCPT = 8,           /* To, Cc; a Bcc does not stay */
	INTAKE_SEEN_RESENT = 16,        /* any Resent-... */
	INTAKE_SEEN_RESENT_FROM = 32,
	INTAKE_SEEN_RESENT_DATE = 64,
	INTAKE_SEEN_RESENT_MESSAGE_ID = 128,
};

struct intake {
	struct intake_input in;
	struct log log;
	struct arena *scratch;          /* one line's or header's work */
	struct arena *own_line;         /* the cleaned copy of the current line */
	struct arena *own;              /* MIME structure */
	struct mime *mime;
	struct buf line;                /* the line that has not all come yet */
	struct buf header;              /* the logical header whose end has not come yet */
	struct span input;              /* the caller's bytes, while they are being taken */
	struct span run;                /* part of `input` that is to go out next */
	struct span raw;                /* the current line as it came; its CRLF stands behind it when it has one */
	struct mime_qp *qp;             /* force_mime_input_conversion; NULL = off */
	struct buf converted;           /* what it made and nobody took yet */
	bool line_ready;                /* `line` is complete and waits to be taken */
	bool in_own;                    /* content comes from intake_header */
	size_t own_used;                /* of the header that intake_header is being asked with again */
	bool client_began;              /* the client's first line was taken */
	bool mid_line;                  /* the next piece continues a line that was too long to be held */
	bool headers_closed;            /* the primary headers are complete */
	bool finished_input;

	unsigned seen;
	int hops;
	uint64_t client_bytes;          /* what the client sent */
	uint64_t out_bytes;
	uint64_t checked_bytes;         /* of this body segment, for body_checks_size_limit */
	bool checks_off;                /* PASS, or switched off by the caller */
	bool eightbit;
	bool eightbit_header;
	bool hold;
	bool tls_optional;
	struct span filter, redirect;   /* in the transaction's arena */
	struct span *bcc;
	size_t bcc_count;
	struct envelope_rcpt *to, *resent_to;   /* extracted; in in.arena */
	size_t to_count, to_cap, resent_count, resent_cap;

	bool decided;
	enum intake_action action;
	struct span reply;
};

void intake_emit(struct intake *i, struct span bytes);
void intake_emit_line(struct intake *i, struct span line);      /* adds CRLF */

/* The first decision stands; afterwards content is only counted. */
void intake_decide(struct intake *i, enum intake_action action, const char *reply_format, ...)
    __attribute__((format(printf, 3, 4)));
/* A lookup failed or a table is wrong: 451 with the fault. */
void intake_decide_fault(struct intake *i, const struct fault *why);
/* "reject: mime-error ..." and 550 5.6.0. */
void intake_mime_error(struct intake *i, const char *text, struct span content);

/*
 * Look `text` up. INTAKE_OK: `check_r` (its text in scratch) is what to do, CHECK_DUNNO when nothing or when the
 * table failed (then the message is decided).
 */
enum intake_result intake_check_find(struct intake *i, struct maps *maps, struct span text, bool header,
    struct check *check_r);
/* Log and remember what an action does to the message; what it does to the line is the caller's. */
void intake_check_act(struct intake *i, const struct check *c, bool header, struct span text);

/* Take the logical header in i->header: check, rewrite, count, emit, empty it. */
enum intake_result intake_flush_header(struct intake *i);
/* The primary headers are complete: add what is missing, say the message id. */
void intake_close_headers(struct intake *i);
