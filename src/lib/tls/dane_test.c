/* DANE, row by row: digests, records, what becomes of a level (tls-client.md 7.1), names, verdicts. */
#include "tls/dane.h"

#include <stdio.h>

#include "kit/certs.h"
#include "kit/kit.h"
#include "tls/policy.h"
#include "tls/verify.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static const struct tls_params defaults = {
	.prefix = "smtp", .security_level = "dane", .protocols = ">=TLSv1", .mandatory_protocols = ">=TLSv1.2",
	.ciphers = "medium", .mandatory_ciphers = "medium", .exclude_ciphers = "", .mandatory_exclude_ciphers = "",
	.mandatory_weak = "", .verify_cert_match = "hostname", .secure_cert_match = "nexthop, dot-nexthop",
	.fingerprint_cert_match = "", .fingerprint_digest = "sha256", .trust_anchor_file = "", .servername = "",
	.high_cipherlist = "HIGH", .medium_cipherlist = "MEDIUM", .null_cipherlist = "eNULL",
	.eecdh_auto_curves = "X25519", .ffdhe_auto_groups = "ffdhe2048", .verifydepth = 9,
	.dane_digests = "sha512 sha256", .dane_insecure_mx_policy = "dane",
};

/* ---- tls_dane_digests */

static void
test_digest_lists(void **state)
{
	static const struct {
		const char *text, *want;        /* "!words" = refused */
	} rows[] = {
		{ "sha512 sha256", "sha512=2 sha256=1" },
		{ "SHA256=1, sha512=2", "sha256=1 sha512=2" },
		{ "sha384=17 sha256", "sha384=17 sha256=1" },
		{ "sha512", "sha512=2" },
		{ "sha256 =2", "sha256=1" },
		{ "", "" },
		{ "sha256=2", "!1 is sha256 and 2 is sha512" },
		{ "sha512=1", "!1 is sha256" },
		{ "sha384=1", "!1 is sha256" },
		{ "sha384", "!needs its number" },
		{ "sha384=", "!no number" },
		{ "sha384=0", "!is not a matching type" },
		{ "sha384=255", "!is not a matching type" },
		{ "sha384=x", "!is not a matching type" },
		{ "sha256 sha256", "!given twice" },
		{ "sha384=7 sha224=7", "!given twice" },
		{ "sha257=9", "!unknown digest" },
		{ "a-name-that-is-too-long-to-be-a-digest=9", "!unknown digest" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_dane_digests d;
		struct fault why;
		struct buf b;
		bool ok = tls_dane_digests_parse(span_str(rows[i].text), &d, &why);

		buf_init(&b, 1000);
		if (!ok)
			buf_addf(&b, "!%s", why.text);
		for (size_t k = 0; ok && k < d.count; k++)
			buf_addf(&b, "%s%s=%u", k > 0 ? " " : "", d.list[k].name, d.list[k].matching);
		if (rows[i].want[0] == '!' ? ok || strstr(buf_cstr(&b), rows[i].want + 1) == NULL :
		    strcmp(buf_cstr(&b), rows[i].want) != 0)
			fail_msg("\"%s\": %s", rows[i].text, buf_cstr(&b));
		buf_release(&b);
	}
}

/* ---- records */

static char digest_bytes[200];

/* "3 1 1", with data of the length that fits, or of ":n" bytes. */
static size_t
records(const char *text, struct tls_tlsa *out)
{
	struct span rest = span_str(text), one;
	size_t n = 0;

	while (span_token(&rest, ",", &one)) {
		struct tls_tlsa *r = &out[n++];
		struct span word, length;
		uint64_t v[3], bytes;

		span_cut(one, ':', &one, &length);
		for (int i = 0; i < 3; i++) {
			assert_true(span_token(&one, " ", &word));
			assert_true(span_u64(word, 255, &v[i]));
		}
		bytes = v[2] == 1 ? 32 : v[2] == 2 ? 64 : 48;
		if (length.n > 0)
			assert_true(span_u64(length, sizeof(digest_bytes), &bytes));
		*r = (struct tls_tlsa){ .usage = (uint8_t)v[0], .selector = (uint8_t)v[1], .matching = (uint8_t)v[2],
			.data = span_of(digest_bytes, bytes) };
	}
	return n;
}

static void
test_fates(void **state)
{
	static const struct {
		const char *name, *digests, *records, *want;    /* a letter for each record: fate by its initial */
	} rows[] = {
		{ "usages 2 and 3, both selectors", "", "3 1 1,3 0 1,2 1 1,2 0 1", "++++" },
		{ "0 and 1 are unusable, not 2 and 3", "", "0 0 1,1 0 1,0 1 2,1 1 2", "uuuu" },
		{ "mixed sets: 0 and 1 are ignored", "", "0 0 1,3 1 1,1 1 1,2 0 1", "u+u+" },
		{ "undefined usages", "", "4 1 1,255 1 1", "uu" },
		{ "undefined selectors", "", "3 2 1,2 255 1", "ss" },
		{ "undefined and private matching types", "", "3 1 3,3 1 255", "mm" },
		{ "wrong digest lengths", "", "3 1 1:31,3 1 2:32,3 1 1:33,3 1 1:0", "llll" },
		{ "no data of a full record", "", "3 0 0:0,2 1 0:0", "ll" },
		{ "full data that are no certificate or key", "", "3 0 0:100,3 1 0:100", "dd" },
		{ "the strongest digest of each usage and selector", "", "3 1 1,3 1 2", "w+" },
		{ "groups are separate", "", "3 1 1,3 0 2,2 1 1,2 0 1", "++++" },
		{ "a malformed strong one does not outdo a good one", "", "3 1 1,3 1 2:10", "+l" },
		{ "the order is the parameter's", "sha256 sha512", "3 1 1,3 1 2", "+w" },
		{ "a digest that is left out is unusable", "sha256", "3 1 2,3 1 1", "m+" },
		{ "one of our own numbers", "sha384=17 sha256", "3 1 17,3 1 1", "+w" },
		{ "none at all", "=1 =2", "3 1 1,2 0 2", "mm" },
	};
	static const char letters[] = "+usmldw";

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_dane_digests d;
		struct tls_tlsa r[8];
		size_t n = records(rows[i].records, r), usable = 0;
		char got[9] = "";

		assert_true(tls_dane_digests_parse(span_str(rows[i].digests[0] != '\0' ? rows[i].digests :
		    "sha512 sha256"), &d, NULL));
		usable = tls_dane_judge(&d, r, n);
		for (size_t k = 0; k < n; k++) {
			got[k] = letters[r[k].fate];
			usable -= r[k].fate == TLS_TLSA_USABLE;
		}
		if (strcmp(got, rows[i].want) != 0 || usable != 0)
			fail_msg("%s: %s", rows[i].name, got);
	}
}

