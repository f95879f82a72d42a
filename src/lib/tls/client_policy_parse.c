/* The value of an smtpd_tls_policy_maps entry. Strict: nothing is skipped. */
#include <openssl/x509v3.h>

#include "base/log.h"
#include "dns/dns.h"
#include "tls/client_policy.h"
#include "tls/dn.h"
#include "tls/policy_private.h"
#include "tls/server_ctx.h"

enum { LIST_MAX = 64 };

static const char *const level_names[] = {
	[TLS_CLIENT_NONE] = "none",
	[TLS_CLIENT_MAY] = "may",
	[TLS_CLIENT_ENCRYPT] = "encrypt",
	[TLS_CLIENT_VERIFY] = "verify",
	[TLS_CLIENT_FINGERPRINT] = "fingerprint",
};

enum { N_LEVELS = sizeof(level_names) / sizeof(level_names[0]) };

const char *
tls_client_level_name(enum tls_client_level level)
{
	return level_names[level];
}

struct reader {
	struct tls_client_policy *p;
	struct arena *a;
	const char *digest_name;
	unsigned seen;
};

/* Levels as bits: where an attribute may stand. */
#define AT(level) (1u << (level))
#define AT_OFFERED (AT(TLS_CLIENT_MAY) | AT(TLS_CLIENT_ENCRYPT) | AT(TLS_CLIENT_VERIFY) | AT(TLS_CLIENT_FINGERPRINT))
#define AT_DEMAND (AT(TLS_CLIENT_ENCRYPT) | AT(TLS_CLIENT_VERIFY) | AT(TLS_CLIENT_FINGERPRINT))
#define AT_MATCH (AT(TLS_CLIENT_VERIFY) | AT(TLS_CLIENT_FINGERPRINT))
#define AT_VERIFY AT(TLS_CLIENT_VERIFY)

typedef bool attr_fn(struct reader *r, struct span value, struct fault *why);
struct attr_row {
	const char *name;
	unsigned levels;
	bool repeats;
	attr_fn *fn;
};

static bool
push(struct arena *a, struct span **list, size_t *n, struct span s, struct fault *why)
{
	if (*n == LIST_MAX)
		return fault_set(why, "4.7.0", "more than %d values", LIST_MAX);
	if (*list == NULL)
		*list = ARENA_ARRAY(a, struct span, LIST_MAX);
	(*list)[(*n)++] = s;
	return true;
}

static bool
take_ask(struct reader *r, struct span value, struct fault *why)
{
	r->p->has_ask_ccert = true;
	r->p->ask_ccert = span_eq_ci(value, SPAN("yes"));
	if (!r->p->ask_ccert && !span_eq_ci(value, SPAN("no")))
		return fault_set(why, "4.7.0", "\"%.*s\" is neither yes nor no", SPAN_ARG(log_esc(value)));
	return r->p->ask_ccert || r->p->level < TLS_CLIENT_VERIFY ||
	    fault_set(why, "4.7.0", "level %s needs a certificate, so it must be asked for", level_names[r->p->level]);
}

static bool
take_bits(struct reader *r, struct span value, struct fault *why)
{
	uint64_t bits;

	if (!span_u64(value, 1024, &bits) || bits == 0)
		return fault_set(why, "4.7.0", "\"%.*s\" is not a number of bits", SPAN_ARG(log_esc(value)));
	r->p->bits = (unsigned)bits;
	return true;
}

static bool
one_match(struct reader *r, struct span one, struct fault *why)
{
	struct tls_client_policy *p = r->p;
	struct span ascii, name = one.n > 1 && one.p[0] == '.' ? span_from(one, 1) : one;
	struct tls_digest digest;

	if (p->level == TLS_CLIENT_FINGERPRINT) {
		if (!tls_fingerprint_parse(one, r->digest_name, &digest, why))
			return false;
		return push(r->a, &p->match, &p->n_match, tls_digest_text(&digest, r->a), why);
	}
	if (span_eq_ci(one, SPAN("hostname")))
		return push(r->a, &p->match, &p->n_match, SPAN("hostname"), why);
	if (!dns_name_ascii(r->a, name, false, &ascii) || !dns_name_is_host(ascii))
		return fault_set(why, "4.7.0", "\"%.*s\" is neither a host name nor the word hostname", SPAN_ARG(log_esc(one)));
	ascii = arena_lower(r->a, ascii);
	if (name.n != one.n)
		ascii = arena_printf(r->a, ".%.*s", SPAN_ARG(ascii));
	return push(r->a, &p->match, &p->n_match, ascii, why);
}

static bool
take_match(struct reader *r, struct span value, struct fault *why)
{
	size_t before = r->p->n_match;
	struct span one;

	while (span_token(&value, r->p->level == TLS_CLIENT_FINGERPRINT ? "|" : ":|", &one))
		if (!one_match(r, span_trim(one), why))
			return false;
	return r->p->n_match > before || fault_set(why, "4.7.0", "empty value");
}

