/*
 * Reading a constant database by bounds-checked pread: never mapped, because a file that is cut
 * short under a mapping kills its reader, and a short pread is only an answer of "defer".
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

#define CDB_HEADER_BYTES 2048u

struct cdb_file {
	int fd;                 /* owned; -1 = not open */
	uint64_t size;
	uint8_t header[CDB_HEADER_BYTES];
};

/* Takes `fd` over (closed on failure too). False when this cannot be a database. */
bool cdb_file_init(struct cdb_file *c, int fd, struct fault *why);
void cdb_file_release(struct cdb_file *c);      /* harmless twice; a zeroed one must have fd -1 */

/* FOUND with the value in `a`, ABSENT, or DEFER: truncated, damaged, unreadable, longer than MAPS_VALUE_MAX. */
enum map_result cdb_file_find(struct cdb_file *c, struct span key, struct arena *a,
    struct span *value_r, struct fault *why);

/* Every record in file order; `each` returns false to stop. False with a fault when the file is damaged. */
bool cdb_file_each(struct cdb_file *c, bool (*each)(void *ctx, struct span key, struct span value),
    void *ctx, struct fault *why);
