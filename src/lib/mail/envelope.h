/*
 * The envelope of one message: who sends, to whom, with which options, and where
 * it came from. One struct and one text codec serve IPC and the spool files.
 *
 * All spans live in one arena (the transaction's, the delivery's). An empty span
 * means "not given". Addresses are in internal form: local part unquoted, domain
 * after the last '@' (mail/address.h).
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

/* NOTIFY= (RFC 3461 section 4.1); 0 = not given. */
enum envelope_notify {
	ENVELOPE_NOTIFY_NEVER = 1,
	ENVELOPE_NOTIFY_SUCCESS = 2,
	ENVELOPE_NOTIFY_FAILURE = 4,
	ENVELOPE_NOTIFY_DELAY = 8,
};

/* RET= (RFC 3461 section 4.3). */
enum envelope_ret {
	ENVELOPE_RET_NONE,
	ENVELOPE_RET_FULL,
	ENVELOPE_RET_HDRS,
};

enum envelope_rcpt_flag {
	ENVELOPE_RCPT_BCC = 1,          /* added by a bcc map or action, not by the client */
};

/* Why the message exists; decides what a failed delivery of it may cause. */
enum envelope_kind {
	ENVELOPE_MAIL,
	ENVELOPE_BOUNCE,                /* a report: null sender */
	ENVELOPE_DOUBLE_BOUNCE,         /* a report about a report, to the postmaster */
	ENVELOPE_PROBE,                 /* address verification: nothing is delivered */
};

struct envelope_rcpt {
	struct span addr;               /* where it goes */
	struct span orig;               /* as the client gave it: X-Original-To, orig_to= */
	struct span orcpt;              /* ORCPT as given: "rfc822;user+2Bx@example.org" */
	unsigned notify;                /* bits of enum envelope_notify */
	unsigned flags;                 /* bits of enum envelope_rcpt_flag */
	struct span extra;              /* fields that a later version wrote; kept */
};

struct envelope {
	enum envelope_kind kind;
	struct span sender;             /* "" = null sender */
	struct span envid;              /* ENVID, xtext as given */
	enum envelope_ret ret;
	struct span verp;               /* VERP delimiters, "" = no VERP */
	bool smtputf8 : 1;              /* MAIL carried SMTPUTF8, or the submission needs it */
	bool requiretls : 1;            /* MAIL carried REQUIRETLS (RFC 8689) */
	bool tls_optional : 1;          /* header "TLS-Required: no" */
	bool eightbit : 1;              /* content has bytes above 127 */
	bool hold : 1;
	bool local_origin : 1;          /* submitted here, or the client counts as local */
	bool delay_warned : 1;
	bool no_milters : 1;            /* internally generated */

	int64_t arrival_us;             /* wall clock: accepted into the queue */
	int64_t begun_us;               /* wall clock: MAIL (or the submission) began */
	int64_t expire_us;              /* wall clock: forced expiry, 0 = by lifetime */
	uint64_t size;                  /* content bytes in wire form */

	struct span client_name;        /* verified name or "unknown" */
	struct span client_reverse;     /* unverified PTR name */
	struct span client_addr;        /* "192.0.2.1", "2001:db8::1" */
	struct span client_port;
	struct span client_helo;
	struct span client_protocol;    /* "ESMTP", "SMTP" */
	struct span sasl_method;
	struct span sasl_username;
	struct span sasl_sender;        /* AUTH= of MAIL */
	struct span log_ident;          /* XFORWARD IDENT: id at the previous hop */
	struct span filter;             /* "transport:dest" of FILTER or content_filter */
	struct span redirect;           /* every recipient becomes this one */
	struct span rewrite_context;    /* "local" or the domain that completes header addresses */
	struct span message_id;         /* with its angle brackets */
	struct span resent_message_id;

	struct envelope_rcpt *rcpts;
	size_t rcpt_count, rcpt_cap;

	/* Aliases that became several recipients and whose sender wants to hear of success: no one to deliver
	   to, only to report as "expanded" (RFC 3461 section 5.2.7.3). */
	struct envelope_rcpt *expanded;
	size_t expanded_count, expanded_cap;

	struct span *extra;             /* whole lines that a later version wrote; kept */
	size_t extra_count, extra_cap;
};

/* More recipients than this are never read nor added. */
#define ENVELOPE_RCPTS_MAX 100000
/* Longer texts are refused by envelope_read. */
#define ENVELOPE_TEXT_MAX ((size_t)64 << 20)

/* Append a recipient; `r`'s spans are kept as they are (they must live as long as `a`). False when full. */
bool envelope_add_rcpt(struct envelope *e, struct arena *a, const struct envelope_rcpt *r);
bool envelope_add_expanded(struct envelope *e, struct arena *a, const struct envelope_rcpt *r);

/* Copy everything into `a`. */
void envelope_copy(struct envelope *to, const struct envelope *from, struct arena *a);

/*
 * The text: lines "name=value", a recipient per "rcpt=" line (expanded ones: "expanded="), last "rcpts=COUNT"
 * (so a cut text is seen). In values '%', space, controls and DEL are %HH. Unset members
 * are left out. False when `out` is full.
 */
bool envelope_write(const struct envelope *e, struct buf *out);

/* One "rcpt=..." line without its line end, for journals that write recipients alone. */
bool envelope_write_rcpt(const struct envelope_rcpt *r, struct buf *out);

/*
 * Read what envelope_write wrote, here or in a later version: lines and fields with
 * unknown names are kept and written back. The result lives in `a`, which needs room
 * for envelope_room(text) bytes. False with `why` when the text is damaged.
 */
bool envelope_read(struct span text, struct arena *a, struct envelope *e_r, struct fault *why);
size_t envelope_room(struct span text);

/* NOTIFY bits from "SUCCESS,FAILURE" and back ("" when 0). False on anything RFC 3461 section 4.1 forbids. */
bool envelope_notify_parse(struct span s, unsigned *notify_r);
const char *envelope_notify_text(unsigned notify);
