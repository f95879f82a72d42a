/* Access control: relay control, and addresses of ours that do not exist. */
#include <stdio.h>

#include "role/smtpd/acl_private.h"
#include "route/rewrite.h"

bool
acl_resolve(struct acl_eval *e, struct span addr, enum acl_subject subject, struct route_answer *to_r, enum acl_verdict *v_r)
{
	struct span sender = e->f->have_sender ? e->f->sender : SPAN("");
	struct fault why = { 0 };

	addr = route_rewrite_local(e->p, addr, e->a);
	return !acl_stopped(e, route_resolve(e->acl->route, sender, addr, 0, e->asks, e->a, to_r, &why), subject, &why, v_r);
}

/* Are we responsible for it, or chosen as a relay for it? */
static bool
authorized(const struct acl_eval *e, const struct route_answer *r)
{
	return r->class != ROUTE_DEFAULT && (!r->routed || e->p->allow_untrusted_routing);
}

enum acl_verdict
acl_auth_destination(struct acl_eval *e, const struct acl_rule *r)
{
	struct route_answer to;
	enum acl_verdict v;

	if (!e->f->have_recipient)
		return ACL_DUNNO;
	if (!acl_resolve(e, e->f->recipient, r->row->subject, &to, &v))
		return v;
	return authorized(e, &to) ? ACL_PERMIT : ACL_DUNNO;
}

enum acl_verdict
acl_unauth_destination(struct acl_eval *e, const struct acl_rule *r)
{
	bool defer = r->row->kind == ACL_KIND_DEFER;
	int code = e->p->relay_domains_reject_code - (defer ? 100 : 0);
	struct route_answer to;
	enum acl_verdict v;

	if (!e->f->have_recipient)
		return ACL_DUNNO;
	if (!acl_resolve(e, e->f->recipient, r->row->subject, &to, &v))
		return v;
	if (authorized(e, &to))
		return ACL_DUNNO;
	return acl_reject(e, r->row->subject, (unsigned)code, "5.7.1", "<%.*s>: Relay access denied",
	    SPAN_ARG(acl_subject_name(e, r->row->subject)));
}

/* --- addresses that do not exist --- */

static enum acl_verdict
unlisted(struct acl_eval *e, enum acl_subject subject, struct span addr)
{
	bool as_sender = subject == ACL_SUBJECT_SENDER;
	struct span sender = e->f->have_sender ? e->f->sender : SPAN("");
	struct route_unlisted u = { .code = 550 };
	struct fault why = { 0 };
	enum acl_verdict v = ACL_DUNNO;
	enum map_result got;
	char dsn[12];

	addr = route_rewrite_local(e->p, addr, e->a);
	got = route_recipient_exists(e->acl->route, sender, addr, as_sender, e->asks, e->a, &u, &why);
	if (acl_stopped(e, got, subject, &why, &v) || got == MAP_FOUND)
		return v;
	snprintf(dsn, sizeof(dsn), "%.*s", SPAN_ARG(u.dsn));
	e->notice = SMTP_NOTICE_BOUNCE;
	v = acl_reject_named(e, subject, (unsigned)u.code, dsn, "%.*s", SPAN_ARG(u.text));
	e->notice = 0;
	return v;
}

enum acl_verdict
acl_unlisted_recipient(struct acl_eval *e)
{
	e->unlisted_recipient_done = true;
	return e->f->have_recipient ? unlisted(e, ACL_SUBJECT_RECIPIENT, e->f->recipient) : ACL_DUNNO;
}

enum acl_verdict
acl_unlisted(struct acl_eval *e, const struct acl_rule *r)
{
	if (r->row->kind == ACL_KIND_RECIPIENT)
		return acl_unlisted_recipient(e);
	e->unlisted_sender_done = true;
	return e->f->have_sender && e->f->sender.n > 0 ? unlisted(e, ACL_SUBJECT_SENDER, e->f->sender) : ACL_DUNNO;
}
