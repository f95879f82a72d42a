/*
 * Values that only the TLS policy and the resolver of services can judge: cipher exclusions, fingerprints, server names, ports.
 * Looked at before anything starts or a reload takes effect, as the processes that deliver could only die of them.
 */
#pragma once

#include "conf/conf.h"

/* Each mistake in a smtp or lmtp service becomes an error of the report, with the place where it is set. */
void hop_conf_check(const struct conf *c, struct conf_report *report);
