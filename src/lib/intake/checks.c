/* Reading the actions of header and body checks. */
#include "intake/checks.h"

#include "mail/header.h"

enum needs { NEEDS_NOTHING, NEEDS_ADDRESS, NEEDS_TRANSPORT, NEEDS_HEADER };

static const struct action_row {
	const char *name;
	enum check_action action;
	enum needs needs;
	const char *word;
} rows[] = {
	{ "BCC", CHECK_BCC, NEEDS_ADDRESS, "bcc" },
	{ "DISCARD", CHECK_DISCARD, NEEDS_NOTHING, "discard" },
	{ "DUNNO", CHECK_DUNNO, NEEDS_NOTHING, "dunno" },
	{ "OK", CHECK_DUNNO, NEEDS_NOTHING, "dunno" },
	{ "FILTER", CHECK_FILTER, NEEDS_TRANSPORT, "filter" },
	{ "HOLD", CHECK_HOLD, NEEDS_NOTHING, "hold" },
	{ "IGNORE", CHECK_IGNORE, NEEDS_NOTHING, "ignore" },
	{ "INFO", CHECK_INFO, NEEDS_NOTHING, "info" },
	{ "PASS", CHECK_PASS, NEEDS_NOTHING, "pass" },
	{ "PREPEND", CHECK_PREPEND, NEEDS_HEADER, "prepend" },
	{ "REDIRECT", CHECK_REDIRECT, NEEDS_ADDRESS, "redirect" },
	{ "REJECT", CHECK_REJECT, NEEDS_NOTHING, "reject" },
	{ "REPLACE", CHECK_REPLACE, NEEDS_HEADER, "replace" },
	{ "STRIP", CHECK_STRIP, NEEDS_NOTHING, "strip" },
	{ "WARN", CHECK_WARN, NEEDS_NOTHING, "warning" },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

const char *
check_word(enum check_action action)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].action == action)
			return rows[i].word;
	return "dunno";
}

static bool
has_needed(enum needs needs, struct span text, bool header)
{
	switch (needs) {
	case NEEDS_NOTHING:
		return true;
	case NEEDS_ADDRESS:
		return span_index(text, '@') > 0 && text.p[text.n - 1] != '@';
	case NEEDS_TRANSPORT:
		return span_index(text, ':') > 0;
	case NEEDS_HEADER:
		return text.n > 0 && (!header || header_name_length(text) > 0);
	}
	return false;
}

bool
check_parse(struct span value, bool header, struct check *check_r, struct fault *why)
{
	struct span word, text;
	size_t n = 0;

	value = span_trim(value);
	while (n < value.n && !ascii_isspace(value.p[n]))
		n++;
	word = span_slice(value, 0, n);
	text = span_trim(span_from(value, n));
	for (size_t i = 0; i < ROWS; i++) {
		if (!span_eq_ci(word, span_str(rows[i].name)))
			continue;
		if (!has_needed(rows[i].needs, text, header))
			return fault_set(why, "4.3.5", "%s: bad argument \"%.*s\"", rows[i].name,
			    SPAN_ARG(text));
		*check_r = (struct check){ .action = rows[i].action, .text = text };
		return true;
	}
	return fault_set(why, "4.3.5", "unknown action \"%.*s\"", SPAN_ARG(word));
}
