/*
 * Every call by which the store touches the disk, as a table: tests hand in tables
 * that fail the n-th call, record a trace, or run out of space. Calls return 0 or more,
 * or a negative errno; none touches `errno` for the caller.
 */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "base/span.h"

struct store_io {
	int (*open)(void *ctx, int dir, const char *path, int flags, mode_t mode);
	void (*close)(void *ctx, int fd);
	ssize_t (*pwritev)(void *ctx, int fd, const struct iovec *v, int count, uint64_t off);
	ssize_t (*pread)(void *ctx, int fd, void *p, size_t n, uint64_t off);
	int (*start_write)(void *ctx, int fd);  /* begin writing pages out, do not wait; a hint */
	int (*fdatasync)(void *ctx, int fd);
	int (*fsync)(void *ctx, int fd);        /* directories, and files before their rename */
	int (*rename)(void *ctx, int dir, const char *from, const char *to, bool replace); /* else -EEXIST */
	int (*unlink)(void *ctx, int dir, const char *path);
	int64_t (*size)(void *ctx, int fd);
	void *ctx;
};

/* The real thing. */
extern const struct store_io store_io_disk;

/* All of `v` (which is used up) at `off`: 0 or -errno; a short write is tried on until it fails. */
int store_io_write_all(const struct store_io *io, int fd, struct iovec *v, int count, uint64_t off);
/* Exactly n bytes: 0, -ENODATA when the file ends before, or -errno. */
int store_io_read_all(const struct store_io *io, int fd, void *p, size_t n, uint64_t off);
