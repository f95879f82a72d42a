/* The SMTP server role: services, sessions, messages. */
#pragma once

#include "base/arena.h"
#include "base/hmap.h"
#include "base/loop.h"
#include "intake/intake.h"
#include "log/lines_smtpd.h"
#include "log/tls_loglevel.h"
#include "mail/envelope.h"
#include "mail/qid.h"
#include "mail/received.h"
#include "maps/addrlist.h"
#include "maps/strlist.h"
#include "role/common/role.h"
#include "role/smtpd/acl.h"
#include "role/smtpd/auth.h"
#include "role/smtpd/auth_link.h"
#include "role/smtpd/counters.h"
#include "sasl/mech.h"
#include "smtp/server.h"
#include "tls/server_ctx.h"
#include "tls/stream.h"

struct message;
struct session;

#define SESSION_ARENA (1u << 20)
#define QUESTION_ARENA (8u << 20)

/* One smtpd entry of master.cf, or our own submission socket. */
struct service {
	const struct conf_service *cs;
	const char *name;               /* as in master.cf; "submit" */
	bool local;                     /* the submission socket: the peer is a user of this host */
	const struct params *p;
	struct log log;                 /* tags */
	const char *cleanup_tag, *pickup_tag;
	struct smtps_config engine[2];  /* as configured, and under stress */
	struct acl *acl;
	struct intake_conf intake;
	struct maps *discard_maps;
	struct addrlist *no_limits;     /* smtpd_client_event_limit_exceptions */
	struct addrlist *bare_lf_ok;    /* smtpd_forbid_bare_newline_exclusions */
	struct strlist *forbidden;      /* smtpd_forbidden_commands */
	struct maps *command_filter, *reject_filter, *footer_maps;     /* edit.c */
	struct strlist *fast_flush;     /* fast_flush_domains */
	struct addrlist *xclient_hosts, *xforward_hosts, *verp_hosts;
	struct strlist *submitters;     /* authorized_submit_users */
	struct maps *login_senders;     /* local: local_login_sender_maps */
	struct auth_link *auth;         /* NULL: smtpd_sasl_auth_enable is off */
	struct sasl_options auth_plain, auth_tls;
	struct addrlist *auth_exceptions;       /* smtpd_sasl_exceptions_networks */
	struct strlist *auth_filter;    /* smtpd_sasl_mechanism_filter */
	unsigned discard;
	enum smtps_bare_lf bare_lf;
	enum tls_server_level level;
	bool wrapper;
	struct tls_server_ctx *tls;     /* NULL: no TLS, or it cannot be had */
	unsigned tls_log;               /* bits of enum log_tls_feature */
	struct maps *loglevels;         /* smtpd_tls_loglevel_maps */
	struct log_tls_rate dumps;
	bool md5_by_default;            /* smtpd_tls_fingerprint_digest is md5, and nobody has said so: to be told once */
	bool tls_wanted;                /* then a change of certificate files may cure it */
	struct hmap sni;                /* answers of keeper, until files change */
	struct maps *tls_policy_maps;
	struct issuer_table *issuer_tables;     /* of tls_policy.c */
	const struct maps_env *maps_env;
};

struct listening {
	struct smtpd *d;
	struct service *svc;
	struct loop_fd watch;
	int fd;
};

struct smtpd {
	struct role *role;
	struct service *services;
	size_t n_services;
	struct listening *doors;
	size_t n_doors;
	struct list sessions;
	unsigned n_sessions, max_sessions;
	struct list auth_links;
	struct loop_task reap;          /* frees what has ended */
	struct list dead;
	struct loop_timer farewell;     /* the time to finish is nearly over */
	struct loop_timer relief;       /* look again whether memory has become free */
	struct loop_timer tickets;      /* ask keeper for the next keys */
	struct counters *counters;
	struct arena *arena;            /* as long as the process */
	struct arena *scratch;          /* one evaluation */
	uint64_t qid_count;
	uint64_t messages;              /* taken, for status */
	uint32_t instances;             /* counts what policy services are told about */
};

/* A question of the engine that is being answered. */
struct question {
	struct list node;
	struct session *s;
	struct smtps_event ev;          /* spans live until it is answered */
	int64_t not_before_us;          /* "sleep" */
	uint64_t ipc_id;                /* a question to another role, 0 = none */
	bool slept, passed;             /* the lists let it pass, limits follow */
	bool tls_passed;                /* and so does smtpd_tls_policy_maps */
	char qid[QID_MAX + 1];          /* of the message when it was asked, "" = none: what policy services are told */
	char instance[64];              /* the same for all questions of one message */
};

