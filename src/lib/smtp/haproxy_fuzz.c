/* Fuzz: PROXY headers. Decided once is decided for good, never beyond its bytes, and addresses are whole. */
#include "base/panic.h"
#include "smtp/haproxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct haproxy_header h, first = { 0 };
	enum haproxy_result got = HAPROXY_MORE;
	struct fault why;

	if (n > HAPROXY_MAX)
		return 0;
	for (size_t cut = n > 600 ? n - 600 : 0; cut <= n; cut++) {
		enum haproxy_result now = haproxy_parse(span_of(p, cut), &h, &why);

		ensure(got == HAPROXY_MORE || now == got);
		if (now == HAPROXY_DONE) {
			ensure(h.used > 0 && h.used <= cut);
			ensure(h.direct || ((h.client_n == 4 || h.client_n == 16) && (h.server_n == 4 || h.server_n == 16)));
			ensure(h.client_port <= 65535 && h.server_port <= 65535);
			ensure(got == HAPROXY_MORE || h.used == first.used);
			first = h;
		}
		got = now;
	}
	ensure(n < HAPROXY_MAX || got != HAPROXY_MORE);
	return 0;
}
