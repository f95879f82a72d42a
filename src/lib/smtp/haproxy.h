/*
 * The header that a proxy sends in front of a connection (PROXY protocol, versions 1 and 2): who the
 * client is and where it connected to. Pure: bytes in, addresses out.
 */
#pragma once

#include "base/fault.h"
#include "base/span.h"

#include <stdint.h>

#define HAPROXY_V1_MAX 107u             /* with its CRLF */
#define HAPROXY_V2_FIXED 16u
#define HAPROXY_MAX (HAPROXY_V2_FIXED + 4096u)  /* a longer version 2 header is refused */

enum haproxy_result {
	HAPROXY_MORE,           /* good so far */
	HAPROXY_DONE,
	HAPROXY_BAD,            /* not a header: drop the connection */
};

struct haproxy_header {
	bool direct;                    /* LOCAL, UNKNOWN: the proxy speaks for itself; addresses are those of the connection */
	uint8_t client[16], server[16]; /* 4 or 16 bytes; IPv4 mapped into IPv6 has become IPv4 */
	size_t client_n, server_n;
	unsigned client_port, server_port;
	size_t used;                    /* bytes of the header; what follows is the client's */
};

/*
 * Look at all bytes that came. Version 1 knows TCP4, TCP6 and UNKNOWN; version 2 LOCAL, and PROXY with
 * stream sockets over IPv4 or IPv6 or no family at all. Datagrams and UNIX sockets are BAD. Additions of
 * version 2 (TLVs) are passed over unread.
 */
enum haproxy_result haproxy_parse(struct span bytes, struct haproxy_header *h_r, struct fault *why);
