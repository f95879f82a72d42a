/* The SMTP client role against servers on the loopback: where it goes, what it says, what it reports. */
#include "kit/smtp_world.h"

#define HOP "[127.0.0.1]:%u"

static void
a_message_is_delivered(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .rcpts = "b@example.org c@example.org" });
	assert_outcome(&w, 0, "0 2.0.0 250 2.0.0 Ok: queued as SINK");
	assert_outcome(&w, 1, "0 2.0.0 250 2.0.0 Ok: queued as SINK");
	assert_span(buf_span(&w.content), "Subject: hi\n\nhello\n");
	assert_true(span_starts(buf_span(&w.heard), SPAN("EHLO client.example\nMAIL FROM:<a@client.example>\n"
	    "RCPT TO:<b@example.org>\nRCPT TO:<c@example.org>\nDATA\n.\n")));
	assert_span(w.done.outcomes[0].remote_mta, "127.0.0.1");
	assert_int_equal(w.done.throttle.n, 0);
	assert_true(kit_logged("QID1: to=<b@example.org>, relay=127.0.0.1[127.0.0.1]:"));
	assert_true(kit_logged(", dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as SINK)"));
	assert_int_equal(w.connections, 1);
	world_close(&w);
}

static void
refusals(void **state)
{
	static const struct world_rule rules[] = {
		{ NULL, "RCPT TO:<bad@", "550 5.1.1 no such user\r\n" }, { NULL, "RCPT TO:<slow@", "450 4.2.0 greylisted\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .rcpts = "bad@x.org slow@x.org good@x.org" });
	assert_outcome(&w, 0, "2 5.1.1 host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)");
	assert_outcome(&w, 1, "1 4.2.0 host 127.0.0.1[127.0.0.1] said: 450 4.2.0 greylisted (in reply to RCPT TO command)");
	assert_outcome(&w, 2, "0 2.0.0");
	assert_span(w.done.outcomes[0].diagnostic, "550 5.1.1 no such user");
	assert_int_equal(w.done.throttle.n, 0);
	world_close(&w);
}

static void
nobody_listens(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = "[127.0.0.1]:1" });
	assert_outcome(&w, 0, "1 4.4.1 connect to 127.0.0.1[127.0.0.1]:1: Connection refused");
	assert_span(w.done.throttle, "connect to 127.0.0.1[127.0.0.1]:1: Connection refused");
	assert_true(kit_logged("relay=none"));
	world_close(&w);
}

static const struct world_dns dns[] = {
	{ "two.example", DNS_TYPE_MX, "20 mxb.example, 10 mxa.example" }, { "mxa.example", DNS_TYPE_A, "127.0.0.2" },
	{ "mxb.example", DNS_TYPE_A, "127.0.0.3" }, { "none.example", DNS_TYPE_MX, "0 ." },
	{ "plain.example", DNS_TYPE_A, "127.0.0.4" }, { "broken.example", DNS_TYPE_MX, "!" },
	{ "halfbroken.example", DNS_TYPE_MX, "5 gone.example, 10 mxb.example" }, { "gone.example", DNS_TYPE_A, "!" },
	{ "lost.example", DNS_TYPE_MX, "10 nowhere.example" }, { "worse.example", DNS_TYPE_MX, "10 gone.example" },
	{ "self.example", DNS_TYPE_MX, "10 me.example, 20 mxb.example" }, { "me.example", DNS_TYPE_A, "192.0.2.200" },
	{ "ahead.example", DNS_TYPE_MX, "10 mxb.example, 20 me.example, 30 mxa.example" }, { 0 },
};

static void
mx_records_decide(void **state)
{
	static const struct {
		const char *nexthop, *outcome;
	} rows[] = {
		{ "two.example:%u", "0 2.0.0" }, { "plain.example:%u", "0 2.0.0" }, { "halfbroken.example:%u", "0 2.0.0" },
		{ "none.example:%u", "2 5.1.10 Domain none.example does not accept mail (nullMX)" },
		{ "nx.example:%u", "2 5.4.4 Host or domain name not found. Name service error for name=nx.example type=A: Host not found" },
		{ "broken.example:%u", "1 4.4.3 Host or domain name not found. Name service error for name=broken.example type=MX: Host not found, try again" },
		{ "lost.example:%u", "2 5.4.4 Host or domain name not found. Name service error for name=nowhere.example type=A: Host not found" },
		{ "worse.example:%u", "1 4.4.3 Host or domain name not found. Name service error for name=gone.example type=A: Host not found, try again" },
		{ "self.example", "2 5.4.6 mail for self.example loops back to myself" },
		{ "192.0.2.200", "2 5.4.6 mail for 192.0.2.200 loops back to myself" },
		{ "[gone.example]:%u", "1 4.4.3 " }, { "[mxb.example]:nonsense", "1 4.3.5 Server configuration error" },
	};
	struct world w;

	(void)state;
	expect_log("no such port");
	expect_log("no MX host for");
	world_open(&w, "", NULL);
	w.dns = dns;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		world_mail(&w, (struct world_mail){ .nexthop = rows[i].nexthop });
		assert_outcome(&w, 0, rows[i].outcome);
	}
	assert_true(kit_logged("relay=mxa.example[127.0.0.2]:"));
	assert_true(kit_logged("relay=plain.example[127.0.0.4]:"));
	world_close(&w);
}

