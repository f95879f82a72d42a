/*
 * What the resolver and the lookup role know, as peers that the roles ask over their usual sockets: DNS records with a
 * validation status by zone, outages included, and tables.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "dns/dns.h"
#include "sim/sim.h"

enum { RECORDS_MAX = 400, ZONES_MAX = 60, ENTRIES_MAX = 100, ANSWER_MAX = 262144 };

enum zone_state { ZONE_INSECURE, ZONE_SECURE, ZONE_BOGUS, ZONE_SERVFAIL, ZONE_SILENT };

/* One line of the script; several of one name and type are one answer. */
struct record {
	struct span name, data;
	uint16_t type;
};

struct entry {
	struct span table, key, value;
	bool fails;
};

static struct record records[RECORDS_MAX];
static size_t n_records;
static struct { struct span suffix; enum zone_state state; } zones[ZONES_MAX];
static size_t n_zones;
static struct entry entries[ENTRIES_MAX];
static size_t n_entries;

/* ---- the script */

static uint16_t
type_of(struct span word)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_TXT, DNS_TYPE_PTR, DNS_TYPE_CNAME, DNS_TYPE_TLSA };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (span_eq(word, span_str(dns_type_name(types[i]))))
			return types[i];
	return 0;
}

static bool
data_ok(uint16_t type, struct span data)
{
	struct span pref, host, ip_text = data;
	uint8_t ip[16];
	uint64_t number;
	size_t n;

	switch (type) {
	case DNS_TYPE_A:
	case DNS_TYPE_AAAA:
		return dns_address_parse(ip_text, ip, &n) && n == (type == DNS_TYPE_A ? 4u : 16u);
	case DNS_TYPE_MX:
		return span_cut(data, ' ', &pref, &host) && span_u64(pref, 65535, &number) && host.n > 0;
	case DNS_TYPE_TLSA:
		return span_starts(data, SPAN("of ")) || span_eq(data, SPAN("other"));
	default:
		return data.n > 0;
	}
}

static void
forget(struct span name, uint16_t type)
{
	size_t kept = 0;

	for (size_t i = 0; i < n_records; i++)
		if (!span_eq(records[i].name, name) || records[i].type != type)
			records[kept++] = records[i];
	n_records = kept;
}

/* "dns NAME TYPE DATA, DATA": in the place of what was there; DATA "none" = no such record. */
const char *
facts_dns_command(struct span name, struct span type_word, struct span data)
{
	uint16_t type = type_of(type_word);
	struct span word;

	if (type == 0)
		return "dns knows A, AAAA, MX, TXT, PTR, CNAME, TLSA";
	forget(name, type);
	if (span_eq(data, SPAN("none")))
		return NULL;
	while (span_token(&data, ",", &word)) {
		word = span_trim(word);
		if (!data_ok(type, word))
			return "that is no data of this type (A address, MX \"10 host\", TLSA \"of HOST\" or \"other\"; \"none\" removes)";
		if (n_records == RECORDS_MAX)
			return "too many records";
		records[n_records++] = (struct record){ arena_dup(sim_arena, name), arena_dup(sim_arena, word), type };
	}
	return NULL;
}

const char *
facts_zone_command(struct span suffix, struct span state)
{
	static const char *const words[] = { "insecure", "secure", "bogus", "servfail", "silent" };
	size_t at = 0;

	while (at < n_zones && !span_eq(zones[at].suffix, suffix))
		at++;
	if (at == ZONES_MAX)
		return "too many zones";
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_eq(state, span_str(words[i]))) {
			zones[at].suffix = arena_dup(sim_arena, suffix);
			zones[at].state = (enum zone_state)i;
			if (at == n_zones)
				n_zones++;
			return NULL;
		}
	return "a zone is insecure, secure, bogus, servfail or silent";
}

const char *
facts_table_command(struct span table, struct span key, struct span value)
{
	size_t at = 0;

	while (at < n_entries && !(span_eq(entries[at].table, table) && span_eq(entries[at].key, key)))
		at++;
	if (at == ENTRIES_MAX)
		return "too many table entries";
	entries[at] = (struct entry){ arena_dup(sim_arena, table), arena_dup(sim_arena, key), arena_dup(sim_arena, value),
		span_eq(value, SPAN("fails")) };
	if (at == n_entries)
		n_entries++;
	return NULL;
}

/* ---- answers */

