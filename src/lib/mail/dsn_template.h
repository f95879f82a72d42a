/*
 * Texts of notices: our own, or those of bounce_template_file in Postfix's syntax
 * (bounce(5)): "failure_template = <<END", headers (Charset, From, Subject,
 * Postmaster-Subject), a blank line, text with $names, and "END" alone on a line.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

struct dsn_template {
	struct span charset;            /* "us-ascii" */
	struct span from;               /* "MAILER-DAEMON (Mail Delivery System)" */
	struct span subject;
	struct span postmaster_subject;
	struct span body;               /* lines ended by '\n', $names not expanded */
};

/* The four of them; a member with an empty subject is not set (then our own is used). */
struct dsn_templates {
	struct dsn_template failure, delay, success, verify;
};

/* Our own texts. */
const struct dsn_templates *dsn_templates_default(void);

/* Read a template file's text; what it does not set stays ours. Result lives in `a`. */
bool dsn_templates_parse(struct span text, struct arena *a, struct dsn_templates *t_r, struct fault *why);

/* The value of a name in a template; false: unknown, it stays as written. Answer may live in `a`. */
typedef bool dsn_value_fn(void *ctx, struct span name, struct arena *a, struct span *value_r);

/* Append a body with $name, ${name} and $(name) replaced, lines ended by CRLF. "$$" is a dollar sign. */
void dsn_template_expand(struct span body, dsn_value_fn *fn, void *ctx, struct arena *a, struct buf *out);
