/* Read cursor. */
#include "base/rd.h"

struct rd
rd_init(struct span s)
{
	const uint8_t *p = (const uint8_t *)s.p;

	return (struct rd){ p, s.n == 0 ? p : p + s.n, false };
}

struct span
rd_bytes(struct rd *r, size_t n)
{
	struct span s = { (const char *)r->p, n };

	if (r->bad || rd_left(r) < n) {
		r->bad = true;
		return (struct span){ NULL, 0 };
	}
	if (n > 0)
		r->p += n;
	return s;
}

static uint64_t
get(struct rd *r, size_t n, bool big)
{
	struct span s = rd_bytes(r, n);
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint64_t byte = (unsigned char)s.p[i];

		v |= byte << (8 * (big ? n - 1 - i : i));
	}
	return v;
}

uint8_t
rd_u8(struct rd *r)
{
	return (uint8_t)get(r, 1, false);
}

uint16_t
rd_u16(struct rd *r)
{
	return (uint16_t)get(r, 2, false);
}

uint32_t
rd_u32(struct rd *r)
{
	return (uint32_t)get(r, 4, false);
}

uint64_t
rd_u64(struct rd *r)
{
	return get(r, 8, false);
}

uint16_t
rd_be16(struct rd *r)
{
	return (uint16_t)get(r, 2, true);
}

uint32_t
rd_be32(struct rd *r)
{
	return (uint32_t)get(r, 4, true);
}

struct span
rd_sized(struct rd *r, size_t max)
{
	size_t n = rd_u32(r);

	if (n > max)
		r->bad = true;
	return rd_bytes(r, n);
}

bool
rd_done(const struct rd *r)
{
	return !r->bad && r->p == r->end;
}
