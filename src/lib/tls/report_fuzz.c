/* Fuzz: TXT records, and datagrams made of whatever they say. */
#include "tls/report.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span text = span_of(p, n), half = span_slice(text, 0, n / 2), record;
	struct dns_record records[] = { { .type = DNS_TYPE_TXT, .data = text }, { .type = DNS_TYPE_TXT, .data = half } };
	const struct dns_answer one = { .status = DNS_SECURE, .records = records, .count = 1 }, two = { .status = DNS_SECURE, .records = records, .count = 2 };
	const struct span strings[] = { text, half };
	const struct tls_report_policy policy = { .type = TLS_REPORT_STS, .domain = text, .strings = strings, .n_strings = 2, .mx = strings, .n_mx = 2 };
	const struct tls_report_event e = { .code = TLS_REPORT_VALIDATION_FAILURE };
	const struct tls_report_peer peer = { text, half, text, half };
	struct fault why;
	enum tls_report_found found = tls_report_find(&one, &record, &why);
	struct buf inner, out;

	ensure(found != TLS_REPORT_SEVERAL && found != TLS_REPORT_FAILED);
	ensure((found == TLS_REPORT_NO_RECORD) != tls_report_is_record(text));
	if (tls_report_is_record(half))
		ensure(tls_report_find(&two, &record, &why) == TLS_REPORT_SEVERAL && record.n == 0);
	if (found != TLS_REPORT_ASKED_FOR)
		record = SPAN("v=TLSRPTv1;");
	buf_init(&inner, TLS_REPORT_POLICIES_MAX);
	buf_init(&out, TLS_REPORT_DATAGRAM_MAX);
	(void)tls_report_write_policies(&inner, &policy, &e, &peer);
	tls_report_write(&out, SPAN("example.org"), record, buf_span(&inner));
	ensure(!inner.full && !out.full && span_is_utf8(buf_span(&out)) && span_ends(buf_span(&out), SPAN("}]}")));
	buf_release(&inner);
	buf_release(&out);
	return 0;
}
