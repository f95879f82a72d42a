/* A connection of a delivery: the link to a server (lib/hop), who owns it, and what it is for. What events mean is in session.c. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/panic.h"
#include "role/smtpc/smtpc.h"

#define ARENA_MAX ((size_t)16 << 20)

static bool
on_ready(void *owner)
{
	return session_ready(owner);
}

static void
on_connect_failed(void *owner, const char *reason)
{
	session_connect_failed(owner, reason);
}

static bool
on_tls_done(void *owner, bool ok, const char *reason)
{
	return session_tls_done(owner, ok, reason);
}

static bool
on_event(void *owner, enum smtpc_event ev)
{
	return session_event(owner, ev);
}

static void
on_idle_over(void *owner, bool broken)
{
	if (broken)
		conn_free(owner);       /* it closed, or said something that nobody asked */
	else
		conn_quit(owner);
}

static const struct hop_link_ops ops = {
	.ready = on_ready,
	.connect_failed = on_connect_failed,
	.tls_done = on_tls_done,
	.event = on_event,
	.idle_over = on_idle_over,
};

struct conn *
conn_new(struct delivery *d, const struct hop_address *addr)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		panic("out of memory");
	c->role = d->role;
	c->svc = d->svc;
	c->arena = arena_new(ARENA_MAX);
	c->l.ops = &ops;
	c->l.owner = c;
	c->l.loop = d->role->loop;
	c->l.p = d->svc->p;
	c->l.arena = c->arena;
	hop_link_init(&c->l, addr);
	c->born_us = loop_now_us(c->role->loop);
	list_push_back(&c->role->conns, &c->node);
	c->role->n_conns++;
	c->d = d;
	d->conn = c;
	return c;
}

void
conn_free(struct conn *c)
{
	reuse_forget(c);
	conn_tell_trouble(c);
	if (c->d != NULL)
		c->d->conn = NULL;
	hop_link_release(&c->l);
	list_remove(&c->node);
	c->role->n_conns--;
	if (c->scratch != NULL)
		arena_free(&c->scratch);
	arena_free(&c->arena);
	free(c);
}

/* smtp_reply_filter: what the server "really" said. Tables in this process only. */
bool
conn_filter_reply(void *ctx, struct span line, struct span *new_r)
{
	struct conn *c = ctx;
	struct map_hit hit;

	if (c->scratch == NULL)
		c->scratch = arena_new((size_t)1 << 20);
	arena_clear(c->scratch);
	if (maps_find(c->svc->reply_filter, line, NULL, c->scratch, &hit, NULL) != MAP_FOUND)
		return false;
	*new_r = hit.value;
	return true;
}

void
conn_start_tls(struct conn *c, enum hop_link_phase phase)
{
	struct span helo = span_str(c->l.engine_ready ? c->l.engine.server_name : "");
	struct span where = arena_printf(c->arena, "%.*s:%u", SPAN_ARG(c->l.addr.text), c->l.addr.port);
	struct span key = tls_session_key(c->arena, c->svc->name, c->d->facts.key, c->l.addr.host, where, helo,
	    &c->decision);

	if (c->plainer)
		key = SPAN("");         /* no tickets there */
	trace_begin(c);
	hop_link_start_tls(&c->l, phase, c->svc->tls_ctx, &c->decision, key);
}

void
conn_quit(struct conn *c)
{
	reuse_forget(c);
	if (c->d != NULL) {
		c->d->conn = NULL;
		c->d = NULL;
	}
	if (!c->l.engine_ready || !smtpc_idle(&c->l.engine))
		conn_free(c);
	else
		hop_link_quit(&c->l);
}