/* More servers than are looked at: the best ones are. */
static void
the_best_of_many_mx_records(void **state)
{
	static char text[4000];
	static struct world_dns many[] = { { "many.example", DNS_TYPE_MX, text }, { "mxb.example", DNS_TYPE_A, "127.0.0.3" }, { 0 } };
	struct world w;
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < 80; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%u gone%u.example, ", 100 + i, i);
	snprintf(text + n, sizeof(text) - n, "50 mxb.example");
	world_open(&w, "", NULL);
	w.dns = many;
	world_mail(&w, (struct world_mail){ .nexthop = "many.example:%u" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("relay=mxb.example[127.0.0.3]:"));
	world_close(&w);
}

/* The system's way is for names that DNS does not know: asked here, it would put its own words in place of these. */
static void
a_bogus_answer_is_not_a_no(void **state)
{
	static const struct world_dns forged[] = { { "forged.example", DNS_TYPE_A, "#" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "smtp_host_lookup = dns, native\n", NULL);
	w.dns = forged;
	expect_log("A records of forged.example: DNSSEC validation failed");
	world_mail(&w, (struct world_mail){ .nexthop = "[forged.example]:%u" });
	assert_outcome(&w, 0, "1 4.4.3 Host or domain name not found. Name service error for name=forged.example type=A: "
	    "DNSSEC validation failed, try again");
	world_close(&w);
}

static void
the_next_server_gets_its_turn(void **state)
{
	static const struct world_rule greeting[] = { { "127.0.0.2", "", "554 5.3.2 go away\r\n" }, { 0 } };
	static const struct world_rule closes[] = { { "127.0.0.2", "EHLO", "!" }, { 0 } };
	static const struct world_rule mail[] = { { "127.0.0.2", "MAIL", "451 4.3.0 later\r\n" },
		{ "127.0.0.2", "RCPT", "503 5.5.1 no\r\n" }, { "127.0.0.2", "DATA", "503 5.5.1 no\r\n" }, { 0 } };
	static const struct world_rule rcpt[] = { { "127.0.0.2", "RCPT TO:<b@", "450 4.7.1 greylisted\r\n" }, { 0 } };
	static const struct world_rule *const all[] = { greeting, closes, mail, rcpt };
	static const char *const logged[] = { "QID1: host mxa.example[127.0.0.2] refused to talk to me: 554 5.3.2 go away",
		"QID1: lost connection with mxa.example[127.0.0.2] while performing the EHLO handshake",
		"QID1: host mxa.example[127.0.0.2] said: 451 4.3.0 later (in reply to MAIL FROM command)",
		"QID1: host mxa.example[127.0.0.2] said: 450 4.7.1 greylisted (in reply to RCPT TO command)" };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.dns = dns;
	for (size_t i = 0; i < 4; i++) {
		w.rules = all[i];
		world_mail(&w, (struct world_mail){ .nexthop = "two.example:%u", .rcpts = "b@two.example c@two.example" });
		assert_outcome(&w, 0, "0 2.0.0");
		assert_outcome(&w, 1, "0 2.0.0");
		assert_true(kit_logged(logged[i]));
		assert_span(w.done.throttle, "");
	}
	world_close(&w);
}

static void
the_last_server_decides(void **state)
{
	static const struct world_rule rules[] = { { "127.0.0.2", "", "421 4.3.2 busy\r\n" }, { "127.0.0.3", "", "421 4.3.2 busy too\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.dns = dns;
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = "two.example:%u" });
	assert_outcome(&w, 0, "1 4.3.2 host mxb.example[127.0.0.3] refused to talk to me: 421 4.3.2 busy too");
	assert_span(w.done.throttle, "host mxb.example[127.0.0.3] refused to talk to me: 421 4.3.2 busy too");
	world_close(&w);
}

static void
lists_of_next_hops(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.dns = dns;
	world_mail(&w, (struct world_mail){ .nexthop = "[127.0.0.1]:1, two.example:%u" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(kit_logged("connect to 127.0.0.1[127.0.0.1]:1: Connection refused"));
	world_close(&w);
}

static void
a_fallback_relay_that_does_not_exist_is_our_mistake(void **state)
{
	struct world w;

	(void)state;
	expect_log("fallback_relay configuration problem");
	world_open(&w, "smtp_fallback_relay = nx.example\n", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = "[127.0.0.1]:1" });
	assert_outcome(&w, 0, "1 4.3.5 Server configuration error");
	world_close(&w);
}

/* The second of two next hops is no fallback relay: what it lacks is bad luck, and no mistake of ours. */
static void
null_mx_and_lists_with_a_fallback_relay(void **state)
{
	static const struct {
		const char *nexthop, *outcome;
	} rows[] = {
		{ "none.example:%u", "2 5.1.10 Domain none.example does not accept mail (nullMX)" },
		{ "nx.example:%u", "0 2.0.0" },
		{ "[127.0.0.1]:1, nx.example:%u", "0 2.0.0" },
	};
	struct world w;

	(void)state;
	world_open(&w, "smtp_fallback_relay = [127.0.0.2]:%u\n", NULL);
	w.dns = dns;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		world_mail(&w, (struct world_mail){ .nexthop = rows[i].nexthop });
		assert_outcome(&w, 0, rows[i].outcome);
	}
	assert_false(kit_logged("configuration problem"));
	world_close(&w);
}

static void
connections_are_used_again(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	for (int i = 0; i < 5; i++) {
		world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
		assert_outcome(&w, 0, "0 2.0.0");
	}
	assert_int_equal(w.connections, 1);
	assert_true(kit_logged("conn_use=5"));
	/* another next hop is another connection */
	world_mail(&w, (struct world_mail){ .nexthop = "[127.0.0.2]:%u", .backlog = true });
	assert_int_equal(w.connections, 2);
	world_close(&w);
}

static void
a_dead_cached_connection_is_no_failure(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
	while (!list_empty(&w.clients))
		world_client_free(LIST_ITEM(w.clients.next, struct world_client, node));
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_int_equal(w.connections, 2);
	world_close(&w);
}

static void
a_server_tired_of_a_connection_gets_a_new_one(void **state)
{
	static const struct world_rule tired[] = { { NULL, "MAIL", "421 4.7.0 too many messages\r\n" },
		{ NULL, "RCPT", "421 4.7.0 bye\r\n" }, { NULL, "DATA", "421 4.7.0 bye\r\n" }, { 0 } };
	static const struct world_rule hangs_up[] = { { NULL, "RCPT", "!" }, { 0 } };
	static const struct world_rule *const both[] = { tired, hangs_up };
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct world_mail m = { .nexthop = HOP, .backlog = true };

		world_open(&w, "", NULL);
		world_mail(&w, m);
		w.rules = both[i];
		world_send(&w, &m);
		while (w.connections < 2)
			loop_turn(w.loop, 100);
		w.rules = NULL;
		world_wait(&w, 2);
		assert_outcome(&w, 0, "0 2.0.0");
		world_close(&w);
	}
}

static void
a_soft_answer_on_a_cached_connection_is_final_without_other_servers(void **state)
{
	static const struct world_rule rules[] = { { NULL, "RCPT TO:<g@", "450 4.2.0 greylisted\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true, .rcpts = "g@x.org b@x.org" });
	assert_outcome(&w, 0, "1 4.2.0 host 127.0.0.1[127.0.0.1] said: 450 4.2.0 greylisted (in reply to RCPT TO command)");
	assert_outcome(&w, 1, "0 2.0.0");
	assert_int_equal(w.connections, 1);
	world_close(&w);
}

static void
content_from_a_file(void **state)
{
	static char big[300001];
	struct world w;
	const char *path;

	(void)state;
	for (size_t i = 0; i < sizeof(big) - 1; i++)
		big[i] = i % 60 == 58 ? '\r' : i % 60 == 59 ? '\n' : i % 60 == 0 ? '.' : 'x';
	world_open(&w, "", NULL);
	path = kit_file("content", big);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .file = fd_open(AT_FDCWD, path, O_RDONLY, 0), .size = sizeof(big) - 1 });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_int_equal(w.content.n, 300000);
	world_close(&w);
}

static void
lmtp_answers_for_each(void **state)
{
	static const struct world_rule rules[] = { { NULL, ".", "250 2.1.5 b ok\r\n452 4.2.2 c full\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .service = "lmtp", .nexthop = "inet:127.0.0.1:%u", .rcpts = "b@x c@x", .notify = ENVELOPE_NOTIFY_SUCCESS });
	assert_outcome(&w, 0, "0 2.1.5 250 2.1.5 b ok");
	assert_outcome(&w, 1, "1 4.2.2 host 127.0.0.1[127.0.0.1] said: 452 4.2.2 c full (in reply to end of DATA command)");
	assert_int_equal(w.done.outcomes[0].flags, 1);
	assert_int_equal(span_find(buf_span(&w.heard), SPAN("LHLO client.example")), 0);
	world_close(&w);
}

static void
limits_of_a_server(void **state)
{
	static const struct world_rule rules[] = { { NULL, "EHLO", "250-mx.example\r\n250 SIZE 10\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP });
	assert_outcome(&w, 0, "2 5.3.4 message size 22 exceeds size limit 10 of server 127.0.0.1[127.0.0.1]");
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .content = "\r\nx", .rcpts = "\303\244@x.org" });
	assert_outcome(&w, 0, "2 5.6.7 SMTPUTF8 is required, but was not offered by host 127.0.0.1[127.0.0.1]");
	world_close(&w);
}

static void
eight_bits_become_seven(void **state)
{
	static const struct world_rule rules[] = { { NULL, "EHLO", "250 mx.example\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .eightbit = true,
	    .content = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\303\244\r\n" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(span_find(buf_span(&w.content), SPAN("quoted-printable")) > 0);
	assert_true(span_find(buf_span(&w.content), SPAN("=C3=A4")) > 0);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .eightbit = true, .content = "Subject: \303\244\r\n\r\nx\r\n" });
	assert_outcome(&w, 0, "2 5.6.");
	world_close(&w);
}

static void
a_probe_ends_after_rcpt(void **state)
{
	static const struct world_rule rules[] = { { NULL, "RCPT TO:<c@", "550 5.1.1 no\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .probe = true, .rcpts = "b@x c@x" });
	assert_outcome(&w, 0, "0 2.1.5 delivery via 127.0.0.1[127.0.0.1]:");
	assert_outcome(&w, 1, "2 5.1.1");
	assert_true(span_find(buf_span(&w.heard), SPAN("DATA")) < 0);
	assert_true(kit_logged("status=deliverable (delivery via"));
	assert_true(kit_logged("status=undeliverable (host"));
	world_close(&w);
}

static const struct world_rule auth_rules[] = {
	{ NULL, "EHLO", "250-mx.example\r\n250 AUTH PLAIN LOGIN\r\n" },
	{ NULL, "AUTH PLAIN AHUAcA==", "235 2.7.0 ok\r\n" }, { NULL, "AUTH PLAIN", "535 5.7.8 wrong\r\n" },
	{ NULL, "AUTH LOGIN", "334 VXNlcm5hbWU6\r\n" }, { NULL, "dQ==", "334 UGFzc3dvcmQ6\r\n" }, { NULL, "cA==", "235 2.7.0 ok\r\n" },
	/* a server that never ends the exchange */
	{ NULL, "bG9vcA==", "334 !\r\n" }, { NULL, "*", "334 go on\r\n" }, { 0 },
};

static void
login(void **state)
{
	static const struct {
		const char *conf, *outcome, *heard;
	} rows[] = {
		{ "smtp_sasl_security_options = noanonymous\nsmtp_sasl_password_maps = inline:{ {127.0.0.1=u:p} }\n", "0 2.0.0", "AUTH PLAIN AHUAcA==" },
		{ "smtp_sasl_security_options =\nsmtp_sasl_mechanism_filter = login\nsmtp_sasl_password_maps = static:u:p\n", "0 2.0.0", "AUTH LOGIN\ndQ==\ncA==\n" },
		{ "smtp_sasl_security_options = noanonymous\nsmtp_sasl_password_maps = static:u:wrong\n",
		    "1 4.7.8 SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 wrong", "AUTH PLAIN" },
		{ "smtp_sasl_security_options = noanonymous\nsmtp_sasl_auth_soft_bounce = no\nsmtp_sasl_password_maps = static:u:wrong\n", "2 5.7.8 SASL", "AUTH" },
		{ "smtp_sasl_password_maps = static:u:p\n", "1 4.7.0 SASL authentication failed: server 127.0.0.1[127.0.0.1] offered no "
		    "compatible authentication mechanisms for this type of connection security", "EHLO" },
		{ "smtp_sasl_password_maps = inline:{ {other=u:p} }\n", "0 2.0.0", "MAIL" },
		{ "smtp_sender_dependent_authentication = yes\nsmtp_sasl_security_options=\n"
		    "smtp_sasl_password_maps = inline:{ {a@client.example=u:p}, {127.0.0.1=x:y} }\n", "0 2.0.0", "AUTH PLAIN AHUAcA==" },
		{ "smtp_sasl_security_options =\nsmtp_sasl_mechanism_filter = login\nsmtp_sasl_password_maps = static:loop:p\n",
		    "1 4.7.0 SASL authentication failed; authentication protocol loop with server 127.0.0.1[127.0.0.1]", "AUTH LOGIN\nbG9vcA==\n*\n" },
		{ "smtp_sasl_security_options=\nsmtp_sasl_password_maps = fail:x\n", "1 4.3.0 Temporary lookup error", "" },
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char conf[600];

		snprintf(conf, sizeof(conf), "smtp_sasl_auth_enable = yes\n%s", rows[i].conf);
		world_open(&w, conf, NULL);
		w.rules = auth_rules;
		world_mail(&w, (struct world_mail){ .nexthop = HOP });
		assert_outcome(&w, 0, rows[i].outcome);
		if (span_find(buf_span(&w.heard), span_str(rows[i].heard)) < 0)
			fail_msg("%s: heard\n%s", rows[i].conf, buf_cstr(&w.heard));
		world_close(&w);
	}
}

static void
generic_addresses(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "smtp_generic_maps = inline:{ {me@internal.example=out@example.com} }\n", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .sender = "me@internal.example",
	    .content = "From: Me <me@internal.example>\r\nTo: x@y.org\r\nSubject: me@internal.example\r\n\r\nme@internal.example\r\n" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(span_find(buf_span(&w.heard), SPAN("MAIL FROM:<out@example.com>")) > 0);
	assert_span(buf_span(&w.content), "From: Me <out@example.com>\nTo: x@y.org\nSubject: me@internal.example\n\nme@internal.example\n");
	world_close(&w);
}

static void
checks_and_filters(void **state)
{
	static const struct world_rule rules[] = { { NULL, "RCPT TO:<b@", "550 5.1.1 no\r\n" }, { NULL, "RCPT TO:<c@", "590 5.1.1 odd\r\n" }, { 0 } };
	struct world w;

	(void)state;
	world_open(&w, "smtp_header_checks = inline:{ {X-Secret: 1=IGNORE}, {X-Old: 1=REPLACE X-New: 2}, {X-Pre: 1=PREPEND X-Before: 3} }\n"
	    "smtp_reply_filter = inline:{ {590 5.1.1 odd=450 4.1.1 even} }\n"
	    "smtp_delivery_status_filter = inline:{ {5.1.1 host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no (in reply to RCPT TO command)=4.1.1 wait} }\n", NULL);
	w.rules = rules;
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .rcpts = "b@x.org c@x.org d@x.org",
	    .content = "X-Secret: 1\r\nX-Old: 1\r\nX-Pre: 1\r\nSubject: s\r\n\r\nX-Secret: 1\r\n" });
	assert_outcome(&w, 0, "1 4.1.1 wait");
	assert_outcome(&w, 1, "1 4.1.1 host 127.0.0.1[127.0.0.1] said: 450 4.1.1 even (in reply to RCPT TO command)");
	assert_outcome(&w, 2, "0 2.0.0");
	assert_span(buf_span(&w.content), "X-New: 2\nX-Before: 3\nX-Pre: 1\nSubject: s\n\nX-Secret: 1\n");
	assert_true(kit_logged("QID1: replace: header X-Old: 1: X-New: 2"));
	world_close(&w);
}

/* A message with every place where the four tables look. */
#define PARTS "From: me@internal.example\r\nX-Top: 1\r\nX-Part: 1\r\nX-Inner: 1\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" \
    "X-Top: 1\r\nsecret line\r\n--b\r\nX-Top: 1\r\nX-Part: 1\r\n folded\r\nX-Inner: 1\r\n\r\nX-Part: 1\r\nsecret line\r\nsecret line\r\nkept\r\n" \
    "--b\r\nContent-Type: message/rfc822\r\nContent-Old: 1\r\n\r\nX-Top: 1\r\nX-Part: 1\r\nX-Inner: 1\r\nFrom: me@internal.example\r\n\r\nold line\r\n--b--\r\nlast line"
#define PARTS_OUT "From: out@example.com\nX-Part: 1\nX-Inner: 1\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" \
    "X-Top: 1\n--b\nX-Top: 1\nX-New: 1\n folded\nX-Inner: 1\n\nX-Part: 1\nkept\n" \
    "--b\nContent-Type: message/rfc822\nContent-New: 1\n\nX-Top: 1\nX-Part: 1\nX-Before: inner\nX-Inner: 1\nFrom: me@internal.example\n\nnew line\n--b--\n..dot\nlast line\n"

static const char parts_conf[] = "smtp_generic_maps = inline:{ {me@internal.example=out@example.com} }\n"
    "smtp_header_checks = inline:{ {X-Top: 1=IGNORE} }\n"
    "smtp_mime_header_checks = pcre:{ {/^X-Part: (.*)/ REPLACE X-New: $$1} {/^Content-Old: 1/ REPLACE Content-New: 1} }\n"
    "smtp_nested_header_checks = inline:{ {X-Inner: 1=PREPEND X-Before: inner} }\n"
    "smtp_body_checks = inline:{ {secret line=STRIP told} {old line=REPLACE new line} {last line=PREPEND .dot} }\n";

static void
checks_look_at_their_own_part(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, parts_conf, NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .content = PARTS "\r\n" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_span(buf_span(&w.content), PARTS_OUT);
	assert_true(kit_logged("QID1: strip: body secret line: told"));
	assert_true(kit_logged("QID1: replace: header X-Part: 1? folded: X-New: 1? folded"));
	assert_true(kit_logged("QID1: prepend: header X-Inner: 1: X-Before: inner"));
	assert_false(kit_logged("strip: header"));
	world_close(&w);
}

/* The same from a file, at every offset against the window that is read at once. */
static void
checks_of_a_large_message(void **state)
{
	char path[] = "/tmp/signet-test-XXXXXX";
	struct world w;
	struct buf text, want;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	buf_init(&text, 1 << 20);
	buf_init(&want, 1 << 20);
	buf_add_str(&text, PARTS "\r\n");
	buf_add_str(&want, PARTS_OUT);
	for (int i = 0; i < 9000; i++) {
		buf_addf(&text, "%.*s%s\r\n", i % 61, "0123456789012345678901234567890123456789012345678901234567890", i % 7 ? "" : "\r\nsecret line");
		buf_addf(&want, "%.*s\n", i % 61, "0123456789012345678901234567890123456789012345678901234567890");
	}
	assert_int_equal(fd_write_all(fd, text.p, text.n), 0);
	close(fd);
	world_open(&w, parts_conf, NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .file = fd_open(AT_FDCWD, path, O_RDONLY, 0), .size = text.n });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_span(buf_span(&w.content), buf_cstr(&want));
	world_close(&w);
	unlink(path);
	buf_release(&text);
	buf_release(&want);
}

/* A header that is longer than what is read of a file at once is still one header. */
static void
generic_addresses_of_a_very_long_header(void **state)
{
	char path[] = "/tmp/signet-test-XXXXXX";
	struct world w;
	struct buf text, want;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	buf_init(&text, 1 << 20);
	buf_init(&want, 1 << 20);
	buf_add_str(&text, "X-Gone: 1\r\n");
	for (int i = 0; i < 2500; i++) {
		buf_addf(&text, "%s me@internal.example,\r\n", i % 500 ? "" : "To:");
		buf_addf(&want, "%s out@example.com,\n", i % 500 ? "" : "To:");
	}
	for (int i = 0; i < 3000; i++)
		buf_addf(&text, "%s 0123456789 0123456789 0123456789\r\n", i == 0 ? "X-Gone:" : "");
	buf_add_str(&text, "\r\nbody\r\n");
	buf_add_str(&want, "\nbody\n");
	assert_int_equal(fd_write_all(fd, text.p, text.n), 0);
	close(fd);
	world_open(&w, "header_address_token_limit = 100000\nsmtp_generic_maps = inline:{ {me@internal.example=out@example.com} }\n"
	    "smtp_header_checks = regexp:{ {/^X-Gone:/ IGNORE} }\n", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .file = fd_open(AT_FDCWD, path, O_RDONLY, 0), .size = text.n });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_span(buf_span(&w.content), buf_cstr(&want));
	world_close(&w);
	unlink(path);
	buf_release(&text);
	buf_release(&want);
}

/* What was matched may have line ends of its own; outside every line ends in CRLF. */
static void
folds_survive_a_replacement(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "smtp_header_checks = pcre:{ {/^Subject: (.*)/ REPLACE Subject: [out] $$1} {/^X-Pre: (.*)/ PREPEND X-Copy: $$1} }\n", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .content = "Subject: one\r\n two\r\nX-Pre: a\r\n\tb\r\n\r\nx\r\n" });
	assert_span(buf_span(&w.content), "Subject: [out] one\n two\nX-Copy: a\n\tb\nX-Pre: a\n\tb\n\nx\n");
	assert_int_equal(w.bare_lf, 0);
	world_close(&w);
}

