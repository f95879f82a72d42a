/*
 * The connection to an authentication service (lib/sasl/dovecot.h): one for each smtpd_sasl_path in
 * each worker, shared by all sessions, opened when the worker starts and again whenever it was lost.
 * Everything is asynchronous; a service that hangs costs the exchanges that wait for it, each for
 * AUTH_ANSWER_MS at most, and nobody else.
 */
#pragma once

#include "base/loop.h"
#include "sasl/dovecot.h"

struct fault;
struct smtpd;
struct auth_link;
struct auth_exchange;

/* Dovecot makes guessers wait up to 17 seconds. */
#ifndef AUTH_ANSWER_MS         /* a test has less time */
#define AUTH_ANSWER_MS 30000
#endif

enum auth_answer_kind {
	AUTH_CHALLENGE,         /* data: base64 */
	AUTH_GRANTED,           /* user */
	AUTH_DENIED,            /* user and reason, "" = unknown */
	AUTH_TROUBLE,           /* not the client's fault; reason, "" = unknown */
};

struct auth_answer {
	enum auth_answer_kind kind;
	struct span data, user, reason;
};

/* From the loop only, never from inside a call. After anything but AUTH_CHALLENGE the exchange is gone. */
typedef void auth_answer_fn(void *ctx, const struct auth_answer *answer);

/*
 * The link for a path: "inet:host:port", "unix:/path", "/path", or a path below queue_directory. Made
 * when there is none. NULL + why when the text makes no sense.
 */
struct auth_link *auth_link_get(struct smtpd *d, const char *path, struct fault *why);
/* The loop runs: connect. Harmless twice. */
void auth_links_start(struct smtpd *d);
void auth_links_close(struct smtpd *d);

/* What the service offers; NULL while it cannot be reached. */
const struct dovecot *auth_link_service(const struct auth_link *l);
/* The first attempt (or the first since it was lost) is under way: soon more is known. Sessions are woken then. */
bool auth_link_pending(const struct auth_link *l);

/* How many services are configured, and how many of them cannot be reached at this moment. */
unsigned auth_links_count(struct smtpd *d, unsigned *down_r);

/* Begin. NULL: the service is not there, is waited for by too many (a thousand answers), or `*too_long_r`. */
struct auth_exchange *auth_begin(struct auth_link *l, const struct dovecot_request *r, auth_answer_fn *fn, void *ctx,
    bool *too_long_r);
/* The client's response. False: the service was lost meanwhile, or `*too_long_r`; the exchange is still to be dropped. */
bool auth_respond(struct auth_exchange *x, struct span response, bool *too_long_r);
/* Nobody wants its answer any more. Nulls; harmless on NULL. */
void auth_drop(struct auth_exchange **x);
