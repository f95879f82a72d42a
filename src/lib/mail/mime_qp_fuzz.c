/* Fuzz: conversion to 7 bits. What is said to be converted has no byte above 127; splits make no difference. */
#include "mail/mime_qp.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
convert(struct span s, size_t piece, bool scan, struct buf *out)
{
	struct arena *a = arena_new(8 << 20);
	struct mime_qp *m = mime_qp_new(a, MIME_QP_CONVERT, 100);
	struct fault why;
	bool ok = true;

	if (scan) {
		mime_qp_scan(m, s);
		mime_qp_scan_end(m);
	}
	for (size_t at = 0; ok && at < s.n; at += piece)
		ok = mime_qp_feed(m, span_slice(s, at, at + piece), out, &why) == MIME_QP_OK;
	ok = ok && mime_qp_end(m, out, &why) == MIME_QP_OK;
	arena_free(&a);
	return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span s;
	struct buf one, two;
	bool scan, ok;

	if (n < 2 || n > 20000)
		return 0;
	s = span_of(p + 2, n - 2);
	scan = p[0] & 1;
	buf_init(&one, 1 << 24);
	buf_init(&two, 1 << 24);
	ok = convert(s, s.n + 1, scan, &one);
	ensure(convert(s, 1 + p[1], scan, &two) == ok);
	if (ok) {
		ensure(span_is_ascii(buf_span(&one)));
		ensure(span_eq(buf_span(&one), buf_span(&two)));
	}
	buf_release(&one);
	buf_release(&two);
	return 0;
}
