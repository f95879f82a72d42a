/* Answers as bytes: inside IPC messages and the resolver's own cache of native lookups. */
#include "dns/dns.h"

#include <stdio.h>

#include "base/rd.h"

enum { NAME_BYTES = DNS_NAME_MAX, WHY_BYTES = 1024, RDATA_BYTES = UINT16_MAX };

/* Bits of the flags byte. */
enum { FLAG_NODATA = 1, FLAG_NXDOMAIN = 2, FLAG_ALIAS = 4, FLAG_LOCAL = 8, FLAG_ALL = 15 };

static void
put_le(struct buf *out, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		buf_addc(out, (char)(uint8_t)(v >> (8 * i)));
}

static void
put_sized(struct buf *out, struct span s)
{
	put_le(out, s.n, 4);
	buf_add_span(out, s);
}

static unsigned
flags_of(const struct dns_answer *d)
{
	return (d->nodata ? FLAG_NODATA : 0u) | (d->nxdomain ? FLAG_NXDOMAIN : 0u) |
	    (d->alias ? FLAG_ALIAS : 0u) | (d->local ? FLAG_LOCAL : 0u);
}

bool
dns_answer_write(struct buf *out, const struct dns_answer *d)
{
	size_t start = out->n;

	put_sized(out, d->name);
	put_le(out, d->type, 2);
	put_le(out, d->status, 1);
	put_le(out, d->rcode, 1);
	put_le(out, flags_of(d), 1);
	put_le(out, d->ttl_s, 4);
	put_sized(out, d->canon);
	put_sized(out, d->why);
	put_le(out, d->count, 2);
	for (size_t i = 0; i < d->count; i++) {
		const struct dns_record *r = &d->records[i];

		put_le(out, r->pref, 2);
		put_le(out, r->weight, 2);
		put_le(out, r->port, 2);
		put_le(out, r->usage, 1);
		put_le(out, r->selector, 1);
		put_le(out, r->matching, 1);
		put_sized(out, r->data);
	}
	if (out->full)
		buf_truncate(out, start);
	return !out->full;
}

static void
read_record(struct rd *r, struct arena *a, uint16_t type, struct dns_record *rec)
{
	rec->type = type;
	rec->pref = rd_u16(r);
	rec->weight = rd_u16(r);
	rec->port = rd_u16(r);
	rec->usage = rd_u8(r);
	rec->selector = rd_u8(r);
	rec->matching = rd_u8(r);
	rec->data = arena_dup(a, rd_sized(r, RDATA_BYTES));
	if ((type == DNS_TYPE_A && rec->data.n != 4) || (type == DNS_TYPE_AAAA && rec->data.n != 16))
		r->bad = true;
}

/* The facts must not contradict each other: whoever reads them relies on it. */
static bool
consistent(const struct dns_answer *d, unsigned flags)
{
	if (flags > FLAG_ALL || d->status > DNS_FAILED)
		return false;
	if ((d->nodata && d->nxdomain) || (d->count > 0 && (d->nodata || d->nxdomain)))
		return false;
	return !d->local || d->status != DNS_SECURE;
}

bool
dns_answer_read(struct span bytes, struct arena *a, struct dns_answer *d_r)
{
	struct rd r = rd_init(bytes);
	unsigned status, flags;

	memset(d_r, 0, sizeof(*d_r));
	d_r->name = arena_dup(a, rd_sized(&r, NAME_BYTES));
	d_r->type = rd_u16(&r);
	status = rd_u8(&r);
	d_r->status = status > DNS_FAILED ? DNS_FAILED : (enum dns_status)status;
	d_r->rcode = rd_u8(&r);
	flags = rd_u8(&r);
	d_r->nodata = (flags & FLAG_NODATA) != 0;
	d_r->nxdomain = (flags & FLAG_NXDOMAIN) != 0;
	d_r->alias = (flags & FLAG_ALIAS) != 0;
	d_r->local = (flags & FLAG_LOCAL) != 0;
	d_r->ttl_s = rd_u32(&r);
	d_r->canon = arena_dup(a, rd_sized(&r, NAME_BYTES));
	d_r->why = arena_dup(a, rd_sized(&r, WHY_BYTES));
	d_r->count = rd_u16(&r);
	if (r.bad || status > DNS_FAILED || d_r->count > DNS_RECORDS_MAX || !consistent(d_r, flags))
		return false;
	d_r->records = ARENA_ARRAY(a, struct dns_record, d_r->count);
	for (size_t i = 0; i < d_r->count && !r.bad; i++)
		read_record(&r, a, d_r->type, &d_r->records[i]);
	return rd_done(&r);
}

void
dns_answer_fail(struct dns_answer *d_r, struct arena *a, struct span name, enum dns_type type, const char *why)
{
	struct span text = span_str(why);

	memset(d_r, 0, sizeof(*d_r));
	d_r->name = d_r->canon = dns_name_lower(a, span_slice(name, 0, NAME_BYTES));
	d_r->type = (uint16_t)type;
	d_r->status = DNS_FAILED;
	d_r->rcode = DNS_RCODE_SERVFAIL;
	d_r->why = arena_dup(a, span_slice(text, 0, WHY_BYTES));
}

const char *
dns_type_name(uint16_t type)
{
	static char other[16];

	switch ((int)type) {
	case DNS_TYPE_A: return "A";
	case DNS_TYPE_NS: return "NS";
	case DNS_TYPE_CNAME: return "CNAME";
	case DNS_TYPE_SOA: return "SOA";
	case DNS_TYPE_PTR: return "PTR";
	case DNS_TYPE_MX: return "MX";
	case DNS_TYPE_TXT: return "TXT";
	case DNS_TYPE_AAAA: return "AAAA";
	case DNS_TYPE_SRV: return "SRV";
	case DNS_TYPE_TLSA: return "TLSA";
	default:
		snprintf(other, sizeof(other), "TYPE%u", type);
		return other;
	}
}

const char *
dns_status_name(enum dns_status status)
{
	switch (status) {
	case DNS_SECURE: return "secure";
	case DNS_INSECURE: return "insecure";
	case DNS_BOGUS: return "bogus";
	case DNS_FAILED: return "failed";
	}
	return "?";
}
