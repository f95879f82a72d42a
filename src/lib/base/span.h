/*
 * A borrowed run of bytes: pointer and length, never NUL-terminated by promise.
 * Pass it by value. Whoever owns the bytes must outlive the span.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *p;
	size_t n;
};

/* A span over a string literal. */
#define SPAN(lit) ((struct span){ "" lit, sizeof(lit) - 1 })
/* printf arguments for "%.*s". */
#define SPAN_ARG(s) (int)(s).n, (s).p

static inline struct span
span_of(const void *p, size_t n)
{
	return (struct span){ p, n };
}

/* `s` may be NULL: an empty span. */
static inline struct span
span_str(const char *s)
{
	return (struct span){ s, s != NULL ? strlen(s) : 0 };
}

bool span_eq(struct span a, struct span b);
bool span_eq_ci(struct span a, struct span b);          /* ASCII case folded */
int span_cmp(struct span a, struct span b);
bool span_starts(struct span s, struct span prefix);
bool span_starts_ci(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);
bool span_ends_ci(struct span s, struct span suffix);

/* Index of the first / last `c`, or -1. */
ptrdiff_t span_index(struct span s, char c);
ptrdiff_t span_rindex(struct span s, char c);
/* Index of the first occurrence of `needle`, or -1. */
ptrdiff_t span_find(struct span s, struct span needle);
ptrdiff_t span_find_ci(struct span s, struct span needle);

/* Bytes [from, to), clamped to the span. */
struct span span_slice(struct span s, size_t from, size_t to);
/* From `from` to the end, clamped. */
struct span span_from(struct span s, size_t from);
/* Without leading and trailing space, tab, CR and LF. */
struct span span_trim(struct span s);

/*
 * Split at the first `sep`: `*head_r` is what stands before, `*tail_r` what stands behind.
 * False when there is no `sep`: then head is all of `s` and tail is empty.
 */
bool span_cut(struct span s, char sep, struct span *head_r, struct span *tail_r);

/*
 * Next token of `*rest` between any of the bytes in `seps`; empty tokens are skipped.
 * False at the end. Advances `*rest`.
 */
bool span_token(struct span *rest, const char *seps, struct span *token_r);

/* The same, but a token that starts with `{` runs to its matching `}` (braces are kept). */
bool span_token_brace(struct span *rest, const char *seps, struct span *token_r);

/* Decimal number of at most `max`, whole span, no sign, no blanks. False otherwise. */
bool span_u64(struct span s, uint64_t max, uint64_t *value_r);

/* True when every byte is below 128. */
bool span_is_ascii(struct span s);
/* True when the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool span_is_utf8(struct span s);

/* 64-bit keyed hash (SipHash-1-3, key drawn once per process), for hash tables only. */
uint64_t span_hash(struct span s);
/* The same over ASCII-lower-cased bytes. */
uint64_t span_hash_ci(struct span s);

static inline char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline char
ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static inline bool
ascii_isdigit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
ascii_isalpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
ascii_isalnum(char c)
{
	return ascii_isdigit(c) || ascii_isalpha(c);
}

static inline bool
ascii_isspace(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
