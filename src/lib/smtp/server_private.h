/* Insides of the SMTP server engine, for its own files and tests. */
#pragma once

#include "base/arena.h"
#include "base/list.h"
#include "smtp/server.h"
#include "smtp/transcript.h"

/*
 * Where the connection stands. Moves are made by smtps_enter() alone, against a table
 * of legal moves.
 */
enum smtps_phase {
	PH_CONNECT,             /* greeting not given yet */
	PH_REFUSED,             /* greeted with 554: everything but QUIT is 503 (RFC 5321 section 3.1), or `refusal` */
	PH_GREETED,             /* no HELO or EHLO yet */
	PH_READY,               /* HELO or EHLO accepted */
	PH_MAIL,                /* sender accepted */
	PH_RCPT,                /* at least one recipient accepted */
	PH_CONTENT,             /* between 354 and the end of data */
	PH_BDAT,                /* at least one chunk was given */
	PH_TLS,                 /* 220 given, handshake under way */
	PH_CLOSED,
	PH_COUNT,
};
#define IN(ph) (1u << (ph))

/* A command is new, then waits for an answer or for content, then is answered; sent ones are freed. */
enum smtps_life {
	LIFE_NEW,
	LIFE_WAITING,
	LIFE_ANSWERED,
};

/* What the bytes that come next are. */
enum smtps_rx {
	RX_LINES,
	RX_DOT,                 /* content up to CRLF.CRLF */
	RX_CHUNK,               /* `chunk_left` bytes of content */
	RX_AUTH,                /* one line: the response to a challenge */
};

enum smtps_cmd_flag {
	CMD_LAST = 1,           /* client must wait for the reply: last in a pipelined group */
	CMD_MODAL = 2,          /* what follows may not be command lines */
	CMD_JUNK = 4,           /* useless in numbers (smtpd_junk_command_limit) */
	CMD_PRE_TLS = 8,        /* allowed before STARTTLS where TLS is required */
	CMD_PLAIN = 16,         /* not a verb: never counted */
	CMD_SECRET = 32,        /* its line may hold a password: wiped, never logged */
};

#define SMTPS_REPLY_MAX 2048u

struct smtps_cmd;
typedef void smtps_start_fn(struct smtps *s, struct smtps_cmd *c);
typedef void smtps_done_fn(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text);

/* A verb is a row: where it is legal, what we say elsewhere, what starts it, what its answer does. */
struct smtps_row {
	const char *name;
	enum smtps_verb verb;
	unsigned flags;
	unsigned in;                    /* phases that accept it */
	const char *refusal;            /* reply in any other phase */
	smtps_start_fn *start;
	smtps_done_fn *done;
};

struct smtps_cmd {
	struct list node;
	struct arena *arena;            /* holds this struct and everything below */
	const struct smtps_row *row;
	struct span line, args;
	enum smtps_life life;
	uint32_t id;                    /* of the question asked last; 0 = none outstanding */
	enum smtps_event_kind ask;
	bool announced : 1;             /* the question was handed out by smtps_next() */
	bool ok : 1;
	bool error : 1;                 /* counts as an error of the client */
	bool hang_up : 1;
	bool farewell : 1;              /* hang up with a 421 of its own */
	bool held : 1;                  /* `release_us` was set */
	bool bare_lf : 1;               /* its line ended in a bare LF */
	bool chunk_last : 1;
	bool chunk_drop : 1;            /* payload is read and dropped, `reply` is ready */
	bool content_done : 1;
	bool shown : 1;                 /* its line is in the transcript */
	unsigned notice;                /* enum smtp_notice: what its error is */
	int64_t release_us;
	struct span reply;              /* whole lines with CRLF */
	struct smtps_mail mail;         /* MAIL */
	struct smtps_rcpt rcpt;         /* RCPT, VRFY */
	struct smtps_x *x;              /* XCLIENT, XFORWARD */
	uint64_t chunk;                 /* BDAT */
	struct span auth_mech, auth_text;       /* AUTH: the mechanism, and what the client said last */
	bool auth_initial;
	char *auth_copy;                /* holds `auth_text` from the second line on; its length is that of the text */
};

