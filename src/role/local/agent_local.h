/* The local agent in two halves: the facts that its planner asks for, and carrying the plan out. */
#pragma once

#include "role/local/delivery.h"

/* The planner's parameters and questions for the current recipient; MAP_WAIT until default_privs is known. */
enum map_result agent_local_plan(struct delivery *d, struct fault *why);

/* An address with $user, $home, ... in it (luser_relay, forward_path). False: bad syntax, logged. */
struct agent_names {
	struct delivery *d;
	const struct plan_user *user;           /* NULL: not known */
	struct span name, extension;
};
bool agent_local_expand(const struct agent_names *n, struct span raw, const char *filter, struct span *text_r);
