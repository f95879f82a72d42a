/* Which entry a client gets, and whether it satisfies it. */
#include "tls/client_policy.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "dns/dns.h"
#include "tls/dn.h"
#include "tls/names.h"
#include "tls/verify.h"

enum { STEPS_MAX = 16 };

#define SNI_KEY "sni="

/* --- keys --- */

static void
add_key(struct tls_client_key *keys, size_t *n, struct span key, bool partial, bool by_name)
{
	if (*n < TLS_CLIENT_KEYS_MAX)
		keys[(*n)++] = (struct tls_client_key){ key, partial, by_name, false };
}

/* There is always room for these two. */
static void
add_last_resort(struct tls_client_key *keys, size_t *n, struct span sni, struct arena *a)
{
	if (*n > TLS_CLIENT_KEYS_MAX - 2)
		*n = TLS_CLIENT_KEYS_MAX - 2;
	if (sni.n > 0)
		keys[(*n)++] = (struct tls_client_key){ arena_printf(a, SNI_KEY "%.*s", SPAN_ARG(arena_lower(a, sni))), true, false, true };
	keys[(*n)++] = (struct tls_client_key){ SPAN("*"), true, false, true };
}

static void
name_keys(struct span name, struct tls_client_key *keys, size_t *n)
{
	ptrdiff_t dot;

	add_key(keys, n, name, false, true);
	while ((dot = span_index(span_from(name, 1), '.')) >= 0) {
		name = span_from(name, (size_t)dot + 1);
		add_key(keys, n, name, true, true);
	}
}

/* "2001:db8::1" is cut at each ':': what ends in one is no key (access(5) does the same). */
static void
address_keys(struct span addr, struct tls_client_key *keys, size_t *n)
{
	char cut = span_index(addr, ':') >= 0 ? ':' : '.';
	bool partial = false;

	while (addr.n > 0) {
		ptrdiff_t at = span_rindex(addr, cut);

		if (addr.p[addr.n - 1] != cut)
			add_key(keys, n, addr, partial, false);
		if (at <= 0)
			return;
		addr = span_slice(addr, 0, (size_t)at);
		partial = true;
	}
}

size_t
tls_client_keys(struct span name, struct span addr, struct span sni, struct arena *a, struct tls_client_key *keys_r)
{
	size_t n = 0;

	name = arena_lower(a, name);
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n > 0)
		name_keys(name, keys_r, &n);
	address_keys(arena_lower(a, addr), keys_r, &n);
	add_last_resort(keys_r, &n, sni, a);
	return n;
}

bool
tls_client_policy_fits(const struct tls_client_policy *p, struct span key, struct fault *why)
{
	return !span_starts(key, SPAN(SNI_KEY)) || p->level != TLS_CLIENT_NONE ||
	    fault_set(why, "4.7.0", "a client that asks for a server name has begun TLS already: \"none\" makes no sense there");
}

/* --- keys as they are written --- */

#define NOBODY "no client is ever found by this key: "

static bool
is_ipv4(struct span key)
{
	struct span rest = key, part = key, tail;
	unsigned parts = 1;
	uint64_t n;

	for (; span_cut(rest, '.', &part, &tail); rest = tail, parts++)
		if (!span_u64(part, 255, &n) || (part.n > 1 && part.p[0] == '0'))
			return false;
	return parts <= 4 && span_u64(rest, 255, &n) && (rest.n == 1 || rest.p[0] != '0');
}

enum ipv6_key { IPV6_NONE, IPV6_ADDRESS, IPV6_NETWORK };

