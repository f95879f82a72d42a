/*
 * Time. Monotonic for waits, wall clock for what people read. Engines and stores
 * never call these: they are handed the time (tests pass their own).
 */
#pragma once

#include <stdint.h>

#define US_PER_S INT64_C(1000000)
#define US_PER_MS INT64_C(1000)

int64_t clock_mono_us(void);            /* monotonic, microseconds since some start */
int64_t clock_wall_us(void);            /* microseconds since 1970-01-01 UTC */
