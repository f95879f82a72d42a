/*
 * The script's clock. These functions stand in front of the C library's, for libevent and OpenSSL, too: the loop
 * believes that it waits, and each wait ends at once with the clock moved on.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "sim/sim.h"

enum { BUSY_MS = 20, SPIN_TURNS = 200000 };
#define START_MONO INT64_C(1000000000)
#define START_WALL INT64_C(1790000000000000)    /* kit/certs.h is valid around it */

static int64_t since_start_us, goal_us = -1;
static unsigned turns;                  /* without time passing */
static struct loop *running;
static bool (*is_busy)(void);
static uint64_t state = 1;

int clock_gettime(clockid_t id, struct timespec *ts);
int gettimeofday(struct timeval *restrict tv, void *restrict zone);
int __wrap_nanosleep(const struct timespec *t, struct timespec *rest);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags);

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	bool wall = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE;
	int64_t us = since_start_us + (wall ? START_WALL : START_MONO);

	ts->tv_sec = us / US_PER_S;
	ts->tv_nsec = us % US_PER_S * 1000;
	return 0;
}

time_t
time(time_t *t_r)
{
	time_t t = (time_t)((since_start_us + START_WALL) / US_PER_S);

	if (t_r != NULL)
		*t_r = t;
	return t;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	int64_t us = since_start_us + START_WALL;

	(void)zone;
	*tv = (struct timeval){ .tv_sec = us / US_PER_S, .tv_usec = us % US_PER_S };
	return 0;
}

static int
wait_really(int ep, struct epoll_event *events, int max, int ms)
{
	return (int)syscall(SYS_epoll_wait, ep, events, max, ms);
}

/* Nothing is ready: the time until the next timer passes at once, but not beyond what the script asked for. */
static void
pass(int timeout_ms)
{
	int64_t next = timeout_ms < 0 ? INT64_MAX : since_start_us + timeout_ms * US_PER_MS;

	turns = 0;
	if (next <= goal_us) {
		since_start_us = next;
		return;
	}
	if (since_start_us < goal_us)
		since_start_us = goal_us;
	loop_stop(running);
}

int
epoll_wait(int ep, struct epoll_event *events, int max, int timeout_ms)
{
	int n = wait_really(ep, events, max, 0);

	if (running != NULL && ++turns > SPIN_TURNS)
		sim_fail("the loop spins at %s", sim_time_text(since_start_us));
	if (n != 0 || running == NULL)
		return n;
	if (is_busy != NULL && is_busy())
		return wait_really(ep, events, max, timeout_ms >= 0 && timeout_ms < BUSY_MS ? timeout_ms : BUSY_MS);
	if (timeout_ms != 0)
		pass(timeout_ms);
	return 0;
}

void
clock_run_until(struct loop *l, int64_t until_us)
{
	goal_us = until_us;
	running = l;
	loop_run(l);
	running = NULL;
	world_bury();
}

int64_t
clock_since_start_us(void)
{
	return since_start_us;
}

void
clock_set_busy(bool (*busy)(void))
{
	is_busy = busy;
}

/* A sleep of ours is time, too. */
int
__wrap_nanosleep(const struct timespec *t, struct timespec *rest)
{
	(void)rest;
	since_start_us += t->tv_sec * US_PER_S + t->tv_nsec / 1000;
	return 0;
}

/* ---- randomness, for our own code: splitmix64 */

void
clock_seed(uint64_t seed)
{
	state = seed;
}

ssize_t
__wrap_getrandom(void *p, size_t n, unsigned flags)
{
	uint8_t *at = p;

	(void)flags;
	for (size_t i = 0; i < n; i++) {
		uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		at[i] = (uint8_t)(z ^ z >> 31);
	}
	return (ssize_t)n;
}
