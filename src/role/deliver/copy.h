/*
 * Message content from the spool's wire form (CRLF line ends) to what a mailbox or
 * a command wants. A copy reads `size` bytes at `off` of a read-only descriptor,
 * so that several deliveries can share it.
 */
#pragma once

#include "base/fault.h"
#include "base/span.h"

struct content {
	int fd;
	uint64_t off, size;
};

struct copy_form {
	struct span eol;                /* what stands for CRLF: "\n" as a rule */
	bool quote_from;                /* ">" before a line that starts with "From " */
	bool quote_dot;                 /* "." before a line that starts with "." */
	bool blank_line_end;            /* one more line end behind the last line */
};

/* Takes the next bytes; 0 or -errno, which ends the copy. */
typedef int copy_sink(void *ctx, struct span bytes);

enum copy_result {
	COPY_OK,
	COPY_READ_FAILED,       /* `error_r` is about the content's descriptor */
	COPY_WRITE_FAILED,      /* `error_r` is what the sink returned */
};

/*
 * Copy the whole content. A last line without CRLF gets its line end all the same.
 * Content that is shorter than it claims is a read failure (-ENODATA).
 */
enum copy_result copy_content(const struct content *c, const struct copy_form *form,
    copy_sink *sink, void *ctx, int *error_r);