static void
test_record_text(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct tls_tlsa r = { 3, 1, 1, SPAN("\x01\xab"), TLS_TLSA_USABLE };

	(void)state;
	assert_span(tls_tlsa_text(&r, a), "3 1 1 01AB");
	r.data = span_of(digest_bytes, 65);
	assert_int_equal(tls_tlsa_text(&r, a).n, 6 + 64 + 3 + 64);
	r.data.n = 64;
	assert_int_equal(tls_tlsa_text(&r, a).n, 6 + 128);
	arena_free(&a);
}

/* ---- levels (7.1) */

struct level_row {
	const char *name, *level;
	enum { NO_MX, MX_SECURE, MX_INSECURE } mx;
	const char *tlsa;       /* records; "none", "failed", "bogus" */
	const char *mx_policy;  /* smtp_tls_dane_insecure_mx_policy; NULL = dane */
	const char *want;       /* level, or "! DSN text" */
	const char *failure_type;
};

static const struct level_row level_rows[] = {
	{ "usable records", "dane", MX_SECURE, "3 1 1", NULL, "dane", NULL },
	{ "usable records at dane-only", "dane-only", MX_SECURE, "3 1 1", NULL, "dane-only", NULL },
	{ "without MX only the host matters", "dane", NO_MX, "3 1 1", NULL, "dane", NULL },
	{ "without MX at dane-only, too", "dane-only", NO_MX, "2 1 1", NULL, "dane-only", NULL },
	{ "insecure MX, secure host: half-dane", "dane", MX_INSECURE, "3 1 1", NULL, "halfdane", NULL },
	{ "insecure MX, policy encrypt", "dane", MX_INSECURE, "3 1 1", "encrypt", "encrypt", NULL },
	{ "insecure MX, policy may", "dane", MX_INSECURE, "3 1 1", "may", "may", NULL },
	{ "insecure MX at dane-only", "dane-only", MX_INSECURE, "3 1 1", NULL, "! 4.7.5 non DNSSEC destination",
	    "dane-required" },
	{ "insecure MX at dane-only, policy may", "dane-only", MX_INSECURE, "3 1 1", "may",
	    "! 4.7.5 non DNSSEC destination", "dane-required" },
	{ "a failed lookup is never no records", "dane", MX_SECURE, "bogus", NULL,
	    "! 4.7.5 TLSA lookup error for mx.example.org:25", "dnssec-invalid" },
	{ "a failed lookup without MX", "dane", NO_MX, "failed", NULL, "! 4.7.5 TLSA lookup error for mx.example.org:25",
	    NULL },
	{ "a failed lookup behind an insecure MX", "dane", MX_INSECURE, "bogus", NULL,
	    "! 4.7.5 TLSA lookup error for mx.example.org:25", "dnssec-invalid" },
	{ "a failed lookup at policy encrypt", "dane", MX_INSECURE, "failed", "encrypt",
	    "! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "a failed lookup at dane-only", "dane-only", MX_SECURE, "bogus", NULL,
	    "! 4.7.5 TLSA lookup error for mx.example.org:25", "dnssec-invalid" },
	{ "facts that nobody gathered are not no records", "dane", MX_SECURE, "not asked", NULL,
	    "! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "a lookup without answer at dane-only", "dane-only", MX_SECURE, "failed", NULL,
	    "! 4.7.5 TLSA lookup error for mx.example.org:25", NULL },
	{ "no records", "dane", MX_SECURE, "none", NULL, "may", NULL },
	{ "no records behind an insecure MX", "dane", MX_INSECURE, "none", NULL, "may", NULL },
	{ "no records at policy encrypt", "dane", MX_INSECURE, "none", "encrypt", "may", NULL },
	{ "no records at dane-only", "dane-only", MX_SECURE, "none", NULL, "! 4.7.5 no TLSA records found",
	    "dane-required" },
	{ "no usable record forces encryption", "dane", MX_SECURE, "0 0 1,1 1 1,3 1 9", NULL, "encrypt", "tlsa-invalid" },
	{ "no usable record behind an insecure MX", "dane", MX_INSECURE, "1 1 1", NULL, "encrypt", "tlsa-invalid" },
	{ "no usable record at dane-only", "dane-only", MX_SECURE, "1 1 1", NULL, "! 4.7.5 TLSA records unusable",
	    "tlsa-invalid" },
	{ "mixed usages: the good ones count", "dane", MX_SECURE, "0 0 1,3 1 1,1 0 2", NULL, "dane", NULL },
};

