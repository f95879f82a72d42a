/*
 * DNS answers as values, each with its validation status, and the names that go with
 * them. Parsing is by hand over base/rd because the bytes come from anyone.
 *
 * Names in answers are lower case, without the final dot (the root is "."). A byte that
 * is not a letter, digit, '-' or '_' is written \DDD, so a name with such bytes is never
 * a host name (dns_name_is_host) and never reaches a socket or a certificate check.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/span.h"

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_NS = 2,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_SOA = 6,
	DNS_TYPE_PTR = 12,
	DNS_TYPE_MX = 15,
	DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_SRV = 33,
	DNS_TYPE_TLSA = 52,
};

enum dns_rcode {
	DNS_RCODE_OK = 0,
	DNS_RCODE_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_REFUSED = 5,
};

/*
 * BOGUS and FAILED are both "no answer could be had" for TLS policy (RFC 7672 section
 * 2.1.1): never read them as "no records". FAILED covers SERVFAIL, timeouts, malformed
 * packets and local trouble; a zone without any trust anchor above it is INSECURE.
 */
enum dns_status { DNS_SECURE, DNS_INSECURE, DNS_BOGUS, DNS_FAILED };

struct dns_record {
	uint16_t type;          /* enum dns_type */
	uint16_t pref;          /* MX preference, SRV priority */
	uint16_t weight, port;  /* SRV */
	uint8_t usage, selector, matching;      /* TLSA */
	/*
	 * A, AAAA: 4 or 16 bytes of address. MX, NS, CNAME, PTR, SRV: the name.
	 * TXT: the strings joined. TLSA: association data. SOA: the primary server's name.
	 */
	struct span data;
};

struct dns_answer {
	struct span name;       /* the question */
	uint16_t type;
	enum dns_status status;
	uint8_t rcode;          /* 0 or 3 when status is SECURE or INSECURE */
	bool nodata : 1;        /* the name exists, no record of this type */
	bool nxdomain : 1;
	bool alias : 1;         /* a CNAME chain led to `canon` */
	bool local : 1;         /* from /etc/hosts or native lookup: never secure */
	uint32_t ttl_s;         /* smallest of the chain; of the negative answer when there are no records */
	struct span canon;      /* owner name of the records: `name` after CNAME expansion */
	struct span why;        /* words, for BOGUS and FAILED */
	struct dns_record *records;     /* of `type` only, in packet order */
	size_t count;
};

enum { DNS_NAME_MAX = 1024, DNS_RECORDS_MAX = 4096 };

/* SECURE or INSECURE: something definite is known, be it that there is nothing. */
static inline bool
dns_known(const struct dns_answer *d)
{
	return d->status == DNS_SECURE || d->status == DNS_INSECURE;
}

/*
 * Read a response packet to the question (`name`, `type`) and follow its CNAME chain.
 * Sets everything but `status`, which only the validator knows (INSECURE is filled in).
 * The result points into `a`, never into `packet`. False when malformed: `why` says how.
 */
bool dns_parse_packet(struct span packet, struct span name, enum dns_type type, struct arena *a,
    struct dns_answer *d_r, struct fault *why);

/* An answer that says only that there is none: FAILED with this text. Lives in `a`. */
void dns_answer_fail(struct dns_answer *d_r, struct arena *a, struct span name, enum dns_type type,
    const char *why);

/* The bytes of an answer inside IPC messages and caches. False when `out` is full. */
bool dns_answer_write(struct buf *out, const struct dns_answer *d);
/* Checks everything (the sender is a remote party); result points into `a`. False when malformed. */
bool dns_answer_read(struct span bytes, struct arena *a, struct dns_answer *d_r);

/* "MX" etc; "TYPE99" for others. Static storage, one at a time. */
const char *dns_type_name(uint16_t type);
const char *dns_status_name(enum dns_status status);

/* --- names --- */

/* Lower case, without a final dot. */
struct span dns_name_lower(struct arena *a, struct span name);
/*
 * A syntactically valid host name: labels of letters, digits, '-', '_' (1 to 63 bytes, no
 * '-' at their ends), at most 255 bytes in all, not an address and not all digits. UTF-8
 * labels are not valid here: convert first.
 */
bool dns_name_is_host(struct span name);
/*
 * Every label in A-label form, lower case, no final dot (UTS-46, IDNA2008, non-transitional
 * unless `transitional`). ASCII names are only lower-cased. False when it cannot be converted.
 */
bool dns_name_ascii(struct arena *a, struct span name, bool transitional, struct span *name_r);
/* The reverse: A-labels shown as U-labels. The input itself when nothing is to be converted. */
struct span dns_name_unicode(struct arena *a, struct span name);
/* True for "[...]"-less IPv4 or IPv6 text; `bytes_r` (4 or 16 bytes, count in `n_r`) may be NULL. */
bool dns_address_parse(struct span text, uint8_t bytes_r[16], size_t *n_r);
/* "1.2.0.192.in-addr.arpa" or the ip6.arpa form for 4 or 16 address bytes. */
struct span dns_name_reverse(struct arena *a, struct span address);
/* Printable address of 4 or 16 bytes. */
struct span dns_address_text(struct arena *a, struct span address);
