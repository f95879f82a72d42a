/*
 * Mail that begins here: forwarded messages, bounces, what `signet send` left in the
 * maildrop. It goes through intake like every other message and is done when queue has it on disk.
 */
#pragma once

#include "mail/envelope.h"
#include "mail/qid.h"
#include "role/local/local.h"

struct submission;

struct submit_result {
	bool ok;                /* on disk, or deliberately discarded */
	bool rejected;          /* intake refused it for good; `why` is 5.x.x */
	const char *qid;
	struct fault why;
};
typedef void submit_done_fn(void *ctx, const struct submit_result *r);

struct submit_input {
	const struct envelope *env;     /* copied */
	struct span headers[3];         /* whole headers in wire form put in front; empty ones are passed over */
	struct span text;               /* the content, wire form; or, when empty: */
	int fd;                         /* read from `off` on, `size` bytes; stays open until done, stays the caller's */
	uint64_t off, size;
	struct span origin;             /* for logs: "local" */
	struct span full_name;
	bool internal;                  /* our own notice */
	bool no_bcc;
	bool header_checks_off;
	bool rewrite_headers;
	bool extract_rcpts;
	bool lf_ends;                   /* lines may end in LF alone: made CRLF */
	submit_done_fn *done;           /* called once, from the loop, never from inside submit() */
	void *ctx;
};

/* Begin; `qid` is the new id (local_make_qid). Spans and `fd` must stay until `done`. */
struct submission *submit(struct local *l, const char *qid, const struct submit_input *in);
/* Give up before `done`: it will not be called; what queue has already got is sent all the same. */
void submit_cancel(struct submission **s);
