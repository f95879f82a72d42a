/*
 * Replies of an SMTP or LMTP server (RFC 5321 section 4.2): bytes in, whole replies out.
 * Tolerates what servers really send (bare LF, missing text, lines that are no reply), never
 * trusts it: lines, length and number of lines have maxima, control bytes become '?'.
 */
#pragma once

#include "base/buf.h"

enum {
	SMTP_REPLY_LINE_MAX = 2048,     /* of a line; the rest of it is dropped */
	SMTP_REPLY_TEXT_MAX = 16384,    /* of a whole reply; further text is dropped */
	SMTP_REPLY_LINES_MAX = 1000,    /* then the server is not talking SMTP */
};

struct smtp_reply {
	int code;               /* 200..599: three digits as sent */
	char dsn[10];           /* RFC 3463 code of the last line, or "5.0.0" made from the class */
	struct span text;       /* every line with its code, joined by '\n'; until the next call */
	bool has_dsn;           /* the server sent the code in `dsn` */
	bool junk_before;       /* lines that are no reply stood before it */
};

enum smtp_reply_result {
	SMTP_REPLY_MORE,        /* wait for bytes */
	SMTP_REPLY_DONE,
	SMTP_REPLY_BAD,         /* maxima passed: close */
};

/* Replaces a line before anybody looks at it (smtp_reply_filter); the new one must live until the next call. */
typedef bool smtp_reply_filter_fn(void *ctx, struct span line, struct span *new_r);

struct smtp_replies {
	struct buf in;          /* bytes not yet looked at */
	struct buf text;        /* the reply in progress */
	size_t at;              /* where the next line begins in `in` */
	size_t seen;            /* up to where `in` was searched for LF */
	size_t lines, junk_lines;
	smtp_reply_filter_fn *filter;   /* NULL = none */
	void *filter_ctx;
	bool done;              /* `text` was handed out: start anew */
};

void smtp_replies_init(struct smtp_replies *r);
void smtp_replies_release(struct smtp_replies *r);
/* Forget everything, keep the memory (after STARTTLS: RFC 3207 section 4.2). */
void smtp_replies_clear(struct smtp_replies *r);

/* Add bytes from the server. False when more is waiting than anyone may send ahead. */
bool smtp_replies_feed(struct smtp_replies *r, struct span bytes);
/* The next whole reply. */
enum smtp_reply_result smtp_replies_next(struct smtp_replies *r, struct smtp_reply *reply_r);
/* Bytes received that no reply has used: after STARTTLS there must be none. */
bool smtp_replies_pending(const struct smtp_replies *r);

/*
 * Walk the lines of a reply's text. The line comes without its code and separator
 * ("250-SIZE 1000" gives "SIZE 1000"). False at the end.
 */
bool smtp_reply_line(struct span *rest, struct span *line_r);
