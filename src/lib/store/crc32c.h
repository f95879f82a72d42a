/* CRC32C (Castagnoli), by the processor where it can. */
#pragma once

#include "base/span.h"

/* CRC of `s` going on from `crc` (0 to begin). */
uint32_t crc32c(uint32_t crc, struct span s);
