/* The retry schedule. */
#include "role/queue/retry.h"

static int64_t
within(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

int64_t
retry_next_us(const struct retry_params *p, int64_t arrival_us, int64_t now_us, uint32_t random)
{
	int64_t least = p->backoff_min_us, most = p->backoff_max_us > least ? p->backoff_max_us : least;
	int64_t pause = within(now_us - arrival_us, least, most), spread = pause / 4;
	int64_t from = within(pause - spread / 2, least, most - spread > least ? most - spread : least);
	int64_t until = within(from + spread, least, most);

	return now_us + from + (int64_t)((double)(until - from) * ((double)random / 4294967296.0));
}

bool
retry_expired(const struct retry_params *p, int64_t arrival_us, int64_t now_us)
{
	return now_us - arrival_us >= p->lifetime_us;
}

bool
retry_warn(const struct retry_params *p, int64_t arrival_us, int64_t now_us)
{
	return p->warning_us > 0 && now_us - arrival_us >= p->warning_us;
}
