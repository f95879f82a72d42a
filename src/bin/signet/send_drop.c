/* Keeping a message in the maildrop: complete and on disk, or not there at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/rand.h"
#include "base/text.h"
#include "conf/params.h"
#include "mail/maildrop.h"
#include "signet/send.h"

/* The daemon takes a file for mail when its owner has made it executable (role/common/run.h). */
#define MODE_WRITING 0600
#define MODE_COMPLETE 0700

static int
write_head(struct send_mail *m, int fd)
{
	struct maildrop_head h = { .sender_given = m->sender_given, .full_name = m->full_name, .env = m->env };
	struct buf b;
	int r = -EFBIG;

	buf_init(&b, MAILDROP_HEAD_MAX);
	h.env.size = m->size;
	if (maildrop_write(&h, &b))
		r = fd_write_all(fd, b.p, b.n);
	buf_release(&b);
	return r;
}

static int
write_content(struct send_mail *m, int fd)
{
	char chunk[65536];
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && at < m->size) {
		size_t n = m->size - at < sizeof(chunk) ? (size_t)(m->size - at) : sizeof(chunk);

		r = fd_pread_all(m->fd, chunk, n, at);
		if (r == 0)
			r = fd_write_all(fd, chunk, n);
		at += n;
	}
	return r;
}

/* Everything, synced, and only then marked as complete; the name too is on disk when this returns 0. */
static int
fill(struct send_mail *m, int fd)
{
	int r = write_head(m, fd);

	if (r == 0)
		r = write_content(m, fd);
	if (r == 0)
		r = fd_fsync(fd);
	if (r == 0 && fchmod(fd, MODE_COMPLETE) < 0)
		r = -errno;
	/* The directory cannot be opened (nobody may list it), so its entry is synced with the file system. */
	if (r == 0 && syncfs(fd) < 0)
		r = -errno;
	return r;
}

/* A name that nobody can guess: others could wait for it and read its size, or try to be first. */
static void
make_path(const struct params *p, char *path, size_t size)
{
	unsigned char secret[16];
	struct buf hex;

	rand_bytes(secret, sizeof(secret));
	buf_init(&hex, 64);
	text_hex(&hex, span_of(secret, sizeof(secret)));
	snprintf(path, size, "%s/maildrop/%llx%s", p->queue_directory,
	    (unsigned long long)(clock_wall_us() / US_PER_S), buf_cstr(&hex));
	buf_release(&hex);
}

enum send_result
send_drop(struct send_mail *m, struct fault *why)
{
	char path[4096];
	int fd, r;

	make_path(m->p, path, sizeof(path));
	fd = fd_open(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, MODE_WRITING);
	if (fd < 0) {
		fault_set(why, "4.3.0", "cannot create a file in %s/maildrop: %s", m->p->queue_directory, fd_error(fd));
		return SEND_LATER;
	}
	r = fill(m, fd);
	fd_close(&fd);
	if (r == 0)
		return SEND_DONE;
	unlink(path);
	fault_set(why, "4.3.0", "cannot write to %s/maildrop: %s", m->p->queue_directory, fd_error(r));
	return SEND_LATER;
}
