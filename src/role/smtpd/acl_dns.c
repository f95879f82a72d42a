/* Access control: rules that ask DNS: unknown names, backup MX. */
#include "dns/dns.h"
#include "mail/address.h"
#include "role/smtpd/acl_private.h"

enum map_result
acl_dns_get(struct acl_eval *e, struct span name, unsigned type, const struct dns_answer **answer_r)
{
	struct span ascii;

	*answer_r = NULL;
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	if (!dns_name_ascii(e->a, name, false, &ascii) || !dns_name_is_host(ascii))
		return MAP_FOUND;
	return asks_dns(e->asks, ascii, (uint16_t)type, answer_r);
}

/* --- names that do not exist --- */

enum presence {
	PRESENT,
	MISSING,
	NULL_MX,
	UNSURE,                 /* DNS could not say */
	PRESENCE_WAIT,
};

/* Has the name a record of any of these types? Every type is asked before a wait is reported. */
static enum presence
has_any(struct acl_eval *e, struct span name, const unsigned *types, size_t n)
{
	enum presence sum = MISSING;

	for (size_t i = 0; i < n; i++) {
		const struct dns_answer *d;

		if (acl_dns_get(e, name, types[i], &d) == MAP_WAIT)
			sum = PRESENCE_WAIT;
		else if (d != NULL && dns_known(d) && d->count > 0)
			return PRESENT;
		else if (d != NULL && !dns_known(d) && sum == MISSING)
			sum = UNSURE;
	}
	return sum;
}

static bool
is_null_mx(const struct dns_answer *d)
{
	return d->count == 1 && span_eq(d->records[0].data, SPAN("."));
}

