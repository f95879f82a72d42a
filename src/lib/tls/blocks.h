/*
 * Large blocks of the TLS library's memory: the buffers of a record and of a handshake (16 to 22 kB), which come and go with each read and write.
 * Among the small blocks that live as long as a session they would leave holes of their size, in a burst of handshakes more
 * than half of a process's memory. Here they have pages of their own; what is not needed goes back to the kernel. Any thread may ask.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
	BLOCK_BYTES = 24 * 1024,
	BLOCK_LEAST = 12 * 1024,        /* what is smaller lives among other memory */
	BLOCKS_MAX = 8192,              /* at once, 192 MB; then they come from malloc() as before */
	BLOCKS_KEPT = 64,               /* free ones that keep their pages, 1.5 MB */
};

/* A block for `n` bytes, with whatever it held before, or NULL: not of that size, none left, or no memory. */
void *block_take(size_t n);

/* Did block_take() give `p`? Any pointer may be asked about; NULL is none. */
bool block_is(const void *p);

/*
 * Gives `p` back; block_is(p). What it begins with is wiped: a command and its answer, logins among them. What lies behind is a
 * message, which is in a file, too.
 */
void block_give(void *p);
