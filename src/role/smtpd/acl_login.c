/* Access control: who logged in, and which sender addresses belong to whom (smtpd_sender_login_maps). */
#include "role/smtpd/acl_private.h"

enum acl_verdict
acl_permit_login(struct acl_eval *e, const struct acl_rule *r)
{
	(void)r;
	return e->f->login.n > 0 ? ACL_PERMIT : ACL_DUNNO;
}

enum acl_verdict
acl_login_access(struct acl_eval *e, const struct acl_rule *r)
{
	enum acl_verdict v = ACL_DUNNO;

	if (e->f->login.n > 0)
		acl_try_key(e, r, e->f->login, false, &v);
	return v;
}

/* The logins that own the sender address: FOUND, ABSENT; else `*v_r` is the verdict. */
static enum map_result
find_owners(struct acl_eval *e, const struct acl_rule *r, struct span *owners_r, enum acl_verdict *v_r)
{
	struct addrkey_query q = { .keys = ADDRKEYS_CANONICAL, .delimiter = e->p->recipient_delimiter };
	struct route_answer from;
	struct fault why = { 0 };
	struct map_hit hit = { 0 };
	enum map_result got;

	if (!acl_resolve(e, e->f->sender, r->row->subject, &from, v_r))
		return MAP_DEFER;
	q.addr = from.rcpt;
	q.local_domain = from.class == ROUTE_LOCAL;
	got = addrkeys_find(e->acl->sender_login_maps, &q, e->asks, e->a, &hit, NULL, &why);
	if (acl_stopped(e, got, r->row->subject, &why, v_r))
		return MAP_DEFER;
	*owners_r = hit.value;
	return got;
}

static bool
owns(struct span owners, struct span login)
{
	struct span owner;

	while (span_token(&owners, ", \t\r\n", &owner))
		if (span_eq_ci(owner, login))
			return true;
	return false;
}

/*
 * reject_sender_login_mismatch and its narrower forms. Who logged in may use the addresses that are his; an
 * address without an owner is nobody's, but for the "known" form. Who did not log in may use those only.
 */
enum acl_verdict
acl_login_mismatch(struct acl_eval *e, const struct acl_rule *r)
{
	bool logged_in = e->f->login.n > 0;
	unsigned kind = r->row->kind;
	struct span owners = SPAN("");
	enum acl_verdict v = ACL_DUNNO;
	enum map_result got;

	/* Where nobody can log in nobody is asked to, as in Postfix: owners send by the submission service. */
	if (!logged_in && !e->p->smtpd_sasl_auth_enable)
		return ACL_DUNNO;
	if (!e->f->have_sender || e->f->sender.n == 0 || kind == (logged_in ? ACL_KIND_NOT_LOGGED_IN : ACL_KIND_LOGGED_IN))
		return ACL_DUNNO;
	got = find_owners(e, r, &owners, &v);
	if (got != MAP_FOUND && got != MAP_ABSENT)
		return v;
	if (!logged_in)
		return got == MAP_ABSENT ? ACL_DUNNO : acl_reject_named(e, r->row->subject, 553, "5.7.1", "not logged in");
	if (owns(owners, e->f->login) || (got == MAP_ABSENT && kind == ACL_KIND_KNOWN))
		return ACL_DUNNO;
	return acl_reject_named(e, r->row->subject, 553, "5.7.1", "not owned by user %.*s",
	    SPAN_ARG(span_slice(e->f->login, 0, 200)));
}
