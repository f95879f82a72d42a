/* Tests of conversion to 7 bits, at every split, with and without the first pass. */
#include "mail/mime_qp.h"

#include "base/rand.h"
#include "kit/kit.h"

static enum mime_qp_result
convert(struct span text, unsigned flags, size_t limit, bool scan, size_t piece, struct buf *out)
{
	struct arena *a = arena_new(1 << 20);
	struct mime_qp *m = mime_qp_new(a, flags, limit);
	enum mime_qp_result r = MIME_QP_OK;
	struct fault why = { 0 };

	buf_clear(out);
	for (size_t at = 0; scan && at < text.n; at += piece)
		mime_qp_scan(m, span_slice(text, at, at + piece));
	if (scan && text.n > 0)
		mime_qp_scan_end(m);
	for (size_t at = 0; at < text.n && r == MIME_QP_OK; at += piece)
		r = mime_qp_feed(m, span_slice(text, at, at + piece), out, &why);
	if (r == MIME_QP_OK)
		r = mime_qp_end(m, out, &why);
	if (r == MIME_QP_IMPOSSIBLE)
		assert_string_equal(why.dsn, "5.6.3");
	arena_free(&a);
	return r;
}

static void
check(const char *text, unsigned flags, size_t limit, bool scan, const char *want)
{
	struct buf out;

	buf_init(&out, 1 << 22);
	for (size_t piece = 1; piece <= strlen(text) + 1; piece++) {
		enum mime_qp_result r = convert(span_str(text), flags, limit, scan, piece, &out);

		if (r != (want == NULL ? MIME_QP_IMPOSSIBLE : MIME_QP_OK))
			fail_msg("%s: result %d", text, (int)r);
		if (want != NULL && !span_eq(buf_span(&out), span_str(want)))
			fail_msg("pieces of %zu: got \"%.*s\"", piece, SPAN_ARG(buf_span(&out)));
	}
	buf_release(&out);
}

#define UML "\xc3\xa4"

