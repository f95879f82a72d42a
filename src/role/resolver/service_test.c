/* The resolver's work: choice of servers, shared questions, deadlines, native lookups. */
#include "role/resolver/service.h"

#include "base/clock.h"
#include "base/loop.h"
#include "kit/kit.h"
#include "kit/nsd.h"
#include "role/resolver/service_private.h"

enum { REPLIES_MAX = 3000 };

/* What was replied, in order. */
static struct reply {
	struct ipc_from to;
	enum dns_status status;
	size_t count;
	bool local;
} replies[REPLIES_MAX];
static size_t n_replies;
static struct arena *arena;
static struct loop *loop;

static void
reply(void *ctx, struct ipc_from to, const struct dns_answer *d)
{
	(void)ctx;
	assert_true(n_replies < REPLIES_MAX);
	replies[n_replies++] = (struct reply){ to, d->status, d->count, d->local };
}

static void
begin(void)
{
	n_replies = 0;
	arena = arena_new(1 << 20);
	loop = loop_new();
}

static void
end(struct resolver **r)
{
	resolver_free(r);
	loop_free(&loop);
	arena_free(&arena);
}

static void
turn_until(bool (*done)(void *), void *ctx)
{
	for (int64_t stop = clock_mono_us() + 60 * US_PER_S; !done(ctx);) {
		assert_true(clock_mono_us() < stop);
		loop_turn(loop, 50);
	}
}

static bool
enough_replies(void *ctx)
{
	const size_t *want = ctx;

	return n_replies >= *want;
}

static void
wait_replies(size_t want)
{
	turn_until(enough_replies, &want);
}

static bool
decided(void *ctx)
{
	const struct resolver *r = ctx;

	return resolver_mode(r) != RESOLVER_DECIDING;
}

static struct resolver_settings
settings(void)
{
	return (struct resolver_settings){ .servers = "", .stub_zones = "", .root_hints_file = "", .anchor_files = "",
		.resolv_conf = "/nonexistent/resolv.conf", .sockets_max = 512, .deadline_ms = 60000, .probe_ms = 5000 };
}

static struct ipc_from
from(uint64_t peer, uint64_t id)
{
	return (struct ipc_from){ .peer_id = peer, .id = id };
}

static void
test_equal_questions_are_asked_once(void **state)
{
	struct resolver_settings s = settings();
	struct resolver *r;
	struct kit_nsd nsd;

	(void)state;
	if (kit_nsd_missing() != NULL)
		skip();
	begin();
	kit_nsd_init(&nsd, "127.0.0.80", 0);
	kit_zone(&nsd, "plain.example", "mx IN A 192.0.2.1\n");
	kit_nsd_start(&nsd);
	s.servers = nsd.address;
	r = resolver_new(loop, &s, reply, NULL);
	assert_int_equal(resolver_mode(r), RESOLVER_CONFIGURED);
	assert_false(resolver_validates(r));
	for (unsigned i = 0; i < 50; i++)
		resolver_ask(r, from(1, i), i % 2 ? SPAN("mx.plain.example") : SPAN("MX.Plain.Example"), DNS_TYPE_A, false);
	assert_int_equal(n_replies, 0);
	wait_replies(50);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(replies[i].status, DNS_INSECURE);
		assert_int_equal(replies[i].count, 1);
		assert_int_equal(replies[i].to.id, i);
	}
	assert_int_equal(r->coalesced, 49);
	assert_int_equal(r->questions.count, 0);
	/* another type is another question; a peer that is gone gets no reply */
	resolver_ask(r, from(2, 1), SPAN("mx.plain.example"), DNS_TYPE_AAAA, false);
	resolver_ask(r, from(3, 1), SPAN("mx.plain.example"), DNS_TYPE_MX, false);
	resolver_forget(r, 3);
	wait_replies(51);
	assert_int_equal(replies[50].to.peer_id, 2);
	assert_int_equal(r->n_waiters, 0);
	kit_nsd_stop(&nsd);
	end(&r);
}

static void
test_deadlines(void **state)
{
	struct resolver_settings s = settings();
	unsigned port;
	int deaf = kit_deaf_server("127.0.0.81", &port);
	struct resolver *r;

	(void)state;
	begin();
	s.servers = arena_printf(arena, "127.0.0.81@%u", port).p;
	s.deadline_ms = 50;
	r = resolver_new(loop, &s, reply, NULL);
	for (unsigned i = 0; i < 200; i++)
		resolver_ask(r, from(1, i), arena_printf(arena, "n%u.dead.example", i / 2), DNS_TYPE_A, false);
	wait_replies(200);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(replies[i].status, DNS_FAILED);
	assert_int_equal(r->n_waiters, 0);
	/* the questions go on, and whoever asks again joins them */
	assert_int_equal(r->questions.count, 100);
	resolver_ask(r, from(1, 1), SPAN("n1.dead.example"), DNS_TYPE_A, false);
	assert_int_equal(r->questions.count, 100);
	wait_replies(201);
	fd_close(&deaf);
	end(&r);
}

