/*
 * The TLS library's memory: wiped when it is given back. The library itself wipes private keys, but not what sessions were encrypted
 * with (the state of a connection, a session written down for a ticket): that must not outlive them in a process that lives for weeks.
 */
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "tls/blocks.h"
#include "tls/cells.h"
#include "tls/library.h"

static void *
take(size_t n, const char *file, int line)
{
	void *p;

	(void)file;
	(void)line;
	p = n <= CELL_MOST ? cell_take(n) : block_take(n);
	return p != NULL ? p : malloc(n);
}

static void
give_back(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (cell_is(p)) {
		cell_give(p);
	} else if (block_is(p)) {
		block_give(p);
	} else if (p != NULL) {
		explicit_bzero(p, malloc_usable_size(p));
		free(p);
	}
}

static size_t
size_of(void *p)
{
	if (p == NULL)
		return 0;
	if (cell_is(p))
		return cell_bytes(p);
	return block_is(p) ? BLOCK_BYTES : malloc_usable_size(p);
}

/* Never by realloc(), which leaves the old bytes behind where it moves. */
static void *
take_more(void *p, size_t n, const char *file, int line)
{
	size_t old = size_of(p);
	void *fresh;

	if (n == 0) {
		give_back(p, file, line);
		return NULL;
	}
	if (n <= old)
		return p;
	fresh = take(n, file, line);
	if (fresh == NULL || p == NULL)
		return fresh;
	memcpy(fresh, p, old);
	give_back(p, file, line);
	return fresh;
}

bool
tls_library_wipes_memory(void)
{
	return CRYPTO_set_mem_functions(take, take_more, give_back) == 1;
}
