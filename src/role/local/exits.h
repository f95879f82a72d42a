/* What the end of a command means for the message (sysexits.h, RFC 3463). */
#pragma once

#include "base/fault.h"
#include "base/span.h"

enum exits_result { EXITS_SENT, EXITS_DEFERRED, EXITS_BOUNCED };

/*
 * Exit status: 0 is success, sysexits have their codes, everything else is a failure.
 * Output that begins with an enhanced status code (4.x.x or 5.x.x) decides instead.
 */
enum exits_result exits_status(int status, struct span command, struct span output, struct fault *why);
/* Ended by a signal: somebody's accident, so the message waits. */
enum exits_result exits_signal(int signo, struct span command, struct span output, struct fault *why);
enum exits_result exits_time_limit(struct span command, struct span output, struct fault *why);