struct session {
	struct list node;
	struct smtpd *d;
	struct service *svc;
	const struct params *p;         /* with stress, when it began under stress */
	int fd;
	struct loop_fd watch;
	struct stream stream;
	struct smtps *engine;
	struct loop_timer timer;
	int64_t deadline_us;            /* for the client's input */
	bool tls_wanted;                /* handshake when the output is flushed */
	bool tls_handshake, handshake_writes;
	bool hello_waits;               /* the ClientHello has come, the tables are asked about its server name */
	unsigned tls_features;          /* what of its TLS is logged: bits of enum log_tls_feature */
	bool read_ready;                /* the descriptor or the TLS layer has more */
	bool closing;                   /* flush and hang up */
	enum smtps_why closed_why;
	bool ended;                     /* waits to be freed */
	bool logged_connect, counted;
	struct loop_task more;          /* read on in the next turn */
	struct arena *arena;            /* as long as the session */
	struct arena *facts_arena;      /* who the client is: `arena`, until XCLIENT says otherwise */
	struct buf upstream;            /* the proxy's header, as far as it has come */
	bool upstream_wait;             /* it is not complete: the client was not heard yet */
	bool x_known, may_xclient, may_xforward;        /* decided once, by the real client */
	struct xforward *xforward;      /* NULL = not given since the last transaction */
	struct acl_facts facts;
	struct span port;
	struct span server_addr, server_port;   /* our end of the connection */
	char instance[64];              /* of the latest question: tells policy services what belongs together */
	struct log log;
	struct log tls_log;
	struct asks *asks;              /* NULL while nothing is asked */
	struct list questions;
	struct counters_slot *slot;     /* counts the client's events */
	struct counters_slot *counted_slot;     /* and the one that counts the connection */
	uid_t uid;                      /* local: who submits */
	struct span user, full_name;
	bool user_named;                /* `user` is a login name, not only digits of the uid */
	bool names_done, limits_done;
	struct acl_action *standing;    /* decided about the client: for every message */
	bool local_headers;             /* local_header_rewrite_clients */
	uint8_t addr_bytes[16];
	size_t addr_n;
	struct tls_info *tls;           /* in `arena` */
	struct tls_entry *tls_entry;    /* smtpd_tls_policy_maps about this client; NULL = no tables */
	char *login;                    /* what facts.login points to */
	char login_method[24];
	struct auth_exchange *auth_exchange;    /* under way, at the service or at the client */
	struct question *auth_question; /* waits for the service */
	struct message *msg;            /* the open transaction */
};

/* service.c */
bool service_open(struct smtpd *d, struct service *svc, const struct conf_service *cs, const char *name, bool local,
    struct fault *why);
void service_close(struct service *svc);
/* Build svc->tls from the parameters. False + why: TLS cannot be had. */
bool service_make_tls(struct smtpd *d, struct service *svc, struct fault *why);

/* keys.c: certificates, chains by SNI name and ticket keys, which come from keeper. */
void keys_open(struct smtpd *d);
void keys_start(struct smtpd *d);
/* DH parameters were made anew. */
void keys_file_changed(struct role *r, const char *path);
void keys_take_tickets(struct smtpd *d, struct service *svc);
/* Is the name that a client asks for looked at? */
bool keys_have_sni(const struct service *svc);
/* The stream waits for the chain of its name. */
void keys_choose_chain(struct session *s);
/* The chain that tls_server_sni_maps has for a name, borrowed; NULL + why. */
struct tls_chain *keys_named_chain(struct session *s, const char *name, struct fault *why);
void keys_forget_sni(struct service *svc);
/* The TLS parameters of a service. */
void service_tls_params(const struct service *svc, struct tls_server_params *t);

/* session.c */
void session_accept(struct smtpd *d, struct service *svc, int fd);
/* session_tls.c: begin the handshake, move it on, end it with "SSL_accept error from ...: text" (NULL = the stream's words). */
void session_tls_begin(struct session *s);
void session_tls_step(struct session *s);
void session_tls_failed(struct session *s, const char *text);
/* Too many new TLS sessions before this one: it was logged. */
bool session_over_new_tls(struct session *s);
/* smtpd_tls_loglevel_maps: what is logged of this client. FOUND or WAIT. */
enum map_result session_tls_level(struct session *s);
/* Wrapper mode: names and limits are done, TLS begins. */
void session_wrapper_tls(struct session *s);
/* Move everything on: events, answers, content, output. The session may be dead afterwards. */
void session_pump(struct session *s);
struct asks *session_asks(struct session *s);
/* Bytes came from the client. */
void session_heard(struct session *s, size_t bytes);
/* Close without a further word; the memory lives to the end of the turn. */
void session_end(struct session *s);
/* Free what has ended; a draining role with nothing left is done. */
void sessions_reap(void *smtpd);
int64_t now_us(const struct session *s);
/* `qid` of the open message, else NOQUEUE. */
struct log session_log(const struct session *s);

