/* Kernel randomness. */
#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/panic.h"

void
rand_bytes(void *p, size_t n)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			panic("getrandom");
		at += got;
		n -= (size_t)got;
	}
}

uint32_t
rand_below(uint32_t below)
{
	uint64_t x;

	if (below == 0)
		return 0;
	rand_bytes(&x, sizeof(x));
	return (uint32_t)(x % below);
}