static void
make_facts(const struct level_row *row, const struct tls_params *p, struct tls_dane_facts *dane, struct tls_tlsa *list,
    struct tls_facts *f)
{
	bool bogus = strcmp(row->tlsa, "bogus") == 0, failed = bogus || strcmp(row->tlsa, "failed") == 0, none = strcmp(row->tlsa, "none") == 0;

	*f = (struct tls_facts){ .params = p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"), .port = 25,
		.myhostname = SPAN("me.example"), .table = { .state = TLS_ANSWER_ABSENT }, .from_mx = row->mx != NO_MX,
		.mx_secure = row->mx == MX_SECURE };
	*dane = (struct tls_dane_facts){ .base = SPAN("mx.example.org"), .qname = SPAN("_25._tcp.mx.example.org"),
		.records = list, .bogus = bogus, .why = failed ? SPAN("TLSA lookup error for _25._tcp.mx.example.org: no answer") : SPAN("x") };
	dane->state = failed ? TLS_DANE_FAILED : none ? TLS_DANE_ABSENT : TLS_DANE_FOUND;
	if (dane->state == TLS_DANE_FOUND && strcmp(row->tlsa, "not asked") != 0)
		dane->count = records(row->tlsa, list);
	if (strcmp(row->tlsa, "not asked") != 0)
		f->dane = dane;
}

/* smtp_tls_dane_insecure_mx_policy; spec 20.5: what dane-only would report */
static void
test_levels(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(level_rows); i++) {
		const struct level_row *row = &level_rows[i];
		struct arena *a = arena_new(4 << 20);
		struct tls_params p = defaults;
		struct tls_dane_facts dane;
		struct tls_tlsa list[8];
		struct tls_decision d;
		struct tls_facts f;
		char got[200];
		bool ok;

		p.security_level = row->level;
		if (row->mx_policy != NULL)
			p.dane_insecure_mx_policy = row->mx_policy;
		make_facts(row, &p, &dane, list, &f);
		ok = tls_policy_decide(&f, a, &d);
		snprintf(got, sizeof(got), ok ? "%s%s" : "! %s %s", ok ? tls_level_name(d.level) : d.fault.dsn,
		    ok ? "" : d.fault.text);
		if (strcmp(got, row->want) != 0)
			fail_msg("%s: %s", row->name, got);
		if ((d.failure_type == NULL) != (row->failure_type == NULL) ||
		    (row->failure_type != NULL && strcmp(d.failure_type, row->failure_type) != 0))
			fail_msg("%s: failure type %s", row->name, d.failure_type != NULL ? d.failure_type : "none");
		if (ok && d.level > TLS_LEVEL_MAY && (d.on_no_starttls != TLS_NEXT_DEFER ||
		    d.on_handshake_failure != TLS_NEXT_DEFER || d.on_mismatch != TLS_NEXT_DEFER))
			fail_msg("%s: clear text above may", row->name);
		if (ok && d.must_match != (d.level > TLS_LEVEL_ENCRYPT))
			fail_msg("%s: must_match", row->name);
		if (d.n_trail == 0)
			fail_msg("%s: no trail", row->name);
		arena_free(&a);
	}
}

