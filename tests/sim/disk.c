/*
 * The disk. The spool's calls go through a table (store/io.h), the roles' own writes through base/fd, which the linker
 * leads here (--wrap). Mailboxes are written by the real code of deliver, in this process and without becoming anybody.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "base/fd.h"
#include "mail/address.h"
#include "role/common/run.h"
#include "role/deliver/box.h"
#include "sim/sim.h"
#include "store/io.h"

/* What is wrong with one disk. */
struct disk {
	bool full;                      /* and says so when asked for its room */
	int write_error, sync_error;    /* negative errno; 0 = works */
	int64_t latency_us;
};

static struct disk spool, mail;
static bool in_mailbox, cut;

int __wrap_fd_write_all(int fd, const void *p, size_t n);
int __real_fd_write_all(int fd, const void *p, size_t n);
int __wrap_fd_pwrite_all(int fd, const void *p, size_t n, uint64_t off);
int __real_fd_pwrite_all(int fd, const void *p, size_t n, uint64_t off);
int __wrap_fd_fsync(int fd);
int __real_fd_fsync(int fd);
/* By the names that they have for large files. */
int __wrap_fstatvfs64(int fd, struct statvfs *st);
int __real_fstatvfs64(int fd, struct statvfs *st);
int __wrap_statvfs64(const char *path, struct statvfs *st);
int __real_statvfs64(const char *path, struct statvfs *st);

/* ---- the script */

const char *
disk_command(struct span which, struct span state, struct span rest)
{
	struct disk *d = span_eq(which, SPAN("spool")) ? &spool : &mail;
	uint64_t ms;

	if (span_eq(state, SPAN("ok")))
		*d = (struct disk){ 0 };
	else if (span_eq(state, SPAN("full")))
		*d = (struct disk){ .full = true, .write_error = -ENOSPC };
	else if (span_eq(state, SPAN("fills")))         /* there seemed to be room */
		*d = (struct disk){ .write_error = -ENOSPC };
	else if (span_eq(state, SPAN("broken")))
		*d = (struct disk){ .write_error = -EIO, .sync_error = -EIO };
	else if (span_eq(state, SPAN("unsynced")))
		*d = (struct disk){ .sync_error = -EIO };
	else if (span_eq(state, SPAN("slow")) && rest.n > 2 && span_ends(rest, SPAN("ms")) &&
	    span_u64(span_slice(rest, 0, rest.n - 2), 3600000, &ms))
		*d = (struct disk){ .latency_us = (int64_t)ms * US_PER_MS };
	else
		return "a disk is ok, full, fills, broken, unsynced or slow Nms";
	return NULL;
}

int64_t
disk_latency_us(void)
{
	return spool.latency_us;
}

void
disk_cut(bool on)
{
	cut = on;
}

/* ---- the spool's table */

static int
refused(bool is_sync)
{
	if (!cut && torture_now(TORTURE_CRASH))
		world_crash();
	if (cut)
		return -EIO;
	if (torture_now(is_sync ? TORTURE_FSYNC : TORTURE_WRITE))
		return is_sync ? -EIO : -ENOSPC;
	return is_sync ? spool.sync_error : spool.write_error;
}

static int
disk_open(void *ctx, int dir, const char *path, int flags, mode_t mode)
{
	int r = (flags & O_CREAT) != 0 ? refused(false) : 0;

	(void)ctx;
	return r < 0 ? r : store_io_disk.open(NULL, dir, path, flags, mode);
}

static void
disk_close(void *ctx, int fd)
{
	(void)ctx;
	store_io_disk.close(NULL, fd);
}

/* A disk that fills takes a part first. */
static ssize_t
disk_pwritev(void *ctx, int fd, const struct iovec *v, int count, uint64_t off)
{
	struct iovec half = { v[0].iov_base, v[0].iov_len / 2 };
	int r = refused(false);

	(void)ctx;
	if (r == 0)
		return store_io_disk.pwritev(NULL, fd, v, count, off);
	if (!cut && half.iov_len > 0)
		(void)store_io_disk.pwritev(NULL, fd, &half, 1, off);
	return r;
}

static ssize_t
disk_pread(void *ctx, int fd, void *p, size_t n, uint64_t off)
{
	(void)ctx;
	return store_io_disk.pread(NULL, fd, p, n, off);
}

static int
disk_start_write(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return 0;
}

