/* EECDH grades: menus of curves, what they exclude, and the ClientHello's list of groups. */
#include "tls/server_groups.c"

#include "kit/kit.h"

static void
test_menus(void **state)
{
	static const struct {
		const char *name, *grade, *strong, *menu, *first;
	} rows[] = {
		{ "auto leaves the choice to the client", "auto", "prime256v1", "X25519 prime256v1 secp384r1", "" },
		{ "none, too: TLS 1.3 needs groups", "none", "prime256v1", "X25519 prime256v1 secp384r1", "" },
		{ "strong puts its curve first", "strong", "prime256v1", "prime256v1 X25519 secp384r1", "prime256v1" },
		{ "ultra puts its curve first", "ultra", "prime256v1", "secp384r1 X25519 prime256v1", "secp384r1" },
		{ "a list of one's own is the only one", "strong", "secp521r1, X448", "secp521r1 X448", "secp521r1 X448" },
		{ "other names of a curve are the same curve", "strong", "P-384 secp384r1 p-384", "P-384", "P-384" },
		{ "an empty list is no list", "strong", "", "X25519 prime256v1 secp384r1", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls_server_params p = { .eecdh_grade = rows[i].grade, .eecdh_strong_curve = rows[i].strong,
			.eecdh_ultra_curve = "secp384r1", .eecdh_auto_curves = "X25519, prime256v1, secp384r1" };
		struct buf menu, first;

		buf_init(&menu, LIST_MAX);
		buf_init(&first, LIST_MAX);
		build_menu(&p, &menu, &first);
		if (strcmp(buf_cstr(&menu), rows[i].menu) != 0 || strcmp(buf_cstr(&first), rows[i].first) != 0)
			fail_msg("%s: \"%s\", first \"%s\"", rows[i].name, buf_cstr(&menu), buf_cstr(&first));
		buf_release(&menu);
		buf_release(&first);
	}
}

static void
test_cipher_rules(void **state)
{
	static const struct {
		const char *grade;
		bool mandatory;
		const char *rules;
	} rows[] = {
		{ "auto", false, "" }, { "auto", true, ":!kRSA" }, { "none", false, ":!kEECDH" },
		{ "none", true, ":!kRSA:!kEECDH" }, { "strong", false, "" }, { "ultra", true, ":!kRSA" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls_server_params p = { .eecdh_grade = rows[i].grade, .mandatory = rows[i].mandatory };
		struct buf list;

		buf_init(&list, 256);
		tls_server_cipher_rules(&p, &list);
		assert_string_equal(buf_cstr(&list), rows[i].rules);
		buf_release(&list);
	}
}

static void
test_groups_of_the_client(void **state)
{
	static const uint8_t hello[] = { 0, 6, 0, 29, 0, 23, 0x11, 0xec };

	(void)state;
	assert_true(client_has(span_of(hello, sizeof(hello)), 29));
	assert_true(client_has(span_of(hello, sizeof(hello)), 23));
	assert_true(client_has(span_of(hello, sizeof(hello)), 0x11ec));
	assert_false(client_has(span_of(hello, sizeof(hello)), 24));
	/* cut anywhere, the list is no list */
	for (size_t n = 0; n < sizeof(hello); n++)
		assert_false(client_has(span_of(hello, n), 29));
	/* half a group at the end */
	assert_false(client_has(span_of("\0\3\0\35\0", 5), 23));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_menus),
	KIT_TEST(test_cipher_rules),
	KIT_TEST(test_groups_of_the_client),
};

KIT_MAIN(tests)
