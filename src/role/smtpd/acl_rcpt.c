/* Access control: relay control, and addresses of ours that do not exist. */
#include "base/panic.h"
#include "mail/address.h"
#include "role/smtpd/acl_private.h"

/* The recipient as routing would see it. False: `*v_r` is the answer. */
static bool
resolve(struct acl_eval *e, struct span addr, enum acl_subject subject, struct domains_address *r, enum acl_verdict *v_r)
{
	struct fault why = { 0 };

	return !acl_stopped(e, domains_resolve(e->acl->domains, addr, e->asks, e->a, r, &why), subject, &why, v_r);
}

/* Are we responsible for it, or chosen as a relay for it? */
static bool
authorized(const struct acl_eval *e, const struct domains_address *r)
{
	return r->cls != DOMAIN_DEFAULT && (!r->routed || e->p->allow_untrusted_routing);
}

enum acl_verdict
acl_auth_destination(struct acl_eval *e, const struct acl_rule *r)
{
	struct domains_address to;
	enum acl_verdict v;

	if (!e->f->have_recipient)
		return ACL_DUNNO;
	if (!resolve(e, e->f->recipient, r->row->subject, &to, &v))
		return v;
	return authorized(e, &to) ? ACL_PERMIT : ACL_DUNNO;
}

enum acl_verdict
acl_unauth_destination(struct acl_eval *e, const struct acl_rule *r)
{
	bool defer = r->row->kind == ACL_KIND_DEFER;
	int code = e->p->relay_domains_reject_code - (defer ? 100 : 0);
	struct domains_address to;
	enum acl_verdict v;

	if (!e->f->have_recipient)
		return ACL_DUNNO;
	if (!resolve(e, e->f->recipient, r->row->subject, &to, &v))
		return v;
	if (authorized(e, &to))
		return ACL_DUNNO;
	return acl_reject(e, r->row->subject, (unsigned)code, "5.7.1", "<%.*s>: Relay access denied",
	    SPAN_ARG(acl_subject_name(e, r->row->subject)));
}

/* --- addresses that do not exist --- */

static enum map_result
known_in(struct acl_eval *e, struct maps *m, const struct domains_address *to, bool local, struct fault *why)
{
	struct addrkey_query q = { .addr = to->addr, .keys = ADDRKEYS_CANONICAL, .delimiter = e->p->recipient_delimiter,
		.local_domain = local };
	struct map_hit hit;

	if (maps_empty(m))
		return MAP_ABSENT;
	return addrkeys_find(m, &q, e->asks, e->a, &hit, NULL, why);
}

static bool
is_ours_locally(const struct acl_eval *e, const struct domains_address *to)
{
	return to->cls == DOMAIN_LOCAL || span_eq_ci(to->domain, span_str(e->p->myorigin));
}

/* What rewriting turns into something else is not judged here. */
static enum map_result
rewritten(struct acl_eval *e, const struct domains_address *to, struct fault *why)
{
	struct maps *tables[] = { e->acl->recipient_canonical_maps, e->acl->canonical_maps, e->acl->virtual_alias_maps };
	bool local = is_ours_locally(e, to);

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		enum map_result got = known_in(e, tables[i], to, local, why);

		if (got != MAP_ABSENT)
			return got;
	}
	return MAP_ABSENT;
}

/* The table that decides about this class; `maps_r` NULL: none, every address is taken. */
static const char *
class_table(const struct acl_eval *e, enum domain_class cls, struct maps **maps_r, int *code_r)
{
	switch (cls) {
	case DOMAIN_LOCAL:
		*maps_r = maps_empty(e->acl->local_recipient_maps) ? NULL : e->acl->local_recipient_maps;
		*code_r = e->p->unknown_local_recipient_reject_code;
		return "local recipient table";
	case DOMAIN_VIRTUAL_ALIAS:
		*maps_r = e->acl->virtual_alias_maps;
		*code_r = e->p->unknown_virtual_alias_reject_code;
		return "virtual alias table";
	case DOMAIN_VIRTUAL_MAILBOX:
		*maps_r = maps_empty(e->acl->virtual_mailbox_maps) ? NULL : e->acl->virtual_mailbox_maps;
		*code_r = e->p->unknown_virtual_mailbox_reject_code;
		return "virtual mailbox table";
	case DOMAIN_RELAY:
		*maps_r = maps_empty(e->acl->relay_recipient_maps) ? NULL : e->acl->relay_recipient_maps;
		*code_r = e->p->unknown_relay_recipient_reject_code;
		return "relay recipient table";
	case DOMAIN_DEFAULT:
		*maps_r = NULL;
		return "";
	}
	panic("domain class");
}

static enum acl_verdict
reject_unknown(struct acl_eval *e, enum acl_subject subject, int code, const char *table)
{
	const char *dsn = subject == ACL_SUBJECT_SENDER ? "5.1.0" : "5.1.1";

	if (e->p->show_user_unknown_table_name)
		return acl_reject_named(e, subject, (unsigned)code, dsn, "User unknown in %s", table);
	return acl_reject_named(e, subject, (unsigned)code, dsn, "User unknown");
}

static enum acl_verdict
unlisted(struct acl_eval *e, enum acl_subject subject, struct span addr)
{
	struct fault why = { 0 };
	struct domains_address to;
	enum acl_verdict v = ACL_DUNNO;
	struct maps *table = NULL;
	enum map_result got;
	const char *name;
	int code = 550;

	if (!resolve(e, addr, subject, &to, &v))
		return v;
	name = class_table(e, to.cls, &table, &code);
	/* RFC 5321 section 4.5.1: postmaster of the host's own domains is always there. */
	if (table == NULL || (to.cls == DOMAIN_LOCAL && span_eq_ci(to.local, SPAN("postmaster"))))
		return ACL_DUNNO;
	got = rewritten(e, &to, &why);
	if (got == MAP_ABSENT)
		got = known_in(e, table, &to, true, &why);
	if (acl_stopped(e, got, subject, &why, &v) || got == MAP_FOUND)
		return v;
	return reject_unknown(e, subject, code, name);
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

/* Somebody who is not logged in (nobody is, yet) uses an address that has an owner. */
enum acl_verdict
acl_login_mismatch(struct acl_eval *e, const struct acl_rule *r)
{
	struct domains_address from;
	struct fault why = { 0 };
	enum acl_verdict v = ACL_DUNNO;
	enum map_result got;

	if (!e->f->have_sender || e->f->sender.n == 0 || maps_empty(e->acl->sender_login_maps))
		return ACL_DUNNO;
	if (!resolve(e, e->f->sender, r->row->subject, &from, &v))
		return v;
	got = known_in(e, e->acl->sender_login_maps, &from, is_ours_locally(e, &from), &why);
	if (acl_stopped(e, got, r->row->subject, &why, &v) || got == MAP_ABSENT)
		return v;
	return acl_reject_named(e, r->row->subject, 553, "5.7.1", "not logged in");
}
