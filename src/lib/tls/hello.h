/*
 * A first ClientHello that stays in one TCP segment. A post-quantum key share takes 1216 bytes; with all our suites,
 * signatures and groups the ClientHello would be two segments, and there are middleboxes and servers that look for
 * all of it in the first. So, where the ladder stands ready for servers that need what was left out, the
 * lists are trimmed to what modern servers use (no TLS 1.0 and 1.1, no encrypt-then-MAC, few suites) and the share is sent; everywhere else a classical share goes
 * first, and a server that insists on the post-quantum group asks for it (HelloRetryRequest).
 */
#pragma once

#include <openssl/ssl.h>

#include "tls/policy.h"

enum {
	TLS_SEGMENT_IPV6 = 1428,        /* 1500 - IPv6, TCP and its timestamps */
	TLS_SEGMENT_IPV4 = 1448,
};

/* What a ClientHello is made of; all counts are of entries. */
struct tls_hello_parts {
	size_t ciphers;                 /* without the renegotiation SCSV */
	size_t groups, signatures, versions;
	size_t sni_bytes, share_bytes;
	bool ticket;                    /* an empty session_ticket extension */
	bool etm;                       /* encrypt_then_mac */
	size_t more;                    /* other extensions, in bytes */
};

/* Bytes on the wire, record header included, of a ClientHello without a session to resume; never less than it is. */
size_t tls_hello_bytes(const struct tls_hello_parts *p);

/*
 * Of `ssl`'s suites (SSL_set_cipher_list has been called) keep those of TLS 1.3 and the most useful others, no more
 * than `room` bytes allow. The number of suites that are left; 0 when too few would be, and nothing was changed.
 */
size_t tls_hello_trim_ciphers(SSL *ssl, size_t room);

/* Room for suites (2 bytes each) in a segment of `segment` bytes, if all else is as `p` says. */
size_t tls_hello_room(const struct tls_hello_parts *p, size_t segment);

/* Payload that one segment of this connection carries, and would carry on an Ethernet. */
size_t tls_segment_bytes(int fd);
