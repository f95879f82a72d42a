/*
 * What stands on the right side of an alias and in .forward and :include: files
 * (aliases(5)): addresses, \user, /file, |command, :include:/file, separated by
 * commas, with the quoting and comments of RFC 822 address lists.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"

enum item_kind {
	ITEM_ADDRESS,           /* text: the address in internal form */
	ITEM_LOCAL,             /* \user: this user's mailbox, no further aliasing; text without the backslash */
	ITEM_FILE,              /* text: the path */
	ITEM_COMMAND,           /* text: the command without '|' */
	ITEM_INCLUDE,           /* text: the path */
};

struct item {
	enum item_kind kind;
	struct span text;
};

struct items {
	struct item *v;
	size_t n;
};

/* One list. Empty items are passed over. False: no list can be understood here (`why` says where). */
bool items_parse(struct span text, struct arena *a, struct items *items_r, struct fault *why);

/* A file: every line is a list, lines that begin with '#' are comments. */
bool items_parse_file(struct span text, struct arena *a, struct items *items_r, struct fault *why);

/* Bytes that the two need in `a` for a text of `n` bytes. */
size_t items_room(size_t n);
