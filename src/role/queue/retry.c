/* The retry schedule. */
#include "role/queue/retry.h"

int64_t
retry_next_us(const struct retry_params *p, int64_t arrival_us, int64_t now_us, uint32_t random)
{
	int64_t pause = now_us - arrival_us, spread;

	if (pause > p->backoff_max_us)
		pause = p->backoff_max_us;
	if (pause < p->backoff_min_us)
		pause = p->backoff_min_us;
	spread = pause / 4;
	return now_us + pause - spread / 2 + (int64_t)((double)spread * ((double)random / 4294967296.0));
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
