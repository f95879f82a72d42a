/* Table names inside configuration text: who has to be built, opened, served. */
#pragma once

#include "base/span.h"

/*
 * Every "TYPE:name" in `text` for one type (without colon), also inside braces and behind proxy:, in
 * order and as often as it stands there. `each` gets the whole label and the name.
 */
void scan_labels(struct span text, const char *type,
    void (*each)(void *ctx, struct span label, struct span name), void *ctx);
