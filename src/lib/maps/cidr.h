/* Addresses and networks: "10.0.0.0/8", "2001:db8::/32", "[::1]". */
#pragma once

#include "base/fault.h"
#include "base/span.h"

struct cidr {
	uint8_t addr[16];
	unsigned bits;
	bool v6;
};

/* One address, brackets allowed; IPv4 mapped into IPv6 becomes IPv4. False when it is none. */
bool cidr_addr(struct span text, struct cidr *c_r);
/* A network or address: "addr/len", "[addr]/len", "[addr/len]". False with a reason (host bits set, ...). */
bool cidr_parse(struct span text, struct cidr *c_r, struct fault *why);
bool cidr_match(const struct cidr *net, const struct cidr *addr);