static bool
take_list(struct reader *r, struct span value, struct span **list, size_t *n, bool (*good)(struct span), const char *what,
    struct fault *why)
{
	size_t before = *n;
	struct span one;

	while (span_token(&value, "|", &one)) {
		one = span_trim(one);
		if (!good(one))
			return fault_set(why, "4.7.0", "\"%.*s\" is not %s", SPAN_ARG(log_esc(one)), what);
		if (!push(r->a, list, n, one, why))
			return false;
	}
	return *n > before || fault_set(why, "4.7.0", "empty value");
}

static bool
is_email(struct span s)
{
	ptrdiff_t at = span_rindex(s, '@');

	return at > 0 && (size_t)at + 1 < s.n && span_is_ascii(s) && span_index(s, '\0') < 0 && s.n < 500;
}

static bool
is_address(struct span s)
{
	char text[64];
	ASN1_OCTET_STRING *ip;

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	ip = a2i_IPADDRESS(text);
	ASN1_OCTET_STRING_free(ip);
	return ip != NULL;
}

static bool
is_uri(struct span s)
{
	return span_index(s, ':') > 0 && span_is_ascii(s) && span_index(s, '\0') < 0;
}

static bool
take_email(struct reader *r, struct span value, struct fault *why)
{
	return take_list(r, value, &r->p->email, &r->p->n_email, is_email, "a mail address", why);
}

static bool
take_ip(struct reader *r, struct span value, struct fault *why)
{
	return take_list(r, value, &r->p->ip, &r->p->n_ip, is_address, "an address", why);
}

static bool
take_uri(struct reader *r, struct span value, struct fault *why)
{
	return take_list(r, value, &r->p->uri, &r->p->n_uri, is_uri, "a URI", why);
}

static bool
take_dn(struct span value, struct span *to, struct fault *why)
{
	X509_NAME *name = tls_dn_parse(value, why);

	X509_NAME_free(name);
	*to = value;
	return name != NULL;
}

static bool
take_subject(struct reader *r, struct span value, struct fault *why)
{
	return take_dn(value, &r->p->subject, why);
}

static bool
take_issuer(struct reader *r, struct span value, struct fault *why)
{
	return take_dn(value, &r->p->issuer, why);
}

static bool
take_issuer_maps(struct reader *r, struct span value, struct fault *why)
{
	struct span type, name;

	r->p->issuer_maps = value;
	return (span_cut(value, ':', &type, &name) && type.n > 0 && name.n > 0) ||
	    fault_set(why, "4.7.0", "\"%.*s\" is not type:name", SPAN_ARG(log_esc(value)));
}

static bool
take_ciphers(struct reader *r, struct span value, struct fault *why)
{
	r->p->ciphers = value;
	return tls_grade_check(value, false, why);
}

static bool
take_protocols(struct reader *r, struct span value, struct fault *why)
{
	struct tls_protocols t;

	r->p->protocols = value;
	if (value.n == 0)
		return fault_set(why, "4.7.0", "empty value");
	return tls_protocols_parse(value, &t, why) &&
	    tls_server_protocols_left(arena_cstr(r->a, value), r->p->level >= TLS_CLIENT_ENCRYPT, &t, why);
}

static bool
take_exclude(struct reader *r, struct span value, struct fault *why)
{
	r->p->exclude = value;
	if (value.n == 0)
		return fault_set(why, "4.7.0", "empty value");
	return tls_exclude_check(value, TLS_LIST_SEPS, true, why);
}

/* The name of a chain in tls_server_sni_maps: keys and certificates are the keeper's, no table names files to a worker. */
static bool
take_chain(struct reader *r, struct span value, struct fault *why)
{
	struct span ascii;

	if (!dns_name_ascii(r->a, value, false, &ascii) || !dns_name_is_host(ascii))
		return fault_set(why, "4.7.0", "\"%.*s\" is not a host name (of tls_server_sni_maps)", SPAN_ARG(log_esc(value)));
	r->p->chain = arena_lower(r->a, ascii);
	return true;
}

/* 421 and 521 would hang up: a refusal by policy never does. */
static bool
take_action(struct reader *r, struct span value, struct fault *why)
{
	uint64_t code = 0;

	if (span_eq_ci(value, SPAN("4xx")))
		code = 454;
	else if (span_eq_ci(value, SPAN("5xx")))
		code = 554;
	else if (value.n != 3 || !span_u64(value, 559, &code) || code < 400 || code == 421 || code == 521)
		return fault_set(why, "4.7.0", "\"%.*s\" is neither 4xx nor 5xx nor a reply code (421 and 521 would hang up)",
		    SPAN_ARG(log_esc(value)));
	r->p->code = (unsigned)code;
	return true;
}

