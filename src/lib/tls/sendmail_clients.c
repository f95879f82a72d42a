/*
 * Sendmail's TLS_Clt and Srv_Features as smtpd_tls_policy_maps. Sendmail looks each of them up by itself; here one entry
 * decides, so what both say about a key is written into one.
 */
#include <openssl/x509v3.h>

#include "dns/dns.h"
#include "tls/client_policy.h"
#include "tls/dn.h"
#include "tls/sendmail_private.h"

struct features {
	bool off;               /* S: no STARTTLS */
	bool no_ask, ask;       /* V, v */
	bool others;
};

/* --- keys --- */

static bool
is_name(struct span key)
{
	for (size_t i = 0; i < key.n; i++)
		if (!ascii_isalnum(key.p[i]) && span_index(SPAN(".-_"), key.p[i]) < 0)
			return false;
	return key.n > 0 && key.p[0] != '.';
}

/* "2001:0db8" is "2001:db8" in an address. */
static struct span
plain_groups(struct sm *m, struct span key)
{
	struct span all = SPAN(""), group, rest;
	const char *between = "";

	for (bool more = true; more; between = ":") {
		more = span_cut(key, ':', &group, &rest);
		if (!more)
			group = key;
		while (group.n > 1 && group.p[0] == '0')
			group = span_from(group, 1);
		all = arena_printf(m->a, "%.*s%s%.*s", SPAN_ARG(all), between, SPAN_ARG(group));
		key = rest;
	}
	return all;
}

/* As our lookup writes addresses; networks stay as they are. */
static struct span
address_key(struct sm *m, const struct sm_row *r)
{
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(arena_cstr(m->a, r->key));
	struct span text = r->key;

	if (ip != NULL)
		text = dns_address_text(m->a, span_of(ASN1_STRING_get0_data(ip), (size_t)ASN1_STRING_length(ip)));
	else if (span_index(r->key, ':') >= 0) {
		sm_note(m, r, "a part of an IPv6 address is compared as text; better use a cidr: table");
		text = plain_groups(m, r->key);
	}
	ASN1_OCTET_STRING_free(ip);
	return text;
}

static bool
write_entry(struct sm *m, struct sm_row *r, struct span policy)
{
	struct buf *out = &m->t->clients;
	struct span key = r->key;
	struct fault why = { 0 };

	if (key.n == 0)
		return buf_addf(out, "* %.*s\n", SPAN_ARG(policy));
	if (sm_is_address(key)) {
		key = address_key(m, r);
		if (span_index(key, ':') < 0 && !tls_client_key_check(key, &why)) {
			sm_leave(m, r, "%s", why.text);
			return false;
		}
		return buf_addf(out, "%.*s %.*s\n", SPAN_ARG(key), SPAN_ARG(policy));
	}
	if (!is_name(key)) {
		sm_leave(m, r, "neither a host name nor an address");
		return false;
	}
	return buf_addf(out, "%.*s %.*s\n.%.*s %.*s\n", SPAN_ARG(key), SPAN_ARG(policy), SPAN_ARG(key), SPAN_ARG(policy));
}

/* --- what is demanded --- */

static bool
is_dn(struct span text)
{
	X509_NAME *name = text.p[0] == '/' ? tls_dn_parse(text, NULL) : NULL;

	X509_NAME_free(name);
	return name != NULL;
}

static bool
add_cn(struct sm *m, struct sm_row *r, const struct sendmail_demand *d, struct buf *out)
{
	struct span name = sm_plain(m, d->cn);

	if (d->cn_host)
		buf_add_str(out, " match=hostname");
	if (d->cn.n == 0)
		return true;
	if (!is_name(name) || !dns_name_is_host(name)) {
		sm_leave(m, r, "no equivalent: the CN \"%.*s\" is no host name (subject= compares all of the subject)",
		    SPAN_ARG(span_slice(d->cn, 0, 100)));
		return false;
	}
	if (d->cn_host) {
		sm_leave(m, r, "no equivalent: two names that must both be there");
		return false;
	}
	buf_addf(out, " match=%.*s", SPAN_ARG(name));
	return true;
}

static bool
add_dn(struct sm *m, struct sm_row *r, const char *attr, struct span dn, struct buf *out)
{
	if (dn.n == 0)
		return true;
	if (!is_dn(dn)) {
		sm_leave(m, r, "the %s is not a distinguished name (/C=.../O=.../CN=...)", attr);
		return false;
	}
	buf_addf(out, " { %s = ", attr);
	for (size_t i = 0; i < dn.n; i++) {
		unsigned char c = (unsigned char)dn.p[i];

		/* what would be punctuation in our value */
		if (c <= ' ' || c > '~' || c == '{' || c == '}' || c == ',')
			buf_addf(out, "+%02X", c);
		else
			buf_addc(out, (char)c);
	}
	buf_add_str(out, " }");
	return true;
}

static bool
add_tag(struct sm *m, struct sm_row *r, struct span name, struct buf *out)
{
	struct sendmail_tag *tag;

	if (name.n == 0)
		return true;
	tag = sm_tag_table(m, name);
	if (tag == NULL) {
		sm_leave(m, r, "the tag is no name for a file, or there are too many tags");
		return false;
	}
	buf_addf(out, " issuer_maps=texthash:%s/issuers_%.*s", m->dir, SPAN_ARG(tag->name));
	return true;
}

