/*
 * TLSRPT (RFC 8460) as far as a sending client has it: the record that asks for reports, the event of one connection,
 * and the datagram that tells a collector of it (protocol 1 of libtlsrpt). Counting, reports and their delivery are the
 * collector's. All of it is pure: who asks DNS and who sends is role smtpc.
 */
#pragma once

#include "base/buf.h"
#include "tls/verify.h"

/* ---- is this a destination to report about? */

/* Owned by the caller; looked at during the call alone. */
struct tls_report_scope {
	bool enabled;                   /* smtp_tlsrpt_enable */
	bool lmtp, unix_socket;
	bool tls_required_no;           /* header "TLS-Required: no" is in force */
	const char *global_level;       /* smtp_tls_security_level as written: legacy booleans and tables do not count */
	struct span domain;             /* of the next hop, A-label form, or an address */
};

/*
 * RFC 8460 section 1: SMTP between domains, with smtp_tls_security_level a level above none; not LMTP, not UNIX sockets, not
 * addresses, and not mail that waives TLS (RFC 8689 section 5). False = no record is asked for and nothing is told; no failure.
 */
bool tls_report_wanted(const struct tls_report_scope *s);

/* ---- the record (RFC 8460 section 3) */

enum tls_report_found {
	TLS_REPORT_ASKED_FOR,           /* the domain wants reports */
	TLS_REPORT_NO_RECORD,
	TLS_REPORT_SEVERAL,             /* as good as none */
	TLS_REPORT_BAD_RECORD,          /* nobody can send what it asks for; `why` says what is wrong */
	TLS_REPORT_FAILED,              /* no answer */
};

enum { TLS_REPORT_RECORD_MAX = 4096 };

/* RFC 8460 section 3: does this text begin as a record of version 1? Whatever does not is not counted. Pure, takes any bytes. */
bool tls_report_is_record(struct span text);
/* RFC 8460 section 3: "_smtp._tls." + domain, which is in A-label form and not empty. Lives in `a`; it cannot fail. */
struct span tls_report_name(struct span domain, struct arena *a);
/*
 * RFC 8460 section 3: the one record of an answer, into record_r, which points into the answer and lives as long; empty unless
 * ASKED_FOR or BAD_RECORD (longer than TLS_REPORT_RECORD_MAX, or no printable text). Several records are none. `why` is set
 * for BAD_RECORD and FAILED alone. Nobody's mail waits for any of these.
 */
enum tls_report_found tls_report_find(const struct dns_answer *answer, struct span *record_r, struct fault *why);

/* ---- the policy that a report is about (RFC 8460 sections 1.1 and 4.4) */

enum tls_report_policy_type { TLS_REPORT_TLSA = 1, TLS_REPORT_STS = 2, TLS_REPORT_NO_POLICY = 9 };       /* as in datagrams */

struct tls_report_policy {
	enum tls_report_policy_type type;
	struct span domain;             /* TLSA base; of the table entry; of the next hop */
	const struct span *strings, *mx;
	size_t n_strings, n_mx;
};

/*
 * RFC 8460 section 4.4: of this decision, also of one that is invalid; `domain` where it names none. What p_r points to lives
 * in `a`, or belongs to the decision and its facts, so it ends with whichever goes first. It cannot fail.
 */
void tls_report_policy(const struct tls_decision *d, struct span domain, struct arena *a, struct tls_report_policy *p_r);
/* RFC 8460 section 4.4: "tlsa", "sts", "no-policy-found". Static text. */
const char *tls_report_policy_name(enum tls_report_policy_type type);

/* ---- the event */

/* What became of TLS there. */
enum tls_report_at {
	TLS_REPORT_AT_UNUSABLE,         /* the decision is invalid, nobody connected */
	TLS_REPORT_AT_NOT_OFFERED,      /* no STARTTLS in the answer to EHLO */
	TLS_REPORT_AT_REFUSED,          /* STARTTLS was answered by other than 2xx */
	TLS_REPORT_AT_HANDSHAKE,        /* it failed */
	TLS_REPORT_AT_VERDICT,          /* it is done, and `verdict` says who is there */
	TLS_REPORT_AT_OTHER,            /* no connection, a break outside the handshake, trouble of our own */
};

/* Numbers as in datagrams. */
enum tls_report_code {
	TLS_REPORT_SUCCESS = 0,
	TLS_REPORT_STARTTLS_NOT_SUPPORTED = 201,
	TLS_REPORT_CERTIFICATE_HOST_MISMATCH = 202,
	TLS_REPORT_CERTIFICATE_NOT_TRUSTED = 203,
	TLS_REPORT_CERTIFICATE_EXPIRED = 204,
	TLS_REPORT_VALIDATION_FAILURE = 205,
	TLS_REPORT_STS_POLICY_FETCH_ERROR = 301,
	TLS_REPORT_STS_POLICY_INVALID = 302,
	TLS_REPORT_STS_WEBPKI_INVALID = 303,
	TLS_REPORT_TLSA_INVALID = 304,
	TLS_REPORT_DNSSEC_INVALID = 305,
	TLS_REPORT_DANE_REQUIRED = 306,
};

struct tls_report_facts {
	const struct tls_decision *decision;
	enum tls_report_at at;
	const struct tls_verdict *verdict;      /* of AT_VERDICT */
	bool resumed;                           /* the handshake used an old session */
	bool skip_resumed;                      /* smtp_tlsrpt_skip_reused_handshakes */
	bool reused;                            /* the connection served another delivery before */
	bool reported;                          /* it has had its event */
	bool hidden;                            /* AT_NOT_OFFERED: we were told not to look for STARTTLS */
};

struct tls_report_event {
	enum tls_report_code code;
	char reason[128];               /* failure-reason-code; "" = none */
};

/*
 * RFC 8460 section 4.3: the result type for what happened, and the library's words for it in e_r, which is the caller's and
 * complete in itself. False: nothing is to be reported (the connection has had its event, was resumed and those are left
 * out, broke outside TLS); e_r is then not set. Both `decision` and, AT_VERDICT, `verdict` must be there.
 */
bool tls_report_event(const struct tls_report_facts *f, struct tls_report_event *e_r);
/* RFC 8460 section 4.3: "certificate-expired"; "success" for 0. Static text. */
const char *tls_report_code_name(enum tls_report_code code);

/* ---- the datagram */

enum { TLS_REPORT_POLICIES_MAX = 34000, TLS_REPORT_DATAGRAM_MAX = 61440 };    /* a record may grow to six times its size */

/* The connection of an event. Empty: not known. */
struct tls_report_peer {
	struct span sending_ip, mx, helo, receiving_ip;
};

/*
 * The list of policies with the event, as JSON (RFC 8259; I-JSON, RFC 7493) of at most TLS_REPORT_POLICIES_MAX bytes:
 * `[{...}]`, appended to `out`, which is the caller's and has that room. Keys as libtlsrpt's protocol 1 has them, contents of
 * RFC 8460 section 4.4. Strings of the policy and patterns that have no room are left out as a whole; how many is returned.
 */
size_t tls_report_write_policies(struct buf *out, const struct tls_report_policy *p, const struct tls_report_event *e,
    const struct tls_report_peer *peer);
/*
 * The datagram, at most TLS_REPORT_DATAGRAM_MAX bytes, appended to `out`: protocol 1 of libtlsrpt around `record` (as found,
 * RFC 8460 section 3) and `policies`, which the above has written. It cannot fail; a record has at most TLS_REPORT_RECORD_MAX.
 */
void tls_report_write(struct buf *out, struct span domain, struct span record, struct span policies);
