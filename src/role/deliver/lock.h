/* Locks on an mbox file: fcntl, flock and `.lock` files, each with a limit on waiting. */
#pragma once

#include "role/deliver/box.h"

/* Make PATH.lock; true when made, or not possible and optional (then `*made_r` is false). */
bool lock_dot(const char *path, const struct box_lock *how, bool *made_r, struct fault *why);
void lock_dot_remove(const char *path);
/* The locks that live on the open file; closing it ends them. */
bool lock_file(int fd, const struct box_lock *how, struct fault *why);
