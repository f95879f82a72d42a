/*
 * The SMTP server engine (RFC 5321 and extensions), without sockets, DNS or clocks.
 *
 *   smtps_feed()        bytes from the client go in
 *   smtps_output()      bytes for the client come out
 *   smtps_next()        events: questions ("may this recipient?") and things to know
 *   smtps_accept/refuse answers to questions, by id, now or later, in any order
 *   smtps_content()     message content in wire form, dots unstuffed, to be taken away
 *
 * The engine calls nobody (but the pure functions of smtps_set_edit()). After every call that may move it, the owner drains events,
 * content and output, and sets its timer to smtps_wake_us(). Time is monotonic
 * microseconds, handed in.
 *
 * Each command has a life of its own in a queue (new, waiting, answered, sent), so
 * pipelined recipients are asked about at the same time and answered in order.
 */
#pragma once

#include "base/buf.h"
#include "base/span.h"

struct arena;
struct smtps;

/* Verbs, in the order of the counters on the disconnect line. */
enum smtps_verb {
	SMTPS_HELO,
	SMTPS_EHLO,
	SMTPS_XCLIENT,
	SMTPS_XFORWARD,
	SMTPS_STARTTLS,
	SMTPS_AUTH,
	SMTPS_MAIL,
	SMTPS_RCPT,
	SMTPS_DATA,
	SMTPS_BDAT,
	SMTPS_RSET,
	SMTPS_NOOP,
	SMTPS_VRFY,
	SMTPS_ETRN,
	SMTPS_QUIT,
	SMTPS_HELP,
	SMTPS_UNKNOWN,
	SMTPS_VERBS,
};

/* How many were given, how many of them went well. */
struct smtps_count {
	unsigned ok, total;
};

/* EHLO keywords that can be taken away (smtpd_discard_ehlo_keywords). */
enum smtps_keyword {
	SMTPS_KW_PIPELINING = 1,
	SMTPS_KW_SIZE = 2,
	SMTPS_KW_VRFY = 4,
	SMTPS_KW_ETRN = 8,
	SMTPS_KW_STARTTLS = 16,
	SMTPS_KW_ENHANCEDSTATUSCODES = 32,
	SMTPS_KW_8BITMIME = 64,
	SMTPS_KW_DSN = 128,
	SMTPS_KW_SMTPUTF8 = 256,
	SMTPS_KW_CHUNKING = 512,
	SMTPS_KW_AUTH = 2048,
	SMTPS_KW_SILENT = 1024,         /* silent-discard: not a keyword, kept in the same set */
};

/* Bits for a list such as "chunking, silent-discard"; unknown words go to `unknown_r` (the last one). */
unsigned smtps_keywords(struct span list, struct span *unknown_r);

/* smtpd_forbid_bare_newline */
enum smtps_bare_lf {
	SMTPS_BARE_LF_ALLOW,
	SMTPS_BARE_LF_NORMALIZE,
	SMTPS_BARE_LF_NOTE,
	SMTPS_BARE_LF_REJECT,
};

/* What is the same for every session of a service. Borrowed; must outlive the sessions. */
struct smtps_config {
	struct span hostname;           /* myhostname */
	struct span noop_commands;      /* smtpd_noop_commands: literal words */
	struct span verp;               /* default_verp_delimiters: two characters of verp_filter, or "" */
	struct span verp_filter;        /* verp_delimiter_filter */
	uint64_t size_limit;            /* message_size_limit, 0 = none */
	size_t line_limit;              /* line_length_limit, of a command */
	unsigned rcpt_limit, rcpt_overshoot_limit;      /* 0 = none */
	unsigned soft_error_limit, hard_error_limit, junk_limit;
	int64_t error_sleep_us;
	unsigned bare_lf_code;          /* smtpd_forbid_bare_newline_reject_code */
	size_t auth_line_limit;         /* smtpd_sasl_response_limit, SMTPS_AUTH_LINE_MAX at most */
	unsigned notify;                /* enum smtp_notice: kinds of trouble that are told, with a transcript; 0 = none, and none is kept */
	unsigned history_lines;         /* smtpd_history_flush_threshold */
	struct span notice_sender;      /* double_bounce_sender: mail from this local part, at any domain, makes no trouble that is told */
	bool soft_bounce : 1;           /* every 5xx is said as 4xx */
	bool helo_required : 1;
	bool strict_envelope : 1;       /* strict_rfc821_envelopes */
	bool smtputf8 : 1;              /* smtputf8_enable */
	bool strict_smtputf8 : 1;
	bool vrfy_disabled : 1;
	bool forbid_pipelining : 1;     /* smtpd_forbid_unauth_pipelining */
	bool replace_stray_cr : 1;      /* cleanup_replace_stray_cr_lf */
};

