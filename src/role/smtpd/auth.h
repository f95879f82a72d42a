/*
 * AUTH in sessions (RFC 4954): what is announced to which client, the exchange between client and
 * authentication service, and who has logged in.
 */
#pragma once

#include "maps/map_result.h"
#include "smtp/server.h"

struct arena;
struct fault;
struct maps_env;
struct question;
struct service;
struct session;
struct smtpd;

/* Lists and the link of a service; nothing when smtpd_sasl_auth_enable is off. */
bool auth_service_open(struct smtpd *d, struct service *svc, const struct maps_env *env, struct fault *why);
void auth_service_close(struct service *svc);

/*
 * Tell the engine what AUTH is for this client now; before every HELO is accepted. MAP_WAIT: again
 * later. MAP_DEFER: a table failed (logged): the greeting must be refused for now. Else MAP_FOUND.
 */
enum map_result auth_announce(struct session *s);

/* SMTPS_ASK_AUTH and SMTPS_ASK_AUTH_RESPONSE. True when the engine has its answer. */
bool auth_start(struct session *s, struct question *q);
bool auth_continue(struct session *s, struct question *q);
/* SMTPS_TELL_AUTH_END: over, without an answer of the service. */
void auth_ended(struct session *s, struct span how);
/* The question is being freed: nobody waits for its answer. */
void auth_question_gone(struct question *q);
/* No exchange any more. Harmless without one. */
void auth_cancel(struct session *s);

/*
 * Who this client is from now on: method "PLAIN" or "XCLIENT", user "" = nobody (again). It shows in
 * restrictions, the log, the Received header and the envelope.
 */
void session_set_login(struct session *s, struct span method, struct span user);
/* AUTH= of the open MAIL, decoded, in `a`: only of a client that logged in; "" = none or <>. */
struct span session_auth_sender(const struct session *s, const struct smtps_mail *mail, struct arena *a);
