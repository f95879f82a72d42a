/*
 * Key exchange groups: which of the configured names the library has, which are post-quantum, and in what
 * order a client offers them (section 9.1 of tls-client.md).
 *
 * A group list is names joined by ':'; newer libraries also know the marks '?' (skip when unknown) and '*' (send
 * a key share) in front of a name, and '/' between names.
 */
#pragma once

#include "base/buf.h"
#include "base/span.h"

/*
 * The configured groups that this library has: each name is tried on a scratch context, because one unknown,
 * '?'-marked, lower-case or repeated name voids a whole list of OpenSSL 3.0. Empty when both are empty (library's
 * choice). For clients, the library's word DEFAULT becomes our own default list: its first ClientHello is ours to arrange.
 */
void tls_groups_probe(struct span curves, struct span ffdhe, struct buf *list_r);
void tls_groups_probe_client(struct span curves, struct span ffdhe, struct buf *list_r);

/* Is this one name, marks allowed, of a post-quantum group (hybrids included)? */
bool tls_group_is_pq(struct span name);
/* Bytes of a client's key share in this group; 0 = not known. */
size_t tls_group_share_bytes(struct span name);
/* Do the configured words name anything but post-quantum groups? True when both are empty. */
bool tls_groups_have_classical(struct span curves, struct span ffdhe);

/* First name of a list, marks and all. */
struct span tls_groups_first(struct span list);
/* Only the groups that are not post-quantum, without marks. */
void tls_groups_classical(struct span list, struct buf *list_r);
/* The same list with a group in front whose share is small: the first one that is not post-quantum. Marked lists are left alone. */
void tls_groups_small_first(struct span list, struct buf *list_r);
/* `max` of these names: the first one, then those that every server has (X25519, P-256), then others. */
void tls_groups_shorten(struct span list, unsigned max, struct buf *list_r);
