/* The policy core, row by row: keys, values, levels, outcomes, names, protocols, ciphers, SNI. */
#include "tls/policy.h"

#include <openssl/ssl.h>
#include <stdio.h>

#include "kit/kit.h"
#include "tls/policy_private.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

#define FP1 "1111111111111111111111111111111111111111111111111111111111111111"
#define FP_SHA1 "1111111111111111111111111111111111111111"
#define FP2 "22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22"

static const struct tls_params defaults = {
	.prefix = "smtp",
	.security_level = "",
	.protocols = ">=TLSv1",
	.mandatory_protocols = ">=TLSv1.2",
	.ciphers = "medium",
	.mandatory_ciphers = "medium",
	.exclude_ciphers = "",
	.mandatory_exclude_ciphers = "",
	.mandatory_weak = "",
	.verify_cert_match = "hostname",
	.secure_cert_match = "nexthop, dot-nexthop",
	.fingerprint_cert_match = "",
	.fingerprint_digest = "sha256",
	.trust_anchor_file = "",
	.servername = "",
	.high_cipherlist = "HIGH",
	.medium_cipherlist = "MEDIUM",
	.null_cipherlist = "eNULL",
	.eecdh_auto_curves = "X25519",
	.ffdhe_auto_groups = "ffdhe2048",
	.dane_digests = "sha512 sha256",
	.dane_insecure_mx_policy = "dane",
	.verifydepth = 9,
	.enforce_peername = true,
	.enforce_sts_mx_patterns = true, .multi_label = true,
};

static void
test_level_order(void **state)
{
	enum tls_level level;

	(void)state;
	assert_true(tls_level_parse(SPAN("DANE-Only"), &level));
	assert_int_equal(level, TLS_LEVEL_DANE_ONLY);
	assert_false(tls_level_parse(SPAN("halfdane"), &level));
	assert_false(tls_level_parse(SPAN("half-dane"), &level));
	assert_false(tls_level_parse(SPAN("must"), &level));
	assert_false(tls_level_parse(SPAN(""), &level));
	for (unsigned i = 0; i <= TLS_LEVEL_SECURE; i++) {
		assert_int_equal(tls_level_needs_tls((enum tls_level)i), i >= 2);
		assert_int_equal(tls_level_must_match((enum tls_level)i), i >= 3);
		assert_int_equal(tls_level_needs_pkix((enum tls_level)i), i >= 7);
		assert_int_equal(tls_level_is_dane((enum tls_level)i), i >= 4 && i <= 6);
	}
}