static void
test_what_is_asked_for(void **state)
{
	static const struct {
		const char *level, *mx_policy;
		bool from_mx, mx_secure, unix_socket, no_dane, want;
	} rows[] = {
		{ "dane", "dane", true, true, false, false, true },
		{ "dane", "dane", false, false, false, false, true },
		{ "dane", "dane", true, false, false, false, true },
		{ "dane", "encrypt", true, false, false, false, true },
		{ "dane", "may", true, false, false, false, false },
		{ "dane-only", "dane", true, false, false, false, false },
		{ "dane-only", "dane", true, true, false, false, true },
		{ "dane", "dane", false, false, true, false, false },
		{ "dane", "dane", true, true, false, true, false },
		{ "may", "dane", true, true, false, false, false },
		{ "secure", "dane", true, true, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena *a = arena_new(1 << 20);
		struct tls_params p = defaults;
		struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"),
			.from_mx = rows[i].from_mx, .mx_secure = rows[i].mx_secure, .unix_socket = rows[i].unix_socket };

		p.security_level = rows[i].level;
		p.dane_insecure_mx_policy = rows[i].mx_policy;
		p.no_dane = rows[i].no_dane ? "no" : NULL;
		if (tls_policy_wants_tlsa(&f, tls_policy_asked(&f, a)) != rows[i].want)
			fail_msg("row %zu", i);
		arena_free(&a);
	}
}

/* Names, SNI, protocols and keys of a decision that stays at a DANE level. */
static void
test_names_and_sni(void **state)
{
	static const struct {
		const char *name;
		bool from_mx, mx_secure;
		const char *host, *canon, *base, *owner, *want;
	} rows[] = {
		{ "MX host: base and next hop", true, true, "mx.example.org", "", "mx.example.org", "",
		    "mx.example.org example.org" },
		{ "MX host that is an alias: the base is what the records are at", true, true, "mx.example.org", "real.example.net",
		    "real.example.net", "", "real.example.net example.org" },
		{ "an alias, records at the original name", true, true, "mx.example.org", "real.example.net", "mx.example.org",
		    "", "mx.example.org example.org" },
		{ "the next hop is an alias: its expansion, too", true, true, "mx.example.com", "", "mx.example.com",
		    "example.com", "mx.example.com example.org example.com" },
		{ "insecure MX: the host alone", true, false, "mx.example.org", "", "mx.example.org", "", "mx.example.org" },
		{ "insecure MX: not the owner either", true, false, "mx.example.com", "", "mx.example.com", "example.com",
		    "mx.example.com" },
		{ "no MX", false, false, "example.org", "", "example.org", "", "example.org" },
		{ "no MX, expanded: the next hop, too", false, false, "example.org", "host.example.net", "host.example.net", "",
		    "host.example.net example.org" },
		{ "no MX, alias, records at the original name", false, false, "example.org", "host.example.net", "example.org", "",
		    "example.org" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena *a = arena_new(4 << 20);
		struct tls_params p = defaults;
		struct tls_tlsa list[1];
		struct tls_dane_facts dane = { .state = TLS_DANE_FOUND, .base = span_str(rows[i].base), .qname = SPAN("q"),
			.records = list, .count = records("2 1 1", list) };
		struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = span_str(rows[i].host), .port = 25,
			.host_canon = span_str(rows[i].canon), .from_mx = rows[i].from_mx, .mx_secure = rows[i].mx_secure,
			.mx_owner = span_str(rows[i].owner), .dane = &dane };
		struct tls_decision d;
		struct buf b;

		p.servername = "other.example";         /* ignored (7.3) */
		p.mandatory_protocols = "";
		assert_true(tls_policy_decide(&f, a, &d));
		buf_init(&b, 4096);
		for (size_t k = 0; k < d.n_names; k++)
			buf_addf(&b, "%s%.*s", k > 0 ? " " : "", SPAN_ARG(d.names[k].name));
		if (strcmp(buf_cstr(&b), rows[i].want) != 0)
			fail_msg("%s: %s", rows[i].name, buf_cstr(&b));
		assert_span(d.sni, rows[i].base);
		assert_int_equal(d.protocols.min, 0x0301);
		assert_false(d.enable_rpk);
		buf_release(&b);
		arena_free(&a);
	}
}

static void
test_keys_only(void **state)
{
	static const struct {
		const char *records;
		bool want;
	} rows[] = {
		{ "3 1 1", true }, { "3 1 1,3 1 2", true }, { "3 1 1,1 0 1", true }, { "3 1 1,3 0 1", false },
		{ "3 1 1,2 1 1", false }, { "2 1 1", false }, { "1 1 1", false },
	};
	struct tls_dane_digests digests;

	(void)state;
	assert_true(tls_dane_digests_parse(SPAN("sha512 sha256"), &digests, NULL));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_tlsa r[4];
		size_t n = records(rows[i].records, r);

		tls_dane_judge(&digests, r, n);
		if (tls_dane_keys_only(r, n) != rows[i].want)
			fail_msg("%s", rows[i].records);
	}
}

