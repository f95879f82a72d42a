/* Facts of next hops against a made-up DNS: what is asked, in which order, and what becomes of it. */
#include "hop/hop.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "conf/conf.h"
#include "hop/outcome.h"
#include "kit/kit.h"
#include "maps/build.h"
#include "maps/maps.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

/* ---- DNS: "NAME TYPE STATUS [DATA]" lines; what is not there does not exist, as securely as its zone says */

struct rr {
	const char *name;
	enum dns_type type;
	enum dns_status status;
	const char *data;       /* MX: host; A: address; CNAME: "" (see alias); TLSA: "3 1 1"; NULL = no records */
	const char *alias;      /* canonical name */
};

static const struct rr *zone;
static size_t n_zone;

static struct {
	uint64_t id[64];
	char name[64][300];
	uint16_t type[64];
	size_t n, answered;
	char log[4096];
} asked;

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
	size_t used = strlen(asked.log);

	(void)ctx;
	assert_true(asked.n < 64);
	snprintf(asked.name[asked.n], sizeof(asked.name[0]), "%.*s", SPAN_ARG(name));
	asked.type[asked.n] = type;
	asked.id[asked.n++] = id;
	snprintf(asked.log + used, sizeof(asked.log) - used, "%s%.*s/%s", used > 0 ? " " : "", SPAN_ARG(name),
	    dns_type_name(type));
	return true;
}

static const struct asks_ops ops = { send_map, send_dns };

static void
fill(struct dns_record *r, const struct rr *rr, struct arena *a)
{
	static const char digest[32] = "0123456789abcdef0123456789abcde";
	uint8_t ip[16];
	size_t n;

	*r = (struct dns_record){ .type = (uint16_t)rr->type, .pref = 10, .data = span_str(rr->data) };
	if (rr->type == DNS_TYPE_A || rr->type == DNS_TYPE_AAAA) {
		assert_true(dns_address_parse(span_str(rr->data), ip, &n));
		r->data = arena_dup(a, span_of(ip, n));
	} else if (rr->type == DNS_TYPE_TLSA) {
		r->usage = (uint8_t)(rr->data[0] - '0');
		r->selector = (uint8_t)(rr->data[2] - '0');
		r->matching = (uint8_t)(rr->data[4] - '0');
		r->data = span_of(digest, 32);
	}
}

static void
answer(struct asks_link *link, size_t at)
{
	struct arena *a = asks_answer_arena(link, asked.id[at]);
	struct dns_answer *d;

	assert_non_null(a);
	d = ARENA_NEW(a, struct dns_answer);
	*d = (struct dns_answer){ .name = arena_dup(a, span_str(asked.name[at])), .type = asked.type[at],
		.status = DNS_SECURE, .nxdomain = true, .rcode = DNS_RCODE_NXDOMAIN,
		.records = ARENA_ARRAY(a, struct dns_record, 8) };
	d->canon = d->name;
	for (size_t i = 0; i < n_zone; i++) {
		if (strcmp(zone[i].name, asked.name[at]) != 0 || zone[i].type != asked.type[at])
			continue;
		d->nxdomain = false;
		d->rcode = DNS_RCODE_OK;
		d->status = zone[i].status;
		d->nodata = zone[i].data == NULL;
		if (zone[i].alias != NULL) {
			d->alias = true;
			d->canon = span_str(zone[i].alias);
		}
		if (zone[i].data != NULL)
			fill(&d->records[d->count++], &zone[i], a);
	}
	assert_true(asks_answer_dns(link, asked.id[at], d));
}

static void
on_ready(void *ctx)
{
	(void)ctx;
}

/* ---- one next hop, from the question to the decision */

struct world {
	struct conf *conf;
	struct hop_service svc;
	struct maps_env env;
	struct loop *loop;
	struct asks_link *link;
	struct hop hop;
	struct arena *arena;
	struct asks *asks;
};

static void
begin(struct world *w, const char *main_cf)
{
	struct conf_report report;
	struct fault why;
	char text[2000];

	memset(w, 0, sizeof(*w));
	memset(&asked, 0, sizeof(asked));
	conf_report_init(&report);
	snprintf(text, sizeof(text), "compatibility_level = 3.10\nmyhostname = me.example\ninet_protocols = ipv4\n"
	    "smtp_dns_support_level = dnssec\n%s", main_cf);
	assert_true(conf_parse(span_str(text), SPAN("smtp unix - - - - - smtp\n"), &w->conf, &report));
	conf_report_release(&report);
	w->env = (struct maps_env){ .data_directory = "/nonexistent" };
	if (!hop_service_open(&w->svc, conf_find_service(w->conf, "smtp", false), &w->env, &why))
		fail_msg("%s", why.text);
	w->loop = loop_new();
	w->link = asks_link_new(w->loop, &ops, NULL, 60000);
	w->arena = arena_new(16 << 20);
	w->asks = asks_new(w->link, on_ready, NULL);
	w->hop = (struct hop){ .svc = &w->svc, .arena = w->arena, .asks = w->asks };
}

static void
end(struct world *w)
{
	asks_free(&w->asks);
	asks_link_free(&w->link);
	loop_free(&w->loop);
	arena_free(&w->arena);
	hop_service_release(&w->svc);
	conf_unref(&w->conf);
}

static enum map_result
gather(struct world *w, const char *nexthop, struct fault *why)
{
	enum map_result r;

	while ((r = hop_gather(&w->hop, span_str(nexthop), why)) == MAP_WAIT) {
		assert_true(asked.answered < asked.n);
		while (asked.answered < asked.n)
			answer(w->link, asked.answered++);
	}
	return r;
}

