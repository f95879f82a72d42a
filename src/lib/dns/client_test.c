/* The validating resolver against a real name server: secure, insecure, bogus, absent, dead. */
#include "dns/client.h"

#include "base/clock.h"
#include "base/loop.h"
#include "kit/kit.h"
#include "kit/nsd.h"

static struct kit_nsd nsd;
static unsigned deaf_port;
static int deaf_fd;

static const char records[] =
    "@ IN MX 10 mx\n@ IN MX 20 mx2\nmx IN A 192.0.2.1\nmx IN AAAA 2001:db8::1\nmx2 IN CNAME mx\n"
    "live0 IN A 192.0.2.10\nlive1 IN A 192.0.2.11\nlive2 IN A 192.0.2.12\nlive3 IN A 192.0.2.13\nlive4 IN A 192.0.2.14\n"
    "_25._tcp.mx IN TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
    "txt IN TXT \"v=one \" \"two\"\nnull IN MX 0 .\n";

/* nsd with a signed zone, an unsigned one, one signed with a key that nobody trusts. */
static void
set_up(void)
{
	char stray[256];

	kit_nsd_init(&nsd, "127.0.0.77", 0);
	kit_signed_zone(&nsd, "secure.example", records, "secure.anchor");
	kit_zone(&nsd, "plain.example", records);
	kit_signed_zone(&nsd, "bogus.example", records, "unused.anchor");
	kit_zone_key(&nsd, "bogus.example", "bogus.anchor", stray);
	kit_nsd_start(&nsd);
	deaf_fd = kit_deaf_server("127.0.0.78", &deaf_port);
}

static void
tear_down(void)
{
	kit_nsd_stop(&nsd);
	fd_close(&deaf_fd);
}

/* dns_servers is a server that never answers; dns_stub_zones and dnssec_trust_anchor_files name the rest. */
static struct dns_client *
client(struct loop *l, struct arena *a)
{
	struct dns_client_options o = {
		.forwarders = arena_printf(a, "127.0.0.78@%u", deaf_port),
		.stubs = arena_printf(a, "secure.example %s plain.example %s bogus.example %s refused.example %s "
		    "dead.example 127.0.0.78@%u", nsd.address, nsd.address, nsd.address, nsd.address, deaf_port),
		.anchors = arena_printf(a, "%s/secure.anchor %s/bogus.anchor", nsd.dir, nsd.dir),
		.root_hints = "",
		.sockets_max = 2048,
	};
	struct fault why;
	struct dns_client *c = dns_client_new(l, &o, &why);

	if (c == NULL)
		fail_msg("%s", why.text);
	return c;
}

struct seen {
	struct arena *a;
	struct dns_answer d;
	struct buf bytes;
	bool done;
};

/* Keep what came, through the codec: what the rest of the system will see. */
static void
see(void *ctx, const struct dns_answer *d)
{
	struct seen *s = ctx;

	assert_true(dns_answer_write(&s->bytes, d));
	assert_true(dns_answer_read(buf_span(&s->bytes), s->a, &s->d));
	s->done = true;
}

static void
ask(struct loop *l, struct dns_client *c, const char *name, enum dns_type type, struct seen *s)
{
	buf_init(&s->bytes, 1 << 20);
	s->done = false;
	dns_client_ask(c, span_str(name), type, see, s);
	assert_false(s->done);          /* never from inside the call */
	for (int64_t end = clock_mono_us() + 60 * US_PER_S; !s->done && clock_mono_us() < end;)
		loop_turn(l, 100);
	if (!s->done)
		fail_msg("%s: no answer in a minute", name);
	buf_release(&s->bytes);
}