/* The order of an answer changes nothing: not the decision, so not the key of a kept session. */
static void
test_order(void **state)
{
	struct arena *a = arena_new(8 << 20);
	struct tls_params p = defaults;
	struct tls_tlsa one[2], two[2];
	struct tls_dane_facts dane = { .state = TLS_DANE_FOUND, .base = SPAN("mx.example.org"), .qname = SPAN("q"), .count = 2 };
	struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"), .port = 25,
		.from_mx = true, .mx_secure = true, .dane = &dane };
	struct tls_decision d;
	struct span first;

	(void)state;
	records("3 1 1,2 0 2", one);
	records("2 0 2,3 1 1", two);
	dane.records = one;
	assert_true(tls_policy_decide(&f, a, &d));
	first = tls_session_key(a, "smtp", f.nexthop, f.host, SPAN("192.0.2.1"), SPAN("h"), &d);
	dane.records = two;
	assert_true(tls_policy_decide(&f, a, &d));
	assert_true(span_eq(first, tls_session_key(a, "smtp", f.nexthop, f.host, SPAN("192.0.2.1"), SPAN("h"), &d)));
	dane.count = 1;
	assert_true(tls_policy_decide(&f, a, &d));
	assert_false(span_eq(first, tls_session_key(a, "smtp", f.nexthop, f.host, SPAN("192.0.2.1"), SPAN("h"), &d)));
	arena_free(&a);
}

/* ---- verdicts */

static struct kit_cert root, ca, leaf, other;

static int
make_world(void **state)
{
	(void)state;
	root = kit_cert((struct kit_cert_spec){ .cn = "Root", .ca = true });
	ca = kit_cert((struct kit_cert_spec){ .cn = "Issuing CA", .ca = true, .issuer = &root });
	leaf = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org", .issuer = &ca });
	other = kit_cert((struct kit_cert_spec){ .cn = "Somebody", .ca = true });
	return 0;
}

static int
end_world(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&ca);
	kit_cert_free(&leaf);
	kit_cert_free(&other);
	return 0;
}

/* A record about a certificate: selector and matching type as published. */
static struct tls_tlsa
record_of(struct arena *a, const struct kit_cert *c, uint8_t usage, uint8_t selector, uint8_t matching)
{
	unsigned char *der = NULL, md[64];
	int n = selector == 0 ? i2d_X509(c->cert, &der) : i2d_PUBKEY(c->key, &der);
	unsigned bytes = 0;
	struct span data;

	assert_true(n > 0);
	if (matching == 0)
		data = arena_dup(a, span_of(der, (size_t)n));
	else {
		EVP_Digest(der, (size_t)n, md, &bytes, matching == 1 ? EVP_sha256() : EVP_sha512(), NULL);
		data = arena_dup(a, span_of(md, bytes));
	}
	OPENSSL_free(der);
	return (struct tls_tlsa){ usage, selector, matching, data, TLS_TLSA_USABLE };
}

static struct tls_client_ctx *
context(void)
{
	struct tls_client_ctx_params p = {
		.chain = { "smtp_tls", "", "", "", "", "", "", "" },
		.roots = { .prefix = "smtp_tls", .CAfile = "", .CApath = "" },
	};
	struct tls_client_ctx *c = tls_client_ctx_new(&p, NULL);

	assert_non_null(c);
	return c;
}

/* The decision that delivery would make of these records, and its verdict about this chain. */
static void
judge(struct arena *a, struct tls_tlsa *list, size_t n, bool mx_secure, const struct kit_cert *const *chain, int64_t now_s,
    struct tls_verdict *v)
{
	struct tls_params p = defaults;
	struct tls_dane_facts dane = { .state = TLS_DANE_FOUND, .base = SPAN("mx.example.org"), .qname = SPAN("q"),
		.records = list, .count = n };
	struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"), .port = 25,
		.from_mx = true, .mx_secure = mx_secure, .dane = &dane };
	struct tls_peer peer = { .chain = sk_X509_new_null(), .cipher_bits = 256 };
	struct tls_client_ctx *c = context();
	struct tls_decision d;

	assert_true(tls_policy_decide(&f, a, &d));
	if (chain[0] != NULL)
		peer.leaf = chain[0]->cert;
	for (size_t i = 0; chain[i] != NULL; i++)
		sk_X509_push(peer.chain, chain[i]->cert);
	tls_verify_peer(&d, c, &peer, now_s, v);
	sk_X509_free(peer.chain);
	tls_client_ctx_unref(&c);
}

