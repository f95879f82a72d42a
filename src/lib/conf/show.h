/* The configuration as a list, for `signet conf` and `signet check`. */
#pragma once

#include "conf/conf.h"
#include "conf/table.h"

struct conf_item {
	const char *name;
	const char *value;              /* expanded; NULL = undefined */
	const char *raw;                /* as written, or the default's text */
	const char *file;               /* where it is set; NULL = default */
	unsigned line;
	bool overridden;                /* by -o of the service */
	const struct param_row *row;    /* NULL = a name of the administrator's own */
};

/* Every name this service sees, sorted. Free with conf_items_free. */
struct conf_item *conf_items(const struct conf_service *s, size_t *count_r);
void conf_items_free(struct conf_item **items);
/* Is it set in main.cf or master.cf? Processes know that only of parameters whose default depends on compatibility_level. */
bool conf_is_given(const struct conf_service *s, const char *name);
