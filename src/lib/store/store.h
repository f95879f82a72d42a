/*
 * The spool: what must survive a crash, behind one batched interface (DESIGN section 5).
 * This implementation keeps one readable file per message,
 *
 *     queue_directory/mail/<2 characters>/QID
 *
 * created in place (no rename) and synced before it is acknowledged. The file is
 *
 *     preamble   three text lines: version, place, length and CRC32C of the two parts
 *     envelope   text of lib/mail/envelope.h, opaque here
 *     content    wire form
 *     records    text lines appended later, each with a chained CRC: outcomes, deferrals,
 *                hold and so on, opaque here as well
 *
 * (large content arrives in a file of tmp/ that leaves room in front for the rest). A file
 * whose preamble, lengths or CRCs do not hold was never acknowledged, or has rotted.
 *
 * Operations are `struct store_op`, filled by the caller and submitted; a few threads take
 * them in groups, so that one journal commit of the file system serves many messages, and
 * the caller's loop never waits for a disk. One operation at a time on one message: submit the
 * next when the last is done. Completions come back through the loop.
 *
 * A failed fdatasync is never repeated on the same pages: a new message is removed and
 * refused, an update moves its message to a new file (and fails if that fails).
 */
#pragma once

#include "base/buf.h"
#include "base/fault.h"
#include "base/list.h"
#include "base/loop.h"

struct store;
struct store_io;

enum {
	STORE_QID_MAX = 23,             /* longest queue id */
	STORE_TMP_CONTENT = 4096,       /* where content starts in a file from store_tmp */
	STORE_ENVELOPE_MAX = 4 << 20,
	STORE_RECORDS_MAX = 64 << 20,   /* all records of one message: the caller replaces them long before */
};

/* Where things stand in a message's file. The caller keeps it between operations, untouched. */
struct store_place {
	uint64_t content_bytes;
	uint64_t tail;                  /* end of the last good record */
	uint32_t content_off, content_crc;
	uint32_t envelope_bytes;
	uint32_t chain;                 /* CRC of the last good record */
	uint64_t envelope_off;
};

enum store_kind {
	STORE_CREATE,   /* a new message: durable when done */
	STORE_UPDATE,   /* append records: durable when done */
	STORE_REMOVE,   /* unlink; not synced by itself (a crash may bring the message back) */
	STORE_CORRUPT,  /* move to corrupt/ */
	STORE_LOAD,     /* read envelope, records, and content or a descriptor */
};

struct store_op;
typedef void store_done_fn(void *ctx, struct store_op *op);

struct store_op {
	struct list node;               /* the store's from submit to done */
	enum store_kind kind;
	char qid[STORE_QID_MAX + 1];
	store_done_fn *done;            /* called from the loop; the op is the caller's again */
	void *ctx;
	int result;                     /* 0 or -errno */
	struct store_place place;       /* CREATE: out. UPDATE: in and out. LOAD: out */

	/* CREATE; borrowed until done */
	struct span envelope;
	struct span content;            /* unless tmp_name is set */
	char tmp_name[STORE_QID_MAX + 1];       /* file from store_tmp, "" = inline content */
	uint64_t tmp_bytes;             /* content bytes written there behind STORE_TMP_CONTENT */

	/* UPDATE: one record per line, each ended by '\n'; borrowed until done */
	struct span records;
	bool replace;                   /* instead of all earlier records: the message moves to a new file */

	/* LOAD */
	bool verify;                    /* in: check the CRC of the content, -EBADMSG when it fails */
	bool want_fd;                   /* in: content as a read-only descriptor */
	size_t content_max;             /* in: read the content into `data` when it is not larger */
	int fd;                         /* out: read-only, the caller's to close; -1 = none */
	bool content_loaded;            /* out: `content` is set */
	struct buf data;                /* out: holds what envelope, records (and content) point to */
};

/* An op of that kind and id with nothing else set. */
void store_op_init(struct store_op *op, enum store_kind kind, struct span qid, store_done_fn *done, void *ctx);
/* Give back what a LOAD left in it (data, fd). */
void store_op_release(struct store_op *op);

/*
 * Check and lay out the directory (open as `dir`): marker file `.signet-spool`, mail/, tmp/, corrupt/,
 * maildrop/, public/. A directory that holds Postfix's queue and no marker is refused,
 * and so is one that holds other files. For master at start, as root when it is; `uid`, `gid`
 * become the owners (-1 = leave).
 */
bool store_prepare(const char *dir, uid_t uid, gid_t gid, struct fault *why);

/*
 * Open a prepared spool and lock it; removes what an earlier process left in tmp/. `threads` sync threads (0 = none:
 * operations run in store_run, for tests and the simulator) on `loop`. NULL with `why`.
 */
struct store *store_open(const char *dir, unsigned threads, struct loop *loop,
    const struct store_io *io, struct fault *why);
/* Waits for what was submitted, runs the completions, and forgets everything. */
void store_close(struct store **s);

/* Hand over one operation. */
void store_submit(struct store *s, struct store_op *op);
/* Operations that were submitted and are not done. */
size_t store_pending(const struct store *s);
/* Without threads: run everything that is submitted as one group, and its completions. */
void store_run(struct store *s);

/*
 * A fresh file in tmp/ for large content, `name_r` to be put into the CREATE (or given to
 * store_tmp_drop). Write content from offset STORE_TMP_CONTENT on. Descriptor or -errno.
 */
int store_tmp(struct store *s, char name_r[static STORE_QID_MAX + 1]);
/* Remove a tmp file that no CREATE has taken (a CREATE takes it whether it succeeds or not). */
void store_tmp_drop(struct store *s, const char *name);

/* What the start-up scan found. */
enum store_found {
	STORE_FOUND_GOOD,
	STORE_FOUND_TORN,       /* incomplete: never acknowledged, to be removed unless being created just now */
	STORE_FOUND_BAD,        /* complete but damaged: to be moved to corrupt/ */
};
struct store_entry {
	enum store_found found;
	char qid[STORE_QID_MAX + 1];
	struct store_place place;
	struct span envelope, records;  /* valid during the call */
};
/* One entry, from the loop. `e` NULL: the scan is over, `result` 0 or -errno of a directory that could not be read. */
typedef void store_scan_fn(void *ctx, const struct store_entry *e, int result);
/*
 * Stream everything that is in the spool, oldest directory first, in the background. Messages created since
 * store_open may come up too (the caller knows their ids), and messages removed meanwhile.
 */
void store_scan(struct store *s, store_scan_fn *fn, void *ctx);

/* The same, read-only, for a spool that nobody or somebody else has open: calls fn in this call. 0 or -errno. */
int store_scan_dir(const char *dir, store_scan_fn *fn, void *ctx);
/* LOAD, read-only, in this call, from the spool at `dir`. */
void store_load_dir(const char *dir, struct store_op *op);

/* Next record of `*rest` (CRCs were checked and cut off by the store): false at the end. */
bool store_record_next(struct span *rest, struct span *record_r);

/* Free bytes of the file system, as of at most a second ago. */
uint64_t store_free_bytes(struct store *s);
