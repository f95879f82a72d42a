/* Insides of access control, for its own files and tests. */
#pragma once

#include "base/hmap.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "maps/addrkeys.h"
#include "maps/addrlist.h"
#include "maps/asks.h"
#include "maps/maps.h"
#include "maps/strlist.h"
#include "role/smtpd/acl.h"
#include "route/route.h"
#include "smtp/transcript.h"

struct acl_eval;
struct acl_tls;
struct acl_rule;
struct dns_answer;

/* What one rule says. Everything but DUNNO and the deferred forms ends its list. */
enum acl_verdict {
	ACL_DUNNO,
	ACL_PERMIT,
	ACL_REJECT,             /* `res` is filled */
	ACL_WAIT,               /* facts are missing: unwind */
};

typedef enum acl_verdict acl_fn(struct acl_eval *e, const struct acl_rule *r);

enum acl_arg {
	ACL_NO_ARG,
	ACL_ARG_MAPS,           /* a table */
	ACL_ARG_DOMAIN,         /* a DNS list, "dom=127.0.0.2" */
	ACL_ARG_NUMBER,
	ACL_ARG_TLS,            /* a policy: "{ verify match=x }", or one word */
	ACL_ARG_CCERT,          /* a table, or { table { search_order = ... } } */
	ACL_ARG_POLICY,         /* a policy service, bare or { service, name = value ... } */
};

/* Whose name stands in the reply: "<name>: <class> rejected: ...". */
enum acl_subject {
	ACL_SUBJECT_PHASE,      /* of the list the rule stands in */
	ACL_SUBJECT_CLIENT,
	ACL_SUBJECT_REVERSE,
	ACL_SUBJECT_HELO,
	ACL_SUBJECT_LOGIN,
	ACL_SUBJECT_SENDER,
	ACL_SUBJECT_RECIPIENT,
	ACL_SUBJECT_CCERT,
	ACL_SUBJECT_ETRN,
};

/* A restriction word is a row. */
struct acl_row {
	const char *word;
	enum acl_arg arg;
	enum acl_subject subject;
	acl_fn *fn;             /* NULL: known, but not working in this version */
	unsigned kind;          /* for functions that serve several rows */
};

/* What check_ccert_access looks up, in this order. */
enum acl_ccert_key {
	ACL_CCERT_CERT_FP,
	ACL_CCERT_PKEY_FP,
	ACL_CCERT_SUBJECT_CN,
	ACL_CCERT_ISSUER_CN,
	ACL_CCERT_SAN_DNS,
	ACL_CCERT_SAN_EMAIL,
	ACL_CCERT_SUBJECT_DN,
	ACL_CCERT_ISSUER_DN,
	ACL_CCERT_KEYS,
};

struct acl_ccert_order {
	uint8_t key[ACL_CCERT_KEYS];
	size_t n;
};

struct acl_rules {
	struct acl_rule *v;
	size_t n;
};

struct acl_rule {
	const struct acl_row *row;
	struct maps *maps;
	struct span arg;        /* DNS list, number */
	int64_t number;
	const struct acl_ccert_order *order;    /* ACL_ARG_CCERT */
	struct policy_service *policy;
	const struct acl_tls *tls;      /* ACL_ARG_TLS */
	const struct acl_rules *sub;    /* a restriction class */
	bool warn;              /* warn_if_reject stands in front */
};

/* Lists that came as the value of a table, compiled when first seen. */
struct acl_cached {
	struct hmap_node node;
	struct span text;
	struct acl_rules rules;
	bool bad;
	struct span why;        /* bad */
};

#define ACL_CACHE_MAX 2000u
#define ACL_DEPTH_MAX 100u

struct acl {
	const struct conf_service *svc;
	const struct params *p;
	const struct maps_env *env;
	struct arena *arena;
	struct acl_rules lists[ACL_LISTS];
	struct hmap classes;    /* struct acl_cached by class name */
	struct hmap cache;
	struct list opened;     /* tables to be closed */
	struct route *route;
	struct addrlist *mynetworks, *permit_mx_backup_networks;
	struct maps *relay_clientcerts;
	struct maps *rbl_reply_maps, *sender_login_maps;
	struct strlist *log_permit;
	acl_policy_way_fn *policy_way;  /* how policy services are asked; NULL = not here */
	void *policy_ctx;
	struct policy_service *policies;
	bool no_unlisted_checks;        /* receive_override_options */
	bool access_parents;    /* smtpd_access_maps in parent_domain_matches_subdomains */
};

struct acl_defer {
	bool active;
	unsigned code;
	char dsn[12];
	struct span text;
};

struct acl_eval {
	struct acl *acl;
	const struct params *p;
	const struct acl_facts *f;
	struct asks *asks;
	struct arena *a;
	struct acl_result *res;
	struct acl_action **tail;
	enum acl_when when;
	enum acl_list list;     /* where we stand */
	unsigned depth;
	bool warn;              /* under warn_if_reject */
	bool unlisted_recipient_done, unlisted_sender_done;
	bool discard;
	unsigned notice;        /* enum smtp_notice of what is being refused; 0 = policy */
	bool policy_failed;     /* a service's default action is being carried out */
	struct acl_defer if_permit, if_reject;
	struct map_hit *entry;  /* to be filled with the first entry of an access table; NULL = nobody explains */
	bool entry_found;
};

