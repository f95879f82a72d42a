/* Giving up: ids, new privileges, the file system (Landlock), memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

struct confine_dir {
	const char *path;
	bool write;
};

bool confine_user_exists(const char *user);
/* `mail_owner`-`suffix` where the administrator made that user, else `mail_owner`. In a static buffer. */
const char *confine_user_for(const char *mail_owner, const char *suffix);
/* Become `user` for good (no supplementary groups). False with a fault when that cannot be done. */
bool confine_user(const char *user, struct fault *why);
/*
 * Landlock: nothing of the file system but what is below `dirs`. Returns false with a
 * reason where the kernel has none: the caller says so and goes on. Directories that do not exist are left out.
 */
bool confine_files(const struct confine_dir *dirs, size_t count, struct fault *why);
void confine_no_new_privs(void);
/* Data segment limit in bytes; no effect in sanitizer builds. */
void confine_memory(uint64_t bytes);
/* No core, no ptrace by the same user, /proc/PID/mem for root alone. */
void confine_no_dumps(void);
/*
 * The same, and all memory of this process, now and later, locked into RAM; before the ids
 * change. False with a reason when it cannot be locked: then what grows is not limited either.
 */
bool confine_secrets(bool as_root, struct fault *why);
/* As many descriptors as the hard limit allows; the new soft limit. */
uint64_t confine_raise_files(void);

/* Cores that this process may use, 1 or more: what taskset, systemd's AllowedCPUs or a container leave of the machine's. */
unsigned confine_cores(void);
