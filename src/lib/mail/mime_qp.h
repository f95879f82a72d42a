/*
 * Content for servers without 8BITMIME: 8-bit parts become quoted-printable, 8-bit
 * headers make it impossible (RFC 6152 section 3); long lines are broken. A stream.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

struct mime_qp;

enum mime_qp_result {
	MIME_QP_OK,
	MIME_QP_IMPOSSIBLE,     /* 8-bit header, or a signed part with 8-bit content: 5.6.3 */
};

/* `convert`: make 8-bit content 7-bit; `line_limit`: break longer lines with CRLF SPACE (0 = never). */
struct mime_qp *mime_qp_new(struct arena *a, bool convert, size_t line_limit);
/* The next piece of the content; what is ready is appended to `out`. */
enum mime_qp_result mime_qp_feed(struct mime_qp *m, struct span content, struct buf *out,
    struct fault *why);
enum mime_qp_result mime_qp_end(struct mime_qp *m, struct buf *out, struct fault *why);
