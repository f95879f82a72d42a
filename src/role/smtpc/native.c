/* Name lookups by the system's ways (smtp_host_lookup = native): questions like others, with one flag set. */
#include <stdlib.h>

#include "base/panic.h"
#include "role/smtpc/smtpc.h"

struct native_ask {
	struct asks_link *link;
	uint64_t id;
};

static void
on_answer(void *ctx, enum ipc_result result, struct ipc_resolver_answer *m)
{
	struct native_ask *n = ctx;
	struct arena *a = asks_answer_arena(n->link, n->id);

	if (a != NULL) {
		struct dns_answer *answer = ARENA_NEW(a, struct dns_answer);
		bool ok = result == IPC_OK && dns_answer_read(m->answer, a, answer);

		(void)asks_answer_dns(n->link, n->id, ok ? answer : NULL);
	}
	free(n);
}

static bool
ask_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	struct smtpc_role *s = ctx;
	struct ipc_resolver_ask m = { .name = name, .rrtype = type, .native = true };
	struct ipc_peer *p = ipc_peer_any(s->role->hub, IPC_ROLE_RESOLVER);
	struct native_ask *n = malloc(sizeof(*n));

	if (n == NULL)
		panic("out of memory");
	*n = (struct native_ask){ s->native, id };
	if (ipc_ask_resolver_ask(p, &m, 60000, on_answer, n) != 0)
		return true;
	free(n);
	return false;
}

static bool
ask_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)id;
	(void)table;
	(void)key;
	return false;
}

static const struct asks_ops ops = { ask_map, ask_dns };

struct asks_link *
native_link(struct smtpc_role *s)
{
	if (s->native == NULL)
		s->native = asks_link_new(s->loop, &ops, s, 60000);
	return s->native;
}

struct asks *
native_asks(void *delivery)
{
	struct delivery *d = delivery;

	if (d->native == NULL)
		d->native = asks_new(native_link(d->role), deliver_ready, d);
	return d->native;
}
