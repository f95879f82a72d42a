/*
 * The MIME structure of a message, followed line by line (RFC 2045, RFC 2046): which lines
 * are headers of what, where parts begin and end. The caller splits lines and unfolds nothing:
 * it says "this was a header", "the headers ended", "this is a body line".
 */
#pragma once

#include "base/arena.h"

enum mime_where {
	MIME_PRIMARY,           /* the message's own headers */
	MIME_PART,              /* headers of a part of a multipart */
	MIME_NESTED,            /* headers of a message inside */
	MIME_BODY,
};

enum mime_type {
	MIME_TYPE_TEXT,
	MIME_TYPE_MULTIPART,
	MIME_TYPE_MESSAGE,      /* message/rfc822, message/global: headers follow the headers */
	MIME_TYPE_PARTIAL,      /* message/partial, message/external-body and other message types: opaque */
	MIME_TYPE_OTHER,
};

/* Content-Transfer-Encoding. */
enum mime_encoding {
	MIME_7BIT,
	MIME_8BIT,
	MIME_BINARY,
	MIME_QP,
	MIME_BASE64,
	MIME_ENCODING_UNKNOWN,
};

enum mime_fault {
	MIME_FAULT_NESTING = 1,         /* deeper than the limit */
	MIME_FAULT_DOMAIN = 2,          /* multipart or message with a transfer encoding (RFC 2045 section 6.4) */
};

enum mime_line {
	MIME_LINE_TEXT,
	MIME_LINE_OPEN,         /* a delimiter: headers of a part follow */
	MIME_LINE_CLOSE,        /* the closing delimiter: an epilogue follows */
};

struct mime;

/* Lives in `a`; takes at most nesting_limit * boundary_limit bytes of it. */
struct mime *mime_new(struct arena *a, size_t nesting_limit, size_t boundary_limit);

enum mime_where mime_where(const struct mime *m);
size_t mime_depth(const struct mime *m);
unsigned mime_faults(const struct mime *m);             /* bits of enum mime_fault, all so far */

/* The current entity, known when its headers have ended. */
enum mime_type mime_type(const struct mime *m);
enum mime_encoding mime_encoding(const struct mime *m);
/* "signed", "mixed", ...: lower case, at most 31 bytes; valid until the next header. */
struct span mime_subtype(const struct mime *m);
/* A multipart/signed or multipart/encrypted is open around the current line. */
bool mime_protected(const struct mime *m);

/* A logical header of the current entity, name and value as header_split gives them. */
void mime_header(struct mime *m, struct span name, struct span value);
/* The headers ended (blank line, or a line that is no header): afterwards MIME_BODY, or MIME_NESTED. */
void mime_headers_end(struct mime *m);
/* What mime_line would say, changing nothing. */
enum mime_line mime_peek(const struct mime *m, struct span line);
/*
 * A line without its line end. In the body always; inside the headers of parts and nested messages ask first,
 * for a delimiter ends them. After MIME_LINE_OPEN the place is MIME_PART.
 */
enum mime_line mime_line(struct mime *m, struct span line);
