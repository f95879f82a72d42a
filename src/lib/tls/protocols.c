/* Protocol lists (section 8): floors, ceilings, exclusions and inclusions in one list. */
#include <openssl/ssl.h>

#include "base/log.h"
#include "tls/policy.h"
#include "tls/policy_private.h"

static const struct {
	const char *name;
	int version;
	uint64_t off;
} versions[] = {
	{ "SSLv2", 0x0002, 0 },         /* gone from the library: naming it has no effect */
	{ "SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3 },
	{ "TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1 },
	{ "TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
	{ "TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 },
	{ "TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 },
};

enum { N_VERSIONS = sizeof(versions) / sizeof(versions[0]) };

static bool
find(struct span name, unsigned *at_r)
{
	for (*at_r = 0; *at_r < N_VERSIONS; ++*at_r)
		if (span_eq_ci(name, span_str(versions[*at_r].name)))
			return true;
	return false;
}

static bool
hex_version(struct span s, int *version_r)
{
	unsigned v = 0;

	if (!span_starts_ci(s, SPAN("0x")) || s.n < 3 || s.n > 6)
		return false;
	for (size_t i = 2; i < s.n; i++) {
		char c = ascii_lower(s.p[i]);

		if (!ascii_isdigit(c) && (c < 'a' || c > 'f'))
			return false;
		v = v * 16 + (unsigned)(ascii_isdigit(c) ? c - '0' : c - 'a' + 10);
	}
	*version_r = (int)v;
	return true;
}

static bool
bound(struct span name, int *version_r)
{
	unsigned at;

	if (span_eq_ci(name, SPAN("None"))) {
		*version_r = 0;
		return true;
	}
	if (find(name, &at)) {
		*version_r = versions[at].version;
		return true;
	}
	return hex_version(name, version_r);
}

static bool
add_token(struct span token, struct tls_protocols *p, unsigned *included)
{
	unsigned at;

	if (span_starts(token, SPAN(">=")))
		return bound(span_from(token, 2), &p->min);
	if (span_starts(token, SPAN("<=")))
		return bound(span_from(token, 2), &p->max);
	if (span_starts(token, SPAN("!"))) {
		if (!find(span_from(token, 1), &at))
			return false;
		p->options_off |= versions[at].off;
		return true;
	}
	if (!find(token, &at))
		return false;
	*included |= 1u << at;
	return true;
}

bool
tls_protocols_parse(struct span list, struct tls_protocols *p_r, struct fault *why)
{
	struct span rest = list, token;
	unsigned included = 0;

	memset(p_r, 0, sizeof(*p_r));
	while (span_token(&rest, TLS_LIST_SEPS, &token))
		if (!add_token(token, p_r, &included))
			return fault_set(why, "4.7.5", "Invalid TLS protocol list \"%.*s\"",
			    SPAN_ARG(log_esc(list)));
	for (unsigned i = 0; included != 0 && i < N_VERSIONS; i++)
		if ((included & 1u << i) == 0)
			p_r->options_off |= versions[i].off;
	return true;
}
