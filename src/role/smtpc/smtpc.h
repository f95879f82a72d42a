/*
 * The SMTP and LMTP client role: what its files share.
 *
 * A `delivery` is one request of the queue. It gathers facts about its next hops (lib/hop), decides
 * the TLS policy of each address (policy.c), takes an idle connection (reuse.c) or makes one (conn.c), and
 * holds the conversation (session.c, sasl.c, content.c). A `conn` belongs to one delivery, or to the
 * cache when idle. Both live in lists of the role; either may end first and tells the other.
 */
#pragma once

#include <netinet/in.h>

#include "base/list.h"
#include "base/log.h"
#include "dns/dns.h"
#include "hop/hop.h"
#include "hop/link.h"
#include "log/tls_loglevel.h"
#include "mail/envelope.h"
#include "role/common/role.h"
#include "smtp/client.h"
#include "tls/client_ctx.h"
#include "tls/report.h"
#include "tls/stream.h"

/* ---- a service of master.cf whose command is smtp or lmtp */

struct service {
	const struct conf_service *cs;
	const struct params *p;
	const char *name, *prefix;      /* prefix: "smtp" or "lmtp", names parameters */
	bool lmtp;
	struct hop_service hop;         /* TLS parameters, policy tables, lookup methods, port */
	struct tls_client_ctx *tls_ctx; /* NULL: no TLS, `tls_fault` says why when there should be */
	struct fault tls_fault;
	unsigned tls_log;               /* enum log_tls_feature */
	struct log_tls_rate dumps;
	bool md5_by_default;            /* the digest of fingerprints is md5, and nobody has said so: to be told once */
	struct maps *passwords, *generic, *discard_by_address;
	struct maps *header_checks, *mime_header_checks, *nested_header_checks, *body_checks;
	struct maps *reply_filter, *status_filter;
	struct maps *loglevels;         /* smtp_tls_loglevel_maps */
	const char *collector;          /* smtp_tlsrpt_socket_name, absolute */
	struct strlist *always_cache, *mechanisms, *mydestination;
	unsigned discard;               /* EHLO keywords */
};

/* ---- who we are there */

struct login {
	bool found;
	struct span user, password;
};

/* ---- a request of the queue */

enum outcome_status { OUT_NONE, OUT_SENT, OUT_DEFERRED, OUT_BOUNCED, OUT_PASSED };

/* The decision about one recipient. */
struct outcome {
	enum outcome_status status;
	bool softened;                  /* soft_bounce */
	bool passed_over;               /* not decided; what the server of this session said is below */
	bool told;                      /* why.c: there is a record */
	unsigned flags;                 /* of DELIVER_DONE */
	char dsn[10];
	struct span text, reply, mta;   /* mta: host that spoke, empty = ourselves */
};

struct conn;
struct report;
struct smtpc_role;

struct delivery {
	struct list node;
	struct smtpc_role *role;
	struct service *svc;
	struct ipc_from from;
	struct arena *arena;
	struct asks *asks;
	struct asks *native;            /* the same by getaddrinfo; made when first needed */
	struct loop_task task;          /* goes on from the loop */
	struct log log;

	/* the request */
	struct span qid, nexthop;
	struct envelope env;
	struct ipc_rcpt *rcpts;
	size_t n_rcpts;
	int64_t arrival_us, active_us, handed_us;       /* wall clock */
	bool backlog, probe, passed;
	struct span pass;               /* for the outcomes OUT_PASSED: transport[:nexthop] */
	struct span content;            /* inline */
	int file;                       /* else -1 */
	uint64_t offset, size;

	/* progress */
	enum {
		STAGE_BEGIN,            /* facts about the next hop */
		STAGE_RESOLVE,
		STAGE_ADDRESS,          /* choose the next address */
		STAGE_SESSION,
		STAGE_DONE,
	} stage;
	struct hop_list hops;
	size_t hop;
	struct hop facts;               /* about hops.hop[hop] */
	size_t addr;                    /* next one to try */
	int sessions;                   /* that got past the handshake, for smtp_mx_session_limit */
	bool clear_now;                 /* the next attempt is the clear-text retry of this address (tls-client.md 1.2) */
	unsigned rungs_tried;           /* of the ladder, at this address: bits 1u << enum tls_rung */
	struct span retried;            /* that address, and its port */
	uint16_t retried_port;
	bool met_myself;                /* a best server said that it has our name */
	bool resolved;                  /* the addresses of `facts` are those of this hop */
	struct hop_address tried;           /* where a cached connection went; port 0 and no text = nowhere */
	struct span passed_over;        /* text that was logged last */
	struct login login;
	bool login_by_hop;
	struct hop_address current;
	bool final;                     /* no server is left after this one */

