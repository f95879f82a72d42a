/* Datagrams of protocol 1 of libtlsrpt: keys, order and numbers as that library writes them. */
#include <stdio.h>

#include "base/text.h"
#include "tls/report.h"

enum { NAME_BYTES = 255, ADDRESS_BYTES = 64, REASON_BYTES = 128, TAIL_BYTES = 2048 };

static void
member(struct buf *out, const char *name, struct span value, size_t max)
{
	if (value.n == 0)
		return;
	buf_addf(out, ",\"%s\":", name);
	(void)text_json_cut(out, value, max);
}

/* Whole strings only: half a TLSA record would be another one. How many have no room. */
static size_t
list(struct buf *out, const char *name, const struct span *v, size_t n)
{
	size_t left_out = 0, put = 0;
	struct buf one;

	buf_init(&one, TLS_REPORT_POLICIES_MAX);
	for (size_t i = 0; i < n; i++) {
		buf_clear(&one);
		text_json(&one, v[i]);
		if (one.full || out->n + one.n + TAIL_BYTES > TLS_REPORT_POLICIES_MAX) {
			left_out++;
			continue;
		}
		if (put++ == 0)
			buf_addf(out, ",\"%s\":[", name);
		else
			buf_addc(out, ',');
		buf_add_span(out, buf_span(&one));
	}
	if (put > 0)
		buf_addc(out, ']');
	buf_release(&one);
	return left_out;
}

static void
failure(struct buf *out, const struct tls_report_event *e, const struct tls_report_peer *peer)
{
	buf_addf(out, ",\"failure-details\":[{\"c\":%d", (int)e->code);
	member(out, "s", peer->sending_ip, ADDRESS_BYTES);
	member(out, "n", peer->mx, NAME_BYTES);
	member(out, "h", peer->helo, NAME_BYTES);
	member(out, "r", peer->receiving_ip, ADDRESS_BYTES);
	member(out, "f", span_str(e->reason), REASON_BYTES);
	buf_add_str(out, "}]");
}

size_t
tls_report_write_policies(struct buf *out, const struct tls_report_policy *p, const struct tls_report_event *e,
    const struct tls_report_peer *peer)
{
	bool failed = e->code != TLS_REPORT_SUCCESS;
	size_t left_out;

	buf_addf(out, "[{\"policy-type\":%d", (int)p->type);
	member(out, "policy-domain", p->domain, NAME_BYTES);
	left_out = list(out, "policy-string", p->strings, p->n_strings);
	left_out += list(out, "mx-host", p->mx, p->n_mx);
	if (failed)
		failure(out, e, peer);
	buf_addf(out, ",\"t\":%d,\"f\":%d}]", failed, failed);
	return left_out;
}

void
tls_report_write(struct buf *out, struct span domain, struct span record, struct span policies)
{
	buf_add_str(out, "{\"dpv\":\"1\",\"d\":");
	(void)text_json_cut(out, domain, NAME_BYTES);
	buf_add_str(out, ",\"pr\":");
	text_json(out, record);
	buf_add_str(out, ",\"policies\":");
	buf_add_span(out, policies);
	buf_addc(out, '}');
}
