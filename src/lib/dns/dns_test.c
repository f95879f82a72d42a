/* Packets, names and the codec: cases, every cut, and a round trip. */
#include "dns/dns.h"

#include "kit/kit.h"

#include <stdlib.h>


static void
be16(struct buf *b, unsigned v)
{
	buf_addc(b, (char)(uint8_t)(v >> 8));
	buf_addc(b, (char)(uint8_t)v);
}

static void
wire_name(struct buf *b, const char *name)
{
	struct span rest = span_str(name), label;

	while (span_token(&rest, ".", &label)) {
		buf_addc(b, (char)(uint8_t)label.n);
		buf_add_span(b, label);
	}
	buf_addc(b, 0);
}

static void
header(struct buf *b, unsigned rcode, unsigned answers, unsigned authority, const char *qname, unsigned type)
{
	be16(b, 0x1234);
	be16(b, 0x8180 | rcode);
	be16(b, 1);
	be16(b, answers);
	be16(b, authority);
	be16(b, 0);
	wire_name(b, qname);
	be16(b, type);
	be16(b, 1);
}

static void
record(struct buf *b, const char *owner, unsigned type, unsigned ttl_s, struct span rdata)
{
	wire_name(b, owner);
	be16(b, type);
	be16(b, 1);
	be16(b, ttl_s >> 16);
	be16(b, ttl_s & 0xffff);
	be16(b, (unsigned)rdata.n);
	buf_add_span(b, rdata);
}

/* Parse, and check that no shorter packet reads past its end (the bytes are a heap copy of that size). */
static bool
parse(struct buf *b, const char *name, enum dns_type type, struct arena *a, struct dns_answer *d)
{
	struct arena *scratch = arena_new(1 << 20);

	for (size_t n = 0; n < b->n; n++) {
		char *copy = malloc(n + 1);
		struct dns_answer cut;

		memcpy(copy, b->p, n);
		(void)dns_parse_packet(span_of(copy, n), span_str(name), type, scratch, &cut, NULL);
		free(copy);
		arena_clear(scratch);
	}
	arena_free(&scratch);
	return dns_parse_packet(buf_span(b), span_str(name), type, a, d, NULL);
}

static void
test_mx(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct dns_answer d;
	struct buf b, rd;

	(void)state;
	buf_init(&b, 4096);
	buf_init(&rd, 512);
	header(&b, 0, 2, 0, "Example.ORG", DNS_TYPE_MX);
	be16(&rd, 10);
	wire_name(&rd, "MX1.Example.org");
	record(&b, "example.org", DNS_TYPE_MX, 300, buf_span(&rd));
	buf_clear(&rd);
	be16(&rd, 0);
	wire_name(&rd, "");
	record(&b, "example.org", DNS_TYPE_MX, 200, buf_span(&rd));
	assert_true(parse(&b, "eXample.org.", DNS_TYPE_MX, a, &d));
	assert_int_equal(d.count, 2);
	assert_int_equal(d.ttl_s, 200);
	assert_int_equal(d.records[0].pref, 10);
	assert_span(d.records[0].data, "mx1.example.org");
	assert_span(d.records[1].data, ".");
	assert_span(d.canon, "example.org");
	assert_false(d.alias);
	buf_release(&b);
	buf_release(&rd);
	arena_free(&a);
}

static void
test_cname_chain_and_strange_bytes(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct dns_answer d;
	struct buf b, rd;

	(void)state;
	buf_init(&b, 4096);
	buf_init(&rd, 512);
	header(&b, 0, 3, 0, "www.example.org", DNS_TYPE_A);
	wire_name(&rd, "a/b.example.net");
	record(&b, "www.example.org", DNS_TYPE_CNAME, 60, buf_span(&rd));
	record(&b, "a/b.example.net", DNS_TYPE_A, 900, SPAN("\x7f\0\0\1"));
	record(&b, "other.example.net", DNS_TYPE_A, 1, SPAN("\x7f\0\0\2"));
	assert_true(parse(&b, "www.example.org", DNS_TYPE_A, a, &d));
	assert_true(d.alias);
	assert_span(d.canon, "a\\047b.example.net");
	assert_false(dns_name_is_host(d.canon));
	assert_int_equal(d.count, 1);
	assert_int_equal(d.ttl_s, 60);
	assert_span(dns_address_text(a, d.records[0].data), "127.0.0.1");
	buf_clear(&b);
	header(&b, 0, 1, 0, "a/b.example.net", DNS_TYPE_A);
	record(&b, "a/b.example.net", DNS_TYPE_A, 900, SPAN("\x7f\0\0\1"));
	assert_true(parse(&b, "a/b.example.net", DNS_TYPE_A, a, &d));
	assert_int_equal(d.count, 1);
	buf_release(&b);
	buf_release(&rd);
	arena_free(&a);
}

