/* Fuzz: a cdb file written by anyone. First byte: length of the key, then the key, then the file. */
#include "maps/cdb_read.h"

#include "base/fd.h"
#include "base/panic.h"
#include "maps/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
on_record(void *ctx, struct span key, struct span value)
{
	size_t *left = ctx;

	ensure(key.n + value.n <= MAPS_KEY_MAX + MAPS_VALUE_MAX);
	return (*left)-- > 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct cdb_file c;
	struct span key, value;
	struct arena *a;
	size_t records = 10000;
	int fd;

	if (n < 1 || n < 1u + p[0])
		return 0;
	key = span_of(p + 1, p[0]);
	fd = fd_sealed("cdb", span_of(p + 1 + p[0], n - 1 - p[0]));
	ensure(fd >= 0);
	if (!cdb_file_init(&c, fd, NULL))
		return 0;
	a = arena_new(1 << 20);
	if (cdb_file_find(&c, key, a, &value, NULL) == MAP_FOUND)
		ensure(value.n <= MAPS_VALUE_MAX);
	cdb_file_each(&c, on_record, &records, NULL);
	cdb_file_release(&c);
	arena_free(&a);
	return 0;
}
