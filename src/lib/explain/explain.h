/*
 * Explanations of TLS decisions: recorded facts, out and in; what is shown of a decision, for people and as JSON; and the
 * records that deliveries left (tls/why.h). Everything read here may come from anywhere: nothing in it is trusted.
 */
#pragma once

#include <jansson.h>

#include "conf/params.h"
#include "hop/hop.h"

/* ---- facts.c: all that a decision rests on, written down */

/* An object with everything of `h` and of the parameters. The caller's; NULL when memory or text fail. */
json_t *explain_facts_json(const struct hop *h);

/* What was read back: `hop` points into the rest. */
struct explain_recorded {
	struct hop hop;
	struct hop_service svc;
	struct params params;           /* only what decisions read */
};
/* False with `why` naming the member that is missing or wrong. Lives in `a`. */
bool explain_facts_read(const json_t *facts, struct arena *a, struct explain_recorded *r_r, struct fault *why);
/* The same from the text of a file: the object itself, or one with a member "facts". */
bool explain_facts_load(struct span text, struct arena *a, struct explain_recorded *r_r, struct fault *why);

/* ---- show.c */

/* How an address was chosen, before lib/hop. Empty members are not shown. */
struct explain_way {
	struct span what;               /* as given */
	struct span recipient, transport, nexthop, source;
	struct span service;            /* of master.cf */
};

/* One host as text, `n` from 1. `a` for pieces. */
void explain_show_way(struct buf *out, const struct explain_way *way);
void explain_show_hop(struct buf *out, const struct hop *h);
/* It leads to no server: `why`, and what happens to the message, or that another next hop has its turn. */
void explain_show_nowhere(struct buf *out, const struct fault *why, bool last);
void explain_show_host(struct buf *out, const struct hop *h, const struct hop_address *addr, size_t n, struct arena *a);
/* "dane", "may (asked for: dane)" */
struct span explain_show_level(const struct tls_decision *d, struct arena *a);
/* The same as JSON. */
json_t *explain_way_json(const struct explain_way *way);
json_t *explain_host_json(const struct hop *h, const struct hop_address *addr, struct arena *a);
json_t *explain_json_span(struct span s);

/* ---- record.c: records of deliveries */

enum explain_record {
	EXPLAIN_RECORD_OTHER,           /* of another message */
	EXPLAIN_RECORD_FOUND,
	EXPLAIN_RECORD_DAMAGED,         /* names this message, and is no record */
};

/* One line of a file below "why", without its end or with it. A record of `qid` as text into `out`; NULL: only look. */
enum explain_record explain_record_show(struct span line, const char *qid, struct buf *out);
