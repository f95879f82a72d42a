/*
 * Outbound TLS policy: a pure function from facts (parameters, table answers, names, DNS
 * answers) to one decision, with the trail of rules that led to it. Delivery, `signet tls
 * explain`, reports and the log all use this decision; nothing recomputes it.
 *
 * Levels form a total order; rules compare them.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "tls/dane.h"

enum tls_level {
	TLS_LEVEL_NONE,
	TLS_LEVEL_MAY,
	TLS_LEVEL_ENCRYPT,
	TLS_LEVEL_FINGERPRINT,
	TLS_LEVEL_HALF_DANE,    /* outcome only: never accepted in configuration */
	TLS_LEVEL_DANE,
	TLS_LEVEL_DANE_ONLY,
	TLS_LEVEL_VERIFY,
	TLS_LEVEL_SECURE,
};

/* Level names are compared without case. False for "halfdane" and unknown words. */
bool tls_level_parse(struct span word, enum tls_level *level_r);
const char *tls_level_name(enum tls_level level);

static inline bool
tls_level_needs_tls(enum tls_level l)
{
	return l > TLS_LEVEL_MAY;
}

static inline bool
tls_level_must_match(enum tls_level l)
{
	return l > TLS_LEVEL_ENCRYPT;
}

static inline bool
tls_level_needs_pkix(enum tls_level l)
{
	return l >= TLS_LEVEL_VERIFY;
}

static inline bool
tls_level_is_dane(enum tls_level l)
{
	return l >= TLS_LEVEL_HALF_DANE && l <= TLS_LEVEL_DANE_ONLY;
}

/*
 * The smtp_tls_* (or lmtp_tls_*) values as text, filled by the role from its configuration
 * once. Strings are never NULL. `prefix` is "smtp" or "lmtp": it names parameters in trails
 * and warnings. Pointers are borrowed and must outlive every decision made from them.
 */
struct tls_params {
	const char *prefix;
	const char *security_level;
	const char *protocols, *mandatory_protocols;
	const char *ciphers, *mandatory_ciphers;
	const char *exclude_ciphers, *mandatory_exclude_ciphers;
	const char *mandatory_weak;             /* smtp_tls_mandatory_weak */
	const char *verify_cert_match, *secure_cert_match;
	const char *fingerprint_cert_match, *fingerprint_digest;
	const char *trust_anchor_file;
	const char *servername;
	const char *high_cipherlist, *medium_cipherlist, *null_cipherlist;      /* tls_*_cipherlist */
	const char *eecdh_auto_curves, *ffdhe_auto_groups;                      /* tls_* */
	const char *dane_digests;                                               /* tls_dane_digests */
	const char *dane_insecure_mx_policy;    /* "may", "encrypt", "dane" */
	const char *no_dane;            /* why DANE cannot work with this configuration; NULL = it can */
	int verifydepth;
	bool use_tls : 1, enforce_tls : 1, enforce_peername : 1;        /* the legacy booleans */
	bool have_policy_maps : 1;      /* smtp_tls_policy_maps is not empty */
	bool enable_rpk : 1;
	bool connection_reuse : 1;
	bool wrappermode : 1;
	bool cname_overrides_servername : 1;
	bool enforce_sts_mx_patterns : 1;
	bool transitional_idna : 1;     /* enable_idna2003_compatibility */
	bool allow_null_ciphers : 1;    /* the switch of 20.12: grade `null` may be used */
	bool cn_fallback : 1;           /* compare the subject CN when there is no dNSName (not RFC 9525) */
	bool multi_label : 1;           /* a wildcard stands for one label or more (not RFC 9525) */
	bool force_insecure_host_tlsa_lookup : 1;
};

/* The global level from smtp_tls_security_level or the legacy booleans; false + why for an unknown word. */
bool tls_params_level(const struct tls_params *p, enum tls_level *level_r, struct fault *why);
/*
 * All that can be checked at start: level (DANE levels need DNSSEC, 20.10), protocol lists, grades, digests,
 * weak words. False + why naming the parameter.
 */
bool tls_params_check(const struct tls_params *p, struct fault *why);
/* True when an engine is needed: the level asks for TLS or a policy table may. */
bool tls_params_want_tls(const struct tls_params *p);

/* --- the policy table --- */

enum { TLS_KEYS_MAX = 400 };    /* 127 labels, three forms each */

struct tls_keys {
	struct span *key;
	size_t count;
};

/*
 * The table keys of a next hop, in the order to be tried: stop at the first hit or error.
 * `nexthop` is as written ("example.org", "[mx.example.org]:587", a UNIX path). Each key is
 * case folded and comes as written, in A-label form and in U-label form (20.7); host names
 * are followed by ".parent" keys; "[host]" and port 25 forms are the same key (20.13).
 */
