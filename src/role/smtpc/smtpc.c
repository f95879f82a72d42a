/* The SMTP and LMTP client role: its page of the tree of processes. */
#include "role/smtpc/smtpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/panic.h"
#include "role/common/chains.h"
#include "role/roles.h"
#include "role/smtpc/reach.h"
#include "tls/ladder.h"
#include "tls/library.h"

void
smtpc_idle_check(struct smtpc_role *s)
{
	if (s->role->draining && s->n_deliveries == 0) {
		reuse_close_all(s);
		role_done(s->role);
	}
}

/* Hosts whose TLS trouble is remembered: a few hundred bytes each. */
enum { LADDER_HOSTS = 10000 };

static void
allow(void *ctx, const char *path)
{
	role_allow_dir(ctx, path, false);
}

void
smtpc_state_open(struct role *r)
{
	struct smtpc_role *s = calloc(1, sizeof(*s));

	if (s == NULL)
		panic("out of memory");
	*s = (struct smtpc_role){ .role = r, .loop = r->loop, .arena = arena_new((size_t)64 << 20) };
	r->state = s;
	list_init(&s->deliveries);
	list_init(&s->conns);
	list_init(&s->idle);
	list_init(&s->reports);
	collector_init(&s->collector, r->loop);
	s->ladder = tls_ladder_new(LADDER_HOSTS);
	buf_init(&s->why_waiting, WHY_WAITING_MAX);
	own_addresses_find(s);
	services_open(s);
}

void
smtpc_state_free(struct role *r)
{
	struct smtpc_role *s = r->state;

	while (!list_empty(&s->deliveries))
		deliver_drop(LIST_ITEM(s->deliveries.next, struct delivery, node));
	while (!list_empty(&s->idle))
		conn_free(LIST_ITEM(s->idle.next, struct conn, node));
	while (!list_empty(&s->conns))
		conn_free(LIST_ITEM(s->conns.next, struct conn, node));
	reports_drop(s);
	services_release(s);
	tls_ladder_free(&s->ladder);
	buf_release(&s->why_waiting);
	if (s->native != NULL)
		asks_link_free(&s->native);
	hop_own_release(&s->own);
	arena_free(&s->arena);
	free(s);
	r->state = NULL;
}

static void
smtpc_open(struct role *r)
{
	const struct params *p = r->conf->params;
	struct fault why;

	if (!tls_library_open(p->tls_config_file, p->tls_config_name, &why))
		fatal("%s", why.text);
	client_keys_open(r);
	smtpc_state_open(r);
	smtpc_reach(r->conf, allow, r);
}

static void
smtpc_drain(struct role *r, bool stop)
{
	struct smtpc_role *s = r->state;

	(void)stop;
	reuse_close_all(s);
	smtpc_idle_check(s);
}

static void
smtpc_peer_up(struct role *r, struct ipc_peer *p)
{
	if (ipc_peer_role(p) == IPC_ROLE_LOG)
		why_log_up(r->state, p);
}

static void
smtpc_status(struct role *r, struct buf *json)
{
	const struct smtpc_role *s = r->state;

	buf_addf(json, "\"deliveries\": %zu, \"connections\": %zu, \"idle_connections\": %zu, \"sent\": %llu, ",
	    s->n_deliveries, s->n_conns, s->n_idle, (unsigned long long)s->total_sent);
	ladder_status(s, json);
}

const struct role_spec smtpc_role = {
	.role = IPC_ROLE_SMTPC,
	.on = { .deliver_start = deliver_on_start, .deliver_roll = deliver_on_roll },
	.network = true,
	.open = smtpc_open,
	.start = client_keys_start,
	.take_peer = role_keys_take_channel,
	.drain = smtpc_drain,
	.peer_up = smtpc_peer_up,
	.status = smtpc_status,
};
