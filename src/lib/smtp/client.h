/*
 * The SMTP and LMTP client (RFC 5321, 2033) without sockets, DNS or clocks: a list of steps with
 * a send cursor and a receive cursor. Pipelining (RFC 2920) is "send runs ahead of receive".
 *
 *     smtpc_feed(c, bytes, now);                      what arrived
 *     while ((ev = smtpc_next(c)) != SMTPC_WAIT)      what that means
 *             ...answer it: smtpc_starttls, smtpc_auth, smtpc_begin, smtpc_content, smtpc_quit
 *     n = smtpc_output(c, iov, 16);                   what to write; then smtpc_sent(c, bytes, now)
 *     arm a timer for smtpc_deadline(c);              when it passes: smtpc_timeout(c)
 *
 * Times are monotonic microseconds and always arguments.
 */
#pragma once

#include <sys/uio.h>

#include "base/arena.h"
#include "base/fault.h"
#include "smtp/reply.h"
#include "smtp/transcript.h"

/* What the server offered, and what smtpc_options.discard hides. */
enum {
	SMTPC_CAP_ESMTP = 1 << 0,       /* answered EHLO */
	SMTPC_CAP_PIPELINING = 1 << 1,
	SMTPC_CAP_SIZE = 1 << 2,
	SMTPC_CAP_STARTTLS = 1 << 3,
	SMTPC_CAP_AUTH = 1 << 4,
	SMTPC_CAP_8BITMIME = 1 << 5,
	SMTPC_CAP_SMTPUTF8 = 1 << 6,
	SMTPC_CAP_DSN = 1 << 7,
	SMTPC_CAP_CHUNKING = 1 << 8,
	SMTPC_CAP_ENHANCED = 1 << 9,
	SMTPC_CAP_REQUIRETLS = 1 << 10,
	SMTPC_CAP_XFORWARD = 1 << 11,
};

struct smtpc_caps {
	unsigned bits;
	uint64_t size_max;              /* 0 = no limit stated */
	unsigned xforward;              /* bits 1 << enum smtpc_xforward_attr */
	char auth[256];                 /* mechanisms, upper case, one blank between */
};

/* Bits for a list of EHLO keywords in any case (smtp_discard_ehlo_keywords); unknown words are skipped. */
unsigned smtpc_cap_mask(struct span words);

/* Where the conversation is. The order is the order of a transaction. */
enum smtpc_step {
	SMTPC_GREETING,
	SMTPC_EHLO,
	SMTPC_HELO,
	SMTPC_STARTTLS,
	SMTPC_AUTH,
	SMTPC_QUIT,
	SMTPC_RSET,
	SMTPC_XFORWARD,
	SMTPC_MAIL,
	SMTPC_RCPT,
	SMTPC_DATA,
	SMTPC_CHUNK,                    /* BDAT that is not the last */
	SMTPC_DOT,                      /* end of data, or BDAT LAST */
	SMTPC_END,                      /* nothing under way */
};

struct smtpc_options {
	const char *helo_name;          /* for EHLO, HELO, LHLO */
	const char *peer;               /* "host[addr]" for texts */
	const char *my_name;            /* myhostname: a server that says it is us */
	unsigned discard;               /* SMTPC_CAP_* that count as not offered */
	bool lmtp;
	bool never_ehlo;                /* smtp_never_send_ehlo */
	bool always_ehlo;               /* smtp_always_send_ehlo; else only after ESMTP in the banner */
	bool skip_5xx_greeting;
	bool skip_quit_reply;
	bool per_request_deadline;      /* timeouts count from the request, not from the last progress */
	smtp_reply_filter_fn *filter;   /* NULL = none; see reply.h */
	void *filter_ctx;
	unsigned notify;                /* enum smtp_notice: kinds of trouble that are told, with a transcript; 0 = none is kept */
	uint32_t min_data_rate;         /* bytes per second added to such a deadline */
	int64_t helo_ms, starttls_ms, auth_ms, mail_ms, rcpt_ms, data_init_ms, data_xfer_ms, data_done_ms,
	    rset_ms, quit_ms, xforward_ms;
};

/* Where a message came from first, for XFORWARD; "" or "unknown" is sent as [UNAVAILABLE]. */
enum smtpc_xforward_attr {
	SMTPC_XF_NAME,
	SMTPC_XF_ADDR,
	SMTPC_XF_PORT,
	SMTPC_XF_PROTO,
	SMTPC_XF_HELO,
	SMTPC_XF_IDENT,
	SMTPC_XF_SOURCE,                /* LOCAL or REMOTE */
	SMTPC_XF_ATTRS,
};

struct smtpc_xforward {
	struct span value[SMTPC_XF_ATTRS];
};