static void
test_plain_message(void **state)
{
	(void)state;
	check("A: b\r\n\r\n" UML " = x \r\n\t\r\nend\r\n", MIME_QP_CONVERT, 0, false,
	    "A: b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4 =3D x=20\r\n=09\r\nend\r\n");
	check("MIME-Version: 1.0\r\ncontent-transfer-encoding: 8BIT\r\nContent-Type: text/html\r\n\r\n" UML,
	    MIME_QP_CONVERT, 0, false,
	    "MIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n"
	    "\r\n=C3=A4\r\n");
	check("A: b\r\n\r\nascii = \r\n", MIME_QP_CONVERT, 0, true, "A: b\r\n\r\nascii = \r\n");
	check("A: b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n", MIME_QP_CONVERT, 0, false,
	    "A: b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
	    "Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n");
	check("A: b", MIME_QP_CONVERT, 0, true, "A: b\r\n");
	check("", MIME_QP_CONVERT, 0, false, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n");
}

static void
test_multiparts(void **state)
{
	static const char mixed[] =
	    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: 8bit\r\n"
	    "\r\npre" UML "\r\n--x\r\n\r\nascii\r\n--x\r\nContent-Type: text/plain\r\n\r\n" UML "\r\n--x\r\n"
	    "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: b\r\n"
	    "Content-Transfer-Encoding: binary\r\n\r\n" UML "\r\n--x--\r\nepi" UML "\r\n";

	(void)state;
	check(mixed, MIME_QP_CONVERT, 0, true,
	    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: 7bit\r\n"
	    "\r\npre?" "?\r\n--x\r\n\r\nascii\r\n--x\r\nContent-Type: text/plain\r\n"
	    "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n--x\r\n"
	    "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nA: b\r\n"
	    "Content-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n"
	    "\r\n=C3=A4\r\n--x--\r\nepi?" "?\r\n");
}

static void
test_what_is_impossible(void **state)
{
	(void)state;
	check("A: " UML "\r\n\r\nx\r\n", MIME_QP_CONVERT, 0, false, NULL);
	check("From " UML "\r\n\r\nx\r\n", MIME_QP_CONVERT, 0, false, NULL);
	check("Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n" UML "\r\n--s--\r\n",
	    MIME_QP_CONVERT, 0, true, NULL);
	check("Content-Type: multipart/mixed\r\n\r\n" UML "\r\n", MIME_QP_CONVERT, 0, false, NULL);
	check("Content-Type: message/partial\r\n\r\n" UML "\r\n", MIME_QP_CONVERT, 0, false, NULL);
	check("Content-Transfer-Encoding: base64\r\n\r\n" UML "\r\n", MIME_QP_CONVERT, 0, false, NULL);
}

static void
test_signed_parts_are_untouched(void **state)
{
	static const char text[] =
	    "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s\r\n\r\npre\r\n--s\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n\r\n = \r\n--s\r\n\r\nsig\r\n--s--\r\n";

	(void)state;
	check(text, MIME_QP_CONVERT, 0, true, text);
	check(text, MIME_QP_CONVERT, 0, false, text);
}

static void
test_declared_only(void **state)
{
	(void)state;
	check("A: " UML "\r\n\r\n" UML "\r\n", MIME_QP_DECLARED, 0, false, "A: " UML "\r\n\r\n" UML "\r\n");
	check("MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" UML "\r\n",
	    MIME_QP_DECLARED, 0, false,
	    "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
	    "=C3=A4\r\n");
}

static void
test_long_lines_are_broken(void **state)
{
	(void)state;
	check("A: 4567890\r\nB: 45678901\r\n\r\n1234567890\r\n12345678901\r\n1234567890123456789012\r\n", 0, 10, false,
	    "A: 4567890\r\nB: 4567890\r\n 1\r\n\r\n1234567890\r\n1234567890\r\n 1\r\n1234567890\r\n 123456789\r\n 012\r\n");
}

/* Undo quoted-printable (RFC 2045 section 6.7). */
static void
decode_qp(struct span s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		const char *hex = "0123456789ABCDEF";

		if (s.p[i] != '=') {
			buf_addc(out, s.p[i]);
			continue;
		}
		assert_true(s.n - i > 2);
		if (s.p[i + 1] != '\r')
			buf_addc(out, (char)((strchr(hex, s.p[i + 1]) - hex) * 16 + (strchr(hex, s.p[i + 2]) - hex)));
		i += 2;
	}
}

static void
test_decoding_gives_back_the_body(void **state)
{
	static const char soup[] = "ab= \t\xc3\xa4\r\n.x";
	struct buf out, back;

	(void)state;
	buf_init(&out, 1 << 22);
	buf_init(&back, 1 << 22);
	for (int round = 0; round < 500; round++) {
		char text[700] = "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
		size_t head = strlen(text), n = head + rand_below(600);
		ptrdiff_t blank;
		struct span body, rest, line;

		for (size_t k = head; k < n; k++)
			text[k] = soup[rand_below(sizeof(soup) - 1)];
		memcpy(text + n, "\r\n", 2);
		n += 2;
		assert_int_equal(convert(span_of(text, n), MIME_QP_CONVERT, 998, false, 1 + rand_below(50), &out), MIME_QP_OK);
		assert_true(span_is_ascii(buf_span(&out)));
		blank = span_find(buf_span(&out), SPAN("\r\n\r\n"));
		body = span_from(buf_span(&out), (size_t)blank + 4);
		buf_clear(&back);
		decode_qp(body, &back);
		if (!span_eq(buf_span(&back), span_of(text + head, n - head)))
			fail_msg("\"%.*s\" came back as \"%.*s\"", (int)(n - head), text + head, SPAN_ARG(buf_span(&back)));
		for (rest = body; rest.n > 0;) {
			span_cut(rest, '\n', &line, &rest);
			assert_true(line.n <= 77);
		}
	}
	buf_release(&out);
	buf_release(&back);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_plain_message),
	KIT_TEST(test_multiparts),
	KIT_TEST(test_what_is_impossible),
	KIT_TEST(test_signed_parts_are_untouched),
	KIT_TEST(test_declared_only),
	KIT_TEST(test_long_lines_are_broken),
	KIT_TEST(test_decoding_gives_back_the_body),
};
KIT_MAIN(tests)
