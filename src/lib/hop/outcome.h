/*
 * The outcome matrix of outbound TLS (tls-client.md 1.1, 13.3), one cell at a time: what follows from a decision when
 * something happens at a server. Delivery acts on it and explanations show it.
 */
#pragma once

#include "tls/policy.h"

enum hop_event {
	HOP_EVENT_SECURED,      /* the handshake is done, and the server is who it should be */
	HOP_EVENT_NOT_OFFERED,  /* no STARTTLS in the answer to EHLO; also when TLS is not tried at all */
	HOP_EVENT_REFUSED,      /* STARTTLS was answered by other than 2xx and 421 */
	HOP_EVENT_HANDSHAKE,    /* it failed; also 421, silence or a closed connection after STARTTLS */
	HOP_EVENT_MISMATCH,     /* it is not who it should be, or its keys are too weak; at level encrypt only the latter */
	HOP_EVENT_LOST,         /* no connection, or lost before any of these */
};

struct hop_outcome {
	enum tls_next next;     /* CLEAR also means: the message goes its way */
	const char *dsn;        /* when it does not, and no other server is left */
	char text[500];
	char field[80];         /* what stands behind "tls=" in the log */
};

/* `peer` is "host[address]". */
void hop_outcome(const struct tls_decision *d, enum hop_event ev, const char *peer, struct hop_outcome *o_r);
