/* One file per message: the format, and groups of operations on it. No threads, no loop; inside the store only. */
#pragma once

#include "store/io.h"
#include "store/store.h"

enum {
	FLAT_PREAMBLE = 142,            /* bytes of the preamble, always */
	FLAT_DIRS = 64,                 /* mail/00 .. mail/3f: few enough to stay in memory, 16 000 files each at a million */
	FLAT_PATH = 64,
};

struct flat {
	int dir;                        /* queue_directory */
	const struct store_io *io;
	bool sync_dirs;                 /* the file system does not promise that syncing a new file keeps its name */
};

/* "mail/2a/QID" */
void flat_path(const char *qid, char path_r[static FLAT_PATH]);

/* The preamble for these places and CRCs, FLAT_PREAMBLE bytes. */
void flat_preamble(const struct store_place *p, uint32_t envelope_crc, char out[static FLAT_PREAMBLE + 1]);
/* False when it is not a preamble, or its CRC does not hold. */
bool flat_preamble_parse(struct span s, struct store_place *place_r, uint32_t *envelope_crc_r);
/* Where the records begin. */
uint64_t flat_records_off(const struct store_place *p);

/* Append `records` (lines) as they stand in the file, going on from *chain. */
void flat_records_encode(struct buf *out, struct span records, uint32_t *chain);
/*
 * The good records of `raw` (file bytes from *tail on), their lines packed together in place:
 * the length of what is left. Sets *tail and *chain to the end of the last good one.
 */
size_t flat_records_decode(char *raw, size_t n, uint64_t *tail, uint32_t *chain);

/*
 * Run CREATEs and UPDATEs (a list of store_op by `node`) as one group: write everything, then sync
 * everything. Each op's result is final: a CREATE that failed has left nothing behind.
 */
void flat_commit(struct flat *f, struct list *group);
void flat_remove(struct flat *f, struct store_op *op);
void flat_corrupt(struct flat *f, struct store_op *op);
void flat_load(struct flat *f, struct store_op *op);

/*
 * Read preamble, envelope and records of an open file, as if it ended at `end`, into `data`; spans point into it.
 * What is wrong with it is the answer; *result_r is 0 or the -errno of a read that failed (the answer is then void).
 */
enum store_found flat_read(const struct store_io *io, int fd, uint64_t end, struct buf *data,
    struct store_place *place_r, struct span *envelope_r, struct span *records_r, int *result_r);

/* Write op's message anew: content and envelope copied, old records kept unless op->replace, then op->records. */
int flat_rewrite(struct flat *f, struct store_op *op);
