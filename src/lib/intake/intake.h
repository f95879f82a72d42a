/*
 * What a message goes through on its way in (Postfix's cleanup): content is checked
 * and completed as it streams, and the envelope is rewritten and expanded.
 *
 * Tables may be remote: then a call answers INTAKE_WAIT, the owner waits until the
 * asks are in and calls again; nothing is done or logged twice. An intake has
 * memory of its own (bounded by header_size_limit, line_length_limit and the MIME limits); what it
 * leaves in the envelope is in the transaction's arena.
 */
#pragma once

#include "base/log.h"
#include "intake/conf.h"
#include "mail/envelope.h"
#include "maps/map_result.h"

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
	struct arena *arena;            /* for what is left in the envelope and the verdict: 4 MB are plenty, 48 MB with extract_rcpts */
	const struct log *log;          /* tag and queue id of the lines */
	struct span qid;
	int64_t now_us;                 /* wall clock: Date, Message-ID */
	struct envelope *env;           /* read for logs; intake sets message_id, eightbit, filter,
	                                   redirect, hold, tls_optional, size at the end */
	struct span origin;             /* for logs: "unknown[192.0.2.1]" or "local" */
	struct span full_name;          /* for a missing From; "" = none */
	bool rewrite_headers;           /* local origin, or in local_header_rewrite_clients: complete header addresses */
	bool header_checks_off;         /* receive_override_options=no_header_body_checks */
	bool no_mappings;               /* receive_override_options=no_address_mappings */
	bool extract_rcpts;             /* sendmail -t: recipients come from the headers */
	bool smtputf8_autodetect;       /* 8-bit headers make env->smtputf8 (smtputf8_autodetect_classes) */
	bool internal;                  /* our own notice: only message-id and sizes, no checks, no rewriting */
	intake_sink_fn *sink;
	void *sink_ctx;
};

/* Copies `in`; what it points to must stay. intake_free at any time cancels. */
struct intake *intake_new(const struct intake_input *in);
void intake_free(struct intake **i);

/*
 * A header of our own in front of the content (Received, PREPEND of access tables), whole and in wire form. It is
 * checked like the others. With INTAKE_WAIT: call again with the same.
 */
enum intake_result intake_header(struct intake *i, struct span header);

/*
 * Content in wire form, any split. `*used_r` says how much was taken: less than all only
 * with INTAKE_WAIT; then call again with the rest (be it empty).
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

enum intake_envelope_flag {
	INTAKE_NO_MAPPINGS = 1, /* receive_override_options=no_address_mappings: canonical form only */
	INTAKE_NO_BCC = 2,      /* our own notices and forwarded mail get no automatic copies */
};

/* The arena given to intake_envelope needs this room beyond what is in it. */
#define INTAKE_ENVELOPE_ROOM ((size_t)32 << 20)

/*
 * Rewrite and expand the envelope (spec 3.1 to 3.6): canonical form, canonical maps,
 * masquerading, bcc maps, virtual aliases, duplicates out, DSN parameters by RFC 3461 section 5.2.7. Call after
 * intake_finish, or without content. MAP_FOUND: `*out_r` is the new envelope, all of it in `a`; recipients of which
 * an "expanded" report is wanted are in out_r->expanded. MAP_WAIT: call again when the asks are in. MAP_DEFER:
 * refuse the whole message with 451 and `why` (a warning naming table and address was logged).
 */
enum map_result intake_envelope(const struct intake_conf *c, struct asks *asks, struct arena *a,
    const struct log *log, unsigned flags, const struct envelope *in, struct envelope *out_r,
    struct fault *why);
