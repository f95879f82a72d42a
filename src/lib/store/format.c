/* The text of a message file: preamble and record lines. */
#include <stdio.h>

#include "base/panic.h"
#include "base/rd.h"
#include "base/text.h"
#include "store/crc32c.h"
#include "store/flat.h"

enum { PREAMBLE_CHECKED = FLAT_PREAMBLE - 15, RECORD_CRC = 9 };

void
flat_path(const char *qid, char path_r[static FLAT_PATH])
{
	/* ids share their first half for seconds on end: hash all of it */
	uint32_t h = crc32c(0, span_str(qid));

	snprintf(path_r, FLAT_PATH, "mail/%02x/%s", h % FLAT_DIRS, qid);
}

void
flat_preamble(const struct store_place *p, uint32_t envelope_crc, char out[static FLAT_PREAMBLE + 1])
{
	int n = snprintf(out, FLAT_PREAMBLE + 1,
	    "signet-message 1\nenvelope %020llu %010u %08x\ncontent  %020llu %020llu %08x\n",
	    (unsigned long long)p->envelope_off, p->envelope_bytes, envelope_crc,
	    (unsigned long long)p->content_off, (unsigned long long)p->content_bytes, p->content_crc);

	ensure(n == PREAMBLE_CHECKED);
	snprintf(out + n, FLAT_PREAMBLE + 1 - (size_t)n, "check %08x\n",
	    crc32c(0, span_of(out, PREAMBLE_CHECKED)));
}

/* Eight hex digits, as we write them. */
static bool
hex32(struct span s, uint32_t *v_r)
{
	*v_r = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : (uint32_t)(c - 'a' + 10);

		if (!ascii_isdigit(c) && (c < 'a' || c > 'f'))
			return false;
		*v_r = *v_r << 4 | digit;
	}
	return s.n == 8;
}

/* `n` decimal digits at `at`, of at most `max`. */
static uint64_t
number(struct span s, size_t at, size_t n, uint64_t max, bool *bad)
{
	uint64_t v = 0;

	if (!span_u64(span_slice(s, at, at + n), max, &v))
		*bad = true;
	return v;
}

bool
flat_preamble_parse(struct span s, struct store_place *place_r, uint32_t *envelope_crc_r)
{
	uint32_t check, content_crc;
	bool bad = false;

	*place_r = (struct store_place){ 0 };
	*envelope_crc_r = 0;
	if (s.n < FLAT_PREAMBLE || !span_starts(s, SPAN("signet-message 1\nenvelope ")))
		return false;
	if (!hex32(span_slice(s, PREAMBLE_CHECKED + 6, FLAT_PREAMBLE - 1), &check) ||
	    check != crc32c(0, span_slice(s, 0, PREAMBLE_CHECKED)))
		return false;
	place_r->envelope_off = number(s, 26, 20, INT64_MAX / 2, &bad);
	place_r->envelope_bytes = (uint32_t)number(s, 47, 10, STORE_ENVELOPE_MAX, &bad);
	place_r->content_off = (uint32_t)number(s, 76, 20, UINT32_MAX, &bad);
	place_r->content_bytes = number(s, 97, 20, INT64_MAX / 2, &bad);
	if (bad || !hex32(span_slice(s, 58, 66), envelope_crc_r) ||
	    !hex32(span_slice(s, 118, 126), &content_crc))
		return false;
	place_r->content_crc = content_crc;
	return place_r->envelope_off >= FLAT_PREAMBLE && place_r->content_off >= FLAT_PREAMBLE;
}

uint64_t
flat_records_off(const struct store_place *p)
{
	uint64_t envelope_end = p->envelope_off + p->envelope_bytes;
	uint64_t content_end = p->content_off + p->content_bytes;

	return envelope_end > content_end ? envelope_end : content_end;
}

void
flat_records_encode(struct buf *out, struct span records, uint32_t *chain)
{
	struct span line;

	while (store_record_next(&records, &line)) {
		*chain = crc32c(*chain, line);
		buf_addf(out, "%08x ", *chain);
		buf_add_span(out, line);
		buf_addc(out, '\n');
	}
}

size_t
flat_records_decode(char *raw, size_t n, uint64_t *tail, uint32_t *chain)
{
	struct span rest = span_of(raw, n), line;
	size_t packed = 0;

	while (span_cut(rest, '\n', &line, &rest)) {
		struct span text = span_from(line, RECORD_CRC);
		uint32_t crc;

		if (!hex32(span_slice(line, 0, 8), &crc) || line.n < RECORD_CRC || line.p[8] != ' ' ||
		    crc != crc32c(*chain, text))
			break;
		*chain = crc;
		*tail += line.n + 1;
		memmove(raw + packed, text.p, text.n);
		packed += text.n;
		raw[packed++] = '\n';
	}
	return packed;
}

bool
store_record_next(struct span *rest, struct span *record_r)
{
	return rest->n > 0 && (span_cut(*rest, '\n', record_r, rest) || record_r->n > 0);
}
