/*
 * The client side of Dovecot's authentication protocol, version 1, without sockets: bytes from the
 * service in, events out, bytes for the service out. One connection carries any number of exchanges,
 * each with an id of ours. Everything that goes out may hold a password, so it is wiped once it is taken.
 *
 *   d = dovecot_new(getpid());
 *   send dovecot_output(d), dovecot_output_taken(d, n)      at once: the handshake
 *   dovecot_feed(d, bytes); while (dovecot_next(d, &ev)) ...
 *
 * After DOVECOT_BROKEN the connection is of no use: close it, and take every exchange as failed for now.
 */
#pragma once

#include "base/buf.h"
#include "base/span.h"

struct dovecot;

#define DOVECOT_FEED_MAX 16384u
#define DOVECOT_MECHS_MAX 64u

enum dovecot_event_kind {
	DOVECOT_READY,          /* the handshake is complete: mechanisms are known */
	DOVECOT_CONT,           /* id, data: base64 of the challenge */
	DOVECOT_OK,             /* id, user */
	DOVECOT_FAIL,           /* id, user ("" = unknown), reason ("" = none given), temporary */
	DOVECOT_BROKEN,         /* reason: what the service did that it may not do, a literal. The last event */
};

struct dovecot_event {
	enum dovecot_event_kind kind;
	uint32_t id;
	struct span data, user, reason;         /* valid until the next call */
	bool temporary;                         /* not the client's fault: it may try again */
};

struct dovecot_mech {
	char name[24];
	unsigned properties;                    /* bits of enum sasl_property */
};

/* Facts that the service gets along with the request. Empty ones are left out. */
struct dovecot_request {
	struct span mech, service;              /* "PLAIN", "smtp" */
	struct span local_addr, remote_addr;    /* text */
	struct span local_port, remote_port;
	bool secured;                           /* under TLS */
	bool valid_client_cert;                 /* a certificate that we trust was shown */
	struct span cert_username;              /* its name; with valid_client_cert */
	bool has_initial;
	struct span initial;                    /* base64, "" = an empty response */
};

struct dovecot *dovecot_new(unsigned long pid);
void dovecot_free(struct dovecot **d);

/* At most DOVECOT_FEED_MAX bytes; all events must have been taken before. */
void dovecot_feed(struct dovecot *d, struct span bytes);
bool dovecot_next(struct dovecot *d, struct dovecot_event *event_r);

struct span dovecot_output(const struct dovecot *d);
void dovecot_output_taken(struct dovecot *d, size_t n);

bool dovecot_ready(const struct dovecot *d);
size_t dovecot_mechs(const struct dovecot *d, const struct dovecot_mech **mechs_r);
/* By name, case does not count; NULL when the service does not have it. */
const struct dovecot_mech *dovecot_mech(const struct dovecot *d, struct span name);

/* So much waits to be sent that nothing more should be asked: the service does not read. */
bool dovecot_full(const struct dovecot *d);

/* Begin an exchange; only when ready and not full. False: the request is longer than the service takes; nothing was queued. */
bool dovecot_start(struct dovecot *d, const struct dovecot_request *r, uint32_t *id_r);
/* The client's response, base64. False as above: cancel it then. */
bool dovecot_continue(struct dovecot *d, uint32_t id, struct span response);
/* Nobody waits for this exchange any more; an answer may still come. */
void dovecot_cancel(struct dovecot *d, uint32_t id);
