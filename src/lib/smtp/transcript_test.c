/* Transcripts: what is kept, what is left out, and how much. */
#include "smtp/transcript.h"

#include <stdio.h>

#include "kit/kit.h"

static void
classes_of_the_parameter(void **state)
{
	(void)state;
	assert_int_equal(smtp_notice_classes(SPAN("resource, software")), SMTP_NOTICE_RESOURCE | SMTP_NOTICE_SOFTWARE);
	assert_int_equal(smtp_notice_classes(SPAN("Policy 2bounce,delay\tPROTOCOL data")), SMTP_NOTICE_POLICY | SMTP_NOTICE_PROTOCOL | SMTP_NOTICE_DATA);
	assert_int_equal(smtp_notice_classes(SPAN("bounce")), SMTP_NOTICE_BOUNCE);
	assert_int_equal(smtp_notice_classes(SPAN("")), 0);
}

static void
senders_of_notices(void **state)
{
	(void)state;
	assert_true(smtp_notice_sender(SPAN("double-bounce"), SPAN("Double-Bounce@other.example")));
	assert_true(smtp_notice_sender(SPAN("twice@here.example"), SPAN("twice@x")));
	assert_false(smtp_notice_sender(SPAN("double-bounce"), SPAN("double-bounce")));
	assert_false(smtp_notice_sender(SPAN("double-bounce"), SPAN("double-bouncer@x")));
	assert_false(smtp_notice_sender(SPAN("double-bounce"), SPAN("")));
	assert_false(smtp_notice_sender(SPAN(""), SPAN("@x")));
}

static const char *
written(const struct transcript *t)
{
	static char text[TRANSCRIPT_WRITTEN_MAX + 1];
	struct buf b;

	buf_init(&b, TRANSCRIPT_WRITTEN_MAX);
	transcript_write(t, &b);
	assert_false(b.full);
	snprintf(text, sizeof(text), "%s", b.n > 0 ? buf_cstr(&b) : "");
	buf_release(&b);
	return text;
}

static void
lines_however_they_come(void **state)
{
	static const char sent[] = "MAIL FROM:<a@x>\r\n\r\n.\r\nRSET\r\n";
	struct transcript t;

	(void)state;
	for (size_t step = 1; step < sizeof(sent); step++) {
		transcript_init(&t, SMTP_NOTICE_POLICY);
		transcript_add(&t, "In: ", SPAN("250-a\r\n250 b\x01\x80\r\n"));
		for (size_t i = 0; i < sizeof(sent) - 1; i += step)
			transcript_stream(&t, "Out:", span_slice(span_of(sent, sizeof(sent) - 1), i, i + step));
		transcript_add(&t, "In: ", SPAN("no end"));
		assert_string_equal(written(&t), " In:  250-a\n In:  250 b??\n Out: MAIL FROM:<a@x>\n Out: .\n Out: RSET\n In:  no end\n");
		transcript_release(&t);
	}
}

/* A line that is as long as can be shown, and longer ones, in one piece and in several. */
static void
long_lines_are_cut(void **state)
{
	enum { SHOWN = TRANSCRIPT_LINE_MAX - 4 };
	char line[2 * TRANSCRIPT_LINE_MAX];
	struct transcript t;

	(void)state;
	memset(line, 'x', sizeof(line));
	for (size_t n = SHOWN - 2; n < SHOWN + 4; n++)
		for (size_t step = 1; step <= n; step++) {
			transcript_init(&t, SMTP_NOTICE_POLICY);
			transcript_add(&t, "In: ", span_of(line, n));
			for (size_t i = 0; i < n; i += step)
				transcript_stream(&t, "In: ", span_slice(span_of(line, n), i, i + step));
			transcript_stream(&t, "In: ", SPAN("\r\n"));
			assert_int_equal(t.text.n, 2 * (6 + (n <= SHOWN ? n : SHOWN + 3) + 1));
			assert_memory_equal(t.text.p, t.text.p + t.text.n / 2, t.text.n / 2);
			assert_int_equal(memcmp(t.text.p + t.text.n - 5, "x...\n", 5) == 0, n > SHOWN);
			transcript_release(&t);
		}
}

static void
the_middle_goes_first(void **state)
{
	struct transcript t;
	char line[2000];
	const char *text;

	(void)state;
	transcript_init(&t, SMTP_NOTICE_POLICY);
	for (unsigned i = 0; i < 10000; i++) {
		memset(line, 'x', sizeof(line));
		snprintf(line, sizeof(line), "line %u ", i);
		line[strlen(line)] = 'y';
		transcript_add(&t, "In: ", span_of(line, i % 1900 + 20));
		assert_true(t.text.n <= TRANSCRIPT_MAX);
	}
	text = written(&t);
	assert_true(strncmp(text, " In:  line 0 ", 13) == 0);
	assert_non_null(strstr(text, "\n [... lines are left out here ...]\n In:  line "));
	assert_non_null(strstr(text, "\n In:  line 9999 "));
	assert_null(strstr(text, "line 5000 "));
	assert_int_equal(t.lines, 10000);
	transcript_release(&t);
}

static void
nothing_is_kept_for_nobody(void **state)
{
	struct transcript t;

	(void)state;
	transcript_init(&t, 0);
	transcript_add(&t, "In: ", SPAN("x\r\n"));
	transcript_stream(&t, "In: ", SPAN("x\r\n"));
	transcript_trouble(&t, SMTP_NOTICE_POLICY);
	assert_int_equal(t.text.cap, 0);
	assert_int_equal(transcript_due(&t), 0);
	transcript_release(&t);
	transcript_init(&t, SMTP_NOTICE_POLICY);
	t.muted = true;
	transcript_trouble(&t, SMTP_NOTICE_POLICY);
	assert_int_equal(transcript_due(&t), 0);
	transcript_release(&t);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(classes_of_the_parameter),
	KIT_TEST(senders_of_notices),
	KIT_TEST(lines_however_they_come),
	KIT_TEST(long_lines_are_cut),
	KIT_TEST(the_middle_goes_first),
	KIT_TEST(nothing_is_kept_for_nobody),
};

KIT_MAIN(tests)
