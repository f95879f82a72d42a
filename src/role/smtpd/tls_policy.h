/*
 * smtpd_tls_policy_maps in a session: the client's entry is found before the greeting, shapes the
 * handshake, and is tested behind STARTTLS and again at each command that does something (MAIL,
 * AUTH, VRFY, ETRN). A client that does not satisfy it gets replies, never a lost connection.
 */
#pragma once

#include "role/smtpd/smtpd.h"
#include "tls/client_policy.h"

struct question;

/* What is known about one client. */
struct tls_entry {
	struct arena *arena;            /* holds this struct and everything below */
	struct span name, addr;         /* whom it was looked up for (XCLIENT may change the client) */
	struct span sni;                /* and the server name that it asked for; "" before the handshake */
	bool last_resort;               /* no key was its name or address: a server name may still choose another entry */
	bool found;                     /* an entry decides; else the service's level does */
	bool unusable;                  /* the lookup failed or the value makes no sense: 454 until the client comes again */
	struct tls_client_policy policy;
	struct span key;
	struct span source;             /* "FILE:LINE", or the table */
	struct fault why;               /* unusable */
};

bool tls_policy_service_open(struct service *svc, const struct maps_env *env, struct fault *why);
void tls_policy_service_close(struct service *svc);

/* FOUND (`s->tls_entry` is filled, or NULL without tables) or WAIT. Once per client. */
enum map_result tls_policy_find(struct session *s);
void tls_policy_forget(struct session *s);

/* An entry says how to speak to this client; the service's level does not count. */
bool tls_policy_decides(const struct session *s);
/* STARTTLS is not for this client. */
bool tls_policy_none(const struct session *s);
/* TLS or nothing: no AUTH in clear. */
bool tls_policy_demands(const struct session *s);

/* The entry names the chain, whatever name the client asks for. */
bool tls_policy_has_chain(const struct session *s);
/* Tables may have an entry for the server name that the client will ask for. */
bool tls_policy_wants_sni(const struct session *s);
/* The ClientHello has come: find the entry of its server name, if no better one decides. FOUND, WAIT, or DEFER + why: no TLS then. */
enum map_result tls_policy_by_sni(struct session *s, struct fault *why);
/* Before the handshake: certificates, protocols and ciphers of the entry. False + why: no TLS then. */
bool tls_policy_tune(struct session *s, struct fault *why);
/* After the handshake: log early what the client will be told at MAIL. */
void tls_policy_early(struct session *s);

enum tls_policy_answer { TLS_POLICY_PASSED, TLS_POLICY_REFUSED, TLS_POLICY_WAITING };
/* May this command go on? REFUSED: the engine has its answer, and it was logged. */
enum tls_policy_answer tls_policy_gate(struct session *s, struct question *q);

/* What the client has shown so far, in `a`. */
struct tls_client_shown tls_policy_shown(const struct session *s);
