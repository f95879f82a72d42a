/* Access control: rules about the client's address, its names, and the forms of names and addresses. */
#include "dns/dns.h"
#include "mail/address.h"
#include "role/smtpd/acl_private.h"

enum acl_verdict
acl_permit_networks(struct acl_eval *e, const struct acl_rule *r)
{
	struct fault why = { 0 };
	enum acl_verdict v;
	enum map_result got = addrlist_find(e->acl->mynetworks, e->f->client_name, e->f->addr, e->asks, e->a, NULL, &why);

	if (acl_stopped(e, got, r->row->subject, &why, &v))
		return v;
	return got == MAP_FOUND ? ACL_PERMIT : ACL_DUNNO;
}

enum acl_verdict
acl_permit_interfaces(struct acl_eval *e, const struct acl_rule *r)
{
	(void)r;
	return route_is_own_address(e->acl->route, e->f->addr) ? ACL_PERMIT : ACL_DUNNO;
}

enum acl_verdict
acl_unknown_client(struct acl_eval *e, const struct acl_rule *r)
{
	unsigned code = e->f->name_state == ACL_NAME_ABSENT ? (unsigned)e->p->unknown_client_reject_code : 450;

	if (e->f->name_state == ACL_NAME_OK)
		return ACL_DUNNO;
	return acl_reject(e, r->row->subject, code, "4.7.25", "Client host rejected: cannot find your hostname, [%.*s]",
	    SPAN_ARG(e->f->addr));
}

enum acl_verdict
acl_unknown_reverse(struct acl_eval *e, const struct acl_rule *r)
{
	unsigned code = e->f->reverse_state == ACL_NAME_ABSENT ? (unsigned)e->p->unknown_client_reject_code : 450;

	if (e->f->reverse_state == ACL_NAME_OK)
		return ACL_DUNNO;
	return acl_reject(e, r->row->subject, code, "4.7.1", "Client host rejected: cannot find your reverse hostname, [%.*s]",
	    SPAN_ARG(e->f->addr));
}

/* "[192.0.2.1]", "[IPv6:...]" or a bare address. */
static bool
is_address(struct span name)
{
	return address_literal(name, NULL) || dns_address_parse(name, NULL, NULL);
}

static bool
is_host(struct acl_eval *e, struct span name)
{
	struct span ascii;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	return dns_name_ascii(e->a, name, false, &ascii) && dns_name_is_host(ascii);
}

enum acl_verdict
acl_naked(struct acl_eval *e, const struct acl_rule *r)
{
	(void)r;
	return dns_address_parse(e->f->helo, NULL, NULL) ? ACL_PERMIT : ACL_DUNNO;
}

enum acl_verdict
acl_bad_helo(struct acl_eval *e, const struct acl_rule *r)
{
	if (e->f->helo.n == 0 || is_address(e->f->helo) || is_host(e, e->f->helo))
		return ACL_DUNNO;
	return acl_reject_named(e, r->row->subject, (unsigned)e->p->invalid_hostname_reject_code, "5.5.2", "Invalid name");
}

enum acl_verdict
acl_non_fqdn_helo(struct acl_eval *e, const struct acl_rule *r)
{
	struct span helo = e->f->helo;

	if (helo.n == 0 || address_literal(helo, NULL))
		return ACL_DUNNO;
	if (is_host(e, helo) && span_index(span_slice(helo, 0, helo.n - 1), '.') >= 0)
		return ACL_DUNNO;
	return acl_reject_named(e, r->row->subject, (unsigned)e->p->non_fqdn_reject_code, "5.5.2", "need fully-qualified hostname");
}

/* The address a rule about senders or recipients is about; false: there is none. */
static bool
address_of(const struct acl_eval *e, const struct acl_rule *r, struct span *addr_r)
{
	bool sender = r->row->kind == ACL_KIND_SENDER;

	*addr_r = sender ? e->f->sender : e->f->recipient;
	return sender ? e->f->have_sender : e->f->have_recipient;
}

enum acl_verdict
acl_non_fqdn_address(struct acl_eval *e, const struct acl_rule *r)
{
	struct span addr, local, domain;

	if (!address_of(e, r, &addr) || addr.n == 0)
		return ACL_DUNNO;
	if (r->row->kind == ACL_KIND_RECIPIENT && span_eq_ci(addr, SPAN("postmaster")))
		return ACL_DUNNO;
	if (address_split(addr, &local, &domain) && (address_literal(domain, NULL) ||
	    (is_host(e, domain) && span_index(span_slice(domain, 0, domain.n - 1), '.') >= 0)))
		return ACL_DUNNO;
	return acl_reject_named(e, r->row->subject, (unsigned)e->p->non_fqdn_reject_code, "5.5.2", "need fully-qualified address");
}

enum acl_verdict
acl_plaintext(struct acl_eval *e, const struct acl_rule *r)
{
	if (e->f->tls)
		return ACL_DUNNO;
	return acl_reject(e, r->row->subject, (unsigned)e->p->plaintext_reject_code, "4.7.1", "Session encryption is required");
}

enum acl_verdict
acl_pipelining(struct acl_eval *e, const struct acl_rule *r)
{
	if (!e->f->pipelined_early)
		return ACL_DUNNO;
	return acl_reject_named(e, r->row->subject, 503, "5.5.0", "Improper use of SMTP command pipelining");
}

enum acl_verdict
acl_multi_bounce(struct acl_eval *e, const struct acl_rule *r)
{
	if (!e->f->have_sender || e->f->sender.n > 0 || e->f->rcpts <= 1)
		return ACL_DUNNO;
	return acl_reject(e, r->row->subject, (unsigned)e->p->multi_recipient_bounce_reject_code, "5.5.3",
	    "<%.*s>: %s rejected: Multi-recipient bounce", SPAN_ARG(acl_subject_name(e, ACL_SUBJECT_PHASE)),
	    acl_subject_class(e, ACL_SUBJECT_PHASE));
}
