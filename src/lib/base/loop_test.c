/* The loop: what time it is for whom it calls. */
#include "base/loop.h"

#include "base/clock.h"
#include "kit/kit.h"

static int64_t called_us;

static void
on_timer(void *ctx)
{
	called_us = loop_now_us(ctx);
}

/* In a process that does nothing else a timer is not called with the time from before its wait. */
static void
test_timer_knows_the_time(void **state)
{
	struct loop *l = loop_new();
	struct loop_timer t;
	int64_t begun_us = clock_mono_us();

	(void)state;
	loop_timer_init(&t, l, on_timer, l);
	loop_timer_set_ms(&t, 50);
	while (called_us == 0)
		loop_turn(l, 10000);
	assert_true(called_us >= begun_us + 50 * US_PER_MS);
	loop_timer_release(&t);
	loop_free(&l);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_timer_knows_the_time),
};
KIT_MAIN(tests)