static void
what_checks_cannot_do_outside(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "smtp_header_checks = inline:{ {X-A: 1=REJECT no}, {X-B: 1=REDIRECT a@b.org} }\nsmtp_body_checks = inline:{ {x=HOLD} {typo=REPLAC y} }\n", NULL);
	expect_log("inline:{ {X-A: 1=REJECT no}, {X-B: 1=REDIRECT a@b.org} }: \"REJECT no\" is not possible when mail is delivered and changes nothing: it belongs in header_checks");
	expect_log("\"REDIRECT a@b.org\" is not possible");
	expect_log("\"HOLD\" is not possible when mail is delivered and changes nothing: it belongs in body_checks");
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .content = "X-A: 1\r\nX-B: 1\r\n\r\nx\r\n" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_span(buf_span(&w.content), "X-A: 1\nX-B: 1\n\nx\n");
	assert_false(kit_logged("reject: header"));
	expect_log("unknown action \"REPLAC\"");
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .content = "\r\ntypo\r\n" });
	assert_outcome(&w, 0, "1 4.3.0 Temporary lookup error");
	world_close(&w);
}

static void
own_services_have_their_own_parameters(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "", "smtp unix - - n - - smtp\nslow unix - - n - - smtp -o smtp_helo_name=other.example -o syslog_name=signet/slow\n");
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .service = "slow" });
	assert_int_equal(span_find(buf_span(&w.heard), SPAN("EHLO other.example")), 0);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .service = "nothing" });
	assert_outcome(&w, 0, "1 4.3.0 mail transport unavailable");
	world_close(&w);
}