void tls_policy_keys(struct span nexthop, struct arena *a, struct tls_keys *keys_r);

enum tls_answer { TLS_ANSWER_NONE, TLS_ANSWER_FOUND, TLS_ANSWER_ABSENT, TLS_ANSWER_FAILED };

struct tls_table_answer {
	enum tls_answer state;  /* NONE = not asked (no table, or not to be consulted) */
	struct span key;        /* the key that hit */
	struct span value;
	struct span source;     /* file:line, or the table's name */
	struct fault why;       /* for FAILED */
	bool per_site;          /* the legacy table (smtp_tls_per_site) gave it */
};

/* One certificate name that is accepted (spec section 5). */
struct tls_name {
	struct span name;       /* A-label, lower case; address text when `address` */
	bool subdomains : 1;    /* ".example.org": any name below, not the name itself */
	bool address : 1;
	const char *strategy;   /* "nexthop", "dot-nexthop", "hostname", "name" */
};

struct tls_digest {
	uint8_t bytes[64];
	size_t n;
};

struct tls_anchor_file {
	struct span path;
};

/* Weak things that levels above `may` refuse unless named (20.19). */
enum tls_weak {
	TLS_WEAK_SHA1 = 1,      /* SHA-1 in handshake signatures */
	TLS_WEAK_KRSA = 2,      /* static RSA key exchange */
	TLS_WEAK_DH1024 = 4,    /* DH groups below 2048 bits */
	TLS_WEAK_RSA1024 = 8,   /* RSA keys below 2048 bits */
};

/* A protocol list, ready for SSL_set_min/max_proto_version and option bits. 0 = no bound. */
struct tls_protocols {
	int min, max;           /* wire versions, 0x0301 for TLSv1 */
	uint64_t options_off;   /* SSL_OP_NO_* bits */
};

/* Section 8. False + why (text: `Invalid TLS protocol list "..."`). */
bool tls_protocols_parse(struct span list, struct tls_protocols *p_r, struct fault *why);

/* smtp_tls_exclude_ciphers and its like: no token may begin with an operator (section 9). */
bool tls_exclusions_check(struct span list, struct fault *why);

/* What a table value says; absent attributes have `has_*` false. Parsing is strict: every error is one. */
struct tls_policy {
	enum tls_level level;
	bool has_ciphers : 1, has_protocols : 1, has_exclude : 1, has_servername : 1;
	bool has_connection_reuse : 1, connection_reuse : 1;
	bool has_enable_rpk : 1, enable_rpk : 1;
	bool has_weak : 1;
	const char *digest;             /* digest=: of `match` and `rootca` instead of the parameter's; NULL = not given */
	unsigned weak;                  /* enum tls_weak bits */
	struct span ciphers, protocols, exclude, servername;
	struct span *match;             /* split; names and strategies, or digests' text */
	size_t n_match;
	struct tls_anchor_file *tafile;
	size_t n_tafile;
	struct span *rootca;            /* digests' text */
	size_t n_rootca;
	/* MTA-STS by an external daemon (section 3.3) */
	struct span policy_type, policy_domain, policy_failure;
	struct span *policy_string;
	size_t n_policy_string;
	struct span *mx_host_pattern;
	size_t n_mx_host_pattern;
	struct span *ignored;           /* attribute names that level `none` ignores (a warning each) */
	size_t n_ignored;
};

/* Parse "level attr=value { attr = value } ...". False + why: the caller makes the policy INVALID, never weaker. */
bool tls_policy_parse(struct span value, struct arena *a, struct tls_policy *p_r, struct fault *why);

/* --- facts and decision --- */

struct tls_facts {
	const struct tls_params *params;
	struct span nexthop;            /* as written, what the table is asked for */
	struct span host;               /* name (or address text) used to look up the address, before CNAME expansion */
	struct span host_canon;         /* the same after CNAME expansion; empty = no alias */
	uint16_t port;
	bool unix_socket : 1;           /* LMTP over a UNIX socket: nexthop is a path */
	bool tls_required_no : 1;       /* header "TLS-Required: no" is in force (section 17, 20.8) */
	struct span myhostname;
	struct tls_table_answer table;
	bool from_mx : 1, mx_secure : 1;        /* the host comes from an MX record; that answer was validated */
	struct span mx_owner;           /* the next-hop domain after CNAME expansion; empty = no alias */
	const struct tls_dane_facts *dane;      /* NULL until DANE is asked for (levels dane, dane-only) */
};

