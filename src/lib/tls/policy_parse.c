/*
 * The value of a policy table entry (section 3). Strict: whatever is not understood is an
 * error, which defers mail; nothing is skipped, so a typo costs delay and never protection.
 */
#include "base/log.h"
#include "dns/dns.h"
#include "tls/policy.h"
#include "tls/policy_private.h"

enum { LIST_MAX = 256 };

/* One attribute being read. */
struct attr {
	struct span name, value;
};

/* An attribute: where it may stand and what takes it. */
typedef bool attr_fn(struct tls_policy *p, struct arena *a, struct span value, struct fault *why);
struct attr_row {
	const char *name;
	bool repeats;
	bool needs_type;        /* belongs to an external policy: needs policy_type */
	attr_fn *fn;
};

static bool
push(struct arena *a, struct span **list, size_t *n, struct span s, struct fault *why)
{
	struct span *bigger;

	if (*n == LIST_MAX)
		return fault_set(why, "4.7.5", "more than %d values", LIST_MAX);
	if ((*n & (*n - 1)) == 0) {             /* full at powers of two */
		bigger = ARENA_ARRAY(a, struct span, *n == 0 ? 1 : *n * 2);
		if (*n > 0)
			memcpy(bigger, *list, *n * sizeof(**list));
		*list = bigger;
	}
	(*list)[(*n)++] = s;
	return true;
}

static bool
yes_no(struct span value, bool *on_r, struct fault *why)
{
	*on_r = span_eq_ci(value, SPAN("yes"));
	return *on_r || span_eq_ci(value, SPAN("no")) ||
	    fault_set(why, "4.7.5", "\"%.*s\" is neither yes nor no", SPAN_ARG(log_esc(value)));
}

static bool
take_ciphers(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	(void)a;
	p->has_ciphers = true;
	p->ciphers = value;
	/* whether `null` may be used is known only when the decision is made */
	return tls_grade_check(value, true, why);
}

static bool
take_protocols(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	struct tls_protocols t;

	(void)a;
	p->has_protocols = true;
	p->protocols = value;
	return tls_protocols_parse(value, &t, why);
}

static bool
take_exclude(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	(void)a;
	p->has_exclude = true;
	p->exclude = value;
	return tls_exclude_check(value, TLS_LIST_SEPS, true, why);
}

static bool
take_weak(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	(void)a;
	p->has_weak = true;
	return tls_weak_parse(value, &p->weak, why);
}

static bool
take_match(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	const char *seps = p->level == TLS_LEVEL_FINGERPRINT ? "|" : ":";
	struct span one;
	size_t before = p->n_match;

	if (p->level != TLS_LEVEL_FINGERPRINT && !tls_level_needs_pkix(p->level))
		return fault_set(why, "4.7.5", "not allowed at level %s", tls_level_name(p->level));
	while (span_token(&value, seps, &one))
		if (!push(a, &p->match, &p->n_match, span_trim(one), why))
			return false;
	return p->n_match > before || fault_set(why, "4.7.5", "empty value");
}

static bool
take_tafile(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	struct tls_anchor_file *bigger;

	if (!tls_level_needs_pkix(p->level))
		return fault_set(why, "4.7.5", "not allowed at level %s", tls_level_name(p->level));
	if (value.n == 0)
		return fault_set(why, "4.7.5", "empty value");
	if (p->n_tafile == 16)
		return fault_set(why, "4.7.5", "more than 16 files");
	bigger = ARENA_ARRAY(a, struct tls_anchor_file, p->n_tafile + 1);
	if (p->n_tafile > 0)
		memcpy(bigger, p->tafile, p->n_tafile * sizeof(*bigger));
	bigger[p->n_tafile++].path = value;
	p->tafile = bigger;
	return true;
}

static bool
take_rootca(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	if (!tls_level_needs_pkix(p->level))
		return fault_set(why, "4.7.5", "not allowed at level %s", tls_level_name(p->level));
	return value.n > 0 ? push(a, &p->rootca, &p->n_rootca, value, why) : fault_set(why, "4.7.5", "empty value");
}

