/* Lines of the intake of messages, logged as Postfix's cleanup does (mta-core.md sections 10 and 11). */
#pragma once

#include "base/log.h"
#include "base/span.h"

/* What a check or the MIME scanner found; addresses in external form, unknown ones empty. */
struct log_cleanup_check {
	const char *action;             /* "reject", "warning", "info", "hold", ... */
	const char *what;               /* "header", "body", "mime-error improper use of ..." */
	struct span content;            /* the line; a header may hold '\n' */
	struct span origin;             /* "unknown[192.0.2.1]", "local" */
	bool have_sender;               /* "from=<>" is said, too */
	struct span sender, recipient;
	struct span protocol, helo;
	struct span text;               /* "" = none */
};

/* "reject: header Subject: x from unknown[192.0.2.1]; from=<a@b> to=<c@d> proto=ESMTP helo=<x>: 5.7.1 text" */
void log_cleanup_check(const struct log *l, const struct log_cleanup_check *ev);
/* "message-id=<x@y>", "resent-message-id=<x@y>" */
void log_cleanup_message_id(const struct log *l, struct span id, bool resent);
/* "warning: QID: text": unlike our own warnings, Postfix's cleanup puts the queue id behind the word. `l` may be NULL. */
void log_cleanup_warning(const struct log *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "removed (canceled)": client gone or message refused; "removed (discarded)": DISCARD */
void log_cleanup_removed(const struct log *l, bool discarded);