/* A domain that can get mail: MX, or else an address (RFC 5321 section 5.1, RFC 7505). */
static enum presence
mail_domain(struct acl_eval *e, struct span domain)
{
	static const unsigned hosts[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	const struct dns_answer *mx;

	if (acl_dns_get(e, domain, DNS_TYPE_MX, &mx) == MAP_WAIT)
		return PRESENCE_WAIT;
	if (mx == NULL)
		return MISSING;
	if (!dns_known(mx))
		return UNSURE;
	if (is_null_mx(mx))
		return NULL_MX;
	if (mx->count > 0)
		return PRESENT;
	return mx->nxdomain ? MISSING : has_any(e, domain, hosts, 2);
}

/* "defer": at once; otherwise only if all else permits. */
static enum acl_verdict
tempfail(struct acl_eval *e, enum acl_subject s, const char *action, const char *dsn, const char *words)
{
	if (strcmp(action, "defer") == 0)
		return acl_reject_named(e, s, 450, dsn, "%s", words);
	return acl_defer_if_permit(e, s, 450, dsn, acl_rejected(e, s, span_str(words)));
}

enum acl_verdict
acl_unknown_helo(struct acl_eval *e, const struct acl_rule *r)
{
	static const unsigned types[] = { DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX };

	if (e->f->helo.n == 0 || e->f->helo.p[0] == '[')
		return ACL_DUNNO;
	switch (has_any(e, e->f->helo, types, 3)) {
	case PRESENT:
		return ACL_DUNNO;
	case PRESENCE_WAIT:
		return ACL_WAIT;
	case UNSURE:
		return tempfail(e, r->row->subject, e->p->unknown_helo_hostname_tempfail_action, "4.7.1", "Host not found");
	case MISSING:
	case NULL_MX:
		break;
	}
	return acl_reject_named(e, r->row->subject, (unsigned)e->p->unknown_hostname_reject_code, "4.7.1", "Host not found");
}

static enum acl_verdict
domain_missing(struct acl_eval *e, enum acl_subject s, enum presence p, struct span domain)
{
	bool sender = s == ACL_SUBJECT_SENDER;
	const char *dsn = sender ? "4.1.8" : "4.1.2";

	if (p == UNSURE)
		return tempfail(e, s, e->p->unknown_address_tempfail_action, dsn, "Domain not found");
	if (p == NULL_MX)
		return acl_reject_named(e, s, sender ? 550 : 556, sender ? "5.7.27" : "5.1.10",
		    "Domain %.*s does not accept mail (nullMX)", SPAN_ARG(domain));
	return acl_reject_named(e, s, (unsigned)e->p->unknown_address_reject_code, dsn, "Domain not found");
}

enum acl_verdict
acl_unknown_domain(struct acl_eval *e, const struct acl_rule *r)
{
	bool sender = r->row->kind == ACL_KIND_SENDER;
	struct span addr = sender ? e->f->sender : e->f->recipient;
	struct route_answer to;
	enum acl_verdict v;
	enum presence p;

	if (!(sender ? e->f->have_sender : e->f->have_recipient) || addr.n == 0)
		return ACL_DUNNO;
	if (!acl_resolve(e, addr, r->row->subject, &to, &v))
		return v;
	if ((to.class != ROUTE_RELAY && to.class != ROUTE_DEFAULT) || address_literal(to.domain, NULL))
		return ACL_DUNNO;
	p = mail_domain(e, to.domain);
	if (p == PRESENCE_WAIT)
		return ACL_WAIT;
	return p == PRESENT ? ACL_DUNNO : domain_missing(e, r->row->subject, p, to.domain);
}

/* --- permit_mx_backup --- */

/* FOUND: some address of the host is in the networks (`own`: is one of ours). */
static enum map_result
host_in(struct acl_eval *e, struct span host, bool own)
{
	static const unsigned types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	enum map_result sum = MAP_ABSENT;

	if (own && span_eq_ci(host, span_str(e->p->myhostname)))
		return MAP_FOUND;
	for (size_t t = 0; t < 2; t++) {
		const struct dns_answer *d;

		if (acl_dns_get(e, host, types[t], &d) == MAP_WAIT) {
			sum = MAP_WAIT;
			continue;
		}
		for (size_t i = 0; d != NULL && dns_known(d) && i < d->count; i++) {
			struct span addr = dns_address_text(e->a, d->records[i].data);

			if (own ? route_is_own_address(e->acl->route, addr) :
			    addrlist_find(e->acl->permit_mx_backup_networks, SPAN(""), addr, e->asks, e->a, NULL, NULL) == MAP_FOUND)
				return MAP_FOUND;
		}
	}
	return sum;
}

/* FOUND when we are among the servers, and, with networks given, every best one is inside them. */
static enum map_result
backup_for(struct acl_eval *e, const struct dns_answer *mx)
{
	enum map_result ours = MAP_ABSENT;
	uint16_t best = UINT16_MAX;

	for (size_t i = 0; i < mx->count; i++) {
		enum map_result got = host_in(e, mx->records[i].data, true);

		if (mx->records[i].pref < best)
			best = mx->records[i].pref;
		if (got == MAP_FOUND || ours == MAP_ABSENT)
			ours = got;
	}
	if (ours != MAP_FOUND || addrlist_empty(e->acl->permit_mx_backup_networks))
		return ours;
	for (size_t i = 0; i < mx->count; i++)
		if (mx->records[i].pref == best && ours == MAP_FOUND)
			ours = host_in(e, mx->records[i].data, false);
	return ours;
}

enum acl_verdict
acl_mx_backup(struct acl_eval *e, const struct acl_rule *r)
{
	const struct dns_answer *mx;
	struct route_answer to;
	enum acl_verdict v;
	enum map_result got;

	if (!e->f->have_recipient)
		return ACL_DUNNO;
	if (!acl_resolve(e, e->f->recipient, r->row->subject, &to, &v))
		return v;
	if (to.routed && !e->p->allow_untrusted_routing)
		return ACL_DUNNO;
	if (to.class != ROUTE_DEFAULT)
		return ACL_PERMIT;      /* ours, or ours to relay: no MX record has to say so */
	if (acl_dns_get(e, to.domain, DNS_TYPE_MX, &mx) == MAP_WAIT)
		return ACL_WAIT;
	if (mx != NULL && !dns_known(mx))
		return acl_defer_if_reject(e, r->row->subject, 450, "4.4.4", arena_printf(e->a,
		    "<%.*s>: Temporary lookup failure", SPAN_ARG(acl_subject_name(e, r->row->subject))));
	got = mx == NULL || mx->count == 0 ? MAP_ABSENT : backup_for(e, mx);
	if (got == MAP_WAIT)
		return ACL_WAIT;
	return got == MAP_FOUND ? ACL_PERMIT : ACL_DUNNO;
}
