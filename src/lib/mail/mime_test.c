/* Tests of following MIME structure. */
#include "mail/mime.h"

#include "base/buf.h"
#include "kit/kit.h"
#include "mail/header.h"

/* Drive it as its users do; the trace has a letter per line: P p n headers, "." ends, B body, O C delimiters. */
static void
trace(struct mime *m, struct span text, struct buf *out)
{
	while (text.n > 0) {
		ptrdiff_t lf = span_index(text, '\n');
		size_t n = lf < 0 ? text.n : (size_t)lf + 1;
		struct span line = span_slice(text, 0, lf < 0 ? n : n - 1), header, name, value;
		enum mime_line kind = mime_where(m) == MIME_PRIMARY ? MIME_LINE_TEXT : mime_line(m, line);

		if (kind != MIME_LINE_TEXT) {
			buf_addc(out, kind == MIME_LINE_OPEN ? 'O' : 'C');
			text = span_from(text, n);
		} else if (mime_where(m) == MIME_BODY) {
			buf_addc(out, 'B');
			text = span_from(text, n);
		} else if (header_next(&text, &header)) {
			buf_addc(out, "Ppn"[mime_where(m)]);
			header_split(header, &name, &value);
			mime_header(m, name, value);
		} else {
			buf_addc(out, '.');
			mime_headers_end(m);
			if (line.n == 0)
				text = span_from(text, n);
		}
	}
}

static unsigned
check(const char *text, size_t nesting, const char *want)
{
	struct arena *a = arena_new(1 << 20);
	struct mime *m = mime_new(a, nesting, 70);
	unsigned faults;
	struct buf b;

	buf_init(&b, 4096);
	trace(m, span_str(text), &b);
	assert_span(buf_span(&b), want);
	faults = mime_faults(m);
	buf_release(&b);
	arena_free(&a);
	return faults;
}

static void
test_structures(void **state)
{
	(void)state;
	check("A: b\n\nbody\n--x\n", 5, "P.BB");
	/* preamble, two parts, close, epilogue */
	check("Content-Type: multipart/mixed; boundary=\"x y\"\n\npre\n--x y\nA: b\n\nbody\n--x y\n\n"
	      "body\n--x y--\nepi\n", 5, "P.BOp.BO.BCB");
	/* a part without headers or blank line */
	check("Content-Type: MULTIPART/mixed;\n (comment; boundary=no)\n BOUNDARY = x\n\n--x\nbody no header\n--x--\n",
	      5, "P.O.BC");
	/* message inside a part; the outer delimiter ends its headers */
	check("Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\nSubject: in\n"
	      "X: y\n--x\n\nb\n--x--\n", 5, "P.Op.nnO.BC");
	/* digest parts are messages */
	check("Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: in\n\nbody\n--x--\n", 5,
	      "P.O.n.BC");
	/* nested multiparts, the outer delimiter closes both */
	check("Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n"
	      "--i\n\na\n--o\n\nb\n--i\nc\n--o--\n", 5, "P.Op.O.BO.BBBC");
	/* a delimiter with a colon is no header */
	check("Content-Type: multipart/mixed; boundary=\"a:b\"\n\n--a:b\nX: y\n--a:b\n\nt\n", 5, "P.OpO.B");
	/* no boundary: just text */
	check("Content-Type: multipart/mixed\n\n--\n--x\n", 5, "P.BB");
}

static void
test_faults(void **state)
{
	(void)state;
	assert_int_equal(check("Content-Type: multipart/mixed; boundary=a\n\n--a\n"
	    "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n", 1, "P.Op.BBB"), MIME_FAULT_NESTING);
	assert_int_equal(check("Content-Type: multipart/mixed; boundary=a\n"
	    "Content-Transfer-Encoding: base64\n\nx\n", 5, "PP.B"), MIME_FAULT_DOMAIN);
	assert_int_equal(check("Content-Type: multipart/mixed; boundary=a\n"
	    "Content-Transfer-Encoding: 8bit (sic)\n\nx\n", 5, "PP.B"), 0);
}

static void
test_protection(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct mime *m = mime_new(a, 5, 70);

	(void)state;
	mime_header(m, SPAN("content-type"), SPAN("multipart/Signed; micalg=x; boundary=s"));
	mime_headers_end(m);
	assert_true(mime_protected(m));
	assert_span(mime_subtype(m), "signed");
	mime_line(m, SPAN("--s--"));
	assert_false(mime_protected(m));
	arena_free(&a);
}

static void
test_long_boundaries_are_cut(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct mime *m = mime_new(a, 5, 3);

	(void)state;
	mime_header(m, SPAN("Content-Type"), SPAN("multipart/mixed; boundary=abcdef"));
	mime_headers_end(m);
	assert_int_equal(mime_line(m, SPAN("--abcdef")), MIME_LINE_OPEN);
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_structures),
	KIT_TEST(test_faults),
	KIT_TEST(test_protection),
	KIT_TEST(test_long_boundaries_are_cut),
};
KIT_MAIN(tests)
