/* <agent>_delivery_status_filter: another code and text for an outcome. */
#pragma once

#include "base/log.h"
#include "maps/maps.h"

enum { STATUS_DSN_MAX = 10 };

/*
 * Look "code text" of an outcome up; `param` names the table in warnings. True: `dsn` and `text` are new ones. Success stays
 * success and failure failure; a table that cannot answer now changes nothing.
 */
bool status_filter(const struct maps *m, const char *param, const struct log *l, struct arena *a,
    char dsn[STATUS_DSN_MAX], struct span *text);
