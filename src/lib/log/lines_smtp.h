/*
 * Delivery lines in Postfix's format, for every agent (smtp, lmtp, local, virtual, pipe, error, ...), and what
 * the SMTP client says about servers.
 */
#pragma once

#include "base/buf.h"
#include "base/log.h"
#include "base/span.h"

enum log_status {
	LOG_SENT,
	LOG_DEFERRED,
	LOG_BOUNCED,
	LOG_SOFTBOUNCE,
	LOG_DELIVERABLE,
	LOG_UNDELIVERABLE,
};

/* Times are wall clock microseconds; 0 = that point was not reached. */
struct log_delivery {
	struct span to, orig_to;        /* external form; orig_to empty or equal: left out */
	struct span relay;              /* "host[addr]:port", "local", empty = "none" */
	unsigned conn_use;              /* transactions on this connection, shown from 2 on */
	int64_t begun_us;               /* the message began to arrive */
	int64_t active_us;              /* it came into the active queue */
	int64_t handed_us;              /* the agent got it */
	int64_t connected_us;           /* connection, EHLO, TLS done; agents without network leave it 0 */
	int64_t done_us;
	int resolution;                 /* delay_logging_resolution_limit */
	struct span tls;                /* "may", "encrypt/requiretls"; empty = no field */
	const char *dsn;
	enum log_status status;
	struct span reason;
};

/*
 * "QID: to=<r>[, orig_to=<o>], relay=R[, conn_use=N], delay=D, delays=a/b/c/d[, tls=...], dsn=x.y.z, status=S (reason)"
 */
void log_delivered(const struct log *l, const struct log_delivery *ev);
/* Seconds with at least two significant digits, at most `resolution` decimals, trailing zeros cut: 0.04, 1.2, 12, 0. */
void log_delay(struct buf *out, int64_t us, int resolution);

/* "connect to host[addr]:port: reason", without queue id as Postfix has it. */
void log_smtp_connect_failed(const struct log *l, struct span text);
/* "QID: <text>": a server that is passed over, the next one is tried. */
void log_smtp_passed_over(const struct log *l, struct span text);
/* "host NAMADDR replied to HELO/EHLO with my own hostname NAME", a warning. */
void log_smtp_my_own_name(const struct log *l, struct span namaddr, struct span name);
