/* Log levels of TLS. */
#include "log/tls_loglevel.h"

#include "kit/kit.h"

static void
test_levels(void **state)
{
	static const struct {
		const char *text;
		unsigned has, hasnt;
	} rows[] = {
		{ "", 0, ~0u },
		{ "0", 0, ~0u },
		{ "none", 0, ~0u },
		{ "1", LOG_TLS_SUMMARY, ~(unsigned)LOG_TLS_SUMMARY },
		{ "Routine", LOG_TLS_SUMMARY, LOG_TLS_PEERCERT },
		{ "2", LOG_TLS_SUMMARY | LOG_TLS_PEERCERT | LOG_TLS_CACHE | LOG_TLS_STEPS, LOG_TLS_UNTRUSTED | LOG_TLS_HANDSHAKE_BYTES },
		{ "3", LOG_TLS_HANDSHAKE_BYTES, LOG_TLS_ALL_BYTES },
		{ "4", LOG_TLS_HANDSHAKE_BYTES | LOG_TLS_ALL_BYTES, 0 },
		{ "9", LOG_TLS_ALL_BYTES, 0 },
		{ "summary, Untrusted peercert", LOG_TLS_SUMMARY | LOG_TLS_UNTRUSTED | LOG_TLS_PEERCERT, LOG_TLS_VERBOSE | LOG_TLS_STEPS },
		{ "verbose", LOG_TLS_VERBOSE | LOG_TLS_PEERCERT | LOG_TLS_CERTMATCH | LOG_TLS_DANE, LOG_TLS_SUMMARY },
		{ "peercert", LOG_TLS_PEERCERT | LOG_TLS_CERTMATCH, LOG_TLS_VERBOSE | LOG_TLS_DANE },
		{ "certmatch", LOG_TLS_PEERCERT | LOG_TLS_CERTMATCH, LOG_TLS_VERBOSE },
		{ "trace", LOG_TLS_MESSAGES, ~(unsigned)LOG_TLS_MESSAGES },
		{ "DANE,cache", LOG_TLS_DANE | LOG_TLS_CACHE, LOG_TLS_VERBOSE | LOG_TLS_PEERCERT },
	};
	struct fault why = { 0 };
	unsigned got;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(log_tls_level_parse(span_str(rows[i].text), &got, &why));
		if ((got & rows[i].has) != rows[i].has || (got & rows[i].hasnt) != 0)
			fail_msg("%s: %x", rows[i].text, got);
	}
	assert_false(log_tls_level_parse(SPAN("summary, loud"), &got, &why));
	assert_string_equal(why.text, "unknown TLS log level or feature \"loud\"");
	assert_false(log_tls_level_parse(SPAN("10"), &got, NULL));
}

static void
test_rate(void **state)
{
	struct log_tls_rate r = { 0 };
	const unsigned dump = LOG_TLS_SUMMARY | LOG_TLS_HANDSHAKE_BYTES | LOG_TLS_ALL_BYTES | LOG_TLS_MESSAGES;

	(void)state;
	assert_int_equal(log_tls_rate(&r, 2, 100, dump), dump);
	assert_int_equal(log_tls_rate(&r, 2, 100, LOG_TLS_SUMMARY), LOG_TLS_SUMMARY);   /* does not count */
	assert_int_equal(log_tls_rate(&r, 2, 100, dump), dump);
	assert_int_equal(log_tls_rate(&r, 2, 100, dump), LOG_TLS_SUMMARY);
	assert_int_equal(log_tls_rate(&r, 2, 101, dump), dump);
	assert_int_equal(log_tls_rate(&r, 2, 99, dump), dump);          /* the clock was set back */
	for (int i = 0; i < 9; i++)
		assert_int_equal(log_tls_rate(&r, 0, 99, dump), dump);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_rate),
	KIT_TEST(test_levels),
};

KIT_MAIN(tests)
