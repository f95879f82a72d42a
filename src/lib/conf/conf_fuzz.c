/* Fuzz: main.cf and master.cf, divided by the first 0xff byte. What could be read must survive the canonical text. */
#include "base/panic.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
round_trip(const struct conf *c)
{
	struct conf *back = NULL;
	struct buf one, two;
	struct fault why;

	buf_init(&one, 64U << 20);
	buf_init(&two, 64U << 20);
	conf_write(c, &one);
	if (!conf_read(buf_span(&one), &back, &why))
		panic("canonical text is refused: %s", why.text);
	conf_write(back, &two);
	ensure(span_eq(buf_span(&one), buf_span(&two)));
	conf_unref(&back);
	buf_release(&one);
	buf_release(&two);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span main_cf, master_cf;
	struct conf_report report;
	struct conf *c = NULL;
	struct buf text;

	if (n > 16384)
		return 0;
	span_cut(span_of(p, n), (char)0xff, &main_cf, &master_cf);
	conf_report_init(&report);
	conf_parse(main_cf, master_cf, &c, &report);
	if (c != NULL)
		round_trip(c);
	buf_init(&text, 1U << 20);
	conf_report_print(&report, CONF_NOTE, &text);
	buf_release(&text);
	conf_unref(&c);
	conf_report_release(&report);
	return 0;
}
