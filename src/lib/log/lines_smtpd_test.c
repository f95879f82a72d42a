/* Golden lines of the SMTP server. */
#include "log/lines_smtpd.h"

#include <stdlib.h>
#include <time.h>

#include "kit/kit.h"

#define NAMADDR SPAN("mail.example[192.0.2.1]")
static const struct log queued = { .qid = "4dB6Tz0cRKzQ" }, none = { .qid = "NOQUEUE" };

static void
test_connection(void **state)
{
	const struct log_smtpd_count counts[] = { { "helo", 0, 0 }, { "ehlo", 1, 1 }, { "starttls", 1, 1 }, { "mail", 1, 1 },
		{ "rcpt", 1, 2 }, { "data", 0, 1 }, { "quit", 1, 1 } };

	(void)state;
	log_smtpd_connect(NULL, NAMADDR);
	assert_true(kit_logged("connect from mail.example[192.0.2.1]"));
	log_smtpd_disconnect(NULL, NAMADDR, counts, sizeof(counts) / sizeof(counts[0]), "");
	assert_true(kit_logged("disconnect from mail.example[192.0.2.1] ehlo=1 starttls=1 mail=1 rcpt=1/2 data=0/1 quit=1 commands=5/7"));
	log_smtpd_disconnect(NULL, NAMADDR, counts, 2, "bare_lf");
	assert_true(kit_logged("disconnect from mail.example[192.0.2.1] ehlo=1 commands=1 notes=bare_lf"));
	log_smtpd_ended(&none, "lost connection", "DATA (12 bytes)", NAMADDR);
	assert_true(kit_logged("NOQUEUE: lost connection after DATA (12 bytes) from mail.example[192.0.2.1]"));
	log_smtpd_ended(&queued, "too many errors", "RCPT", NAMADDR);
	assert_true(kit_logged("4dB6Tz0cRKzQ: too many errors after RCPT from mail.example[192.0.2.1]"));
}

static void
test_message(void **state)
{
	(void)state;
	log_smtpd_client(&queued, &(struct log_smtpd_client){ .namaddr = NAMADDR });
	assert_true(kit_logged("4dB6Tz0cRKzQ: client=mail.example[192.0.2.1]"));
	log_smtpd_client(&queued, &(struct log_smtpd_client){ .namaddr = NAMADDR, .sasl_method = SPAN("PLAIN"),
	    .sasl_username = SPAN("joe\n@b.example"), .sasl_sender = SPAN("ann@x.example") });
	assert_true(kit_logged("4dB6Tz0cRKzQ: client=mail.example[192.0.2.1], sasl_method=PLAIN, sasl_username=joe?@b.example, "
	    "sasl_sender=ann@x.example"));
	log_smtpd_client(&queued, &(struct log_smtpd_client){ .namaddr = NAMADDR, .orig_queue_id = SPAN("ABC"),
	    .orig_client = SPAN("o.example[192.0.2.9]") });
	assert_true(kit_logged("4dB6Tz0cRKzQ: client=mail.example[192.0.2.1], orig_queue_id=ABC, orig_client=o.example[192.0.2.9]"));
	log_smtpd_pickup(&queued, 1000, SPAN("joe"));
	assert_true(kit_logged("4dB6Tz0cRKzQ: uid=1000 from=<joe>"));
	log_smtpd_canceled(&queued);
	assert_true(kit_logged("4dB6Tz0cRKzQ: removed (canceled)"));
}

static void
test_actions(void **state)
{
	const struct log_smtpd_env full = { .sender = SPAN(""), .recipient = SPAN("b@y\n.example"), .have_sender = true,
		.have_recipient = true, .proto = SPAN("ESMTP"), .helo = SPAN("c") };
	const struct log_smtpd_env empty = { .proto = SPAN("") };

	(void)state;
	log_smtpd_action(&none, "reject", "RCPT", SPAN("unknown[192.0.2.1]"), SPAN("554 5.7.1 <b@y>: Relay access denied"), &full);
	assert_true(kit_logged("NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 554 5.7.1 <b@y>: Relay access denied; "
	    "from=<> to=<b@y?.example> proto=ESMTP helo=<c>"));
	log_smtpd_action(&none, "reject", "CONNECT", NAMADDR, SPAN("554 5.7.1 x"), &empty);
	assert_true(kit_logged("NOQUEUE: reject: CONNECT from mail.example[192.0.2.1]: 554 5.7.1 x;"));
}

static void
test_trouble(void **state)
{
	(void)state;
	log_smtpd_pipelining(NULL, "CONNECT", NAMADDR, SPAN("EHLO x\r\n\x01"));
	assert_true(kit_logged("improper command pipelining after CONNECT from mail.example[192.0.2.1]: EHLO x\\r\\n\\001"));
	expect_log("non-SMTP command from mail.example[192.0.2.1]: GET / HTTP/1.1");
	log_smtpd_not_smtp(NULL, NAMADDR, SPAN("GET / HTTP/1.1"));
	expect_log("improper XCLIENT command from mail.example[192.0.2.1]: Bad NAME syntax: a\\001b");
	log_smtpd_improper_x(NULL, true, NAMADDR, SPAN("Bad NAME syntax: a\x01" "b"));
	expect_log("improper XFORWARD command from mail.example[192.0.2.1]: insufficient authorization: smtpd_authorized_xforward_hosts does not list it");
	log_smtpd_improper_x(NULL, false, NAMADDR, SPAN(""));
	log_smtpd_discarding(NULL, SPAN("DSN CHUNKING"));
	assert_true(kit_logged("discarding EHLO keywords: DSN CHUNKING"));
	expect_log("Connection concurrency limit exceeded: 51 from mail.example[192.0.2.1] for service smtp");
	log_smtpd_limit(NULL, "Connection concurrency", 51, NAMADDR, "smtp");
	expect_log("hostname mail.example does not resolve to address 192.0.2.1: Name or service not known");
	log_smtpd_forged(NULL, SPAN("mail.example"), SPAN("192.0.2.1"), SPAN("Name or service not known"));
	expect_log("Wrapper-mode request dropped from mail.example[192.0.2.1] for service smtps. TLS context initialization failed.");
	log_smtpd_wrapper_dropped(NULL, NAMADDR, "smtps");
}

static void
test_sasl(void **state)
{
	(void)state;
	expect_log("mail.example[192.0.2.1]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=joe");
	log_smtpd_sasl_failed(NULL, NAMADDR, SPAN("login"), SPAN("(reason unavailable)"), SPAN("joe"));
	expect_log("mail.example[192.0.2.1]: SASL PLAIN authentication failed: Connection lost to authentication server, sasl_username=(unavailable)");
	log_smtpd_sasl_failed(NULL, NAMADDR, SPAN("PLAIN"), SPAN("Connection lost to authentication server"), SPAN(""));
	log_smtpd_sasl_aborted(NULL, NAMADDR, SPAN("aborted by the client"));
	assert_true(kit_logged("mail.example[192.0.2.1]: SASL authentication aborted: aborted by the client"));
}

static void
test_statistics(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	log_smtpd_statistics(NULL, "connection rate", 5, "/60s", "smtp", SPAN("192.0.2.1"), INT64_C(1795467060) * 1000000);
	assert_true(kit_logged("statistics: max connection rate 5/60s for (smtp:192.0.2.1) at Nov 23 20:51:00"));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_connection),
	KIT_TEST(test_message),
	KIT_TEST(test_actions),
	KIT_TEST(test_trouble),
	KIT_TEST(test_sasl),
	KIT_TEST(test_statistics),
};
KIT_MAIN(tests)
