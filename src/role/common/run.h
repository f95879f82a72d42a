/* The numbers in RUN_* messages between local and deliver. */
#pragma once

enum run_kind {
	RUN_MAILDIR,            /* path: the Maildir without trailing slash; base: what must exist already */
	RUN_MBOX,               /* path */
	RUN_COMMAND,            /* argv: one line for the shell rules, or words with RUN_WORDS */
	RUN_KINDS,
};

enum run_flag {
	RUN_LOCK_FCNTL = 1,
	RUN_LOCK_FLOCK = 2,
	RUN_LOCK_DOT = 4,
	RUN_LOCK_DOT_OPTIONAL = 8,      /* no lock file possible: go on without */
	RUN_STRICT_OWNER = 16,          /* an mbox must belong to uid */
	RUN_SPECIAL_OK = 32,            /* devices and pipes are fine (files of aliases) */
	RUN_SPOOL = 64,                 /* in mail_spool_directory: with the group that may write there */
	RUN_WORDS = 128,                /* argv is run as it is */
	RUN_QUOTE_FROM = 256,
	RUN_QUOTE_DOT = 512,
	RUN_BLANK_LINE = 1024,          /* an empty line at the end */
};

enum run_result {
	RUN_DELIVERED,
	RUN_DEFERRED,
	RUN_BOUNCED,
	RUN_EXITED,             /* a command's exit status */
	RUN_SIGNALED,
	RUN_TIMED_OUT,
};

enum run_read {
	RUN_READ_OK,
	RUN_READ_ABSENT,
	RUN_READ_REFUSED,       /* no regular file, too big: it never works */
	RUN_READ_DENIED,        /* there, perhaps, but that user may not read it */
	RUN_READ_LATER,
};

enum run_pickup {
	RUN_PICKUP_OPEN,        /* `file` is readable */
	RUN_PICKUP_GONE,
	RUN_PICKUP_UNFINISHED,  /* its writer has not said that it is complete */
	RUN_PICKUP_BAD,         /* nothing that `signet send` makes */
	RUN_PICKUP_LATER,
};

/* Files in the maildrop: written with the first mode, changed to the second when complete and synced. */
#define RUN_PICKUP_MODE_WRITING 0600
#define RUN_PICKUP_MODE_COMPLETE 0700