static void
test_negative(void **state)
{
	static const struct {
		const char *name;
		unsigned rcode;
		bool nodata, nxdomain;
		unsigned ttl_s;
	} rows[] = {
		{ "no such name takes the SOA's minimum", 3, false, true, 77 },
		{ "no data likewise", 0, true, false, 77 },
		{ "a server failure is neither", 2, false, false, 77 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arena *a = arena_new(1 << 20);
		struct dns_answer d;
		struct buf b, rd;

		buf_init(&b, 4096);
		buf_init(&rd, 512);
		header(&b, rows[i].rcode, 0, 1, "x.example.org", DNS_TYPE_TLSA);
		wire_name(&rd, "ns.example.org");
		wire_name(&rd, "root.example.org");
		buf_add_span(&rd, SPAN("\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x4d"));
		record(&b, "example.org", DNS_TYPE_SOA, 3600, buf_span(&rd));
		assert_true(parse(&b, "x.example.org", DNS_TYPE_TLSA, a, &d));
		assert_int_equal(d.nodata, rows[i].nodata);
		assert_int_equal(d.nxdomain, rows[i].nxdomain);
		assert_int_equal(d.ttl_s, rows[i].ttl_s);
		buf_release(&b);
		buf_release(&rd);
		arena_free(&a);
	}
}

static void
test_types(void **state)
{
	static const struct {
		const char *name;
		enum dns_type type;
		struct span rdata;
		bool ok;
		size_t n;
	} rows[] = {
		{ "TXT strings are joined", DNS_TYPE_TXT, { "\3v=s\4pf1 ", 9 }, true, 7 },
		{ "a TXT string longer than its record is malformed", DNS_TYPE_TXT, { "\5ab", 3 }, false, 0 },
		{ "TLSA keeps its data", DNS_TYPE_TLSA, { "\3\1\1abcd", 7 }, true, 4 },
		{ "TLSA without data stays (unusable, not absent)", DNS_TYPE_TLSA, { "\3\1\1", 3 }, true, 0 },
		{ "TLSA cut in its header is malformed", DNS_TYPE_TLSA, { "\3\1", 2 }, false, 0 },
		{ "an A record of five bytes is malformed", DNS_TYPE_A, { "abcde", 5 }, false, 0 },
		{ "AAAA", DNS_TYPE_AAAA, { "0123456789abcdef", 16 }, true, 16 },
		{ "a pointer forward is malformed", DNS_TYPE_PTR, { "\xc1\0", 2 }, false, 0 },
		{ "a pointer to the question's name", DNS_TYPE_PTR, { "\xc0\x0c", 2 }, true, 13 },
		{ "bytes behind the name are malformed", DNS_TYPE_PTR, { "\xc0\x0cx", 3 }, false, 0 },
		{ "SRV", DNS_TYPE_SRV, { "\0\1\0\2\0\x19\xc0\x0c", 8 }, true, 13 },
		{ "a label type of the reserved kind", DNS_TYPE_NS, { "\x80", 1 }, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arena *a = arena_new(1 << 20);
		struct dns_answer d;
		struct buf b;

		buf_init(&b, 4096);
		header(&b, 0, 1, 0, "x.example.org", rows[i].type);
		record(&b, "x.example.org", rows[i].type, 60, rows[i].rdata);
		if (parse(&b, "x.example.org", rows[i].type, a, &d) != rows[i].ok)
			fail_msg("%s", rows[i].name);
		if (rows[i].ok && (d.count != 1 || d.records[0].data.n != rows[i].n))
			fail_msg("%s", rows[i].name);
		buf_release(&b);
		arena_free(&a);
	}
}

static void
test_a_pointer_loop_ends(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct dns_answer d;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	header(&b, 0, 1, 0, "x.example.org", DNS_TYPE_NS);
	/* owner name: label "a", then a pointer to that label */
	buf_add_span(&b, SPAN("\1a\xc0\x1f"));
	assert_int_equal(b.p[0x1f], 1);
	buf_add_span(&b, SPAN("\0\2\0\1\0\0\0\1\0\0"));
	assert_false(parse(&b, "x.example.org", DNS_TYPE_NS, a, &d));
	buf_release(&b);
	arena_free(&a);
}

static void
test_codec(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct dns_record records[2] = {
		{ .type = DNS_TYPE_TLSA, .usage = 3, .selector = 1, .matching = 1, .data = SPAN("digest") },
		{ .type = DNS_TYPE_TLSA, .usage = 2, .data = SPAN("") },
	};
	struct dns_answer d = { .name = SPAN("_25._tcp.mx.example.org"), .type = DNS_TYPE_TLSA,
		.status = DNS_SECURE, .alias = true, .ttl_s = 99, .canon = SPAN("x.example.net"),
		.records = records, .count = 2 }, back;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_true(dns_answer_write(&b, &d));
	assert_true(dns_answer_read(buf_span(&b), a, &back));
	assert_int_equal(back.status, DNS_SECURE);
	assert_true(back.alias);
	assert_int_equal(back.count, 2);
	assert_int_equal(back.records[0].usage, 3);
	assert_span(back.records[0].data, "digest");
	assert_span(back.canon, "x.example.net");
	for (size_t n = 0; n < b.n; n++) {
		struct dns_answer cut;
		char *copy = malloc(n + 1);

		memcpy(copy, b.p, n);
		assert_false(dns_answer_read(span_of(copy, n), a, &cut));
		free(copy);
	}
	dns_answer_fail(&d, a, SPAN("Example.org"), DNS_TYPE_MX, "timed out");
	buf_clear(&b);
	assert_true(dns_answer_write(&b, &d));
	assert_true(dns_answer_read(buf_span(&b), a, &back));
	assert_int_equal(back.status, DNS_FAILED);
	assert_span(back.why, "timed out");
	assert_span(back.name, "example.org");
	buf_release(&b);
	arena_free(&a);
}

static void
test_a_native_answer_is_never_secure(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct dns_answer d = { .name = SPAN("a"), .status = DNS_SECURE, .local = true }, back;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_true(dns_answer_write(&b, &d));
	assert_false(dns_answer_read(buf_span(&b), a, &back));
	buf_release(&b);
	arena_free(&a);
}

static void
test_names(void **state)
{
	static const struct {
		const char *name;
		bool host;
		const char *ascii, *unicode;    /* NULL = cannot be converted */
	} rows[] = {
		{ "example.org", true, "example.org", "example.org" },
		{ "Example.ORG.", true, "example.org", "Example.ORG." },
		{ "localhost", true, "localhost", "localhost" },
		{ "b\xc3\xbc" "cher.example", false, "xn--bcher-kva.example", "b\xc3\xbc" "cher.example" },
		{ "xn--bcher-kva.example", true, "xn--bcher-kva.example", "b\xc3\xbc" "cher.example" },
		{ "fa\xc3\x9f.example", false, "xn--fa-hia.example", "fa\xc3\x9f.example" },
		{ "a_b.example", true, "a_b.example", "a_b.example" },
		{ "-a.example", false, "-a.example", "-a.example" },
		{ "a-.example", false, "a-.example", "a-.example" },
		{ "a..example", false, "a..example", "a..example" },
		{ ".example", false, ".example", ".example" },
		{ "", false, "", "" },
		{ ".", false, ".", "." },
		{ "192.0.2.1", false, "192.0.2.1", "192.0.2.1" },
		{ "1234", false, "1234", "1234" },
		{ "2001:db8::1", false, "2001:db8::1", "2001:db8::1" },
		{ "[mx.example]", false, "[mx.example]", "[mx.example]" },
		{ "mx.example:25", false, "mx.example:25", "mx.example:25" },
		{ "a b.example", false, "a b.example", "a b.example" },
		{ "\xff.example", false, NULL, "\xff.example" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example", false,
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example",
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example" },
	};
	struct arena *a = arena_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span name = span_str(rows[i].name), ascii;

		if (dns_name_is_host(name) != rows[i].host)
			fail_msg("is_host %s", rows[i].name);
		if (dns_name_ascii(a, name, false, &ascii) != (rows[i].ascii != NULL))
			fail_msg("ascii %s", rows[i].name);
		if (rows[i].ascii != NULL)
			assert_span(ascii, rows[i].ascii);
		assert_span(dns_name_unicode(a, name), rows[i].unicode);
	}
	arena_free(&a);
}

static void
test_addresses(void **state)
{
	struct arena *a = arena_new(1 << 20);
	uint8_t bytes[16];
	size_t n;

	(void)state;
	assert_true(dns_address_parse(SPAN("192.0.2.1"), bytes, &n));
	assert_int_equal(n, 4);
	assert_span(dns_name_reverse(a, span_of(bytes, n)), "1.2.0.192.in-addr.arpa");
	assert_true(dns_address_parse(SPAN("2001:db8::1"), bytes, &n));
	assert_int_equal(n, 16);
	assert_span(dns_name_reverse(a, span_of(bytes, n)),
	    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
	assert_span(dns_address_text(a, span_of(bytes, n)), "2001:db8::1");
	assert_false(dns_address_parse(SPAN("192.0.2"), bytes, &n));
	assert_false(dns_address_parse(SPAN("192.0.2.1\0"), bytes, &n));
	assert_false(dns_address_parse(SPAN("[::1]"), bytes, &n));
	assert_false(dns_address_parse(SPAN(""), bytes, &n));
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_mx),
	KIT_TEST(test_cname_chain_and_strange_bytes),
	KIT_TEST(test_negative),
	KIT_TEST(test_types),
	KIT_TEST(test_a_pointer_loop_ends),
	KIT_TEST(test_codec),
	KIT_TEST(test_a_native_answer_is_never_secure),
	KIT_TEST(test_names),
	KIT_TEST(test_addresses),
};

KIT_MAIN(tests)
