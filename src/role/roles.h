/* The roles of the one binary, for signetd's table. */
#pragma once

#include "role/common/role.h"

struct conf;
struct conf_report;

extern const struct role_spec log_role, smtpd_role, queue_role, smtpc_role, resolver_role, lookup_role, local_role,
    deliver_role, control_role, keeper_role;

struct master_options {
	const char *config_dir;         /* absolute */
	const char *program;            /* our own path, for exec */
	bool check_only;
	/* What roles find wrong in a configuration before they have to work with it; master knows no role. */
	void (*judge)(const struct conf *conf, struct conf_report *report);
};

/* master's main(): exit status. */
int master_main(const struct master_options *o);
