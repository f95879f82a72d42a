/*
 * Idle connections, kept a moment for the next message (tls-client.md section 12). A connection serves
 * again only who would have made it in exactly the same way: same service, next hop, TLS policy and login.
 */
#include "base/clock.h"
#include "log/lines_tls.h"
#include "maps/strlist.h"
#include "role/smtpc/smtpc.h"

#define IDLE_MAX 1000u
/* Within this time the server is taken at its word; later the transaction begins with RSET. */
#define FRESH_US (US_PER_S / 2)

struct span
reuse_key(struct delivery *d, struct arena *a)
{
	const struct tls_table_answer *t = &d->facts.table;
	struct span sender = d->svc->p->smtp_sender_dependent_authentication ? d->env.sender : SPAN("");

	return arena_printf(a, "%s\n%.*s\n%.*s\n%d %d %.*s\n%d %d\n%d %.*s %llx", d->svc->name, SPAN_ARG(d->facts.key),
	    SPAN_ARG(sender), (int)d->svc->hop.level, (int)t->state, SPAN_ARG(t->value), (int)d->env.tls_optional,
	    (int)d->env.requiretls, (int)d->login_by_hop, SPAN_ARG(d->login_by_hop ? d->login.user : SPAN("")),
	    (unsigned long long)(d->login_by_hop ? span_hash(d->login.password) : 0));
}

static struct conn *
find(struct smtpc_role *s, struct span key)
{
	for (struct list *n = s->idle.prev; n != &s->idle; n = n->prev) {
		struct conn *c = LIST_ITEM(n, struct conn, node);

		if (span_eq(c->key, key))
			return c;
	}
	return NULL;
}

/* In the delivery's arena: the connection's would grow with every message. */
static void
log_reused(struct conn *c)
{
	struct log l = { .tag = c->svc->cs->log_tag };
	const struct tls_verdict *v;
	struct tls_info info;

	if (!c->tls_done || (c->tls_log & LOG_TLS_SUMMARY) == 0 ||
	    !stream_info(&c->l.stream, c->decision.digest_name, c->d->arena, &info))
		return;
	v = stream_verdict(&c->l.stream, clock_wall_us() / US_PER_S);
	log_tls_client_summary(&l, tls_trust_name(v->trust), true, span_str(c->l.peer_port), &info.wire);
}

bool
reuse_take(struct delivery *d)
{
	struct smtpc_role *s = d->role;
	struct conn *c;

	if (s->n_idle == 0)
		return false;
	c = find(s, reuse_key(d, d->arena));
	if (c == NULL)
		return false;
	list_remove(&c->node);
	list_push_back(&s->conns, &c->node);
	s->n_idle--;
	c->d = d;
	d->conn = c;
	c->taken++;
	c->l.answered = false;
	c->l.phase = HOP_LINK_TALK;
	if (loop_now_us(s->loop) - c->idle_since_us > FRESH_US)
		smtpc_distrust(&c->l.engine);
	log_reused(c);
	return true;
}

static bool
wanted(const struct conn *c, struct delivery *d)
{
	const struct params *p = c->svc->p;

	/* smtp_tls_connection_reuse, or connection_reuse= in the policy table */
	if (c->tls_done && !c->decision.connection_reuse)
		return false;
	if (p->smtp_connection_cache_on_demand && d->backlog)
		return true;
	return c->svc->always_cache != NULL && strlist_find(c->svc->always_cache, d->facts.domain.n > 0 ? d->facts.domain :
	    d->facts.key, NULL, d->arena, NULL, NULL) == MAP_FOUND;
}

static int64_t
idle_ms(const struct params *p)
{
	int64_t own = p->smtp_connection_cache_time_limit_ms, all = p->connection_cache_ttl_limit_ms;

	return own < all ? own : all;
}

static bool
good_enough(const struct conn *c)
{
	const struct params *p = c->svc->p;
	int64_t age = loop_now_us(c->role->loop) - c->born_us;

	return smtpc_idle(&c->l.engine) && !c->l.engine.protocol_error && !c->role->role->draining &&
	    c->role->n_idle < IDLE_MAX && idle_ms(p) > 0 &&
	    age < p->smtp_connection_reuse_time_limit_ms * US_PER_MS &&
	    (p->smtp_connection_reuse_count_limit <= 0 || c->l.engine.uses < (unsigned)p->smtp_connection_reuse_count_limit);
}

bool
reuse_give(struct conn *c, struct delivery *d)
{
	struct smtpc_role *s = c->role;
	int64_t now = loop_now_us(s->loop);

	if (!wanted(c, d) || !good_enough(c))
		return false;
	if (c->key.n == 0)
		c->key = reuse_key(d, c->arena);
	c->idle_since_us = now;
	list_remove(&c->node);
	list_push_back(&s->idle, &c->node);
	s->n_idle++;
	hop_link_idle(&c->l, now + idle_ms(c->svc->p) * US_PER_MS);
	return true;
}

/* Taken out of the cache to be ended. */
void
reuse_forget(struct conn *c)
{
	if (c->l.phase != HOP_LINK_IDLE)
		return;
	list_remove(&c->node);
	list_push_back(&c->role->conns, &c->node);
	c->role->n_idle--;
	c->l.phase = HOP_LINK_TALK;
}

void
reuse_close_all(struct smtpc_role *s)
{
	while (!list_empty(&s->idle))
		conn_quit(LIST_ITEM(s->idle.next, struct conn, node));
}