static void
many_at_once(void **state)
{
	struct world w;
	struct world_mail m = { .nexthop = HOP, .backlog = true };

	(void)state;
	world_open(&w, "", NULL);
	for (int i = 0; i < 300; i++)
		world_send(&w, &m);
	world_wait(&w, 300);
	assert_outcome(&w, 0, "0 2.0.0");
	world_close(&w);
}

/* ---- one parameter, one effect */

#define REPLY(command, reply) { { NULL, command, reply }, { 0 } }
#define SIZE_10(hello) REPLY(hello, "250-mx.example\r\n250 SIZE 10\r\n")

static const struct effect {
	const char *conf;
	struct world_mail mail;
	struct world_rule rules[3];
	const char *outcome, *heard, *logged;
} effects[] = {
	{ "smtp_never_send_ehlo = yes\n", { .nexthop = HOP }, REPLY("HELO", "250 mx.example\r\n"), "0 2.0.0", "HELO client.example\nMAIL", NULL },
	{ "smtp_always_send_ehlo = no\n", { .nexthop = HOP }, { { NULL, "HELO", "250 mx.example\r\n" }, { NULL, "", "220 mx.example hello\r\n" }, { 0 } },
	    "0 2.0.0", "HELO client.example\nMAIL", NULL },
	{ "smtp_discard_ehlo_keywords = size\n", { .nexthop = HOP }, SIZE_10("EHLO"), "0 2.0.0", NULL, NULL },
	{ "smtp_discard_ehlo_keyword_address_maps = inline:{ {127.0.0.1=size} }\n", { .nexthop = HOP }, SIZE_10("EHLO"), "0 2.0.0", NULL, NULL },
	{ "smtp_skip_5xx_greeting = no\n", { .nexthop = HOP }, REPLY("", "554 5.3.2 go away\r\n"), "2 5.3.2 host", NULL, NULL },
	{ "", { .nexthop = HOP, .rcpts = "x,y@x.org" }, { { 0 } }, "0 2.0.0", "RCPT TO:<\"x,y\"@x.org>", "to=<\"x,y\"@x.org>" },
	{ "smtp_quote_rfc821_envelope = no\n", { .nexthop = HOP, .rcpts = "x,y@x.org" }, { { 0 } }, "0 2.0.0", "RCPT TO:<x,y@x.org>", NULL },
	{ "info_log_address_format = internal\n", { .nexthop = HOP, .rcpts = "x,y@x.org" }, { { 0 } }, "0 2.0.0", NULL, "to=<x,y@x.org>" },
	{ "disable_mime_output_conversion = yes\n", { .nexthop = HOP, .eightbit = true,
	    .content = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\303\244\r\n" }, REPLY("EHLO", "250 mx.example\r\n"),
	    "2 5.6.3 8-bit content, but 8BITMIME was not offered", NULL, NULL },
	{ "smtp_mx_address_limit = 1\n", { .nexthop = "two.example:%u" }, { { "127.0.0.2", "", "421 4.3.2 busy\r\n" }, { 0 } }, "1 4.3.2 host mxa", NULL, NULL },
	{ "ignore_mx_lookup_error = yes\n", { .nexthop = "sick.example:%u" }, { { 0 } }, "0 2.0.0", NULL, "relay=sick.example[127.0.0.5]" },
	{ "smtp_defer_if_no_mx_address_found = yes\n", { .nexthop = "lost.example:%u" }, { { 0 } },
	    "1 4.4.4 Host or domain name not found. Name service error for name=nowhere.example type=A: Host not found", NULL, "no MX host" },
	{ "smtp_bind_address = 192.0.2.77\n", { .nexthop = HOP }, { { 0 } }, "0 2.0.0", NULL, "bind 192.0.2.77" },
	{ "smtp_bind_address = 192.0.2.77\nsmtp_bind_address_enforce = yes\n", { .nexthop = HOP }, { { 0 } }, "1 4.", NULL, "bind 192.0.2.77" },
	{ "delay_logging_resolution_limit = 0\n", { .nexthop = HOP }, { { 0 } }, "0 2.0.0", NULL, "delays=0/0/0/0," },
	{ "known_tcp_ports = first=odd=1\nsmtp_tcp_port = odd\n", { .nexthop = "[127.0.0.1]" }, { { 0 } }, "1 4.4.1 connect to 127.0.0.1[127.0.0.1]:1:", NULL, NULL },
	{ "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options =\nsmtp_sasl_password_maps = static:u|p\nsmtp_sasl_password_result_delimiter = |\n",
	    { .nexthop = HOP }, { { NULL, "EHLO", "250-mx\r\n250 AUTH PLAIN\r\n" }, { NULL, "AUTH PLAIN AHUAcA==", "235 2.7.0 ok\r\n" }, { 0 } },
	    "0 2.0.0", "MAIL FROM:<a@client.example>\n", NULL },
	{ "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options =\nsmtp_sasl_password_maps = static:u:p\nsmtp_send_dummy_mail_auth = yes\n",
	    { .nexthop = HOP }, { { NULL, "EHLO", "250-mx\r\n250 AUTH PLAIN\r\n" }, { NULL, "AUTH PLAIN AHUAcA==", "235 2.7.0 ok\r\n" }, { 0 } },
	    "0 2.0.0", "MAIL FROM:<a@client.example> AUTH=<>\n", NULL },
	/* LMTP services have their own */
	{ "lmtp_discard_lhlo_keywords = size\n", { .service = "lmtp", .nexthop = "inet:127.0.0.1:%u" }, SIZE_10("LHLO"), "0 2.0.0", NULL, NULL },
	{ "lmtp_discard_lhlo_keyword_address_maps = inline:{ {127.0.0.1=size} }\n", { .service = "lmtp", .nexthop = "inet:127.0.0.1:%u" },
	    SIZE_10("LHLO"), "0 2.0.0", NULL, NULL },
	{ "lmtp_lhlo_name = other.example\n", { .service = "lmtp", .nexthop = "inet:127.0.0.1:%u" }, { { 0 } }, "0 2.0.0", "LHLO other.example\n", NULL },
	{ "lmtp_tcp_port = 1\n", { .service = "lmtp", .nexthop = "inet:127.0.0.1" }, { { 0 } }, "1 4.4.1 connect to 127.0.0.1[127.0.0.1]:1:", NULL, NULL },
	{ "lmtp_fallback_relay = nx.example\n", { .service = "lmtp", .nexthop = "inet:127.0.0.1:1" }, { { 0 } }, "1 4.3.5 Server configuration error", NULL,
	    "fallback_relay configuration problem" },
};

static void
effects_of_parameters(void **state)
{
	static const struct world_dns more[] = { { "sick.example", DNS_TYPE_MX, "!" }, { "sick.example", DNS_TYPE_A, "127.0.0.5" },
		{ "two.example", DNS_TYPE_MX, "20 mxb.example, 10 mxa.example" }, { "mxa.example", DNS_TYPE_A, "127.0.0.2" },
		{ "mxb.example", DNS_TYPE_A, "127.0.0.3" }, { "lost.example", DNS_TYPE_MX, "10 nowhere.example" }, { 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		const struct effect *e = &effects[i];
		struct world w;

		if (e->logged != NULL && (strstr(e->logged, "bind") != NULL || strstr(e->logged, "problem") != NULL ||
		    strstr(e->logged, "no MX") != NULL))
			expect_log(e->logged);
		world_open(&w, e->conf, NULL);
		w.dns = more;
		w.rules = e->rules;
		world_mail(&w, e->mail);
		assert_outcome(&w, 0, e->outcome);
		if (e->heard != NULL && span_find(buf_span(&w.heard), span_str(e->heard)) < 0)
			fail_msg("%s: heard\n%s", e->conf, buf_cstr(&w.heard));
		if (e->logged != NULL && !kit_logged(e->logged))
			fail_msg("%s: no line %s", e->conf, e->logged);
		world_close(&w);
	}
}

static void
long_lines_are_broken(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "smtp_line_length_limit = 20\n", NULL);
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .content = "A: b\r\n\r\n0123456789012345678901234\r\n" });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(span_find(buf_span(&w.content), SPAN("0123456789012345678901234")) < 0);
	assert_true(span_find(buf_span(&w.content), SPAN("0123456789")) > 0);
	world_close(&w);
}

