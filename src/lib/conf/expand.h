/* $name, ${name}, ${name?yes}, ${name:no}, ${name?{yes}:{no}} and comparisons, for main.cf and for `raw` parameters at run time. */
#pragma once

#include "base/buf.h"
#include "base/fault.h"

/* The value of a name, or NULL when undefined; false stops the expansion (the callee reported why). */
typedef bool conf_lookup_fn(void *ctx, struct span name, const char **value_r);

/* Append the expansion of `raw`. False with `why` filled: bad syntax, too long, too deep. */
bool conf_expand(struct span raw, conf_lookup_fn *lookup, void *ctx, struct buf *out, struct fault *why);

/* Is this a compatibility level, x[.y[.z]]? */
bool conf_is_level(struct span s);
