/*
 * A policy service as check_policy_service names it (tls-server.md section 9.2):
 *
 *     unix:private/policy             below queue_directory; "unix:/path" as it stands
 *     inet:host:port                  "inet:[2001:db8::1]:10031"; the port as a number or a name
 *     { inet:host:port, timeout=10s, try_limit=1, { default_action = DUNNO }, policy_context=x }
 *
 * What is not said for the service is as the smtpd_policy_service_* parameters say.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"

struct params;
struct policy_pool;

struct policy_service {
	struct policy_service *next;    /* of the same lists (acl.h) */
	const char *text;               /* all of it as written: tells services apart */
	const char *name;               /* "inet:host:port", for the log */
	const char *socket_path;        /* a UNIX socket, or NULL */
	struct span host;
	unsigned port;
	int64_t timeout_ms;             /* for connecting, for writing, for reading */
	int64_t retry_delay_ms, max_idle_ms, max_ttl_ms;
	unsigned try_limit;             /* at least 1 */
	unsigned request_limit;         /* for each connection; 0 = none */
	struct span default_action, policy_context;
	bool utf8;                      /* smtputf8_enable: an action has to be UTF-8 */
	struct policy_pool *pool;       /* policy_pool.c */
};

/* It lives in `a`, parameters are kept by pointer. False + why: what is wrong with the text. */
bool policy_service_parse(struct span text, const struct params *p, struct arena *a, struct policy_service **service_r,
    struct fault *why);
/* The longest that one request may take, with every attempt and the wait for a connection. */
int64_t policy_service_patience_ms(const struct policy_service *s);
