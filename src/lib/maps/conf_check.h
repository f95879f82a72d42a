/*
 * Values that only tables and lists can judge: networks ("10.0.0.1/8" has host bits set), table lists ("/etc/virtual" has no
 * type), addresses to listen on. Looked at before anything starts or a reload takes effect, as processes could only die of them.
 */
#pragma once

#include "conf/conf.h"

/*
 * Each mistake of main.cf, and of what services of master.cf override, becomes an error of `report` with the place where it is set; texts are
 * copied. No table file is opened; names in inet_interfaces and proxy_interfaces are looked up, which may block.
 */
void maps_conf_check(const struct conf *c, struct conf_report *report);
