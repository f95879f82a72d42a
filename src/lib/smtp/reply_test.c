/* Replies of servers, good and bad, at every split. */
#include "smtp/reply.h"

#include <stdio.h>

#include "kit/kit.h"

/* Every reply in `bytes` as "code dsn junk[text];", fed in pieces of `step`. */
static void
run(const char *bytes, size_t step, char *out, size_t size)
{
	struct smtp_replies r;
	struct span rest = span_str(bytes);
	size_t n = 0;

	smtp_replies_init(&r);
	out[0] = '\0';
	while (rest.n > 0) {
		struct span some = span_slice(rest, 0, step);
		struct smtp_reply reply;

		rest = span_from(rest, some.n);
		assert_true(smtp_replies_feed(&r, some));
		while (smtp_replies_next(&r, &reply) == SMTP_REPLY_DONE)
			n += (size_t)snprintf(out + n, size - n, "%d %s%s%s[%.*s];", reply.code, reply.dsn,
			    reply.has_dsn ? "" : "*", reply.junk_before ? "!" : "", SPAN_ARG(reply.text));
	}
	smtp_replies_release(&r);
}

static const struct {
	const char *name, *bytes, *want;
} rows[] = {
	{ "one line", "250 2.1.0 Ok\r\n", "250 2.1.0[250 2.1.0 Ok];" },
	{ "several lines (RFC 5321 4.2.1)", "250-First line\r\n250-Second line\r\n250-234 Text\r\n250 The last\r\n",
	    "250 2.0.0*[250-First line\n250-Second line\n250-234 Text\n250 The last];" },
	{ "code alone", "250\r\n221\n", "250 2.0.0*[250];221 2.0.0*[221];" },
	{ "the code's class must fit", "450 5.1.1 x\r\n", "450 4.0.0*[450 5.1.1 x];" },
	{ "long subject and detail", "550 5.123.456\r\n550 5.1234.1 x\r\n", "550 5.123.456[550 5.123.456];550 5.0.0*[550 5.1234.1 x];" },
	{ "junk is skipped and noted", "hello\r\n99\r\n\r\n250 ok\r\n250 ok\r\n", "250 2.0.0*![250 ok];250 2.0.0*[250 ok];" },
	{ "codes differ: the last counts", "250-a\r\n550 5.7.1 b\r\n", "550 5.7.1[250-a\n550 5.7.1 b];" },
	{ "no reply begins with 6 or 1", "650 x\r\n150 x\r\n250 y\r\n", "250 2.0.0*![250 y];" },
	{ "controls and bad bytes", "250 a\001b\377c\td\r\n", "250 2.0.0*[250 a?b?c d];" },
	{ "UTF-8 stays", "250 \303\244\r\n", "250 2.0.0*[250 \303\244];" },
	{ "a bare CR is no line end", "250 a\r250 b\r\n", "250 2.0.0*[250 a?250 b];" },
};

static void
replies_at_every_split(void **state)
{
	char got[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t step = 1; step <= strlen(rows[i].bytes); step++) {
			run(rows[i].bytes, step, got, sizeof(got));
			if (strcmp(got, rows[i].want) != 0)
				fail_msg("%s (by %zu): %s", rows[i].name, step, got);
		}
	}
}

static void
maxima_hold(void **state)
{
	struct smtp_replies r;
	struct smtp_reply reply;
	char line[128];
	enum smtp_reply_result got = SMTP_REPLY_MORE;

	(void)state;
	smtp_replies_init(&r);
	memset(line, 'x', sizeof(line));
	for (int i = 0; i < 100000 / (int)sizeof(line); i++) {
		assert_true(smtp_replies_feed(&r, span_of(line, sizeof(line))));
		assert_int_equal(smtp_replies_next(&r, &reply), SMTP_REPLY_MORE);
	}
	assert_true(r.in.n <= SMTP_REPLY_LINE_MAX + sizeof(line));
	assert_true(smtp_replies_feed(&r, SPAN("\r\n250 ok\r\n")));
	assert_int_equal(smtp_replies_next(&r, &reply), SMTP_REPLY_DONE);
	assert_span(reply.text, "250 ok");
	for (int i = 0; i < 5000 && got == SMTP_REPLY_MORE; i++) {
		(void)smtp_replies_feed(&r, SPAN("250-never ends, and has some text too\r\n"));
		got = smtp_replies_next(&r, &reply);
	}
	assert_int_equal(got, SMTP_REPLY_BAD);
	assert_true(r.text.n <= SMTP_REPLY_TEXT_MAX);
	smtp_replies_release(&r);
}

static void
lines_of_a_reply(void **state)
{
	struct span rest = SPAN("250-mx.example hello\n250-SIZE 10\n250 DSN"), line;

	(void)state;
	assert_true(smtp_reply_line(&rest, &line));
	assert_span(line, "mx.example hello");
	assert_true(smtp_reply_line(&rest, &line));
	assert_span(line, "SIZE 10");
	assert_true(smtp_reply_line(&rest, &line));
	assert_span(line, "DSN");
	assert_false(smtp_reply_line(&rest, &line));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(replies_at_every_split),
	KIT_TEST(maxima_hold),
	KIT_TEST(lines_of_a_reply),
};

KIT_MAIN(tests)