static bool
add_demand(struct sm *m, struct sm_row *r, const struct sendmail_demand *d, struct buf *out)
{
	bool ext = d->cn_host || d->cn.n > 0 || d->cs.n > 0 || d->ci.n > 0 || d->citag.n > 0;

	buf_add_str(out, d->verify || ext ? "verify" : "encrypt");
	if (ext && !d->verify)
		sm_note(m, r, "converted to verify: a name in a certificate that nobody vouches for says nothing");
	if (d->bits > 0)
		buf_addf(out, " bits=%u", d->bits);
	if (d->bits > 0 && !m->sasl_noted)
		sm_note(m, r, "the strength of a SASL layer does not count here, only that of TLS");
	m->sasl_noted = m->sasl_noted || d->bits > 0;
	if (d->action != SENDMAIL_DEFAULT)
		buf_add_str(out, d->action == SENDMAIL_PERM ? " action=503" : " action=403");
	m->asks_certs = m->asks_certs || d->verify || ext;
	return add_cn(m, r, d, out) && add_dn(m, r, "subject", d->cs, out) && add_dn(m, r, "issuer", d->ci, out) &&
	    add_tag(m, r, d->citag, out);
}

/* --- features --- */

static struct features
features_of(const struct sm_row *r)
{
	struct span rest = r != NULL ? r->value : SPAN(""), word;
	struct features f = { .off = false };

	while (span_token(&rest, " \t,", &word)) {
		f.off |= span_eq(word, SPAN("S"));
		f.no_ask |= span_eq(word, SPAN("V"));
		f.ask |= span_eq(word, SPAN("v"));
		f.others |= word.n != 1 || span_index(SPAN("SsVv"), word.p[0]) < 0;
	}
	return f;
}

/* An entry from what TLS_Clt (`d`, NULL = nothing) and Srv_Features say. Empty `out`: none is needed. */
static bool
add_policy(struct sm *m, struct sm_row *r, const struct sendmail_demand *d, const struct features *f, struct buf *out)
{
	if (d == NULL && f->off) {
		buf_add_str(out, "none");
		return true;
	}
	if (d != NULL && f->off)
		sm_note(m, r, "Srv_Features switches STARTTLS off where TLS_Clt demands it: such a client can never send; the demand is kept");
	if (d == NULL && !f->ask && !f->no_ask)
		return true;
	if (d == NULL)
		buf_add_str(out, "may");
	else if (!add_demand(m, r, d, out))
		return false;
	if (span_starts(buf_span(out), SPAN("verify"))) {
		if (f->no_ask)
			sm_note(m, r, "Srv_Features asks for no certificate where TLS_Clt demands one: it is asked for");
		return true;
	}
	if (f->ask || f->no_ask)
		buf_addf(out, " ask_ccert=%s", f->ask ? "yes" : "no");
	return true;
}

static void
convert(struct sm *m, struct sm_row *r, struct sm_row *clt, struct sm_row *features)
{
	struct features f = features_of(features);
	struct sendmail_demand d;
	bool demanded = clt != NULL && sendmail_demand_parse(clt->value, &d);
	struct buf out;

	buf_init(&out, SENDMAIL_LINE_MAX * 2);
	if (r == clt && !demanded) {
		/* found, so Sendmail looks no further: a demand on a parent does not apply */
		sm_note(m, r, "Sendmail accepts the client whatever it shows for a value of this shape; converted to that, look whether it is meant");
		if (!f.off && !f.ask && !f.no_ask)
			buf_add_str(&out, "may");
	}
	if (add_policy(m, r, demanded ? &d : NULL, &f, &out) && out.n > 0 && write_entry(m, r, buf_span(&out)))
		sm_done(m, r);
	buf_release(&out);
}

static void
shadow_notes(struct sm *m, const struct sm_row *r, bool names, bool addresses)
{
	if (r->key.n > 0 && !sm_is_address(r->key) && addresses)
		sm_note(m, r, "here this name comes before all entries by address; Sendmail would ask TLS_Clt for the address as well");
	if (r->key.n > 0 && sm_is_address(r->key) && names)
		sm_note(m, r, "does not reach clients that have an entry by name; in Sendmail it would");
}

static void
convert_features(struct sm *m, struct sm_row *r, bool names, bool addresses)
{
	struct features f = features_of(r);

	if (f.others)
		sm_note(m, r, "letters other than S, s, V, v have no equivalent in this table; see smtpd_discard_ehlo_keyword_address_maps for "
		    "what is announced to an address");
	if (!f.off && !f.ask && !f.no_ask) {
		sm_leave(m, r, "%s", f.others ? "nothing in it is about TLS" : "STARTTLS is offered anyway");
		return;
	}
	if (sm_find(m, SM_CLT, r->key) != NULL) {
		sm_done(m, r);          /* is in that entry */
		return;
	}
	shadow_notes(m, r, names, addresses);
	convert(m, r, sm_effective(m, SM_CLT, r->key), r);
}

void
sm_clients(struct sm *m)
{
	bool names = false, addresses = false;

	for (size_t i = 0; i < m->n; i++) {
		struct sm_row *r = &m->rows[i];

		if (r->tag != SM_CLT || r->done)
			continue;
		names = names || (r->key.n > 0 && !sm_is_address(r->key));
		addresses = addresses || sm_is_address(r->key);
		convert(m, r, r, sm_effective(m, SM_FEATURES, r->key));
	}
	for (size_t i = 0; i < m->n; i++)
		if (m->rows[i].tag == SM_FEATURES && !m->rows[i].done)
			convert_features(m, &m->rows[i], names, addresses);
}
