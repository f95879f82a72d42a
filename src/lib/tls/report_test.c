/* RFC 8460 for a client: who is reported about, which record counts, each row of the table of events, the datagrams. */
#include "tls/report.h"

#include <openssl/x509_vfy.h>
#include <stdlib.h>

#include "kit/kit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- scope */

static void
scope(void **state)
{
	static const struct {
		const char *name;
		bool enabled, lmtp, unix_socket, tls_required_no;
		const char *level, *domain;
		bool want;
	} rows[] = {
		{ "the usual case", true, false, false, false, "may", "example.org", true },
		{ "every named level above none counts", true, false, false, false, "dane-only", "example.org", true },
		{ "also in other letters", true, false, false, false, " DANE ", "example.org", true },
		{ "not enabled", false, false, false, false, "may", "example.org", false },
		{ "LMTP", true, true, false, false, "may", "example.org", false },
		{ "a UNIX-domain socket", true, false, true, false, "may", "private/x", false },
		{ "TLS-Required: no", true, false, false, true, "may", "example.org", false },
		{ "level none", true, false, false, false, "none", "example.org", false },
		{ "an empty level, whatever the table says", true, false, false, false, "", "example.org", false },
		{ "an unknown level", true, false, false, false, "halfdane", "example.org", false },
		{ "an address", true, false, false, false, "may", "192.0.2.1", false },
		{ "an IPv6 address", true, false, false, false, "may", "2001:db8::1", false },
		{ "A-labels", true, false, false, false, "may", "xn--bcher-kva.example", true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct tls_report_scope s = { rows[i].enabled, rows[i].lmtp, rows[i].unix_socket, rows[i].tls_required_no,
			rows[i].level, span_str(rows[i].domain) };

		if (tls_report_wanted(&s) != rows[i].want)
			fail_msg("%s", rows[i].name);
	}
}

/* ---- records */

static void
record_forms(void **state)
{
	static const struct { const char *text; bool want; } rows[] = {
		{ "v=TLSRPTv1;rua=mailto:reports@example.com", true }, { "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt", true },
		{ "v=TLSRPTv1;", true }, { "v=TLSRPTv1 \t ; rua=mailto:a@example.org", true }, { "v=TLSRPTv1;x=y;rua=mailto:a@b.example;", true },
		{ "v=TLSRPTv1", false }, { "v=TLSRPTv1 ", false }, { "v=TLSRPTv10;rua=mailto:a@b.example", false }, { "v=TLSRPTv2;", false },
		{ "V=TLSRPTv1;", false }, { "v=tlsrptv1;", false }, { " v=TLSRPTv1;", false }, { "v=TLSRPTv1\n;", false }, { "", false }, { "v=spf1 -all", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (tls_report_is_record(span_str(rows[i].text)) != rows[i].want)
			fail_msg("\"%s\"", rows[i].text);
}

static enum tls_report_found
find(const char *a, const char *b, enum dns_status status, struct span *record_r, struct fault *why)
{
	static struct dns_record r[3];
	static struct dns_answer d;

	r[0] = (struct dns_record){ .type = DNS_TYPE_TXT, .data = SPAN("v=spf1 -all") };
	r[1] = (struct dns_record){ .type = DNS_TYPE_TXT, .data = span_str(a) };
	r[2] = (struct dns_record){ .type = DNS_TYPE_TXT, .data = span_str(b) };
	d = (struct dns_answer){ .status = status, .why = SPAN("timeout"), .records = r, .count = 3 };
	return tls_report_find(&d, record_r, why);
}

static void
one_record_counts(void **state)
{
	static char longest[TLS_REPORT_RECORD_MAX + 2];
	struct span record;
	struct fault why;

	(void)state;
	assert_int_equal(find("v=TLSRPTv1;rua=mailto:a@b.example", "other", DNS_INSECURE, &record, &why), TLS_REPORT_ASKED_FOR);
	assert_span(record, "v=TLSRPTv1;rua=mailto:a@b.example");
	assert_int_equal(find("v=TLSRPTv1;rua=mailto:a@b.example", "v=TLSRPTv2;", DNS_SECURE, &record, &why), TLS_REPORT_ASKED_FOR);
	assert_int_equal(find("", "", DNS_SECURE, &record, &why), TLS_REPORT_NO_RECORD);
	assert_int_equal(find("v=TLSRPTv1;rua=mailto:a@b.example", "v=TLSRPTv1;rua=mailto:c@d.example", DNS_SECURE, &record, &why), TLS_REPORT_SEVERAL);
	assert_int_equal(record.n, 0);
	assert_int_equal(find("v=TLSRPTv1;", "", DNS_BOGUS, &record, &why), TLS_REPORT_FAILED);
	assert_string_equal(why.text, "DNSSEC validation failed: timeout");
	assert_int_equal(find("v=TLSRPTv1;", "", DNS_FAILED, &record, &why), TLS_REPORT_FAILED);
	assert_int_equal(find("v=TLSRPTv1;rua=mailto:\x01@b.example", "", DNS_SECURE, &record, &why), TLS_REPORT_BAD_RECORD);
	assert_int_equal(find("v=TLSRPTv1;rua=mailto:\xc3\xa4@b.example", "", DNS_SECURE, &record, &why), TLS_REPORT_BAD_RECORD);
	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest, "v=TLSRPTv1;", 11);
	assert_int_equal(find(longest, "", DNS_SECURE, &record, &why), TLS_REPORT_BAD_RECORD);
	longest[TLS_REPORT_RECORD_MAX] = '\0';
	assert_int_equal(find(longest, "", DNS_SECURE, &record, &why), TLS_REPORT_ASKED_FOR);
}

static void
name_of_the_record(void **state)
{
	struct arena *a = arena_new(1 << 16);

	(void)state;
	assert_span(tls_report_name(SPAN("example.org"), a), "_smtp._tls.example.org");
	arena_free(&a);
}

/* ---- events */

struct event_row {
	const char *name;
	enum tls_report_at at;
	enum tls_level asked, level;
	const char *failure_type;       /* of the decision */
	const char *policy_failure;
	struct tls_verdict v;
	enum { RESUMED = 1, SKIP = 2, REUSED = 4, REPORTED = 8, HIDDEN = 16 } flags;
	int want;                       /* code; -1 = no event */
	const char *reason;
};

#define AT(x) TLS_REPORT_AT_##x
#define L(x) TLS_LEVEL_##x, TLS_LEVEL_##x
#define WRONG(e, ...) { .error = X509_V_ERR_##e, __VA_ARGS__ }
enum { NOTHING = -1 };

static const struct event_row event_rows[] = {
	{ "success at may", AT(VERDICT), L(MAY), NULL, NULL, { .matched = true }, 0, 0, "" },
	{ "success at secure", AT(VERDICT), L(SECURE), NULL, NULL, { .matched = true, .chain_ok = true }, 0, 0, "" },
	{ "success at dane", AT(VERDICT), L(DANE), NULL, NULL, { .matched = true, .chain_ok = true }, 0, 0, "" },

	{ "201: STARTTLS refused at may", AT(REFUSED), L(MAY), NULL, NULL, { 0 }, 0, 201, "" },
	{ "201: STARTTLS refused at encrypt", AT(REFUSED), L(ENCRYPT), NULL, NULL, { 0 }, 0, 201, "" },
	{ "201: not offered while required", AT(NOT_OFFERED), L(ENCRYPT), NULL, NULL, { 0 }, 0, 201, "" },
	{ "201: not offered at dane", AT(NOT_OFFERED), L(DANE), NULL, NULL, { 0 }, 0, 201, "" },
	{ "201 comes before 304", AT(NOT_OFFERED), TLS_LEVEL_DANE, TLS_LEVEL_ENCRYPT, "tlsa-invalid", NULL, { 0 }, 0, 201, "" },
	{ "not offered at may: no event", AT(NOT_OFFERED), L(MAY), NULL, NULL, { 0 }, 0, NOTHING, NULL },
	{ "not offered at none: no event", AT(NOT_OFFERED), L(NONE), NULL, NULL, { 0 }, 0, NOTHING, NULL },
	{ "dane without records has become may: no event", AT(NOT_OFFERED), TLS_LEVEL_DANE, TLS_LEVEL_MAY, NULL, NULL, { 0 }, 0, NOTHING, NULL },
	{ "an offer that we are told to ignore: ours, no event", AT(NOT_OFFERED), L(ENCRYPT), NULL, NULL, { 0 }, HIDDEN, NOTHING, NULL },

	{ "202: the chain is trusted, the name is another one", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(HOSTNAME_MISMATCH, .chain_ok = true, .host_mismatch = true), 0, 202, "" },
	{ "202: not matched, chain trusted", AT(VERDICT), L(SECURE), NULL, NULL, { .chain_ok = true, .trust = TLS_TRUST_UNTRUSTED }, 0, 202, "" },
	{ "202 at dane (usage 2)", AT(VERDICT), L(DANE), NULL, NULL, WRONG(HOSTNAME_MISMATCH, .chain_ok = true, .dane_usage = 2), 0, 202, "" },
	{ "203: not matched, chain not trusted", AT(VERDICT), L(SECURE), NULL, NULL, { .trust = TLS_TRUST_UNTRUSTED }, 0, 203, "" },
	{ "203: no certificate at all", AT(VERDICT), L(SECURE), NULL, NULL, { .trust = TLS_TRUST_ANONYMOUS }, 0, 203, "no-certificate" },
	{ "203: error cert untrusted", AT(VERDICT), L(FINGERPRINT), NULL, NULL, WRONG(CERT_UNTRUSTED, .untrusted = true), 0, 203, "" },
	{ "203: no TLSA record matches", AT(VERDICT), L(DANE), NULL, NULL, WRONG(DANE_NO_MATCH, .untrusted = true), 0, 203, NULL },
	{ "204: expired", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(CERT_HAS_EXPIRED, .expired = true), 0, 204, "" },
	{ "204: a certificate authority has expired", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(CERT_HAS_EXPIRED, .expired = true, .depth = 1), 0, 204, "" },

	{ "205: handshake failure", AT(HANDSHAKE), L(MAY), NULL, NULL, { 0 }, 0, 205, "tls-handshake-failure" },
	{ "205: handshake failure at dane", AT(HANDSHAKE), L(DANE), NULL, NULL, { 0 }, 0, 205, "tls-handshake-failure" },
	{ "205: self-signed", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(DEPTH_ZERO_SELF_SIGNED_CERT, .untrusted = true), 0, 205, "self-signed_certificate" },
	{ "205: self-signed in the chain", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(SELF_SIGNED_CERT_IN_CHAIN, .untrusted = true), 0, 205, "self-signed_certificate_in_certificate_chain" },
	{ "205: unknown issuer", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(UNABLE_TO_GET_ISSUER_CERT_LOCALLY, .untrusted = true), 0, 205, "unable_to_get_local_issuer_certificate" },
	{ "205: not yet valid", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(CERT_NOT_YET_VALID, .untrusted = true), 0, 205, "certificate_is_not_yet_valid" },
	{ "205: purpose", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(INVALID_PURPOSE, .untrusted = true), 0, 205, NULL },
	{ "205: chain length", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(CERT_CHAIN_TOO_LONG, .untrusted = true), 0, 205, "certificate_chain_too_long" },
	{ "205: a weakness of 20.19", AT(VERDICT), L(ENCRYPT), NULL, NULL, { .weak = true, .reason = "RSA key of 1024 bits is too short" }, 0, 205, "RSA_key_of_1024_bits_is_too_short" },

	{ "301", AT(VERDICT), L(SECURE), NULL, "sts-policy-fetch-error", WRONG(UNSPECIFIED, .chain_ok = true), 0, 301, "" },
	{ "302", AT(VERDICT), L(SECURE), NULL, "sts-policy-invalid", WRONG(UNSPECIFIED, .chain_ok = true), 0, 302, "" },
	{ "303", AT(VERDICT), L(SECURE), NULL, "sts-webpki-invalid", WRONG(UNSPECIFIED, .chain_ok = true), 0, 303, "" },
	{ "policy_failure where anybody may pass", AT(VERDICT), L(MAY), NULL, "sts-policy-fetch-error", { .matched = true }, 0, 301, "" },
	{ "policy_failure=validation-failure", AT(VERDICT), L(SECURE), NULL, "validation-failure", WRONG(UNSPECIFIED, 0), 0, 205, "external-policy-failure" },

	{ "304: fallback to encrypt", AT(VERDICT), TLS_LEVEL_DANE, TLS_LEVEL_ENCRYPT, "tlsa-invalid", NULL, { .matched = true }, 0, 304, "all-TLSA-records-unusable" },
	{ "304 comes before a handshake failure", AT(HANDSHAKE), TLS_LEVEL_DANE, TLS_LEVEL_ENCRYPT, "tlsa-invalid", NULL, { 0 }, 0, 304, "all-TLSA-records-unusable" },
	{ "304 at dane-only, where nobody connects", AT(UNUSABLE), L(DANE_ONLY), "tlsa-invalid", NULL, { 0 }, 0, 304, "all-TLSA-records-unusable" },
	{ "305: bogus at dane-only", AT(UNUSABLE), L(DANE_ONLY), "dnssec-invalid", NULL, { 0 }, 0, 305, "" },
	{ "bogus at dane: no event", AT(UNUSABLE), L(DANE), "dnssec-invalid", NULL, { 0 }, 0, NOTHING, NULL },
	{ "306: no records at dane-only", AT(UNUSABLE), L(DANE_ONLY), "dane-required", NULL, { 0 }, 0, 306, "" },
	{ "another invalid policy: no event", AT(UNUSABLE), L(SECURE), NULL, NULL, { 0 }, 0, NOTHING, NULL },
	{ "a DNS failure at dane-only: no event", AT(UNUSABLE), L(DANE_ONLY), NULL, NULL, { 0 }, 0, NOTHING, NULL },

	{ "connect failure, a break outside the handshake, local trouble: no event", AT(OTHER), L(DANE), NULL, NULL, { 0 }, 0, NOTHING, NULL },
	{ "a reused connection: no event", AT(VERDICT), L(SECURE), NULL, NULL, { .matched = true }, REUSED, NOTHING, NULL },
	{ "a reused connection that fails: no event", AT(REFUSED), L(SECURE), NULL, NULL, { 0 }, REUSED, NOTHING, NULL },
	{ "the first event wins", AT(VERDICT), L(SECURE), NULL, NULL, { .matched = true }, REPORTED, NOTHING, NULL },
	{ "the first event wins over failures, too", AT(HANDSHAKE), L(SECURE), NULL, NULL, { 0 }, REPORTED, NOTHING, NULL },
	{ "a resumed handshake counts", AT(VERDICT), L(MAY), NULL, NULL, { .matched = true }, RESUMED, 0, "" },
	{ "a resumed handshake to be skipped", AT(VERDICT), L(MAY), NULL, NULL, { .matched = true }, RESUMED | SKIP, NOTHING, NULL },
	{ "a resumed handshake that failed, to be skipped", AT(VERDICT), L(SECURE), NULL, NULL, WRONG(HOSTNAME_MISMATCH, .chain_ok = true), RESUMED | SKIP, NOTHING, NULL },
	{ "a full handshake is not skipped", AT(VERDICT), L(MAY), NULL, NULL, { .matched = true }, SKIP, 0, "" },
};

static void
events(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(event_rows); i++) {
		const struct event_row *row = &event_rows[i];
		const struct tls_decision d = { .asked = row->asked, .level = row->level, .invalid = row->at == AT(UNUSABLE),
			.must_match = tls_level_must_match(row->level), .failure_type = row->failure_type, .policy_failure = row->policy_failure != NULL,
			.policy_failure_type = span_str(row->policy_failure) };
		const struct tls_report_facts f = { .decision = &d, .at = row->at, .verdict = row->at == AT(VERDICT) ? &row->v : NULL,
			.resumed = row->flags & RESUMED, .skip_resumed = row->flags & SKIP, .reused = row->flags & REUSED,
			.reported = row->flags & REPORTED, .hidden = row->flags & HIDDEN };
		struct tls_report_event e;
		int got = tls_report_event(&f, &e) ? (int)e.code : NOTHING;

		if (got != row->want)
			fail_msg("%s: %d", row->name, got);
		if (row->reason != NULL && strcmp(e.reason, row->reason) != 0)
			fail_msg("%s: reason \"%s\"", row->name, e.reason);
		for (const char *p = e.reason; *p != '\0'; p++)
			if (*p == ' ')
				fail_msg("%s: a blank in \"%s\"", row->name, e.reason);
	}
}

/* ---- policies */

static void
policies(void **state)
{
	struct tls_tlsa records[] = { { 3, 1, 1, SPAN("\x0a\xff"), TLS_TLSA_USABLE }, { 0, 0, 1, SPAN("\x01"), TLS_TLSA_USAGE } };
	struct span strings[] = { SPAN("version: STSv1"), SPAN("mode: enforce") }, mx[] = { SPAN("*.example.org") };
	struct tls_policy sts = { .policy_type = SPAN("sts"), .policy_domain = SPAN("policy.example"), .policy_string = strings, .n_policy_string = 2,
		.mx_host_pattern = mx, .n_mx_host_pattern = 1 };
	struct tls_policy none = { .policy_type = SPAN("no-policy-found") }, plain = { .level = TLS_LEVEL_SECURE };
	struct arena *a = arena_new(1 << 16);
	const struct {
		const char *name;
		struct tls_decision d;
		enum tls_report_policy_type type;
		const char *domain;
		size_t n_strings, n_mx;
	} rows[] = {
		{ "records at dane", { .level = TLS_LEVEL_DANE, .tlsa = records, .n_tlsa = 2, .tlsa_base = SPAN("mx.example.org") }, TLS_REPORT_TLSA, "mx.example.org", 2, 0 },
		{ "records at half-dane", { .level = TLS_LEVEL_HALF_DANE, .tlsa = records, .n_tlsa = 1, .tlsa_base = SPAN("mx.example.org") }, TLS_REPORT_TLSA, "mx.example.org", 1, 0 },
		{ "unusable ones", { .level = TLS_LEVEL_ENCRYPT, .failure_type = "tlsa-invalid", .tlsa = records, .n_tlsa = 2, .tlsa_base = SPAN("mx.example.org") },
		    TLS_REPORT_TLSA, "mx.example.org", 2, 0 },
		{ "records that the policy for insecure MX has set aside", { .level = TLS_LEVEL_ENCRYPT, .tlsa = records, .n_tlsa = 2 }, TLS_REPORT_NO_POLICY, "example.org", 0, 0 },
		{ "dane-only without records", { .level = TLS_LEVEL_DANE_ONLY, .policy = &sts }, TLS_REPORT_NO_POLICY, "example.org", 0, 0 },
		{ "MTA-STS", { .level = TLS_LEVEL_SECURE, .policy = &sts }, TLS_REPORT_STS, "policy.example", 2, 1 },
		{ "records come before MTA-STS", { .level = TLS_LEVEL_DANE, .tlsa = records, .n_tlsa = 2, .policy = &sts }, TLS_REPORT_TLSA, "", 2, 0 },
		{ "the table says that there is none", { .level = TLS_LEVEL_MAY, .policy = &none }, TLS_REPORT_NO_POLICY, "example.org", 0, 0 },
		{ "an entry of ours", { .level = TLS_LEVEL_SECURE, .policy = &plain }, TLS_REPORT_NO_POLICY, "example.org", 0, 0 },
		{ "nothing", { .level = TLS_LEVEL_MAY }, TLS_REPORT_NO_POLICY, "example.org", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_report_policy p;

		tls_report_policy(&rows[i].d, SPAN("example.org"), a, &p);
		if (p.type != rows[i].type || !span_eq(p.domain, span_str(rows[i].domain)) || p.n_strings != rows[i].n_strings || p.n_mx != rows[i].n_mx)
			fail_msg("%s: %s %.*s %zu %zu", rows[i].name, tls_report_policy_name(p.type), SPAN_ARG(p.domain), p.n_strings, p.n_mx);
		if (p.type == TLS_REPORT_TLSA)
			assert_span(p.strings[0], "3 1 1 0AFF");
		if (p.type == TLS_REPORT_TLSA && p.n_strings > 1)
			assert_span(p.strings[1], "0 0 1 01");
	}
	arena_free(&a);
}

/* ---- datagrams */

static struct buf inner, out;

static const char *
write_it(const struct tls_report_policy *p, const struct tls_report_event *e, const struct tls_report_peer *peer, size_t *left_out_r)
{
	buf_release(&inner);
	buf_release(&out);
	buf_init(&inner, TLS_REPORT_POLICIES_MAX);
	buf_init(&out, TLS_REPORT_DATAGRAM_MAX);
	*left_out_r = tls_report_write_policies(&inner, p, e, peer);
	tls_report_write(&out, SPAN("example.org"), SPAN("v=TLSRPTv1;rua=mailto:\"a\\b\"@example.org"), buf_span(&inner));
	assert_false(inner.full || out.full);
	assert_true(span_is_utf8(buf_span(&out)));
	return buf_cstr(&out);
}

static void
datagrams(void **state)
{
	struct span strings[] = { SPAN("3 1 1 0AFF"), SPAN("2 0 1 00") }, mx[] = { SPAN("*.example.org"), SPAN("mx\"\\\x01\x7f\xff\xc3\xa4.example") };
	const struct tls_report_policy tlsa = { .type = TLS_REPORT_TLSA, .domain = SPAN("mx.example.org"), .strings = strings, .n_strings = 2 };
	const struct tls_report_policy sts = { .type = TLS_REPORT_STS, .domain = SPAN("example.org"), .strings = strings, .n_strings = 1, .mx = mx, .n_mx = 2 };
	const struct tls_report_policy none = { .type = TLS_REPORT_NO_POLICY, .domain = SPAN("example.org") };
	const struct tls_report_event success = { .code = TLS_REPORT_SUCCESS }, failure = { TLS_REPORT_VALIDATION_FAILURE, "tls-handshake-failure" };
	const struct tls_report_peer peer = { SPAN("192.0.2.1"), SPAN("mx.example.org"), SPAN("hello\"\n"), SPAN("2001:db8::1") }, nobody = { 0 };
	size_t left_out;

	(void)state;
	assert_string_equal(write_it(&tlsa, &success, &peer, &left_out), "{\"dpv\":\"1\",\"d\":\"example.org\","
	    "\"pr\":\"v=TLSRPTv1;rua=mailto:\\\"a\\\\b\\\"@example.org\",\"policies\":[{\"policy-type\":1,\"policy-domain\":\"mx.example.org\","
	    "\"policy-string\":[\"3 1 1 0AFF\",\"2 0 1 00\"],\"t\":0,\"f\":0}]}");
	assert_int_equal(left_out, 0);
	assert_non_null(strstr(write_it(&sts, &failure, &peer, &left_out), "[{\"policy-type\":2,\"policy-domain\":\"example.org\",\"policy-string\":[\"3 1 1 0AFF\"],"
	    "\"mx-host\":[\"*.example.org\",\"mx\\\"\\\\\\u0001\\u007f?\xc3\xa4.example\"],\"failure-details\":[{\"c\":205,\"s\":\"192.0.2.1\",\"n\":\"mx.example.org\","
	    "\"h\":\"hello\\\"\\u000a\",\"r\":\"2001:db8::1\",\"f\":\"tls-handshake-failure\"}],\"t\":1,\"f\":1}]}"));
	assert_non_null(strstr(write_it(&none, &(struct tls_report_event){ .code = TLS_REPORT_DANE_REQUIRED }, &nobody, &left_out),
	    "[{\"policy-type\":9,\"policy-domain\":\"example.org\",\"failure-details\":[{\"c\":306}],\"t\":1,\"f\":1}]}"));
}

/* What has no room is left out as a whole, what does not know where it ends least of all breaks the rest. */
static void
big_datagrams(void **state)
{
	static char big[40000], bad[4 * TLS_REPORT_POLICIES_MAX];
	struct span strings[] = { { big, 30000 }, { big, 40000 }, { bad, sizeof(bad) }, SPAN("small") };
	const struct tls_report_policy p = { .type = TLS_REPORT_STS, .domain = { bad, sizeof(bad) }, .strings = strings, .n_strings = 4, .mx = strings, .n_mx = 4 };
	const struct tls_report_event failure = { TLS_REPORT_CERTIFICATE_EXPIRED, "" };
	const struct tls_report_peer peer = { { bad, sizeof(bad) }, { bad, sizeof(bad) }, { bad, sizeof(bad) }, { bad, sizeof(bad) } };
	size_t left_out;
	const char *text;

	(void)state;
	memset(big, 'x', sizeof(big));
	memset(bad, '"', sizeof(bad));
	text = write_it(&p, &failure, &peer, &left_out);
	assert_int_equal(left_out, 2 + 3);
	assert_non_null(strstr(text, "xxx\",\"small\"],\"mx-host\":[\"small\"],\"failure-details\":[{\"c\":204,"));
	assert_true(span_ends(buf_span(&out), SPAN("\"}],\"t\":1,\"f\":1}]}")));
	assert_in_range(inner.n, 30000, TLS_REPORT_POLICIES_MAX);
	/* the record that grows most in JSON */
	memset(big, '\t', TLS_REPORT_RECORD_MAX);
	buf_clear(&out);
	tls_report_write(&out, (struct span){ bad, 255 }, (struct span){ big, TLS_REPORT_RECORD_MAX }, (struct span){ bad, TLS_REPORT_POLICIES_MAX });
	assert_false(out.full);
	buf_release(&inner);
	buf_release(&out);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(scope), KIT_TEST(record_forms), KIT_TEST(one_record_counts), KIT_TEST(name_of_the_record), KIT_TEST(events), KIT_TEST(policies),
	KIT_TEST(datagrams), KIT_TEST(big_datagrams),
};

KIT_MAIN(tests)
