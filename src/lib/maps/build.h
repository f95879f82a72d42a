/* Making indexed tables from their source text: cdb (any descriptor) and lmdb (a path). */
#pragma once

#include "base/fault.h"
#include "base/span.h"
#include "maps/source.h"

/* No source has this key: it begins with a NUL. */
#define BUILD_BAD_KEY SPAN("\0bad line")

#define BUILD_LOGGED 20u

struct build_job {
	struct span text;
	const char *name;               /* the source, for messages */
	enum source_form form;
	bool quiet_duplicates;          /* do not log them */
	bool mark_bad;                  /* cdb: note the first line in error under BUILD_BAD_KEY */
	bool keep_case;                 /* keys are folded to lower case unless this is set */
	void (*progress)(void *ctx, size_t done, size_t all);   /* bytes of text; may be NULL */
	void *ctx;
};

struct build_report {
	size_t entries, duplicates, bad;        /* the latter two are logged with file:line (the first BUILD_LOGGED of each) and skipped */
	struct fault first_bad;                 /* "line 3: expected ..." */
};

/* `fd` must be open for reading and writing, and empty. The caller syncs and renames. */
bool build_cdb(const struct build_job *job, int fd, struct build_report *report_r, struct fault *why);
/* `path` must not exist yet. */
bool build_lmdb(const struct build_job *job, const char *path, struct build_report *report_r,
    struct fault *why);