/* Four messages to one place: how many connections. */
static void
limits_of_reuse(void **state)
{
	static const struct {
		const char *conf;
		unsigned connections;
	} rows[] = {
		{ "", 1 }, { "smtp_connection_cache_on_demand = no\n", 4 }, { "smtp_connection_reuse_count_limit = 2\n", 2 },
		{ "smtp_connection_reuse_time_limit = 0\n", 4 }, { "smtp_connection_cache_time_limit = 0\n", 4 },
		{ "connection_cache_ttl_limit = 0\n", 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		world_open(&w, rows[i].conf, NULL);
		for (int k = 0; k < 4; k++)
			world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
		if (w.connections != rows[i].connections)
			fail_msg("%s: %u connections", rows[i].conf, w.connections);
		world_close(&w);
	}
}

/* A server falls silent at one point: the limit for that step ends the wait. */
static void
silence(void **state)
{
	static const struct {
		const char *conf, *command, *outcome;
	} rows[] = {
		{ "smtp_mail_timeout = 1s\n", "MAIL", "timed out while sending MAIL FROM" },
		{ "smtp_rcpt_timeout = 1s\n", "RCPT", "timed out while sending RCPT TO" },
		{ "smtp_data_init_timeout = 1s\n", "DATA", "timed out while sending DATA command" },
		{ "smtp_data_done_timeout = 1s\n", ".", "timed out while sending end of data" },
		{ "smtp_tls_security_level = encrypt\nsmtp_starttls_timeout = 1s\n", "STARTTLS", "1 4.7.5 Cannot start TLS" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct world_rule rules[] = { { NULL, "EHLO", "250-mx.example\r\n250 STARTTLS\r\n" }, { NULL, rows[i].command, "" }, { 0 } };
		struct world w;

		world_open(&w, rows[i].conf, NULL);
		w.rules = rules;
		world_mail(&w, (struct world_mail){ .nexthop = HOP });
		assert_outcome(&w, 0, rows[i].outcome);
		world_close(&w);
	}
}

/* The message is through with; the connection does not outlive the limit, which is far below the usual one. */
static void
silence_afterwards(void **state)
{
	static const struct {
		const char *conf, *service, *command;
	} rows[] = {
		{ "smtp_quit_timeout = 1s\nsmtp_skip_quit_response = no\n", "smtp", "QUIT" },
		{ "lmtp_skip_quit_response = yes\n", "lmtp", "QUIT" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct world_rule rules[] = { { NULL, rows[i].command, "" }, { 0 } };
		struct world w;
		int64_t end = clock_mono_us() + 30 * US_PER_S;

		world_open(&w, rows[i].conf, NULL);
		w.rules = rules;
		world_mail(&w, (struct world_mail){ .service = rows[i].service,
		    .nexthop = rows[i].service[0] == 'l' ? "inet:127.0.0.1:%u" : HOP });
		while (w.closed == 0 && clock_mono_us() < end)
			loop_turn(w.loop, 100);
		if (w.closed == 0)
			fail_msg("%s: still connected; heard\n%s", rows[i].conf, buf_cstr(&w.heard));
		if (span_find(buf_span(&w.heard), span_str(rows[i].command)) < 0)
			fail_msg("%s: heard\n%s", rows[i].conf, buf_cstr(&w.heard));
		world_close(&w);
	}
}

/* A cached connection with an open transaction is asked first, for no longer than this; the usual limit is 20 s. */
static void
silence_of_a_cached_connection(void **state)
{
	static const struct world_rule refuses[] = { { NULL, "EHLO", "250 mx.example\r\n" }, { NULL, "RCPT", "550 5.1.1 no\r\n" }, { 0 } };
	static const struct world_rule silent[] = { { NULL, "RSET", "" }, { 0 } };
	struct world w;
	int64_t begun;

	(void)state;
	world_open(&w, "smtp_rset_timeout = 1s\n", NULL);
	w.rules = refuses;
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
	assert_outcome(&w, 0, "2 5.1.1");
	w.rules = silent;
	begun = clock_mono_us();
	world_mail(&w, (struct world_mail){ .nexthop = HOP, .backlog = true });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_true(span_find(buf_span(&w.heard), SPAN("RSET\n")) > 0);
	assert_true(clock_mono_us() - begun < 15 * US_PER_S);
	assert_int_equal(w.connections, 2);
	world_close(&w);
}

static void
lmtp_may_be_the_end(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "lmtp_assume_final = yes\n", NULL);
	world_mail(&w, (struct world_mail){ .service = "lmtp", .nexthop = "inet:127.0.0.1:%u", .notify = ENVELOPE_NOTIFY_SUCCESS });
	assert_outcome(&w, 0, "0 2.0.0");
	assert_int_equal(w.done.outcomes[0].flags, 2);
	world_close(&w);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(a_message_is_delivered),
	KIT_TEST(refusals),
	KIT_TEST(nobody_listens),
	KIT_TEST(mx_records_decide),
	KIT_TEST(the_best_of_many_mx_records),
	KIT_TEST(a_bogus_answer_is_not_a_no),
	KIT_TEST(the_next_server_gets_its_turn),
	KIT_TEST(the_last_server_decides),
	KIT_TEST(lists_of_next_hops),
	KIT_TEST(null_mx_and_lists_with_a_fallback_relay),
	KIT_TEST(a_fallback_relay_that_does_not_exist_is_our_mistake),
	KIT_TEST(connections_are_used_again),
	KIT_TEST(a_dead_cached_connection_is_no_failure),
	KIT_TEST(a_server_tired_of_a_connection_gets_a_new_one),
	KIT_TEST(a_soft_answer_on_a_cached_connection_is_final_without_other_servers),
	KIT_TEST(content_from_a_file),
	KIT_TEST(lmtp_answers_for_each),
	KIT_TEST(limits_of_a_server),
	KIT_TEST(eight_bits_become_seven),
	KIT_TEST(a_probe_ends_after_rcpt),
	KIT_TEST(login),
	KIT_TEST(generic_addresses),
	KIT_TEST(checks_and_filters),
	KIT_TEST(checks_look_at_their_own_part),
	KIT_TEST(checks_of_a_large_message),
	KIT_TEST(generic_addresses_of_a_very_long_header),
	KIT_TEST(folds_survive_a_replacement),
	KIT_TEST(what_checks_cannot_do_outside),
	KIT_TEST(own_services_have_their_own_parameters),
	KIT_TEST(many_at_once),
	KIT_TEST(effects_of_parameters),
	KIT_TEST(long_lines_are_broken),
	KIT_TEST(limits_of_reuse),
	KIT_TEST(silence),
	KIT_TEST(silence_afterwards),
	KIT_TEST(silence_of_a_cached_connection),
	KIT_TEST(lmtp_may_be_the_end),
};

KIT_MAIN(tests)