static void
test_verdicts(void **state)
{
	struct kit_cert wrong_name = kit_cert((struct kit_cert_spec){ .cn = "mx.example.org", .san = "DNS:a.example",
		.issuer = &ca });
	struct kit_cert by_cn = kit_cert((struct kit_cert_spec){ .cn = "mx.example.org", .issuer = &ca });
	struct kit_cert nexthop = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:example.org", .issuer = &ca });
	struct kit_cert wild = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:*.example.org", .issuer = &ca });
	struct kit_cert late = kit_cert((struct kit_cert_spec){ .cn = "x", .san = "DNS:mx.example.org", .issuer = &ca,
		.from_s = CERTS_NOW - 2000, .to_s = CERTS_NOW - 1000 });
	struct kit_cert selfsigned = kit_cert((struct kit_cert_spec){ .cn = "Self", .from_s = CERTS_NOW - 2000,
		.to_s = CERTS_NOW - 1000, .eku = "clientAuth" });
	const struct {
		const char *name;
		uint8_t usage, selector, matching;
		const struct kit_cert *about, *chain[4];
		bool insecure_mx, matched;
		enum tls_trust trust;
		const char *match, *reason;     /* pieces */
	} rows[] = {
		{ "3 1 1", 3, 1, 1, &leaf, { &leaf, &ca }, false, true, TLS_TRUST_VERIFIED, "EE certificate at depth 0: 3 1 1 ",
		    "" },
		{ "3 1 2", 3, 1, 2, &leaf, { &leaf }, false, true, TLS_TRUST_VERIFIED, "3 1 2 ", "" },
		{ "3 0 1", 3, 0, 1, &leaf, { &leaf }, false, true, TLS_TRUST_VERIFIED, "3 0 1 ", "" },
		{ "3 0 0", 3, 0, 0, &leaf, { &leaf }, false, true, TLS_TRUST_VERIFIED, "3 0 0 ", "" },
		{ "3 1 0", 3, 1, 0, &leaf, { &leaf }, false, true, TLS_TRUST_VERIFIED, "3 1 0 ", "" },
		{ "3 ignores names", 3, 1, 1, &wrong_name, { &wrong_name }, false, true, TLS_TRUST_VERIFIED, "3 1 1", "" },
		{ "3 ignores dates, key usage, issuers", 3, 1, 1, &selfsigned, { &selfsigned }, false, true, TLS_TRUST_VERIFIED,
		    "3 1 1", "" },
		{ "3 is about the leaf alone", 3, 1, 1, &ca, { &leaf, &ca }, false, false, TLS_TRUST_UNTRUSTED, NULL,
		    "num=65:no matching DANE TLSA records" },
		{ "3 with another key", 3, 1, 1, &other, { &leaf, &ca }, false, false, TLS_TRUST_UNTRUSTED, NULL, "num=65:" },
		{ "2 0 1 of the issuer", 2, 0, 1, &ca, { &leaf, &ca }, false, true, TLS_TRUST_VERIFIED,
		    "TA certificate at depth 1: 2 0 1 ", "" },
		{ "2 1 1 of the root, to any depth", 2, 1, 1, &root, { &leaf, &ca, &root }, false, true, TLS_TRUST_VERIFIED,
		    "TA certificate at depth 2: 2 1 1 ", "" },
		{ "2 0 1, the anchor is not sent", 2, 0, 1, &root, { &leaf, &ca }, false, false, TLS_TRUST_UNTRUSTED, NULL,
		    "num=65:" },
		{ "2 0 0, the anchor need not be sent", 2, 0, 0, &root, { &leaf, &ca }, false, true, TLS_TRUST_VERIFIED,
		    "2 0 0 ", "" },
		{ "2 1 0, a key that signed", 2, 1, 0, &root, { &leaf, &ca }, false, true, TLS_TRUST_VERIFIED,
		    "TA public key verified certificate", "" },
		{ "2 needs a name", 2, 1, 1, &ca, { &wrong_name, &ca }, false, false, TLS_TRUST_UNTRUSTED, NULL,
		    "num=62:hostname mismatch" },
		{ "2 accepts the next hop behind a secure MX", 2, 1, 1, &ca, { &nexthop, &ca }, false, true, TLS_TRUST_VERIFIED,
		    "2 1 1", "" },
		{ "2 does not behind an insecure one", 2, 1, 1, &ca, { &nexthop, &ca }, true, false, TLS_TRUST_UNTRUSTED, NULL,
		    "hostname mismatch" },
		{ "2 with a wildcard", 2, 1, 1, &ca, { &wild, &ca }, false, true, TLS_TRUST_VERIFIED, "2 1 1", "" },
		{ "2 takes the CN when there is no DNS name", 2, 1, 1, &ca, { &by_cn, &ca }, false, true, TLS_TRUST_VERIFIED,
		    "2 1 1", "" },
		{ "2 needs valid dates", 2, 1, 1, &ca, { &late, &ca }, false, false, TLS_TRUST_UNTRUSTED, NULL,
		    "certificate has expired" },
		{ "2 about the wrong authority", 2, 1, 1, &other, { &leaf, &ca, &root }, false, false, TLS_TRUST_UNTRUSTED, NULL,
		    "num=65:" },
		{ "half-dane is Trusted, not Verified", 3, 1, 1, &leaf, { &leaf, &ca }, true, true, TLS_TRUST_TRUSTED, "3 1 1",
		    "" },
		{ "half-dane with another key", 3, 1, 1, &other, { &leaf, &ca }, true, false, TLS_TRUST_UNTRUSTED, NULL,
		    "num=65:" },
		{ "no certificate at all", 3, 1, 1, &leaf, { NULL }, false, false, TLS_TRUST_ANONYMOUS, NULL,
		    "showed no certificate" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena *a = arena_new(8 << 20);
		struct tls_tlsa r = record_of(a, rows[i].about, rows[i].usage, rows[i].selector, rows[i].matching);
		struct tls_verdict v;

		judge(a, &r, 1, !rows[i].insecure_mx, rows[i].chain, CERTS_NOW, &v);
		if (v.matched != rows[i].matched || v.trust != rows[i].trust || (rows[i].match == NULL) !=
		    (v.dane_match[0] == '\0' || !v.matched) || (rows[i].match != NULL &&
		    strstr(v.dane_match, rows[i].match) == NULL) || strstr(v.reason, rows[i].reason) == NULL ||
		    (rows[i].reason[0] == '\0' && v.reason[0] != '\0'))
			fail_msg("%s: %s matched %d \"%s\" \"%s\"", rows[i].name, tls_trust_name(v.trust), v.matched, v.dane_match,
			    v.reason);
		arena_free(&a);
	}
	kit_cert_free(&wrong_name);
	kit_cert_free(&by_cn);
	kit_cert_free(&nexthop);
	kit_cert_free(&wild);
	kit_cert_free(&late);
	kit_cert_free(&selfsigned);
}

/* An entry that asks for DANE where DNSSEC cannot work (20.10); records that nobody can use still name the server (7672 8.1). */
static void
test_what_is_left_without_dane(void **state)
{
	static const char *const levels[] = { "dane", "dane-only" };
	struct arena *a = arena_new(8 << 20);
	struct tls_params p = defaults;
	struct tls_tlsa list[1];
	struct tls_dane_facts dane = { .state = TLS_DANE_FOUND, .base = SPAN("real.example.net"), .qname = SPAN("q"), .records = list,
		.count = records("1 1 1", list) };
	struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"), .host_canon = SPAN("real.example.net"),
		.port = 25, .from_mx = true, .mx_secure = true, .dane = &dane };
	struct tls_decision d;

	(void)state;
	p.servername = "other.example";
	assert_true(tls_policy_decide(&f, a, &d));
	assert_int_equal(d.level, TLS_LEVEL_ENCRYPT);
	assert_span(d.sni, "real.example.net");
	p.security_level = "may";
	p.no_dane = "smtp_dns_support_level is not dnssec";
	f.table = (struct tls_table_answer){ .state = TLS_ANSWER_FOUND, .key = SPAN("example.org"), .source = SPAN("t:1") };
	for (size_t i = 0; i < COUNT(levels); i++) {
		f.table.value = span_str(levels[i]);
		assert_false(tls_policy_decide(&f, a, &d));
		assert_string_equal(d.fault.text, "client TLS configuration problem");
		assert_non_null(strstr(d.warnings[0].p, "needs DNSSEC: smtp_dns_support_level is not dnssec"));
	}
	arena_free(&a);
}

