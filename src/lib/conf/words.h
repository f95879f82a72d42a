/* Words that appear inside values and have a state of their own: restrictions, table types. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "conf/table.h"

/* What stands behind a restriction word. */
enum word_argument { WORD_ALONE, WORD_TABLE, WORD_TEXT };

struct word_row {
	const char *word;
	enum word_argument argument;
	enum param_state state;
	const char *text;       /* what it does; for an old name: what to write instead */
};

/* From table/words.tab. */
extern const struct word_row word_restrictions[], word_table_types[];
extern const size_t word_restriction_count, word_table_type_count;

const struct word_row *word_restriction(struct span word);
const char *word_nearest_restriction(struct span word);
const struct word_row *word_table_type(struct span type);
/* The n-th known table type, NULL behind the last. */
const struct word_row *word_table_type_at(size_t n);

/* Edit distance; UINT_MAX for what is too long to compare. */
unsigned word_distance(struct span a, struct span b);

/*
 * Next item of a list that may hold tables: separated by blanks and commas, but
 * braces keep together what is inside ("inline:{ {a = b}, {c = d} }"). False at the end.
 */
bool word_next(struct span *rest, struct span *item_r);
