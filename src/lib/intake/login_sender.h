/*
 * Which envelope senders a user of this host may give himself with the sendmail command
 * (local_login_sender_maps): one answer for the submission socket and the maildrop.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct asks;
struct maps;
struct params;

struct login_sender {
	struct span login;              /* UNIX login name; "" = this uid has none: the key is "uid:N" */
	unsigned long uid;
	struct span sender;             /* internal form; without a domain it is one of $myorigin */
};

/*
 * FOUND: allowed. ABSENT: not, or the login is not in the tables. A list holds "user@domain", "@domain", "*",
 * and the key for the empty sender; extensions of the sender do not count. WAIT and DEFER as for maps.
 */
enum map_result login_sender_allowed(const struct maps *m, const struct params *p, const struct login_sender *q,
    struct asks *asks, struct arena *a, struct fault *why);