/* Rollover: the old and the next record; a strong digest that lies is not rescued by a weaker one that fits. */
static void
test_sets(void **state)
{
	struct arena *a = arena_new(8 << 20);
	const struct kit_cert *chain[] = { &leaf, &ca, NULL };
	struct tls_dane_digests digests;
	struct tls_tlsa set[4];
	struct tls_verdict v;
	char *longer;

	(void)state;
	assert_true(tls_dane_digests_parse(SPAN("sha512 sha256"), &digests, NULL));
	set[0] = record_of(a, &other, 3, 1, 1);
	set[1] = record_of(a, &leaf, 3, 1, 1);
	judge(a, set, 2, true, chain, CERTS_NOW, &v);
	assert_true(v.matched);
	set[0] = record_of(a, &other, 3, 1, 2);
	judge(a, set, 2, true, chain, CERTS_NOW, &v);
	assert_false(v.matched);
	set[0] = record_of(a, &other, 3, 1, 1);
	set[1] = record_of(a, &ca, 2, 0, 2);
	judge(a, set, 2, true, chain, CERTS_NOW, &v);
	assert_true(v.matched);
	assert_int_equal(v.dane_usage, 2);
	set[0] = record_of(a, &other, 3, 1, 2);         /* agility is about digests: full data count beside them */
	set[1] = record_of(a, &leaf, 3, 1, 0);
	judge(a, set, 2, true, chain, CERTS_NOW, &v);
	assert_true(v.matched);
	set[1] = record_of(a, &leaf, 3, 0, 0);          /* nothing may follow the certificate */
	longer = arena_alloc(a, set[1].data.n + 1);
	memcpy(longer, set[1].data.p, set[1].data.n);
	set[1].data = span_of(longer, set[1].data.n + 1);
	assert_int_equal(tls_dane_judge(&digests, set, 2), 1);
	assert_int_equal(set[1].fate, TLS_TLSA_DATA);
	judge(a, set, 2, true, chain, CERTS_NOW, &v);
	assert_false(v.matched);
	set[0] = record_of(a, &leaf, 1, 1, 1);          /* would fit, if 1 meant 3 */
	set[1] = record_of(a, &other, 3, 1, 1);
	judge(a, set, 2, true, chain, CERTS_NOW, &v);
	assert_false(v.matched);
	arena_free(&a);
}

