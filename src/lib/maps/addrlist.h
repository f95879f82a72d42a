/*
 * Lists of clients as main.cf writes them (mynetworks, smtpd_*_exceptions, ...): addresses
 * "10.0.0.1", networks "10.0.0.0/8" and "[2001:db8::]/32", host name patterns, "type:table",
 * "/file/name", "!pattern"; left to right, the first that matches decides.
 */
#pragma once

#include "base/arena.h"
#include "base/fault.h"
#include "base/span.h"
#include "maps/map_result.h"

struct addrlist;
struct asks;
struct map_hit;
struct maps_env;

enum addrlist_flag {
	ADDRLIST_PARENTS = 1,   /* "example.com" matches its hosts too */
};

/* Compile. False for what can never work, e.g. "10.0.0.1/8" (host bits set). */
bool addrlist_open(struct span spec, unsigned flags, const struct maps_env *env, struct addrlist **list_r,
    struct fault *why);
void addrlist_free(struct addrlist **l);
bool addrlist_empty(const struct addrlist *l);  /* true for NULL */

/*
 * `name`: the client's host name ("unknown" when it has none, empty to match addresses only);
 * `addr`: its address as text, IPv6 without brackets. An IPv4 pattern matches "::ffff:a.b.c.d" too.
 */
enum map_result addrlist_find(struct addrlist *l, struct span name, struct span addr, struct asks *asks,
    struct arena *a, struct map_hit *hit_r, struct fault *why);
