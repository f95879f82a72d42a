/* The command line's way to the running daemon: one question, one answer, over the control socket. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/fault.h"
#include "ipc/messages.h"

struct conf;

struct control {
	int fd;
	struct buf in;          /* the last answer's payload points into it */
	uint64_t next_id;
};

/* Connect to the daemon of this configuration; false with a fault ("is signetd running?"). */
bool control_open(struct control *c, const struct conf *conf, struct fault *why);
void control_close(struct control *c);
/*
 * Send `type` with an encoded payload and wait at most `timeout_ms` for the answer, which must be of `answer`
 * type. `fd_r` (may be NULL) gets a descriptor that came along, the caller's.
 */
bool control_ask(struct control *c, unsigned type, struct span payload, unsigned answer, int timeout_ms,
    struct span *payload_r, int *fd_r, struct fault *why);

/* What keeps DNSSEC, and with it DANE, from working, by the status of the resolver (another role: ""). */
const char *control_dnssec_trouble(const json_t *role);
/* The same, asked for. The last question on this connection: the answer may come too late. */
void control_dnssec(struct control *c, char text_r[200]);