/* As inet_ntop() writes it; of a network the beginning, each group without zeros in front. */
static enum ipv6_key
parse_ipv6(struct span key, char usual[64])
{
	struct span rest = key, group;
	struct in6_addr addr;
	char text[64];
	size_t n = 0;

	if (key.n >= sizeof(text) - 2)
		return IPV6_NONE;
	snprintf(text, sizeof(text), "%.*s", SPAN_ARG(key));
	if (inet_pton(AF_INET6, text, &addr) == 1) {
		/* "::11:66f" is the beginning of an address as well; alone it would be written "::0.17.6.111" */
		if (span_starts(key, SPAN("::")))
			snprintf(usual, 64, "%.*s", SPAN_ARG(key));
		else
			inet_ntop(AF_INET6, &addr, usual, 64);
		return IPV6_ADDRESS;
	}
	snprintf(text, sizeof(text), "%.*s::", SPAN_ARG(key));
	if (inet_pton(AF_INET6, text, &addr) != 1)
		return IPV6_NONE;
	while (span_token(&rest, ":", &group)) {
		while (group.n > 1 && group.p[0] == '0')
			group = span_from(group, 1);
		n += (size_t)snprintf(usual + n, 64 - n, "%s%.*s", n > 0 ? ":" : "", SPAN_ARG(group));
	}
	return IPV6_NETWORK;
}

static bool
check_ipv6_key(struct span key, struct fault *why)
{
	char usual[64];
	enum ipv6_key kind = parse_ipv6(key, usual);

	if (kind == IPV6_NONE)
		return fault_set(why, NULL, NOBODY "no address or network begins like this (2001:db8::1, 2001:db8)");
	if (span_starts_ci(key, SPAN("::ffff:")) && span_index(key, '.') > 0)
		return fault_set(why, NULL, NOBODY "a client by IPv4 has its IPv4 address: write %.*s", SPAN_ARG(span_from(key, 7)));
	if (!span_eq_ci(span_str(usual), key))
		return fault_set(why, NULL, NOBODY "it is looked up as %s", usual);
	return kind == IPV6_ADDRESS || !span_ends(key, SPAN(":0")) ||
	    fault_set(why, NULL, "this key finds only some of the network: an address is written without its longest row of zeros; use a cidr: table");
}

static bool
check_address_key(struct span key, struct fault *why)
{
	if (span_index(key, ':') >= 0)
		return check_ipv6_key(key, why);
	return is_ipv4(key) || (key.n <= 4 && span_index(key, '.') < 0) ||      /* "2001" */
	    fault_set(why, NULL, NOBODY "no address or network begins like this (192.0.2.1, 192.0.2)");
}

bool
tls_client_key_check(struct span key, struct fault *why)
{
	bool digits = true;
	struct span name;

	if (span_eq(key, SPAN("*")))
		return true;
	if (span_starts_ci(key, SPAN(SNI_KEY)))
		return dns_name_is_host(span_from(key, sizeof(SNI_KEY) - 1)) || fault_set(why, NULL, NOBODY "sni= needs one host name");
	if (span_index(key, '/') >= 0)
		return fault_set(why, NULL, NOBODY "networks with a prefix length belong into a cidr: table");
	for (size_t i = 0; i < key.n; i++)
		digits &= ascii_isdigit(key.p[i]) || key.p[i] == '.';
	if (digits || span_index(key, ':') >= 0)
		return check_address_key(key, why);
	if (span_starts(key, SPAN("*.")))
		return fault_set(why, NULL, NOBODY "write %.*s for all names below it", SPAN_ARG(span_from(key, 1)));
	name = key.n > 1 && key.p[0] == '.' ? span_from(key, 1) : key;
	return (dns_name_is_host(name) && name.p[name.n - 1] != '.') || fault_set(why, NULL, NOBODY "neither a host name nor an address");
}

/* --- conditions --- */

struct decider {
	const struct tls_client_policy *p;
	const struct tls_client_shown *s;
	const struct tls_client_issuer *issuer;
	struct arena *a;
	struct tls_client_verdict *v;
};

__attribute__((format(printf, 3, 4))) static bool
holds(struct decider *d, const char *rule, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (d->v->n_trail < STEPS_MAX)
		d->v->trail[d->v->n_trail++] = (struct tls_step){ .rule = rule, .result = arena_dup(d->a, span_str(text)) };
	return true;
}