static void
test_native_lookups(void **state)
{
	static const struct {
		const char *name;
		enum dns_type type;
		enum dns_status status;
		bool found;
	} rows[] = {
		{ "localhost", DNS_TYPE_A, DNS_INSECURE, true },
		{ "127.0.0.1", DNS_TYPE_A, DNS_INSECURE, true },
		{ "1.0.0.127.in-addr.arpa", DNS_TYPE_PTR, DNS_INSECURE, true },
		{ "x.in-addr.arpa", DNS_TYPE_PTR, DNS_INSECURE, false },
		{ "localhost", DNS_TYPE_MX, DNS_FAILED, false },
		{ "", DNS_TYPE_A, DNS_FAILED, false },
	};
	struct resolver_settings s = settings();
	struct resolver *r;

	(void)state;
	begin();
	s.servers = "127.0.0.1@1";
	r = resolver_new(loop, &s, reply, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		resolver_ask(r, from(1, i), span_str(rows[i].name), (uint16_t)rows[i].type, true);
		wait_replies(i + 1);
		if (replies[i].status != rows[i].status || (replies[i].count > 0) != rows[i].found)
			fail_msg("%s: %s %zu", rows[i].name, dns_status_name(replies[i].status), replies[i].count);
		if (replies[i].status == DNS_INSECURE)
			assert_true(replies[i].local);
	}
	end(&r);
}

static void
test_settings_that_cannot_work(void **state)
{
	struct resolver_settings s = settings();
	struct resolver *r;

	(void)state;
	begin();
	expect_log("DNS cannot be used");
	s.servers = "ns.example.org";
	r = resolver_new(loop, &s, reply, NULL);
	assert_int_equal(resolver_mode(r), RESOLVER_BROKEN);
	resolver_ask(r, from(1, 1), SPAN("a.example"), DNS_TYPE_A, false);
	assert_int_equal(n_replies, 1);
	assert_int_equal(replies[0].status, DNS_FAILED);
	/* an anchor file that is missing switches validation off and says so; mail flows */
	expect_log("dnssec_trust_anchor_files: /nonexistent.key: No such file or directory");
	s.servers = "127.0.0.1@1";
	s.anchor_files = "/nonexistent.key";
	resolver_reconf(r, &s);
	assert_int_equal(resolver_mode(r), RESOLVER_CONFIGURED);
	assert_false(resolver_validates(r));
	end(&r);
}

static void
test_reconf_asks_again(void **state)
{
	struct resolver_settings s = settings();
	unsigned port;
	int deaf = kit_deaf_server("127.0.0.82", &port);
	struct resolver *r;
	struct kit_nsd nsd;

	(void)state;
	if (kit_nsd_missing() != NULL) {
		fd_close(&deaf);
		skip();
	}
	begin();
	kit_nsd_init(&nsd, "127.0.0.83", 0);
	kit_zone(&nsd, "plain.example", "mx IN A 192.0.2.1\n");
	kit_nsd_start(&nsd);
	s.servers = arena_printf(arena, "127.0.0.82@%u", port).p;
	r = resolver_new(loop, &s, reply, NULL);
	resolver_ask(r, from(1, 1), SPAN("mx.plain.example"), DNS_TYPE_A, false);
	loop_turn(loop, 10);
	s.servers = nsd.address;
	resolver_reconf(r, &s);
	wait_replies(1);
	assert_int_equal(replies[0].count, 1);
	kit_nsd_stop(&nsd);
	fd_close(&deaf);
	end(&r);
}

static void
test_resolv_conf(void **state)
{
	static const struct {
		const char *text, *servers;
	} rows[] = {
		{ "nameserver 192.0.2.1\n", "192.0.2.1" },
		{ "# x\nsearch a b\nnameserver\t192.0.2.1 \nnameserver 2001:db8::1\noptions edns0\n", "192.0.2.1 2001:db8::1" },
		{ "nameserver fe80::1%eth0\n", "127.0.0.1" },
		{ "nameserver\n", "127.0.0.1" },
		{ "", "127.0.0.1" },
	};
	char got[256];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		resolver_read_resolv_conf(kit_file("resolv.conf", rows[i].text), got, sizeof(got));
		assert_string_equal(got, rows[i].servers);
	}
	resolver_read_resolv_conf("/nonexistent", got, sizeof(got));
	assert_string_equal(got, "127.0.0.1");
}

