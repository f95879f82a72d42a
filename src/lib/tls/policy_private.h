/* Pieces of the policy core that its files and tests share. */
#pragma once

#include "base/buf.h"
#include "tls/info.h"
#include "tls/policy.h"

#define TLS_SPACE_COMMA " \t\r\n,"
#define TLS_LIST_SEPS " \t\r\n,:"

/* The parameter that decided the global level, without its prefix and underscore. */
const char *tls_params_level_source(const struct tls_params *p);

/* Section 9: `high`, `medium`, `low` and `export` (both mean medium), `null` only when allowed (20.12). */
bool tls_grade_check(struct span grade, bool allow_null, struct fault *why);
/* `strict`: unknown cipher names are errors too (20.9). */
bool tls_exclude_check(struct span list, const char *seps, bool strict, struct fault *why);
bool tls_weak_parse(struct span words, unsigned *weak_r, struct fault *why);
/* Append ":!token" for each token. */
void tls_exclude_add(struct buf *out, struct span list, const char *seps);
/* The OpenSSL string of a grade before exclusions. */
const char *tls_grade_string(struct span grade, const char *high, const char *medium, const char *null);

/*
 * An SNI value: empty, the words "hostname", "nexthop", "none", or a host name, given back
 * as A-label. `a` NULL = check only.
 */
bool tls_servername_check(struct span name, bool transitional, struct arena *a, struct span *name_r,
    struct fault *why);

/* The next hop without brackets and port. */
struct span tls_nexthop_domain(struct span nexthop);
