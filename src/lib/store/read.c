/* Reading message files back: for the scan, for activation, for rewriting. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "store/crc32c.h"
#include "store/flat.h"

enum {
	HEAD_BYTES = 8192,              /* most messages whole, and the envelope of nearly all */
	COPY_BYTES = 256 << 10,
};

/* Append `n` bytes at `off` to `data`, from `head` (the file's first bytes) as far as they are in it. 0 or -errno. */
static int
take(const struct store_io *io, int fd, struct span head, uint64_t off, size_t n, struct buf *data)
{
	char *p = buf_space(data, n);
	size_t known = off < head.n ? head.n - (size_t)off : 0;

	if (p == NULL)
		return -EFBIG;
	if (known > n)
		known = n;
	memcpy(p, head.p + (known > 0 ? off : 0), known);
	data->n += n;
	return known < n ? store_io_read_all(io, fd, p + known, n - known, off + known) : 0;
}

static bool
all_zero(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '\0')
			return false;
	return true;
}

/* Envelope and records behind a good preamble. */
static enum store_found
read_parts(const struct store_io *io, int fd, uint64_t size, struct span head, uint32_t envelope_crc,
    struct buf *data, struct store_place *p, size_t *records_bytes_r, int *result_r)
{
	uint64_t at = flat_records_off(p);

	if (size < at)
		return STORE_FOUND_TORN;
	*result_r = take(io, fd, head, p->envelope_off, p->envelope_bytes, data);
	if (*result_r < 0)
		return STORE_FOUND_BAD;
	if (crc32c(0, buf_span(data)) != envelope_crc)
		return STORE_FOUND_BAD;
	p->tail = at;
	p->chain = envelope_crc;
	if (size - at > STORE_RECORDS_MAX)
		return STORE_FOUND_BAD;
	*result_r = take(io, fd, head, at, (size_t)(size - at), data);
	if (*result_r < 0)
		return STORE_FOUND_BAD;
	*records_bytes_r = flat_records_decode(data->p + p->envelope_bytes, (size_t)(size - at),
	    &p->tail, &p->chain);
	return STORE_FOUND_GOOD;
}

enum store_found
flat_read(const struct store_io *io, int fd, uint64_t end, struct buf *data,
    struct store_place *place_r, struct span *envelope_r, struct span *records_r, int *result_r)
{
	char head[HEAD_BYTES];
	int64_t size = io->size(io->ctx, fd);

	if (size > 0 && (uint64_t)size > end)
		size = (int64_t)end;
	size_t records = 0, n = size < HEAD_BYTES ? (size_t)size : HEAD_BYTES;
	uint32_t envelope_crc;
	enum store_found found;

	*place_r = (struct store_place){ 0 };
	*envelope_r = *records_r = span_of("", 0);
	*result_r = size < 0 ? (int)size : 0;
	if (size < FLAT_PREAMBLE)
		return STORE_FOUND_TORN;
	*result_r = store_io_read_all(io, fd, head, n, 0);
	if (*result_r < 0)
		return STORE_FOUND_TORN;
	if (!flat_preamble_parse(span_of(head, n), place_r, &envelope_crc))
		/* space that was reserved and never written reads as zeros */
		return all_zero(span_of(head, FLAT_PREAMBLE)) ? STORE_FOUND_TORN : STORE_FOUND_BAD;
	found = read_parts(io, fd, (uint64_t)size, span_of(head, n), envelope_crc, data, place_r,
	    &records, result_r);
	if (found == STORE_FOUND_GOOD) {
		*envelope_r = span_of(data->p, place_r->envelope_bytes);
		*records_r = span_of(data->p + place_r->envelope_bytes, records);
	}
	return found;
}

/* Content, CRC-checked, in steps: each handed to `out` when that is set (fd >= 0 at out_off). 0 or -errno. */
static int
check_content(const struct store_io *io, int fd, const struct store_place *p, int out)
{
	struct buf b;
	uint64_t done = 0;
	uint32_t crc = 0;
	int r = 0;

	buf_init(&b, COPY_BYTES);
	while (done < p->content_bytes && r == 0) {
		uint64_t left = p->content_bytes - done;
		size_t step = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
		char *at = buf_space(&b, step);

		r = store_io_read_all(io, fd, at, step, p->content_off + done);
		if (r < 0)
			break;
		crc = crc32c(crc, span_of(at, step));
		if (out >= 0) {
			struct iovec v = { at, step };

			r = store_io_write_all(io, out, &v, 1, p->content_off + done);
		}
		done += step;
	}
	buf_release(&b);
	return r < 0 ? r : crc == p->content_crc ? 0 : -EBADMSG;
}