/* `reply` for the client, the rest for us. */
__attribute__((format(printf, 4, 5))) static bool
fails(struct decider *d, const char *rule, const char *reply, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->v->reply = span_str(reply);
	d->v->why = arena_dup(d->a, span_str(text));
	if (d->v->n_trail < STEPS_MAX)
		d->v->trail[d->v->n_trail++] = (struct tls_step){ .rule = rule, .result = d->v->why };
	return false;
}

static bool
check_tls(struct decider *d)
{
	if (d->s->tls)
		return holds(d, "encryption", "TLS with %d bits", d->s->bits);
	if (d->s->unavailable) {
		d->v->code = 454;       /* not the client's fault */
		return fails(d, "encryption", "encryption required, and TLS is not available here for now",
		    "encryption required, and this server cannot do TLS now");
	}
	return fails(d, "encryption", "encryption required: issue STARTTLS first", "encryption required: the session is in clear text");
}

static bool
check_bits(struct decider *d)
{
	char reply[80];

	if (d->p->bits == 0)
		return true;
	if (d->s->bits >= (int)d->p->bits)
		return holds(d, "bits", "%d is at least %u", d->s->bits, d->p->bits);
	snprintf(reply, sizeof(reply), "encryption too weak %d less than %u", d->s->bits, d->p->bits);
	return fails(d, "bits", arena_cstr(d->a, span_str(reply)), "%s", reply);
}

static bool
check_present(struct decider *d)
{
	if (d->s->cert != NULL || (d->p->level == TLS_CLIENT_FINGERPRINT && d->s->pkey_fp.n > 0))
		return holds(d, "certificate", "%s", d->s->cert != NULL ? "presented" : "a raw public key was presented");
	if (!d->s->asked) {
		d->v->code = 454;       /* nor is this */
		return fails(d, "certificate", "authentication required, and no certificate was requested",
		    "authentication required, but no client certificate was requested (smtpd_tls_ask_ccert, or ask_ccert=yes in "
		    "the client's entry of smtpd_tls_policy_maps)");
	}
	if (d->s->pkey_fp.n > 0)
		return fails(d, "certificate", "authentication required: a raw public key is not enough",
		    "authentication required: the client presented a raw public key instead of a certificate");
	return fails(d, "certificate", "authentication required: no client certificate was presented",
	    "authentication required: no client certificate was presented");
}

static bool
check_trusted(struct decider *d)
{
	struct span why = d->s->untrusted;

	if (d->s->trusted)
		return holds(d, "chain", "trusted, issued by %.*s", SPAN_ARG(tls_client_issuer_key(d->s, d->a)));
	if (why.n == 0)
		why = SPAN("no reason given");
	return fails(d, "chain", "authentication failed: the client certificate is not trusted",
	    "authentication failed: the client certificate is not trusted: %.*s", SPAN_ARG(why));
}

static bool
name_matches(const struct decider *d, struct span want, char found[256])
{
	struct tls_name name = { .name = want };

	if (span_eq(want, SPAN("hostname")))
		name.name = arena_lower(d->a, d->s->name);
	if (name.name.n > 0 && name.name.p[0] == '.') {
		name.subdomains = true;
		name.name = span_from(name.name, 1);
	}
	return tls_cert_has_name(d->s->cert, &name, TLS_NAME_CN, found);
}

/* "a, b" */
static struct span
listed(struct arena *a, const struct span *list, size_t n)
{
	struct span all = SPAN("");

	for (size_t i = 0; i < n; i++)
		all = arena_printf(a, "%.*s%s%.*s", SPAN_ARG(span_slice(all, 0, 300)), i > 0 ? ", " : "",
		    SPAN_ARG(span_slice(list[i], 0, 100)));
	return all;
}

static bool
check_names(struct decider *d)
{
	const struct tls_client_policy *p = d->p;
	char found[256], names[512];
	struct span wanted;

	if (p->n_match == 0)
		return true;
	for (size_t i = 0; i < p->n_match; i++)
		if (name_matches(d, p->match[i], found))
			return holds(d, "match", "%.*s", SPAN_ARG(log_esc(span_str(found))));
	tls_cert_list_names(d->s->cert, true, names, sizeof(names));
	wanted = listed(d->a, p->match, p->n_match);
	if (p->n_match == 1 && span_eq(p->match[0], SPAN("hostname")))
		wanted = d->s->name.n > 0 ? d->s->name : SPAN("a confirmed host name, which the client does not have");
	return fails(d, "match", "authentication failed: the client certificate is for another name",
	    "authentication failed: the client certificate has %s, wanted %.*s", names, SPAN_ARG(wanted));
}

