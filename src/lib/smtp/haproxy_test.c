/* The PROXY protocol: good and bad headers, at every split, with what the client says behind them. */
#include "smtp/haproxy.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "kit/kit.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"

static const struct {
	const char *name;
	struct span bytes;
	const char *want;       /* "client port server port", "direct", or "!reason" */
} rows[] = {
	{ "the example of the specification", SPAN("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
	    "192.168.0.1 56324 192.168.0.11 443" },
	{ "IPv6", SPAN("PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n"), "2001:db8::1 65535 2001:db8::2 0" },
	{ "IPv4 in IPv6", SPAN("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n"), "192.0.2.1 1 192.0.2.2 2" },
	{ "unknown", SPAN("PROXY UNKNOWN\r\n"), "direct" },
	{ "unknown with words", SPAN("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), "direct" },
	{ "v2 IPv4", SPAN(SIG "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19"), "192.0.2.1 4660 192.0.2.2 25" },
	{ "v2 IPv6", SPAN(SIG "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\2"),
	    "2001:db8::1 1 2001:db8::2 2" },
	{ "v2 with an addition", SPAN(SIG "\x21\x11\0\x11\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19\4\0\2zz"), "192.0.2.1 4660 192.0.2.2 25" },
	{ "v2 LOCAL", SPAN(SIG "\x20\0\0\0"), "direct" },
	{ "v2 LOCAL with addresses", SPAN(SIG "\x20\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19"), "direct" },
	{ "v2 without a family", SPAN(SIG "\x21\0\0\0"), "direct" },
	{ "SMTP", SPAN("EHLO x\r\n"), "!no PROXY header" },
	{ "lower case", SPAN("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), "!no PROXY header" },
	{ "UDP", SPAN("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), "!a protocol other than TCP4, TCP6 and UNKNOWN" },
	{ "no protocol", SPAN("PROXY \r\n"), "!a protocol other than TCP4, TCP6 and UNKNOWN" },
	{ "family and address differ", SPAN("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), "!an address that is none of its family" },
	{ "one address", SPAN("PROXY TCP4 192.0.2.1\r\n"), "!an address that is none of its family" },
	{ "two blanks", SPAN("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), "!an address that is none of its family" },
	{ "one port", SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), "!a port that is none" },
	{ "a port too large", SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n"), "!a port that is none" },
	{ "words behind the ports", SPAN("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), "!a port that is none" },
	{ "no end", SPAN("PROXY TCP4 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
	    "!a line that does not end" },
	{ "v2 of another version", SPAN(SIG "\x31\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19"), "!a version or command that is not known" },
	{ "v2 of another command", SPAN(SIG "\x22\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19"), "!a version or command that is not known" },
	{ "v2 UDP", SPAN(SIG "\x21\x12\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19"), "!an address family other than TCP over IPv4 and IPv6" },
	{ "v2 too short", SPAN(SIG "\x21\x21\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x34\0\x19"), "!a header too short for its addresses" },
	{ "v2 too long", SPAN(SIG "\x21\x11\x10\x01"), "!a header that is too long" },
};

static void
print(enum haproxy_result got, const struct haproxy_header *h, const struct fault *why, char *out, size_t size)
{
	char client[INET6_ADDRSTRLEN] = "", server[INET6_ADDRSTRLEN] = "";

	if (got != HAPROXY_DONE || h->direct) {
		snprintf(out, size, "%s%.150s", got == HAPROXY_DONE ? "direct" : "!", got == HAPROXY_DONE ? "" : why->text);
		return;
	}
	inet_ntop(h->client_n == 4 ? AF_INET : AF_INET6, h->client, client, sizeof(client));
	inet_ntop(h->server_n == 4 ? AF_INET : AF_INET6, h->server, server, sizeof(server));
	snprintf(out, size, "%s %u %s %u", client, h->client_port, server, h->server_port);
}

static void
headers_at_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char more[512], text[200];
		struct haproxy_header h;
		struct fault why = { 0 };
		size_t n = 0;
		enum haproxy_result got = HAPROXY_MORE;

		/* a byte more each time */
		while (got == HAPROXY_MORE && n <= rows[i].bytes.n)
			got = haproxy_parse(span_slice(rows[i].bytes, 0, n++), &h, &why);
		print(got, &h, &why, text, sizeof(text));
		if (strcmp(text, rows[i].want) != 0)
			fail_msg("%s: %s after %zu bytes", rows[i].name, text, n - 1);
		if (got != HAPROXY_DONE)
			continue;
		assert_int_equal(n - 1, rows[i].bytes.n);
		assert_int_equal(h.used, rows[i].bytes.n);
		/* and with the client's bytes behind it */
		memcpy(more, rows[i].bytes.p, rows[i].bytes.n);
		memcpy(more + rows[i].bytes.n, "EHLO\r\n", 6);
		assert_int_equal(haproxy_parse(span_of(more, rows[i].bytes.n + 6), &h, &why), HAPROXY_DONE);
		assert_int_equal(h.used, rows[i].bytes.n);
	}
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(headers_at_every_split),
};

KIT_MAIN(tests)