struct row {
	const char *name, *main_cf, *nexthop;
	struct rr zone[10];
	const char *want;       /* "host[addr]=level base; ..." or "! DSN text" */
	const char *asked;      /* pieces that must be among the questions, or with "!" must not */
};

#define DANE "smtp_tls_security_level = dane\n"
#define MX(status, host) { "example.org", DNS_TYPE_MX, status, host, NULL }
#define HOST(status) { "mx.example.org", DNS_TYPE_A, status, "192.0.2.1", NULL }
#define ALIAS(status) { "mx.example.org", DNS_TYPE_A, status, "192.0.2.1", "real.example.net" }
#define TLSA(base, status, data) { "_25._tcp." base, DNS_TYPE_TLSA, status, data, NULL }
#define S DNS_SECURE
#define I DNS_INSECURE
#define MXHOST "mx.example.org"

static const struct row rows[] = {
	{ "MX, host and records secure", DANE, "example.org", { MX(S, MXHOST), HOST(S), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=dane mx.example.org", "_25._tcp.mx.example.org/TLSA" },
	{ "no records", DANE, "example.org", { MX(S, MXHOST), HOST(S) }, "mx.example.org[192.0.2.1]=may", NULL },
	{ "a bogus answer is not no answer", DANE, "example.org", { MX(S, MXHOST), HOST(S), TLSA(MXHOST, DNS_BOGUS, NULL) },
	    "mx.example.org[192.0.2.1]=! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "SERVFAIL or silence neither", DANE, "example.org", { MX(S, MXHOST), HOST(S), TLSA(MXHOST, DNS_FAILED, NULL) },
	    "mx.example.org[192.0.2.1]=! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "insecure records are none", DANE, "example.org", { MX(S, MXHOST), HOST(S), TLSA(MXHOST, I, "3 1 1") },
	    "mx.example.org[192.0.2.1]=may", NULL },
	{ "an insecure denial is normal", DANE, "example.org", { MX(S, MXHOST), HOST(S), TLSA(MXHOST, I, NULL) },
	    "mx.example.org[192.0.2.1]=may", NULL },
	{ "an insecure host is not asked for records", DANE, "example.org",
	    { MX(S, MXHOST), HOST(I), TLSA(MXHOST, DNS_FAILED, NULL) }, "mx.example.org[192.0.2.1]=may", "!TLSA" },
	/* smtp_tls_force_insecure_host_tlsa_lookup */
	{ "unless that is forced", DANE "smtp_tls_force_insecure_host_tlsa_lookup = yes\n", "example.org",
	    { MX(S, MXHOST), HOST(I), TLSA(MXHOST, S, "3 1 1") }, "mx.example.org[192.0.2.1]=dane mx.example.org",
	    "_25._tcp.mx.example.org/TLSA" },
	{ "insecure MX, secure host: half-dane", DANE, "example.org", { MX(I, MXHOST), HOST(S), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=halfdane mx.example.org", NULL },
	{ "insecure MX, policy may: nothing is asked", DANE "smtp_tls_dane_insecure_mx_policy = may\n", "example.org",
	    { MX(I, MXHOST), HOST(S), TLSA(MXHOST, S, "3 1 1") }, "mx.example.org[192.0.2.1]=may", "!TLSA" },
	{ "a bogus MX answer delays", DANE, "example.org", { MX(DNS_BOGUS, NULL) }, "! 4.4.3 Host or domain name not found. "
	    "Name service error for name=example.org type=MX: DNSSEC validation failed, try again", NULL },
	{ "a bogus address delays", DANE, "example.org", { MX(S, MXHOST), { MXHOST, DNS_TYPE_A, DNS_BOGUS, NULL, NULL } },
	    "! 4.4.3 Host or domain name not found. Name service error for name=mx.example.org type=A: DNSSEC validation failed, "
	    "try again", NULL },
	{ "a secure alias: the expansion first", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(S), TLSA("real.example.net", S, "3 1 1"), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=dane real.example.net", "!_25._tcp.mx.example.org" },
	{ "then the original name", DANE, "example.org", { MX(S, MXHOST), ALIAS(S), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=dane mx.example.org", "_25._tcp.real.example.net/TLSA _25._tcp.mx.example.org/TLSA" },
	{ "insecure records at the expansion: the original name", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(S), TLSA("real.example.net", I, "3 1 1"), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=dane mx.example.org", NULL },
	{ "a failure at the expansion ends it", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(S), TLSA("real.example.net", DNS_FAILED, NULL), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=! 4.7.5 TLSA lookup error for mx.example.org:25", "!_25._tcp.mx.example.org" },
	{ "an alias into an insecure zone: only the original name", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(I), { MXHOST, DNS_TYPE_CNAME, S, "real.example.net", NULL }, TLSA(MXHOST, S, "3 1 1"),
	    TLSA("real.example.net", S, "3 1 1") }, "mx.example.org[192.0.2.1]=dane mx.example.org", "!real.example.net" },
	{ "an insecure alias", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(I), { MXHOST, DNS_TYPE_CNAME, I, "real.example.net", NULL }, TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=may", "!TLSA" },
	{ "an alias that cannot be looked up", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(I), { MXHOST, DNS_TYPE_CNAME, DNS_FAILED, NULL, NULL } },
	    "mx.example.org[192.0.2.1]=! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "an alias that went away", DANE, "example.org",
	    { MX(S, MXHOST), ALIAS(I), { MXHOST, DNS_TYPE_CNAME, S, NULL, NULL } },
	    "mx.example.org[192.0.2.1]=! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "implicit MX", DANE, "example.org", { MX(I, NULL), { "example.org", DNS_TYPE_A, S, "192.0.2.9", NULL },
	    TLSA("example.org", S, "3 1 1") }, "example.org[192.0.2.9]=dane example.org", NULL },
	/* spec 20.16 */
	{ "null MX", DANE, "example.org", { MX(S, ".") }, "! 5.1.10 Domain example.org does not accept mail (nullMX)", NULL },
	{ "a null MX among others is none (RFC 7505 section 3)", DANE, "example.org", { MX(S, "."), MX(S, MXHOST), HOST(S) },
	    "mx.example.org[192.0.2.1]=may", NULL },
	{ "one host does not exist, the other is bogus: not a bounce", DANE, "example.org", { MX(S, "gone.example.org"), MX(S, MXHOST),
	    { MXHOST, DNS_TYPE_A, DNS_BOGUS, NULL, NULL } }, "! 4.4.3 Host or domain name not found. Name service error for "
	    "name=mx.example.org type=A: DNSSEC validation failed, try again", NULL },
	{ "in any order", DANE, "example.org", { MX(S, MXHOST), MX(S, "gone.example.org"), { MXHOST, DNS_TYPE_A, DNS_FAILED, NULL, NULL } },
	    "! 4.4.3 Host or domain name not found. Name service error for name=mx.example.org type=A: Host not found, try again", NULL },
	{ "an MX lookup that fails is not an implicit MX", DANE, "example.org", { MX(DNS_FAILED, NULL), { "example.org", DNS_TYPE_A, S,
	    "192.0.2.9", NULL } }, "! 4.4.3 Host or domain name not found. Name service error for name=example.org type=MX: Host not found, "
	    "try again", "!/A" },
	{ "a policy table that fails is not one without an entry", "smtp_tls_policy_maps = fail:oops\n", "example.org", { MX(I, MXHOST), HOST(I) },
	    "mx.example.org[192.0.2.1]=! 4.7.5 client TLS configuration problem", NULL },
	{ "nor behind another table", "smtp_tls_policy_maps = inline:{ {a.example=may} }, fail:oops, inline:{ {example.org=may} }\n", "example.org",
	    { MX(I, MXHOST), HOST(I) }, "mx.example.org[192.0.2.1]=! 4.7.5 client TLS configuration problem", NULL },
	{ "a name that does not exist", DANE, "example.org", { MX(S, NULL) }, "! 5.4.4 Host or domain name not found. Name "
	    "service error for name=example.org type=A: Host not found", NULL },
	{ "[host] has no MX", DANE, "[mx.example.org]", { MX(I, MXHOST), HOST(S), TLSA(MXHOST, S, "3 1 1") },
	    "mx.example.org[192.0.2.1]=dane mx.example.org", "!/MX" },
	{ "the port is in the name", DANE, "[mx.example.org]:587", { HOST(S), { "_587._tcp.mx.example.org", DNS_TYPE_TLSA, S,
	    "3 1 1", NULL }, TLSA(MXHOST, DNS_FAILED, NULL) }, "mx.example.org[192.0.2.1]=dane mx.example.org",
	    "_587._tcp.mx.example.org/TLSA" },
	{ "dane-only and a literal", "smtp_tls_security_level = dane-only\n", "[192.0.2.7]", { { 0 } },
	    "192.0.2.7[192.0.2.7]=! 4.7.5 no TLSA records found", "!TLSA" },
	{ "dane and a literal", DANE, "[192.0.2.7]", { { 0 } }, "192.0.2.7[192.0.2.7]=may", "!TLSA" },
	{ "dane of a table entry", "smtp_tls_policy_maps = inline:{ {example.org=dane-only} }\n", "example.org",
	    { MX(S, MXHOST), HOST(S), TLSA(MXHOST, S, "2 0 1") }, "mx.example.org[192.0.2.1]=dane-only mx.example.org", NULL },
	{ "a table entry without DANE asks for nothing", DANE "smtp_tls_policy_maps = inline:{ {example.org=encrypt} }\n",
	    "example.org", { MX(S, MXHOST), HOST(S) }, "mx.example.org[192.0.2.1]=encrypt", "!TLSA" },
#define LONG_LABEL "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij"
#define LONG_HOST LONG_LABEL "." LONG_LABEL "." LONG_LABEL "." LONG_LABEL ".abc"
	{ "a name that leaves no room for _25._tcp has no records", DANE, "[" LONG_HOST "]", { { LONG_HOST, DNS_TYPE_A, S, "192.0.2.1", NULL } },
	    LONG_HOST "[192.0.2.1]=may", "!TLSA" },
	{ "unusable records force encryption", DANE, "example.org", { MX(S, MXHOST), HOST(S), TLSA(MXHOST, S, "1 1 1") },
	    "mx.example.org[192.0.2.1]=encrypt mx.example.org", NULL },
	{ "a bracket that is not closed is a mistake of ours", DANE, "[mx.example.org", { { 0 } }, "! 4.3.5 Server configuration error", "!mx" },
	{ "nor one that is not opened", DANE, "mx.example.org]:25", { { 0 } }, "! 4.3.5 Server configuration error", "!mx" },
	{ "each MX host by itself", DANE, "example.org", { MX(S, MXHOST), MX(S, "mx2.example.org"), HOST(S),
	    { "mx2.example.org", DNS_TYPE_A, S, "192.0.2.2", NULL }, TLSA(MXHOST, DNS_BOGUS, NULL),
	    TLSA("mx2.example.org", S, "3 1 1") }, "mx.example.org[192.0.2.1]=! 4.7.5 TLSA lookup error for mx.example.org:25; "
	    "mx2.example.org[192.0.2.2]=dane mx2.example.org", NULL },
};

static void
describe(struct world *w, struct buf *b)
{
	for (size_t i = 0; i < w->hop.count; i++) {
		struct tls_decision d;
		const struct hop_address *addr = &w->hop.list[i];
		bool ok = hop_decide(&w->hop, addr, w->arena, &d);

		buf_addf(b, "%s%.*s[%.*s]=", i > 0 ? "; " : "", SPAN_ARG(addr->host), SPAN_ARG(addr->text));
		if (!ok)
			buf_addf(b, "! %s %s", d.fault.dsn, d.fault.text);
		else
			buf_addf(b, "%s%s%.*s", tls_level_name(d.level), d.tlsa_base.n > 0 ? " " : "", SPAN_ARG(d.tlsa_base));
	}
}

static void
check_questions(const struct row *row)
{
	struct span rest = span_str(row->asked), one;

	while (row->asked != NULL && span_token(&rest, " ", &one)) {
		bool not = one.p[0] == '!';

		if (not != (span_find_ci(span_str(asked.log), not ? span_from(one, 1) : one) < 0))
			fail_msg("%s: asked %s", row->name, asked.log);
	}
}

static void
test_dane(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *row = &rows[i];
		char main_cf[500];
		struct fault why;
		struct world w;
		struct buf b;

		snprintf(main_cf, sizeof(main_cf), "%ssmtp_randomize_addresses = no\n", row->main_cf);
		begin(&w, main_cf);
		buf_init(&b, 8192);
		zone = row->zone;
		for (n_zone = 0; n_zone < COUNT(row->zone) && zone[n_zone].name != NULL; n_zone++)
			;
		if (gather(&w, row->nexthop, &why) == MAP_FOUND)
			describe(&w, &b);
		else
			buf_addf(&b, "! %s %s", why.dsn, why.text);
		if (strcmp(buf_cstr(&b), row->want) != 0)
			fail_msg("%s:\n  %s\nnot %s", row->name, buf_cstr(&b), row->want);
		check_questions(row);
		buf_release(&b);
		end(&w);
	}
}

/* What only a person can have written: 4.3.5, so that correcting it is enough; never a bounce. */
static void
test_forms(void **state)
{
	static const struct {
		const char *nexthop, *said;     /* NULL = it can be read */
	} forms[] = {
		{ "mx.example", NULL }, { "[mx.example]:587", NULL }, { "mx.example:smtp", NULL }, { "[2001:db8::1]:25", NULL },
		{ "[IPv6:2001:db8::1]", NULL }, { "2001:db8::1", NULL }, { "_x.example", NULL }, { "unix:/a b", NULL }, { "b\303\274cher.example", NULL },
		{ "[mx.example", "neither a host name" }, { "mx.example]:25", "neither a host name" }, { "smtp:[mx.example]:25", "neither a host name" },
		{ "user@mx.example", "neither a host name" }, { "mx/example", "neither a host name" }, { "mx.example:", "empty port" },
		{ "[mx.example]:submision", "no such port" }, { "[mx.example]:65536", "no such port" }, { "[]:25", "empty host name" }, { "unix:", "empty path" },
	};
	struct fault why;
	struct world w;

	(void)state;
	begin(&w, "");
	for (size_t i = 0; i < COUNT(forms); i++) {
		bool ok = hop_form(&w.svc, span_str(forms[i].nexthop), w.arena, &why);

		if (ok != (forms[i].said == NULL) || (!ok && span_find(span_str(why.text), span_str(forms[i].said)) < 0))
			fail_msg("%s: %s", forms[i].nexthop, ok ? "ok" : why.text);
		if (!ok)
			assert_string_equal(why.dsn, "4.3.5");
	}
	end(&w);
}

/* smtp_tls_per_site (tls-client.md 3.7): the stronger word of next hop and host; MAY gives way to a stronger global level. */
static void
test_the_legacy_table(void **state)
{
	static const struct {
		const char *level, *nexthop, *host, *want;
	} cases[] = {
		{ "none", NULL, NULL, "none" }, { "encrypt", NULL, NULL, "encrypt" },
		{ "none", "MAY", NULL, "may" }, { "none", NULL, "MAY", "may" }, { "encrypt", "MAY", NULL, "encrypt" }, { "may", "MAY", "MAY", "may" },
		{ "may", "NONE", NULL, "none" }, { "encrypt", NULL, "NONE", "none" }, { "none", "MAY", "NONE", "none" }, { "may", "NONE", "MAY", "none" },
		{ "none", "MUST_NOPEERMATCH", "NONE", "encrypt" }, { "none", "MAY", "must_nopeermatch", "encrypt" },
		{ "none", "MUST", "MUST_NOPEERMATCH", "verify" }, { "none", "NONE", "MUST", "verify" }, { "secure", "MUST", NULL, "verify" },
		{ "may", "MUSTY", NULL, "! 4.7.5 client TLS configuration problem" }, { "may", "MUST", "YES", "! 4.7.5 client TLS configuration problem" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		static const struct rr one[] = { MX(I, MXHOST), HOST(I) };
		struct tls_decision d;
		struct fault why;
		struct world w;
		char main_cf[500], got[600];
		bool ok;

		snprintf(main_cf, sizeof(main_cf), "smtp_tls_security_level = %s\nsmtp_tls_per_site = inline:{ {other.example=NONE} {%s=%s} {%s=%s} }\n",
		    cases[i].level, cases[i].nexthop != NULL ? "example.org" : "no.example", cases[i].nexthop != NULL ? cases[i].nexthop : "MUST",
		    cases[i].host != NULL ? MXHOST : "nor.example", cases[i].host != NULL ? cases[i].host : "MUST");
		begin(&w, main_cf);
		zone = one;
		n_zone = COUNT(one);
		assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
		ok = hop_decide(&w.hop, &w.hop.list[0], w.arena, &d);
		snprintf(got, sizeof(got), ok ? "%s%s" : "! %s %s", ok ? tls_level_name(d.level) : d.fault.dsn, ok ? "" : d.fault.text);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("row %zu: %s, not %s", i, got, cases[i].want);
		if (!ok)
			assert_non_null(strstr(d.warnings[0].p, "smtp_tls_per_site, next-hop destination"));
		end(&w);
	}
}

/* With a policy table the legacy one is ignored, and one that cannot be asked is not an absent entry (3.4). */
static void
test_the_legacy_table_beside_others(void **state)
{
	static const struct rr one[] = { MX(I, MXHOST), HOST(I) };
	struct tls_decision d;
	struct fault why;
	struct world w;

	(void)state;
	zone = one;
	n_zone = COUNT(one);
	begin(&w, "smtp_tls_per_site = inline:{ {example.org=MUST} }\nsmtp_tls_policy_maps = inline:{ {a.example=may} }\n");
	assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
	assert_true(hop_decide(&w.hop, &w.hop.list[0], w.arena, &d));
	assert_int_equal(d.level, TLS_LEVEL_NONE);
	end(&w);
	begin(&w, "smtp_tls_per_site = fail:oops\n");
	assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
	assert_false(hop_decide(&w.hop, &w.hop.list[0], w.arena, &d));
	assert_string_equal(d.fault.dsn, "4.3.0");
	assert_string_equal(d.fault.text, "Temporary lookup error");
	end(&w);
}

/* ---- the system's way (smtp_host_lookup = dns, native) */

static struct asks_link *system_link;
static struct asks *system_asks;
static unsigned system_asked;

static bool
send_system(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	(void)ctx;
	(void)name;
	(void)id;
	(void)type;
	system_asked++;
	return false;                   /* and it does not work either */
}

static struct asks *
system_way(void *ctx)
{
	(void)ctx;
	return system_asks;
}

/* A name that does not exist may be known to the system; an answer that failed or was forged is not asked for anew without proof. */
static void
test_the_systems_way_does_not_go_round_dnssec(void **state)
{
	static const struct asks_ops system_ops = { send_map, send_system };
	static const struct {
		enum dns_status status;
		bool asked;
	} cases[] = { { DNS_SECURE, true }, { DNS_INSECURE, true }, { DNS_BOGUS, false }, { DNS_FAILED, false } };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct rr one[] = { { MXHOST, DNS_TYPE_A, cases[i].status, NULL, NULL } };
		struct fault why;
		struct world w;

		begin(&w, DANE "smtp_host_lookup = dns, native\n");
		system_link = asks_link_new(w.loop, &system_ops, NULL, 60000);
		system_asks = asks_new(system_link, on_ready, NULL);
		system_asked = 0;
		w.hop.native = system_way;
		zone = one;
		n_zone = 1;
		assert_int_equal(gather(&w, "[mx.example.org]", &why), MAP_ABSENT);
		if ((system_asked > 0) != cases[i].asked)
			fail_msg("row %zu", i);
		asks_free(&system_asks);
		asks_link_free(&system_link);
		end(&w);
	}
}

/* RFC 7672 section 3.2.2: the next hop's own alias counts as a name, too. */
static void
test_the_owner_of_the_mx_records(void **state)
{
	static const struct rr known[] = { { "example.org", DNS_TYPE_MX, S, "mx.example.com", "example.com" },
		{ "mx.example.com", DNS_TYPE_A, S, "192.0.2.1", NULL }, TLSA("mx.example.com", S, "2 0 1") };
	struct tls_decision d;
	struct fault why;
	struct world w;

	(void)state;
	begin(&w, DANE);
	zone = known;
	n_zone = COUNT(known);
	assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
	assert_true(hop_decide(&w.hop, &w.hop.list[0], w.arena, &d));
	assert_int_equal(d.n_names, 3);
	assert_span(d.names[0].name, "mx.example.com");
	assert_span(d.names[1].name, "example.org");
	assert_span(d.names[2].name, "example.com");
	end(&w);
}

/* Mail for port 25 of our own address would come back; another port is another server. */
static void
test_our_own_addresses(void **state)
{
	static const struct rr known[] = { HOST(I) };
	struct hop_own_address address = { AF_INET, { 192, 0, 2, 1 } };
	struct hop_own own = { .list = &address, .count = 1 };
	struct fault why;
	struct world w;

	(void)state;
	zone = known;
	n_zone = 1;
	begin(&w, "");
	w.hop.own = &own;
	assert_int_equal(gather(&w, "[mx.example.org]", &why), MAP_ABSENT);
	assert_string_equal(why.dsn, "5.4.6");
	assert_true(w.hop.ours);
	assert_int_equal(gather(&w, "[mx.example.org]:587", &why), MAP_FOUND);
	assert_false(w.hop.ours);
	end(&w);
}

/* Several next hops: which, in which order, and what one that leads nowhere means. */
static void
test_lists(void **state)
{
	static const struct {
		const char *main_cf, *nexthop;
		size_t at;
		bool ours;              /* there, we are a server of the domain */
		const char *dsn;        /* of that one; "" = it has servers */
		const char *left, *told, *mistake;
	} cases[] = {
		{ "", "a.example", 0, false, "5.4.4", "a.example", "5.4.4", "" },
		{ "", "a.example, [b.example]:25", 0, false, "5.4.4", "a.example [b.example]:25", "5.4.4", "" },
		{ "smtp_fallback_relay = f.example [g.example]\n", "a.example", 0, false, "5.4.4", "a.example f.example [g.example]", "5.4.4", "" },
		{ "smtp_fallback_relay = f.example\n", "a.example", 0, false, "5.1.10", "a.example", "5.1.10", "" },
		{ "smtp_fallback_relay = f.example\n", "a.example", 0, false, "4.4.3", "a.example f.example", "4.4.3", "" },
		{ "smtp_fallback_relay = f.example\n", "a.example", 0, true, "", "a.example", "", "" },
		{ "smtp_fallback_relay = f.example\n", "a.example", 1, true, "", "a.example f.example", "", "" },
		{ "smtp_fallback_relay = f.example\n", "a.example", 1, false, "5.4.4", "a.example f.example", "4.3.5", "fallback_relay configuration problem: x" },
		{ "smtp_fallback_relay = f.example\n", "unix:/a b", 0, false, "", "unix:/a b", "", "" },
		{ "relayhost = [r.example]\n", "[r.example]", 0, false, "5.4.4", "[r.example]", "4.3.5", "relayhost configuration problem: x" },
		{ "relayhost = [r.example]\n", "a.example", 0, false, "5.4.4", "a.example", "5.4.4", "" },
		{ "", "", 0, false, "", "", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct fault why = { 0 };
		struct span mistake = SPAN("");
		struct hop_list l;
		struct world w;
		struct buf b;

		begin(&w, cases[i].main_cf);
		hop_list(&w.svc, span_str(cases[i].nexthop), w.arena, &l);
		w.hop.ours = cases[i].ours;
		hop_list_found(&l, cases[i].at, &w.hop);
		if (cases[i].dsn[0] != '\0') {
			fault_set(&why, cases[i].dsn, "x");
			mistake = hop_list_leads_nowhere(&l, cases[i].at, &why, w.arena);
		}
		buf_init(&b, 1000);
		for (size_t k = 0; k < l.count; k++)
			buf_addf(&b, "%s%.*s", k > 0 ? " " : "", SPAN_ARG(l.hop[k]));
		if (strcmp(buf_cstr(&b), cases[i].left) != 0 || strcmp(why.dsn, cases[i].told) != 0 || !span_eq(mistake, span_str(cases[i].mistake)))
			fail_msg("row %zu: %s; %s; %.*s", i, buf_cstr(&b), why.dsn, SPAN_ARG(mistake));
		buf_release(&b);
		end(&w);
	}
}

/* Spec 20.6: the status of A and of AAAA is judged address by address. */
static void
test_each_address_has_its_own_status(void **state)
{
	static const struct rr both[] = { MX(S, MXHOST), HOST(I), { MXHOST, DNS_TYPE_AAAA, S, "2001:db8::1", NULL },
		TLSA(MXHOST, S, "3 1 1") };
	struct fault why;
	struct world w;
	struct buf b;

	(void)state;
	begin(&w, DANE "inet_protocols = all\nsmtp_address_preference = ipv6\n");
	zone = both;
	n_zone = COUNT(both);
	buf_init(&b, 8192);
	assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
	describe(&w, &b);
	assert_string_equal(buf_cstr(&b), "mx.example.org[2001:db8::1]=dane mx.example.org; mx.example.org[192.0.2.1]=may");
	buf_release(&b);
	end(&w);
}

/* What is found is kept: the status of every answer, whether it was used or not. */
static void
test_the_facts_are_complete(void **state)
{
	static const struct rr some[] = { MX(I, MXHOST), { "example.org", DNS_TYPE_MX, I, "gone.example.org", NULL }, ALIAS(S),
		{ "gone.example.org", DNS_TYPE_A, DNS_BOGUS, NULL, NULL } };
	struct fault why;
	struct world w;

	(void)state;
	begin(&w, DANE);
	zone = some;
	n_zone = COUNT(some);
	assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
	assert_int_equal(w.hop.mx.status, DNS_INSECURE);
	assert_int_equal(w.hop.mx.count, 2);
	assert_int_equal(w.hop.n_hosts, 2);
	assert_span(w.hop.hosts[0].name, "mx.example.org");
	assert_int_equal(w.hop.hosts[0].answers[1].status, DNS_SECURE);
	assert_span(w.hop.hosts[0].answers[1].canon, "real.example.net");
	assert_int_equal(w.hop.hosts[0].answers[0].type, 0);
	assert_int_equal(w.hop.hosts[1].answers[1].status, DNS_BOGUS);
	assert_int_equal(w.hop.count, 1);
	assert_true(w.hop.best_mx_known);
	assert_int_equal(w.hop.list[0].dane->state, TLS_DANE_ABSENT);
	assert_span(w.hop.list[0].dane->why, "no TLSA records");
	end(&w);
}

/* smtp_dns_support_level */
static void
test_support_levels(void **state)
{
	static const struct {
		const char *main_cf;
		bool dns, native;
	} cases[] = {
		{ "smtp_dns_support_level =\n", true, false },
		{ "smtp_dns_support_level =\ndisable_dns_lookups = yes\n", false, true },
		{ "smtp_dns_support_level = enabled\ndisable_dns_lookups = yes\n", true, false },
		{ "smtp_dns_support_level = disabled\n", false, true },
		{ "smtp_dns_support_level = dnssec\nsmtp_host_lookup = dns, native\n", true, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world w;

		begin(&w, cases[i].main_cf);
		if (w.svc.dns != cases[i].dns || w.svc.native != cases[i].native)
			fail_msg("%s", cases[i].main_cf);
		end(&w);
	}
}

static size_t
letters(struct span s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] >= 'a' && s.p[i] <= 'z';
	return n;
}

/* The texts, codes and tls= fields of tls-client.md 1.1 and 13.3, level by level. */
static void
test_outcomes(void **state)
{
	static const char clear_no[] = "clear - tls=%s:none", no[] = "defer 4.7.4 TLS is required, but was not offered by host P tls=!%s",
	    refused[] = "defer 4.7.5 TLS is required, but host P refused to start TLS tls=!%s",
	    handshake[] = "defer 4.7.5 Cannot start TLS: handshake failure tls=!%s", mismatch[] = "defer 4.7.5 Server certificate not verified tls=!%s",
	    weak[] = "defer 4.7.5 Server key or DH group is shorter than the policy allows tls=!%s";
	static const struct {
		enum tls_level asked, level;
		enum hop_event event;
		const char *want;       /* %s: the level as the field has it */
	} cases[] = {
		{ TLS_LEVEL_NONE, TLS_LEVEL_NONE, HOP_EVENT_NOT_OFFERED, "clear - tls=none" },
		{ TLS_LEVEL_MAY, TLS_LEVEL_MAY, HOP_EVENT_NOT_OFFERED, clear_no },
		{ TLS_LEVEL_MAY, TLS_LEVEL_MAY, HOP_EVENT_REFUSED, clear_no },
		{ TLS_LEVEL_MAY, TLS_LEVEL_MAY, HOP_EVENT_HANDSHAKE, "clear-later 4.7.5 Cannot start TLS: handshake failure tls=may?" },
		{ TLS_LEVEL_MAY, TLS_LEVEL_MAY, HOP_EVENT_SECURED, "clear - tls=may" },
		{ TLS_LEVEL_MAY, TLS_LEVEL_MAY, HOP_EVENT_LOST, "defer - tls=may?" },
		{ TLS_LEVEL_DANE, TLS_LEVEL_MAY, HOP_EVENT_NOT_OFFERED, "clear - tls=dane:none" },
		{ TLS_LEVEL_DANE, TLS_LEVEL_MAY, HOP_EVENT_HANDSHAKE, "clear-later 4.7.5 Cannot start TLS: handshake failure tls=dane:may?" },
		{ TLS_LEVEL_ENCRYPT, TLS_LEVEL_ENCRYPT, HOP_EVENT_NOT_OFFERED, no }, { TLS_LEVEL_ENCRYPT, TLS_LEVEL_ENCRYPT, HOP_EVENT_REFUSED, refused },
		{ TLS_LEVEL_ENCRYPT, TLS_LEVEL_ENCRYPT, HOP_EVENT_HANDSHAKE, handshake }, { TLS_LEVEL_ENCRYPT, TLS_LEVEL_ENCRYPT, HOP_EVENT_MISMATCH, weak },
		{ TLS_LEVEL_FINGERPRINT, TLS_LEVEL_FINGERPRINT, HOP_EVENT_NOT_OFFERED, no }, { TLS_LEVEL_FINGERPRINT, TLS_LEVEL_FINGERPRINT, HOP_EVENT_MISMATCH, mismatch },
		{ TLS_LEVEL_DANE, TLS_LEVEL_DANE, HOP_EVENT_NOT_OFFERED, no }, { TLS_LEVEL_DANE, TLS_LEVEL_DANE, HOP_EVENT_REFUSED, refused },
		{ TLS_LEVEL_DANE, TLS_LEVEL_DANE, HOP_EVENT_HANDSHAKE, handshake }, { TLS_LEVEL_DANE, TLS_LEVEL_DANE, HOP_EVENT_MISMATCH, mismatch },
		{ TLS_LEVEL_DANE, TLS_LEVEL_DANE, HOP_EVENT_SECURED, "clear - tls=%s" }, { TLS_LEVEL_DANE, TLS_LEVEL_DANE, HOP_EVENT_LOST, "defer - tls=%s?" },
		{ TLS_LEVEL_DANE, TLS_LEVEL_ENCRYPT, HOP_EVENT_NOT_OFFERED, no }, { TLS_LEVEL_DANE, TLS_LEVEL_ENCRYPT, HOP_EVENT_SECURED, "clear - tls=%s" },
		{ TLS_LEVEL_DANE, TLS_LEVEL_HALF_DANE, HOP_EVENT_MISMATCH, mismatch }, { TLS_LEVEL_DANE, TLS_LEVEL_HALF_DANE, HOP_EVENT_NOT_OFFERED, no },
		{ TLS_LEVEL_DANE_ONLY, TLS_LEVEL_DANE_ONLY, HOP_EVENT_NOT_OFFERED, no }, { TLS_LEVEL_DANE_ONLY, TLS_LEVEL_DANE_ONLY, HOP_EVENT_HANDSHAKE, handshake },
		{ TLS_LEVEL_VERIFY, TLS_LEVEL_VERIFY, HOP_EVENT_REFUSED, refused }, { TLS_LEVEL_VERIFY, TLS_LEVEL_VERIFY, HOP_EVENT_MISMATCH, mismatch },
		{ TLS_LEVEL_SECURE, TLS_LEVEL_SECURE, HOP_EVENT_HANDSHAKE, handshake }, { TLS_LEVEL_SECURE, TLS_LEVEL_SECURE, HOP_EVENT_MISMATCH, mismatch },
	};
	static const char *const next[] = { "clear", "clear-later", "defer" };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		bool needs = tls_level_needs_tls(cases[i].level);
		struct tls_decision d = { .asked = cases[i].asked, .level = cases[i].level, .must_match = cases[i].level > TLS_LEVEL_ENCRYPT,
			.on_no_starttls = needs ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR, .on_starttls_refused = needs ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR,
			.on_handshake_failure = needs ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR_LATER, .on_mismatch = needs ? TLS_NEXT_DEFER : TLS_NEXT_CLEAR };
		struct hop_outcome o;
		char got[800], want[400], field[80];

		hop_outcome(&d, cases[i].event, "P", &o);
		snprintf(got, sizeof(got), "%s %s%s%s tls=%s", next[o.next], o.dsn[0] != '\0' ? o.dsn : "-", o.dsn[0] != '\0' ? " " : "", o.text, o.field);
		snprintf(field, sizeof(field), "%s%s%s", tls_level_name(d.asked), d.asked != d.level ? ":" : "", d.asked != d.level ? tls_level_name(d.level) : "");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(want, sizeof(want), cases[i].want, field);
#pragma GCC diagnostic pop
		if (strcmp(got, want) != 0)
			fail_msg("row %zu: %s, not %s", i, got, want);
	}
}

/* A connection keeps its decision when the delivery, and with it the facts, is gone (sanitizers watch). */
static void
test_a_decision_outlives_its_facts(void **state)
{
	static const struct rr known[] = { MX(S, MXHOST), ALIAS(S), TLSA("real.example.net", S, "2 1 1") };
	static const char *const values[] = { "dane", "encrypt ciphers=high protocols=>=TLSv1.2 servername=nexthop",
		"secure match=.mail.example tafile=/x.pem policy_type=sts policy_failure=validation-failure" };

	(void)state;
	for (size_t i = 0; i < COUNT(values); i++) {
		struct arena *a = arena_new(4 << 20);
		struct tls_decision d;
		struct world w;
		char main_cf[300];
		size_t n = 0;

		snprintf(main_cf, sizeof(main_cf), "smtp_tls_policy_maps = static:{%s}\n", values[i]);
		begin(&w, main_cf);
		zone = known;
		n_zone = COUNT(known);
		assert_int_equal(gather(&w, "example.org", &(struct fault){ 0 }), MAP_FOUND);
		assert_true(hop_decide(&w.hop, &w.hop.list[0], a, &d));
		arena_free(&w.arena);
		asks_clear(w.asks);
		w.arena = arena_new(1 << 20);
		for (size_t k = 0; k < d.n_trail; k++)
			n += letters(d.trail[k].result) + letters(d.trail[k].source);
		for (size_t k = 0; k < d.n_names; k++)
			n += letters(d.names[k].name);
		for (size_t k = 0; k < d.n_tlsa; k++)
			n += letters(d.tlsa[k].data);
		for (size_t k = 0; k < d.n_tafiles; k++)
			n += letters(d.tafiles[k].path);
		for (size_t k = 0; k < d.n_warnings; k++)
			n += letters(d.warnings[k]);
		n += letters(d.sni) + letters(d.protocols_text) + letters(d.cipher_grade) + letters(d.ciphers) +
		    letters(d.tlsa_base) + letters(d.policy_failure_type);
		assert_true(n > 20);
		arena_free(&a);
		end(&w);
	}
}

static double
cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* A table of 100 000 rows and every DNS answer known: what one decision costs (processor time). */
static void
test_the_cost_of_a_decision(void **state)
{
	enum { ROWS = 100000, TIMES = 5000 };
	static const struct rr known[] = { MX(S, MXHOST), HOST(S), TLSA(MXHOST, S, "3 1 1"), TLSA(MXHOST, S, "2 0 1") };
	struct build_job job = { .name = "policy", .form = SOURCE_MAP };
	struct build_report report;
	struct fault why;
	struct world w;
	struct buf text;
	char path[300], main_cf[500];
	double start;
	int fd;

	(void)state;
	buf_init(&text, 16 << 20);
	for (int i = 0; i < ROWS; i++)
		buf_addf(&text, "d%d.example secure match=.d%d.example:mx.example.net ciphers=high\n", i, i);
	buf_add_str(&text, "example.org dane-only\n");
	job.text = buf_span(&text);
	snprintf(path, sizeof(path), "%s/policy.cdb", kit_dir());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && build_cdb(&job, fd, &report, &why));
	close(fd);
	buf_release(&text);
	snprintf(main_cf, sizeof(main_cf), "smtp_tls_policy_maps = cdb:%s/policy\n", kit_dir());
	begin(&w, main_cf);
	zone = known;
	n_zone = COUNT(known);
	assert_int_equal(gather(&w, "example.org", &why), MAP_FOUND);
	start = cpu_us();
	for (int i = 0; i < TIMES; i++) {
		struct arena *a = arena_new(64 << 20);
		struct tls_decision d;

		w.hop = (struct hop){ .svc = &w.svc, .arena = a, .asks = w.asks };
		assert_int_equal(hop_gather(&w.hop, SPAN("example.org"), &why), MAP_FOUND);
		assert_true(hop_decide(&w.hop, &w.hop.list[0], a, &d));
		assert_int_equal(d.level, TLS_LEVEL_DANE_ONLY);
		arena_free(&a);
	}
	print_message("facts and decision, %d rows and known answers: %.1f us\n", ROWS,
	    (cpu_us() - start) / TIMES);
	end(&w);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_the_cost_of_a_decision),
	KIT_TEST(test_dane),
	KIT_TEST(test_forms),
	KIT_TEST(test_a_decision_outlives_its_facts),
	KIT_TEST(test_the_legacy_table),
	KIT_TEST(test_the_legacy_table_beside_others),
	KIT_TEST(test_the_systems_way_does_not_go_round_dnssec),
	KIT_TEST(test_the_owner_of_the_mx_records),
	KIT_TEST(test_our_own_addresses),
	KIT_TEST(test_lists),
	KIT_TEST(test_outcomes),
	KIT_TEST(test_each_address_has_its_own_status),
	KIT_TEST(test_the_facts_are_complete),
	KIT_TEST(test_support_levels),
};

KIT_MAIN(tests)