enum smtpc_outcome {
	SMTPC_PENDING,                  /* no answer that decides */
	SMTPC_ACCEPTED,                 /* 2xx to RCPT, message not yet taken */
	SMTPC_SENT,
	SMTPC_REFUSED,                  /* `code` and `dsn` tell for how long */
};

/* One recipient. The caller owns it and the bytes it points to until the transaction ended. */
struct smtpc_rcpt {
	struct span addr;               /* between the angle brackets, already quoted (RFC 5321 4.1.2) */
	struct span notify;             /* NOTIFY= value as received; empty = none */
	struct span orcpt;              /* ORCPT= value as received; empty = none */
	/* the answer, in the transaction's arena; one that is not PENDING at the start is passed over */
	enum smtpc_outcome outcome;
	enum smtpc_step at;             /* the step that decided */
	int code;                       /* reply code; 552 to RCPT has become 452 (RFC 5321 4.5.3.1.10) */
	char dsn[10];
	struct span text;               /* "host H[A] said: ... (in reply to RCPT TO command)"; for SENT the reply */
	struct span reply;              /* the bare reply, for Diagnostic-Code; empty when there was none */
	bool asked;                     /* private: RCPT was sent in this session */
};

struct smtpc_tx {
	struct span sender;             /* between the angle brackets, already quoted */
	struct span ret;                /* RET= and ENVID= values as received; sent only to servers with DSN */
	struct span envid;
	uint64_t bytes;                 /* of the content in wire form, for SIZE= */
	bool exact;                     /* `bytes` is exact: BDAT may be used (RFC 3030) */
	bool body_8bit;                 /* content has octets above 127: BODY=8BITMIME */
	bool smtputf8;                  /* needs SMTPUTF8; the caller checked the offer */
	bool requiretls;                /* REQUIRETLS on MAIL; the caller checked the offer */
	bool auth_empty;                /* AUTH=<> on MAIL (RFC 4954 section 5) */
	const struct smtpc_xforward *xforward;  /* told to servers that announce XFORWARD; NULL = to nobody */
	bool notice;                    /* mail to the postmaster about mail: trouble with it is not told */
	bool probe;                     /* end after RCPT: accepted recipients stay SMTPC_ACCEPTED, `reply` is filled */
	struct smtpc_rcpt *rcpts;
	size_t n_rcpts;
	struct arena *arena;            /* for texts: room for 4 kB per recipient */
};

enum smtpc_event {
	SMTPC_WAIT,                     /* nothing until bytes arrive or leave */
	SMTPC_CAPS,                     /* EHLO answered, `caps` is filled: go on with starttls, auth, begin or quit */
	SMTPC_TLS_START,                /* STARTTLS accepted: hand-shake now, then smtpc_tls_started */
	SMTPC_TLS_REFUSED,              /* `reply` has the answer; the session goes on in clear */
	SMTPC_AUTH_STEP,                /* `reply` is a 334 challenge: smtpc_auth_respond or smtpc_auth_cancel */
	SMTPC_AUTH_OK,
	SMTPC_AUTH_REFUSED,             /* `reply` has the answer */
	SMTPC_CONTENT,                  /* give the next piece: smtpc_content */
	SMTPC_TX_DONE,                  /* every recipient is SENT or REFUSED; ready for begin, reset or quit */
	SMTPC_RESET_OK,                 /* RSET was answered with 2xx: the connection lives */
	SMTPC_FAILED,                   /* the session is over: `fault`, `failed_at`; recipients may be PENDING or ACCEPTED */
	SMTPC_CLOSED,                   /* QUIT was answered (or needs no answer): close */
};

struct smtpc_cursor {
	enum smtpc_step step;
	size_t i;                       /* recipient, or chunk */
};

struct smtpc {
	struct smtpc_options opt;
	struct smtpc_caps caps;
	struct smtp_reply reply;        /* of the latest event that speaks of one; until the next call */
	struct fault fault;             /* SMTPC_FAILED: why */
	enum smtpc_step failed_at;
	int failed_code;                /* reply code when the server refused to talk, else 0 */
	char server_name[256];          /* first word of the EHLO or greeting reply */
	bool tls;                       /* smtpc_tls_started */
	bool said_my_name;              /* greeted or answered EHLO with my_name: maybe a loop */
	bool protocol_error;            /* answers that are no SMTP were seen */
	struct span xforward_said;      /* what the server said when it refused XFORWARD (the message goes on), in the
	                                   transaction's arena; "" = it did not */
	unsigned uses;                  /* transactions begun */
	struct transcript transcript;   /* for a notice to the postmaster; no secret and no content is in it */

