/*
 * Queue ids, Postfix's long form: seconds in base 52 (six digits or more),
 * microseconds in base 52 (four), 'z', a number in base 51. Unique as long as no two
 * makers share a tag and a maker never repeats a (time, tag) pair.
 */
#pragma once

#include "base/span.h"

#define QID_MAX 24      /* with its NUL */

/* `tag` is the maker's slot and counter (it decides uniqueness together with the time). */
void qid_make(int64_t wall_us, uint64_t tag, char out[QID_MAX]);

/* A long id as above, or a short one (hexadecimal capitals); safe as a file name. */
bool qid_valid(struct span s);

/* When the id was made, in microseconds; 0 for short ids. */
int64_t qid_time_us(struct span s);
