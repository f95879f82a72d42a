/* Content copying: line ends, quoting, and the same answer whatever the line lengths. */
#include "role/deliver/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "kit/kit.h"

static int
into_buf(void *ctx, struct span bytes)
{
	return buf_add_span(ctx, bytes) ? 0 : -ENOSPC;
}

static struct content
content_of(struct span s)
{
	struct content c = { .fd = fd_sealed("content", s), .size = s.n };

	assert_true(c.fd >= 0);
	return c;
}

static const struct copy_row {
	const char *name, *in, *out;
	struct copy_form form;
} copy_rows[] = {
	{ "line ends become LF", "A: b\r\n\r\nc\r\n", "A: b\n\nc\n", { .eol = { "\n", 1 } } },
	{ "a last line gets its line end", "a\r\nb", "a\nb\n", { .eol = { "\n", 1 } } },
	{ "a lone CR stays", "a\rb\r\n", "a\rb\n", { .eol = { "\n", 1 } } },
	{ "nothing stays nothing", "", "", { .eol = { "\n", 1 } } },
	{ "From lines are quoted", "From a\r\nFrom: b\r\n\r\nFrom c\r\n From d\r\n>From e\r\n",
	    ">From a\nFrom: b\n\n>From c\n From d\n>From e\n", { .eol = { "\n", 1 }, .quote_from = true } },
	{ "a From line without end is quoted", "From a", ">From a\n",
	    { .eol = { "\n", 1 }, .quote_from = true } },
	{ "dots are doubled", ".\r\na.\r\n..b\r\n", "..\na.\n...b\n",
	    { .eol = { "\n", 1 }, .quote_dot = true } },
	{ "other line ends and a blank line", "a\r\n", "a\r\n\r\n",
	    { .eol = { "\r\n", 2 }, .blank_line_end = true } },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(copy_rows) / sizeof(copy_rows[0]); i++) {
		const struct copy_row *row = &copy_rows[i];
		struct content c = content_of(span_str(row->in));
		struct buf out;
		int error;

		buf_init(&out, 4096);
		assert_int_equal(copy_content(&c, &row->form, into_buf, &out, &error), COPY_OK);
		assert_span(buf_span(&out), row->out);
		buf_release(&out);
		fd_close(&c.fd);
	}
}

/* Lines whose ends fall on and around the edges of the reading chunk. */
static void
test_long_lines(void **state)
{
	static const size_t lengths[] = { 65533, 65534, 65535, 65536, 65537, 131071, 200000 };
	struct copy_form form = { .eol = { "\n", 1 }, .quote_from = true };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct buf in, want, out;
		struct content c;
		int error;

		buf_init(&in, 1 << 20);
		buf_init(&want, 1 << 20);
		buf_init(&out, 1 << 20);
		for (size_t n = 0; n < lengths[i]; n++)
			buf_addc(&in, n % 7 == 3 ? '\r' : 'x');
		buf_add_span(&want, buf_span(&in));
		buf_add_str(&in, "y\r\nFrom z\r\n");
		buf_add_str(&want, "y\n>From z\n");
		c = content_of(buf_span(&in));
		assert_int_equal(copy_content(&c, &form, into_buf, &out, &error), COPY_OK);
		assert_true(span_eq(buf_span(&out), buf_span(&want)));
		fd_close(&c.fd);
		buf_release(&in);
		buf_release(&want);
		buf_release(&out);
	}
}

static void
test_failures(void **state)
{
	struct copy_form form = { .eol = { "\n", 1 } };
	struct content c = content_of(SPAN("some text\r\n"));
	struct buf out;
	int error;

	(void)state;
	buf_init(&out, 4);
	assert_int_equal(copy_content(&c, &form, into_buf, &out, &error), COPY_WRITE_FAILED);
	assert_int_equal(error, -ENOSPC);
	c.size += 5;
	assert_int_equal(copy_content(&c, &form, into_buf, &out, &error), COPY_READ_FAILED);
	assert_int_equal(error, -ENODATA);
	buf_release(&out);
	fd_close(&c.fd);
}

static void
test_offset(void **state)
{
	struct copy_form form = { .eol = { "\n", 1 } };
	struct content c = content_of(SPAN("envelope\nA: b\r\ntrailer"));
	struct buf out;
	int error;

	(void)state;
	c.off = 9;
	c.size = 6;
	buf_init(&out, 64);
	assert_int_equal(copy_content(&c, &form, into_buf, &out, &error), COPY_OK);
	assert_span(buf_span(&out), "A: b\n");
	buf_release(&out);
	fd_close(&c.fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		KIT_TEST(test_rows),
		KIT_TEST(test_long_lines),
		KIT_TEST(test_failures),
		KIT_TEST(test_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
