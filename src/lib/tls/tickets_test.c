#include "tls/tickets.h"

#include "base/clock.h"
#include "kit/kit.h"

static void
begin(struct tls_ticket_line *t, uint8_t fill, int64_t now_us)
{
	uint8_t root[TLS_TICKET_ROOT_BYTES];

	memset(root, fill, sizeof(root));
	tls_ticket_line_init(t, 3600, root, now_us);
	for (size_t i = 0; i < sizeof(root); i++)
		assert_int_equal(root[i], 0);
}

static void
test_keys_step_back_and_fall_out(void **state)
{
	struct tls_ticket_line t;
	uint8_t first[TLS_TICKET_KEY_BYTES], second[TLS_TICKET_KEY_BYTES], root[TLS_TICKET_ROOT_BYTES];

	(void)state;
	begin(&t, 7, 1000);
	assert_int_equal(t.keys.count, 1);
	assert_int_equal(t.next_us, 1000 + 1800 * US_PER_S);
	memcpy(first, t.keys.key[0], sizeof(first));
	memcpy(root, t.root, sizeof(root));
	assert_false(tls_ticket_line_turn(&t, 999 + 1800 * US_PER_S));
	assert_memory_equal(t.keys.key[0], first, sizeof(first));
	assert_true(tls_ticket_line_turn(&t, 1000 + 1800 * US_PER_S));
	assert_int_equal(t.keys.count, 2);
	assert_memory_equal(t.keys.key[1], first, sizeof(first));
	assert_memory_not_equal(t.keys.key[0], first, sizeof(first));
	assert_memory_not_equal(t.root, root, sizeof(root));
	memcpy(second, t.keys.key[0], sizeof(second));
	assert_true(tls_ticket_line_turn(&t, 1000 + 3600 * US_PER_S));
	assert_memory_equal(t.keys.key[1], second, sizeof(second));
	/* an epoch was slept through: what would have expired meanwhile is gone */
	assert_true(tls_ticket_line_turn(&t, 1000 + 9 * 1800 * US_PER_S));
	assert_int_equal(t.keys.count, 1);
	for (size_t i = 0; i < TLS_TICKET_KEY_BYTES; i++)
		assert_int_equal(t.keys.key[1][i], 0);
	assert_false(tls_ticket_line_turn(&t, 1001 + 9 * 1800 * US_PER_S));
	tls_ticket_line_release(&t);
	for (size_t i = 0; i < sizeof(t); i++)
		assert_int_equal(((uint8_t *)&t)[i], 0);
}

/* The same root makes the same keys, another one none of them; names, cipher and HMAC keys differ. */
static void
test_keys_come_from_the_root(void **state)
{
	struct tls_ticket_line a, b, c;

	(void)state;
	begin(&a, 1, 0);
	begin(&b, 1, 5);
	begin(&c, 2, 0);
	assert_memory_equal(a.keys.key[0], b.keys.key[0], TLS_TICKET_KEY_BYTES);
	assert_memory_not_equal(a.keys.key[0], c.keys.key[0], TLS_TICKET_KEY_BYTES);
	tls_ticket_line_turn(&a, 1800 * US_PER_S);
	tls_ticket_line_turn(&b, 5 + 1800 * US_PER_S);
	assert_memory_equal(&a.keys, &b.keys, sizeof(a.keys));
	assert_memory_not_equal(a.keys.key[0] + 16, a.keys.key[0] + 48, 32);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_keys_step_back_and_fall_out),
	KIT_TEST(test_keys_come_from_the_root),
};
KIT_MAIN(tests)
