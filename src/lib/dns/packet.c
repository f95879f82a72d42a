/*
 * Response packets (RFC 1035 section 4, 3597, 6698). The packet is hostile: every length
 * is checked by base/rd, compression pointers must go backwards, everything has a cap.
 */
#include "dns/dns.h"

#include "base/log.h"
#include "base/rd.h"

/* One record as it stands in the packet. */
struct raw {
	char owner[DNS_NAME_MAX];
	size_t owner_n;
	uint16_t type;
	uint32_t ttl_s;
	struct span rdata;
};

/* Where the parser is. `whole` is kept for compression pointers. */
struct packet {
	struct span whole;
	struct rd r;
	uint16_t n_answer, n_authority;
	uint8_t rcode;
};

/* Longest text one wire byte becomes: "\255". */
static bool
put_byte(char *out, size_t *n, uint8_t c)
{
	static const char digits[] = "0123456789";

	if (*n + 5 > DNS_NAME_MAX)
		return false;
	if (ascii_isalnum((char)c) || c == '-' || c == '_') {
		out[(*n)++] = ascii_lower((char)c);
		return true;
	}
	out[(*n)++] = '\\';
	out[(*n)++] = digits[c / 100];
	out[(*n)++] = digits[c / 10 % 10];
	out[(*n)++] = digits[c % 10];
	return true;
}

/*
 * A name at the cursor, as text. `r` ends up behind the name in place. Pointers only lead
 * to before the place they stand at, so this ends; 255 wire bytes at most (RFC 1035 3.1).
 */
static bool
read_name(struct rd *r, struct span whole, char out[DNS_NAME_MAX], size_t *n_r)
{
	struct rd at = *r;
	bool jumped = false;
	size_t n = 0, wire = 0;
	uint8_t len;

	while ((len = rd_u8(&at)) != 0 && !at.bad) {
		if ((len & 0xc0) == 0xc0) {
			size_t here = (size_t)(at.p - (const uint8_t *)whole.p) - 1;
			size_t to = (size_t)(len & 0x3f) << 8 | rd_u8(&at);

			if (!jumped)
				*r = at;
			jumped = true;
			if (at.bad || to >= here)
				return false;
			at = rd_init(span_from(whole, to));
			continue;
		}
		wire += (size_t)len + 1;
		if ((len & 0xc0) != 0 || wire > 254)
			return false;
		if (n > 0)
			out[n++] = '.';
		for (unsigned i = 0; i < len; i++)
			if (!put_byte(out, &n, rd_u8(&at)))
				return false;
	}
	if (!jumped)
		*r = at;
	if (n == 0)
		out[n++] = '.';
	*n_r = n;
	return !at.bad && !r->bad;
}

static bool
read_raw(struct packet *p, struct raw *w)
{
	if (!read_name(&p->r, p->whole, w->owner, &w->owner_n))
		return false;
	w->type = rd_be16(&p->r);
	if (rd_be16(&p->r) != 1 && w->type != 41)       /* class IN; OPT uses the field otherwise */
		w->type = 0;
	w->ttl_s = rd_be32(&p->r);
	if (w->ttl_s > INT32_MAX)
		w->ttl_s = 0;           /* RFC 2181 section 8 */
	w->rdata = rd_bytes(&p->r, rd_be16(&p->r));
	return !p->r.bad;
}

/* A name inside rdata: it must end with the rdata when `last`. */
static bool
rdata_name(struct rd *r, struct span whole, bool last, struct arena *a, struct span *name_r)
{
	char text[DNS_NAME_MAX];
	size_t n;

	if (!read_name(r, whole, text, &n) || (last && rd_left(r) != 0))
		return false;
	*name_r = arena_dup(a, span_of(text, n));
	return true;
}

static bool
rdata_txt(struct rd *r, struct arena *a, struct span *text_r)
{
	char *p = arena_alloc(a, rd_left(r) + 1);
	size_t n = 0;

	while (rd_left(r) > 0 && !r->bad) {
		struct span s = rd_bytes(r, rd_u8(r));

		if (s.n > 0)
			memcpy(p + n, s.p, s.n);
		n += s.n;
	}
	*text_r = span_of(p, n);
	return !r->bad;
}

static bool
rdata_bytes(struct rd *r, size_t exactly, struct arena *a, struct span *data_r)
{
	if (exactly != 0 && rd_left(r) != exactly)
		return false;
	*data_r = arena_dup(a, rd_bytes(r, rd_left(r)));
	return true;
}

static bool
read_rdata(struct span whole, struct span rdata, uint16_t type, struct arena *a, struct dns_record *rec)
{
	struct rd r = rd_init(rdata);

	memset(rec, 0, sizeof(*rec));
	rec->type = type;
	switch ((int)type) {
	case DNS_TYPE_A:
		return rdata_bytes(&r, 4, a, &rec->data);
	case DNS_TYPE_AAAA:
		return rdata_bytes(&r, 16, a, &rec->data);
	case DNS_TYPE_MX:
		rec->pref = rd_be16(&r);
		return rdata_name(&r, whole, true, a, &rec->data);
	case DNS_TYPE_NS:
	case DNS_TYPE_CNAME:
	case DNS_TYPE_PTR:
		return rdata_name(&r, whole, true, a, &rec->data);
	case DNS_TYPE_SOA:
		return rdata_name(&r, whole, false, a, &rec->data);
	case DNS_TYPE_SRV:
		rec->pref = rd_be16(&r);
		rec->weight = rd_be16(&r);
		rec->port = rd_be16(&r);
		return rdata_name(&r, whole, true, a, &rec->data);
	case DNS_TYPE_TXT:
		return rdata_txt(&r, a, &rec->data);
	case DNS_TYPE_TLSA:
		rec->usage = rd_u8(&r);
		rec->selector = rd_u8(&r);
		rec->matching = rd_u8(&r);
		return !r.bad && rdata_bytes(&r, 0, a, &rec->data);
	default:
		return rdata_bytes(&r, 0, a, &rec->data);
	}
}

