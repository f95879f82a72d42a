/*
 * What a message goes through on its way in (Postfix's cleanup): content is checked
 * and completed as it streams, and the envelope is rewritten and expanded.
 *
 * Tables may be remote: then a call answers INTAKE_WAIT, the owner waits until the
 * asks are in and calls again; nothing is done or logged twice. Everything lives in the
 * transaction's arena; drop the arena to cancel.
 */
#pragma once

#include "base/log.h"
#include "intake/conf.h"
#include "mail/envelope.h"

struct asks;
struct intake;

enum intake_result {
	INTAKE_OK,
	INTAKE_WAIT,            /* call again with the same arguments when the asks are in */
};

/* Content after rewriting, in order, in wire form. Must take everything; not called after a final verdict other than accept. */
typedef void intake_sink_fn(void *ctx, struct span bytes);

struct intake_input {
	const struct intake_conf *conf;
	struct asks *asks;              /* NULL: no remote tables */
	struct arena *arena;            /* room for intake_room(conf) bytes */
	const struct log *log;          /* tag and queue id of the lines */
	struct span qid;
	int64_t now_us;                 /* wall clock: Date, Message-ID */
	struct envelope *env;           /* read for logs; intake sets message_id, eightbit, filter,
	                                   redirect, hold, tls_optional, size at the end */
	const char *origin;             /* log: "from unknown[192.0.2.1]" or "local" */
	bool rewrite_headers;           /* local origin, or in local_header_rewrite_clients: complete header addresses */
	bool header_checks_off;         /* receive_override_options=no_header_body_checks */
	bool extract_rcpts;             /* sendmail -t: recipients come from the headers */
	bool internal;                  /* our own notice: only message-id and sizes, no checks, no rewriting */
	intake_sink_fn *sink;
	void *sink_ctx;
};

struct intake *intake_new(const struct intake_input *in);

/*
 * Content in wire form, any split. `*used_r` says how much was taken: less than all only
 * with INTAKE_WAIT; then call again with the rest.
 */
enum intake_result intake_feed(struct intake *i, struct span bytes, size_t *used_r);

enum intake_action {
	INTAKE_ACCEPT,
	INTAKE_REJECT,          /* say `reply` and forget the message */
	INTAKE_DISCARD,         /* say 250 and forget the message */
};

struct intake_verdict {
	enum intake_action action;
	struct span reply;              /* "550 5.7.1 Error: message content rejected" */
};

/* A verdict that cannot change any more is known before the end (too big, REJECT, DISCARD): the rest may be dropped. */
bool intake_decided(const struct intake *i);

/*
 * End of content: adds what is missing, fills the verdict and the envelope's content
 * members, and adds recipients of BCC actions (and extracted ones) to the envelope.
 */
enum intake_result intake_finish(struct intake *i, struct intake_verdict *verdict_r);

/*
 * Rewrite and expand the envelope (spec order: canonical form, canonical maps, masquerading, bcc maps, virtual
 * aliases, duplicates out). Call after intake_finish, or without content. MAP_FOUND: `*out_r` is
 * the new envelope in `a`; MAP_WAIT: call again; MAP_DEFER: refuse the whole message, `why` has code and text for
 * 451 (a warning naming the table was logged).
 */
enum map_result intake_envelope(const struct intake_conf *c, struct asks *asks, struct arena *a,
    const struct log *log, const struct envelope *in, struct envelope *out_r, struct fault *why);
