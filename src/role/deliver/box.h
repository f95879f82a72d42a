/*
 * Writing one message into a Maildir or an mbox file. The caller has already become
 * the recipient; nothing here has more rights than that user. Whatever fails, no
 * part of a message is left where a reader looks.
 */
#pragma once

#include <sys/types.h>

#include "role/deliver/copy.h"

enum box_result {
	BOX_DONE,               /* on disk, file and directory synced */
	BOX_DEFER,              /* try again later; `why` has a 4.x.x code */
	BOX_BOUNCE,             /* over a limit; `why` has 5.2.2 */
};

struct box_message {
	struct span head;               /* written first, as it is: LF line ends */
	struct content content;
	uint64_t limit_bytes;           /* largest file; 0 = no limit */
	const char *host;               /* for names in a Maildir */
};

struct box_lock {
	bool fcntl, flock, dotlock;
	bool dotlock_optional;          /* a directory that takes no lock file is only warned about */
	unsigned attempts;
	int64_t pause_ms, stale_s;
};

struct box_mbox {
	const char *path;
	uid_t owner;
	bool strict_owner;              /* must belong to `owner` (strict_mailbox_ownership) */
	bool special_ok;                /* /dev/null and the like (file destinations of aliases) */
	struct box_lock lock;
};

/*
 * `path` is the Maildir without its trailing slash; directories that are missing are
 * made (0700), but never `base` or what is above it: a missing home is a deferral.
 */
enum box_result maildir_deliver(const char *path, const char *base, const struct box_message *m,
    struct fault *why);

/* `m->head` must begin with the "From " line. Removes what it wrote when anything fails. */
enum box_result mbox_deliver(const struct box_mbox *box, const struct box_message *m,
    struct fault *why);

/* The result and code of a failed write or create; `-errno` decides: quota bounces, the rest defers. */
enum box_result box_failed(int neg_errno, struct fault *why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
