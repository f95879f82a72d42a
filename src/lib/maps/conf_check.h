/*
 * Values that only tables and lists can judge: networks ("10.0.0.1/8" has host bits set), table lists ("/etc/virtual" has no
 * type), addresses to listen on. Looked at before anything starts or a reload takes effect, as processes could only die of them.
 */
#pragma once

#include "conf/conf.h"

/* Each mistake becomes an error of the report, with the place where it is set. No table file is opened. */
void maps_conf_check(const struct conf *c, struct conf_report *report);