static bool
read_header(struct packet *p)
{
	uint16_t flags, n_question;
	char name[DNS_NAME_MAX];
	size_t n;

	(void)rd_be16(&p->r);           /* id: the resolver has matched it */
	flags = rd_be16(&p->r);
	n_question = rd_be16(&p->r);
	p->n_answer = rd_be16(&p->r);
	p->n_authority = rd_be16(&p->r);
	(void)rd_be16(&p->r);
	if (p->r.bad || (flags & 0x8000) == 0 || n_question > 1)
		return false;
	p->rcode = (uint8_t)(flags & 15);
	if (n_question == 0)
		return true;
	if (!read_name(&p->r, p->whole, name, &n))
		return false;
	(void)rd_bytes(&p->r, 4);
	return !p->r.bad;
}

static void
lower_ttl(uint32_t *ttl, uint32_t by)
{
	if (by < *ttl)
		*ttl = by;
}

/* The records and CNAMEs of the answer section that belong to the question. */
static bool
read_answers(struct packet *p, struct arena *a, struct dns_answer *d)
{
	uint32_t ttl_s = UINT32_MAX;
	struct raw w;

	d->records = ARENA_ARRAY(a, struct dns_record, p->n_answer);
	for (unsigned i = 0; i < p->n_answer; i++) {
		struct dns_record rec;
		bool mine;

		if (!read_raw(p, &w))
			return false;
		mine = span_eq(span_of(w.owner, w.owner_n), d->canon);
		if (!mine || (w.type != d->type && w.type != DNS_TYPE_CNAME))
			continue;
		if (!read_rdata(p->whole, w.rdata, w.type, a, &rec))
			return false;
		lower_ttl(&ttl_s, w.ttl_s);
		if (w.type == d->type) {
			d->records[d->count++] = rec;
			continue;
		}
		if (d->count > 0)
			return false;           /* a CNAME beside other data */
		d->canon = rec.data;
		d->alias = true;
	}
	if (ttl_s != UINT32_MAX)
		d->ttl_s = ttl_s;
	return true;
}

/* Life of a negative answer: the smaller of the SOA's TTL and its last field (RFC 2308 section 5). */
static bool
read_negative_ttl(struct packet *p, struct dns_answer *d)
{
	struct raw w;

	for (unsigned i = 0; i < p->n_authority; i++) {
		struct rd minimum;
		uint32_t ttl_s;

		if (!read_raw(p, &w))
			return false;
		if (w.type != DNS_TYPE_SOA || w.rdata.n < 22)
			continue;
		minimum = rd_init(span_from(w.rdata, w.rdata.n - 4));
		ttl_s = rd_be32(&minimum);
		lower_ttl(&ttl_s, w.ttl_s);
		if (d->ttl_s == 0 || ttl_s < d->ttl_s)
			d->ttl_s = ttl_s;
	}
	return true;
}

/* The question in the spelling that read_name gives owners, so that the two compare. */
static struct span
canonical(struct arena *a, struct span name)
{
	char out[DNS_NAME_MAX];
	size_t n = 0;

	name = dns_name_lower(a, name);
	for (size_t i = 0; i < name.n; i++) {
		bool plain = name.p[i] == '.' || name.p[i] == '\\';

		if (n + 5 > sizeof(out))
			return name;
		if (plain)
			out[n++] = name.p[i];
		else
			(void)put_byte(out, &n, (uint8_t)name.p[i]);
	}
	return arena_dup(a, span_of(out, n));
}

bool
dns_parse_packet(struct span packet, struct span name, enum dns_type type, struct arena *a,
    struct dns_answer *d_r, struct fault *why)
{
	struct packet p = { .whole = packet, .r = rd_init(packet) };

	memset(d_r, 0, sizeof(*d_r));
	d_r->name = d_r->canon = canonical(a, name);
	d_r->type = (uint16_t)type;
	d_r->status = DNS_INSECURE;
	if (packet.n > UINT16_MAX || !read_header(&p) || p.n_answer > DNS_RECORDS_MAX ||
	    !read_answers(&p, a, d_r) || (d_r->count == 0 && !read_negative_ttl(&p, d_r)))
		return fault_set(why, "4.4.3", "malformed DNS answer for %.*s type %s",
		    SPAN_ARG(log_esc(name)), dns_type_name((uint16_t)type));
	d_r->rcode = p.rcode;
	if (p.rcode != DNS_RCODE_OK)
		d_r->count = 0;
	d_r->nxdomain = p.rcode == DNS_RCODE_NXDOMAIN;
	d_r->nodata = p.rcode == DNS_RCODE_OK && d_r->count == 0;
	return true;
}
