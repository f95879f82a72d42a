/*
 * Actions of header_checks and body_checks tables (header_checks(5)): reading them.
 * What they do to a message is in intake.c; to outgoing mail in smtp's checks.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"

enum check_action {
	CHECK_DUNNO,            /* also: no match, OK */
	CHECK_BCC,
	CHECK_DISCARD,
	CHECK_FILTER,
	CHECK_HOLD,
	CHECK_IGNORE,
	CHECK_INFO,
	CHECK_PASS,
	CHECK_PREPEND,
	CHECK_REDIRECT,
	CHECK_REJECT,
	CHECK_REPLACE,
	CHECK_STRIP,
	CHECK_WARN,
};

struct check {
	enum check_action action;
	struct span text;       /* argument, outer blanks removed */
};

/*
 * Read an action. False for one that is unknown or lacks what it needs: the caller must treat the message as
 * temporarily unacceptable (a typo in a protecting table costs delay, never protection).
 */
bool check_parse(struct span value, bool header, struct check *check_r, struct fault *why);
/* Lower-case word for logs: "reject", "warning", "info", ... */
const char *check_word(enum check_action action);
