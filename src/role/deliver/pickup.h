/*
 * The maildrop: a directory where every user may put files and nobody but its owner
 * may look. Users are hostile: a file counts only when it is a regular file with one name.
 */
#pragma once

#include "base/fault.h"
#include "base/span.h"
#include "role/common/run.h"

struct pickup {
	int dir, aside;                 /* maildrop; maildrop.bad */
};

struct pickup_file {
	enum run_pickup state;
	int fd;                         /* read-only; the caller's */
	uint32_t uid;                   /* the file's owner: whose mail it is */
	uint64_t size, mtime_s;
	char why[256];
};

bool pickup_init(struct pickup *p, const char *queue_directory, struct fault *why);
void pickup_release(struct pickup *p);
/* Never blocks, never follows a link. */
void pickup_open(const struct pickup *p, struct span name, struct pickup_file *f_r);
/* Unlink it, or (`aside`) move it to maildrop.bad. */
void pickup_remove(const struct pickup *p, struct span name, bool aside);
