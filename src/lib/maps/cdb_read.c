/* The constant database format: 256 hash tables behind the records, all offsets 32 bits little-endian. */
#include "maps/cdb_read.h"

#include <errno.h>

#include "base/fd.h"
#include "base/rd.h"
#include "maps/maps.h"

#define SLOTS_AT_ONCE 16u
#define MAX_PROBES 65536u       /* tables are half empty; a longer run is damage */
#define RECORD_GUESS 512u       /* most records come with the first read */

bool
cdb_file_init(struct cdb_file *c, int fd, struct fault *why)
{
	struct stat st;
	int r = fd_stat(fd, &st);

	c->fd = fd;
	c->size = r == 0 ? (uint64_t)st.st_size : 0;
	if (r == 0)
		r = fd_pread_all(fd, c->header, sizeof(c->header), 0);
	if (r == 0)
		return true;
	cdb_file_release(c);
	return fault_set(why, "4.3.0", "%s", r == -ENODATA ? "the file is too short for a cdb" : fd_error(r));
}

void
cdb_file_release(struct cdb_file *c)
{
	fd_close(&c->fd);
}

static uint32_t
cdb_hash(struct span key)
{
	uint32_t h = 5381;

	for (size_t i = 0; i < key.n; i++)
		h = ((h << 5) + h) ^ (uint8_t)key.p[i];
	return h;
}

static enum map_result
damaged(struct fault *why, const char *text)
{
	fault_set(why, "4.3.0", "damaged cdb: %s", text);
	return MAP_DEFER;
}

static enum map_result
read_failed(struct fault *why, int r)
{
	if (r == -ENODATA)
		return damaged(why, "the file ends early");
	fault_set(why, "4.3.0", "cannot read: %s", fd_error(r));
	return MAP_DEFER;
}

/* FOUND when the record at `pos` has this key. */
static enum map_result
compare_record(struct cdb_file *c, uint32_t pos, struct span key, struct arena *a,
    struct span *value_r, struct fault *why)
{
	char first[8 + MAPS_KEY_MAX + RECORD_GUESS];
	size_t want = 8 + key.n + RECORD_GUESS, got_value;
	uint32_t klen, vlen;
	struct rd r;
	ssize_t got;
	char *value;
	int e;

	if (pos < CDB_HEADER_BYTES || pos > c->size)
		return damaged(why, "a record lies outside the file");
	got = fd_pread(c->fd, first, want, pos);
	if (got < 8)
		return read_failed(why, got < 0 ? (int)got : -ENODATA);
	r = rd_init(span_of(first, 8));
	klen = rd_u32(&r);
	vlen = rd_u32(&r);
	if (klen != key.n)
		return MAP_ABSENT;
	if ((size_t)got < 8 + key.n)
		return damaged(why, "the file ends early");
	if (memcmp(first + 8, key.p, key.n) != 0)
		return MAP_ABSENT;
	if (vlen > MAPS_VALUE_MAX) {
		fault_set(why, "4.3.0", "the value has %u bytes, more than %u", vlen, MAPS_VALUE_MAX);
		return MAP_DEFER;
	}
	if (vlen > c->size - pos)
		return damaged(why, "a value lies outside the file");
	value = arena_alloc(a, (size_t)vlen + 1);
	got_value = (size_t)got - 8 - key.n;
	if (got_value > vlen)
		got_value = vlen;
	memcpy(value, first + 8 + key.n, got_value);
	e = fd_pread_all(c->fd, value + got_value, vlen - got_value, (uint64_t)pos + 8 + key.n + got_value);
	if (e < 0)
		return read_failed(why, e);
	*value_r = span_of(value, vlen);
	return MAP_FOUND;
}

/* A run of slots [from, from + count) of the table at `table`; MAP_WAIT means: not here, go on. */
static enum map_result
probe(struct cdb_file *c, uint64_t at, uint32_t count, uint32_t hash, struct span key, struct arena *a,
    struct span *value_r, struct fault *why)
{
	uint8_t slots[SLOTS_AT_ONCE * 8];
	int e = fd_pread_all(c->fd, slots, (size_t)count * 8, at);
	struct rd r = rd_init(span_of(slots, (size_t)count * 8));

	if (e < 0)
		return read_failed(why, e);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t h = rd_u32(&r), pos = rd_u32(&r);
		enum map_result got;

		if (pos == 0)
			return MAP_ABSENT;
		if (h != hash)
			continue;
		got = compare_record(c, pos, key, a, value_r, why);
		if (got != MAP_ABSENT)
			return got;
	}
	return MAP_WAIT;
}

enum map_result
cdb_file_find(struct cdb_file *c, struct span key, struct arena *a, struct span *value_r,
    struct fault *why)
{
	uint32_t hash = cdb_hash(key), table, slots, at, done = 0;
	struct rd r = rd_init(span_of(c->header + (size_t)(hash & 255) * 8, 8));

	if (key.n > MAPS_KEY_MAX)
		return MAP_ABSENT;
	table = rd_u32(&r);
	slots = rd_u32(&r);
	if (slots == 0)
		return MAP_ABSENT;
	if (table > c->size || (c->size - table) / 8 < slots)
		return damaged(why, "a hash table lies outside the file");
	at = (hash >> 8) % slots;
	while (done < slots && done < MAX_PROBES) {
		uint32_t count = slots - at < SLOTS_AT_ONCE ? slots - at : SLOTS_AT_ONCE;
		enum map_result got;

		if (count > slots - done)
			count = slots - done;
		got = probe(c, (uint64_t)table + (uint64_t)at * 8, count, hash, key, a, value_r, why);
		if (got != MAP_WAIT)
			return got;
		done += count;
		at = at + count == slots ? 0 : at + count;
	}
	return done < slots ? damaged(why, "a hash table has no end") : MAP_ABSENT;
}

/* The record at `*pos`: read into `b`, step over it. */
static int
read_record(struct cdb_file *c, uint64_t *pos, uint64_t end, struct buf *b, struct span *key_r,
    struct span *value_r)
{
	uint8_t head[8];
	uint32_t klen, vlen;
	struct rd r;
	char *room;
	int e = end - *pos < 8 ? -ENODATA : fd_pread_all(c->fd, head, 8, *pos);

	if (e < 0)
		return e;
	r = rd_init(span_of(head, 8));
	klen = rd_u32(&r);
	vlen = rd_u32(&r);
	if ((uint64_t)klen + vlen > end - *pos - 8)
		return -ENODATA;
	buf_clear(b);
	room = buf_space(b, (size_t)klen + vlen);
	if (room == NULL)
		return -EFBIG;
	e = fd_pread_all(c->fd, room, (size_t)klen + vlen, *pos + 8);
	*key_r = span_of(room, klen);
	*value_r = span_of(room + klen, vlen);
	*pos += 8 + (uint64_t)klen + vlen;
	return e;
}

bool
cdb_file_each(struct cdb_file *c, bool (*each)(void *ctx, struct span key, struct span value),
    void *ctx, struct fault *why)
{
	struct rd r = rd_init(span_of(c->header, 4));
	uint64_t pos = CDB_HEADER_BYTES, end = rd_u32(&r);      /* the first table begins where records end */
	struct buf b;
	int e = end > c->size ? -ENODATA : 0;

	buf_init(&b, MAPS_KEY_MAX + MAPS_VALUE_MAX);
	while (e == 0 && pos < end) {
		struct span key, value;

		e = read_record(c, &pos, end, &b, &key, &value);
		if (e == 0 && !each(ctx, key, value))
			break;
	}
	buf_release(&b);
	if (e == 0)
		return true;
	read_failed(why, e);
	return false;
}
