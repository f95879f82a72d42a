/* Descriptor calls: negative errno, EINTR retried. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/panic.h"

#define RETRY(call)                                        \
	({                                                 \
		ssize_t r_;                                \
		do                                         \
			r_ = (call);                       \
		while (r_ < 0 && errno == EINTR);          \
		r_ < 0 ? -(ssize_t)errno : r_;             \
	})

void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int
fd_open(int dir, const char *path, int flags, mode_t mode)
{
	return (int)RETRY(openat(dir, path, flags | O_CLOEXEC, mode));
}

ssize_t
fd_read(int fd, void *p, size_t n)
{
	return RETRY(read(fd, p, n));
}

ssize_t
fd_pread(int fd, void *p, size_t n, uint64_t off)
{
	return RETRY(pread(fd, p, n, (off_t)off));
}

ssize_t
fd_write(int fd, const void *p, size_t n)
{
	return RETRY(write(fd, p, n));
}

ssize_t
fd_writev(int fd, const struct iovec *v, int count)
{
	return RETRY(writev(fd, v, count));
}

int
fd_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t put = fd_write(fd, at, n);

		if (put < 0)
			return (int)put;
		at += put;
		n -= (size_t)put;
	}
	return 0;
}

int
fd_pwrite_all(int fd, const void *p, size_t n, uint64_t off)
{
	const char *at = p;

	while (n > 0) {
		ssize_t put = RETRY(pwrite(fd, at, n, (off_t)off));

		if (put < 0)
			return (int)put;
		at += put;
		n -= (size_t)put;
		off += (uint64_t)put;
	}
	return 0;
}

int
fd_pread_all(int fd, void *p, size_t n, uint64_t off)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = fd_pread(fd, at, n, off);

		if (got < 0)
			return (int)got;
		if (got == 0)
			return -ENODATA;
		at += got;
		n -= (size_t)got;
		off += (uint64_t)got;
	}
	return 0;
}

int
fd_read_file(int dir, const char *path, struct buf *b)
{
	int fd = fd_open(dir, path, O_RDONLY, 0);
	int result = 0;

	if (fd < 0)
		return fd;
	for (;;) {
		char chunk[16384];
		ssize_t got = fd_read(fd, chunk, sizeof(chunk));

		if (got <= 0) {
			result = (int)got;
			break;
		}
		if (!buf_add(b, chunk, (size_t)got)) {
			result = -EFBIG;
			break;
		}
	}
	fd_close(&fd);
	return result;
}

int
fd_fsync(int fd)
{
	return (int)RETRY(fsync(fd));
}

int
fd_fdatasync(int fd)
{
	return (int)RETRY(fdatasync(fd));
}

static int
change_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = (int)RETRY(fcntl(fd, get));

	if (flags < 0)
		return flags;
	return (int)RETRY(fcntl(fd, set, on ? flags | flag : flags & ~flag));
}

int
fd_nonblock(int fd, bool on)
{
	return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int
fd_cloexec(int fd, bool on)
{
	return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int
fd_stat(int fd, struct stat *st)
{
	return (int)RETRY(fstat(fd, st));
}

int
fd_stat_path(const char *path, struct stat *st)
{
	return (int)RETRY(stat(path, st));
}

int
fd_socketpair(int type, int pair_r[2])
{
	return (int)RETRY(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair_r));
}

int
fd_mkdir(int dir, const char *path, mode_t mode)
{
	int r = (int)RETRY(mkdirat(dir, path, mode));

	return r == -EEXIST ? 0 : r;
}

int
fd_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	return (int)RETRY(renameat(from_dir, from, to_dir, to));
}

int
fd_access(const char *path, int mode)
{
	return (int)RETRY(access(path, mode));
}

int
fd_set_owner(int fd, uid_t uid, gid_t gid, mode_t mode)
{
	int r = (int)RETRY(fchown(fd, uid, gid));

	/* behind fchown, which clears set-id bits */
	return r < 0 ? r : (int)RETRY(fchmod(fd, mode));
}

int
fd_sealed(const char *name, struct span s)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, s.p, s.n);
	if (r == 0)
		r = (int)RETRY(fcntl(fd, F_ADD_SEALS,
		    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
	if (r < 0) {
		fd_close(&fd);
		return r;
	}
	return fd;
}

const char *
fd_error(int neg_errno)
{
	return strerrordesc_np(neg_errno < 0 ? -neg_errno : neg_errno);
}
