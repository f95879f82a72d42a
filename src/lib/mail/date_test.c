/* Tests of header dates. */
#include "mail/date.h"

#include <stdlib.h>
#include <time.h>

#include "kit/kit.h"

static void
test_dates_in_zones(void **state)
{
	static const struct {
		const char *zone;
		int64_t us;
		const char *text;
	} rows[] = {
		{ "UTC0", 0, "Thu, 1 Jan 1970 00:00:00 +0000 (UTC)" },
		{ "CET-1", 1763632800000000, "Thu, 20 Nov 2025 11:00:00 +0100 (CET)" },
		{ "EST5EDT,M3.2.0,M11.1.0", 1763632800999999, "Thu, 20 Nov 2025 05:00:00 -0500 (EST)" },
		{ "<+0545>-5:45", 1763632800000000, "Thu, 20 Nov 2025 15:45:00 +0545 (+0545)" },
		{ "NST3:30", 1763632800000000, "Thu, 20 Nov 2025 06:30:00 -0330 (NST)" },
	};
	struct arena *a = arena_new(65536);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		setenv("TZ", rows[i].zone, 1);
		tzset();
		assert_span(date_rfc5322(rows[i].us, a), rows[i].text);
	}
	assert_span(date_rfc5322_plain(0, a), "Wed, 31 Dec 1969 20:30:00 -0330");
	assert_span(date_compact(1763632800000000, a), "20251120100000");
	unsetenv("TZ");
	tzset();
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_dates_in_zones),
};
KIT_MAIN(tests)
