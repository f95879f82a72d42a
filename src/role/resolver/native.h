/*
 * Names as the system sees them (getaddrinfo: /etc/hosts and whatever nsswitch.conf says), in
 * helper threads, because those calls block. What they say is never secure.
 */
#pragma once

#include "dns/client.h"

struct loop;
struct native;

struct native *native_new(struct loop *l);
/* Waits for lookups that are under way; nobody is called any more. */
void native_free(struct native **n);
/* A, AAAA and PTR; other types, and more than can wait, are answered FAILED. `fn` is called from the loop. */
void native_ask(struct native *n, struct span name, enum dns_type type, dns_answer_fn *fn, void *ctx);