/* The content behind what flat_read put into op->data. */
static int
load_content(struct flat *f, struct store_op *op, int fd)
{
	size_t at = op->data.n, n = (size_t)op->place.content_bytes;
	char *old = op->data.p;
	int r;

	if (op->place.content_bytes > op->content_max)
		return op->verify ? check_content(f->io, fd, &op->place, -1) : 0;
	op->data.max = size_add(at, n);
	r = take(f->io, fd, span_of("", 0), op->place.content_off, n, &op->data);
	if (r < 0)
		return r;
	/* the memory may have moved under them */
	op->envelope.p = op->data.p;
	op->records.p = op->data.p + (op->records.p - old);
	op->content = span_of(op->data.p + at, n);
	op->content_loaded = true;
	return !op->verify || crc32c(0, op->content) == op->place.content_crc ? 0 : -EBADMSG;
}

void
flat_load(struct flat *f, struct store_op *op)
{
	char path[FLAT_PATH];
	enum store_found found;
	int fd;

	flat_path(op->qid, path);
	op->fd = -1;
	buf_init(&op->data, STORE_ENVELOPE_MAX + STORE_RECORDS_MAX);
	fd = f->io->open(f->io->ctx, f->dir, path, O_RDONLY | O_NOFOLLOW, 0);
	if (fd < 0) {
		op->result = fd;
		return;
	}
	found = flat_read(f->io, fd, UINT64_MAX, &op->data, &op->place, &op->envelope, &op->records, &op->result);
	if (op->result == 0)
		op->result = found == STORE_FOUND_GOOD ? load_content(f, op, fd) : -EBADMSG;
	if (op->result == 0 && op->want_fd)
		op->fd = fd;
	else
		f->io->close(f->io->ctx, fd);
}

/* The new file's bytes: same layout, records packed behind. */
static int
rewrite_into(struct flat *f, struct store_op *op, int in, int out)
{
	struct store_place p;
	struct span envelope, records;
	struct buf data, lines;
	char preamble[FLAT_PREAMBLE + 1];
	int r;

	buf_init(&data, STORE_ENVELOPE_MAX + STORE_RECORDS_MAX);
	buf_init(&lines, 2 * (size_t)STORE_RECORDS_MAX);
	/* what a failed append left behind the last record that we know to be durable does not count */
	if (flat_read(f->io, in, op->place.tail == 0 ? UINT64_MAX : op->place.tail, &data, &p, &envelope, &records, &r) != STORE_FOUND_GOOD && r == 0)
		r = -EBADMSG;
	if (r == 0)
		r = check_content(f->io, in, &p, out);
	if (r == 0) {
		uint32_t envelope_crc = crc32c(0, envelope);

		p.chain = envelope_crc;
		p.tail = flat_records_off(&p);
		flat_preamble(&p, envelope_crc, preamble);
		if (!op->replace)
			flat_records_encode(&lines, records, &p.chain);
		flat_records_encode(&lines, op->records, &p.chain);
		struct iovec head = { preamble, FLAT_PREAMBLE };
		struct iovec text = { (void *)(uintptr_t)envelope.p, envelope.n };
		struct iovec tail = { lines.p, lines.n };
		r = store_io_write_all(f->io, out, &head, 1, 0);
		r = r < 0 ? r : store_io_write_all(f->io, out, &text, 1, p.envelope_off);
		r = r < 0 ? r : store_io_write_all(f->io, out, &tail, 1, p.tail);
		p.tail += lines.n;
	}
	if (r == 0)
		op->place = p;
	buf_release(&data);
	buf_release(&lines);
	return r;
}

int
flat_rewrite(struct flat *f, struct store_op *op)
{
	const struct store_io *io = f->io;
	struct store_place before = op->place;
	char path[FLAT_PATH], tmp[FLAT_PATH];
	int in, out = -1, dir = -1, r;

	flat_path(op->qid, path);
	snprintf(tmp, sizeof(tmp), "tmp/%s", op->qid);
	in = io->open(io->ctx, f->dir, path, O_RDONLY | O_NOFOLLOW, 0);
	if (in < 0)
		return in;
	r = out = io->open(io->ctx, f->dir, tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (r >= 0)
		r = rewrite_into(f, op, in, out);
	if (r == 0)
		r = io->fdatasync(io->ctx, out);
	if (r == 0)
		r = io->rename(io->ctx, f->dir, tmp, path, true);
	if (r == 0) {
		path[span_rindex(span_str(path), '/')] = '\0';
		r = dir = io->open(io->ctx, f->dir, path, O_RDONLY | O_DIRECTORY, 0);
		r = r < 0 ? r : io->fsync(io->ctx, dir);
	} else if (out >= 0) {
		io->unlink(io->ctx, f->dir, tmp);
		op->place = before;
	}
	io->close(io->ctx, in);
	if (out >= 0)
		io->close(io->ctx, out);
	if (dir >= 0)
		io->close(io->ctx, dir);
	return r;
}