static void
test_answers(void **state)
{
	static const struct {
		const char *name;
		enum dns_type type;
		enum dns_status status;
		size_t count;
		bool nodata, nxdomain, alias;
		const char *first, *canon;
	} rows[] = {
		{ "secure.example", DNS_TYPE_MX, DNS_SECURE, 2, false, false, false, NULL, "secure.example" },
		{ "SECURE.Example.", DNS_TYPE_MX, DNS_SECURE, 2, false, false, false, NULL, "secure.example" },
		{ "mx2.secure.example", DNS_TYPE_A, DNS_SECURE, 1, false, false, true, "\xc0\0\2\1",
		    "mx.secure.example" },
		{ "_25._tcp.mx.secure.example", DNS_TYPE_TLSA, DNS_SECURE, 1, false, false, false, NULL, NULL },
		{ "txt.secure.example", DNS_TYPE_TXT, DNS_SECURE, 1, false, false, false, "v=one two", NULL },
		{ "null.secure.example", DNS_TYPE_MX, DNS_SECURE, 1, false, false, false, ".", NULL },
		{ "mx.secure.example", DNS_TYPE_MX, DNS_SECURE, 0, true, false, false, NULL, NULL },
		{ "_25._tcp.ns.secure.example", DNS_TYPE_TLSA, DNS_SECURE, 0, false, true, false, NULL, NULL },
		{ "plain.example", DNS_TYPE_MX, DNS_INSECURE, 2, false, false, false, NULL, NULL },
		{ "mx2.plain.example", DNS_TYPE_AAAA, DNS_INSECURE, 1, false, false, true, NULL, "mx.plain.example" },
		{ "none.plain.example", DNS_TYPE_A, DNS_INSECURE, 0, false, true, false, NULL, NULL },
		{ "mx.plain.example", DNS_TYPE_TXT, DNS_INSECURE, 0, true, false, false, NULL, NULL },
		{ "bogus.example", DNS_TYPE_MX, DNS_BOGUS, 0, false, false, false, NULL, "bogus.example" },
		{ "none.bogus.example", DNS_TYPE_TLSA, DNS_BOGUS, 0, false, false, false, NULL, NULL },
		{ "refused.example", DNS_TYPE_MX, DNS_FAILED, 0, false, false, false, NULL, NULL },
		{ "localhost", DNS_TYPE_A, DNS_INSECURE, 1, false, false, false, "\x7f\0\0\1", NULL },
	};
	struct arena *a;
	struct loop *l;
	struct dns_client *c;

	(void)state;
	if (kit_nsd_missing() != NULL)
		skip();
	set_up();
	a = arena_new(16 << 20);
	l = loop_new();
	c = client(l, a);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seen s = { .a = a };

		ask(l, c, rows[i].name, rows[i].type, &s);
		if (s.d.status != rows[i].status || s.d.count != rows[i].count || s.d.nodata != rows[i].nodata ||
		    s.d.nxdomain != rows[i].nxdomain || s.d.alias != rows[i].alias)
			fail_msg("%s: %s %zu records nodata %d nxdomain %d alias %d why %.*s", rows[i].name,
			    dns_status_name(s.d.status), s.d.count, s.d.nodata, s.d.nxdomain, s.d.alias,
			    SPAN_ARG(s.d.why));
		if (rows[i].first != NULL && rows[i].type == DNS_TYPE_A)
			assert_memory_equal(s.d.records[0].data.p, rows[i].first, 4);
		else if (rows[i].first != NULL)
			assert_span(s.d.records[0].data, rows[i].first);
		if (rows[i].canon != NULL)
			assert_span(s.d.canon, rows[i].canon);
		if (!dns_known(&s.d))
			assert_true(s.d.why.n > 0);
		else
			assert_true(s.d.ttl_s > 0 && s.d.ttl_s <= 86400);
		/* a second time it comes from the cache, and still not from inside the call */
		ask(l, c, rows[i].name, rows[i].type, &s);
		assert_int_equal(s.d.status, rows[i].status);
	}
	assert_int_equal(dns_client_pending(c), 0);
	dns_client_free(&c);
	loop_free(&l);
	arena_free(&a);
	tear_down();
}

static void
count_failure(void *ctx, const struct dns_answer *d)
{
	unsigned *n = ctx;

	if (d->status == DNS_FAILED)
		++*n;
}

