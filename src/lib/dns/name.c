/* Names and addresses as text: host name syntax, A-labels, reverse names. */
#include "dns/dns.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>

static struct span
without_dot(struct span s)
{
	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	return s;
}

struct span
dns_name_lower(struct arena *a, struct span name)
{
	return arena_lower(a, without_dot(name));
}

bool
dns_address_parse(struct span text, uint8_t bytes_r[16], size_t *n_r)
{
	char s[INET6_ADDRSTRLEN + 1];
	uint8_t bytes[16];
	size_t n;

	if (text.n == 0 || text.n >= sizeof(s) || memchr(text.p, '\0', text.n) != NULL)
		return false;
	memcpy(s, text.p, text.n);
	s[text.n] = '\0';
	if (inet_pton(AF_INET, s, bytes) == 1)
		n = 4;
	else if (inet_pton(AF_INET6, s, bytes) == 1)
		n = 16;
	else
		return false;
	if (bytes_r != NULL)
		memcpy(bytes_r, bytes, n);
	if (n_r != NULL)
		*n_r = n;
	return true;
}

static bool
is_label(struct span s)
{
	if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_isalnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
			return false;
	return true;
}

bool
dns_name_is_host(struct span name)
{
	struct span rest, label;
	bool digits = true;

	if (name.n == 0 || name.n > 255)
		return false;
	rest = without_dot(name);
	for (size_t i = 0; i < rest.n; i++)
		if (!ascii_isdigit(rest.p[i]) && rest.p[i] != '.')
			digits = false;
	if (digits)
		return false;
	while (rest.p != NULL) {
		bool more = span_cut(rest, '.', &label, &rest);

		if (!is_label(label))
			return false;
		if (!more)
			break;
	}
	return true;
}

bool
dns_name_ascii(struct arena *a, struct span name, bool transitional, struct span *name_r)
{
	int flags = IDN2_NFC_INPUT | (transitional ? IDN2_TRANSITIONAL : IDN2_NONTRANSITIONAL);
	char *out = NULL;

	name = without_dot(name);
	if (span_is_ascii(name)) {
		*name_r = arena_lower(a, name);
		return true;
	}
	if (name.n > DNS_NAME_MAX || !span_is_utf8(name) ||
	    idn2_to_ascii_8z(arena_cstr(a, name), &out, flags) != IDN2_OK)
		return false;
	*name_r = arena_lower(a, without_dot(span_str(out)));
	idn2_free(out);
	return name_r->n > 0;
}

struct span
dns_name_unicode(struct arena *a, struct span name)
{
	char *out = NULL;
	struct span u;

	if (name.n > DNS_NAME_MAX || span_find_ci(name, SPAN("xn--")) < 0 || !span_is_ascii(name) ||
	    idn2_to_unicode_8z8z(arena_cstr(a, name), &out, 0) != IDN2_OK)
		return name;
	u = arena_dup(a, span_str(out));
	idn2_free(out);
	return u;
}

static struct span
reverse6(struct arena *a, const uint8_t *b)
{
	static const char hex[] = "0123456789abcdef";
	char text[16 * 4 + 9];
	size_t n = 0;

	for (size_t i = 16; i-- > 0;) {
		text[n++] = hex[b[i] & 15];
		text[n++] = '.';
		text[n++] = hex[b[i] >> 4];
		text[n++] = '.';
	}
	memcpy(text + n, "ip6.arpa", 8);
	return arena_dup(a, span_of(text, n + 8));
}

struct span
dns_name_reverse(struct arena *a, struct span address)
{
	const uint8_t *b = (const uint8_t *)address.p;

	if (address.n == 4)
		return arena_printf(a, "%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0]);
	if (address.n == 16)
		return reverse6(a, b);
	return SPAN("");
}

struct span
dns_address_text(struct arena *a, struct span address)
{
	char text[INET6_ADDRSTRLEN];

	if ((address.n != 4 && address.n != 16) ||
	    inet_ntop(address.n == 4 ? AF_INET : AF_INET6, address.p, text, sizeof(text)) == NULL)
		return SPAN("");
	return arena_dup(a, span_str(text));
}
