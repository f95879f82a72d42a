/*
 * Small codecs: hex, base64 (RFC 4648), xtext (RFC 3461 section 4), JSON strings (RFC 8259). All append to `out`, whose `full` tells that
 * it could not hold everything. Decoders return false for what is not canonical, or when `out` is full; what stood before the mistake
 * may have been appended.
 */
#pragma once

#include "base/buf.h"

void text_hex(struct buf *out, struct span bytes);              /* lower case */
bool text_unhex(struct buf *out, struct span hex);              /* pairs of digits, any case */
void text_base64(struct buf *out, struct span bytes);
bool text_unbase64(struct buf *out, struct span s);             /* strict: padding, no blanks */
void text_xtext(struct buf *out, struct span bytes);            /* +HH for '+', '=', controls, 8-bit */
bool text_unxtext(struct buf *out, struct span s);

/* `s` as a JSON string, quotes and all (RFC 8259 section 7); what is no UTF-8 becomes '?' (RFC 7493 section 2.1). */
void text_json(struct buf *out, struct span s);
/* The same with at most `max` bytes between the quotes, never cut inside a character or an escape. True when it was cut. */
bool text_json_cut(struct buf *out, struct span s, size_t max);