/* What to do when something is missing or fails. */
enum tls_next {
	TLS_NEXT_CLEAR,         /* go on in clear on this connection */
	TLS_NEXT_CLEAR_LATER,   /* clear retry to this address under the conditions of section 1.2, else defer */
	TLS_NEXT_DEFER,         /* this server is out; next one, then defer */
};

/* How plain a handshake is; the rungs of ladder.h. */
enum tls_rung { TLS_RUNG_FULL, TLS_RUNG_PLAIN, TLS_RUNG_TLS12 };

/* One rule that applied. */
struct tls_step {
	const char *rule;       /* "global level", "table entry", "level lowered", "sni", ... */
	struct span result;     /* "encrypt" */
	struct span source;     /* "smtp_tls_security_level" or "/etc/signet/tls:12" */
};

struct tls_decision {
	bool invalid;                   /* unusable: defer with `fault` (4.7.5), connect to nobody */
	struct fault fault;             /* DSN text when invalid, e.g. "client TLS configuration problem" */
	const char *failure_type;       /* RFC 8460 result type when DANE failed or was set aside, else NULL (20.5) */
	struct span *warnings;          /* log each once as a warning */
	size_t n_warnings;

	enum tls_level asked;           /* before DANE facts were applied */
	enum tls_level level;           /* in force */

	bool skip_host : 1;             /* this host is not to be connected (MTA-STS pattern, wrapper mode below encrypt) */
	bool wrapper : 1;               /* TLS from the first byte */
	bool try_tls : 1;               /* send STARTTLS when offered */
	bool must_match : 1;
	bool need_pkix : 1;
	bool enable_rpk : 1;
	bool connection_reuse : 1;
	bool policy_failure : 1;        /* section 3.6: verification must fail, as `policy_failure_type` */
	bool cn_fallback : 1;
	bool multi_label : 1;           /* for names that the administrator wrote; never for DANE and MTA-STS */
	struct fault skip_fault;        /* when skip_host */
	struct span policy_failure_type;
	enum tls_next on_no_starttls;           /* not announced */
	enum tls_next on_starttls_refused;      /* announced, answered non-2xx */
	enum tls_next on_handshake_failure;     /* also STARTTLS answered by 421, silence or a closed connection */
	enum tls_next on_mismatch;

	struct tls_name *names;         /* verify, secure */
	size_t n_names;
	const char *digest_name;        /* "sha256"; of fingerprints here and in the log */
	struct tls_digest *digests;     /* fingerprint */
	size_t n_digests;
	struct tls_anchor_file *tafiles;        /* instead of CAfile, CApath */
	size_t n_tafiles;
	struct tls_digest *rootca;      /* the chain must contain one of these; it is an anchor then */
	size_t n_rootca;
	struct tls_tlsa *tlsa;          /* all records found, each with its fate; also when they are not used */
	size_t n_tlsa, n_tlsa_usable;
	struct span tlsa_base;          /* TLSA base domain of the records */
	struct tls_dane_digests dane_digests;
	int verifydepth;

	enum tls_rung rung;             /* set by tls_ladder_apply(): plainer handshakes, the same demands */
	struct tls_protocols protocols;
	struct span protocols_text;
	struct span cipher_grade;
	struct span ciphers;            /* the complete OpenSSL string, exclusions included */
	struct span groups_curves, groups_ffdhe;        /* candidates; client_ctx probes them */
	unsigned weak;                  /* enum tls_weak bits that are allowed; all of them at `may` */
	int openssl_level;              /* security level of the SSL */
	struct span sni;                /* empty = send none */

	struct tls_policy *policy;      /* the table entry, NULL when none */
	struct tls_step *trail;
	size_t n_trail;
};

/* Whether TLSA records of this host matter to the decision; `asked` is from tls_policy_asked(). */
bool tls_policy_wants_tlsa(const struct tls_facts *facts, enum tls_level asked);

/* The level that parameters, table and message ask for, before DNS is looked at; NONE when the policy is unusable. */
enum tls_level tls_policy_asked(const struct tls_facts *facts, struct arena *a);

/*
 * Decide how to speak to one server. Pure: no clock, no network, no log. Everything lives
 * in `a` (a connection outlives the delivery whose facts these were) or belongs to the parameters. False when the decision is INVALID (same as
 * d_r->invalid): mail for this server is deferred, never sent with less.
 */
bool tls_policy_decide(const struct tls_facts *facts, struct arena *a, struct tls_decision *d_r);

/* Does `host` (A-label) match one of these MTA-STS patterns (RFC 8461 section 4.1)? */
bool tls_sts_host_matches(struct span host, const struct span *patterns, size_t count);
