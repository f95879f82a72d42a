/*
 * Content for servers without 8BITMIME (RFC 6152 section 3): 8-bit parts become
 * quoted-printable, their headers are corrected, lines that are too long are broken.
 * A stream; nothing here waits or fails for want of memory.
 *
 * Signed and encrypted multiparts are never touched: with 8-bit content in them, in
 * headers, or where no encoding is allowed, conversion is impossible and the
 * message must be returned with 5.6.3.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

struct mime_qp;

enum mime_qp_result {
	MIME_QP_OK,
	MIME_QP_IMPOSSIBLE,     /* `why` says 5.6.3 and what stood in the way; forget what was put out */
};

enum mime_qp_flag {
	MIME_QP_CONVERT = 1,            /* nothing above 127 may come out */
	/* Only what is declared as 8bit, the rest passes as it is: never impossible (force_mime_input_conversion). */
	MIME_QP_DECLARED = 2,
};

/* `line_limit`: break longer lines with CRLF SPACE (smtp_line_length_limit; 0 = never). Takes about 100 kB of `a`, and at
 * most 300 kB with deeply nested content. */
struct mime_qp *mime_qp_new(struct arena *a, unsigned flags, size_t line_limit);

/*
 * Optional first pass over the whole content, in pieces: which parts need conversion. Without it parts that declare no
 * encoding are converted even when they are plain ASCII.
 */
void mime_qp_scan(struct mime_qp *m, struct span content);
void mime_qp_scan_end(struct mime_qp *m);

/* Room that `out` needs for a piece of `n` bytes. */
#define MIME_QP_ROOM(n) (4 * (n) + 300000)

/* The next piece of the content, any split; what is ready is appended to `out`. */
enum mime_qp_result mime_qp_feed(struct mime_qp *m, struct span content, struct buf *out,
    struct fault *why);
enum mime_qp_result mime_qp_end(struct mime_qp *m, struct buf *out, struct fault *why);