/* Content on its way from the wire form of DATA or BDAT to CRLF lines without dots. */
enum smtps_scan_state {
	SCAN_LINE_START,
	SCAN_LINE,
	SCAN_CR,
	SCAN_DOT,               /* one '.' at the start of a line */
	SCAN_DOT_CR,
};

struct smtps_scan {
	enum smtps_scan_state state;
	enum smtps_bare_lf mode;
	bool dots;                      /* DATA: dot-stuffed, ends at CRLF.CRLF */
	bool replace_cr;                /* a stray CR becomes a space */
	bool prev_bare;                 /* the line before ended in a bare LF */
	bool saw_bare;
};

struct smtps_news {
	struct list node;
	struct smtps_event ev;
	char text[];
};

struct smtps {
	const struct smtps_config *conf;
	struct smtps_client client;
	struct smtps_edit edit;
	enum smtps_phase phase;
	int64_t now_us;

	struct buf in, out, content;
	struct span view;               /* input not used yet: `in`, or the bytes just fed */
	size_t scanned;                 /* of `view`: known to hold no LF */

	struct list cmds;               /* in the order given */
	unsigned n_cmds;
	struct list news;
	struct smtps_news *told;        /* handed out last, freed at the next call */
	uint32_t next_id;

	char *helo;
	char *refusal;                  /* in PH_REFUSED: another reply than "access denied" */
	enum smtps_rx rx;
	struct smtps_scan scan;
	uint64_t chunk_left;

	/* transaction */
	struct smtps_cmd *tx;           /* its MAIL command; NULL = none */
	unsigned rcpts, rcpts_waiting, rcpt_overshoot;
	uint64_t content_bytes;
	uint64_t chunks;                /* bytes of the BDAT commands of this message */
	uint64_t raw_bytes;             /* as counted for "DATA (N bytes)" */

	unsigned errors, junk;
	struct smtps_count counts[SMTPS_VERBS];
	const char *where;
	struct smtps_auth auth;         /* `mechs` is ours */
	struct transcript transcript;

	bool esmtp : 1;
	bool tls : 1;
	bool eof : 1;
	bool draining : 1;
	bool skip_line : 1;             /* inside a command line that is too long */
	bool pipelined_early : 1;
	bool saw_bare_lf : 1;
	bool too_big : 1;
	bool data_asked : 1;            /* data restrictions passed for this transaction */
	bool bdat_failed : 1;
	bool xforwarded : 1;            /* XFORWARD holds, the owner is told when no longer */
	bool authenticated : 1;
	bool skip_auth : 1;             /* inside a response line that is too long */
	bool wipe : 1;                  /* what was used of the input holds a secret */
	bool lines_unsure : 1;          /* what is no command may be a password or content */
};

/* server.c */
/* The one way into a phase; an illegal move is our bug. */
void smtps_enter(struct smtps *s, enum smtps_phase phase);
enum smtps_phase smtps_rest_phase(const struct smtps *s);
bool smtps_can(const struct smtps *s, unsigned keyword);
/* Work on what is already here. */
void smtps_turn(struct smtps *s, int64_t now_us);

/* server_event.c */
/* The command waits until the owner has answered. */
void smtps_ask(struct smtps *s, struct smtps_cmd *c, enum smtps_event_kind kind);
/* News for the owner, who does not answer; `text` is copied. */
void smtps_tell(struct smtps *s, enum smtps_event_kind kind, enum smtps_why why, struct span text);

/* server_line.c */
/* Make the next input line a command; true when something moved. */
bool smtps_line_step(struct smtps *s);

/* server_cmd.c */
/* A command at the end of the queue; `line` is copied. */
struct smtps_cmd *smtps_cmd_new(struct smtps *s, const struct smtps_row *row, struct span line);
void smtps_cmd_drop_all(struct smtps *s);
/* Start commands whose turn it is, send the reply of the first; true when something moved. */
bool smtps_cmd_step(struct smtps *s);
/* Input that is waiting should have waited for the reply to `c`: the owner is told. True: it is forbidden, `c` is answered. */
bool smtps_cmd_early(struct smtps *s, struct smtps_cmd *c);
/* Flush and hang up. */
void smtps_close(struct smtps *s, enum smtps_why why);
/* The transaction is over; `tell`: without having been accepted or refused by the owner. */
void smtps_tx_end(struct smtps *s, bool tell, enum smtps_why why);

