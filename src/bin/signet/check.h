/* Parts of `signet check` beyond what loading the configuration says. Each adds to the report. */
#pragma once

#include "conf/conf.h"
#include "conf/show.h"

struct checker {
	const struct conf *conf;
	struct conf_report *report;
};

/* Tables: every one named is of a type we have, its source is there and can be read. */
void check_tables(const struct checker *c);
/* Certificates, keys, anchors; levels that keep mail out. */
void check_tls(const struct checker *c);
/* Our own certificates: the parameters of "smtpd_tls", "smtp_tls" or "lmtp_tls"; the entries of tls_server_sni_maps. */
void check_chains(const struct checker *c, const struct conf_item *items, size_t n, const char *prefix);
void check_sni(const struct checker *c, const struct conf_item *items, size_t n);
/* Keys of relay_clientcerts and check_ccert_access: can a certificate have them? */
void check_ccert(const struct checker *c, const struct conf_service *s, const struct conf_item *items, size_t n);
/* TLS of one smtpd service: client certificates, forward secrecy. */
void check_tls_server(const struct checker *c, const struct conf_service *s);
/* Entries of smtpd_tls_policy_maps: values that make no sense, names that relax. */
/* `public`: strangers come to a service with these settings. */
void check_tls_policy(const struct checker *c, const struct conf_service *s, bool public);
/* Entries of the client's TLS policy tables, decided on as delivery would. */
void check_tls_client(const struct checker *c, const struct conf_service *s);
/* Users, ports and domains that must fit together. */
void check_fit(const struct checker *c);
/* transport:nexthop and next hops, in parameters and in tables. */
void check_routes(const struct checker *c);

/* AUTH: the socket of the authentication service; passwords in clear. */
void check_sasl(const struct checker *c);
/* check_policy_service: its argument; does anybody listen there. */
void check_policy(const struct checker *c);

/* Does anybody listen? 0, or -errno. A host that is a name is not looked up: 0. */
int check_listens_path(const char *path);
/* A datagram socket; nothing is sent. */
int check_takes_datagrams(const char *path);
int check_listens_inet(const char *host, unsigned port);

/* The item of this name as the service sees it (its place in the files), or NULL. Caller's list. */
const struct conf_item *check_find(const struct conf_item *items, size_t n, const char *name);
/* A finding about a parameter, with the place where it is set. */
void check_say(const struct checker *c, enum conf_severity severity, const struct conf_item *i, const char *fix,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