	/* private */
	struct smtp_replies replies;
	struct buf out;                 /* commands to send */
	struct smtpc_tx *tx;
	struct smtpc_cursor send, recv; /* recv before send: answers are due */
	struct span piece;              /* content to be sent */
	size_t accepted;                /* recipients of this transaction */
	size_t chunks_sent;
	unsigned n_xforward, xforward_command[2];       /* of this transaction */
	int64_t request_us;             /* when the step at the receive cursor began to wait */
	int64_t active_us;              /* last progress: a whole reply, or bytes written */
	int64_t now_us;                 /* latest time that we were told */
	enum smtpc_event queued;        /* said by the next smtpc_next */
	enum smtpc_content {
		SMTPC_CONTENT_NONE,     /* not yet, or no more */
		SMTPC_CONTENT_WANTED,   /* the caller is to be asked */
		SMTPC_CONTENT_ASKED,
		SMTPC_CONTENT_GIVEN,    /* `piece` is being sent */
		SMTPC_CONTENT_LAST,     /* `piece` is being sent and is the last one */
	} content;
	bool bdat;                      /* this transaction sends BDAT */
	bool line_start;                /* the next byte of content begins a line */
	bool ends_crlf, ends_cr;        /* of the content given so far */
	bool cut;                       /* nothing more of this transaction is sent */
	bool must_reset;                /* the server holds an open transaction */
	bool useless;                   /* no further transaction can be sent */
	bool ehlo_refused, dead;
};

/* Begins to wait for the greeting. `opt` strings are kept by pointer. */
void smtpc_init(struct smtpc *c, const struct smtpc_options *opt, int64_t now_us);
void smtpc_release(struct smtpc *c);

/* Bytes from the server; then call smtpc_next until SMTPC_WAIT. */
void smtpc_feed(struct smtpc *c, struct span bytes, int64_t now_us);
/* The server closed, or reading or writing failed. The next event is SMTPC_FAILED (or CLOSED after QUIT). */
void smtpc_eof(struct smtpc *c);
enum smtpc_event smtpc_next(struct smtpc *c);

/* Up to `count` pieces to write now; 0 = nothing. Valid until the next call of any of these. */
int smtpc_output(struct smtpc *c, struct iovec *v, int count);
/* `n` bytes of smtpc_output were written; call smtpc_next again. */
void smtpc_sent(struct smtpc *c, size_t n, int64_t now_us);

/* When the present wait ends, INT64_MAX for never (idle). */
int64_t smtpc_deadline(const struct smtpc *c);
/* The deadline passed. The next event is SMTPC_FAILED. */
void smtpc_timeout(struct smtpc *c);

/* After SMTPC_CAPS (RFC 3207). */
void smtpc_starttls(struct smtpc *c, int64_t now_us);
/*
 * TLS stands. After SMTPC_TLS_START: forgets what the server said before (RFC 3207 section 4.2) and sends EHLO again.
 * Before the greeting (wrapper mode): only notes it.
 */
void smtpc_tls_started(struct smtpc *c, int64_t now_us);

/* After SMTPC_CAPS: AUTH with an optional initial response (raw bytes; empty is sent as "=", `p` NULL = none). */
void smtpc_auth(struct smtpc *c, struct span mechanism, struct span initial, int64_t now_us);
void smtpc_auth_respond(struct smtpc *c, struct span response, int64_t now_us);
void smtpc_auth_cancel(struct smtpc *c, int64_t now_us);

/*
 * Begin a transaction. `tx` is borrowed until SMTPC_TX_DONE or SMTPC_FAILED; SMTPC_CONTENT will ask for the content.
 * Idle (after CAPS, AUTH_OK, TX_DONE or RESET_OK) only. A transaction left open is reset first.
 */
void smtpc_begin(struct smtpc *c, struct smtpc_tx *tx, int64_t now_us);
/*
 * The next piece of content in wire form (CRLF line ends, dots not doubled), borrowed until the next
 * SMTPC_CONTENT or the transaction's end. Lines may be split between pieces. `last` may come with an empty piece.
 * Nothing is copied: dots are doubled in the pieces of smtpc_output; BDAT needs not even that.
 */
void smtpc_content(struct smtpc *c, struct span piece, bool last);

/* Ask whether an idle connection still lives: SMTPC_RESET_OK or SMTPC_FAILED. */
void smtpc_reset(struct smtpc *c, int64_t now_us);
/* The connection was idle for a while: the next transaction begins with RSET (no round trip of its own under pipelining). */
void smtpc_distrust(struct smtpc *c);
/* Say QUIT. SMTPC_CLOSED follows when it is answered, or when it is written with skip_quit_reply. */
void smtpc_quit(struct smtpc *c, int64_t now_us);

/* True when the session can take another transaction. */
bool smtpc_idle(const struct smtpc *c);
/* True for a refusal that another server or a later attempt may lift. */
static inline bool
smtpc_rcpt_soft(const struct smtpc_rcpt *r)
{
	return r->dsn[0] == '4';
}
/* "performing the EHLO handshake", "sending RCPT TO", ...: for "lost connection with ... while ...". */
const char *smtpc_step_doing(const struct smtpc *c, enum smtpc_step step);