/* smtp_tls_security_level, smtp_use_tls, smtp_enforce_tls, smtp_tls_enforce_peername */
static void
test_global_level(void **state)
{
	static const struct {
		const char *name, *level;
		bool use, enforce, peername, maps;
		const char *want;       /* NULL = not valid */
		bool engine;
	} rows[] = {
		{ "nothing set is none", "", false, false, true, false, "none", false },
		{ "use_tls is may", "", true, false, true, false, "may", true },
		{ "enforce_tls is verify", "", false, true, true, false, "verify", true },
		{ "enforce_tls without names is encrypt", "", true, true, false, false, "encrypt", true },
		{ "a level wins over the booleans", "none", true, true, true, false, "none", false },
		{ "the case of levels does not matter", "Secure", false, false, true, false, "secure", true },
		{ "halfdane cannot be configured", "halfdane", false, false, true, false, NULL, true },
		{ "an unknown word is an error", "yes", false, false, true, false, NULL, true },
		{ "none with a policy table needs an engine", "none", false, false, true, true, "none", true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_params p = defaults;
		enum tls_level level = TLS_LEVEL_NONE;

		p.security_level = rows[i].level;
		p.use_tls = rows[i].use;
		p.enforce_tls = rows[i].enforce;
		p.enforce_peername = rows[i].peername;
		p.have_policy_maps = rows[i].maps;
		if (tls_params_level(&p, &level, NULL) != (rows[i].want != NULL) ||
		    tls_params_want_tls(&p) != rows[i].engine)
			fail_msg("%s", rows[i].name);
		if (rows[i].want != NULL)
			assert_string_equal(tls_level_name(level), rows[i].want);
	}
}

static void
test_keys(void **state)
{
	static const struct {
		const char *nexthop, *keys;
	} rows[] = {
		{ "a.b.c", "a.b.c .b.c .c" },
		{ "Example.ORG", "example.org .org" },
		{ "localhost", "localhost" },
		/* spec 20.13 */
		{ "[mx.example.org]", "[mx.example.org] [mx.example.org]:25 [mx.example.org]:smtp" },
		{ "[mx.example.org]:25", "[mx.example.org]:25 [mx.example.org] [mx.example.org]:smtp" },
		{ "[MX.example.org]:SMTP", "[mx.example.org]:smtp [mx.example.org] [mx.example.org]:25" },
		{ "[mx.example.org]:587", "[mx.example.org]:587" },
		{ "example.org:587", "example.org:587" },
		{ "[192.0.2.1]", "[192.0.2.1] [192.0.2.1]:25 [192.0.2.1]:smtp" },
		{ "192.0.2.1", "192.0.2.1" },
		{ "[2001:db8::1]:587", "[2001:db8::1]:587" },
		{ "2001:db8::1", "2001:db8::1" },
		{ "/var/run/LMTP", "/var/run/lmtp" },
		/* spec 20.7 */
		{ "b\xc3\xbc" "cher.example",
		    "b\xc3\xbc" "cher.example xn--bcher-kva.example .example" },
		{ "xn--bcher-kva.example", "xn--bcher-kva.example b\xc3\xbc" "cher.example .example" },
		{ "mx.B\xc3\x9c" "CHER.example", "mx.b\xc3\x9c" "cher.example mx.xn--bcher-kva.example "
		    "mx.b\xc3\xbc" "cher.example .b\xc3\x9c" "cher.example .xn--bcher-kva.example "
		    ".b\xc3\xbc" "cher.example .example" },
		{ "[xn--bcher-kva.example]:587", "[xn--bcher-kva.example]:587 [b\xc3\xbc" "cher.example]:587" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena *a = arena_new(1 << 20);
		struct tls_keys k;
		struct buf b;

		buf_init(&b, 4096);
		tls_policy_keys(span_str(rows[i].nexthop), a, &k);
		for (size_t n = 0; n < k.count; n++) {
			if (n > 0)
				buf_addc(&b, ' ');
			buf_add_span(&b, k.key[n]);
		}
		assert_string_equal(buf_cstr(&b), rows[i].keys);
		buf_release(&b);
		arena_free(&a);
	}
}

static void
test_table_values(void **state)
{
	static const struct {
		const char *value;
		const char *why;        /* NULL = valid */
	} rows[] = {
		{ "may", NULL },
		{ "ENCRYPT", NULL },
		{ "encrypt ciphers=high protocols=>=TLSv1.2", NULL },
		{ "encrypt,ciphers=high,protocols=TLSv1.2:TLSv1.3", NULL },
		{ "encrypt protocols=", NULL },
		{ "encrypt exclude=aNULL:DES-CBC3-SHA:kECDHE+AESGCM", NULL },
		{ "encrypt exclude=", NULL },
		{ "encrypt weak=sha1:dh1024", NULL },
		{ "secure match=nexthop:.example.org Match=x.example", NULL },
		{ "secure { match = a.example : b.example }", NULL },
		{ "secure { match = a.example\n\t }", NULL },
		{ "fingerprint match=" FP1 "|" FP2 " match=" FP1, NULL },
		{ "fingerprint { match = " FP1 " | " FP2 " }", NULL },
		{ "verify tafile=/a.pem tafile=/b.pem", NULL },
		{ "secure digest=sha-256 rootca=" FP1 " rootca=" FP2 " match=a.example", NULL },
		{ "secure { rootca = " FP1 " } { digest = sha-256 }", NULL },
		{ "verify digest=sha512", NULL },
		{ "secure rootca=", "empty value" },
		{ "fingerprint rootca=" FP1, "not allowed at level fingerprint" },
		{ "dane rootca=" FP1, "not allowed at level dane" },
		{ "dane digest=sha256", "not allowed at level dane" },
		{ "secure digest=sha-257", "unknown digest" },
		{ "secure digest=", "unknown digest" },
		{ "secure digest=sha256 digest=sha256", "given twice" },
		{ "secure tafile=/a rootca=" FP1, "exclude one another" },
		{ "dane tafile=/a", "not allowed at level dane" },
		{ "verify servername=hostname connection_reuse=yes connection_reuse=no enable_rpk=no", NULL },
		{ "may servername=none", NULL },
		{ "secure policy_type=sts policy_domain=example.org { policy_string = version: STSv1 } "
		    "{ policy_string = mode: enforce } mx_host_pattern=*.example.org policy_ttl=86400 match=x.example "
		    "policy_failure=sts-webpki-invalid", NULL },
		{ "none ciphers=high", NULL },
		{ "dane-only", NULL },
		{ "", "empty value" },
		{ " , ", "empty value" },
		{ "halfdane", "invalid security level" },
		{ "must", "invalid security level" },
		{ "encrypt color=red", "unknown attribute" },
		{ "encrypt ciphers", "malformed attribute" },
		{ "encrypt =high", "malformed attribute" },
		{ "encrypt { ciphers = high", "unbalanced" },
		{ "encrypt { ciphers = high }x", "unbalanced" },
		{ "encrypt {", "unbalanced" },
		{ "encrypt {}", "malformed attribute" },
		{ "encrypt ciphers=high ciphers=high", "given twice" },
		{ "encrypt Ciphers=high cIphers=high", "given twice" },
		{ "encrypt protocols=a protocols=b", "Invalid TLS protocol list" },
		{ "encrypt exclude=RC4 exclude=MD5", "given twice" },
		{ "encrypt servername=a.example servername=b.example", "given twice" },
		{ "encrypt weak=sha1 weak=sha1", "given twice" },
		/* spec 20.9 */
		{ "encrypt ciphers=", "unknown cipher grade" },
		{ "encrypt ciphers=strong", "unknown cipher grade" },
		{ "encrypt exclude=RC5X", "unknown cipher" },
		{ "encrypt exclude=!RC4", "begins with an operator" },
		{ "encrypt exclude=+RC4", "begins with an operator" },
		{ "encrypt exclude=-RC4", "begins with an operator" },
		{ "encrypt exclude=@STRENGTH", "begins with an operator" },
		{ "encrypt weak=md5", "unknown word" },
		{ "encrypt match=a.example", "not allowed at level encrypt" },
		{ "may match=a.example", "not allowed at level may" },
		{ "dane match=a.example", "not allowed at level dane" },
		{ "secure match=", "empty value" },
		{ "secure match=::", "empty value" },
		{ "fingerprint match=", "empty value" },
		{ "fingerprint tafile=/a", "not allowed at level fingerprint" },
		{ "encrypt tafile=/a", "not allowed at level encrypt" },
		{ "verify tafile=", "empty value" },
		{ "verify servername=-x", "not a host name" },
		{ "verify servername=", "empty value" },
		{ "verify connection_reuse=maybe", "neither yes nor no" },
		{ "verify enable_rpk=1", "neither yes nor no" },
		{ "secure policy_domain=a.example", "needs policy_type" },
		{ "secure mx_host_pattern=a.example", "needs policy_type" },
		{ "secure { policy_string = mode: enforce }", "needs policy_type" },
		{ "secure policy_failure=validation-failure", "needs policy_type" },
		{ "secure policy_ttl=1", "needs policy_type" },
		{ "secure policy_type=tlsa", "unknown value" },
		{ "secure policy_type=sts policy_type=sts", "given twice" },
		{ "secure policy_type=sts policy_failure=other", "unknown value" },
		{ "secure policy_type=sts policy_ttl=x", "not a number" },
		{ "secure policy_type=sts policy_domain=a..b", "not a host name" },
		{ "secure policy_type=sts mx_host_pattern=*", "not a host name pattern" },
		{ "secure policy_type=sts mx_host_pattern=a.*.example", "not a host name pattern" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena *a = arena_new(1 << 20);
		struct tls_policy p;
		struct fault why;
		bool ok = tls_policy_parse(span_str(rows[i].value), a, &p, &why);

		if (ok != (rows[i].why == NULL))
			fail_msg("\"%s\": %s", rows[i].value, ok ? "accepted" : why.text);
		if (!ok && strstr(why.text, rows[i].why) == NULL)
			fail_msg("\"%s\": \"%s\" lacks \"%s\"", rows[i].value, why.text, rows[i].why);
		if (!ok)
			assert_string_equal(why.dsn, "4.7.5");
		arena_free(&a);
	}
}

static void
test_table_value_parts(void **state)
{
	struct arena *a = arena_new(1 << 20);
	struct tls_policy p;

	(void)state;
	assert_true(tls_policy_parse(SPAN("secure policy_type=sts { policy_string = mx:   a.example\n } "
	    "{ policy_string = mode: enforce } mx_host_pattern=*.B\xc3\xbc" "cher.example match=x:y match=z"), a, &p,
	    NULL));
	assert_int_equal(p.n_policy_string, 2);
	assert_span(p.policy_string[0], "mx: a.example");
	assert_span(p.policy_string[1], "mode: enforce");
	assert_span(p.mx_host_pattern[0], "*.xn--bcher-kva.example");
	assert_int_equal(p.n_match, 3);
	assert_span(p.match[2], "z");
	assert_true(tls_policy_parse(SPAN("none match=a color=b"), a, &p, NULL));
	assert_int_equal(p.n_ignored, 2);
	arena_free(&a);
}

static void
test_protocol_lists(void **state)
{
	static const uint64_t all = SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2 |
	    SSL_OP_NO_TLSv1_3;
	static const struct {
		const char *list;
		bool ok;
		int min, max;
		uint64_t off;
	} rows[] = {
		{ "", true, 0, 0, 0 },
		{ ">=TLSv1", true, 0x0301, 0, 0 },
		{ ">=tlsv1.2, <=TLSv1.3", true, 0x0303, 0x0304, 0 },
		{ ">=TLSv1:>=TLSv1.2", true, 0x0303, 0, 0 },
		{ ">=TLSv1.2 >=None", true, 0, 0, 0 },
		{ ">=0303", false, 0, 0, 0 },
		{ ">=0x0303", true, 0x0303, 0, 0 },
		{ "<=0xffff1", false, 0, 0, 0 },
		{ "!SSLv2, !SSLv3", true, 0, 0, SSL_OP_NO_SSLv3 },
		{ "TLSv1.2", true, 0, 0, all & ~SSL_OP_NO_TLSv1_2 },
		{ "TLSv1.2 TLSv1.3 !TLSv1.3", true, 0, 0, all & ~SSL_OP_NO_TLSv1_2 },
		{ "!TLSv1.1 >=TLSv1", true, 0x0301, 0, SSL_OP_NO_TLSv1_1 },
		{ "TLSv1.4", false, 0, 0, 0 },
		{ ">=", false, 0, 0, 0 },
		{ "!", false, 0, 0, 0 },
		{ "TLS1", false, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_protocols p;
		struct fault why;

		if (tls_protocols_parse(span_str(rows[i].list), &p, &why) != rows[i].ok)
			fail_msg("%s", rows[i].list);
		if (!rows[i].ok)
			assert_non_null(strstr(why.text, "Invalid TLS protocol list \""));
		else if (p.min != rows[i].min || p.max != rows[i].max || p.options_off != rows[i].off)
			fail_msg("%s: %x %x %llx", rows[i].list, (unsigned)p.min, (unsigned)p.max,
			    (unsigned long long)p.options_off);
	}
}

/* The decision as one line of text, so that a row can say what it expects by pieces of it. */
static void
describe(const struct tls_decision *d, struct buf *b)
{
	static const char *const next[] = { "clear", "clear-later", "defer" };

	if (d->invalid) {
		buf_addf(b, "invalid %s %s", d->fault.dsn, d->fault.text);
	} else {
		buf_addf(b, "level=%s asked=%s no-starttls=%s refused=%s handshake=%s mismatch=%s",
		    tls_level_name(d->level), tls_level_name(d->asked), next[d->on_no_starttls],
		    next[d->on_starttls_refused], next[d->on_handshake_failure], next[d->on_mismatch]);
		buf_addf(b, " try=%d match=%d pkix=%d sni=<%.*s> proto=<%.*s> ciphers=<%.*s> seclevel=%d weak=%u skip=%d",
		    d->try_tls, d->must_match, d->need_pkix, SPAN_ARG(d->sni), SPAN_ARG(d->protocols_text),
		    SPAN_ARG(d->ciphers), d->openssl_level, d->weak, d->skip_host);
		buf_add_str(b, " names=<");
		for (size_t i = 0; i < d->n_names; i++)
			buf_addf(b, "%s%s%.*s%s", i > 0 ? " " : "", d->names[i].subdomains ? "." : "",
			    SPAN_ARG(d->names[i].name), d->names[i].address ? "(address)" : "");
		buf_addf(b, "> digests=%zu rootca=%zu tafiles=%zu rpk=%d reuse=%d multi=%d failure=<%.*s>", d->n_digests, d->n_rootca, d->n_tafiles,
		    d->enable_rpk, d->connection_reuse, d->multi_label, SPAN_ARG(d->policy_failure_type));
	}
	for (size_t i = 0; i < d->n_warnings; i++)
		buf_addf(b, " warning=<%.*s>", SPAN_ARG(d->warnings[i]));
}

struct decide_row {
	const char *name;
	const char *level;      /* smtp_tls_security_level */
	const char *entry;      /* table value; NULL = absent */
	const char *nexthop, *host;
	const char *want[5];    /* pieces of the description */
};

static void
run_row(const struct decide_row *row, const struct tls_params *p, struct tls_facts f)
{
	struct arena *a = arena_new(4 << 20);
	struct tls_decision d;
	struct buf b;
	bool ok;

	buf_init(&b, 1 << 16);
	f.params = p;
	f.nexthop = span_str(row->nexthop != NULL ? row->nexthop : "example.org");
	f.host = span_str(row->host != NULL ? row->host : "mx.example.org");
	f.port = 25;
	f.myhostname = SPAN("me.example");
	if (f.table.state == TLS_ANSWER_NONE)
		f.table.state = row->entry != NULL ? TLS_ANSWER_FOUND : TLS_ANSWER_ABSENT;
	f.table.value = span_str(row->entry != NULL ? row->entry : "");
	f.table.key = f.nexthop;
	f.table.source = SPAN("tls:7");
	ok = tls_policy_decide(&f, a, &d);
	if (ok == d.invalid)
		fail_msg("%s: result and decision differ", row->name);
	describe(&d, &b);
	for (size_t i = 0; i < COUNT(row->want) && row->want[i] != NULL; i++)
		if (strstr(buf_cstr(&b), row->want[i]) == NULL)
			fail_msg("%s:\n  %s\n  lacks: %s", row->name, buf_cstr(&b), row->want[i]);
	if (d.n_trail == 0)
		fail_msg("%s: no trail", row->name);
	buf_release(&b);
	arena_free(&a);
}

static void
test_decisions(void **state)
{
	static const struct decide_row rows[] = {
		{ "none: nothing is tried", "none", NULL, NULL, NULL,
		    { "level=none", "no-starttls=clear refused=clear", "try=0 match=0" } },
		{ "may: clear when not offered or refused, handshake failures wait", "may", NULL, NULL, NULL,
		    { "level=may", "no-starttls=clear refused=clear handshake=clear-later", "try=1 match=0 pkix=0" } },
		{ "may: everything weak is allowed", "may", NULL, NULL, NULL,
		    { "proto=<>=TLSv1>", "ciphers=<MEDIUM>", "seclevel=0 weak=15" } },
		{ "encrypt: never in clear", "encrypt", NULL, NULL, NULL,
		    { "level=encrypt", "no-starttls=defer refused=defer handshake=defer mismatch=defer",
		    "match=0 pkix=0", "ciphers=<MEDIUM:!eNULL:!kRSA>", "proto=<>=TLSv1.2> ciphers=<MEDIUM:!eNULL:!kRSA> seclevel=0 weak=0" } },
		{ "fingerprint needs fingerprints", "fingerprint", NULL, NULL, NULL,
		    { "invalid 4.7.5 client TLS configuration problem",
		    "warning=<nexthop domain example.org: configured at fingerprint security level, but with no "
		    "fingerprints to match.>" } },
		{ "fingerprint from the table", "may", "fingerprint match=" FP1 "|" FP2, NULL, NULL,
		    { "level=fingerprint", "match=1 pkix=0", "digests=2", "ciphers=<MEDIUM:!aNULL:!kRSA>",
		    "seclevel=1 weak=0" } },
		/* spec 20.3 */
		{ "a fingerprint of the wrong length is a policy error", "may", "fingerprint match=" FP1 ":00", NULL,
		    NULL, { "invalid 4.7.5", "fingerprint value has 33 bytes, a sha256 digest has 32" } },
		{ "a malformed fingerprint is a policy error", "may", "fingerprint match=xyz", NULL, NULL,
		    { "invalid 4.7.5", "malformed fingerprint value: \"xyz\"" } },
		/* smtp_tls_verify_cert_match, smtp_tls_secure_cert_match */
		{ "verify: the host name by default", "verify", NULL, NULL, NULL,
		    { "level=verify", "match=1 pkix=1", "names=<mx.example.org>" } },
		{ "secure: the next hop and what is below it", "secure", NULL, NULL, NULL,
		    { "level=secure", "names=<example.org .example.org>" } },
		{ "secure with brackets and port", "secure", NULL, "[mail.example.net]:587", "mail.example.net",
		    { "names=<mail.example.net .mail.example.net>", "sni=<mail.example.net>" } },
		{ "secure with names of its own", "may", "secure match=A.example:.b.example:nexthop", NULL, NULL,
		    { "names=<a.example .b.example example.org>" } },
		{ "an internationalised name is matched as A-label", "may",
		    "verify match=b\xc3\xbc" "cher.example:\xe3\x80\x82" "b\xc3\xbc" "cher.example", NULL, NULL,
		    { "names=<xn--bcher-kva.example .xn--bcher-kva.example>" } },
		{ "an internationalised MX name in names and SNI", "verify", NULL, NULL, "mx.b\xc3\xbc" "cher.example",
		    { "names=<mx.xn--bcher-kva.example>", "sni=<mx.xn--bcher-kva.example>" } },
		{ "a lone dot is ignored with a warning", "may", "secure match=.", NULL, NULL,
		    { "names=<>", "warning=<a lone \".\"" } },
		{ "an address literal is an address to match, and no SNI", "verify", NULL, "[192.0.2.1]", "192.0.2.1",
		    { "names=<192.0.2.1(address)>", "sni=<>" } },
		{ "at secure the default adds a name that an address can never match", "secure", NULL, "[192.0.2.1]",
		    "192.0.2.1", { "names=<192.0.2.1(address) .192.0.2.1>" } },
		{ "an IPv6 literal", "secure", "secure match=nexthop", "[IPv6:2001:db8::1]", "2001:db8::1",
		    { "names=<2001:db8::1(address)>" } },
		{ "only one address to match", "may", "verify match=192.0.2.1:192.0.2.2", NULL, NULL,
		    { "names=<192.0.2.1(address)>", "warning=<more than one address" } },
		{ "the table wins over the global level, upwards", "none", "encrypt", NULL, NULL,
		    { "level=encrypt asked=encrypt" } },
		{ "the table wins over the global level, downwards", "secure", "none", NULL, NULL,
		    { "level=none", "try=0" } },
		{ "attributes at level none are ignored with a warning", "may", "none ciphers=high", NULL, NULL,
		    { "level=none", "attribute \"ciphers\" is ignored at level none" } },
		{ "an entry that cannot be read never means less", "may", "secur", NULL, NULL,
		    { "invalid 4.7.5 client TLS configuration problem",
		    "warning=<smtp_tls_policy_maps, next-hop destination \"example.org\": invalid security level "
		    "\"secur\">" } },
		{ "an empty entry never means less", "may", "", NULL, NULL, { "invalid 4.7.5", "empty value" } },
		{ "digest= replaces the parameter's", "may", "fingerprint digest=sha1 match=" FP_SHA1, NULL, NULL,
		    { "digests=1" } },
		{ "in any order", "may", "fingerprint match=" FP_SHA1 " digest=SHA1", NULL, NULL, { "digests=1" } },
		{ "the spelling sha-256", "may", "fingerprint digest=sha-256 match=" FP1, NULL, NULL, { "digests=1" } },
		{ "a length that is not digest='s", "may", "fingerprint digest=sha1 match=" FP1, NULL, NULL,
		    { "invalid 4.7.5", "has 32 bytes, a sha1 digest has 20" } },
		/* the two policies of the 2013 design */
		{ "an authority by its fingerprint", "may", "secure digest=sha-256 rootca=" FP1 " rootca=" FP2 " match=a.example",
		    NULL, NULL, { "level=secure", "names=<a.example>", "rootca=2 tafiles=0" } },
		{ "a server by its fingerprints", "may", "fingerprint digest=sha-256 match=" FP1 " match=" FP2, NULL, NULL,
		    { "level=fingerprint", "digests=2" } },
		{ "rootca of the wrong length", "may", "secure rootca=00:11", NULL, NULL, { "invalid 4.7.5", "has 2 bytes" } },
		{ "ciphers of an entry", "may", "may ciphers=high", NULL, NULL, { "ciphers=<HIGH>" } },
		{ "export and low mean medium", "may", "may ciphers=export", NULL, NULL, { "ciphers=<MEDIUM>" } },
		/* spec 20.12 */
		{ "the null grade needs its switch", "may", "encrypt ciphers=null", NULL, NULL,
		    { "invalid 4.7.5", "cipher grade null is switched off" } },
		{ "exclude replaces, the level's own stays", "may", "secure exclude=AES128:SHA", NULL, NULL,
		    { "ciphers=<MEDIUM:!AES128:!SHA:!aNULL:!kRSA>" } },
		/* spec 20.19 */
		{ "weak words lift their refusals", "may", "encrypt weak=krsa:rsa1024", NULL, NULL,
		    { "ciphers=<MEDIUM:!eNULL>", "weak=10" } },
		{ "weak sha1 lowers the library's level", "may", "secure weak=sha1", NULL, NULL, { "seclevel=0 weak=1" } },
		{ "old protocols of an entry need the library's level 0", "may", "secure protocols=>=TLSv1", NULL, NULL,
		    { "proto=<>=TLSv1>", "seclevel=0" } },
		/* spec 20.11 */
		{ "SNI is the host name at may too", "may", NULL, NULL, NULL, { "sni=<mx.example.org>" } },
		{ "servername=nexthop", "may", "may servername=nexthop", NULL, NULL, { "sni=<example.org>" } },
		{ "servername=none", "may", "secure servername=none", NULL, NULL, { "sni=<>" } },
		{ "servername=name", "may", "secure servername=Other.Example", NULL, NULL, { "sni=<other.example>" } },
		{ "servername in U-labels", "may", "may servername=b\xc3\xbc" "cher.example", NULL, NULL,
		    { "sni=<xn--bcher-kva.example>" } },
		{ "tafile of an entry", "may", "verify tafile=/x.pem", NULL, NULL, { "tafiles=1" } },
		{ "rpk may be asked for at encrypt", "may", "encrypt enable_rpk=yes", NULL, NULL, { "rpk=1" } },
		{ "rpk is never used at verify", "may", "verify enable_rpk=yes", NULL, NULL, { "rpk=0" } },
		{ "connection reuse of an entry", "may", "verify connection_reuse=yes", NULL, NULL, { "reuse=1" } },
		/* spec 20.1 */
		{ "policy_failure stays in the decision", "may",
		    "secure policy_type=sts policy_failure=sts-policy-invalid", NULL, NULL,
		    { "failure=<sts-policy-invalid>" } },
		/* spec 20.4: patterns and names of section 3.5; the policy comes from the table */
		{ "MTA-STS: the certificate must be the host's", "may",
		    "secure policy_type=sts match=mx.example.org:mx2.example.org mx_host_pattern=*.example.org", NULL,
		    NULL, { "names=<mx.example.org>", "skip=0" } },
		{ "MTA-STS: another host is passed over", "may",
		    "secure policy_type=sts match=mx.example.org mx_host_pattern=mx.example.org", NULL,
		    "evil.example.net", { "skip=1", "warning=<MX host evil.example.net of example.org does not match" } },
		/* tls_wildcard_matches_multiple_labels (spec 20.20): the administrator's names, not those of MTA-STS (RFC 8461 section 4.1) */
		{ "wildcards as configured", "may", "secure match=a.example", NULL, NULL, { "multi=1" } },
		{ "MTA-STS: one label in certificates, too", "may", "secure policy_type=sts match=a.example", NULL, NULL, { "multi=0" } },
		{ "MTA-STS: a wildcard is one label", "may",
		    "secure policy_type=sts match=hostname mx_host_pattern=*.example.org", NULL, "a.b.example.org",
		    { "skip=1" } },
		{ "MTA-STS: the wildcard is not the suffix itself", "may",
		    "secure policy_type=sts match=hostname mx_host_pattern=*.example.org", NULL, "example.org",
		    { "skip=1" } },
		{ "MTA-STS: U-label pattern, A-label host", "may",
		    "secure policy_type=sts match=hostname mx_host_pattern=*.b\xc3\xbc" "cher.example", NULL,
		    "mx.xn--bcher-kva.example.", { "skip=0" } },
		/* smtp_tls_enforce_sts_mx_patterns */
		{ "MTA-STS: without match= the pattern is not active", "may",
		    "secure policy_type=sts mx_host_pattern=mx.example.org", NULL, "mx.other.example", { "skip=0" } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_params p = defaults;

		p.security_level = rows[i].level;
		run_row(&rows[i], &p, (struct tls_facts){ 0 });
	}
}

/* tls-client.md 1 and 1.1: what each level tries, needs, and does when it does not get it. halfdane and the DANE levels: dane_test. */
static void
test_outcome_matrix(void **state)
{
	static const char clear[] = "no-starttls=clear refused=clear handshake=clear-later mismatch=clear",
	    defer[] = "no-starttls=defer refused=defer handshake=defer mismatch=defer";
	static const struct decide_row rows[] = {
		{ "none", "may", "none", NULL, NULL, { clear, "try=0 match=0 pkix=0", "names=<>", "digests=0" } },
		{ "may", "none", "may", NULL, NULL, { clear, "try=1 match=0 pkix=0", "names=<>", "digests=0" } },
		{ "encrypt", "none", "encrypt", NULL, NULL, { defer, "try=1 match=0 pkix=0", "names=<>", "digests=0" } },
		{ "fingerprint", "none", "fingerprint match=" FP1, NULL, NULL, { defer, "try=1 match=1 pkix=0", "names=<>", "digests=1" } },
		{ "verify", "none", "verify", NULL, NULL, { defer, "try=1 match=1 pkix=1", "names=<mx.example.org>", "digests=0" } },
		{ "secure", "none", "secure", NULL, NULL, { defer, "try=1 match=1 pkix=1", "names=<example.org .example.org>", "digests=0" } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_params p = defaults;

		p.security_level = rows[i].level;
		run_row(&rows[i], &p, (struct tls_facts){ 0 });
	}
}

/* An MTA-STS entry where the global level is DANE: it never overrides DANE that holds, or that fails (RFC 8461 section 2). */
static void
test_sts_and_dane(void **state)
{
#define STS "secure policy_type=sts match=x.example mx_host_pattern=*.example.org"
	static char sha256[32];
	static struct tls_tlsa good[] = { { .usage = 3, .selector = 1, .matching = 1, .data = { sha256, 32 } } },
	    bad[] = { { .usage = 1, .selector = 1, .matching = 1, .data = { sha256, 32 } } };
	static const struct tls_dane_facts holds = { .state = TLS_DANE_FOUND, .base = SPAN("mx.example.org"), .records = good, .count = 1 },
	    unusable = { .state = TLS_DANE_FOUND, .base = SPAN("mx.example.org"), .records = bad, .count = 1 },
	    absent = { .state = TLS_DANE_ABSENT }, failed = { .state = TLS_DANE_FAILED, .why = SPAN("bogus") };
	static const struct {
		struct decide_row row;
		const struct tls_dane_facts *dane;
		bool insecure_mx;
	} rows[] = {
		{ { "records that can be used come first", "dane", STS, NULL, NULL, { "level=dane asked=dane", "names=<mx.example.org" } }, &holds, false },
		{ { "at dane-only as well", "dane-only", STS, NULL, NULL, { "level=dane-only asked=dane-only" } }, &holds, false },
		{ { "a failed lookup is not overridden", "dane", STS, NULL, NULL, { "invalid 4.7.5 TLSA lookup error" } }, &failed, false },
		{ { "no records: the entry", "dane", STS, NULL, NULL, { "level=secure asked=secure", "names=<mx.example.org>" } }, &absent, false },
		{ { "no records at dane-only: the entry", "dane-only", STS, NULL, NULL, { "level=secure" } }, &absent, false },
		{ { "none that can be used: the entry asks for more than encryption", "dane", STS, NULL, NULL, { "level=secure" } }, &unusable, false },
		{ { "MX records without proof: the entry", "dane", STS, NULL, NULL, { "level=secure" } }, &holds, true },
		{ { "an entry of the administrator's own replaces dane", "dane", "secure match=x.example", NULL, NULL, { "level=secure" } }, &holds, false },
		{ { "no DANE asked for: the entry", "may", STS, NULL, NULL, { "level=secure" } }, &holds, false },
		{ { "a host outside of the policy, with DANE", "dane", STS, NULL, "mx.other.example", { "level=dane", "skip=0" } }, &holds, false },
		{ { "a host outside of the policy, without", "dane", STS, NULL, "mx.other.example", { "skip=1" } }, &absent, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_params p = defaults;

		p.security_level = rows[i].row.level;
		run_row(&rows[i].row, &p, (struct tls_facts){ .dane = rows[i].dane, .from_mx = true, .mx_secure = !rows[i].insecure_mx });
	}
#undef STS
}

/* tls_required_enable: the header is in force (spec 20.8) */
static void
test_tls_required_no(void **state)
{
	static const struct decide_row rows[] = {
		{ "may stays", "may", NULL, NULL, NULL, { "level=may" } },
		{ "the administrator's secure stays", "secure", NULL, NULL, NULL, { "level=secure" } },
		{ "an entry stays", "may", "encrypt", NULL, NULL, { "level=encrypt" } },
		{ "opportunistic dane becomes may", "dane", NULL, NULL, NULL, { "level=may asked=may" } },
		{ "so it does in an entry", "none", "dane", NULL, NULL, { "level=may" } },
		{ "dane-only stays", "dane-only", NULL, NULL, NULL, { "invalid" } },
		{ "what the domain's own MTA-STS policy says is set aside", "may",
		    "secure policy_type=sts match=x.example", NULL, NULL, { "level=may", "names=<>" } },
		{ "a broken entry is still an error", "may", "secure x", NULL, NULL, { "invalid" } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_params p = defaults;

		p.security_level = rows[i].level;
		run_row(&rows[i], &p, (struct tls_facts){ .tls_required_no = true });
	}
}

static void
test_wrapper_mode(void **state)
{
	static const struct decide_row rows[] = {
		{ "may is not enough", "may", NULL, NULL, NULL, { "skip=1", "warning=<smtp_tls_wrappermode needs" } },
		{ "none is not enough", "none", NULL, NULL, NULL, { "skip=1" } },
		{ "encrypt is", "encrypt", NULL, NULL, NULL, { "skip=0" } },
	};
	struct decide_row dane = { "TLS-Required: no lowers dane only to encrypt", "dane", NULL, NULL, NULL,
		{ "level=encrypt", "skip=0" } };
	struct tls_params p = defaults;

	(void)state;
	p.wrappermode = true;
	for (size_t i = 0; i < COUNT(rows); i++) {
		p.security_level = rows[i].level;
		run_row(&rows[i], &p, (struct tls_facts){ 0 });
	}
	p.security_level = dane.level;
	run_row(&dane, &p, (struct tls_facts){ .tls_required_no = true });
}

static void
test_unix_sockets(void **state)
{
	static const struct decide_row rows[] = {
		{ "may becomes none", "may", NULL, "/var/run/lmtp", "/var/run/lmtp",
		    { "level=none asked=may", "try=0", "warning=<" } },
		{ "secure looks for our own name", "secure", NULL, "/var/run/lmtp", "/var/run/lmtp",
		    { "level=secure", "names=<me.example .me.example>", "sni=<>" } },
		{ "encrypt stays", "encrypt", NULL, "/var/run/lmtp", "/var/run/lmtp", { "level=encrypt asked=encrypt", "try=1" } },
		{ "so do fingerprints", "may", "fingerprint match=" FP1, "/var/run/lmtp", "/var/run/lmtp", { "level=fingerprint", "try=1" } },
		{ "none stays, without a word", "none", NULL, "/var/run/lmtp", "/var/run/lmtp", { "level=none asked=none" } },
		{ "dane is impossible", "dane", NULL, "/var/run/lmtp", "/var/run/lmtp", { "invalid 4.7.5" } },
		{ "dane-only, too", "dane-only", NULL, "/var/run/lmtp", "/var/run/lmtp", { "invalid 4.7.5" } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_params p = defaults;

		p.security_level = rows[i].level;
		p.prefix = "lmtp";
		run_row(&rows[i], &p, (struct tls_facts){ .unix_socket = true });
	}
}

static void
test_table_failure(void **state)
{
	struct tls_facts f = { .table = { .state = TLS_ANSWER_FAILED, .why = { "4.3.0", "ldap: no answer" } } };
	struct decide_row row = { "an unreachable table is not an absent entry", "may", NULL, NULL, NULL,
		{ "invalid 4.7.5 client TLS configuration problem",
		"warning=<smtp_tls_policy_maps, next-hop destination \"example.org\": ldap: no answer>" } };
	struct tls_params p = defaults;

	(void)state;
	p.security_level = "may";
	run_row(&row, &p, f);
	/* the legacy table has its own name and, when it cannot be asked, its own text (tls-client.md 3.4) */
	f.table.per_site = true;
	row.want[0] = "invalid 4.3.0 Temporary lookup error";
	row.want[1] = "warning=<smtp_tls_per_site, next-hop destination \"example.org\": ldap: no answer>";
	run_row(&row, &p, f);
	fault_set(&f.table.why, "4.7.5", "what?");
	row.want[0] = "invalid 4.7.5 client TLS configuration problem";
	row.want[1] = "what?";
	run_row(&row, &p, f);
}

static void
test_parameters(void **state)
{
	struct decide_row fp = { "fingerprints of the parameter", "fingerprint", NULL, NULL, NULL, { "digests=2" } };
	struct decide_row bad = { "a bad one there", "fingerprint", NULL, NULL, NULL,
		{ "invalid", "smtp_tls_fingerprint_cert_match: malformed" } };
	struct decide_row excl = { "both exclusion lists above may", "encrypt", NULL, NULL, NULL,
		{ "ciphers=<MEDIUM:!DES:!3DES:!MD5:!eNULL:!kRSA>" } };
	struct decide_row excl_may = { "one at may", "may", NULL, NULL, NULL, { "ciphers=<MEDIUM:!DES:!3DES>" } };
	struct decide_row canon = { "smtp_cname_overrides_servername", "verify", NULL, NULL, NULL,
		{ "names=<real.example>", "sni=<real.example>" } };
	struct decide_row host = { "an alias alone changes nothing", "verify", NULL, NULL, NULL, { "names=<mx.example.org>", "sni=<mx.example.org>" } };
	struct decide_row anchors = { "smtp_tls_trust_anchor_file", "verify", NULL, NULL, NULL, { "rootca=0 tafiles=2" } };
	struct decide_row own_anchors = { "tafile instead of it", "may", "verify tafile=/x.pem", NULL, NULL, { "tafiles=1" } };
	struct decide_row rootca = { "rootca instead of it", "may", "verify rootca=" FP1, NULL, NULL, { "rootca=1 tafiles=0" } };
	struct decide_row sts = { "MTA-STS without its patterns: any name of the policy from any host", "may",
		"secure policy_type=sts match=a.example mx_host_pattern=mx.other.example", NULL, NULL, { "skip=0", "names=<a.example>" } };
	struct decide_row sni = { "smtp_tls_servername", "verify", NULL, NULL, NULL, { "sni=<example.org>" } };
	/* tls_null_ciphers_enable */
	struct decide_row null = { "the null grade with its switch", "encrypt", "fingerprint ciphers=null match=" FP1,
		NULL, NULL, { "ciphers=<eNULL:!aNULL:!kRSA>" } };
	struct tls_params p = defaults;

	(void)state;
	p.security_level = "fingerprint";
	p.fingerprint_cert_match = FP1 ", " FP2;
	run_row(&fp, &p, (struct tls_facts){ 0 });
	p.fingerprint_cert_match = "12:34:xx";
	run_row(&bad, &p, (struct tls_facts){ 0 });
	p.exclude_ciphers = "DES, 3DES";
	p.mandatory_exclude_ciphers = "MD5";
	p.security_level = "encrypt";
	run_row(&excl, &p, (struct tls_facts){ 0 });
	p.security_level = "may";
	run_row(&excl_may, &p, (struct tls_facts){ 0 });
	p.security_level = "verify";
	run_row(&host, &p, (struct tls_facts){ .host_canon = SPAN("real.example") });
	p.trust_anchor_file = "/a.pem, /b.pem";
	run_row(&anchors, &p, (struct tls_facts){ 0 });
	run_row(&own_anchors, &p, (struct tls_facts){ 0 });
	run_row(&rootca, &p, (struct tls_facts){ 0 });
	p.trust_anchor_file = "";
	p.enforce_sts_mx_patterns = false;
	run_row(&sts, &p, (struct tls_facts){ 0 });
	p.cname_overrides_servername = true;
	run_row(&canon, &p, (struct tls_facts){ .host_canon = SPAN("real.example") });
	p.servername = "nexthop";
	run_row(&sni, &p, (struct tls_facts){ 0 });
	p.exclude_ciphers = p.mandatory_exclude_ciphers = "";
	p.allow_null_ciphers = true;
	run_row(&null, &p, (struct tls_facts){ 0 });
}

static void
test_start_check(void **state)
{
	struct tls_params p = defaults, defaults_without_dnssec;
	struct fault why;

	(void)state;
	assert_true(tls_params_check(&p, &why));
#define REFUSED(member, value, words) \
	do { \
		p = defaults; \
		p.member = value; \
		assert_false(tls_params_check(&p, &why)); \
		if (strstr(why.text, words) == NULL) \
			fail_msg("%s lacks %s", why.text, words); \
	} while (0)
	REFUSED(security_level, "encypt", "smtp_tls_security_level: unknown TLS level \"encypt\"");
	REFUSED(dane_digests, "sha512 sha1", "tls_dane_digests: \"sha1\" needs its number");
	/* spec 20.10 */
	defaults_without_dnssec = defaults;
	defaults_without_dnssec.no_dane = "smtp_dns_support_level is not dnssec";
	for (unsigned i = 0; i < 2; i++) {
		p = defaults_without_dnssec;
		p.security_level = i == 0 ? "dane" : "dane-only";
		assert_false(tls_params_check(&p, &why));
		assert_non_null(strstr(why.text, "needs DNSSEC: smtp_dns_support_level is not dnssec"));
		p.no_dane = NULL;
		assert_true(tls_params_check(&p, &why));
	}
	REFUSED(protocols, "TLSv9", "smtp_tls_protocols: Invalid TLS protocol list");
	REFUSED(mandatory_protocols, "TLSv9", "smtp_tls_mandatory_protocols: Invalid");
	REFUSED(ciphers, "best", "smtp_tls_ciphers: unknown cipher grade");
	REFUSED(mandatory_ciphers, "null", "smtp_tls_mandatory_ciphers: cipher grade null");
	REFUSED(exclude_ciphers, "!RC4", "smtp_tls_exclude_ciphers");
	REFUSED(mandatory_exclude_ciphers, "@x", "smtp_tls_mandatory_exclude_ciphers");
	REFUSED(mandatory_weak, "md5", "smtp_tls_mandatory_weak");
	REFUSED(fingerprint_digest, "sha257", "smtp_tls_fingerprint_digest: unknown digest");
	REFUSED(fingerprint_cert_match, "00:11", "smtp_tls_fingerprint_cert_match");
	REFUSED(servername, "a b", "smtp_tls_servername");
	REFUSED(wrappermode, true, "smtp_tls_wrappermode");
}

static void
test_the_trail_names_its_sources(void **state)
{
	struct arena *a = arena_new(4 << 20);
	struct tls_params p = defaults;
	struct tls_facts f = { .params = &p, .nexthop = SPAN("example.org"), .host = SPAN("mx.example.org"),
		.table = { .state = TLS_ANSWER_FOUND, .key = SPAN(".org"), .value = SPAN("secure ciphers=high"),
		.source = SPAN("/etc/signet/tls:3") } };
	struct tls_decision d;
	unsigned table = 0, params = 0;

	(void)state;
	p.security_level = "may";
	assert_true(tls_policy_decide(&f, a, &d));
	for (size_t i = 0; i < d.n_trail; i++) {
		assert_true(d.trail[i].source.n > 0);
		if (span_eq(d.trail[i].source, SPAN("/etc/signet/tls:3")))
			table++;
		if (span_starts(d.trail[i].source, SPAN("smtp_tls_")))
			params++;
	}
	assert_int_equal(table, 2);
	assert_true(params >= 3);
	assert_span(d.trail[0].source, "smtp_tls_security_level");
	arena_free(&a);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_level_order),
	KIT_TEST(test_global_level),
	KIT_TEST(test_keys),
	KIT_TEST(test_table_values),
	KIT_TEST(test_table_value_parts),
	KIT_TEST(test_protocol_lists),
	KIT_TEST(test_decisions),
	KIT_TEST(test_outcome_matrix),
	KIT_TEST(test_sts_and_dane),
	KIT_TEST(test_tls_required_no),
	KIT_TEST(test_wrapper_mode),
	KIT_TEST(test_unix_sockets),
	KIT_TEST(test_table_failure),
	KIT_TEST(test_parameters),
	KIT_TEST(test_start_check),
	KIT_TEST(test_the_trail_names_its_sources),
};

KIT_MAIN(tests)
