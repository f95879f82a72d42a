/*
 * Access control of the SMTP server: the smtpd_*_restrictions lists, compiled once per
 * service, and their evaluation as straight code over facts (access(5), postconf(5)).
 *
 * acl_run() may answer MAP_WAIT: run it again when the asks are in. Nothing is logged or
 * done inside: what has to be done stands in the result, in order.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct acl;
struct asks;
struct asks_way;
struct policy_service;
struct policyd_request;
struct conf_service;
struct maps_env;
struct tls_info;
struct tls_client_shown;

/* The lists, by the phase they belong to. */
enum acl_list {
	ACL_CLIENT,
	ACL_HELO,
	ACL_SENDER,
	ACL_RELAY,
	ACL_RECIPIENT,
	ACL_DATA,
	ACL_END_OF_DATA,
	ACL_ETRN,
	ACL_REWRITE,            /* local_header_rewrite_clients */
	ACL_LISTS,
};

/* The moment of evaluation. */
enum acl_when {
	ACL_AT_CONNECT,
	ACL_AT_HELO,
	ACL_AT_MAIL,
	ACL_AT_RCPT,
	ACL_AT_VRFY,
	ACL_AT_DATA,
	ACL_AT_END,
	ACL_AT_ETRN,
	ACL_AT_REWRITE,                 /* whose headers are ours to complete? `permit` says */
};

/* How a DNS name of the client was had. */
enum acl_name {
	ACL_NAME_OK,
	ACL_NAME_ABSENT,                /* no PTR, or forward lookup does not confirm it */
	ACL_NAME_TEMPORARY,             /* the lookup failed */
};

struct acl_facts {
	struct span client_name;        /* verified, or "unknown" */
	struct span reverse_name;       /* PTR, unverified, or "unknown" */
	struct span addr;               /* "192.0.2.1", "2001:db8::1" */
	enum acl_name name_state, reverse_state;
	struct span namaddr;            /* "host[addr]" */
	struct span helo;               /* "" = none */
	struct span sender, recipient;  /* internal form */
	bool have_sender, have_recipient;
	struct span etrn;
	unsigned rcpts;                 /* accepted so far; at DATA and later all of them */
	struct span login;              /* SASL user name, "" = nobody logged in */
	struct span login_method;       /* "PLAIN", "XCLIENT" */
	const struct policyd_request *policy;   /* what a policy service is told; NULL = no service is to be asked */
	bool local;                     /* our own submission socket: everything is permitted */
	bool tls;
	const struct tls_info *tls_info;        /* of the handshake; NULL = no TLS */
	const struct tls_client_shown *tls_shown;       /* what tls_require judges; NULL = nothing was shown */
	bool pipelined_early;
	bool discarding;                /* DISCARD was decided for this message */
};

enum acl_act {
	ACL_ACT_HOLD,
	ACL_ACT_DISCARD,
	ACL_ACT_FILTER,
	ACL_ACT_REDIRECT,
	ACL_ACT_BCC,
	ACL_ACT_PREPEND,
	ACL_ACT_WARN,                   /* only to be logged, like those below */
	ACL_ACT_INFO,
	ACL_ACT_REJECT_WARNING,
	ACL_ACT_PERMIT,                 /* smtpd_log_access_permit_actions */
	ACL_ACT_LOG_WARNING,            /* a plain warning line: `text` is all of it */
};

struct acl_action {
	struct acl_action *next;
	enum acl_act act;
	struct span arg;                /* filter, address, header */
	struct span text;               /* for the log, behind "reject: RCPT from x[y]: " */
};

struct acl_result {
	bool permit;                    /* ACL_AT_REWRITE only */
	bool reject;
	unsigned code;
	char dsn[12];
	struct span text;               /* reply without code; '\n' between lines */
	bool hang_up;
	unsigned notice;                /* enum smtp_notice: what kind of trouble the refusal is */
	struct acl_action *actions;
	int64_t sleep_ms;               /* "sleep": hold the reply that long */
};

/*
 * Compile the lists of a service. False with the parameter and word at fault: unknown, not
 * working in this version, or lacking what it needs. `env` must outlive it.
 */
bool acl_open(const struct conf_service *svc, const struct maps_env *env, struct acl **acl_r, struct fault *why);
/* What acl_open() would say of the lists of every smtpd service, with file and line; without opening a table. */
struct conf;
struct conf_report;
void acl_conf_check(const struct conf *conf, struct conf_report *report);
/* Every entry of the access tables that the lists name, as far as their text can be read here. */
void acl_tables_check(const struct conf *conf, struct conf_report *report);
/* Is this the value of an access table? False + why: clients get 451. Neither asks nor opens anything. */
bool acl_action_check(const struct conf_service *svc, struct span value, struct fault *why);
void acl_free(struct acl **acl);

/* MAP_FOUND: decided, `*res_r` lives in `a`. MAP_WAIT: again when the asks are in. Never another. */
enum map_result acl_run(struct acl *acl, enum acl_when when, const struct acl_facts *f, struct asks *asks,
    struct arena *a, struct acl_result *res_r);

/*
 * How a policy service is asked (asks.h, asks_other()); NULL when it cannot be. Without this function every
 * check_policy_service comes to its default action.
 */
typedef const struct asks_way *acl_policy_way_fn(void *ctx, struct policy_service *service);
void acl_set_policy(struct acl *acl, acl_policy_way_fn *fn, void *ctx);
/* Is there a check_policy_service in it? Then `policy` of the facts is to be filled. */
bool acl_asks_policy(const struct acl *acl);

/*
 * For `signet tls explain --client`: what each restriction that looks at TLS, and each table of senders, alone says, in the
 * order of the lists. `says`: "permits", "refuses: 554 ...", "says nothing". Without `senders` the one in the
 * facts is nobody in particular: tables of senders are not asked, but named.
 */
struct acl_tls_said {
	const char *list, *word;
	struct span arg, says;
	const struct map_hit *entry;    /* of the table; NULL = none */
};
typedef void acl_tls_said_fn(void *ctx, const struct acl_tls_said *said);
void acl_tls_walk(struct acl *acl, const struct acl_facts *f, bool senders, struct arena *a, acl_tls_said_fn *each, void *ctx);

/* The same routes as the lists use, for who else needs them. */
struct route;
const struct route *acl_route(const struct acl *acl);

/* "reject_warning" etc., the word in the log. */
const char *acl_act_name(enum acl_act act);
/* "RCPT", "CONNECT", "END-OF-MESSAGE": the moment in the log. `ehlo` tells EHLO from HELO. */
const char *acl_when_name(enum acl_when when, bool ehlo);