	/* the conversation */
	struct conn *conn;
	struct smtpc_tx tx;
	struct smtpc_rcpt *tx_rcpts;
	struct outcome *outcomes;
	struct fault fault;             /* of the last server that could not be used */
	struct fault throttle;
	int64_t connected_us;           /* wall clock, 0 = never */
	unsigned conn_use;
	unsigned discard;               /* EHLO keywords hidden from this server */
	unsigned tls_log;               /* of this server */
	int64_t failed_us;              /* when the last attempt to connect failed */
	bool under_tls, forward_secret; /* the last session */
	bool server_dsn;                /* the server of the last session offered DSN */
	struct span mta;                /* its name */
	struct span relay;              /* for the log */
	struct span tls_state;          /* tls= field */
	struct span why_peer, why_brief;        /* of the server that was just left: why.c */
	struct span *why_to;            /* room for the recipients of a record */
	unsigned why_records, why_tried;
	struct report *report;          /* about this next hop; NULL = none is wanted */
	struct content_state *cstate;
	struct checks *checks;
	bool generic_done;
	enum { LINES_UNKNOWN, LINES_FIT, LINES_LONG } long_lines;
	struct span tx_sender, *rcpt_out;       /* as the server sees them */
};

/* ---- a connection */

struct conn {
	struct list node;               /* role->conns or role->idle */
	struct smtpc_role *role;
	struct service *svc;
	struct delivery *d;             /* NULL: idle, or closing */
	struct arena *arena;
	struct arena *scratch;          /* conn_filter_reply */
	struct hop_link l;              /* socket, stream and engine */
	struct tls_decision decision;
	unsigned tls_log;               /* enum log_tls_feature */
	struct stream_tracer tracer;
	bool tls_off;                   /* clear-text retry */
	bool tls_done;                  /* handshake finished */
	bool forward_secret;            /* ... with keys that later disclosures cannot give away (tls/info.h) */
	bool plainer;                   /* at a rung below full strength */
	bool matched;                   /* the server's credential is what the policy wants */
	char tls_state[80];
	struct span why;                /* what why.c writes of this connection, and the tls_state that it is for */
	char why_state[80];
	struct span why_failure;        /* how the handshake failed */
	bool reported;                  /* report.c has had its event */
	const char *report;             /* what that was; NULL = nothing */
	struct span key;                /* reuse.c */
	int64_t born_us, idle_since_us; /* monotonic */
	unsigned taken;                 /* times it came out of the cache */
	struct sasl *sasl;
	bool authenticated;
};

/* Where TLS reports go: collector.c. */
struct collector {
	struct loop *loop;
	int fd;                         /* made when first needed */
	struct list unsent;
	size_t n_unsent, unsent_bytes;
	struct loop_timer timer;
	uint64_t lost;                  /* since the last complaint */
	int64_t complained_us;
};

enum { WHY_WAITING_MAX = 512 * 1024 };

struct smtpc_role {
	struct role *role;
	struct loop *loop;
	struct arena *arena;            /* as long as the process */
	struct service *services;
	size_t n_services;
	struct list deliveries, conns, idle;
	size_t n_deliveries, n_conns, n_idle;
	uint64_t total_sent, total_failed;
	struct tls_ladder *ladder;      /* plainer TLS that hosts turned out to need */
	struct tls_totals {
		uint64_t handshakes, resumed, failed, forward_secret, post_quantum, plainer;
		uint64_t sent, sent_forward_secret;     /* deliveries under TLS */
	} tls;
	struct hop_own own;             /* inet_interfaces, proxy_interfaces */
	struct buf why_waiting;         /* records, while there is no logger */
	uint64_t why_lost;              /* records that were not sent since the last complaint */
	int64_t why_complained_us;
	struct list reports;
	size_t n_reports;
	struct collector collector;
	struct asks_link *native;       /* questions with native = true */
	struct hop_bind bind;           /* what we connect from */
};

