/* Fuzz: DNS response packets; what was parsed must survive the codec. */
#include "dns/dns.h"

#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const enum dns_type types[] = { DNS_TYPE_A, DNS_TYPE_NS, DNS_TYPE_CNAME, DNS_TYPE_SOA, DNS_TYPE_PTR,
		DNS_TYPE_MX, DNS_TYPE_TXT, DNS_TYPE_AAAA, DNS_TYPE_SRV, DNS_TYPE_TLSA };
	struct arena *a = arena_new(16 << 20);
	struct dns_answer d, back;
	struct buf b;

	if (n > 0 && dns_parse_packet(span_of(p + 1, n - 1), SPAN("a.b"), types[p[0] % 10], a, &d, NULL)) {
		buf_init(&b, 8 << 20);
		if (dns_answer_write(&b, &d))
			ensure(dns_answer_read(buf_span(&b), a, &back) && back.count == d.count);
		buf_release(&b);
	}
	arena_free(&a);
	return 0;
}
