/* Golden delivery lines. */
#include "log/lines_smtp.h"

#include "kit/kit.h"

#define S INT64_C(1000000)

static void
delays_have_two_digits(void **state)
{
	static const struct {
		int64_t us;
		int resolution;
		const char *want;
	} rows[] = {
		{ 0, 2, "0" }, { 4000, 2, "0" }, { 5000, 2, "0.01" }, { 40000, 2, "0.04" }, { 123456, 2, "0.12" },
		{ 100000, 2, "0.1" }, { 999000, 2, "1" }, { 1234000, 2, "1.2" }, { 1040000, 2, "1" }, { 12345678, 2, "12" },
		{ 123 * S + 600000, 2, "124" }, { 1234, 6, "0.0012" }, { -5, 2, "0" }, { 1500000, 0, "2" },
		{ 9960000, 2, "10" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 64);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&b);
		log_delay(&b, rows[i].us, rows[i].resolution);
		assert_span(buf_span(&b), rows[i].want);
	}
	buf_release(&b);
}

static const struct log_delivery sent = {
	.to = { "b@example.org", 13 }, .relay = { "mx.example.org[192.0.2.1]:25", 28 }, .begun_us = 10 * S,
	.active_us = 10 * S + 60000, .handed_us = 10 * S + 80000, .connected_us = 11 * S, .done_us = 11 * S + 240000,
	.resolution = 2, .dsn = "2.0.0", .status = LOG_SENT, .reason = { "250 2.0.0 Ok: queued as X", 25 },
};

static void
a_sent_message(void **state)
{
	struct log l = { .qid = "ABC" };

	(void)state;
	log_delivered(&l, &sent);
	assert_true(kit_logged("ABC: to=<b@example.org>, relay=mx.example.org[192.0.2.1]:25, delay=1.2, "
	    "delays=0.06/0.02/0.92/0.24, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)"));
}

static void
every_field(void **state)
{
	struct log l = { .qid = "ABC" };
	struct log_delivery ev = sent;

	(void)state;
	ev.orig_to = SPAN("alias@example.org");
	ev.conn_use = 2;
	ev.tls = SPAN("may:none");
	log_delivered(&l, &ev);
	assert_true(kit_logged("ABC: to=<b@example.org>, orig_to=<alias@example.org>, relay=mx.example.org[192.0.2.1]:25, "
	    "conn_use=2, delay=1.2, delays=0.06/0.02/0.92/0.24, tls=may:none, dsn=2.0.0, status=sent ("));
}

static void
nobody_answered(void **state)
{
	struct log l = { .qid = "ABC" };
	struct log_delivery ev = { .to = SPAN("b@x"), .orig_to = SPAN("b@x"), .begun_us = S, .active_us = S, .handed_us = S,
		.done_us = 3 * S, .resolution = 2, .dsn = "4.4.1", .status = LOG_DEFERRED, .reason = SPAN("connect to x[::1]:25: Connection refused") };

	(void)state;
	log_delivered(&l, &ev);
	assert_true(kit_logged("ABC: to=<b@x>, relay=none, delay=2, delays=0/0/0/2, dsn=4.4.1, status=deferred "
	    "(connect to x[::1]:25: Connection refused)"));
	log_smtp_connect_failed(&l, SPAN("connect to x[::1]:25: Connection refused"));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(delays_have_two_digits),
	KIT_TEST(a_sent_message),
	KIT_TEST(every_field),
	KIT_TEST(nobody_answered),
};

KIT_MAIN(tests)
