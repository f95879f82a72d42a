/* Routing with the tables of one configuration. */
#include "role/queue/resolve.h"

#include <stdlib.h>

#include "base/panic.h"
#include "conf/params.h"
#include "mail/address.h"
#include "role/common/role.h"
#include "role/queue/queue.h"
#include "route/route.h"

struct resolve {
	struct conf *conf;
	struct maps_env env;
	struct route *route;
};

struct resolve *
resolve_new(struct role *r, struct fault *why)
{
	struct resolve *v = calloc(1, sizeof(*v));

	ensure(v != NULL);
	v->conf = conf_ref(r->conf);
	v->env = r->maps_env;
	if (!route_open(v->conf->params, 0, &v->env, &v->route, why))
		resolve_free(&v);
	return v;
}

void
resolve_free(struct resolve **vp)
{
	struct resolve *v = *vp;

	if (v == NULL)
		return;
	*vp = NULL;
	if (v->route != NULL)
		route_close(&v->route);
	conf_unref(&v->conf);
	free(v);
}

/* FILTER and content_filter: "transport:nexthop" for every recipient; without nexthop default_filter_nexthop, or the recipient's domain. */
static bool
by_filter(const struct params *p, const struct envelope *env, struct span addr, struct span *transport_r, struct span *nexthop_r)
{
	struct span local;

	if (env->filter.n == 0)
		return false;
	if (!span_cut(env->filter, ':', transport_r, nexthop_r))
		*transport_r = env->filter;
	if (nexthop_r->n == 0)
		*nexthop_r = span_str(p->default_filter_nexthop);
	if (nexthop_r->n == 0)
		address_split(addr, &local, nexthop_r);
	return true;
}

/* Where reports about reports of ours would go: there is never a third generation. */
static bool
is_double_bounce(const struct params *p, struct span addr)
{
	struct span ours = span_str(p->double_bounce_sender), local, domain;

	if (span_index(ours, '@') >= 0)
		return address_same(addr, ours);
	address_split(addr, &local, &domain);
	return span_eq_ci(local, ours);
}

enum map_result
resolve_rcpt(struct resolve *v, const struct envelope *env, struct span addr, struct asks *asks,
    struct arena *a, struct resolved *r_r, struct fault *why)
{
	struct route_answer answer;
	enum map_result result;

	*r_r = (struct resolved){ .rcpt = addr };
	if (by_filter(v->conf->params, env, addr, &r_r->transport, &r_r->nexthop))
		return MAP_FOUND;
	result = route_resolve(v->route, env->sender, addr, env->kind == ENVELOPE_PROBE ? ROUTE_PROBE : 0, asks, a,
	    &answer, why);
	if (result == MAP_FOUND)
		*r_r = (struct resolved){ answer.transport, answer.nexthop, answer.rcpt,
			answer.class == ROUTE_LOCAL && is_double_bounce(v->conf->params, answer.rcpt) };
	return result;
}
