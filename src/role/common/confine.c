/* The sandbox: ids, Landlock by raw system call, limits. */
#include "role/common/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* The address sanitizer maps terabytes of shadow memory: no limit fits it. */
#if defined(__SANITIZE_ADDRESS__)
#define NO_MEMORY_LIMIT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_MEMORY_LIMIT 1
#endif
#endif

bool
confine_user_exists(const char *user)
{
	return getpwnam(user) != NULL;
}

const char *
confine_user_for(const char *mail_owner, const char *suffix)
{
	static char own[80];

	snprintf(own, sizeof(own), "%s-%s", mail_owner, suffix);
	return confine_user_exists(own) ? own : mail_owner;
}

bool
confine_user(const char *user, struct fault *why)
{
	struct passwd *pw = getpwnam(user);

	if (pw == NULL)
		return fault_set(why, NULL, "there is no user \"%s\"", user);
	if (pw->pw_uid == 0)
		return fault_set(why, NULL, "user \"%s\" is uid 0: choose an unprivileged one", user);
	if (setgroups(0, NULL) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
		return fault_set(why, NULL, "cannot become user \"%s\": %s", user, fd_error(-errno));
	if (setresuid(0, 0, 0) == 0)
		return fault_set(why, NULL, "user \"%s\" can become root again", user);
	return true;
}

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_RIGHTS                                                                          \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                      \
	    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                    \
	    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK)
#define OTHER_RIGHTS                                                                          \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_FIFO | \
	    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif

static int
landlock_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static bool
add_dir(int ruleset, const struct confine_dir *d, uint64_t refer, struct fault *why)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = READ_RIGHTS | (d->write ? WRITE_RIGHTS | refer : 0),
	};
	int dir = fd_open(AT_FDCWD, d->path, O_PATH | O_DIRECTORY, 0);
	long r;

	if (dir < 0)
		return true;
	beneath.parent_fd = dir;
	r = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
	fd_close(&dir);
	return r == 0 || fault_set(why, NULL, "Landlock rule for %s: %s", d->path, fd_error(-errno));
}

bool
confine_files(const struct confine_dir *dirs, size_t count, struct fault *why)
{
	int abi = landlock_abi();
	uint64_t refer = abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
	struct landlock_ruleset_attr attr = { .handled_access_fs = READ_RIGHTS | WRITE_RIGHTS | OTHER_RIGHTS | refer };
	bool ok = true;
	int ruleset;

	if (abi < 1)
		return fault_set(why, NULL, "this kernel has no Landlock");
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return fault_set(why, NULL, "Landlock: %s", fd_error(-errno));
	for (size_t i = 0; ok && i < count; i++)
		ok = add_dir(ruleset, &dirs[i], refer, why);
	if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		ok = fault_set(why, NULL, "Landlock: %s", fd_error(-errno));
	fd_close(&ruleset);
	return ok;
}

void
confine_no_dumps(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

bool
confine_secrets(bool as_root, struct fault *why)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY }, now = { 0, 0 };

	confine_no_dumps();
#if defined(NO_MEMORY_LIMIT)
	(void)as_root;
	(void)why;
	return true;            /* nobody can lock the sanitizer's shadow memory */
#endif
	if (as_root)
		setrlimit(RLIMIT_MEMLOCK, &all);
	if (getrlimit(RLIMIT_MEMLOCK, &now) != 0 || now.rlim_cur != RLIM_INFINITY)
		return fault_set(why, NULL, "memory cannot be locked: the limit (ulimit -l) is %llu bytes",
		    (unsigned long long)now.rlim_cur);
	return mlockall(MCL_CURRENT | MCL_FUTURE) == 0 || fault_set(why, NULL, "memory cannot be locked: %s", fd_error(-errno));
}

void
confine_no_new_privs(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

void
confine_memory(uint64_t bytes)
{
#if !defined(NO_MEMORY_LIMIT)
	struct rlimit limit = { bytes, bytes };

	if (bytes > 0)
		setrlimit(RLIMIT_DATA, &limit);
#else
	(void)bytes;
#endif
}

uint64_t
confine_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

unsigned
confine_cores(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t may;

	if (sched_getaffinity(0, sizeof(may), &may) == 0 && CPU_COUNT(&may) > 0)
		return (unsigned)CPU_COUNT(&may);
	return online < 1 ? 1 : (unsigned)online;       /* more than 1024 cores */
}