/* The verdict about a raw key: behind an MX record that nothing proves it is trusted, not verified (RFC 7672 section 2.2.1). */
static void
test_verdicts_about_raw_keys(void **state)
{
	static const struct {
		bool insecure_mx, other, failed;
		uint8_t usage;
		bool matched;
		enum tls_trust trust;
	} rows[] = {
		{ false, false, false, 3, true, TLS_TRUST_VERIFIED }, { true, false, false, 3, true, TLS_TRUST_TRUSTED },
		{ false, true, false, 3, false, TLS_TRUST_UNTRUSTED }, { true, true, false, 3, false, TLS_TRUST_UNTRUSTED },
		{ false, false, true, 3, false, TLS_TRUST_UNTRUSTED }, { false, false, false, 2, false, TLS_TRUST_UNTRUSTED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena *a = arena_new(8 << 20);
		struct tls_params p = defaults;
		struct tls_tlsa list[1] = { record_of(a, &leaf, rows[i].usage, 1, 1) };
		struct tls_dane_facts dane = { .state = TLS_DANE_FOUND, .base = SPAN("mx.example.org"), .qname = SPAN("q"), .records = list, .count = 1 };
		struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"), .port = 25, .from_mx = true,
			.mx_secure = !rows[i].insecure_mx, .dane = &dane };
		struct tls_peer peer = { .raw_key = rows[i].other ? other.key : leaf.key, .cipher_bits = 256 };
		struct tls_client_ctx *c = context();
		struct tls_decision d;
		struct tls_verdict v;

		assert_true(tls_policy_decide(&f, a, &d));
		d.policy_failure = rows[i].failed;
		d.policy_failure_type = SPAN("validation-failure");
		tls_verify_peer(&d, c, &peer, CERTS_NOW, &v);
		if (v.matched != rows[i].matched || v.trust != rows[i].trust || (v.reason[0] == '\0') != rows[i].matched)
			fail_msg("row %zu: %s matched %d \"%s\"", i, tls_trust_name(v.trust), v.matched, v.reason);
		tls_client_ctx_unref(&c);
		arena_free(&a);
	}
}

static void
test_raw_keys(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct tls_tlsa r[3] = { record_of(a, &leaf, 3, 1, 1), record_of(a, &leaf, 3, 1, 0), record_of(a, &leaf, 2, 1, 1) };
	struct tls_decision d = { .tlsa = r, .n_tlsa = 1 };
	char text[256];

	(void)state;
	assert_true(tls_dane_digests_parse(SPAN("sha512 sha256"), &d.dane_digests, NULL));
	assert_true(tls_dane_key_matches(&d, leaf.key, text));
	assert_int_equal(strncmp(text, "3 1 1 ", 6), 0);
	assert_false(tls_dane_key_matches(&d, other.key, text));
	d.tlsa = &r[1];
	assert_true(tls_dane_key_matches(&d, leaf.key, text));
	d.tlsa = &r[2];
	assert_false(tls_dane_key_matches(&d, leaf.key, text));
	d.tlsa = r;
	r[0].fate = TLS_TLSA_WEAKER;
	assert_false(tls_dane_key_matches(&d, leaf.key, text));
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_digest_lists),
	KIT_TEST(test_fates),
	KIT_TEST(test_record_text),
	KIT_TEST(test_levels),
	KIT_TEST(test_what_is_asked_for),
	KIT_TEST(test_names_and_sni),
	KIT_TEST(test_keys_only),
	KIT_TEST(test_order),
	KIT_TEST(test_verdicts),
	KIT_TEST(test_sets),
	KIT_TEST(test_what_is_left_without_dane),
	KIT_TEST(test_raw_keys),
	KIT_TEST(test_verdicts_about_raw_keys),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