/* What is known about this client before it may speak. */
struct smtps_client {
	unsigned discard;               /* bits of enum smtps_keyword */
	enum smtps_bare_lf bare_lf;     /* exempt clients: SMTPS_BARE_LF_ALLOW */
	bool tls_offered : 1;           /* STARTTLS works here: a usable certificate is loaded */
	bool tls_enabled : 1;           /* level is not none, works or not */
	bool tls_required : 1;          /* level encrypt */
	bool tls_active : 1;            /* wrapper mode */
	bool local : 1;                 /* our own submission socket: no pipelining checks, no error sleeps */
	bool xclient : 1, xforward : 1; /* may use them: announced, too */
	bool verp : 1;                  /* may use XVERP; announced, too */
};

/* What XCLIENT and XFORWARD tell. */
enum smtps_x_attr {
	SMTPS_X_NAME,
	SMTPS_X_REVERSE_NAME,
	SMTPS_X_ADDR,                   /* without "IPV6:" */
	SMTPS_X_PORT,
	SMTPS_X_PROTO,
	SMTPS_X_HELO,
	SMTPS_X_LOGIN,
	SMTPS_X_DESTADDR,
	SMTPS_X_DESTPORT,
	SMTPS_X_SOURCE,                 /* LOCAL, REMOTE */
	SMTPS_X_IDENT,
	SMTPS_X_ATTRS,
};

/* Decoded, checked for their form, at most 255 bytes each, no controls. */
struct smtps_x {
	unsigned given;                 /* bits 1 << attribute */
	unsigned temporary;             /* given as [TEMPUNAVAIL] */
	struct span value[SMTPS_X_ATTRS];       /* "" of a given one: [UNAVAILABLE] or [TEMPUNAVAIL] */
};

/*
 * AUTH as this client may use it now (RFC 4954). Nothing said, or not enabled: 503. The words are copied.
 * Say it anew at each HELO, before it is accepted: they depend on TLS and on the authentication service.
 */
#define SMTPS_AUTH_LINE_MAX 32768u      /* with what is read at once it fits the input buffer */
struct smtps_auth {
	struct span mechs;              /* for the EHLO line: "PLAIN LOGIN"; "" = not announced */
	bool enabled : 1;               /* the command is known; what it comes to is for the owner to say */
	bool equals_form : 1;           /* "AUTH=..." too (broken_sasl_auth_clients) */
	bool tls_only : 1;              /* smtpd_tls_auth_only: not in clear */
};

enum smtps_body {
	SMTPS_BODY_NONE,
	SMTPS_BODY_7BIT,
	SMTPS_BODY_8BITMIME,
};

/* An open transaction: what MAIL said. Lives until the transaction ends. */
struct smtps_mail {
	struct span from;               /* internal form; "" = null sender */
	uint64_t size;                  /* SIZE=, 0 = not given */
	struct span envid;              /* xtext as given */
	struct span auth;               /* AUTH= as given, xtext; "" = not given */
	struct span verp;               /* XVERP: its two delimiters; "" = not given */
	enum smtps_body body;
	unsigned ret;                   /* enum envelope_ret */
	bool smtputf8 : 1;
	bool empty_auth : 1;            /* AUTH=<> */
};

struct smtps_rcpt {
	struct span to;                 /* internal form */
	struct span orcpt;              /* as given */
	unsigned notify;                /* bits of enum envelope_notify */
};

