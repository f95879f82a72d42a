/* Fuzz: canonical text as a role receives it. The input replaces or changes part of a good text, so that it gets somewhere. */
#include "base/panic.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct buf good;

static void
make_good(void)
{
	struct conf_report report;
	struct conf *c = NULL;

	conf_report_init(&report);
	conf_parse(SPAN("relayhost = [h]\n"), SPAN("smtp unix - - n - - smtp -o smtp_helo_timeout=3s\n"), &c, &report);
	buf_init(&good, 1U << 20);
	conf_write(c, &good);
	conf_unref(&c);
	conf_report_release(&report);
}

static void
read_back(struct span text)
{
	struct conf *c = NULL;
	struct fault why;
	struct buf again;

	if (!conf_read(text, &c, &why))
		return;
	buf_init(&again, 64U << 20);
	conf_write(c, &again);
	buf_release(&again);
	conf_unref(&c);
}

/* Two bytes say where, the rest is what. */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf text;
	size_t at;

	if (good.p == NULL)
		make_good();
	read_back(span_of(p, n));
	if (n < 2 || n > 4096)
		return 0;
	at = ((size_t)p[0] << 8 | p[1]) % good.n;
	buf_init(&text, 2U << 20);
	buf_add(&text, good.p, at);
	buf_add(&text, p + 2, n - 2);
	buf_add(&text, good.p + at, good.n - at);
	read_back(buf_span(&text));
	buf_truncate(&text, at + n - 2);
	if (at + n - 2 < good.n)
		buf_add(&text, good.p + at + n - 2, good.n - at - n + 2);
	read_back(buf_span(&text));
	buf_release(&text);
	return 0;
}
