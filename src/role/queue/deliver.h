/* Deliveries: handing recipients to agents, and taking their outcomes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct active;
struct fault;

/* These recipients of the pass are not tried: deferred for that reason, with a delivery line. */
void deliver_defer(struct active *a, const uint32_t *rcpts, size_t n, const struct fault *why);
/* This recipient is nobody's: done, with the warning that Postfix logs. */
void deliver_discard(struct active *a, uint32_t rcpt);
/* The sender of a message to this recipient: with VERP (RFC 3461 has no word of it) the recipient is in it. */
struct span deliver_verp_sender(struct active *a, uint32_t rcpt);
