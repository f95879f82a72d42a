/*
 * Lines of the SMTP server in Postfix's format (mta-core.md sections 1, 2 and 11). The
 * queue id, or NOQUEUE, stands in the `struct log`. `namaddr` is "host[addr]" or
 * "host[addr]:port". Text from outside is made printable here.
 */
#pragma once

#include "base/log.h"
#include "base/span.h"

struct log_smtpd_count {
	const char *name;               /* "ehlo" */
	unsigned ok, total;
};

/* Who and what a line about a transaction names; empty spans are left out, but for a null sender. */
struct log_smtpd_env {
	struct span sender, recipient;  /* external form */
	bool have_sender, have_recipient;
	struct span proto, helo;
};

/* "connect from NAMADDR" */
void log_smtpd_connect(const struct log *l, struct span namaddr);
/* "disconnect from NAMADDR ehlo=1 mail=1 rcpt=1/2 commands=3/4[ notes=bare_lf]" */
void log_smtpd_disconnect(const struct log *l, struct span namaddr, const struct log_smtpd_count *counts, size_t n,
    const char *notes);
/* "lost connection after DATA (12 bytes) from NAMADDR", "timeout after ...", "too many errors after ..." */
void log_smtpd_ended(const struct log *l, const char *how, const char *where, struct span namaddr);
/* Who brought a message; empty members are left out. */
struct log_smtpd_client {
	struct span namaddr;
	struct span orig_queue_id, orig_client;         /* by XFORWARD */
	struct span sasl_method, sasl_username;         /* who logged in */
	struct span sasl_sender;                        /* AUTH= of MAIL */
};
/* "client=NAMADDR[, orig_queue_id=..][, orig_client=..][, sasl_method=PLAIN, sasl_username=u][, sasl_sender=..]" */
void log_smtpd_client(const struct log *l, const struct log_smtpd_client *c);
/*
 * a warning: "NAMADDR: SASL LOGIN authentication failed: <reason>, sasl_username=u"; without a user
 * "(unavailable)". fail2ban reads it.
 */
void log_smtpd_sasl_failed(const struct log *l, struct span namaddr, struct span mech, struct span reason, struct span user);
/* "NAMADDR: SASL authentication aborted: <how>": no word that fail2ban counts */
void log_smtpd_sasl_aborted(const struct log *l, struct span namaddr, struct span how);
/* "uid=N from=<user>", with the tag of pickup */
void log_smtpd_pickup(const struct log *l, unsigned long uid, struct span sender);
/* "reject: RCPT from NAMADDR: 554 5.7.1 <x>: Relay access denied; from=<..> to=<..> proto=.. helo=<..>" */
void log_smtpd_action(const struct log *l, const char *action, const char *where, struct span namaddr, struct span text,
    const struct log_smtpd_env *env);
/* "improper command pipelining after CMD from NAMADDR: <input>", CR and LF as \r\n */
void log_smtpd_pipelining(const struct log *l, const char *where, struct span namaddr, struct span input);
/* a warning: "non-SMTP command from NAMADDR: <line>" */
void log_smtpd_not_smtp(const struct log *l, struct span namaddr, struct span line);
/* a warning: "improper XCLIENT command from NAMADDR: <why>"; why "" = it is not authorized */
void log_smtpd_improper_x(const struct log *l, bool xclient, struct span namaddr, struct span why);
/* "discarding EHLO keywords: CHUNKING DSN" */
void log_smtpd_discarding(const struct log *l, struct span keywords);
/* a warning: "Connection concurrency limit exceeded: 51 from NAMADDR for service smtp" */
void log_smtpd_limit(const struct log *l, const char *what, unsigned count, struct span namaddr, const char *service);
/* a warning: "hostname NAME does not resolve to address ADDR[: why]" */
void log_smtpd_forged(const struct log *l, struct span name, struct span addr, struct span why);
/* a warning: "Wrapper-mode request dropped from NAMADDR for service SERVICE. ..." */
void log_smtpd_wrapper_dropped(const struct log *l, struct span namaddr, const char *service);
/* "removed (canceled)", with the tag of cleanup */
void log_smtpd_canceled(const struct log *l);
/* anvil's "statistics: max connection rate 5/60s for (smtp:192.0.2.1) at Nov 23 20:51:00" */
void log_smtpd_statistics(const struct log *l, const char *what, unsigned value, const char *unit, const char *service,
    struct span addr, int64_t wall_us);
