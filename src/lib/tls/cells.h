/*
 * Small pieces of the TLS library's memory: a handshake takes and gives back some seven hundred. Cells of one size lie together, 64 kB of
 * them at a time, and what they are is written elsewhere: no byte of a cell, used or free, leads anywhere. The lowest free cell is
 * given first, so that what a crowd needed comes free as a whole and goes back to the kernel. Any thread may ask.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
	CELL_MOST = 4096,               /* bytes; what is larger lives among other memory */
	CELL_SPANS = 4096,              /* of 64 kB, at once: 256 MB; then pieces come from malloc() */
};

/* At least `n` bytes, aligned to 16, with whatever they held before but no secret; NULL: none left, no memory, or `n` not of that size. */
void *cell_take(size_t n);

/* Did cell_take() give `p`? Any pointer may be asked about; NULL is none. */
bool cell_is(const void *p);

/* How many bytes `p` has, not less than were asked for; cell_is(p). */
size_t cell_bytes(const void *p);

/* Gives `p` back and wipes it; cell_is(p). A cell that is free already, or no beginning of one, ends the process. */
void cell_give(void *p);
