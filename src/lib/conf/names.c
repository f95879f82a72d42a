/* Finding parameters by name: exact, by pattern, and the nearest one to a name that nobody knows. */
#include "conf/table.h"

#include <limits.h>
#include <string.h>

#include "conf/words.h"

#define NAME_MAX_LEN 96

const struct param_row *
param_find(const char *name)
{
	size_t low = 0, high = param_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(name, param_rows[mid].name);

		if (order == 0)
			return &param_rows[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* One `*` that stands for at least one byte. */
static bool
matches(struct span pattern, struct span name)
{
	struct span head, tail;

	span_cut(pattern, '*', &head, &tail);
	return name.n > head.n + tail.n && span_starts(name, head) && span_ends(name, tail);
}

const struct param_row *
param_find_pattern(const char *name)
{
	const struct param_row *best = NULL;

	for (size_t i = 0; i < param_count; i++) {
		const struct param_row *row = &param_rows[i];

		if (!row->pattern || !matches(span_str(row->name), span_str(name)))
			continue;
		/* the longest pattern says most: *_destination_rate_delay before *_delay */
		if (best == NULL || strlen(row->name) > strlen(best->name))
			best = row;
	}
	return best;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein distance; what is too long is far away. */
unsigned
word_distance(struct span a, struct span b)
{
	unsigned row[NAME_MAX_LEN + 1];

	if (a.n > NAME_MAX_LEN || b.n > NAME_MAX_LEN)
		return UINT_MAX;
	for (unsigned j = 0; j <= b.n; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= b.n; j++) {
			unsigned above = row[j];

			row[j] = min3(row[j] + 1, row[j - 1] + 1, diagonal + (a.p[i - 1] != b.p[j - 1]));
			diagonal = above;
		}
	}
	return row[b.n];
}

const char *
param_nearest(const char *name)
{
	struct span word = span_str(name);
	unsigned best = (unsigned)(word.n / 4 + 2);
	const char *found = NULL;

	if (word.n > NAME_MAX_LEN || word.n < 3)
		return NULL;
	for (size_t i = 0; i < param_count; i++) {
		unsigned d = param_rows[i].pattern ? UINT_MAX : word_distance(word, span_str(param_rows[i].name));

		if (d < best) {
			best = d;
			found = param_rows[i].name;
		}
	}
	return found;
}
