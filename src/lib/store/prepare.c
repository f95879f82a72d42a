/* Laying out a spool directory, and refusing one that is somebody else's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "store/store_private.h"

static const char marker_text[] = "This directory is the mail spool of Signet (format 1). Do not put other files here.\n";

static const struct {
	const char *name;
	mode_t mode;
	bool owned;             /* by the mail owner; else by whoever prepares */
} layout[] = {
	{ "mail", 0700, true }, { "tmp", 0700, true }, { "corrupt", 0700, true },
	{ "maildrop", 01733, true },    /* everybody puts files there, nobody lists them */
	{ "public", 0755, false },
};

/* The first name in the directory that a spool of ours would not have; "" when there is none. */
static void
first_stranger(int dir, char name_r[256])
{
	int copy = fd_open(dir, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *e;

	name_r[0] = '\0';
	while (d != NULL && name_r[0] == '\0' && (e = readdir(d)) != NULL) {
		bool known = e->d_name[0] == '.' || span_eq(span_str(e->d_name), SPAN("lost+found"));

		for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]); i++)
			known |= span_eq(span_str(e->d_name), span_str(layout[i].name));
		if (!known)
			snprintf(name_r, 256, "%s", e->d_name);
	}
	if (d != NULL)
		closedir(d);
	else
		fd_close(&copy);
}

/* A directory without our marker: fine when empty. */
static bool
check_unmarked(int fd, const char *dir, struct fault *why)
{
	struct stat st;
	char name[256];

	if (fstatat(fd, "active", &st, 0) == 0 && fstatat(fd, "incoming", &st, 0) == 0)
		return fault_set(why, "4.3.0", "queue_directory %s holds a Postfix queue, which Signet never touches: "
		    "set another queue_directory (Postfix can deliver what is left in this one), "
		    "or empty it and remove its directories", dir);
	first_stranger(fd, name);
	return name[0] == '\0' || fault_set(why, "4.3.0",
	    "queue_directory %s is not empty (\"%s\") and not marked as a spool of Signet", dir, name);
}

static int
make_owned(int fd, const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	int r = fd_mkdir(fd, name, mode);

	if (r == 0 && fchownat(fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
		r = -errno;
	if (r == 0 && fchmodat(fd, name, mode, 0) != 0)
		r = -errno;
	return r;
}

/*
 * Ask ext2..4 to spread the directories below over the disk (chattr +T): each then takes its inodes from a group of its
 * own. In one group every create would search past all that was removed of late, which costs more than the create
 * where the file system has no journal. A file system that does not know the wish is none the worse.
 */
static void
spread(int fd, const char *name)
{
	int dir = fd_open(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int flags;

	if (dir >= 0 && ioctl(dir, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_TOPDIR_FL) == 0) {
		flags |= FS_TOPDIR_FL;
		ioctl(dir, FS_IOC_SETFLAGS, &flags);
	}
	if (dir >= 0)
		fd_close(&dir);
}

static int
make_all(int fd, uid_t uid, gid_t gid)
{
	char name[16];
	int r = 0;

	for (size_t i = 0; i < sizeof(layout) / sizeof(layout[0]) && r == 0; i++)
		r = make_owned(fd, layout[i].name, layout[i].mode, layout[i].owned ? uid : (uid_t)-1,
		    layout[i].owned ? gid : (gid_t)-1);
	spread(fd, "mail");
	for (unsigned i = 0; i < FLAT_DIRS && r == 0; i++) {
		snprintf(name, sizeof(name), "mail/%02x", i);
		r = make_owned(fd, name, 0700, uid, gid);
	}
	return r;
}

/* The marker comes last: a directory that has it is complete. */
static int
make_marker(int fd, uid_t uid, gid_t gid)
{
	int r, m = fd_open(fd, STORE_MARKER, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);

	if (m < 0)
		return m;
	r = fd_write_all(m, marker_text, sizeof(marker_text) - 1);
	if (r == 0 && fchown(m, uid, gid) != 0)
		r = -errno;
	if (r == 0)
		r = fd_fsync(m);
	fd_close(&m);
	return r < 0 ? r : fd_fsync(fd);
}

/* The folder that everything is in: its owner must reach it, and nobody else may put another in its place. */
static bool
check_door(int fd, const char *dir, uid_t uid, gid_t gid, struct fault *why)
{
	struct stat st;
	mode_t need;

	if (fd_stat(fd, &st) < 0)
		return true;            /* whoever uses it will say so */
	need = st.st_uid == uid ? 0100 : st.st_gid == gid ? 0010 : 0001;
	if (uid != (uid_t)-1 && uid != 0 && !(st.st_mode & need))
		return fault_set(why, "4.3.0", "queue_directory %s: owner %u and mode %03o keep uid %u out of it; run: chown root %s && chmod 755 %s", dir,
		    (unsigned)st.st_uid, (unsigned)st.st_mode & 0777, (unsigned)uid, dir, dir);
	if ((st.st_mode & 0002) && !(st.st_mode & S_ISVTX))
		return fault_set(why, "4.3.0", "queue_directory %s: everybody may write into it and so put another queue in its place; run: chmod 755 %s", dir,
		    dir);
	return true;
}

bool
store_prepare(const char *dir, uid_t uid, gid_t gid, struct fault *why)
{
	struct stat st;
	bool marked, ok = true;
	int r, fd = fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd == -ENOENT) {
		r = fd_mkdir(AT_FDCWD, dir, 0755);
		fd = r < 0 ? r : fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	}
	if (fd < 0)
		return fault_set(why, "4.3.0", "queue_directory %s: %s; name a directory that exists or can be made", dir, fd_error(fd));
	if (!check_door(fd, dir, uid, gid, why)) {
		fd_close(&fd);
		return false;
	}
	marked = fstatat(fd, STORE_MARKER, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!marked)
		ok = check_unmarked(fd, dir, why);
	if (ok) {
		r = make_all(fd, uid, gid);
		r = r < 0 ? r : make_marker(fd, uid, gid);
		ok = r == 0 || fault_set(why, "4.3.0", "queue_directory %s: %s", dir, fd_error(r));
	}
	fd_close(&fd);
	return ok;
}

void
store_empty_dir(int dir, const char *name)
{
	int fd = fd_open(dir, name, O_RDONLY | O_DIRECTORY, 0);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			unlinkat(fd, e->d_name, 0);
	if (d != NULL)
		closedir(d);
	else
		fd_close(&fd);
}
