/* Known names, families of names, and suggestions for typing errors. */
#include "conf/table.h"

#include "kit/kit.h"

static void
every_row_is_found_by_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < param_count; i++)
		assert_ptr_equal(param_find(param_rows[i].name), &param_rows[i]);
	assert_null(param_find("smtp_tls_security_leve"));
	assert_null(param_find(""));
}

static void
every_row_has_text_and_a_default_in_range(void **state)
{
	(void)state;
	for (size_t i = 0; i < param_count; i++) {
		assert_true(strlen(param_rows[i].text) >= 5);
		assert_true(param_rows[i].min <= param_rows[i].max);
	}
}

static void
a_transport_parameter_finds_its_family(void **state)
{
	(void)state;
	assert_string_equal(param_find_pattern("maildrop_destination_recipient_limit")->name,
	    "*_destination_recipient_limit");
	assert_string_equal(param_find_pattern("maildrop_recipient_limit")->name, "*_recipient_limit");
	assert_string_equal(param_find_pattern("postscreen_greet_wait")->name, "postscreen_*");
	assert_null(param_find_pattern("_recipient_limit"));
	assert_null(param_find_pattern("my_own_name"));
}

static void
a_typing_error_gets_the_nearest_name(void **state)
{
	static const struct { const char *typed, *meant; } rows[] = {
		{ "smtpd_tls_securty_level", "smtpd_tls_security_level" },
		{ "mynetwork", "mynetworks" },
		{ "smtp_tls_CA_file", "smtp_tls_CAfile" },
		{ "lmtp_tls_verify_cert_mach", "lmtp_tls_verify_cert_match" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(param_nearest(rows[i].typed), rows[i].meant);
	assert_null(param_nearest("zzzzqqqqxxxx"));
	assert_null(param_nearest("x"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(every_row_is_found_by_its_name),
		KIT_TEST(every_row_has_text_and_a_default_in_range),
		KIT_TEST(a_transport_parameter_finds_its_family),
		KIT_TEST(a_typing_error_gets_the_nearest_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
