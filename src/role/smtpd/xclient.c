/*
 * XCLIENT: an authorised proxy says who its client is, and everything is decided by that (TLS stays what
 * it is, it is the proxy's). XFORWARD: a content filter is told where a message came from, for logs, for the next hop, and
 * for whose headers these are; never for access.
 */
#include <stdlib.h>

#include "base/panic.h"
#include "dns/dns.h"
#include "role/smtpd/smtpd.h"

/* XFORWARD attributes that are about the client (the others are about the message). */
#define CLIENT_ATTRS (1u << SMTPS_X_NAME | 1u << SMTPS_X_ADDR | 1u << SMTPS_X_PORT | 1u << SMTPS_X_PROTO | 1u << SMTPS_X_HELO)

static bool
given(const struct smtps_x *x, enum smtps_x_attr attr)
{
	return x->given & 1u << attr;
}

/* --- who may --- */

/* ABSENT and DEFER both mean no. WAIT or FOUND. */
static enum map_result
listed(struct session *s, struct addrlist *hosts, const char *name, bool *yes_r)
{
	struct fault why = { 0 };
	enum map_result got = addrlist_find(hosts, s->facts.client_name, s->facts.addr, session_asks(s), s->d->scratch, NULL, &why);

	if (got == MAP_WAIT)
		return MAP_WAIT;
	if (got == MAP_DEFER)
		log_warning(&s->log, "%s: %s; not authorized", name, why.text);
	*yes_r = got == MAP_FOUND;
	return MAP_FOUND;
}

enum map_result
x_authorize(struct session *s)
{
	if (s->x_known || s->svc->local)
		return MAP_FOUND;
	if (listed(s, s->svc->xclient_hosts, "smtpd_authorized_xclient_hosts", &s->may_xclient) == MAP_WAIT ||
	    listed(s, s->svc->xforward_hosts, "smtpd_authorized_xforward_hosts", &s->may_xforward) == MAP_WAIT)
		return MAP_WAIT;
	s->x_known = true;
	return MAP_FOUND;
}

/* --- XCLIENT --- */

/* What is not said anew stays; all of it moves to an arena of its own, so that a thousand XCLIENTs are as small as one. */
static void
move_facts(struct session *s)
{
	struct arena *a = arena_new(SESSION_ARENA), *old = s->facts_arena;
	struct acl_facts *f = &s->facts;

	f->client_name = arena_dup(a, f->client_name);
	f->reverse_name = arena_dup(a, f->reverse_name);
	f->addr = arena_dup(a, f->addr);
	f->namaddr = arena_dup(a, f->namaddr);
	s->port = arena_dup(a, s->port);
	s->server_addr = arena_dup(a, s->server_addr);
	s->server_port = arena_dup(a, s->server_port);
	s->standing = NULL;             /* decided about the other client */
	s->facts_arena = a;
	if (old != s->arena)
		arena_free(&old);
}

static void
set_unknown(struct acl_facts *f)
{
	f->client_name = f->reverse_name = SPAN("unknown");
	f->name_state = f->reverse_state = ACL_NAME_ABSENT;
}

/* An address without names is looked up as if it had connected: the names of another would be wrong. */
static void
take_address(struct session *s, const struct smtps_x *x)
{
	struct span addr = x->value[SMTPS_X_ADDR];
	uint8_t bytes[16];
	size_t n;

	set_unknown(&s->facts);
	s->names_done = true;
	s->slot = NULL;
	if (addr.n == 0 || !dns_address_parse(addr, bytes, &n)) {
		s->facts.addr = SPAN("unknown");
		s->port = SPAN("unknown");
		return;
	}
	client_set_address(s, span_of(bytes, n), 0);
	s->port = SPAN("unknown");
	s->names_done = given(x, SMTPS_X_NAME) || given(x, SMTPS_X_REVERSE_NAME);
}

