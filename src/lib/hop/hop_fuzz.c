/*
 * Fuzz: DNS answers of any kind for whatever is asked about one next hop. Gathering ends, and what is decided is never
 * less than the answers ask for.
 */
#include "hop/hop.h"

#include "base/loop.h"
#include "base/panic.h"
#include "base/rd.h"
#include "conf/conf.h"
#include "maps/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { ASKED_MAX = 2000, ROUNDS_MAX = 20 };

static struct {
	uint64_t id;
	uint16_t type;
	char name[DNS_NAME_MAX];
} asked[ASKED_MAX];
static size_t n_asked;

static bool
send_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)id;
	(void)table;
	(void)key;
	return false;
}

static bool
send_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	(void)ctx;
	ensure(name.n < DNS_NAME_MAX);
	if (n_asked == ASKED_MAX)
		return false;
	asked[n_asked].id = id;
	asked[n_asked].type = type;
	snprintf(asked[n_asked++].name, DNS_NAME_MAX, "%.*s", SPAN_ARG(name));
	return true;
}

static const struct asks_ops ops = { send_map, send_dns };

/* A name out of two bytes: few, so that they meet. */
static struct span
name_of(struct rd *r, struct arena *a)
{
	static const char *const names[] = { ".", "mx.example.org", "example.org", "192.0.2.1", "a.b", "x\\000y.example", "", "*" };
	uint8_t c = rd_u8(r);

	return c < 8 ? span_str(names[c]) : arena_printf(a, "h%u.example.org", c);
}

static void
fill(struct dns_record *rec, uint16_t type, struct rd *r, struct arena *a)
{
	*rec = (struct dns_record){ .type = type };
	if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA) {
		uint8_t c = rd_u8(r);
		uint8_t ip[16] = { 192, 0, 2, c };

		rec->data = arena_dup(a, span_of(ip, type == DNS_TYPE_A ? 4 : 16));
	} else if (type == DNS_TYPE_TLSA) {
		rec->usage = rd_u8(r) & 7;
		rec->selector = rd_u8(r) & 3;
		rec->matching = rd_u8(r) & 3;
		rec->data = arena_dup(a, rd_bytes(r, rd_u8(r) & 127));
	} else {
		rec->pref = rd_u8(r);
		rec->data = name_of(r, a);
	}
}

static void
answer(struct asks_link *link, size_t at, struct rd *r)
{
	struct arena *a = asks_answer_arena(link, asked[at].id);
	struct dns_answer *d;
	uint8_t how = rd_u8(r);

	if (a == NULL)
		return;
	d = ARENA_NEW(a, struct dns_answer);
	*d = (struct dns_answer){ .name = arena_dup(a, span_str(asked[at].name)), .type = asked[at].type,
		.status = (enum dns_status)(how & 3), .nodata = true, .why = SPAN("why") };
	d->canon = d->name;
	d->records = ARENA_ARRAY(a, struct dns_record, 8);
	if (!dns_known(d)) {
		ensure(asks_answer_dns(link, asked[at].id, d));
		return;
	}
	if ((how & 4) != 0) {
		d->alias = true;
		d->canon = name_of(r, a);
	}
	for (; d->count < (how >> 3 & 7) && !r->bad; d->count++)
		fill(&d->records[d->count], asked[at].type, r, a);
	ensure(asks_answer_dns(link, asked[at].id, d));
}

static void
on_ready(void *ctx)
{
	(void)ctx;
}

static void
check(const struct hop *h, struct arena *a)
{
	for (size_t i = 0; i < h->count; i++) {
		const struct hop_address *addr = &h->list[i];
		struct tls_decision d;

		if (!hop_decide(h, addr, a, &d)) {
			ensure(d.fault.dsn[0] == '4');
			continue;
		}
		ensure(addr->dane == NULL || addr->dane->state != TLS_DANE_FAILED);
		ensure(addr->dane == NULL || addr->dane->state != TLS_DANE_FOUND || d.level >= TLS_LEVEL_ENCRYPT);
		ensure(addr->status == DNS_SECURE || addr->dane == NULL || addr->dane->state != TLS_DANE_FOUND ||
		    span_eq_ci(addr->dane->base, addr->host));
		ensure(!addr->from_mx || addr->mx_status == DNS_SECURE || d.level <= TLS_LEVEL_HALF_DANE);
	}
}

static const struct hop_service *
service(void)
{
	static const char main_cf[] = "compatibility_level = 3.10\nmyhostname = me.example\nsmtp_dns_support_level = dnssec\n"
	    "smtp_tls_security_level = dane\n";
	static const struct maps_env env = { .data_directory = "", .default_database_type = "cdb", .alias_tables = "" };
	static struct hop_service svc;
	static struct conf *conf;

	if (conf == NULL) {
		struct conf_report report;

		conf_report_init(&report);
		conf_parse(span_str(main_cf), SPAN("smtp unix - - - - - smtp\n"), &conf, &report);
		ensure(conf != NULL && hop_service_open(&svc, conf_find_service(conf, "smtp", false), &env, NULL));
		conf_report_release(&report);
	}
	return &svc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct loop *loop;
	struct rd r = rd_init(span_of(p, n));
	struct asks_link *link;
	struct hop h;
	struct arena *a;
	struct asks *asks;
	size_t done = 0;

	if (loop == NULL)
		loop = loop_new();
	link = asks_link_new(loop, &ops, NULL, 60000);
	asks = asks_new(link, on_ready, NULL);
	a = arena_new(256 << 20);
	h = (struct hop){ .svc = service(), .arena = a, .asks = asks };
	n_asked = 0;
	for (int round = 0; hop_gather(&h, SPAN("example.org"), &(struct fault){ 0 }) == MAP_WAIT; round++) {
		ensure(round < ROUNDS_MAX);
		while (done < n_asked)
			answer(link, done++, &r);
	}
	check(&h, a);
	asks_free(&asks);
	asks_link_free(&link);
	arena_free(&a);
	return 0;
}
