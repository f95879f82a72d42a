/* Domains of addresses: syntax, literals, internationalised names. */
#include "mail/address.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdlib.h>

#define DOMAIN_MAX 255
#define LABEL_MAX 63

static bool
parse_ip(int family, struct span s)
{
	unsigned char out[16];
	char text[INET6_ADDRSTRLEN];

	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return inet_pton(family, text, out) == 1;
}

bool
address_literal(struct span domain, struct span *ip_r)
{
	struct span s, ip;
	int family = AF_INET;

	if (domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
		return false;
	s = ip = span_slice(domain, 1, domain.n - 1);
	if (span_starts_ci(s, SPAN("IPv6:"))) {
		family = AF_INET6;
		ip = span_from(s, 5);
	}
	if (!parse_ip(family, ip))
		return false;
	if (ip_r != NULL)
		*ip_r = ip;
	return true;
}

struct span
address_literal_text(struct span ip, struct arena *a)
{
	if (span_index(ip, ':') < 0)
		return ip;
	return arena_printf(a, "IPv6:%.*s", SPAN_ARG(ip));
}

static bool
valid_label(struct span label, bool utf8)
{
	if (label.n == 0 || label.n > LABEL_MAX * (utf8 && !span_is_ascii(label) ? 4u : 1u))
		return false;
	if (label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++) {
		char c = label.p[i];

		/* RFC 1123 knows no underscore; the world does. */
		if (!ascii_isalnum(c) && c != '-' && c != '_' && !(utf8 && (unsigned char)c > 127))
			return false;
	}
	return true;
}

bool
address_valid_domain(struct span domain, bool utf8)
{
	struct span label;
	bool more = true;

	if (domain.n == 0 || domain.n > DOMAIN_MAX * (utf8 ? 4u : 1u))
		return false;
	if (utf8 && !span_is_utf8(domain))
		return false;
	while (more) {
		more = span_cut(domain, '.', &label, &domain);
		if (!valid_label(label, utf8))
			return false;
	}
	return true;
}

bool
address_domain_ascii(struct span domain, struct arena *a, struct span *ascii_r, struct fault *why)
{
	uint8_t *out = NULL;
	char *text;
	int rc;

	if (span_is_ascii(domain)) {
		*ascii_r = arena_lower(a, domain);
		return true;
	}
	if (domain.n > DOMAIN_MAX * 4 || memchr(domain.p, '\0', domain.n) != NULL)
		return fault_set(why, "5.6.7", "domain is no internationalised name");
	text = arena_cstr(a, domain);
	rc = idn2_lookup_u8((const uint8_t *)text, &out, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (rc != IDN2_OK)
		return fault_set(why, "5.6.7", "domain %s has no ASCII form: %s", text, idn2_strerror(rc));
	*ascii_r = arena_lower(a, span_str((const char *)out));
	idn2_free(out);
	return true;
}

struct span
address_domain_utf8(struct span domain, struct arena *a)
{
	char *out = NULL;
	struct span result = domain;

	if (domain.n == 0 || domain.n > DOMAIN_MAX || memchr(domain.p, '\0', domain.n) != NULL)
		return domain;
	if (span_find_ci(domain, SPAN("xn--")) < 0)
		return domain;
	if (idn2_to_unicode_8z8z(arena_cstr(a, domain), &out, IDN2_NONTRANSITIONAL) == IDN2_OK) {
		result = arena_dup(a, span_str(out));
		idn2_free(out);
	}
	return result;
}