/* server_reply.c */
/* Set the reply and the outcome: 2xx and 3xx are good. `fmt` begins with the code; lines are ended here. */
void smtps_say(struct smtps *s, struct smtps_cmd *c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same from its parts; each line of `text` becomes one of the reply's, `dsn` may be empty. */
void smtps_compose(struct smtps *s, struct smtps_cmd *c, unsigned code, const char *dsn, struct span text);
/* A reply that ends no command: at once. */
void smtps_put(struct smtps *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void smtps_put_reply(struct smtps *s, unsigned code, const char *dsn, struct span text);
/* Append a reply, filtered and with its footer. The code that it has in the end. */
unsigned smtps_reply_add(struct smtps *s, struct buf *out, unsigned code, const char *dsn, struct span text, bool utf8);
/* Take "250 2.1.0 Ok" apart. */
struct span smtps_reply_split(struct span text, unsigned *code_r, char dsn[16]);

/* server_notice.c */
/* The command's line goes into the transcript, if it is not there yet. */
void smtps_show(struct smtps *s, struct smtps_cmd *c);
/* The reply of a command: what it shows, and what trouble it is. */
void smtps_show_reply(struct smtps *s, struct smtps_cmd *c);
/* It was the end of a message, or RSET or the like: a transcript that has grown long is told, or forgotten. */
void smtps_show_end(struct smtps *s, enum smtps_verb verb, enum smtps_event_kind ask);

/* server_verbs.c */
const struct smtps_row *smtps_row_find(struct span verb);
const struct smtps_row *smtps_row_connect(void);
const struct smtps_row *smtps_row_bad(const char *why);
extern const struct smtps_row smtps_row_unknown;
/* The answer to SMTPS_ASK_CONNECT: the greeting, or a refusal that was composed already. */
void smtps_greet(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text);
/* Refuse a BDAT wherever it stands: its payload has to be read all the same. */
void smtps_bdat_refuse(struct smtps *s, struct smtps_cmd *c, const char *reply);

/* server_auth.c */
void smtps_auth_start(struct smtps *s, struct smtps_cmd *c);
void smtps_auth_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text);
/* Take a response line; true when something moved. */
bool smtps_auth_step(struct smtps *s);
/* The exchange of the command, if one is under way, ends here. */
void smtps_auth_drop(struct smtps *s, struct smtps_cmd *c);
/* What of early input may be logged: no argument of AUTH. */
struct span smtps_auth_redact(struct span input, bool all, char out[128]);
/* "550 5.5.2 ... bare <LF> received" and the end. */
void smtps_bare_lf_refuse(struct smtps *s, struct smtps_cmd *c);

/* server_params.c: parse what follows MAIL and RCPT; false: replied. */
bool smtps_parse_mail(struct smtps *s, struct smtps_cmd *c);
bool smtps_parse_rcpt(struct smtps *s, struct smtps_cmd *c);
bool smtps_parse_vrfy(struct smtps *s, struct smtps_cmd *c);

/* server_x.c */
void smtps_x_keywords(const struct smtps *s, struct buf *lines);
void smtps_x_start(struct smtps *s, struct smtps_cmd *c);
void smtps_xclient_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text);
void smtps_xforward_done(struct smtps *s, struct smtps_cmd *c, bool accepted, struct span text);

/* server_content.c */
void smtps_scan_init(struct smtps_scan *sc, bool dots, enum smtps_bare_lf mode, bool replace_cr);
/*
 * Take bytes from `in`, append content to `out` while it has room. Returns how many were used;
 * `*end_r` when the end of data was among them (they are then all used up to it).
 */
size_t smtps_scan(struct smtps_scan *sc, struct span in, struct buf *out, bool *end_r);
/* End of length-framed content: complete the last line. */
void smtps_scan_finish(struct smtps_scan *sc, struct buf *out);
/* Move content input on; true when something moved. */
bool smtps_content_step(struct smtps *s);
void smtps_content_begin(struct smtps *s, struct smtps_cmd *c);
