/* Access control: check_policy_service (access(5), tls-server.md section 9). */
#include "role/smtpd/acl_private.h"
#include "role/smtpd/policy_service.h"
#include "smtp/policyd.h"

/* When even the default action comes to nothing. */
#define LAST_RESORT "451 4.3.5 Server configuration problem"

/* The request, and what the service says to it. */
static enum map_result
ask(struct acl_eval *e, struct policy_service *s, struct span *action_r, struct fault *why)
{
	const struct asks_way *way = e->acl->policy_way != NULL ? e->acl->policy_way(e->acl->policy_ctx, s) : NULL;
	struct policyd_request request;
	enum map_result got = MAP_DEFER;
	struct buf text;

	if (way == NULL || e->f->policy == NULL)
		return MAP_DEFER;
	request = *e->f->policy;
	request.policy_context = s->policy_context;
	buf_init(&text, POLICYD_REQUEST_MAX);
	if (policyd_request_write(&request, &text))
		got = asks_other(e->asks, way, span_str(s->text), buf_span(&text), e->a, action_r, why);
	buf_release(&text);
	return got;
}

/*
 * The service cannot be used: what was configured for that. Should that name a service which cannot be used
 * either, it ends here.
 */
static enum acl_verdict
default_action(struct acl_eval *e, const struct acl_rule *r)
{
	struct span action = e->policy_failed ? SPAN(LAST_RESORT) : r->policy->default_action;
	bool outer = e->policy_failed;
	enum acl_verdict v;

	e->policy_failed = true;
	v = acl_action(e, r, span_str(r->policy->name), action);
	e->policy_failed = outer;
	return v;
}

enum acl_verdict
acl_policy(struct acl_eval *e, const struct acl_rule *r)
{
	struct fault why = { 0 };
	struct span action;

	switch (ask(e, r->policy, &action, &why)) {
	case MAP_FOUND:
		return acl_action(e, r, span_str(r->policy->name), action);
	case MAP_WAIT:
		return ACL_WAIT;
	case MAP_ABSENT:
	case MAP_DEFER:
		break;
	}
	return default_action(e, r);
}
