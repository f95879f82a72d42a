/* The store's disk calls on the real disk. */
#include "store/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"

enum { SYSCALL_PIECES = 16 };

static int
disk_open(void *ctx, int dir, const char *path, int flags, mode_t mode)
{
	(void)ctx;
	return fd_open(dir, path, flags, mode);
}

static void
disk_close(void *ctx, int fd)
{
	(void)ctx;
	fd_close(&fd);
}

static ssize_t
disk_pwritev(void *ctx, int fd, const struct iovec *v, int count, uint64_t off)
{
	ssize_t n;

	(void)ctx;
	do
		n = pwritev(fd, v, count, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t
disk_pread(void *ctx, int fd, void *p, size_t n, uint64_t off)
{
	(void)ctx;
	return fd_pread(fd, p, n, off);
}

static int
disk_start_write(void *ctx, int fd)
{
	(void)ctx;
	return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : -errno;
}

static int
disk_fdatasync(void *ctx, int fd)
{
	(void)ctx;
	return fd_fdatasync(fd);
}

static int
disk_fsync(void *ctx, int fd)
{
	(void)ctx;
	return fd_fsync(fd);
}

static int
disk_rename(void *ctx, int dir, const char *from, const char *to, bool replace)
{
	(void)ctx;
	return renameat2(dir, from, dir, to, replace ? 0 : RENAME_NOREPLACE) == 0 ? 0 : -errno;
}

static int
disk_unlink(void *ctx, int dir, const char *path)
{
	(void)ctx;
	return unlinkat(dir, path, 0) == 0 ? 0 : -errno;
}

static int64_t
disk_size(void *ctx, int fd)
{
	struct stat st;
	int r = fd_stat(fd, &st);

	(void)ctx;
	return r < 0 ? r : (int64_t)st.st_size;
}

const struct store_io store_io_disk = {
	.open = disk_open,
	.close = disk_close,
	.pwritev = disk_pwritev,
	.pread = disk_pread,
	.start_write = disk_start_write,
	.fdatasync = disk_fdatasync,
	.fsync = disk_fsync,
	.rename = disk_rename,
	.unlink = disk_unlink,
	.size = disk_size,
};

/* Forget the first n bytes of `v`. */
static void
advance(struct iovec **v, int *count, size_t n)
{
	while (*count > 0 && n >= (*v)->iov_len) {
		n -= (*v)->iov_len;
		(*v)++;
		(*count)--;
	}
	if (*count > 0) {
		(*v)->iov_base = (char *)(*v)->iov_base + n;
		(*v)->iov_len -= n;
	}
}

int
store_io_write_all(const struct store_io *io, int fd, struct iovec *v, int count, uint64_t off)
{
	advance(&v, &count, 0);
	while (count > 0) {
		ssize_t n = io->pwritev(io->ctx, fd, v, count < SYSCALL_PIECES ? count : SYSCALL_PIECES, off);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ENOSPC;
		off += (uint64_t)n;
		advance(&v, &count, (size_t)n);
	}
	return 0;
}

int
store_io_read_all(const struct store_io *io, int fd, void *p, size_t n, uint64_t off)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = io->pread(io->ctx, fd, (char *)p + got, n - got, off + got);

		if (r < 0)
			return (int)r;
		if (r == 0)
			return -ENODATA;
		got += (size_t)r;
	}
	return 0;
}
