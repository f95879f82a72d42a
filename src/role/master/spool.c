/* Directories of the spool and the state, the lock, the log file, and systemd's readiness socket. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "role/master/master.h"
#include "store/store.h"

static bool
make_dir(const char *base, const char *name, mode_t mode, const struct passwd *owner, struct fault *why)
{
	char path[4096];
	int fd, r;

	snprintf(path, sizeof(path), "%s%s%s", base, *name != '\0' ? "/" : "", name);
	r = fd_mkdir(AT_FDCWD, path, mode);
	if (r < 0)
		return fault_set(why, NULL, "cannot make the directory %s: %s", path, fd_error(r));
	fd = fd_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fault_set(why, NULL, "cannot open the directory %s: %s", path, fd_error(fd));
	if (owner != NULL && fchown(fd, owner->pw_uid, owner->pw_gid) != 0)
		r = -errno;
	if (r == 0 && fchmod(fd, mode) != 0)
		r = -errno;
	fd_close(&fd);
	return r == 0 || fault_set(why, NULL, "cannot set owner and mode of %s: %s", path, fd_error(r));
}

static bool
take_lock(struct master *m, const char *dir, struct fault *why)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/master.lock", dir);
	m->lock_fd = fd_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0644);
	if (m->lock_fd < 0)
		return fault_set(why, NULL, "cannot open %s: %s", path, fd_error(m->lock_fd));
	if (flock(m->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return fault_set(why, NULL, "another signetd is running on data_directory %s (it holds %s)", dir, path);
	if (ftruncate(m->lock_fd, 0) == 0)
		dprintf(m->lock_fd, "%d\n", (int)getpid());
	return true;
}

bool
spool_prepare(struct master *m, struct fault *why)
{
	const struct params *p = m->conf->params;
	const struct passwd *owner = NULL;

	if (m->as_root) {
		owner = getpwnam(p->mail_owner);
		if (owner == NULL)
			return fault_set(why, NULL, "parameter mail_owner: there is no user \"%s\" "
			    "(make it with: useradd --system --no-create-home --shell /usr/sbin/nologin %s)",
			    p->mail_owner, p->mail_owner);
		if (owner->pw_uid == 0)
			return fault_set(why, NULL, "parameter mail_owner: \"%s\" is uid 0; name an unprivileged user",
			    p->mail_owner);
	}
	if (!make_dir(p->data_directory, "", 0755, owner, why) || !take_lock(m, p->data_directory, why) ||
	    !make_dir(p->data_directory, "maps", 0755, owner, why)) {
		fault_prefix(why, "data_directory");
		return false;
	}
	return store_prepare(p->queue_directory, owner != NULL ? owner->pw_uid : (uid_t)-1,
	    owner != NULL ? owner->pw_gid : (gid_t)-1, why);
}

static bool
maillog_allowed(const char *prefixes, struct span path)
{
	struct span rest = span_str(prefixes), prefix;

	while (span_token(&rest, ", \t\n", &prefix))
		if (span_starts(path, prefix))
			return true;
	return false;
}

int
maillog_open(struct master *m, struct fault *why)
{
	const char *path = m->conf->params->maillog_file;
	int fd;

	if (*path == '\0')
		return -1;
	if (!maillog_allowed(m->conf->params->maillog_file_prefixes, span_str(path))) {
		fault_set(why, NULL, "parameter maillog_file: %s begins with none of maillog_file_prefixes", path);
		return -1;
	}
	if (strcmp(path, "/dev/stdout") == 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = fd_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
	if (fd < 0)
		fault_set(why, NULL, "parameter maillog_file: cannot open %s: %s", path, fd_error(fd));
	return fd;
}

void
notify_systemd(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = path == NULL ? 0 : strlen(path);
	int fd;

	if (n == 0 || n >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, n);
	if (to.sun_path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	fd_close(&fd);
}