enum smtps_event_kind {
	/* Questions: answer every one by its id, unless SMTPS_CLOSE came first. */
	SMTPS_ASK_CONNECT,              /* may it speak? accept text: banner behind "220 " */
	SMTPS_ASK_HELO,                 /* verb says HELO or EHLO, text the name */
	SMTPS_ASK_MAIL,                 /* mail */
	SMTPS_ASK_RCPT,                 /* rcpt */
	SMTPS_ASK_DATA,                 /* before content: DATA, or the first BDAT of a transaction */
	SMTPS_ASK_EOM,                  /* all content was taken; bytes. accept text: "queued as QID" */
	SMTPS_ASK_STARTTLS,             /* accepted: handshake when the output is flushed, then smtps_tls_started() */
	SMTPS_ASK_VRFY,                 /* rcpt.to; accept text: what follows "252 2.0.0 " */
	SMTPS_ASK_ETRN,                 /* text: the argument */
	SMTPS_ASK_AUTH,                 /* mech, and text: base64 of the initial response if `initial`. accept: 235 */
	SMTPS_ASK_AUTH_RESPONSE,        /* text: base64 of the response to smtps_challenge() */
	SMTPS_ASK_XCLIENT,              /* x. accept: HELO and login are forgotten, then SMTPS_ASK_CONNECT follows */
	SMTPS_ASK_XFORWARD,             /* x; holds until SMTPS_TELL_RESET or the end of a transaction */
	SMTPS_ASK_UNKNOWN,              /* text: the whole line. accept: 500 as usual; refuse e.g. with 221 to hang up */
	/* News: no answer. */
	SMTPS_TELL_RESET,               /* the transaction ended without being accepted; why */
	SMTPS_TELL_PIPELINING,          /* input before it was this client's turn; text: the first of it */
	SMTPS_TELL_AUTH_END,            /* the exchange that was challenged ended without an answer of the owner; text: how */
	SMTPS_TELL_DISCARD,             /* EHLO keywords were left out; text: their names */
	SMTPS_TELL_BARE_LF,             /* a command line was refused for its end */
	SMTPS_TELL_IMPROPER_X,          /* verb: XCLIENT or XFORWARD was refused; text: what is wrong with it, "" = it is not for this client */
	SMTPS_TELL_NOTICE,              /* the transcript has grown long, and holds trouble: smtps_notice_take() */
	SMTPS_TELL_CLOSE,               /* flush the output, then hang up; why. The last event */
};

enum smtps_why {
	SMTPS_WHY_CLIENT,               /* RSET, a new HELO or MAIL's end */
	SMTPS_WHY_TOO_BIG,
	SMTPS_WHY_BARE_LF,
	SMTPS_WHY_QUIT,                 /* normal end, or our own 421/521/554: said all there is */
	SMTPS_WHY_LOST,                 /* "lost connection after" */
	SMTPS_WHY_TIMEOUT,              /* "timeout after" */
	SMTPS_WHY_ERRORS,               /* "too many errors after" */
};

struct smtps_event {
	enum smtps_event_kind kind;
	uint32_t id;
	enum smtps_verb verb;           /* command that caused it */
	enum smtps_why why;
	struct span text;
	struct span mech;               /* AUTH: valid syntax, as given */
	bool initial;
	const struct smtps_mail *mail;  /* NULL outside a transaction */
	const struct smtps_x *x;        /* XCLIENT and XFORWARD */
	struct smtps_rcpt rcpt;
	uint64_t bytes;
};

/* `conf` is kept by pointer. The first event is SMTPS_ASK_CONNECT. */
struct smtps *smtps_new(const struct smtps_config *conf, int64_t now_us);
void smtps_free(struct smtps **s);

/* Say who the client is; before SMTPS_ASK_CONNECT is answered. */
void smtps_set_client(struct smtps *s, const struct smtps_client *c);

/*
 * What the owner makes of lines on their way (smtpd_command_filter, smtpd_reject_filter_maps, smtpd_reject_footer): from the line and
 * `ctx` alone, at once, without a call of the engine. Results live in `a`. Any may be NULL.
 */
enum smtps_edit_result { SMTPS_EDIT_NONE, SMTPS_EDIT_DONE, SMTPS_EDIT_FAILED };
struct smtps_edit {
	/* A command, without AUTH. FAILED: 421 and the end, as nobody knows what was meant. */
	enum smtps_edit_result (*command)(void *ctx, struct span line, struct arena *a, struct span *line_r);
	/* A reply 4xx or 5xx, '\n' between its lines; true: another 4xx or 5xx takes its place ("450 4.7.1 text", one line). */
	bool (*reply)(void *ctx, struct span reply, struct arena *a, struct span *reply_r);
	/* The same reply afterwards: its footer, with "\\c" and "\\n" as smtpd_reject_footer has them; empty = none. */
	struct span (*footer)(void *ctx, struct span reply, struct arena *a);
	void *ctx;
};
void smtps_set_edit(struct smtps *s, const struct smtps_edit *e);

/* Bytes from the client. Only while smtps_wants_input(), at most SMTPS_FEED_MAX at once. */
#define SMTPS_FEED_MAX 65536u
void smtps_feed(struct smtps *s, struct span bytes, int64_t now_us);
bool smtps_wants_input(const struct smtps *s);