static void
test_dead_servers_delay_nobody(void **state)
{
	struct arena *a;
	struct loop *l;
	struct dns_client *c;
	unsigned failed = 0;
	int64_t start, best = INT64_MAX;
	struct seen s;

	(void)state;
	if (kit_nsd_missing() != NULL)
		skip();
	set_up();
	a = arena_new(16 << 20);
	l = loop_new();
	c = client(l, a);
	s = (struct seen){ .a = a };
	for (unsigned i = 0; i < 1000; i++)
		dns_client_ask(c, arena_printf(a, "n%u.dead.example", i), DNS_TYPE_A, count_failure, &failed);
	for (int i = 0; i < 20; i++)
		loop_turn(l, 10);
	assert_true(dns_client_pending(c) + failed == 1000 && failed < 100);
	/* alone it takes a few milliseconds; choked it took 6.5 seconds behind 300 dead names. The best of five: others run here, too */
	for (unsigned i = 0; i < 5; i++) {
		start = clock_mono_us();
		ask(l, c, arena_printf(a, "live%u.secure.example", i).p, DNS_TYPE_A, &s);
		assert_int_equal(s.d.status, DNS_SECURE);
		if (clock_mono_us() - start < best)
			best = clock_mono_us() - start;
	}
	if (best > 50 * US_PER_MS)
		fail_msg("%lld ms behind 1000 dead names", (long long)best / 1000);
	print_message("a live name behind 1000 dead ones: %lld us\n", (long long)best);
	dns_client_free(&c);            /* most of the dead are still under way */
	loop_free(&l);
	arena_free(&a);
	tear_down();
}

static void
test_options(void **state)
{
	static const struct {
		const char *forwarders, *stubs, *anchors, *why;
	} rows[] = {
		{ "127.0.0.1", "", "", NULL },
		{ "127.0.0.1@5353, ::1@53", "", "", NULL },
		{ "", "a.example 127.0.0.1@53 127.0.0.2 b.example ::1", "", NULL },
		{ "ns.example", "", "", "neither an address" },
		{ "127.0.0.1@0", "", "", "neither an address" },
		{ "127.0.0.1@70000", "", "", "neither an address" },
		{ "127.0.0.1@", "", "", "neither an address" },
		{ "", "127.0.0.1 a.example", "", "without a zone" },
		{ "", "a.example", "", "without a server" },
		{ "", "a.example b.example 127.0.0.1", "", "without a server" },
		{ "", "", "/nonexistent.key", "No such file" },
	};
	struct loop *l = loop_new();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dns_client_options o = { .forwarders = span_str(rows[i].forwarders),
			.stubs = span_str(rows[i].stubs), .anchors = span_str(rows[i].anchors), .root_hints = "",
			.sockets_max = 64 };
		struct fault why;
		struct dns_client *c = dns_client_new(l, &o, &why);

		if ((c != NULL) != (rows[i].why == NULL) || (c == NULL && strstr(why.text, rows[i].why) == NULL))
			fail_msg("row %zu: %s", i, c != NULL ? "accepted" : why.text);
		dns_client_free(&c);
	}
	loop_free(&l);
}

static void
test_names_that_cannot_be_asked(void **state)
{
	struct dns_client_options o = { .forwarders = SPAN("127.0.0.1@1"), .stubs = SPAN(""), .anchors = SPAN(""),
		.root_hints = "", .sockets_max = 64 };
	struct loop *l = loop_new();
	struct dns_client *c = dns_client_new(l, &o, NULL);
	struct arena *a = arena_new(1 << 20);
	struct seen s = { .a = a };

	(void)state;
	assert_non_null(c);
	ask(l, c, "", DNS_TYPE_A, &s);
	assert_int_equal(s.d.status, DNS_FAILED);
	ask(l, c, "b\xc3\xbc" "cher.example", DNS_TYPE_A, &s);
	assert_int_equal(s.d.status, DNS_FAILED);
	ask(l, c, "a..example", DNS_TYPE_A, &s);
	assert_int_equal(s.d.status, DNS_FAILED);
	dns_client_free(&c);
	loop_free(&l);
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_answers),
	KIT_TEST(test_dead_servers_delay_nobody),
	KIT_TEST(test_options),
	KIT_TEST(test_names_that_cannot_be_asked),
};

KIT_MAIN(tests)