/* acl_eval.c */
struct span acl_subject_name(const struct acl_eval *e, enum acl_subject s);
const char *acl_subject_class(const struct acl_eval *e, enum acl_subject s);
enum acl_verdict acl_reject(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* "<name>: <class> rejected: text" */
/* "<name>: Class rejected: words". */
struct span acl_rejected(const struct acl_eval *e, enum acl_subject subject, struct span words);
enum acl_verdict acl_reject_named(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
enum acl_verdict acl_defer_if_permit(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn,
    struct span text);
enum acl_verdict acl_defer_if_reject(struct acl_eval *e, enum acl_subject subject, unsigned code, const char *dsn,
    struct span text);
enum acl_verdict acl_server_error(struct acl_eval *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum acl_verdict acl_lookup_failed(struct acl_eval *e, enum acl_subject subject, const struct fault *why);
void acl_note(struct acl_eval *e, enum acl_act act, struct span arg, struct span text);
enum acl_verdict acl_rules_run(struct acl_eval *e, const struct acl_rules *rules);

/* acl_parse.c */
/* A table that closes with the acl. */
bool acl_open_maps(struct acl *acl, struct span spec, struct maps **maps_r, struct fault *why);
bool acl_rules_parse(struct acl *acl, struct span text, struct acl_rules *rules_r, struct fault *why);
/* Lists can be parsed with it; nothing is opened, nothing can be evaluated. Free with acl_free(). */
struct acl *acl_new_unopened(const struct conf_service *svc);
/* A list that a table returned; NULL when it makes no sense. */
const struct acl_rules *acl_rules_cached(struct acl *acl, struct span text, struct span *why_r);

/* One key of an access table: true when it is decided (`*v_r`). `partial`: a part of the name, for table types that know. */
bool acl_try_key(struct acl_eval *e, const struct acl_rule *r, struct span key, bool partial, enum acl_verdict *v_r);

/* acl_table.c, acl_dns.c, acl_rbl.c, acl_names.c, acl_rcpt.c */
acl_fn acl_check_access, acl_check_server_access, acl_address_map;
/* What an access table is about where it stands: ACL_KIND_... */
unsigned acl_access_kind(const struct acl_eval *e, const struct acl_rule *r);
acl_fn acl_rbl, acl_rhsbl, acl_dnswl, acl_rhswl, acl_unknown_helo, acl_unknown_domain, acl_mx_backup;
acl_fn acl_permit_networks, acl_permit_interfaces, acl_unknown_client, acl_unknown_reverse, acl_naked, acl_bad_helo, acl_non_fqdn_helo,
    acl_non_fqdn_address, acl_plaintext, acl_pipelining, acl_multi_bounce;
acl_fn acl_unauth_destination, acl_auth_destination, acl_unlisted;
/* acl_policy.c */
acl_fn acl_policy;
/* acl_login.c */
acl_fn acl_permit_login, acl_login_mismatch, acl_login_access;
/* acl_tls.c */
acl_fn acl_tls_require;
/* Compile a policy. False: it makes no sense, or demands nothing. */
bool acl_tls_parse(struct acl *acl, struct span arg, const struct acl_tls **tls_r, struct fault *why);
enum acl_verdict acl_tls_demand(struct acl_eval *e, const struct acl_tls *t, enum acl_subject subject, struct span key);

/* acl_ccert.c */
acl_fn acl_ccert_access, acl_permit_ccerts;
/* Take the argument of check_ccert_access apart. */
bool acl_ccert_parse(struct acl *acl, struct span arg, struct span *table_r, const struct acl_ccert_order **order_r,
    struct fault *why);
enum acl_verdict acl_unlisted_recipient(struct acl_eval *e);
/* The name as a host (A-labels) in DNS: the answer, NULL when it is no host name. FOUND or WAIT. */
enum map_result acl_dns_get(struct acl_eval *e, struct span name, unsigned type, const struct dns_answer **answer_r);
/* "5.7.1 text": code and text taken apart; `fallback` where no code stands. */
struct span acl_split_dsn(struct span text, const char *fallback, char dsn[12]);
/* Act on the value of an access table (access(5)). */
enum acl_verdict acl_action(struct acl_eval *e, const struct acl_rule *r, struct span key, struct span value);

/* Where an address would go. False: `*v_r` is the verdict (wait, or lookup failed). */
bool acl_resolve(struct acl_eval *e, struct span addr, enum acl_subject subject, struct route_answer *to_r, enum acl_verdict *v_r);
/* What a wait or a failure of a lookup means here; true: `*v_r` is to be returned. */
bool acl_stopped(struct acl_eval *e, enum map_result got, enum acl_subject subject, const struct fault *why,
    enum acl_verdict *v_r);

/* Kinds, for functions that serve several rows. */
enum acl_kind {
	ACL_KIND_REJECT,
	ACL_KIND_DEFER,
	ACL_KIND_CLIENT,
	ACL_KIND_REVERSE,
	ACL_KIND_HELO,
	ACL_KIND_SENDER,
	ACL_KIND_RECIPIENT,
	ACL_KIND_ETRN,
	ACL_KIND_LISTED,
	ACL_KIND_TRUSTED,
	ACL_KIND_LOGGED_IN,     /* reject_*_sender_login_mismatch: for whom it looks */
	ACL_KIND_NOT_LOGGED_IN,
	ACL_KIND_ANYBODY,
	ACL_KIND_KNOWN,         /* anybody, but only addresses that have an owner */
	ACL_KIND_A = 16,        /* added: look at the servers of the name */
	ACL_KIND_MX = 32,
	ACL_KIND_NS = 48,
	ACL_KIND_SERVER_MASK = 48,
};

