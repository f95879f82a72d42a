/* Dates in headers (RFC 5322 section 3.3), with the local zone as a number. */
#pragma once

#include "base/arena.h"

/* "Thu, 20 Nov 2025 10:00:00 +0100 (CET)": the zone's name as a comment, as Postfix does. */
struct span date_rfc5322(int64_t wall_us, struct arena *a);
/* The same without the comment (DSN fields, RFC 3464 section 2.2.5). */
struct span date_rfc5322_plain(int64_t wall_us, struct arena *a);
/* "20251120095959" in UTC, for Message-ID. */
struct span date_compact(int64_t wall_us, struct arena *a);
