/* The written forms of a next hop: "host", "host:service", "[host]", "[host]:service", "inet:...", "unix:path". */
#include "base/log.h"
#include "conf/params.h"
#include "hop/hop_private.h"

/* Cut "host:port" at its last colon when that is a port and not part of an IPv6 address. */
static bool
cut_port(struct span *host, struct span *port_r)
{
	ptrdiff_t colon = span_rindex(*host, ':'), bracket = span_rindex(*host, ']');

	*port_r = SPAN("");
	if (colon < 0 || colon < bracket)
		return true;
	if (bracket < 0 && span_index(*host, ':') != colon)
		return true;            /* a bare IPv6 address */
	*port_r = span_from(*host, (size_t)colon + 1);
	*host = span_slice(*host, 0, (size_t)colon);
	return port_r->n > 0;
}

static bool
bad_form(struct hop *h, const char *what, struct fault *why)
{
	hop_warn(h, arena_printf(h->arena, "next hop %.*s: %s", SPAN_ARG(log_esc(h->nexthop)), what));
	return fault_set(why, "4.3.5", "Server configuration error");
}

/* What no name of a host has: only who wrote the next hop by hand can have meant something else. */
static bool
has_odd_characters(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] < 0x80 && !ascii_isalnum(name.p[i]) && name.p[i] != '-' && name.p[i] != '.' && name.p[i] != '_')
			return true;
	return false;
}

static bool
parse_host(struct hop *h, struct span text, struct fault *why)
{
	const struct params *p = h->svc->p;
	struct span port;

	if (!cut_port(&text, &port))
		return bad_form(h, "empty port", why);
	h->port = port.n > 0 ? hop_port(p, port) : h->svc->port;
	if (h->port == 0)
		return bad_form(h, "no such port", why);
	if (text.n > 1 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
		text = span_slice(text, 1, text.n - 1);
		h->no_mx = true;
	}
	if (span_starts_ci(text, SPAN("ipv6:")))
		text = span_from(text, 5);
	if (text.n == 0)
		return bad_form(h, "empty host name", why);
	if (dns_address_parse(text, NULL, NULL)) {
		h->no_mx = true;
		h->domain = arena_lower(h->arena, text);
	} else if (has_odd_characters(text)) {
		return bad_form(h, "this is neither a host name nor an address", why);
	} else if (!dns_name_ascii(h->arena, text, p->enable_idna2003_compatibility, &h->domain)) {
		return fault_set(why, "5.4.4", "Host or domain name not found: %.*s is not a domain name",
		    SPAN_ARG(log_esc(text)));
	}
	return true;
}

bool
hop_parse(struct hop *h, struct fault *why)
{
	h->no_mx = h->svc->lmtp || span_starts(h->nexthop, SPAN("inet:"));
	if (!h->unix_socket)
		return parse_host(h, h->key, why);
	h->no_mx = true;
	h->domain = h->key;
	return h->domain.n > 0 || bad_form(h, "empty path", why);
}

void
hop_begin(struct hop *h, struct span nexthop)
{
	struct hop given = *h;

	*h = (struct hop){ .svc = given.svc, .own = given.own, .arena = given.arena, .asks = given.asks,
		.native = given.native, .native_ctx = given.native_ctx, .tls_required_no = given.tls_required_no,
		.hosts = given.hosts, .list = given.list, .nexthop = nexthop, .key = nexthop };
	h->unix_socket = span_starts(nexthop, SPAN("unix:"));
	if (h->unix_socket || span_starts(nexthop, SPAN("inet:")))
		h->key = span_from(nexthop, 5);
}

bool
hop_form(const struct hop_service *svc, struct span nexthop, struct arena *a, struct fault *why)
{
	struct hop h = { .svc = svc, .arena = a };

	hop_begin(&h, nexthop);
	if (hop_parse(&h, why))
		return true;
	if (h.n_warnings > 0)
		fault_set(why, "4.3.5", "%.*s", SPAN_ARG(h.warnings[0]));
	return false;
}

void
hop_warn(struct hop *h, struct span text)
{
	if (h->n_warnings < HOP_WARNINGS_MAX)
		h->warnings[h->n_warnings++] = text;
}
