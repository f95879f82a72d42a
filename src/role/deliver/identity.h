/* Becoming the recipient: the only rights a delivery has are that user's own. */
#pragma once

#include <sys/types.h>

#include "base/fault.h"

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t spool_gid;        /* group that may write the mail spool directory; 0 = none */
};

/*
 * May a delivery run as `id`? Never as uid or gid 0, nor as `mail_uid`, the owner of the
 * queue. A process that is not root can only be itself.
 */
bool identity_allowed(const struct identity *id, uid_t mail_uid, struct fault *why);

/*
 * Groups, gid, uid, for good. Only in a child that does nothing else afterwards.
 * Secondary groups of the user are not taken, as in Postfix.
 */
bool identity_become(const struct identity *id, struct fault *why);
