/*
 * The text that tables are written in: logical lines ("#" comments, a line that begins
 * with white space continues the one before), "key value" entries as postmap reads
 * them, "name: value" entries as aliases(5) has them.
 */
#pragma once

#include "base/buf.h"
#include "base/fault.h"
#include "base/span.h"

struct source {
	struct span rest;
	unsigned next_line;     /* number of the first line of `rest` */
	struct buf joined;      /* a logical line of several physical ones */
	bool too_long;          /* the line just returned was cut: complain and skip it */
};

enum source_form { SOURCE_MAP, SOURCE_ALIASES };

void source_init(struct source *s, struct span text);
void source_release(struct source *s);
/*
 * The next logical line, without its newline; `*line_r` counts from 1 and is where it begins. The span
 * is valid until the next call. False at the end.
 */
bool source_next(struct source *s, struct span *text_r, unsigned *line_r);

/* One entry of a logical line; spans into it. `why` says what was expected (no file, no line). */
bool source_entry(struct span text, enum source_form form, struct span *key_r, struct span *value_r,
    struct fault *why);

/*
 * Every entry of `text` in turn; `entry` returns false to stop. Lines that cannot be understood go to
 * `bad` with their fault. False when stopped.
 */
struct source_reader {
	enum source_form form;
	bool (*entry)(void *ctx, struct span key, struct span value, unsigned line);
	void (*bad)(void *ctx, unsigned line, const struct fault *why);
	void (*at)(void *ctx, size_t bytes_done);       /* progress, every few thousand lines; may be NULL */
	void *ctx;
};
bool source_each(struct span text, const struct source_reader *r);
