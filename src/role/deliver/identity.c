/* Drop from root to one user, and prove it. */
#include "role/deliver/identity.h"

#include <errno.h>
#include <grp.h>
#include <unistd.h>

#include "base/fd.h"

bool
identity_allowed(const struct identity *id, uid_t mail_uid, struct fault *why)
{
	if (id->uid == 0)
		return fault_set(why, "4.3.5", "refusing to deliver with root's rights");
	if (geteuid() != 0) {
		if (id->uid == geteuid())
			return true;
		return fault_set(why, "4.3.5",
		    "cannot deliver as uid %ld: the mail system runs as uid %ld, without root's rights",
		    (long)id->uid, (long)geteuid());
	}
	if (id->gid == 0)
		return fault_set(why, "4.3.5", "refusing to deliver with root's group");
	if (id->uid == mail_uid)
		return fault_set(why, "4.3.5", "refusing to deliver with the mail system's rights");
	return true;
}

static bool
became(const struct identity *id)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	return getresuid(&r, &e, &s) == 0 && r == id->uid && e == id->uid && s == id->uid &&
	    getresgid(&rg, &eg, &sg) == 0 && rg == id->gid && eg == id->gid && sg == id->gid &&
	    setresuid((uid_t)-1, 0, (uid_t)-1) != 0;
}

bool
identity_become(const struct identity *id, struct fault *why)
{
	gid_t groups[2] = { id->gid, id->spool_gid };

	if (geteuid() != 0)
		return id->uid == geteuid() ||
		    fault_set(why, "4.3.5", "cannot become uid %ld", (long)id->uid);
	if (setgroups(id->spool_gid != 0 ? 2 : 1, groups) < 0 ||
	    setresgid(id->gid, id->gid, id->gid) < 0 ||
	    setresuid(id->uid, id->uid, id->uid) < 0)
		return fault_set(why, "4.3.0", "cannot become uid %ld: %s", (long)id->uid,
		    fd_error(-errno));
	return became(id) || fault_set(why, "4.3.0", "cannot become uid %ld", (long)id->uid);
}
