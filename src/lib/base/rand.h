/* Random numbers from the kernel, buffered. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *p, size_t n);
/* Uniform in [0, below); 0 when `below` is 0. */
uint32_t rand_below(uint32_t below);
