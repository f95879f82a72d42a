/*
 * Connections to policy services: each serves one request at a time, for any session of this worker, and
 * is kept for the next one (max_idle, max_ttl, request_limit). Nothing here blocks: a service that hangs
 * costs those who ask it, each for the service's own time limits, and nobody else.
 */
#pragma once

struct asks_way;
struct policy_service;
struct smtpd;

/* Connections to one service from one worker; who finds them all busy waits, as long as for a connection. */
#define POLICY_CONNS_MAX 40u
/* Requests that wait for one. More are answered "defer" at once. */
#define POLICY_JOBS_MAX 10000u

/* acl_policy_way_fn: `smtpd` is a struct smtpd. */
const struct asks_way *policy_pool_way(void *smtpd, struct policy_service *service);
