/*
 * Files in the maildrop: one line that says what follows, the envelope's text, the
 * content. Whoever wrote it may be anybody: of the envelope only what a submitter may say counts.
 */
#pragma once

#include "mail/envelope.h"

#define MAILDROP_HEAD_MAX ((size_t)4 << 20)
/* In the envelope's `verp`: default_verp_delimiters, which the submitter need not know. */
#define MAILDROP_VERP_DEFAULT SPAN("*")

struct maildrop_head {
	bool extract_rcpts;             /* recipients come from the headers, too */
	bool sender_given;              /* else the owner's address */
	struct span full_name;          /* for a missing From */
	struct envelope env;
};

/* Append everything in front of the content. False when `out` is full. */
bool maildrop_write(const struct maildrop_head *h, struct buf *out);

/*
 * Read it from the beginning of a file (at most MAILDROP_HEAD_MAX bytes of it are needed); `*used_r` is where the
 * content begins. Sender, recipients, DSN options and the size of things are taken, nothing else of the envelope.
 */
bool maildrop_read(struct span text, struct arena *a, struct maildrop_head *h_r, size_t *used_r, struct fault *why);
