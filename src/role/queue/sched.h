/*
 * The scheduler: which delivery starts next, and how hard a destination is tried
 * (mta-core section 6). It knows transports, destinations and jobs (the part of one message that goes to one
 * destination), and nothing of sockets, stores and clocks: monotonic time comes as an argument.
 *
 * Fairness: transports take turns, destinations of a transport take turns, and messages at one destination
 * take turns, a delivery's worth of recipients each: a big message cannot starve small ones, nor a busy
 * destination the others. What was tried before has a turn of its own, which comes up less often and never takes all
 * deliveries of a transport: ten thousand destinations that do not answer cannot keep fresh mail waiting.
 */
#pragma once

#include "base/fault.h"
#include "base/heap.h"
#include "base/hmap.h"
#include "base/list.h"
#include "base/span.h"

/* "1", "0.5", "1/concurrency", "1/sqrt_concurrency". */
struct sched_feedback {
	double value;
	enum { SCHED_FEEDBACK_FIXED, SCHED_FEEDBACK_PER, SCHED_FEEDBACK_PER_SQRT } form;
};
bool sched_feedback_parse(struct span s, struct sched_feedback *f_r);

/* <transport>_* parameters. */
struct sched_limits {
	unsigned recipients;            /* per delivery, 0 = no limit */
	unsigned concurrency;           /* deliveries to one destination, 0 = no limit */
	unsigned initial;               /* concurrency of a new destination */
	unsigned processes;             /* deliveries of the transport, 0 = no limit */
	unsigned retries;               /* of these, of mail that was tried before; 0 = no limit */
	double failed_cohorts;          /* until a destination is dead, 0 = never */
	struct sched_feedback positive, negative;
	int64_t dest_delay_us, transport_delay_us;      /* *_rate_delay */
	int64_t dead_us;                /* minimal_backoff_time: how long a dead destination is left alone */
};

struct sched;

enum { SCHED_HINTS = 8 };

struct sched_transport {
	struct list node;               /* in sched->ready */
	struct hmap_node by_name;
	struct heap_node wake;
	struct span name;
	struct sched_limits limits;
	struct list ready;              /* destinations that may go on and have fresh mail */
	struct list retries;            /* those that have only mail that was tried before */
	unsigned busy, busy_retries, dests;
	unsigned turn;
	int64_t not_before_us;          /* rate delay */
	int64_t down_until_us;          /* 0 = up */
	struct fault down;              /* why */
	void *user;                     /* the owner's */
};

struct sched_dest {
	struct list node;               /* in transport->ready or ->retries, or in sched->idle */
	struct hmap_node by_key;
	struct heap_node wake;
	struct sched_transport *transport;
	struct span key, nexthop;       /* key: nexthop, with the recipient in front when it counts */
	struct list jobs;
	unsigned jobs_count, busy, window;
	unsigned fresh_count;           /* jobs that were not tried before */
	unsigned busy_retries;          /* of `busy`, as far as we know: what ends counts as a retry first */
	bool in_turn;                   /* node is in transport->ready or ->retries */
	bool in_retries;
	double credit, cohorts;
	int64_t not_before_us, dead_until_us, idle_us;
	struct fault dead;              /* why */
	uint64_t hints[SCHED_HINTS];    /* the owner's: workers that have an idle connection, latest last */
	unsigned n_hints;
};

/* What one message has for one destination: part of the owner's object. */
struct sched_job {
	struct list node;
	struct sched_dest *dest;        /* NULL = not in the scheduler */
	const uint32_t *rcpts;          /* the owner's, n of them, `taken` were picked */
	uint32_t n, taken;
	bool retry;                     /* was tried before */
	void *owner;
};

struct sched_pick {
	struct sched_job *job;
	struct sched_dest *dest;        /* valid until sched_done (or at once, when suspended) */
	const uint32_t *rcpts;
	uint32_t n;
	const struct fault *suspended;  /* not to be tried: defer them for this reason; there is no sched_done */
};

/* Limits of a transport that is seen for the first time; `user_r` may be set. */
typedef void sched_limits_fn(void *ctx, struct span transport, struct sched_limits *limits_r, void **user_r);

struct sched *sched_new(sched_limits_fn *fn, void *ctx);
/* All jobs must have left. */
void sched_free(struct sched **s);
/* New parameters: ask for the limits of every transport again. */
void sched_reload(struct sched *s);

/* Transport by name, made when it is new. */
struct sched_transport *sched_transport(struct sched *s, struct span name);

/* Queue a job. `key` as in struct sched_dest; both are copied. */
void sched_add(struct sched *s, struct sched_job *job, struct sched_transport *t, struct span key,
    struct span nexthop, int64_t now_us);
/* Take the job out; what was picked goes on. Harmless when it has left. */
void sched_cancel(struct sched *s, struct sched_job *job, int64_t now_us);

/* The next delivery to start, or false. A job leaves when its last recipients are picked. */
bool sched_next(struct sched *s, int64_t now_us, struct sched_pick *p_r);

enum sched_verdict {
	SCHED_WORKS,            /* the destination could be talked to */
	SCHED_THROTTLE,         /* connection or handshake failed: `why` */
	SCHED_UNTRIED,          /* nobody tried: no opinion */
};
void sched_done(struct sched *s, struct sched_dest *d, enum sched_verdict v, const struct fault *why, int64_t now_us);

/* Nobody serves this transport: its jobs are suspended until then. */
void sched_transport_down(struct sched *s, struct sched_transport *t, int64_t until_us, const struct fault *why,
    int64_t now_us);
/* Its agents are busy or just starting: nothing of it is started before `until`. */
void sched_transport_pause(struct sched *s, struct sched_transport *t, int64_t until_us, int64_t now_us);
/* Dead destinations, and transports that are down or paused, are tried again now. */
void sched_revive(struct sched *s, int64_t now_us);

/* When sched_next should be asked again if nothing else happens; INT64_MAX = never. */
int64_t sched_wake_us(const struct sched *s);

/* Every destination, for `signet status`. */
typedef void sched_dest_fn(void *ctx, const struct sched_dest *d);
void sched_each(const struct sched *s, sched_dest_fn *fn, void *ctx);