/* The library's name of a digest; "sha-256" is how RFC 6698's registry writes sha256. */
static bool
take_digest(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	struct span name = span_starts_ci(value, SPAN("sha-")) ?
	    arena_printf(a, "sha%.*s", SPAN_ARG(span_from(value, 4))) : value;

	if (p->level != TLS_LEVEL_FINGERPRINT && !tls_level_needs_pkix(p->level))
		return fault_set(why, "4.7.5", "not allowed at level %s", tls_level_name(p->level));
	name = arena_lower(a, name);
	p->digest = arena_cstr(a, name);
	return (name.n == strlen(p->digest) && tls_digest_bytes(p->digest) > 0) ||
	    fault_set(why, "4.7.5", "unknown digest \"%.*s\"", SPAN_ARG(log_esc(value)));
}

static bool
take_servername(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	p->has_servername = true;
	if (value.n == 0)
		return fault_set(why, "4.7.5", "empty value");
	return tls_servername_check(value, false, a, &p->servername, why);
}

static bool
take_reuse(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	bool on;

	(void)a;
	if (!yes_no(value, &on, why))
		return false;
	p->has_connection_reuse = true;
	p->connection_reuse = on;
	return true;
}

static bool
take_rpk(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	bool on;

	(void)a;
	if (!yes_no(value, &on, why))
		return false;
	p->has_enable_rpk = true;
	p->enable_rpk = on;
	return true;
}

static bool
one_of(struct span value, const char *const *words, struct span *value_r, struct fault *why)
{
	for (; *words != NULL; words++)
		if (span_eq(value, span_str(*words))) {
			*value_r = value;
			return true;
		}
	return fault_set(why, "4.7.5", "unknown value \"%.*s\"", SPAN_ARG(log_esc(value)));
}

static bool
take_policy_type(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	static const char *const words[] = { "sts", "no-policy-found", NULL };

	(void)a;
	return one_of(value, words, &p->policy_type, why);
}

static bool
take_policy_failure(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	static const char *const words[] = { "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid",
		"validation-failure", NULL };

	(void)a;
	return one_of(value, words, &p->policy_failure, why);
}

static bool
take_policy_domain(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	if (!dns_name_ascii(a, value, false, &p->policy_domain) || !dns_name_is_host(p->policy_domain))
		return fault_set(why, "4.7.5", "\"%.*s\" is not a host name", SPAN_ARG(log_esc(value)));
	return true;
}

static bool
take_policy_string(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	return push(a, &p->policy_string, &p->n_policy_string, value, why);
}

static bool
take_pattern(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	struct span name = span_starts(value, SPAN("*.")) ? span_from(value, 2) : value, ascii;

	if (!dns_name_ascii(a, name, false, &ascii) || !dns_name_is_host(ascii))
		return fault_set(why, "4.7.5", "\"%.*s\" is not a host name pattern", SPAN_ARG(log_esc(value)));
	if (name.n != value.n)
		ascii = arena_printf(a, "*.%.*s", SPAN_ARG(ascii));
	return push(a, &p->mx_host_pattern, &p->n_mx_host_pattern, ascii, why);
}

static bool
take_policy_ttl(struct tls_policy *p, struct arena *a, struct span value, struct fault *why)
{
	uint64_t seconds;

	(void)p;
	(void)a;
	return span_u64(value, UINT32_MAX, &seconds) ||
	    fault_set(why, "4.7.5", "\"%.*s\" is not a number of seconds", SPAN_ARG(log_esc(value)));
}

static const struct attr_row attr_rows[] = {
	{ "ciphers", false, false, take_ciphers },
	{ "protocols", false, false, take_protocols },
	{ "exclude", false, false, take_exclude },
	{ "weak", false, false, take_weak },
	{ "match", true, false, take_match },
	{ "tafile", true, false, take_tafile },
	{ "rootca", true, false, take_rootca },
	{ "digest", false, false, take_digest },
	{ "servername", false, false, take_servername },
	{ "connection_reuse", true, false, take_reuse },
	{ "enable_rpk", true, false, take_rpk },
	{ "policy_type", false, false, take_policy_type },
	{ "policy_domain", false, true, take_policy_domain },
	{ "policy_string", true, true, take_policy_string },
	{ "mx_host_pattern", true, true, take_pattern },
	{ "policy_failure", false, true, take_policy_failure },
	{ "policy_ttl", false, true, take_policy_ttl },
};

