/* Datagrams of protocol 1 of libtlsrpt: keys, order and numbers as that library writes them. */
#include <stdio.h>

#include "tls/report.h"
#include "tls/why.h"

enum { NAME_BYTES = 255, ADDRESS_BYTES = 64, REASON_BYTES = 128, TAIL_BYTES = 2048 };

/* `s` as a JSON string, all of it; bytes that are no UTF-8 become '?' (RFC 7493 section 2.1). */
static void
put_string(struct buf *out, struct span s)
{
	size_t from = 0, n;

	buf_addc(out, '"');
	for (size_t i = 0; i < s.n; i += n) {
		char c = s.p[i];

		for (n = 1; n < 4 && i + n < s.n && !span_is_utf8(span_slice(s, i, i + n)); n++)
			;
		if (!span_is_utf8(span_slice(s, i, i + n)))
			n = 0;
		if (n > 0 && c != '"' && c != '\\' && (unsigned char)c >= ' ' && c != 0x7f)
			continue;
		buf_add_span(out, span_slice(s, from, i));
		if (n == 0)
			buf_addc(out, '?');
		else if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else
			buf_addf(out, "\\u%04x", (unsigned char)c);
		n = 1;
		from = i + 1;
	}
	buf_add_span(out, span_from(s, from));
	buf_addc(out, '"');
}

static void
member(struct buf *out, const char *name, struct span value, size_t max)
{
	if (value.n == 0)
		return;
	buf_addf(out, ",\"%s\":", name);
	(void)tls_why_string(out, value, max);
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
		put_string(&one, v[i]);
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
	(void)tls_why_string(out, domain, NAME_BYTES);
	buf_add_str(out, ",\"pr\":");
	put_string(out, record);
	buf_add_str(out, ",\"policies\":");
	buf_add_span(out, policies);
	buf_addc(out, '}');
}
