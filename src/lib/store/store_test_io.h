/* Disks for tests: one that fails its n-th call, and one that writes down all that is done to it. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/panic.h"
#include "store/io.h"

/* Fails call number `fail_at` (from 0; -1 = none) that may fail with `error`; counts all of them. */
struct faulty {
	struct store_io io;
	int calls, fail_at, error;
	int from_then_on;               /* all later ones fail too */
	int syncs_only;                 /* count and fail syncs alone */
};

static inline bool
faulty_now(void *ctx, bool is_sync)
{
	struct faulty *f = ctx;
	int n;

	if (f->syncs_only != 0 && !is_sync)
		return false;
	n = f->calls++;
	return f->fail_at >= 0 && (n == f->fail_at || (f->from_then_on != 0 && n > f->fail_at));
}

static inline int
faulty_open(void *ctx, int dir, const char *path, int flags, mode_t mode)
{
	return faulty_now(ctx, false) ? -((struct faulty *)ctx)->error :
	    store_io_disk.open(NULL, dir, path, flags, mode);
}

static inline void
faulty_close(void *ctx, int fd)
{
	(void)ctx;
	store_io_disk.close(NULL, fd);
}

static inline ssize_t
faulty_pwritev(void *ctx, int fd, const struct iovec *v, int count, uint64_t off)
{
	struct iovec half = v[0];

	if (!faulty_now(ctx, false))
		return store_io_disk.pwritev(NULL, fd, v, count, off);
	/* a full disk takes a part first */
	half.iov_len /= 2;
	if (half.iov_len > 0)
		(void)store_io_disk.pwritev(NULL, fd, &half, 1, off);
	return -((struct faulty *)ctx)->error;
}

static inline ssize_t
faulty_pread(void *ctx, int fd, void *p, size_t n, uint64_t off)
{
	return faulty_now(ctx, false) ? -((struct faulty *)ctx)->error :
	    store_io_disk.pread(NULL, fd, p, n, off);
}

static inline int
faulty_start_write(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return 0;
}

static inline int
faulty_fdatasync(void *ctx, int fd)
{
	return faulty_now(ctx, true) ? -((struct faulty *)ctx)->error : store_io_disk.fdatasync(NULL, fd);
}

static inline int
faulty_fsync(void *ctx, int fd)
{
	return faulty_now(ctx, true) ? -((struct faulty *)ctx)->error : store_io_disk.fsync(NULL, fd);
}

static inline int
faulty_rename(void *ctx, int dir, const char *from, const char *to, bool replace)
{
	return faulty_now(ctx, false) ? -((struct faulty *)ctx)->error :
	    store_io_disk.rename(NULL, dir, from, to, replace);
}

static inline int
faulty_unlink(void *ctx, int dir, const char *path)
{
	return faulty_now(ctx, false) ? -((struct faulty *)ctx)->error :
	    store_io_disk.unlink(NULL, dir, path);
}

static inline int64_t
faulty_size(void *ctx, int fd)
{
	(void)ctx;
	return store_io_disk.size(NULL, fd);
}

static inline void
faulty_init(struct faulty *f, int fail_at, int error)
{
	*f = (struct faulty){ .fail_at = fail_at, .error = error };
	f->io = (struct store_io){ .open = faulty_open, .close = faulty_close, .pwritev = faulty_pwritev,
		.pread = faulty_pread, .start_write = faulty_start_write, .fdatasync = faulty_fdatasync,
		.fsync = faulty_fsync, .rename = faulty_rename, .unlink = faulty_unlink,
		.size = faulty_size, .ctx = f };
}
