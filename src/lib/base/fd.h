/*
 * System calls on descriptors. Each returns 0 or more on success and a negative
 * errno on failure, and retries EINTR; nobody else in Signet touches `errno`.
 * Every descriptor is close-on-exec.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/buf.h"

/* Close and set to -1; harmless for -1. */
void fd_close(int *fd);

/* open(2) relative to `dir` (AT_FDCWD for none) with O_CLOEXEC added. A descriptor or -errno. */
int fd_open(int dir, const char *path, int flags, mode_t mode);

/* Up to n bytes: count, 0 at the end, -errno (-EAGAIN when nothing is there). */
ssize_t fd_read(int fd, void *p, size_t n);
ssize_t fd_pread(int fd, void *p, size_t n, uint64_t off);
ssize_t fd_write(int fd, const void *p, size_t n);
ssize_t fd_writev(int fd, const struct iovec *v, int count);
/* Everything or -errno (blocking descriptors). */
int fd_write_all(int fd, const void *p, size_t n);
int fd_pwrite_all(int fd, const void *p, size_t n, uint64_t off);
/* Exactly n bytes or -errno; -ENODATA when the file ends before. */
int fd_pread_all(int fd, void *p, size_t n, uint64_t off);

/* Whole file into `b` (up to its max; -EFBIG beyond). */
int fd_read_file(int dir, const char *path, struct buf *b);

int fd_fsync(int fd);
int fd_fdatasync(int fd);
int fd_nonblock(int fd, bool on);
int fd_cloexec(int fd, bool on);
int fd_stat(int fd, struct stat *st);
int fd_stat_path(const char *path, struct stat *st);     /* follows links */

/* A connected pair of non-blocking close-on-exec stream sockets. 0 or -errno. */
int fd_socketpair(int type, int pair_r[2]);

/* mkdir, 0 also when it is already there. */
int fd_mkdir(int dir, const char *path, mode_t mode);

int fd_rename(int from_dir, const char *from, int to_dir, const char *to);
/* access(2): R_OK and the like; 0 or -errno. */
int fd_access(const char *path, int mode);
/* Owner and mode of an open file. */
int fd_set_owner(int fd, uid_t uid, gid_t gid, mode_t mode);

/* A sealed memfd holding `s` (for configuration snapshots); descriptor or -errno. */
int fd_sealed(const char *name, struct span s);

/* Words for a negative errno, e.g. "No such file or directory". Static storage. */
const char *fd_error(int neg_errno);