/* The client hung up. */
void smtps_eof(struct smtps *s, int64_t now_us);
/* The client was silent (or too slow) for smtpd_timeout: 421 4.4.2 and the end. */
void smtps_timeout(struct smtps *s, int64_t now_us);
/* End it now with this reply, e.g. { 421, "4.3.2", "HOST Service unavailable" } without reading on. */
struct smtps_reply;
void smtps_hang_up(struct smtps *s, const struct smtps_reply *r, int64_t now_us);
/* We are being replaced: hang up with 421 as soon as no transaction is open. */
void smtps_drain(struct smtps *s, int64_t now_us);

/* What to send; take what was sent away. */
struct span smtps_output(const struct smtps *s);
void smtps_output_taken(struct smtps *s, size_t n, int64_t now_us);

/* Content that arrived; the engine stops reading when it is not taken. */
struct span smtps_content(const struct smtps *s);
void smtps_content_taken(struct smtps *s, size_t n, int64_t now_us);

/* The next event; false when there is none. Spans are valid until the event is answered (news: until the next call). */
bool smtps_next(struct smtps *s, struct smtps_event *event_r);

struct smtps_reply {
	unsigned code;
	const char *dsn;                /* "5.7.1"; "" = none. The class is made to agree with the code */
	struct span text;               /* one line, or several with '\n' between */
	bool hang_up;                   /* disconnect afterwards; always with 421 and 521 */
	unsigned notice;                /* enum smtp_notice: what kind of trouble this is */
};

/* Answers. `text` as said at the questions, empty for the engine's own words. */
void smtps_accept(struct smtps *s, uint32_t id, struct span text, int64_t now_us);
void smtps_refuse(struct smtps *s, uint32_t id, const struct smtps_reply *r, int64_t now_us);

/* To SMTPS_ASK_AUTH and SMTPS_ASK_AUTH_RESPONSE: "334 text", and SMTPS_ASK_AUTH_RESPONSE follows. `text` is base64. */
void smtps_challenge(struct smtps *s, uint32_t id, struct span text, int64_t now_us);
/* The words said last; "" = none. */
struct span smtps_auth_mechs(const struct smtps *s);
void smtps_set_auth(struct smtps *s, const struct smtps_auth *a);
/* A login that came another way (XCLIENT), or none any more. */
void smtps_set_authenticated(struct smtps *s, bool yes);

/* The handshake is done: the state is that after the greeting (RFC 3207 section 4.2). */
void smtps_tls_started(struct smtps *s, int64_t now_us);
/* The same, but this client may not go on: `r` answers every command but QUIT (RFC 3207 section 4.1). Text is copied. */
void smtps_tls_refused(struct smtps *s, const struct smtps_reply *r, int64_t now_us);

/*
 * The transcript so far, when there was trouble that is told: its classes, and its lines for `text`. 0: there was none. Then it begins anew.
 * For SMTPS_TELL_NOTICE, and when the session has ended. No secret and no content is in it.
 */
unsigned smtps_notice_take(struct smtps *s, struct buf *text);

/* When smtps_tick() wants to be called (a reply is held back after errors), or INT64_MAX. */
int64_t smtps_wake_us(const struct smtps *s);
void smtps_tick(struct smtps *s, int64_t now_us);

/* Facts for policy and logs. */
const struct smtps_mail *smtps_mail(const struct smtps *s);    /* NULL: no transaction */
struct span smtps_helo(const struct smtps *s);                 /* "" = none */
bool smtps_esmtp(const struct smtps *s);
bool smtps_tls(const struct smtps *s);
bool smtps_authenticated(const struct smtps *s);
bool smtps_closed(const struct smtps *s);                      /* what events point at is gone; SMTPS_TELL_CLOSE follows */
bool smtps_idle(const struct smtps *s);                        /* no command under way, no transaction */
bool smtps_pipelined_early(const struct smtps *s);             /* for reject_unauth_pipelining */
bool smtps_saw_bare_lf(const struct smtps *s);                 /* notes=bare_lf */
const char *smtps_command(const struct smtps *s);               /* "DATA": the command begun last */
const char *smtps_where(const struct smtps *s);                /* "CONNECT", "RCPT", "DATA (12 bytes)": after what */
struct smtps_count smtps_count(const struct smtps *s, enum smtps_verb verb);
const char *smtps_verb_name(enum smtps_verb verb);             /* "MAIL" */
size_t smtps_bytes(const struct smtps *s);                     /* memory in use */
