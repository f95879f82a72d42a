/* Mailbox locks: try, pause, try again, up to the configured number of times. */
#include "role/deliver/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static void
pause_ms(int64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static bool
dot_name(char *out, size_t size, const char *path)
{
	return snprintf(out, size, "%s.lock", path) < (int)size;
}

/* A lock file that nobody touched for `stale_s` was left by a program that died. */
static void
remove_stale(const char *name, int64_t stale_s)
{
	struct stat st;

	if (stale_s > 0 && lstat(name, &st) == 0 &&
	    st.st_mtim.tv_sec + stale_s < clock_wall_us() / US_PER_S)
		unlink(name);
}

bool
lock_dot(const char *path, const struct box_lock *how, bool *made_r, struct fault *why)
{
	char name[4096];
	int r = -ENAMETOOLONG;

	*made_r = false;
	if (dot_name(name, sizeof(name), path)) {
		for (unsigned i = 0; i == 0 || i < how->attempts; i++) {
			int fd = fd_open(AT_FDCWD, name, O_CREAT | O_EXCL | O_WRONLY, 0600);

			if (fd >= 0) {
				fd_close(&fd);
				*made_r = true;
				return true;
			}
			r = fd;
			if (r != -EEXIST)
				break;
			remove_stale(name, how->stale_s);
			if (i + 1 < how->attempts)
				pause_ms(how->pause_ms);
		}
	}
	if (r != -EEXIST && how->dotlock_optional)
		return true;
	return fault_set(why, "4.2.0", "unable to create lock file %s.lock: %s", path, fd_error(r));
}

void
lock_dot_remove(const char *path)
{
	char name[4096];

	if (dot_name(name, sizeof(name), path))
		unlink(name);
}

static int
try_locks(int fd, const struct box_lock *how)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (how->fcntl && fcntl(fd, F_SETLK, &whole) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	if (how->flock && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = -errno;

		/* Waiting with one lock in hand is how two programs wait for each other. */
		whole.l_type = F_UNLCK;
		fcntl(fd, F_SETLK, &whole);
		return r;
	}
	return 0;
}

bool
lock_file(int fd, const struct box_lock *how, struct fault *why)
{
	int r = -EAGAIN;

	for (unsigned i = 0; i == 0 || i < how->attempts; i++) {
		r = try_locks(fd, how);
		if (r != -EAGAIN && r != -EINTR)
			break;
		if (i + 1 < how->attempts)
			pause_ms(how->pause_ms);
	}
	if (r == 0)
		return true;
	return fault_set(why, "4.2.0", "unable to lock for exclusive access: %s", fd_error(r));
}