/* smtpc.c */
void smtpc_idle_check(struct smtpc_role *s);     /* draining: is all work done? */

/* The role's state without the sandbox, and its end: for open() and for tests. */
void smtpc_state_open(struct role *r);
void smtpc_state_free(struct role *r);

/* keys.c: our certificates, whose keys are with keeper. */
void client_keys_open(struct role *r);
void client_keys_start(struct role *r);

/* service.c */
void services_release(struct smtpc_role *s);
void services_open(struct smtpc_role *s);
struct service *service_find(struct smtpc_role *s, struct span name);
void own_addresses_find(struct smtpc_role *s);

/* deliver.c */
void deliver_on_start(void *ctx, struct ipc_from from, struct ipc_deliver_start *m);
/* Which deliveries are under way. */
void deliver_on_roll(void *ctx, struct ipc_from from, struct ipc_deliver_roll *m);
void deliver_drop(struct delivery *d);          /* without an answer */
void deliver_run(struct delivery *d);           /* from the loop only */
void deliver_ready(void *delivery);              /* answers are in: for asks_new */
void deliver_wake(struct delivery *d);          /* run on the next turn */
/* The session ended (d->conn is NULL): tx_rcpts hold answers, `why` what broke it (dsn empty = nothing did). */
enum {
	FAIL_THROTTLE = 1,              /* the destination should be tried less, if this was its last server */
	FAIL_SAME_AGAIN = 2,            /* not an outcome: the same address once more */
	FAIL_STALE = 4,                 /* not an outcome: a cached connection was dead */
	FAIL_MESSAGE = 8,               /* the message does not fit this server */
};
void deliver_session_over(struct delivery *d, const struct fault *why, unsigned flags);

/* outcome.c */
bool outcome_all_decided(const struct delivery *d);
void outcome_collect(struct delivery *d);       /* answers of the session that just ended */
void outcome_rest(struct delivery *d, const struct fault *why);
void outcome_pass(struct delivery *d);          /* the rest is for best_mx_transport */
bool outcome_remembered(struct delivery *d);     /* decide by earlier answers that were passed over; any? */
void outcome_report(struct delivery *d);        /* log and answer the queue */

/* policy.c: false with d->fault (and a line in the log) when this server cannot be used */
bool policy_decide(struct delivery *d, const struct hop_address *addr, struct arena *a, struct tls_decision *dec_r);
/* Warnings that gathering facts left. */
void policy_log_facts(const struct delivery *d);

/* conn.c */
struct conn *conn_new(struct delivery *d, const struct hop_address *addr);
void conn_free(struct conn *c);
void conn_start_tls(struct conn *c, enum hop_link_phase phase);
void conn_quit(struct conn *c);                 /* polite end, nobody waits */
bool conn_filter_reply(void *conn, struct span line, struct span *new_r);

/* session.c: false when the connection was given away or freed */
bool session_event(struct conn *c, enum smtpc_event ev);
bool session_ready(struct conn *c);             /* connected */
bool session_tls_done(struct conn *c, bool ok, const char *reason);
void session_connect_failed(struct conn *c, const char *reason);
bool session_begin(struct conn *c);             /* login if need be, then mail */

/* ladder.c: plainer TLS before clear text (tls/ladder.h) */
/* Take the rung for this attempt into the connection's decision. */
void ladder_choose(struct delivery *d, struct conn *c);
/* A handshake failed: shall the same address be tried with a plainer one? `d->retried` is set then. */
bool ladder_again(struct conn *c);
/* The handshake is done; `matched`: and the server is who it should be. Counts it. */
void ladder_done(struct conn *c, bool matched);
/* The numbers of `signet status`. */
void ladder_status(const struct smtpc_role *s, struct buf *json);

/* trouble.c: is it mail to a postmaster about mail? */
bool delivery_is_notice(const struct delivery *d);
/* The connection ends: what the postmaster is told of trouble on it, if anything. */
void conn_tell_trouble(struct conn *c);

/* trace.c: what smtp_tls_loglevel wants to see beside the verdict */
/* Ask smtp_tls_loglevel_maps about a server, into d->tls_log. WAIT, or FOUND: a table that fails changes nothing. */
enum map_result trace_level(struct delivery *d, const struct hop_address *a);
/* Its TLSA records. */
void trace_records(const struct delivery *d, const struct hop_address *a, const struct tls_decision *dec, struct arena *arena);
/* TLS is about to begin on this connection. */
void trace_begin(struct conn *c);