static enum zone_state
zone_of(struct span name)
{
	enum zone_state state = ZONE_INSECURE;
	size_t longest = 0;

	for (size_t i = 0; i < n_zones; i++) {
		struct span z = zones[i].suffix;

		if (z.n >= longest && (span_eq(name, z) || (name.n > z.n && span_ends(name, z) && name.p[name.n - z.n - 1] == '.'))) {
			state = zones[i].state;
			longest = z.n;
		}
	}
	return state;
}

static void
fill_record(struct dns_record *r, const struct record *from, struct arena *a)
{
	uint8_t ip[16];
	uint64_t pref;
	struct span word, rest;
	size_t n;

	*r = (struct dns_record){ .type = from->type, .data = from->data };
	if (from->type == DNS_TYPE_A || from->type == DNS_TYPE_AAAA) {
		dns_address_parse(from->data, ip, &n);
		r->data = arena_dup(a, span_of(ip, n));
	} else if (from->type == DNS_TYPE_MX) {
		span_cut(from->data, ' ', &word, &rest);
		span_u64(word, 65535, &pref);
		r->pref = (uint16_t)pref;
		r->data = rest;
	} else if (from->type == DNS_TYPE_TLSA) {
		r->usage = 3;
		r->selector = r->matching = 1;
		r->data = net_key_digest(span_starts(from->data, SPAN("of ")) ? span_from(from->data, 3) : SPAN("nobody.invalid"));
	}
}

static void
fill(struct dns_answer *d, struct span name, uint16_t type, struct arena *a)
{
	enum zone_state zone = zone_of(name);
	bool exists = false;

	*d = (struct dns_answer){ .name = name, .canon = name, .type = type, .ttl_s = 60,
		.status = zone == ZONE_SECURE ? DNS_SECURE : DNS_INSECURE, .records = ARENA_ARRAY(a, struct dns_record, RECORDS_MAX) };
	if (zone == ZONE_SERVFAIL || torture_now(TORTURE_LOOKUP)) {
		dns_answer_fail(d, a, name, type, "SERVFAIL");
		d->rcode = DNS_RCODE_SERVFAIL;
		return;
	}
	if (zone == ZONE_BOGUS) {
		dns_answer_fail(d, a, name, type, "signature expired");
		d->status = DNS_BOGUS;
		return;
	}
	for (size_t i = 0; i < n_records; i++) {
		bool below = name.n < records[i].name.n && span_ends(records[i].name, name);

		exists = exists || span_eq(records[i].name, name) || below;
		if (span_eq(records[i].name, name) && records[i].type == type)
			fill_record(&d->records[d->count++], &records[i], a);
	}
	d->nodata = exists && d->count == 0;
	d->nxdomain = !exists;
	d->rcode = exists ? DNS_RCODE_OK : DNS_RCODE_NXDOMAIN;
}

static void
on_resolver_ask(void *ctx, struct ipc_from from, struct ipc_resolver_ask *m)
{
	struct role *r = ctx;
	struct ipc_resolver_answer reply;
	struct arena *a = arena_new(1 << 20);
	struct dns_answer d;
	struct buf out;

	if (zone_of(m->name) != ZONE_SILENT) {
		fill(&d, dns_name_lower(a, m->name), m->rrtype, a);
		d.local = m->native;
		buf_init(&out, ANSWER_MAX);
		dns_answer_write(&out, &d);
		reply.answer = buf_span(&out);
		ipc_reply_resolver_answer(r->hub, from, &reply);
		buf_release(&out);
	}
	arena_free(&a);
}

static void
on_lookup_ask(void *ctx, struct ipc_from from, struct ipc_lookup_ask *m)
{
	struct role *r = ctx;
	struct ipc_lookup_answer reply = { .result = 1, .value = SPAN(""), .why = SPAN("") };

	for (size_t i = 0; i < n_entries; i++)
		if (span_eq(entries[i].table, m->table) && span_eq(entries[i].key, m->key)) {
			reply.result = entries[i].fails ? 2 : 0;
			reply.value = entries[i].fails ? SPAN("") : entries[i].value;
		}
	if (torture_now(TORTURE_LOOKUP))
		reply.result = 2;
	if (reply.result == 2)
		reply.why = SPAN("the table does not answer");
	ipc_reply_lookup_answer(r->hub, from, &reply);
}

const struct role_spec sim_resolver_role = { .role = IPC_ROLE_RESOLVER, .on = { .resolver_ask = on_resolver_ask } };
const struct role_spec sim_lookup_role = { .role = IPC_ROLE_LOOKUP, .on = { .lookup_ask = on_lookup_ask } };
