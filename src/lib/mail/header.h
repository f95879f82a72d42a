/*
 * Headers in wire form: one logical header is a first line and its continuation
 * lines, each with its CRLF. Reading them, and the RFC 5322 / RFC 822 address lists
 * inside them.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/*
 * Length of a header name at the front of `line` when a header may begin there: printable bytes other than ':',
 * then optional blanks, then ':' (RFC 5322 sections 2.2, 4.5). 0: not a header.
 */
size_t header_name_length(struct span line);

/* Name and raw value (folds kept, outer blanks and last CRLF trimmed) of one logical header. False: not a header. */
bool header_split(struct span header, struct span *name_r, struct span *value_r);

/* The value on one line: every CRLF before a blank removed (RFC 5322 section 2.2.3). In `a`. */
struct span header_unfold(struct span value, struct arena *a);

/* As the checks see a header: lines joined by '\n', no CR, no last line end. In `a`. */
struct span header_check_text(struct span header, struct arena *a);

/* The way back: a table's text, lines joined by '\n' or CRLF, in wire form with its last CRLF; other CRs go. In `a`. */
struct span header_wire_text(struct span text, struct arena *a);

/*
 * Walk a block of headers: the next logical header at the front of `*rest`, with all its
 * lines. False at the end: at a blank line, at a line that is no header, or when nothing is left.
 */
bool header_next(struct span *rest, struct span *header_r);

/* First header of this name (case-insensitive) in a block; its value unfolded. */
bool header_find(struct span block, struct span name, struct arena *a, struct span *value_r);

/* What we know of a header by its name. */
enum header_flag {
	HEADER_SENDER = 1,              /* holds sender addresses: From, Sender, Reply-To, ... */
	HEADER_RECIPIENT = 2,           /* holds recipient addresses: To, Cc, ... */
	HEADER_RESENT = 4,
	HEADER_EXTRACT = 8,             /* "-t" takes recipients from here */
	HEADER_MIME = 16,               /* Content-*, MIME-Version */
	HEADER_ONCE = 32,               /* one per message (RFC 5322 section 3.6) */
};
/* Bits of enum header_flag; 0 for unknown names. */
unsigned header_flags(struct span name);

/*
 * Rewrite the addresses of an address-list value in place: comments, phrases, folds and
 * everything else stay byte for byte. `fn` gets each address in internal form and returns
 * true with the new one (internal form; equal means unchanged), or false to leave it. At most
 * `token_limit` tokens are looked at (header_address_token_limit); what follows is kept.
 * False when `out` is full.
 */
typedef bool header_rewrite_fn(void *ctx, struct span addr, struct span *new_r);
bool header_rewrite_addresses(struct span value, size_t token_limit, header_rewrite_fn *fn,
    void *ctx, struct arena *a, struct buf *out);

/* Call `fn` for each address of an address-list value, internal form, living in `a`. */
typedef void header_address_fn(void *ctx, struct span addr);
void header_each_address(struct span value, size_t token_limit, header_address_fn *fn, void *ctx,
    struct arena *a);

/* Words of `value` behind `first`, one blank between, lines broken near 78 columns and indented by one blank, CRLF at the end. */
void header_add_folded(struct buf *out, struct span first, struct span value);
/* "name: value" folded at blanks near 78 columns (RFC 5322 section 2.1.1), with CRLF at the end. */
void header_add(struct buf *out, struct span name, struct span value);

/* RFC 2822-safe phrase: quoted when it has to be. */
void header_add_phrase(struct buf *out, struct span phrase);
