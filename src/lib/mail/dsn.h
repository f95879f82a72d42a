/*
 * Delivery status notifications: the content of bounces, delay warnings and
 * success reports (RFC 3461 section 6, RFC 3464, RFC 6522, RFC 6533), in wire form.
 *
 * Use: dsn_begin() writes everything up to the returned message; then feed the
 * original content through dsn_feed() in any pieces (it keeps only the headers when
 * that is all that goes back, and says when it needs no more); dsn_end() closes.
 */
#pragma once

#include "mail/dsn_template.h"
#include "mail/envelope.h"

enum dsn_kind {
	DSN_FAILURE,
	DSN_DELAY,
	DSN_SUCCESS,
	DSN_VERIFY,             /* result of an address probe (sendmail -bv) */
	DSN_POSTMASTER,         /* copy of a failure for the postmaster */
	DSN_DOUBLE,             /* failure of a null-sender message, to the postmaster */
	DSN_POSTMASTER_DELAY,
};

/* RFC 3464 section 2.3.3; the last two are for DSN_VERIFY. */
enum dsn_action {
	DSN_FAILED,
	DSN_DELAYED,
	DSN_DELIVERED,
	DSN_RELAYED,
	DSN_EXPANDED,
	DSN_UNDELIVERABLE,
	DSN_DELIVERABLE,
};

struct dsn_rcpt {
	struct span addr, orig, orcpt;  /* as in struct envelope_rcpt */
	unsigned notify;
	enum dsn_action action;
	struct span status;             /* "5.1.1" */
	struct span reason;             /* human text, as in the log */
	struct span remote_mta;         /* "" when no other MTA answered */
	struct span remote_reply;       /* its reply; "" = the reason stands as X-Signet diagnostic */
	int64_t retry_until_us;         /* with DSN_DELAYED; 0 = not known */
};

struct dsn_notice {
	enum dsn_kind kind;
	const struct envelope *env;     /* of the message this is about */
	struct span qid;                /* its queue id */
	struct span bounce_qid;         /* the notice's own */
	const struct dsn_rcpt *rcpts;
	size_t rcpt_count;
	struct span myhostname, mail_name;
	struct span to;                 /* where the notice goes; internal form */
	struct span double_bounce;      /* double_bounce_sender, completed: the sender of what goes to the postmaster */
	int64_t now_us;                 /* wall clock */
	uint64_t size_limit;            /* bounce_size_limit */
	bool smtputf8;                  /* the notice may carry UTF-8 addresses (the message did) */
	bool threaded;                  /* enable_threaded_bounces: References, In-Reply-To */
	const struct dsn_templates *templates;  /* bounce_template_file; NULL = our own words */
	int64_t delay_time_s;           /* what delay texts say: delay_warning_time */
	int64_t lifetime_s;             /* maximal_queue_lifetime */
	dsn_value_fn *value;            /* other $names of template files; NULL = none */
	void *value_ctx;
};

struct dsn {
	bool headers_only;
	bool done;                      /* dsn_feed needs no more content */
	unsigned char tail;             /* how much of CRLF CRLF was just seen */
	struct span boundary;
};

/* Write header, notification and delivery report; `d` is for the two calls that follow. */
void dsn_begin(struct dsn *d, const struct dsn_notice *n, struct arena *a, struct buf *out);
/* The next piece of the original content. True while more is wanted. */
bool dsn_feed(struct dsn *d, struct span content, struct buf *out);
void dsn_end(struct dsn *d, struct buf *out);

/*
 * The envelope of the notice: one recipient, NOTIFY=NEVER, null sender (RFC 3461 section 6.1). What goes to our own
 * postmaster comes from the double-bounce address, so that no rule about null senders keeps it away.
 */
void dsn_envelope(const struct dsn_notice *n, struct arena *a, struct envelope *e_r);

/* Does this recipient want a notice of that kind (RFC 3461 sections 4.1, 5.2)? `relayed` etc. count as success. */
bool dsn_wanted(unsigned notify, enum dsn_kind kind);