enum { N_ATTRS = sizeof(attr_rows) / sizeof(attr_rows[0]) };

/* Runs of white space become one space: values in braces may be folded over lines. */
static struct span
normalise(struct arena *a, struct span s)
{
	char *p = arena_cstr(a, span_trim(s));
	size_t n = 0, len = strlen(p);

	for (size_t i = 0; i < len; i++) {
		if (!ascii_isspace(p[i]))
			p[n++] = p[i];
		else if (n > 0 && p[n - 1] != ' ')
			p[n++] = ' ';
	}
	return span_of(p, n);
}

static bool
split_attr(struct span token, struct arena *a, struct attr *at, struct fault *why)
{
	bool braces = token.p[0] == '{';

	if (braces) {
		if (token.n < 2 || token.p[token.n - 1] != '}' || memchr(token.p, '\0', token.n) != NULL)
			return fault_set(why, "4.7.5", "unbalanced braces in \"%.*s\"", SPAN_ARG(log_esc(token)));
		token = normalise(a, span_slice(token, 1, token.n - 1));
	}
	if (!span_cut(token, '=', &at->name, &at->value))
		return fault_set(why, "4.7.5", "malformed attribute \"%.*s\"", SPAN_ARG(log_esc(token)));
	if (braces) {
		at->name = span_trim(at->name);
		at->value = span_trim(at->value);
	}
	return at->name.n > 0 ||
	    fault_set(why, "4.7.5", "malformed attribute \"%.*s\"", SPAN_ARG(log_esc(token)));
}

static bool
take(struct tls_policy *p, struct arena *a, const struct attr *at, unsigned *seen, struct fault *why)
{
	unsigned i = 0;

	while (i < N_ATTRS && !span_eq_ci(at->name, span_str(attr_rows[i].name)))
		i++;
	if (p->level == TLS_LEVEL_NONE)
		return push(a, &p->ignored, &p->n_ignored, at->name, why);
	if (i == N_ATTRS)
		return fault_set(why, "4.7.5", "unknown attribute \"%.*s\"", SPAN_ARG(log_esc(at->name)));
	if (!attr_rows[i].repeats && (*seen & 1u << i) != 0)
		return fault_set(why, "4.7.5", "attribute \"%s\" is given twice", attr_rows[i].name);
	*seen |= 1u << i;
	if (attr_rows[i].fn(p, a, at->value, why))
		return true;
	fault_prefix(why, "attribute \"%s\"", attr_rows[i].name);
	return false;
}

static bool
check_policy_type(const struct tls_policy *p, unsigned seen, struct fault *why)
{
	for (unsigned i = 0; p->policy_type.n == 0 && i < N_ATTRS; i++)
		if (attr_rows[i].needs_type && (seen & 1u << i) != 0)
			return fault_set(why, "4.7.5", "attribute \"%s\" needs policy_type", attr_rows[i].name);
	return true;
}

/* Both name the only anchors there are. */
static bool
check_anchors(const struct tls_policy *p, struct fault *why)
{
	return p->n_tafile == 0 || p->n_rootca == 0 ||
	    fault_set(why, "4.7.5", "attributes \"tafile\" and \"rootca\" exclude one another");
}

bool
tls_policy_parse(struct span value, struct arena *a, struct tls_policy *p_r, struct fault *why)
{
	struct span token, level;
	struct attr at = { 0 };
	unsigned seen = 0;

	memset(p_r, 0, sizeof(*p_r));
	if (!span_token(&value, TLS_SPACE_COMMA, &level))
		return fault_set(why, "4.7.5", "empty value");
	if (!tls_level_parse(level, &p_r->level))
		return fault_set(why, "4.7.5", "invalid security level \"%.*s\"", SPAN_ARG(log_esc(level)));
	while (span_token_brace(&value, TLS_SPACE_COMMA, &token))
		if (!split_attr(token, a, &at, why) || !take(p_r, a, &at, &seen, why))
			return false;
	return check_policy_type(p_r, seen, why) && check_anchors(p_r, why);
}