/* Does a subjectAltName of this type hold these bytes? */
static bool
has_uri(X509 *cert, struct span want)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *s = g->type == GEN_URI ? g->d.uniformResourceIdentifier : NULL;

		found = s != NULL && span_eq(want, span_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)));
	}
	GENERAL_NAMES_free(names);
	return found;
}

static bool
has_email(X509 *cert, struct span want)
{
	return X509_check_email(cert, want.p, want.n, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT) == 1;
}

static bool
has_ip(X509 *cert, struct span want)
{
	char text[64];

	snprintf(text, sizeof(text), "%.*s", SPAN_ARG(want));
	return X509_check_ip_asc(cert, text, 0) == 1;
}

static bool
check_alt(struct decider *d, const char *rule, const char *what, const struct span *list, size_t n, bool (*has)(X509 *, struct span))
{
	if (n == 0)
		return true;
	for (size_t i = 0; i < n; i++)
		if (has(d->s->cert, list[i]))
			return holds(d, rule, "%.*s", SPAN_ARG(list[i]));
	return fails(d, rule, "authentication failed: the client certificate is for another name",
	    "authentication failed: the client certificate does not have the %s %.*s", what, SPAN_ARG(listed(d->a, list, n)));
}

static bool
check_dn(struct decider *d, const char *rule, struct span want, const X509_NAME *have)
{
	X509_NAME *name;
	bool same;

	if (want.n == 0)
		return true;
	name = tls_dn_parse(want, NULL);
	same = name != NULL && X509_NAME_cmp(name, have) == 0;
	X509_NAME_free(name);
	ERR_clear_error();
	if (same)
		return holds(d, rule, "%.*s", SPAN_ARG(want));
	return fails(d, rule, "authentication failed: the client certificate is not the one expected",
	    "authentication failed: the %s of the client certificate is \"%.*s\", wanted \"%.*s\"", rule,
	    SPAN_ARG(span_slice(tls_dn_text(have, d->a), 0, 300)), SPAN_ARG(span_slice(want, 0, 300)));
}

static bool
check_issuer_maps(struct decider *d)
{
	struct span table = d->p->issuer_maps, key;

	if (table.n == 0)
		return true;
	key = span_slice(tls_client_issuer_key(d->s, d->a), 0, 300);
	switch (d->issuer != NULL ? d->issuer->state : TLS_ANSWER_NONE) {
	case TLS_ANSWER_FOUND:
		if (span_eq_ci(span_trim(d->issuer->value), SPAN("OK")))
			return holds(d, "issuer_maps", "%.*s is in %.*s", SPAN_ARG(key), SPAN_ARG(table));
		break;
	case TLS_ANSWER_ABSENT:
		break;
	case TLS_ANSWER_NONE:
	case TLS_ANSWER_FAILED:
		d->v->code = 454;
		return fails(d, "issuer_maps", "authentication failed: temporary lookup failure", "issuer_maps: %s",
		    d->issuer != NULL && d->issuer->why.text[0] != '\0' ? d->issuer->why.text : "the table was not asked");
	}
	return fails(d, "issuer_maps", "authentication failed: the issuer of the client certificate is not accepted here",
	    "authentication failed: the issuer \"%.*s\" is not OK in %.*s", SPAN_ARG(key), SPAN_ARG(table));
}

