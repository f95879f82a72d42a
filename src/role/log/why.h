/* Records for `signet tls why`: files "why/YYYYMMDD.N" of one JSON line a record, oldest out first. */
#pragma once

#include "base/buf.h"
#include "base/span.h"

struct role;

struct why_files {
	struct role *role;
	const char *dir;                /* data_directory/why */
	int fd;                         /* the file of today, -1 = none */
	char name[32];
	uint64_t bytes;                 /* in it */
	struct buf out;                 /* lines of this turn */
	int64_t looked_us;              /* when old files were looked for, wall clock */
	int64_t complained_us;
	bool off;
};

/* With the privileges of the start: make the directory, which stays reachable; when it cannot be used records are lost, and a line of the log says so. */
void why_files_open(struct why_files *w, struct role *r);
/* A record, its LF with it; one that has none is left out. `line` is copied. */
void why_files_add(struct why_files *w, struct span line);
/* Write what was added; a failure costs the records and one line a minute. */
void why_files_flush(struct why_files *w);
