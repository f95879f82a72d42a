/* Finding restrictions and table types (table/words.tab). */
#include "conf/words.h"

#include <stddef.h>

static const struct word_row *
find(const struct word_row *rows, size_t n, struct span word)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_ci(span_str(rows[i].word), word))
			return &rows[i];
	return NULL;
}

const struct word_row *
word_restriction(struct span word)
{
	return find(word_restrictions, word_restriction_count, word);
}

const struct word_row *
word_table_type(struct span type)
{
	return find(word_table_types, word_table_type_count, type);
}

const struct word_row *
word_table_type_at(size_t n)
{
	return n < word_table_type_count ? &word_table_types[n] : NULL;
}

const char *
word_nearest_restriction(struct span word)
{
	unsigned best = (unsigned)(word.n / 4 + 2);
	const char *found = NULL;

	for (size_t i = 0; i < word_restriction_count; i++) {
		unsigned d = word_distance(word, span_str(word_restrictions[i].word));

		if (d < best) {
			best = d;
			found = word_restrictions[i].word;
		}
	}
	return found;
}

bool
word_next(struct span *rest, struct span *item_r)
{
	struct span s = *rest;
	size_t n = 0, level = 0;

	while (s.n > 0 && (ascii_isspace(s.p[0]) || s.p[0] == ','))
		s = span_from(s, 1);
	for (; n < s.n; n++) {
		if (level == 0 && (ascii_isspace(s.p[n]) || s.p[n] == ','))
			break;
		if (s.p[n] == '{')
			level++;
		else if (s.p[n] == '}' && level > 0)
			level--;
	}
	*item_r = span_slice(s, 0, n);
	*rest = span_from(s, n);
	return n > 0;
}