static const struct attr_row attr_rows[] = {
	{ "ask_ccert", AT_OFFERED, false, take_ask },
	{ "bits", AT_DEMAND, false, take_bits },
	{ "match", AT_MATCH, true, take_match },
	{ "match_email", AT_VERIFY, true, take_email },
	{ "match_ip", AT_VERIFY, true, take_ip },
	{ "match_uri", AT_VERIFY, true, take_uri },
	{ "subject", AT_VERIFY, false, take_subject },
	{ "issuer", AT_VERIFY, false, take_issuer },
	{ "issuer_maps", AT_VERIFY, false, take_issuer_maps },
	{ "ciphers", AT_OFFERED, false, take_ciphers },
	{ "protocols", AT_OFFERED, false, take_protocols },
	{ "exclude", AT_OFFERED, false, take_exclude },
	{ "chain", AT_OFFERED, false, take_chain },
	{ "action", AT_DEMAND, false, take_action },
};

enum { N_ATTRS = sizeof(attr_rows) / sizeof(attr_rows[0]) };

/* "name=value" or "{ name = value }"; blanks inside the value stay as they are. */
static bool
split_attr(struct span token, struct span *name, struct span *value, struct fault *why)
{
	struct span shown = token;

	if (memchr(token.p, '\0', token.n) != NULL)
		return fault_set(why, "4.7.0", "a NUL byte in the value");
	if (token.p[0] == '{') {
		if (token.n < 2 || token.p[token.n - 1] != '}')
			return fault_set(why, "4.7.0", "unbalanced braces in \"%.*s\"", SPAN_ARG(log_esc(shown)));
		token = span_trim(span_slice(token, 1, token.n - 1));
	}
	if (!span_cut(token, '=', name, value))
		return fault_set(why, "4.7.0", "malformed attribute \"%.*s\"", SPAN_ARG(log_esc(shown)));
	*name = span_trim(*name);
	*value = span_trim(*value);
	return name->n > 0 || fault_set(why, "4.7.0", "malformed attribute \"%.*s\"", SPAN_ARG(log_esc(shown)));
}

static bool
take(struct reader *r, struct span name, struct span value, struct fault *why)
{
	unsigned i = 0;

	while (i < N_ATTRS && !span_eq_ci(name, span_str(attr_rows[i].name)))
		i++;
	if (i == N_ATTRS)
		return fault_set(why, "4.7.0", "unknown attribute \"%.*s\"", SPAN_ARG(log_esc(name)));
	if ((attr_rows[i].levels & AT(r->p->level)) == 0)
		return fault_set(why, "4.7.0", "attribute \"%s\" has no effect at level %s", attr_rows[i].name,
		    level_names[r->p->level]);
	if (!attr_rows[i].repeats && (r->seen & 1u << i) != 0)
		return fault_set(why, "4.7.0", "attribute \"%s\" is given twice", attr_rows[i].name);
	r->seen |= 1u << i;
	if (attr_rows[i].fn(r, value, why))
		return true;
	fault_prefix(why, "attribute \"%s\"", attr_rows[i].name);
	return false;
}

static bool
parse_level(struct span word, enum tls_client_level *level_r)
{
	for (unsigned i = 0; i < N_LEVELS; i++)
		if (span_eq_ci(word, span_str(level_names[i]))) {
			*level_r = (enum tls_client_level)i;
			return true;
		}
	return false;
}

static bool
parse(struct reader *r, struct span value, struct fault *why)
{
	struct span token, level, name = { 0 }, attr = { 0 };

	if (!span_token(&value, TLS_SPACE_COMMA, &level))
		return fault_set(why, "4.7.0", "empty value");
	if (!parse_level(level, &r->p->level))
		return fault_set(why, "4.7.0", "\"%.*s\" is not one of none, may, encrypt, verify, fingerprint",
		    SPAN_ARG(log_esc(level)));
	while (span_token_brace(&value, TLS_SPACE_COMMA, &token))
		if (!split_attr(token, &name, &attr, why) || !take(r, name, attr, why))
			return false;
	return r->p->level != TLS_CLIENT_FINGERPRINT || r->p->n_match > 0 ||
	    fault_set(why, "4.7.0", "level fingerprint needs match=");
}

bool
tls_client_policy_parse(struct span value, const char *digest_name, struct arena *a, struct tls_client_policy *p_r,
    struct fault *why)
{
	struct reader r = { .p = p_r, .a = a, .digest_name = digest_name };

	*p_r = (struct tls_client_policy){ .code = 454 };
	if (parse(&r, value, why))
		return true;
	if (why != NULL && why->dsn[0] != '4')
		memcpy(why->dsn, "4.7.0", 6);
	return false;
}

bool
tls_client_policy_asks(const struct tls_client_policy *p, bool service)
{
	if (p->level >= TLS_CLIENT_VERIFY)
		return true;
	return p->has_ask_ccert ? p->ask_ccert : service;
}

bool
tls_client_policy_asks_key(const struct tls_client_policy *p, bool service)
{
	return service && p->level != TLS_CLIENT_VERIFY;
}
