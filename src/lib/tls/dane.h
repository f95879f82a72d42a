/*
 * DANE for SMTP (RFC 6698, 7671, 7672): what is known about the TLSA records of one server, and which of them
 * may authenticate it. Pure: who asks DNS is lib/hop, who compares certificates is verify.c.
 */
#pragma once

#include "base/arena.h"
#include "base/span.h"
#include "dns/dns.h"

struct fault;

/* What became of a record (spec tls-client.md 7.3, RFC 7671 sections 5 and 9). */
enum tls_tlsa_fate {
	TLS_TLSA_USABLE,
	TLS_TLSA_USAGE,                 /* 0, 1 or undefined (RFC 7672 section 3.1.3) */
	TLS_TLSA_SELECTOR,
	TLS_TLSA_MATCHING,              /* a digest that is not in tls_dane_digests, or undefined */
	TLS_TLSA_LENGTH,                /* of the digest is wrong, or there are no data */
	TLS_TLSA_DATA,                  /* full certificate or key that cannot be decoded */
	TLS_TLSA_WEAKER,                /* digest agility: the set has a stronger one for this usage and selector */
};

struct tls_tlsa {
	uint8_t usage, selector, matching;
	struct span data;
	enum tls_tlsa_fate fate;
};

enum tls_dane_state {
	TLS_DANE_ABSENT,                /* no records, or nothing that is proven: as good as none */
	TLS_DANE_FAILED,                /* lookup failed or bogus: the host is unusable (RFC 7672 section 2.1.2) */
	TLS_DANE_FOUND,
};

/* Answers about one server's records. `why` says in words where ABSENT or FAILED comes from. */
struct tls_dane_facts {
	enum tls_dane_state state;
	struct span base;               /* TLSA base domain (RFC 7672 section 2.2.3); the last one tried unless FOUND */
	struct span qname;              /* "_25._tcp." + base; empty = no question was asked */
	struct span why;
	bool bogus;                     /* FAILED because validation did */
	struct tls_tlsa *records;       /* of FOUND, in answer order, fates not yet judged */
	size_t count;
};

/* One usable digest: matching type, name of the algorithm, bytes. Strongest first in a list. */
struct tls_dane_digest {
	uint8_t matching;
	char name[32];
	size_t bytes;
};

enum { TLS_DANE_DIGESTS_MAX = 16, TLS_TLSA_RECORDS_MAX = 100, TLS_TLSA_DATA_MAX = 32768 };

struct tls_dane_digests {
	struct tls_dane_digest list[TLS_DANE_DIGESTS_MAX];
	size_t count;
};

/*
 * tls_dane_digests: "name" or "name=number", strongest first. sha256 is 1 and sha512 is 2, other names need
 * their number; 0 and 255 are reserved; "=number" (no name) switches a number off, as leaving it out does.
 * False + why for anything else.
 */
bool tls_dane_digests_parse(struct span text, struct tls_dane_digests *d_r, struct fault *why);

/*
 * Judge every record (its fate) and give the number of usable ones. Digest agility (RFC 7671 section 9) comes
 * last: for each usage and selector the strongest digest of the records that are fine otherwise, and full data.
 */
size_t tls_dane_judge(const struct tls_dane_digests *digests, struct tls_tlsa *records, size_t count);

/* Words for a fate: "unsupported TLSA certificate usage". */
const char *tls_tlsa_fate_text(enum tls_tlsa_fate fate);
/* "3 1 1 0A1B...": upper-case hex, of long data the first and last 32 bytes with "..." between. In `a`. */
struct span tls_tlsa_text(const struct tls_tlsa *r, struct arena *a);
/* All usable records are "3 1 x": a raw public key would do (RFC 7671 section 5.1). */
bool tls_dane_keys_only(const struct tls_tlsa *records, size_t count);
