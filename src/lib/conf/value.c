/* Values as their types: booleans, numbers, times, closed sets of words; and their place in struct params. */
#include "conf/conf_private.h"

#include <string.h>

#include "base/panic.h"

#define LIST_SEPARATORS ", \t\r\n"

bool
conf_value_bool(const char *value, bool *v_r)
{
	struct span s = span_str(value);

	if (span_eq_ci(s, SPAN("yes")) || span_eq_ci(s, SPAN("true"))) {
		*v_r = true;
		return true;
	}
	*v_r = false;
	return span_eq_ci(s, SPAN("no")) || span_eq_ci(s, SPAN("false"));
}

bool
conf_value_int(const char *value, int64_t *v_r)
{
	struct span s = span_str(value);
	bool negative = s.n > 0 && s.p[0] == '-';
	uint64_t v;

	if (!span_u64(negative ? span_from(s, 1) : s, INT64_MAX, &v))
		return false;
	*v_r = negative ? -(int64_t)v : (int64_t)v;
	return true;
}

static int64_t
unit_seconds(char unit)
{
	switch (ascii_lower(unit)) {
	case 's': return 1;
	case 'm': return 60;
	case 'h': return 3600;
	case 'd': return 86400;
	case 'w': return 604800;
	default: return 0;
	}
}

bool
conf_value_time(const char *value, char unit, int64_t *seconds_r)
{
	struct span s = span_str(value);
	uint64_t v;

	if (s.n > 0 && !ascii_isdigit(s.p[s.n - 1])) {
		unit = s.p[s.n - 1];
		s.n--;
	}
	if (unit_seconds(unit) == 0 || !span_u64(s, INT32_MAX, &v))
		return false;
	*seconds_r = (int64_t)v * unit_seconds(unit);
	return true;
}

/* ---- closed sets */

/* The table's spelling of `word` in "a|b?|c"; NULL when it is not there. */
static bool
find_word(const char *words, struct span word, struct span *found_r, bool *not_yet_r)
{
	struct span rest = span_str(words), one;
	bool more = true;

	while (more) {
		more = span_cut(rest, '|', &one, &rest);
		*not_yet_r = span_ends(one, SPAN("?"));
		if (*not_yet_r)
			one.n--;
		if (span_eq_ci(one, word)) {
			*found_r = one;
			return true;
		}
	}
	return false;
}

static bool
bad_word(const struct param_row *row, struct span word, struct fault *why)
{
	char shown[256];
	size_t n = 0;

	for (const char *p = row->words; *p != '\0' && n + 3 < sizeof(shown); p++) {
		if (*p == '|') {
			shown[n++] = ',';
			shown[n++] = ' ';
		} else if (*p != '?') {
			shown[n++] = *p;
		}
	}
	shown[n] = '\0';
	return fault_set(why, "", "\"%.*s\" is not one of: %s%s", (int)(word.n < 60 ? word.n : 60), word.p,
	    row->words[0] == '|' ? "(empty)" : "", shown);
}

static bool
check_enum(const struct param_row *row, const char *value, const char **canonical_r, const char **not_yet_r,
    struct arena *a, struct fault *why)
{
	struct span word;
	bool not_yet;

	if (row->words[0] == '\0')
		return true;
	if (!find_word(row->words, span_str(value), &word, &not_yet))
		return bad_word(row, span_str(value), why);
	*canonical_r = arena_cstr(a, word);
	if (not_yet && not_yet_r != NULL)
		*not_yet_r = *canonical_r;
	return true;
}

static bool
check_list(const struct param_row *row, const char *value, const char **not_yet_r, struct arena *a,
    struct fault *why)
{
	struct span rest = span_str(value), token, word;
	bool not_yet;

	while (row->words[0] != '\0' && span_token(&rest, LIST_SEPARATORS, &token)) {
		if (!find_word(row->words, token, &word, &not_yet))
			return bad_word(row, token, why);
		if (not_yet && not_yet_r != NULL)
			*not_yet_r = arena_cstr(a, word);
	}
	return true;
}

static bool
check_range(const struct param_row *row, int64_t v, struct fault *why)
{
	if (v >= row->min && v <= row->max)
		return true;
	if (row->max >= INT32_MAX)
		return fault_set(why, "", "the value must be at least %lld", (long long)row->min);
	return fault_set(why, "", "the value must be from %lld to %lld", (long long)row->min, (long long)row->max);
}

bool
conf_value_check(const struct param_row *row, const char *value, const char **canonical_r,
    const char **not_yet_r, struct arena *a, struct fault *why)
{
	int64_t v;
	bool yes;

	*canonical_r = value;
	if (not_yet_r != NULL)
		*not_yet_r = NULL;
	switch (row->type) {
	case PARAM_BOOL:
		return conf_value_bool(value, &yes) || fault_set(why, "", "the value must be yes or no");
	case PARAM_INT:
		if (!conf_value_int(value, &v))
			return fault_set(why, "", "the value must be a whole number");
		return check_range(row, v, why);
	case PARAM_SIZE:
		if (!conf_value_int(value, &v))
			return fault_set(why, "", "the value must be a number of bytes");
		return check_range(row, v, why);
	case PARAM_TIME:
		if (!conf_value_time(value, row->unit, &v))
			return fault_set(why, "", "the value must be a time: a number and s, m, h, d or w");
		return check_range(row, v, why);
	case PARAM_ENUM:
		return check_enum(row, value, canonical_r, not_yet_r, a, why);
	case PARAM_LIST:
		return check_list(row, value, not_yet_r, a, why);
	case PARAM_STRING:
	case PARAM_MAP_LIST:
	case PARAM_PATH:
	case PARAM_RESTRICTION:
		return true;
	}
	panic("param_type %d", (int)row->type);
}

void
conf_value_store(const struct param_row *row, const char *value, struct params *p)
{
	void *at = (char *)p + row->offset;
	int64_t v = 0;
	bool yes = false;
	int small;

	switch (row->type) {
	case PARAM_BOOL:
		conf_value_bool(value, &yes);
		memcpy(at, &yes, sizeof(yes));
		return;
	case PARAM_INT:
		conf_value_int(value, &v);
		small = (int)v;
		memcpy(at, &small, sizeof(small));
		return;
	case PARAM_SIZE:
		conf_value_int(value, &v);
		memcpy(at, &v, sizeof(v));
		return;
	case PARAM_TIME:
		conf_value_time(value, row->unit, &v);
		v *= 1000;
		memcpy(at, &v, sizeof(v));
		return;
	case PARAM_STRING:
	case PARAM_LIST:
	case PARAM_MAP_LIST:
	case PARAM_PATH:
	case PARAM_ENUM:
	case PARAM_RESTRICTION:
		memcpy(at, &value, sizeof(value));
		return;
	}
}