/* nsd as signed root on port 53 of its own address, named in dns_root_hints_file; what dns_servers empty comes to. */
static void
test_choice_of_servers(void **state)
{
	static const char *const ips[] = { "127.0.53.91", "127.0.53.92", "127.0.53.93" };
	struct resolver_settings s = settings();
	struct kit_nsd root, plain;
	struct resolver *r;

	(void)state;
	if (kit_nsd_missing() != NULL || !kit_port_53_is_free(ips[0]) || !kit_port_53_is_free(ips[1]))
		skip();
	begin();
	kit_nsd_init(&root, ips[0], 53);
	kit_signed_zone(&root, ".", "mx.example IN A 192.0.2.1\n", "root.anchor");
	kit_nsd_start(&root);
	kit_nsd_init(&plain, ips[1], 53);
	kit_zone(&plain, "example", "mx IN A 192.0.2.1\n");
	kit_nsd_start(&plain);
	s.anchor_files = arena_printf(arena, "%s/root.anchor", root.dir).p;
	s.root_hints_file = kit_file("hints", ". 3600 IN NS ns.\nns. 3600 IN A 127.0.53.91\n");
	/* the servers of resolv.conf hand out signatures: they are asked */
	s.resolv_conf = kit_file("signed.conf", "nameserver 127.0.53.93\nnameserver 127.0.53.91\n");
	r = resolver_new(loop, &s, reply, NULL);
	assert_int_equal(resolver_mode(r), RESOLVER_DECIDING);
	resolver_ask(r, from(1, 1), SPAN("mx.example"), DNS_TYPE_A, false);     /* waits for the decision */
	turn_until(decided, r);
	assert_int_equal(resolver_mode(r), RESOLVER_FORWARDING);
	assert_string_equal(r->in_use, "127.0.53.91");
	wait_replies(1);
	assert_int_equal(replies[0].status, DNS_SECURE);
	/* they do not, but the root answers: from there */
	s.resolv_conf = kit_file("plain.conf", "nameserver 127.0.53.92\n");
	resolver_reconf(r, &s);
	turn_until(decided, r);
	assert_int_equal(resolver_mode(r), RESOLVER_RECURSING);
	resolver_ask(r, from(1, 2), SPAN("mx.example"), DNS_TYPE_A, false);
	wait_replies(2);
	assert_int_equal(replies[1].status, DNS_SECURE);
	/* the root cannot be reached either: without DNSSEC, and that is said */
	expect_log("DNSSEC is off");
	s.root_hints_file = kit_file("hints", ". 3600 IN NS ns.\nns. 3600 IN A 127.0.53.93\n");
	s.probe_ms = 300;
	resolver_reconf(r, &s);
	turn_until(decided, r);
	assert_int_equal(resolver_mode(r), RESOLVER_UNVALIDATED);
	assert_false(resolver_validates(r));
	resolver_ask(r, from(1, 3), SPAN("mx.example"), DNS_TYPE_A, false);
	wait_replies(3);
	assert_int_equal(replies[2].status, DNS_INSECURE);
	assert_int_equal(replies[2].count, 1);
	kit_nsd_stop(&root);
	kit_nsd_stop(&plain);
	end(&r);
}

static void
test_configured_servers_without_signatures_are_told(void **state)
{
	struct resolver_settings s = settings();
	struct resolver *r;
	struct kit_nsd nsd;
	char key[256];

	(void)state;
	if (kit_nsd_missing() != NULL)
		skip();
	begin();
	kit_nsd_init(&nsd, "127.0.0.84", 0);
	kit_zone(&nsd, "plain.example", "mx IN A 192.0.2.1\n");
	kit_zone_key(&nsd, ".", "other.anchor", key);
	kit_nsd_start(&nsd);
	expect_log("hand out no DNSSEC signatures");
	s.servers = nsd.address;
	s.anchor_files = arena_printf(arena, "%s/other.anchor", nsd.dir).p;
	r = resolver_new(loop, &s, reply, NULL);
	assert_int_equal(resolver_mode(r), RESOLVER_CONFIGURED);
	assert_true(resolver_validates(r));
	resolver_ask(r, from(1, 1), SPAN("mx.plain.example"), DNS_TYPE_A, false);
	wait_replies(1);
	assert_true(replies[0].status == DNS_BOGUS || replies[0].status == DNS_FAILED);
	for (int64_t stop = clock_mono_us() + 60 * US_PER_S; !kit_logged("hand out no DNSSEC");) {
		assert_true(clock_mono_us() < stop);
		loop_turn(loop, 50);
	}
	kit_nsd_stop(&nsd);
	end(&r);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_equal_questions_are_asked_once),
	KIT_TEST(test_deadlines),
	KIT_TEST(test_native_lookups),
	KIT_TEST(test_settings_that_cannot_work),
	KIT_TEST(test_reconf_asks_again),
	KIT_TEST(test_resolv_conf),
	KIT_TEST(test_choice_of_servers),
	KIT_TEST(test_configured_servers_without_signatures_are_told),
};

KIT_MAIN(tests)
