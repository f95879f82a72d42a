/* span, buf, rd, ioq, text: bytes in every shape. */
#include "base/buf.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/ioq.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/rd.h"
#include "base/text.h"
#include "kit/kit.h"

static void
test_numbers(void **state)
{
	static const struct {
		const char *name, *text;
		uint64_t max, value;
		bool ok;
	} rows[] = {
		{ "zero", "0", 10, 0, true },
		{ "the maximum itself", "10", 10, 10, true },
		{ "one above the maximum", "11", 10, 0, false },
		{ "the largest 64-bit number", "18446744073709551615", UINT64_MAX, UINT64_MAX, true },
		{ "one above it", "18446744073709551616", UINT64_MAX, 0, false },
		{ "nothing", "", 10, 0, false },
		{ "a sign", "-1", 10, 0, false },
		{ "a blank", "1 ", 10, 0, false },
		{ "leading zeros", "0007", 10, 7, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v;

		if (span_u64(span_str(rows[i].text), rows[i].max, &v) != rows[i].ok || v != rows[i].value)
			fail_msg("%s", rows[i].name);
	}
}

static void
test_search_and_split(void **state)
{
	struct span s = SPAN("one, two,,three"), head, tail, rest, token;

	(void)state;
	assert_true(span_cut(s, ',', &head, &tail));
	assert_span(head, "one");
	assert_span(tail, " two,,three");
	assert_false(span_cut(SPAN("none"), ',', &head, &tail));
	assert_int_equal(tail.n, 0);
	rest = s;
	assert_true(span_token(&rest, ", ", &token));
	assert_true(span_token(&rest, ", ", &token));
	assert_span(token, "two");
	assert_true(span_token(&rest, ", ", &token));
	assert_span(token, "three");
	assert_false(span_token(&rest, ", ", &token));
	rest = SPAN("a { b, c } d");
	assert_true(span_token_brace(&rest, ", ", &token));
	assert_true(span_token_brace(&rest, ", ", &token));
	assert_span(token, "{ b, c }");
	assert_int_equal(span_find(s, SPAN("two")), 5);
	assert_int_equal(span_find(s, SPAN("four")), -1);
	assert_int_equal(span_find_ci(SPAN("xABc"), SPAN("abC")), 1);
	assert_int_equal(span_index(s, ','), 3);
	assert_int_equal(span_rindex(s, ','), 9);
	assert_span(span_trim(SPAN(" \t x y\r\n")), "x y");
	assert_span(span_slice(s, 100, 200), "");
	assert_true(span_starts_ci(SPAN("MAIL FROM"), SPAN("mail")));
	assert_true(span_ends_ci(SPAN("a.Example"), SPAN(".EXAMPLE")));
	assert_false(span_ends(SPAN("x"), SPAN("xx")));
	assert_true(span_cmp(SPAN("a"), SPAN("ab")) < 0 && span_cmp(SPAN("b"), SPAN("ab")) > 0);
	assert_true(span_hash_ci(SPAN("ABC")) == span_hash_ci(SPAN("abc")));
	assert_false(span_hash(SPAN("ABC")) == span_hash(SPAN("abc")));
}

static void
test_utf8(void **state)
{
	static const struct {
		const char *name, *bytes;
		bool ok;
	} rows[] = {
		{ "ASCII", "abc", true },
		{ "two, three and four bytes", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xa7", true },
		{ "overlong slash", "\xc0\xaf", false },
		{ "overlong three bytes", "\xe0\x80\xaf", false },
		{ "a surrogate", "\xed\xa0\x80", false },
		{ "above U+10FFFF", "\xf4\x90\x80\x80", false },
		{ "cut short", "\xe2\x82", false },
		{ "a lone continuation", "\x80", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (span_is_utf8(span_str(rows[i].bytes)) != rows[i].ok)
			fail_msg("%s", rows[i].name);
	assert_true(span_is_ascii(SPAN("a\x7f")));
	assert_false(span_is_ascii(SPAN("\x80")));
}

static void
test_buf_never_passes_its_maximum(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_true(buf_add_str(&b, "12345678"));
	assert_false(buf_add_str(&b, "abc"));
	assert_true(b.full);
	assert_span(buf_span(&b), "12345678");
	assert_false(buf_addf(&b, "%d", 12345));
	assert_true(buf_addf(&b, "%d", 12));
	assert_string_equal(buf_cstr(&b), "1234567812");
	buf_consume(&b, 8);
	assert_span(buf_span(&b), "12");
	assert_null(buf_space(&b, 9));
	assert_non_null(buf_space(&b, 8));
	buf_clear(&b);
	assert_false(b.full);
	buf_trim(&b);
	assert_null(b.p);
	buf_release(&b);
}

static void
test_rd_is_sticky(void **state)
{
	struct rd r = rd_init(span_of("\x01\x02\x03\x04\x05", 5));

	(void)state;
	assert_int_equal(rd_u16(&r), 0x0201);
	assert_int_equal(rd_be16(&r), 0x0304);
	assert_int_equal(rd_u32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(rd_u8(&r), 0);
	assert_false(rd_done(&r));
	r = rd_init(span_of("\x03\0\0\0abc", 7));
	assert_span(rd_sized(&r, 3), "abc");
	assert_true(rd_done(&r));
	r = rd_init(span_of("\x03\0\0\0abc", 7));
	rd_sized(&r, 2);
	assert_true(r.bad);
	r = rd_init(span_of("", 0));
	assert_true(rd_done(&r));
}

/* Every codec: decode(encode(x)) == x, and encodings are clean. */
static void
test_codecs_round_trip(void **state)
{
	static const struct {
		const char *name;
		void (*encode)(struct buf *, struct span);
		bool (*decode)(struct buf *, struct span);
	} codecs[] = { { "hex", text_hex, text_unhex }, { "base64", text_base64, text_unbase64 }, { "xtext", text_xtext, text_unxtext } };
	struct buf enc, dec;

	(void)state;
	buf_init(&enc, 10000);
	buf_init(&dec, 10000);
	for (size_t c = 0; c < 3; c++)
		for (int round = 0; round < 300; round++) {
			char bytes[64];
			size_t n = rand_below(sizeof(bytes));

			rand_bytes(bytes, n);
			buf_clear(&enc);
			buf_clear(&dec);
			codecs[c].encode(&enc, span_of(bytes, n));
			if (!codecs[c].decode(&dec, buf_span(&enc)) || !span_eq(buf_span(&dec), span_of(bytes, n)))
				fail_msg("%s", codecs[c].name);
		}
	buf_release(&enc);
	buf_release(&dec);
}

static void
test_decoders_refuse(void **state)
{
	static const char *const bad64[] = { "A", "AB", "ABC", "A===", "AB=C", "====", "AB==CD==", "QQ=B", "QR==", "Q Q=" };
	static const char *const badx[] = { "a+", "a+4", "a+GG", "a b", "a=b", "\x7f", "a\x80" };
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof(bad64) / sizeof(bad64[0]); i++)
		if (text_unbase64(&b, span_str(bad64[i])))
			fail_msg("base64 %s", bad64[i]);
	for (size_t i = 0; i < sizeof(badx) / sizeof(badx[0]); i++)
		if (text_unxtext(&b, span_str(badx[i])))
			fail_msg("xtext %s", badx[i]);
	assert_false(text_unhex(&b, SPAN("abc")));
	assert_false(text_unhex(&b, SPAN("zz")));
	buf_release(&b);
}

static void
test_ioq_keeps_order_and_bound(void **state)
{
	struct ioq q;
	struct buf want, got;
	int fds[2];

	(void)state;
	ioq_init(&q, 100000);
	buf_init(&want, 100000);
	buf_init(&got, 100000);
	for (int i = 0; want.n < 60000; i++) {
		char text[32];
		int n = snprintf(text, sizeof(text), "%d,", i);

		assert_true(ioq_add(&q, text, (size_t)n));
		buf_add(&want, text, (size_t)n);
	}
	assert_false(ioq_add(&q, want.p, 50000));
	assert_int_equal(q.bytes, want.n);
	assert_int_equal(fd_socketpair(SOCK_STREAM, fds), 0);
	while (q.bytes > 0 || got.n < want.n) {
		char chunk[3000];
		ssize_t n;

		assert_true(ioq_flush(&q, fds[0]) >= 0);
		while ((n = fd_read(fds[1], chunk, sizeof(chunk))) > 0)
			buf_add(&got, chunk, (size_t)n);
	}
	assert_true(span_eq(buf_span(&got), buf_span(&want)));
	fd_close(&fds[0]);
	assert_true(ioq_add(&q, "x", 1));
	ioq_release(&q);
	fd_close(&fds[1]);
	buf_release(&want);
	buf_release(&got);
}

static void
test_log_lines_are_clean(void **state)
{
	struct log l = { .tag = "signet/smtpd", .qid = "4XyZ" };

	(void)state;
	expect_log("4XyZ: warning: a?b");
	log_warning(&l, "a\nb");
	assert_span(log_esc(SPAN("a\x01\xff")), "a??");
	assert_span(log_esc(SPAN("\xc3\xa4")), "\xc3\xa4");
}

static void
test_fault(void **state)
{
	struct fault f = { 0 };

	(void)state;
	assert_false(fault_set(&f, "4.7.5", "bad level %s", "secur"));
	fault_prefix(&f, "/etc/tls_policy:%d", 3);
	assert_string_equal(f.text, "/etc/tls_policy:3: bad level secur");
	assert_string_equal(f.dsn, "4.7.5");
	assert_false(fault_set(NULL, NULL, "ignored"));
}

static void
test_files(void **state)
{
	struct buf b;
	int fd;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(fd_read_file(AT_FDCWD, kit_file("small", "hello"), &b), 0);
	assert_span(buf_span(&b), "hello");
	assert_true(fd_read_file(AT_FDCWD, kit_file("large", "hello, world"), &b) < 0);
	assert_true(fd_read_file(AT_FDCWD, "/nonexistent/file", &b) < 0);
	fd = fd_sealed("t", SPAN("abc"));
	assert_true(fd >= 0);
	assert_true(fd_write(fd, "x", 1) < 0);
	fd_close(&fd);
	fd_close(&fd);
	buf_release(&b);
}

/* What belongs together stays together, whatever room there is. */
static void
test_json_strings(void **state)
{
	static const struct { const char *in; size_t max; const char *want; bool cut; } rows[] = {
		{ "", 0, "\"\"", false }, { "plain", 10, "\"plain\"", false }, { "plain", 5, "\"plain\"", false }, { "12345", 4, "\"1234\"", true },
		{ "pla\"in\\", 10, "\"pla\\\"in\\\\\"", false }, { "123\"", 4, "\"123\"", true }, { "123\"4", 5, "\"123\\\"\"", true },
		{ "a\x01\x7f\n\xff" "b", 100, "\"a\\u0001\\u007f\\u000a?b\"", false }, { "a\x01", 6, "\"a\"", true }, { "a\x01", 7, "\"a\\u0001\"", false },
		{ "12\xc3\xa4", 3, "\"12\"", true }, { "12\xc3\xa4", 4, "\"12\xc3\xa4\"", false }, { "\xc3", 4, "\"?\"", false },
		{ "\xf0\x9f\x93\xa7", 3, "\"\"", true }, { "\xf0\x9f\x93\xa7", 4, "\"\xf0\x9f\x93\xa7\"", false }, { "\xed\xa0\x80", 9, "\"???\"", false },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&b);
		assert_int_equal(text_json_cut(&b, span_str(rows[i].in), rows[i].max), rows[i].cut);
		assert_string_equal(buf_cstr(&b), rows[i].want);
		if (rows[i].cut)
			continue;
		buf_clear(&b);
		text_json(&b, span_str(rows[i].in));
		assert_string_equal(buf_cstr(&b), rows[i].want);
	}
	buf_clear(&b);
	text_json(&b, span_of("a\0b", 3));
	assert_string_equal(buf_cstr(&b), "\"a?b\"");
	buf_release(&b);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_numbers),
	KIT_TEST(test_search_and_split),
	KIT_TEST(test_utf8),
	KIT_TEST(test_buf_never_passes_its_maximum),
	KIT_TEST(test_rd_is_sticky),
	KIT_TEST(test_codecs_round_trip),
	KIT_TEST(test_decoders_refuse),
	KIT_TEST(test_json_strings),
	KIT_TEST(test_ioq_keeps_order_and_bound),
	KIT_TEST(test_log_lines_are_clean),
	KIT_TEST(test_fault),
	KIT_TEST(test_files),
};

KIT_MAIN(tests)