/* sasl.c */
enum map_result sasl_login_by_hop(struct delivery *d, struct span nexthop, struct fault *why);
enum map_result sasl_login_by_host(struct delivery *d, struct span host, struct login *login_r, struct fault *why);
/* Begin; false with `why` when no mechanism fits. */
bool sasl_begin(struct conn *c, const struct login *login, struct fault *why);
/* Answer a challenge; false when the server goes on after we cancelled. */
bool sasl_step(struct conn *c);
void sasl_refused(const struct conn *c, struct fault *why);

/* reuse.c */
struct span reuse_key(struct delivery *d, struct arena *a);
bool reuse_take(struct delivery *d);            /* d->conn is set when true */
bool reuse_give(struct conn *c, struct delivery *d);    /* after d's use: true = the cache has it */
void reuse_forget(struct conn *c);               /* it is no longer idle */
void reuse_close_all(struct smtpc_role *s);

/* why.c: records for `signet tls why`, never waited for */
/* The connection is about to be given up by this delivery: remember what was learned. */
void why_note(struct delivery *d, struct conn *c);
/* A server that is passed over because its policy cannot be used. */
void why_unusable(struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec, const char *report, const struct fault *why);
/* A next hop that leads to no server, and another one follows. */
void why_next_hop(struct delivery *d, const struct fault *why);
/* The session with the noted server is over: what became of whom there. `why` may be NULL. */
void why_session(struct delivery *d, const struct fault *why, bool again);
/* All outcomes are decided. */
void why_over(struct delivery *d);
/* The logger is (again) there. */
void why_log_up(struct smtpc_role *s, struct ipc_peer *log);

/* report.c: TLSRPT, never waited for */
/* A next hop is known: ask whether its domain wants reports. */
void report_begin(struct delivery *d);
/* The delivery has done with this next hop. */
void report_leave(struct delivery *d);
/* What became of TLS on a connection; `v` for TLS_REPORT_AT_VERDICT. */
void report_event(struct conn *c, enum tls_report_at at, const struct tls_verdict *v);
/* What `event`, which has just happened there, is called in the record of the delivery; NULL when nobody is told. */
const char *report_said(const struct delivery *d, const char *event, struct arena *a);
/* A server was passed over because of what its policy came to: what is told of it, or NULL. */
const char *report_unusable(struct delivery *d, const struct hop_address *addr, const struct tls_decision *dec);
/* No server was found. */
void report_unresolved(struct delivery *d);
void reports_drop(struct smtpc_role *s);

/* collector.c */
void collector_init(struct collector *c, struct loop *loop);
/* What is not sent is lost. */
void collector_release(struct collector *c);
/* Never waits and never fails; `path` lives as long as the collector. */
void collector_send(struct collector *c, const char *path, struct span datagram);

/* content.c */
bool content_prepare(struct delivery *d, struct conn *c, struct fault *why);
bool content_give(struct conn *c);              /* answers SMTPC_CONTENT; false: reading failed */
void content_release(struct delivery *d);

/* generic.c */
enum map_result generic_envelope(struct delivery *d, struct fault *why);
/* The value of a header as the outside shall see it; `a` takes at most twice this much. */
#define GENERIC_SCRATCH_BUDGET ((size_t)64 << 20)
enum map_result generic_value(struct delivery *d, struct asks *asks, struct arena *a, struct span value, struct buf *out,
    struct fault *why);

/* checks.c: what is to be changed in the content on its way out; in order, never overlapping */
struct content_edit {
	uint64_t at, n;                 /* bytes of the original that go */
	size_t text_at, text_n;         /* what stands there instead */
};
struct content_edits {
	struct content_edit *list;
	size_t n, cap;
	struct buf text;
};
/* MAP_FOUND: the edits are known. */
enum map_result checks_run(struct delivery *d, struct fault *why);
const struct content_edits *checks_edits(const struct delivery *d);
void checks_release(struct delivery *d);

/* native.c: name lookups by the system's ways (smtp_host_lookup = native), done by the resolver role */
struct asks_link *native_link(struct smtpc_role *s);
struct asks *native_asks(void *delivery);       /* for struct hop */

