/* The PROXY protocol, versions 1 (a line of text) and 2 (binary). */
#include "smtp/haproxy.h"

#include "base/rd.h"
#include "dns/dns.h"

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum haproxy_result
bad(struct fault *why, const char *text)
{
	fault_set(why, "4.7.0", "%s", text);
	return HAPROXY_BAD;
}

/* IPv4 in an IPv6 address is IPv4. */
static void
unmap(uint8_t bytes[16], size_t *n)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	if (*n == 16 && memcmp(bytes, mapped, 12) == 0) {
		memmove(bytes, bytes + 12, 4);
		*n = 4;
	}
}

static enum haproxy_result
done(struct haproxy_header *h, size_t used)
{
	h->used = used;
	unmap(h->client, &h->client_n);
	unmap(h->server, &h->server_n);
	return HAPROXY_DONE;
}

/* --- version 1 --- */

static bool
take_address(struct span *rest, size_t want, uint8_t bytes[16], size_t *n_r)
{
	struct span word;

	return span_cut(*rest, ' ', &word, rest) && dns_address_parse(word, bytes, n_r) && *n_r == want;
}

static bool
take_port(struct span word, unsigned *port_r)
{
	uint64_t port;

	if (word.n > 5 || !span_u64(word, 65535, &port))
		return false;
	*port_r = (unsigned)port;
	return true;
}

/* "TCP4 192.0.2.1 192.0.2.25 4711 25" */
static enum haproxy_result
parse_line(struct span line, struct haproxy_header *h, size_t used, struct fault *why)
{
	struct span protocol, client_port, server_port;
	size_t want;

	if (span_eq(line, SPAN("UNKNOWN")) || span_starts(line, SPAN("UNKNOWN "))) {
		h->direct = true;
		return done(h, used);
	}
	if (!span_cut(line, ' ', &protocol, &line) || (!span_eq(protocol, SPAN("TCP4")) && !span_eq(protocol, SPAN("TCP6"))))
		return bad(why, "a protocol other than TCP4, TCP6 and UNKNOWN");
	want = span_eq(protocol, SPAN("TCP4")) ? 4 : 16;
	if (!take_address(&line, want, h->client, &h->client_n) || !take_address(&line, want, h->server, &h->server_n))
		return bad(why, "an address that is none of its family");
	if (!span_cut(line, ' ', &client_port, &server_port) || !take_port(client_port, &h->client_port) ||
	    !take_port(server_port, &h->server_port))
		return bad(why, "a port that is none");
	return done(h, used);
}

static enum haproxy_result
parse_v1(struct span bytes, struct haproxy_header *h, struct fault *why)
{
	struct span prefix = SPAN("PROXY "), head = span_slice(bytes, 0, HAPROXY_V1_MAX);
	ptrdiff_t end = span_find(head, SPAN("\r\n"));

	if (!span_starts(bytes, span_slice(prefix, 0, bytes.n)))
		return bad(why, "no PROXY header");
	if (end >= 0)
		return parse_line(span_slice(head, prefix.n, (size_t)end), h, (size_t)end + 2, why);
	if (bytes.n >= HAPROXY_V1_MAX)
		return bad(why, "a line that does not end");
	return HAPROXY_MORE;
}

/* --- version 2 --- */

enum v2_command { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum v2_family { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21 };

static enum haproxy_result
take_addresses(struct rd *rd, size_t n, struct haproxy_header *h, size_t used, struct fault *why)
{
	struct span client = rd_bytes(rd, n), server = rd_bytes(rd, n);

	h->client_port = rd_be16(rd);
	h->server_port = rd_be16(rd);
	if (rd->bad)
		return bad(why, "a header too short for its addresses");
	memcpy(h->client, client.p, n);
	memcpy(h->server, server.p, n);
	h->client_n = h->server_n = n;
	return done(h, used);
}

static enum haproxy_result
parse_v2(struct span bytes, struct haproxy_header *h, struct fault *why)
{
	struct rd rd;
	unsigned command, family;
	size_t length;

	if (bytes.n < HAPROXY_V2_FIXED)
		return HAPROXY_MORE;
	command = (unsigned char)bytes.p[12];
	family = (unsigned char)bytes.p[13];
	length = (size_t)(unsigned char)bytes.p[14] << 8 | (unsigned char)bytes.p[15];
	if (command != V2_LOCAL && command != V2_PROXY)
		return bad(why, "a version or command that is not known");
	if (HAPROXY_V2_FIXED + length > HAPROXY_MAX)
		return bad(why, "a header that is too long");
	if (bytes.n < HAPROXY_V2_FIXED + length)
		return HAPROXY_MORE;
	h->direct = command == V2_LOCAL || family == V2_UNSPEC;
	if (h->direct)
		return done(h, HAPROXY_V2_FIXED + length);
	rd = rd_init(span_slice(bytes, HAPROXY_V2_FIXED, HAPROXY_V2_FIXED + length));
	if (family == V2_TCP4)
		return take_addresses(&rd, 4, h, HAPROXY_V2_FIXED + length, why);
	if (family == V2_TCP6)
		return take_addresses(&rd, 16, h, HAPROXY_V2_FIXED + length, why);
	return bad(why, "an address family other than TCP over IPv4 and IPv6");
}

enum haproxy_result
haproxy_parse(struct span bytes, struct haproxy_header *h_r, struct fault *why)
{
	*h_r = (struct haproxy_header){ 0 };
	if (bytes.n == 0)
		return HAPROXY_MORE;
	if (span_starts(bytes, span_slice(span_of(signature, sizeof(signature)), 0, bytes.n)))
		return parse_v2(bytes, h_r, why);
	return parse_v1(bytes, h_r, why);
}