/* client.c: who the client is. MAP_WAIT: again later; MAP_FOUND: facts are filled. */
enum map_result client_names(struct session *s);
bool client_identify(struct session *s);
/* Who the other end says it is (4 or 16 bytes), and where it says the connection arrived. Names are not touched. */
void client_set_address(struct session *s, struct span bytes, unsigned port);
void client_set_server(struct session *s, struct span bytes, unsigned port);
/* Names, address or port changed: "host[addr]" follows. */
void client_set_namaddr(struct session *s);
/* The number of events passed the limit (0 = none), and this client counts: it was logged. FOUND over, ABSENT fine, WAIT. */
enum map_result client_over(struct session *s, enum counters_rate rate, int limit, const char *what, struct arena *a);
/* The same without counting one more: after client_connections(). */
bool client_over_already(struct session *s, enum counters_rate rate, int limit, const char *what);
enum map_result client_connections(struct session *s, struct arena *a, bool *over_r);

/* question.c: answering the engine. */
void question_take(struct session *s, const struct smtps_event *ev);
/* Answer what can be answered now; true when something was. */
bool questions_run(struct session *s);
int64_t questions_wake_us(const struct session *s);
void question_free(struct question *q);
/* "reject: END-OF-MESSAGE from ...: bare <LF> received" */
void question_log_bare_lf(struct session *s, const char *where);
/* "reject: WHERE from NAMADDR: TEXT; from=<...> ..." */
void question_log_reject(struct session *s, const struct smtps_event *ev, const char *where, struct span text);

/* trouble.c: what the postmaster is told of trouble in this session, if anything; `end`: it is over. */
void session_tell_trouble(struct session *s, bool end);

/* upstream.c: a proxy tells who the client is (smtpd_upstream_proxy_protocol). */
void upstream_begin(struct session *s);
void upstream_read(struct session *s);
void upstream_timeout(struct session *s);

/* xclient.c: XCLIENT and XFORWARD. */
struct xforward {
	struct smtps_x x;               /* values point into `text` */
	char text[SMTPS_X_ATTRS][256];
};
/* Who may use them; decided at the first call, by the client of the connection. WAIT or FOUND. */
enum map_result x_authorize(struct session *s);
/* The client is somebody else from now on. */
void xclient_apply(struct session *s, const struct smtps_x *x);
void xforward_apply(struct session *s, const struct smtps_x *x);
void xforward_reset(struct session *s);
/* "name[addr]" of the first client, "unknown" when only other things were told of it, "" when nothing was. */
struct span xforward_client(const struct session *s, struct arena *a);
/* SOURCE decides whose headers these are, else `otherwise`. */
bool xforward_local(const struct session *s, bool otherwise);
/* A value for logs and the next hop; "unknown" when it is not known. */
struct span xforward_value(const struct xforward *xf, enum smtps_x_attr attr);

/* edit.c: what the administrator makes of commands and refusals. */
bool edit_service_open(struct service *svc, const struct maps_env *env, struct fault *why);
void edit_service_close(struct service *svc);
void edit_begin(struct session *s);

/* policy_facts.c: what policy services are told. */
void policy_mark(struct question *q);
/* NULL when this service asks none. Lives in the scratch arena. */
const struct policyd_request *policy_facts(struct session *s, const struct question *q, const struct acl_facts *f,
    const char *where);

/* message.c: one transaction. */
void message_begin(struct session *s, const struct smtps_mail *mail);
bool message_add_rcpt(struct message *m, const struct smtps_rcpt *r);
void message_act(struct message *m, const struct acl_action *act);
/* The qid, "" before the first recipient. */
const char *message_qid(const struct message *m);
bool message_discarding(const struct message *m);
const struct smtps_mail *message_mail(const struct message *m);
/* Number of recipients; with exactly one, `*only_r` is it. */
size_t message_rcpts(const struct message *m, struct span *only_r);
/* The transaction ended without being accepted. Harmless without one. */
void message_cancel(struct session *s);
/* 354 was given: content follows. */
void message_open_content(struct message *m);
/* Take content from the engine as far as it goes; true when something moved. */
bool message_pump(struct message *m);
/* All content is there and the lists let it pass: finish and answer question `id`. */
void message_finish(struct message *m, uint32_t id);
/* Work of ours, not of the client, is under way. */
bool message_busy(const struct message *m);
