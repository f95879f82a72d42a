/*
 * spoolfill DIR COUNT DESTINATIONS WAIT_S UID GID: a spool with COUNT deferred messages of 300 bytes for DESTINATIONS
 * domains, due WAIT_S seconds from now. Written by the store itself, without syncs: only `make bench` reads it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/panic.h"
#include "base/text.h"
#include "mail/envelope.h"
#include "mail/qid.h"
#include "store/io.h"
#include "store/store.h"

enum { GROUP = 64 };

static const char content[] = "From: a@here.example\r\nTo: b@there.example\r\nSubject: one of many\r\n"
    "Date: Thu, 26 Nov 2026 00:00:00 +0000\r\nMessage-ID: <x@here.example>\r\n\r\nA short message that waits for its turn.\r\n"
    "It has a second line.\r\nAnd a third one, so that it comes to three hundred bytes in all.\r\n";

static int
no_sync(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return 0;
}

static int
no_start(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return 0;
}

/* One message on its way: created, then its records appended. */
struct one {
	struct store_op op;
	struct arena *arena;
	char records[200];
	size_t *failed;
};

static void
created(void *ctx, struct store_op *op)
{
	struct one *o = ctx;

	*o->failed += op->result < 0;
}

static struct span
envelope_of(struct one *o, size_t i, size_t destinations)
{
	struct envelope e = { .sender = SPAN("a@here.example"), .arrival_us = clock_wall_us(), .size = sizeof(content) - 1 };
	struct envelope_rcpt r = { 0 };
	struct span text;
	struct buf b;

	r.addr = r.orig = arena_printf(o->arena, "user%zu@d%zu.example", i, i % destinations);
	envelope_add_rcpt(&e, o->arena, &r);
	buf_init(&b, 65536);
	envelope_write(&e, &b);
	text = arena_dup(o->arena, buf_span(&b));
	buf_release(&b);
	return text;
}

static void
create(struct store *s, struct one *o, size_t i, size_t destinations)
{
	char qid[QID_MAX];

	arena_clear(o->arena);
	qid_make(clock_wall_us(), i, qid);
	store_op_init(&o->op, STORE_CREATE, span_str(qid), created, o);
	o->op.envelope = envelope_of(o, i, destinations);
	o->op.content = span_of(content, sizeof(content) - 1);
	store_submit(s, &o->op);
}

static void
defer(struct store *s, struct one *o, int64_t due_us)
{
	struct store_place place = o->op.place;
	char qid[QID_MAX];

	memcpy(qid, o->op.qid, sizeof(o->op.qid));
	snprintf(o->records, sizeof(o->records), "later 0 dsn=4.4.1 text=connect%%20to%%20it:%%20Connection%%20timed%%20out\nnext %lld 3\n",
	    (long long)due_us);
	store_op_init(&o->op, STORE_UPDATE, span_str(qid), created, o);
	o->op.place = place;
	o->op.records = span_str(o->records);
	store_submit(s, &o->op);
}

static uint64_t
number(const char *text)
{
	uint64_t v = 0;

	if (!span_u64(span_str(text), UINT32_MAX, &v)) {
		fprintf(stderr, "spoolfill: \"%s\" is not a number\n", text);
		exit(2);
	}
	return v;
}

int
main(int argc, char **argv)
{
	static struct one group[GROUP];
	struct store_io io = store_io_disk;
	struct fault why = { 0 };
	struct store *s;
	size_t count, destinations, failed = 0;

	if (argc != 7) {
		fprintf(stderr, "usage: spoolfill DIR COUNT DESTINATIONS WAIT_S UID GID\n");
		return 2;
	}
	count = number(argv[2]);
	destinations = number(argv[3]);
	io.fdatasync = io.fsync = no_sync;
	io.start_write = no_start;
	if (!store_prepare(argv[1], (uid_t)number(argv[5]), (gid_t)number(argv[6]), &why) || setgid((gid_t)number(argv[6])) != 0 ||
	    setuid((uid_t)number(argv[5])) != 0)
		s = NULL;
	else
		s = store_open(argv[1], 0, NULL, &io, &why);
	if (s == NULL) {
		fprintf(stderr, "spoolfill: %s\n", why.text);
		return 1;
	}
	for (size_t i = 0; i < GROUP; i++)
		group[i] = (struct one){ .arena = arena_new(1 << 20), .failed = &failed };
	for (size_t at = 0; at < count; at += GROUP) {
		size_t n = count - at < GROUP ? count - at : GROUP;

		for (size_t i = 0; i < n; i++)
			create(s, &group[i], at + i, destinations);
		store_run(s);
		for (size_t i = 0; i < n; i++)
			defer(s, &group[i], clock_wall_us() + (int64_t)number(argv[4]) * US_PER_S + (int64_t)(at + i));
		store_run(s);
	}
	for (size_t i = 0; i < GROUP; i++)
		arena_free(&group[i].arena);
	store_close(&s);
	printf("%zu messages for %zu destinations, %zu failed\n", count, destinations, failed);
	return failed > 0;
}
