/* Pieces of the next hop's facts that its files share. */
#pragma once

#include "hop/hop.h"

/* The written form into domain, port, no_mx, unix_socket. */
bool hop_parse(struct hop *h, struct fault *why);
/* One question. */
enum map_result hop_ask(struct hop *h, bool native, struct span name, uint16_t type,
    const struct dns_answer **answer_r);
void hop_note(struct hop *h, bool native, const struct dns_answer *d, struct hop_answer *a_r);
void hop_warn(struct hop *h, struct span text);
/* Put the addresses in order, and cut the list. */
void hop_sort(const struct params *p, struct hop *h);
/* The TLSA facts of one address. FOUND or WAIT. */
enum map_result hop_dane(struct hop *h, struct hop_address *addr);
