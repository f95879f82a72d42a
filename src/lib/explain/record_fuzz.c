/*
 * Fuzz: records of deliveries. A line that is no record is counted, never shown; what is shown keeps terminals whole. And
 * the other way round: a record made of any bytes is one line that is read as what it is.
 */
#include "base/panic.h"
#include "base/rd.h"
#include "explain/explain.h"
#include "tls/why.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_shown(struct span line)
{
	struct buf out;
	enum explain_record r;

	buf_init(&out, 1 << 20);
	r = explain_record_show(line, "4bXyZ", &out);
	ensure((r == EXPLAIN_RECORD_FOUND) == (out.n > 0));
	ensure(r == explain_record_show(line, "4bXyZ", NULL));
	for (size_t i = 0; i < out.n; i++)
		ensure(out.p[i] == '\n' || ((unsigned char)out.p[i] >= ' ' && out.p[i] != 0x7f));
	buf_release(&out);
}

static struct span
piece(struct rd *r)
{
	return rd_bytes(r, rd_u8(r));
}

static void
check_written(struct rd *r)
{
	struct tls_step step = { "table entry", piece(r), piece(r) };
	struct tls_decision d = { .asked = TLS_LEVEL_DANE, .level = TLS_LEVEL_ENCRYPT, .sni = piece(r), .trail = &step, .n_trail = 1 };
	struct tls_why_peer peer = { .host = piece(r), .address = piece(r), .port = 25, .decision = &d, .tls = "dane:encrypt", .report = "success" };
	struct span to[4] = { piece(r), piece(r), piece(r), piece(r) };
	struct tls_why w = { .wall_us = (int64_t)(rd_u64(r) >> 1), .qid = SPAN("4bXyZ"), .nexthop = piece(r), .to = to, .n_to = 4, .rcpts = 4,
		.outcome = "deferred", .dsn = piece(r), .text = piece(r), .last = (rd_u8(r) & 1) != 0 };
	struct buf about, line;
	size_t listed;

	if (r->bad)
		return;
	buf_init(&about, 4096);
	buf_init(&line, 4096);
	if ((rd_u8(r) & 1) != 0)
		tls_why_write_brief(&about, &peer);
	else
		tls_why_write_peer(&about, &peer);
	w.peer = buf_span(&about);
	listed = tls_why_write(&line, &w);
	ensure(listed <= 4 && line.n <= TLS_WHY_MAX);
	ensure(line.p[line.n - 1] == '\n' && span_index(buf_span(&line), '\n') == (ptrdiff_t)line.n - 1);
	ensure(explain_record_show(buf_span(&line), "4bXyZ", NULL) == EXPLAIN_RECORD_FOUND);
	check_shown(buf_span(&line));
	buf_release(&line);
	buf_release(&about);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct rd r = rd_init(span_of((const char *)p, n));

	if (n > 0 && p[0] == '{')
		check_shown(span_of((const char *)p, n));
	else
		check_written(&r);
	return 0;
}