static enum acl_name
state_of(const struct smtps_x *x, enum smtps_x_attr attr)
{
	if (x->value[attr].n > 0)
		return ACL_NAME_OK;
	return x->temporary & 1u << attr ? ACL_NAME_TEMPORARY : ACL_NAME_ABSENT;
}

static struct span
name_of(struct session *s, const struct smtps_x *x, enum smtps_x_attr attr)
{
	return x->value[attr].n > 0 ? arena_dup(s->facts_arena, x->value[attr]) : SPAN("unknown");
}

static void
take_names(struct session *s, const struct smtps_x *x)
{
	struct acl_facts *f = &s->facts;

	if (given(x, SMTPS_X_NAME)) {
		f->client_name = f->reverse_name = name_of(s, x, SMTPS_X_NAME);
		f->name_state = f->reverse_state = state_of(x, SMTPS_X_NAME);
	}
	if (given(x, SMTPS_X_REVERSE_NAME)) {
		f->reverse_name = name_of(s, x, SMTPS_X_REVERSE_NAME);
		f->reverse_state = state_of(x, SMTPS_X_REVERSE_NAME);
	}
}

static void
take_word(struct session *s, const struct smtps_x *x, enum smtps_x_attr attr, struct span *to)
{
	if (given(x, attr))
		*to = x->value[attr].n > 0 ? arena_dup(s->facts_arena, x->value[attr]) : SPAN("unknown");
}

void
xclient_apply(struct session *s, const struct smtps_x *x)
{
	move_facts(s);
	if (given(x, SMTPS_X_ADDR))
		take_address(s, x);
	take_names(s, x);
	take_word(s, x, SMTPS_X_PORT, &s->port);
	take_word(s, x, SMTPS_X_DESTADDR, &s->server_addr);
	take_word(s, x, SMTPS_X_DESTPORT, &s->server_port);
	session_set_login(s, SPAN("XCLIENT"), x->value[SMTPS_X_LOGIN]);
	client_set_namaddr(s);
	xforward_reset(s);
}

/* --- XFORWARD --- */

void
xforward_apply(struct session *s, const struct smtps_x *x)
{
	struct xforward *xf = s->xforward;

	if (xf == NULL) {
		xf = s->xforward = calloc(1, sizeof(*xf));
		ensure(xf != NULL);
	}
	xf->x.given |= x->given;
	for (unsigned i = 0; i < SMTPS_X_ATTRS; i++) {
		struct span value = span_slice(x->value[i], 0, sizeof(xf->text[i]));

		if (!given(x, (enum smtps_x_attr)i))
			continue;
		if (value.n > 0)
			memcpy(xf->text[i], value.p, value.n);
		xf->x.value[i] = span_of(xf->text[i], value.n);
	}
}

void
xforward_reset(struct session *s)
{
	free(s->xforward);
	s->xforward = NULL;
}

struct span
xforward_value(const struct xforward *xf, enum smtps_x_attr attr)
{
	return xf->x.value[attr].n > 0 ? xf->x.value[attr] : SPAN("unknown");
}

struct span
xforward_client(const struct session *s, struct arena *a)
{
	const struct xforward *xf = s->xforward;

	if (xf == NULL || (xf->x.given & CLIENT_ATTRS) == 0)
		return SPAN("");
	if (!given(&xf->x, SMTPS_X_NAME) && !given(&xf->x, SMTPS_X_ADDR))
		return SPAN("unknown");
	return arena_printf(a, "%.*s[%.*s]", SPAN_ARG(xforward_value(xf, SMTPS_X_NAME)), SPAN_ARG(xforward_value(xf, SMTPS_X_ADDR)));
}

bool
xforward_local(const struct session *s, bool otherwise)
{
	struct span source = s->xforward != NULL ? s->xforward->x.value[SMTPS_X_SOURCE] : SPAN("");

	return source.n > 0 ? span_eq_ci(source, SPAN("LOCAL")) : otherwise;
}
