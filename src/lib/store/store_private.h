/* The store's own structure, shared by its files and their tests. */
#pragma once

#include <pthread.h>

#include "store/flat.h"

enum { STORE_BULK_THREADS = 2 };
#define STORE_MARKER ".signet-spool"

struct store {
	struct flat flat;
	struct loop *loop;
	int lock_fd;
	unsigned threads, started;      /* sync threads asked for; all threads running */
	pthread_t *ids;
	uint64_t tmp_counter;
	size_t pending;                 /* loop side */
	int64_t free_at_us;
	uint64_t free_bytes;

	pthread_mutex_t mutex;          /* everything below */
	pthread_cond_t sync_work, bulk_work, scan_room;
	struct list sync_ops, bulk_ops, done_ops;
	unsigned sync_idle;
	bool stopping;

	int wake_fd;                    /* eventfd: something is done */
	struct loop_fd wake;
	struct loop_hook hook;          /* hands this turn's operations to the threads */
	struct list turn_ops;           /* submitted in this turn; loop side */
	struct list lazy_ops;           /* removals that wait for company; loop side */
	unsigned n_lazy;
	struct loop_timer lazy;

	struct scan *scan;              /* NULL when none runs; loop side */
};

/* From any thread: have the loop look at what is done. */
void store_wake(struct store *s);
/* From the loop: hand over what the scan has found so far. */
void store_scan_deliver(struct store *s);
/* Stop a running scan and wait for its thread. */
void store_scan_stop(struct store *s);
/* Remove every file in a directory below `dir`. */
void store_empty_dir(int dir, const char *name);
