/*
 * Sendmail's TLS_Srv, TLS_Rcpt and Try_TLS as smtp_tls_policy_maps. Sendmail asks by the server's name or the recipient;
 * here the key is the next hop, for a name that DNS gave is no name to trust.
 */
#include "dns/dns.h"
#include "tls/policy.h"
#include "tls/sendmail_private.h"

struct written {
	struct hmap_node node;
	struct span key;
};

static bool
is_domain(struct span key)
{
	return key.n > 0 && dns_name_is_host(key) && span_index(key, '@') < 0;
}

/* False: the key has an entry already. */
static bool
claim(struct sm *m, struct sm_row *r)
{
	struct written *w;

	HMAP_EACH_HASH(n, &m->written, span_hash(r->key))
		if (span_eq(HMAP_ENTRY(n, struct written, node)->key, r->key)) {
			sm_leave(m, r, "another entry speaks of this destination already; one decides");
			return false;
		}
	w = ARENA_NEW(m->a, struct written);
	w->key = r->key;
	hmap_add(&m->written, &w->node, span_hash(r->key));
	return true;
}

static void
write_entry(struct sm *m, struct sm_row *r, struct span policy)
{
	struct buf *out = &m->t->servers;

	if (!claim(m, r))
		return;
	if (sm_is_address(r->key))
		buf_addf(out, "[%s%.*s] %.*s\n", span_index(r->key, ':') >= 0 ? "IPv6:" : "", SPAN_ARG(r->key), SPAN_ARG(policy));
	else
		buf_addf(out, "%.*s %.*s\n.%.*s %.*s\n", SPAN_ARG(r->key), SPAN_ARG(policy), SPAN_ARG(r->key), SPAN_ARG(policy));
	sm_done(m, r);
}

/* A key that can be one here; else it is noted. */
static bool
usable_key(struct sm *m, struct sm_row *r, const char *advice)
{
	struct span key = r->key;
	unsigned dots = 0;

	for (size_t i = 0; i < key.n; i++)
		dots += key.p[i] == '.';
	if (key.n == 0)
		sm_leave(m, r, "no table entry: for all destinations %s", advice);
	else if (span_index(key, '@') >= 0)
		sm_leave(m, r, "no equivalent: destinations are domains, not addresses");
	else if (sm_is_address(key) && dots != 3 && span_find(key, SPAN("::")) < 0)
		sm_leave(m, r, "no equivalent: a network is no destination");
	else if (!sm_is_address(key) && !is_domain(key))
		sm_leave(m, r, "neither a host name nor an address");
	else
		return true;
	return false;
}

/* What the client's table cannot say. */
static bool
expressible(struct sm *m, struct sm_row *r, const struct sendmail_demand *d)
{
	if (d->cs.n > 0 || d->ci.n > 0 || d->citag.n > 0)
		sm_leave(m, r, "no equivalent for CS, CI, CITag: name the authority with tafile=FILE or the key with fingerprint match=");
	else if (d->bits > 128)
		sm_leave(m, r, "no equivalent for more than 128 bits: TLS_AES_128_GCM_SHA256 cannot be taken out for one destination");
	else if (d->cn.n > 0 && !is_domain(sm_plain(m, d->cn)))
		sm_leave(m, r, "no equivalent: the CN \"%.*s\" is no host name", SPAN_ARG(span_slice(d->cn, 0, 100)));
	else if (d->cn.n > 0 && d->cn_host)
		sm_leave(m, r, "no equivalent: two names that must both be there");
	else
		return true;
	return false;
}

static void
demand_text(struct sm *m, const struct sm_row *r, const struct sendmail_demand *d, struct buf *out)
{
	bool verify = d->verify || d->cn.n > 0 || d->cn_host;
	struct span cn = sm_plain(m, d->cn);

	buf_add_str(out, verify ? "verify" : "encrypt");
	if (d->cn.n > 0)
		buf_addf(out, " match=%.*s", SPAN_ARG(cn));
	else if (d->cn_host)
		buf_add_str(out, " match=hostname");
	else if (verify && !m->name_noted)
		sm_note(m, r, "verify also compares the server's name, which Sendmail's VERIFY does not");
	m->name_noted = m->name_noted || verify;
	if (!m->dane_noted)
		sm_note(m, r, "the entry takes the place of smtp_tls_security_level: where that is dane, TLSA records of this destination do not count");
	m->dane_noted = true;
	if (d->bits > 112)
		buf_add_str(out, " exclude=3DES");
	if (d->action == SENDMAIL_PERM)
		sm_note(m, r, "mail waits when the demand is not met; it does not come back at once (PERM)");
}

static void
convert(struct sm *m, struct sm_row *r)
{
	struct sendmail_demand d;
	struct buf out;

	if (!sendmail_demand_parse(r->value, &d))
		return;
	if (!usable_key(m, r, d.verify ? "set smtp_tls_security_level = verify (most servers cannot be verified)" :
		"set smtp_tls_security_level = encrypt") || !expressible(m, r, &d))
		return;
	buf_init(&out, SENDMAIL_LINE_MAX);
	demand_text(m, r, &d, &out);
	if (r->tag == SM_SRV && !r->done)
		sm_note(m, r, "the key is the destination here: right for mail to this domain and for relayhost or transport [%.*s]; domains whose MX "
		    "it is need an entry each", SPAN_ARG(span_slice(r->key, 0, 200)));
	write_entry(m, r, buf_span(&out));
	buf_release(&out);
}

static void
convert_try(struct sm *m, struct sm_row *r)
{
	struct sm_row *demand = sm_effective(m, SM_SRV, r->key);
	struct sendmail_demand d;

	if (!span_eq_ci(r->value, SPAN("NO")) || !usable_key(m, r, "set smtp_tls_security_level = none"))
		return;
	if (demand != NULL && sendmail_demand_parse(demand->value, &d)) {
		sm_leave(m, r, "TLS_Srv (line %u) demands what this switches off: such mail could never be sent", demand->line);
		return;
	}
	write_entry(m, r, SPAN("none"));
}

void
sm_servers(struct sm *m)
{
	static const enum sm_tag order[] = { SM_SRV, SM_RCPT };

	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < m->n; i++)
			if (m->rows[i].tag == order[k] && !m->rows[i].done)
				convert(m, &m->rows[i]);
	for (size_t i = 0; i < m->n; i++)
		if (m->rows[i].tag == SM_TRY && !m->rows[i].done)
			convert_try(m, &m->rows[i]);
}