/* It hangs on the certificate: the next release of the client's software may show the key alone. */
static void
warn_fragile(struct decider *d)
{
	const struct tls_client_policy *p = d->p;

	for (size_t i = 0; i < p->n_match; i++)
		if (span_eq_ci(p->match[i], d->s->pkey_fp))
			return;
	d->v->warning = arena_printf(d->a, "Fragile access policy: match lists the client's certificate (fingerprint %.*s), but not its "
	    "key (fingerprint %.*s); with smtpd_tls_enable_rpk = yes the client may show its key alone", SPAN_ARG(d->s->cert_fp),
	    SPAN_ARG(d->s->pkey_fp));
}

static bool
check_fingerprint(struct decider *d)
{
	const struct tls_client_policy *p = d->p;

	for (size_t i = 0; i < p->n_match; i++) {
		if (d->s->pkey_fp.n > 0 && span_eq_ci(p->match[i], d->s->pkey_fp))
			return holds(d, "fingerprint", "key %.*s", SPAN_ARG(d->s->pkey_fp));
		if (d->s->cert_fp.n == 0 || !span_eq_ci(p->match[i], d->s->cert_fp))
			continue;
		if (d->s->key_would_do)
			warn_fragile(d);
		return holds(d, "fingerprint", "certificate %.*s", SPAN_ARG(d->s->cert_fp));
	}
	if (d->s->cert_fp.n == 0)
		return fails(d, "fingerprint", "authentication failed: the client's raw public key is not the one expected",
		    "authentication failed: raw public key %.*s is not listed; a certificate's digest cannot match it", SPAN_ARG(d->s->pkey_fp));
	return fails(d, "fingerprint", "authentication failed: the client certificate is not the one expected",
	    "authentication failed: neither certificate %.*s nor key %.*s is listed", SPAN_ARG(d->s->cert_fp),
	    SPAN_ARG(d->s->pkey_fp));
}

static bool
check_verify(struct decider *d)
{
	const struct tls_client_policy *p = d->p;

	return check_trusted(d) && check_names(d) &&
	    check_alt(d, "match_email", "mail address", p->email, p->n_email, has_email) &&
	    check_alt(d, "match_ip", "address", p->ip, p->n_ip, has_ip) &&
	    check_alt(d, "match_uri", "URI", p->uri, p->n_uri, has_uri) &&
	    check_dn(d, "subject", p->subject, X509_get_subject_name(d->s->cert)) &&
	    check_dn(d, "issuer", p->issuer, X509_get_issuer_name(d->s->cert)) && check_issuer_maps(d);
}

static bool
check_all(struct decider *d)
{
	if (d->p->level <= TLS_CLIENT_MAY)
		return holds(d, "level", "%s demands nothing", tls_client_level_name(d->p->level));
	if (!check_tls(d) || !check_bits(d))
		return false;
	if (d->p->level == TLS_CLIENT_ENCRYPT)
		return true;
	return check_present(d) && (d->p->level == TLS_CLIENT_VERIFY ? check_verify(d) : check_fingerprint(d));
}

bool
tls_client_issuer_wanted(const struct tls_client_policy *p, const struct tls_client_shown *s)
{
	return p->issuer_maps.n > 0 && s->cert != NULL && s->trusted;
}

struct span
tls_client_issuer_key(const struct tls_client_shown *s, struct arena *a)
{
	return s->cert != NULL ? tls_dn_text(X509_get_issuer_name(s->cert), a) : SPAN("");
}

void
tls_client_policy_decide(const struct tls_client_policy *p, const struct tls_client_shown *s,
    const struct tls_client_issuer *issuer, struct arena *a, struct tls_client_verdict *v_r)
{
	struct decider d = { p, s, issuer, a, v_r };

	*v_r = (struct tls_client_verdict){ .code = p->code };
	v_r->trail = ARENA_ARRAY(a, struct tls_step, STEPS_MAX);
	v_r->ok = check_all(&d);
	v_r->dsn = v_r->code >= 500 ? "5.7.0" : "4.7.0";
}

void
tls_client_policy_unknown(const struct fault *why, struct tls_client_verdict *v_r)
{
	*v_r = (struct tls_client_verdict){ .code = 454, .dsn = "4.7.0", .reply = SPAN("TLS policy is temporarily not available"),
		.why = span_str(why->text) };
}