static int
disk_sync(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return refused(true);           /* the files of a script need not survive the machine */
}

static int
disk_rename(void *ctx, int dir, const char *from, const char *to, bool replace)
{
	int r = refused(false);

	(void)ctx;
	return r < 0 ? r : store_io_disk.rename(NULL, dir, from, to, replace);
}

static int
disk_unlink(void *ctx, int dir, const char *path)
{
	(void)ctx;
	return cut ? -EIO : store_io_disk.unlink(NULL, dir, path);
}

static int64_t
disk_size(void *ctx, int fd)
{
	(void)ctx;
	return store_io_disk.size(NULL, fd);
}

const struct store_io disk_io = {
	.open = disk_open, .close = disk_close, .pwritev = disk_pwritev, .pread = disk_pread, .start_write = disk_start_write,
	.fdatasync = disk_sync, .fsync = disk_sync, .rename = disk_rename, .unlink = disk_unlink, .size = disk_size,
};

/* ---- base/fd: smtpd's and local's content files, and mailboxes */

static int
fd_refused(bool is_sync)
{
	if (!in_mailbox)
		return refused(is_sync);
	if (torture_now(is_sync ? TORTURE_FSYNC : TORTURE_WRITE))
		return is_sync ? -EIO : -ENOSPC;
	return is_sync ? mail.sync_error : mail.write_error;
}

int
__wrap_fd_write_all(int fd, const void *p, size_t n)
{
	int r = in_mailbox ? fd_refused(false) : 0;

	return r < 0 ? r : __real_fd_write_all(fd, p, n);
}

int
__wrap_fd_pwrite_all(int fd, const void *p, size_t n, uint64_t off)
{
	int r = fd_refused(false);

	return r < 0 ? r : __real_fd_pwrite_all(fd, p, n, off);
}

int
__wrap_fd_fsync(int fd)
{
	(void)fd;
	return fd_refused(true);
}

static int
room(int r, struct statvfs *st)
{
	if (r == 0)
		st->f_bavail = spool.full ? 0 : (fsblkcnt_t)(UINT64_C(1) << 40) / st->f_frsize;
	return r;
}

int
__wrap_fstatvfs64(int fd, struct statvfs *st)
{
	return room(__real_fstatvfs64(fd, st), st);
}

int
__wrap_statvfs64(const char *path, struct statvfs *st)
{
	return room(__real_statvfs64(path, st), st);
}

/* ---- the deliver role: mailboxes of virtual users */

static void
note_copy(const struct ipc_run_start *m)
{
	char *content = malloc(m->size + 1);
	struct span head, rest = m->head, line, to = SPAN(""), from = SPAN("");

	if (content == NULL || fd_pread_all(m->file, content, m->size, m->offset) < 0)
		sim_fail("cannot read what was delivered");
	while (span_cut(rest, '\n', &line, &rest)) {
		if (span_starts(line, SPAN("Delivered-To: ")))
			to = span_from(line, 14);
		if (span_starts(line, SPAN("Return-Path: <")) && span_cut(span_from(line, 14), '>', &head, &line))
			from = head;
	}
	claim_arrived(SPAN("mailbox"), true, from, to, span_of(content, m->size));
	free(content);
}

static void
on_run_start(void *ctx, struct ipc_from from, struct ipc_run_start *m)
{
	struct role *r = ctx;
	struct ipc_run_done done = { .result = RUN_DELIVERED };
	struct box_message message = { .head = m->head, .content = { m->file, m->offset, m->size }, .limit_bytes = m->limit_bytes,
		.host = "sim.example" };
	struct fault why = { 0 };
	enum box_result result;

	if (m->kind != RUN_MAILDIR)
		sim_fail("the simulator delivers into Maildirs only");
	in_mailbox = true;
	result = maildir_deliver(arena_cstr(sim_arena, m->path), arena_cstr(sim_arena, m->base), &message, &why);
	in_mailbox = false;
	if (result == BOX_DONE) {
		note_copy(m);
	} else {
		done.result = result == BOX_DEFER ? RUN_DEFERRED : RUN_BOUNCED;
		done.dsn = span_str(why.dsn);
		done.text = span_str(why.text);
	}
	ipc_reply_run_done(r->hub, from, &done);
}

const struct role_spec sim_deliver_role = { .role = IPC_ROLE_DELIVER, .on = { .run_start = on_run_start } };
