/* Inbound policy by client, row by row: values, keys, what is demanded and what was shown; distinguished names. */
#include "tls/client_policy.h"

#include <stdio.h>

#include "kit/certs.h"
#include "kit/kit.h"
#include "tls/dn.h"
#include "tls/info.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))
#define FP1 "11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11"

static struct kit_cert root, client, plain;
static struct arena *a;

static int
make_world(void **state)
{
	(void)state;
	a = arena_new(64 << 20);
	root = kit_cert((struct kit_cert_spec){ .cn = "Root CA", .ca = true });
	client = kit_cert((struct kit_cert_spec){ .cn = "client", .issuer = &root,
	    .san = "DNS:mx.partner.example,DNS:*.wild.example,email:ops@partner.example,IP:192.0.2.7,URI:urn:x:1" });
	plain = kit_cert((struct kit_cert_spec){ .cn = "cn.partner.example", .issuer = &root });
	return 0;
}

static int
end_world(void **state)
{
	(void)state;
	kit_cert_free(&root);
	kit_cert_free(&client);
	kit_cert_free(&plain);
	arena_free(&a);
	return 0;
}

/* --- values --- */

static void
test_values(void **state)
{
	static const struct {
		const char *value, *want;       /* want NULL = good; else part of the complaint */
	} rows[] = {
		{ "none", NULL },
		{ "may", NULL },
		{ "MAY ask_ccert=no", NULL },
		{ "encrypt", NULL },
		{ "encrypt bits=256 ciphers=high protocols=>=TLSv1.2 exclude=aNULL:MD5 action=5xx", NULL },
		{ "verify", NULL },
		{ "verify match=mx.partner.example:.partner.example match=hostname", NULL },
		{ "verify { subject = /C=DE/O=Partner Ltd/CN=x } { issuer = CN=Root CA, O=CA, C=DE }", NULL },
		{ "verify issuer_maps=inline:{a=OK} action=503", NULL },
		{ "verify match_email=a@b.example match_ip=192.0.2.7|2001:db8::1 match_uri=urn:x:1", NULL },
		{ "verify chain=mx.example.org", NULL },
		{ "fingerprint match=" FP1 "|" FP1, NULL },
		{ "", "empty value" },
		{ " , ", "empty value" },
		{ "secure", "\"secure\" is not one of none, may, encrypt, verify, fingerprint" },
		{ "encrypt bit=256", "unknown attribute \"bit\"" },
		{ "encrypt bits", "malformed attribute \"bits\"" },
		{ "encrypt { bits=3", "unbalanced braces in" },
		{ "encrypt { bits 3 }", "malformed attribute" },
		{ "encrypt =3", "malformed attribute" },
		{ "encrypt bits=0", "\"0\" is not a number of bits" },
		{ "encrypt bits=", "\"\" is not a number of bits" },
		{ "encrypt bits=128 bits=256", "attribute \"bits\" is given twice" },
		{ "may bits=128", "attribute \"bits\" has no effect at level may" },
		{ "none ask_ccert=no", "attribute \"ask_ccert\" has no effect at level none" },
		{ "encrypt match=a.example", "attribute \"match\" has no effect at level encrypt" },
		{ "verify ask_ccert=no", "level verify needs a certificate" },
		{ "encrypt ask_ccert=maybe", "\"maybe\" is neither yes nor no" },
		{ "verify match=", "empty value" },
		{ "verify match=a_b!c", "is neither a host name" },
		{ "verify subject=x", "must look like" },
		{ "verify subject=/QQ=x", "unknown attribute \"QQ\" in a distinguished name" },
		{ "verify issuer_maps=x", "\"x\" is not type:name" },
		{ "verify match_ip=1.2.3", "\"1.2.3\" is not an address" },
		{ "verify match_email=x", "\"x\" is not a mail address" },
		{ "verify match_uri=x", "\"x\" is not a URI" },
		{ "encrypt ciphers=best", "ciphers" },
		{ "encrypt ciphers=null", "ciphers" },
		{ "encrypt protocols=TLSv9", "protocols" },
		{ "may protocols=TLSv1", NULL },
		{ "encrypt protocols=TLSv1", "leaves no protocol of TLSv1.2 or later" },
		{ "may { protocols = !TLSv1, !TLSv1.1, !TLSv1.2, !TLSv1.3 }", "leaves no protocol" },
		{ "encrypt action=250", "\"250\" is neither 4xx nor 5xx" },
		{ "encrypt action=421", "\"421\" is neither" },
		{ "encrypt action=599", "\"599\" is neither" },
		{ "encrypt chain=/etc/key.pem", "is not a host name (of tls_server_sni_maps)" },
		{ "fingerprint", "level fingerprint needs match=" },
		{ "fingerprint match=1111", "match" },
		{ "fingerprint match=zz", "match" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_client_policy p;
		struct fault why = { 0 };
		bool ok = tls_client_policy_parse(span_str(rows[i].value), "sha256", a, &p, &why);

		if (ok != (rows[i].want == NULL) || (!ok && (strstr(why.text, rows[i].want) == NULL || why.dsn[0] != '4')))
			fail_msg("%s: %s \"%s\"", rows[i].value, why.dsn, why.text);
	}
}

/* Cut anywhere, a value is an error or a value of its own; it never demands less than the level it names. */
static void
test_cut_values(void **state)
{
	struct span full = SPAN("verify match=mx.partner.example { subject = /C=DE/O=Partner Ltd } bits=128 action=5xx");

	(void)state;
	for (size_t n = 0; n <= full.n; n++) {
		struct tls_client_policy p;

		if (tls_client_policy_parse(span_slice(full, 0, n), "sha256", a, &p, NULL))
			assert_int_equal(p.level, TLS_CLIENT_VERIFY);
	}
}

static void
test_asks(void **state)
{
	static const struct {
		const char *value;
		bool service, want;
	} rows[] = {
		{ "may", false, false },
		{ "may", true, true },
		{ "may ask_ccert=no", true, false },
		{ "may ask_ccert=yes", false, true },
		{ "encrypt ask_ccert=no", true, false },
		{ "verify", false, true },
		{ "fingerprint match=" FP1, false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_client_policy p;

		assert_true(tls_client_policy_parse(span_str(rows[i].value), "sha256", a, &p, NULL));
		if (tls_client_policy_asks(&p, rows[i].service) != rows[i].want)
			fail_msg("%s", rows[i].value);
	}
}

/* --- keys --- */

/* As they are written: a demand that no client ever meets is worth a word. */
static void
test_written_keys(void **state)
{
	static const struct {
		const char *key, *want; /* NULL = good */
	} rows[] = {
		{ "*", NULL }, { "mx.example", NULL }, { "MX.Example", NULL }, { ".example", NULL }, { "a_b.example", NULL }, { "localhost", NULL },
		{ "192.0.2.7", NULL }, { "192.0.2", NULL }, { "10", NULL }, { "0.0.0.0", NULL },
		{ "2001:db8::1", NULL }, { "2001:DB8::1", NULL }, { "2001:db8", NULL }, { "2001", NULL }, { "20011", "no address or network" }, { "::1", NULL },
		{ "sni=mx.example", NULL },
		{ "*.example", "write .example for all names below it" },
		{ "mx.example.", "neither a host name nor an address" },
		{ "joe@example", "neither a host name nor an address" },
		{ "[mx.example]", "neither a host name nor an address" },
		{ "192.168.1.*", "neither a host name nor an address" },
		{ "10.0.0.0/8", "cidr: table" }, { "2001:db8::/32", "cidr: table" },
		{ "10.", "(192.0.2.1, 192.0.2)" }, { "10..1", "(192.0.2.1, 192.0.2)" }, { "300.1", "(192.0.2.1, 192.0.2)" },
		{ "1.2.3.4.5", "(192.0.2.1, 192.0.2)" }, { "192.0.02.1", "(192.0.2.1, 192.0.2)" },
		{ "2001:0db8::1", "looked up as 2001:db8::1" }, { "2001:db8:0:0:0:0:0:1", "looked up as 2001:db8::1" },
		{ "2001:0db8", "looked up as 2001:db8" }, { "2001:db8:", "(2001:db8::1, 2001:db8)" },
		{ "2001:0db8:0", "looked up as 2001:db8:0" }, { "2001:db8:0", "only some of the network" }, { "2001:db8:0:1", NULL }, { "2001:db8::1:2", NULL },
		{ "[2001:db8::1]", "(2001:db8::1, 2001:db8)" }, { "mx.example:25", "(2001:db8::1, 2001:db8)" }, { "192.0.2.1:25", "(2001:db8::1, 2001:db8)" },
		{ "::ffff:192.0.2.1", "write 192.0.2.1" },
		{ "sni=", "one host name" }, { "sni=*.example", "one host name" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct fault why = { 0 };
		bool ok = tls_client_key_check(span_str(rows[i].key), &why);

		if (ok != (rows[i].want == NULL) || (!ok && strstr(why.text, rows[i].want) == NULL))
			fail_msg("%s: \"%s\"", rows[i].key, why.text);
	}
}

static void
test_keys(void **state)
{
	static const struct {
		const char *name, *addr, *sni, *want;
	} rows[] = {
		{ "MX.Partner.example.", "192.0.2.7", "", "mx.partner.example .partner.example* .example* 192.0.2.7 192.0.2* 192.0* 192* **" },
		{ "", "192.0.2.7", "", "192.0.2.7 192.0.2* 192.0* 192* **" },
		{ "localhost", "::1", "", "localhost ::1 **" },
		{ "", "2001:DB8::1", "", "2001:db8::1 2001:db8* 2001* **" },
		{ "a.example", "192.0.2.7", "Submit.Example", "a.example .example* 192.0.2.7 192.0.2* 192.0* 192* sni=submit.example* **" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_client_key keys[TLS_CLIENT_KEYS_MAX];
		size_t n = tls_client_keys(span_str(rows[i].name), span_str(rows[i].addr), span_str(rows[i].sni), a, keys);
		struct span all = SPAN("");

		for (size_t k = 0; k < n; k++)
			all = arena_printf(a, "%.*s%s%.*s%s", SPAN_ARG(all), k > 0 ? " " : "", SPAN_ARG(keys[k].key),
			    keys[k].partial ? "*" : "");
		assert_span(all, rows[i].want);
	}
}

static void
test_many_labels(void **state)
{
	struct tls_client_key keys[TLS_CLIENT_KEYS_MAX];
	char name[400];
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(name); i += 2) {
		name[i] = 'a';
		name[i + 1] = '.';
	}
	n = tls_client_keys(span_of(name, sizeof(name) - 1), SPAN("192.0.2.7"), SPAN("MX.test"), a, keys);
	assert_int_equal(n, TLS_CLIENT_KEYS_MAX);
	assert_span(keys[n - 1].key, "*");
	assert_span(keys[n - 2].key, "sni=mx.test");
	assert_true(keys[n - 1].last_resort && keys[n - 2].last_resort && !keys[n - 3].last_resort);
}

static void
test_sni_fits(void **state)
{
	struct tls_client_policy none = { .level = TLS_CLIENT_NONE }, may = { .level = TLS_CLIENT_MAY };
	struct fault why = { 0 };

	(void)state;
	assert_true(tls_client_policy_fits(&none, SPAN("mx.test"), &why) && tls_client_policy_fits(&may, SPAN("sni=mx.test"), &why));
	assert_false(tls_client_policy_fits(&none, SPAN("sni=mx.test"), &why));
	assert_non_null(strstr(why.text, "has begun TLS already"));
}

/* --- decisions --- */

enum shows { CLEAR, BROKEN, TLS, TLS_WEAK, ASKED, UNTRUSTED, TRUSTED, TRUSTED_CN, RPK };

static struct tls_client_shown
shown(enum shows what)
{
	struct tls_client_shown s = { .name = SPAN("mx.partner.example"), .tls = what >= TLS, .bits = what < TLS ? 0 : 256,
		.asked = what >= ASKED, .trusted = what == TRUSTED || what == TRUSTED_CN, .unavailable = what == BROKEN,
		.untrusted = SPAN("") };

	if (what == TLS_WEAK)
		s.bits = 112;
	if (what == UNTRUSTED || what == TRUSTED)
		s.cert = client.cert;
	if (what == TRUSTED_CN)
		s.cert = plain.cert;
	if (what == UNTRUSTED)
		s.untrusted = SPAN("self-signed certificate");
	if (s.cert != NULL) {
		s.cert_fp = tls_cert_fingerprint(s.cert, "sha256", a);
		s.pkey_fp = tls_pkey_fingerprint(s.cert, "sha256", a);
	}
	if (what == RPK)
		s.pkey_fp = tls_pkey_fingerprint(client.cert, "sha256", a);
	return s;
}

static const struct {
	const char *policy;
	enum shows shows;
	unsigned code;          /* 0 = satisfied */
	const char *why;
} rows[] = {
	{ "none", CLEAR, 0, "" },
	{ "none", TRUSTED, 0, "" },
	{ "may", CLEAR, 0, "" },
	{ "may ask_ccert=yes", TLS, 0, "" },
	{ "encrypt", CLEAR, 454, "encryption required: the session is in clear text" },
	{ "encrypt action=5xx", CLEAR, 554, "clear text" },
	{ "encrypt action=403", CLEAR, 403, "clear text" },
	{ "encrypt action=5xx", BROKEN, 454, "this server cannot do TLS now" },
	{ "encrypt", TLS_WEAK, 0, "" },
	{ "encrypt bits=112", TLS_WEAK, 0, "" },
	{ "encrypt bits=113", TLS_WEAK, 454, "encryption too weak 112 less than 113" },
	{ "encrypt bits=256 action=503", TLS_WEAK, 503, "encryption too weak 112 less than 256" },
	{ "verify", CLEAR, 454, "clear text" },
	{ "verify", TLS, 454, "no client certificate was requested" },
	{ "verify action=5xx", TLS, 454, "no client certificate was requested" },
	{ "verify action=5xx", ASKED, 554, "no client certificate was presented" },
	{ "verify", RPK, 454, "raw public key" },
	{ "verify", UNTRUSTED, 454, "not trusted: self-signed certificate" },
	{ "verify", TRUSTED, 0, "" },
	{ "verify bits=300", TRUSTED, 454, "too weak" },
	{ "verify match=mx.partner.example", TRUSTED, 0, "" },
	{ "verify match=hostname", TRUSTED, 0, "" },
	{ "verify match=.partner.example", TRUSTED, 0, "" },
	{ "verify match=partner.example", TRUSTED, 454, "the client certificate has mx.partner.example, *.wild.example" },
	{ "verify match=a.wild.example", TRUSTED, 0, "" },
	{ "verify match=a.b.wild.example", TRUSTED, 454, "wanted a.b.wild.example" },
	{ "verify match=client", TRUSTED, 454, "wanted client" },
	{ "verify match=cn.partner.example", TRUSTED_CN, 0, "" },
	{ "verify match=a.example:mx.partner.example", TRUSTED, 0, "" },
	{ "verify match=mx.partner.example", UNTRUSTED, 454, "not trusted" },
	{ "verify match_email=ops@partner.example", TRUSTED, 0, "" },
	{ "verify match_email=ops@other.example", TRUSTED, 454, "mail address ops@other.example" },
	{ "verify match_ip=192.0.2.8|192.0.2.7", TRUSTED, 0, "" },
	{ "verify match_ip=192.0.2.8", TRUSTED, 454, "address 192.0.2.8" },
	{ "verify match_uri=urn:x:1", TRUSTED, 0, "" },
	{ "verify match_uri=urn:x:2", TRUSTED, 454, "URI urn:x:2" },
	{ "verify subject=/CN=client", TRUSTED, 0, "" },
	{ "verify subject=cn=CLIENT", TRUSTED, 0, "" },
	{ "verify subject=/CN=other", TRUSTED, 454, "subject of the client certificate is \"/CN=client\", wanted \"/CN=other\"" },
	{ "verify issuer=/CN=Root+20CA", TRUSTED, 0, "" },
	{ "verify { issuer = CN=root  ca }", TRUSTED, 0, "" },
	{ "verify issuer=/CN=Root", TRUSTED, 454, "issuer of the client certificate is \"/CN=Root+20CA\"" },
	{ "verify match=mx.partner.example subject=/CN=x", TRUSTED, 454, "subject" },
	{ "verify issuer_maps=inline:{x=OK}", TRUSTED, 454, "the table was not asked" },
	{ "fingerprint match=" FP1, CLEAR, 454, "clear text" },
	{ "fingerprint match=" FP1, ASKED, 454, "no client certificate was presented" },
	{ "fingerprint match=" FP1 " action=5xx", UNTRUSTED, 554, "is listed" },
};

static void
test_decisions(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_client_shown s = shown(rows[i].shows);
		struct tls_client_verdict v;
		struct tls_client_policy p;
		char text[1100];

		assert_true(tls_client_policy_parse(span_str(rows[i].policy), "sha256", a, &p, NULL));
		tls_client_policy_decide(&p, &s, NULL, a, &v);
		snprintf(text, sizeof(text), "%.*s", SPAN_ARG(v.why));
		if (v.ok != (rows[i].code == 0) || (!v.ok && (v.code != rows[i].code || strstr(text, rows[i].why) == NULL)) ||
		    v.n_trail == 0)
			fail_msg("%s: %d %u %s", rows[i].policy, v.ok, v.code, text);
		if (!v.ok) {
			assert_true(v.reply.n > 0 && v.dsn[0] == (v.code < 500 ? '4' : '5'));
			assert_true(span_find(v.reply, SPAN("wanted")) < 0);
		}
	}
}

static void
test_fingerprints(void **state)
{
	static const enum shows who[] = { UNTRUSTED, TRUSTED, RPK };

	(void)state;
	for (size_t i = 0; i < COUNT(who); i++) {
		struct tls_client_shown s = shown(who[i]);
		struct tls_client_verdict v;
		struct tls_client_policy p;
		struct span value = arena_printf(a, "fingerprint match=" FP1 "|%.*s", SPAN_ARG(s.pkey_fp));

		assert_true(tls_client_policy_parse(value, "sha256", a, &p, NULL));
		tls_client_policy_decide(&p, &s, NULL, a, &v);
		assert_true(v.ok);
		value = arena_printf(a, "fingerprint match=%.*s", SPAN_ARG(tls_cert_fingerprint(client.cert, "sha256", a)));
		assert_true(tls_client_policy_parse(value, "sha256", a, &p, NULL));
		tls_client_policy_decide(&p, &s, NULL, a, &v);
		assert_int_equal(v.ok, who[i] != RPK);
		assert_true(who[i] != RPK || span_find(v.why, SPAN("raw public key")) >= 0);
		assert_int_equal(v.warning.n, 0);
	}
}

/* With smtpd_tls_enable_rpk what hangs on a certificate alone is told, and what hangs on the key is not. */
static void
test_fragile_fingerprints(void **state)
{
	struct tls_client_shown s = shown(TRUSTED);
	struct span cert = s.cert_fp, key = s.pkey_fp;
	const struct {
		struct span match;
		bool ok, warns;
	} rows_of[] = {
		{ cert, true, true }, { key, true, false }, { arena_printf(a, "%.*s|%.*s", SPAN_ARG(cert), SPAN_ARG(key)), true, false },
		{ SPAN(FP1), false, false },
	};

	(void)state;
	s.key_would_do = true;
	for (size_t i = 0; i < COUNT(rows_of); i++) {
		struct tls_client_verdict v;
		struct tls_client_policy p;

		assert_true(tls_client_policy_parse(arena_printf(a, "fingerprint match=%.*s", SPAN_ARG(rows_of[i].match)), "sha256", a, &p, NULL));
		tls_client_policy_decide(&p, &s, NULL, a, &v);
		assert_int_equal(v.ok, rows_of[i].ok);
		assert_int_equal(span_find(v.warning, SPAN("Fragile access policy")) == 0, rows_of[i].warns);
	}
}

/* A key is asked for where no name counts. */
static void
test_who_may_show_a_key(void **state)
{
	static const struct {
		const char *policy;
		bool asks;
	} policies[] = { { "may", true }, { "encrypt", true }, { "verify", false }, { "fingerprint match=" FP1, true } };

	(void)state;
	for (size_t i = 0; i < COUNT(policies); i++) {
		struct tls_client_policy p;

		assert_true(tls_client_policy_parse(span_str(policies[i].policy), "sha256", a, &p, NULL));
		assert_int_equal(tls_client_policy_asks_key(&p, true), policies[i].asks);
		assert_false(tls_client_policy_asks_key(&p, false));
	}
}

static void
test_issuer_maps(void **state)
{
	struct tls_client_shown s = shown(TRUSTED);
	struct tls_client_issuer found = { .state = TLS_ANSWER_FOUND, .value = SPAN("ok") };
	struct tls_client_verdict v;
	struct tls_client_policy p;

	(void)state;
	assert_span(tls_client_issuer_key(&s, a), "/CN=Root+20CA");
	assert_true(tls_client_policy_parse(SPAN("verify issuer_maps=x:y action=5xx"), "sha256", a, &p, NULL));
	tls_client_policy_decide(&p, &s, &found, a, &v);
	assert_true(v.ok);
	found.value = SPAN("REJECT");
	tls_client_policy_decide(&p, &s, &found, a, &v);
	assert_true(!v.ok && v.code == 554);
	found.state = TLS_ANSWER_ABSENT;
	tls_client_policy_decide(&p, &s, &found, a, &v);
	assert_true(!v.ok && v.code == 554);
	found.state = TLS_ANSWER_FAILED;
	fault_set(&found.why, "4.3.0", "table is away");
	tls_client_policy_decide(&p, &s, &found, a, &v);
	assert_true(!v.ok && v.code == 454);
	assert_span(v.why, "issuer_maps: table is away");
	tls_client_policy_unknown(&found.why, &v);
	assert_true(!v.ok && v.code == 454);
}

/* A client without a confirmed name has none that "hostname" could mean. */
static void
test_no_name(void **state)
{
	struct tls_client_shown s = shown(TRUSTED);
	struct tls_client_verdict v;
	struct tls_client_policy p;

	(void)state;
	s.name = SPAN("");
	assert_true(tls_client_policy_parse(SPAN("verify match=hostname"), "sha256", a, &p, NULL));
	tls_client_policy_decide(&p, &s, NULL, a, &v);
	assert_true(!v.ok && span_find(v.why, SPAN("confirmed host name")) > 0);
}

/* --- distinguished names --- */

static void
test_names(void **state)
{
	static const struct {
		const char *one, *other;
		bool same;
	} pairs[] = {
		{ "/C=DE/O=Example Ltd/CN=x", "CN=x,O=Example Ltd,C=DE", true },
		{ "/C=DE/O=Example+20Ltd/CN=x", "cn = X , o=example  ltd, c=de", true },
		{ "/C=DE/O=a/b/CN=x", "CN=x,O=a/b,C=DE", true },
		{ "/O=a, b/CN=x", "CN=x,O=a\\, b", true },
		{ "/O=a+2Bb", "O=a\\+b", true },
		{ "/O=B\xc3\xbcro", "O=B\\C3\\BCro", true },
		{ "/O=B+C3+BCro", "O=B\xc3\xbcro", true },
		{ "/1.2.840.113549.1.9.1=a@b.c", "Email=a@b.c", true },
		{ "OU=a+CN=b,C=DE", "CN=b+OU=a,C=DE", true },
		{ "OU=a+CN=b,C=DE", "CN=b,OU=a,C=DE", false },
		{ "/C=DE/O=x", "/O=x/C=DE", false },
		{ "/CN=x", "/CN=y", false },
		{ "/CN=x", "/O=x", false },
		{ "/CN=x", "/CN=x/CN=x", false },
		{ "O=x\\20,C=DE", "O=x,C=DE", true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		X509_NAME *one = tls_dn_parse(span_str(pairs[i].one), NULL), *other = tls_dn_parse(span_str(pairs[i].other), NULL);

		if (one == NULL || other == NULL || (X509_NAME_cmp(one, other) == 0) != pairs[i].same)
			fail_msg("%s and %s", pairs[i].one, pairs[i].other);
		X509_NAME_free(one);
		X509_NAME_free(other);
	}
}

static void
test_bad_names(void **state)
{
	static const char *const bad[] = { "", "x", "/x", "/", "//", "=x", "/=x", "CN=", "CN=x,", "CN=x\\", "/CN=", "/Foo=x", "CN=\\FF",
		"CN=x,+O=y", "/C=DEU" };

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct fault why = { 0 };
		X509_NAME *name = tls_dn_parse(span_str(bad[i]), &why);

		if (name != NULL || why.text[0] == '\0')
			fail_msg("\"%s\"", bad[i]);
	}
}

static void
test_name_text(void **state)
{
	X509_NAME *name = tls_dn_parse(SPAN("CN=(x) \\\"y\\\",O=B\xc3\xbcro Ltd,C=DE"), NULL), *again;
	struct span text = tls_dn_text(name, a);

	(void)state;
	assert_span(text, "/C=DE/O=B+C3+BCro+20Ltd/CN=+28x+29+20+22y+22");
	again = tls_dn_parse(text, NULL);
	assert_int_equal(X509_NAME_cmp(name, again), 0);
	X509_NAME_free(name);
	X509_NAME_free(again);
}

/* A value that looks like further parts is not printed as if it were some: O=x/CN=y is another name than O=x, CN=y. */
static void
test_name_text_is_of_one_name(void **state)
{
	static const struct {
		const char *name, *text;
	} names[] = {
		{ "CN=y,O=x,C=DE", "/C=DE/O=x/CN=y" },
		{ "O=x/CN\\=y,C=DE", "/C=DE/O=x+2FCN=y" },
		{ "CN=z,O=/CN\\=y/1.2.3\\=y", "/O=+2FCN=y+2F1.2.3=y/CN=z" },
		{ "CN=y,OU=see https://a.example/b/ (c) 2026/,O=a/b", "/O=a/b/OU=see+20https://a.example/b/+20+28c+29+202026//CN=y" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		X509_NAME *name = tls_dn_parse(span_str(names[i].name), NULL), *again;
		struct span text = tls_dn_text(name, a);

		assert_span(text, names[i].text);
		again = tls_dn_parse(text, NULL);
		if (again == NULL || X509_NAME_cmp(name, again) != 0)
			fail_msg("%s is read as another name", names[i].text);
		X509_NAME_free(name);
		X509_NAME_free(again);
	}
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_values),
	KIT_TEST(test_cut_values),
	KIT_TEST(test_asks),
	KIT_TEST(test_written_keys),
	KIT_TEST(test_keys),
	KIT_TEST(test_many_labels),
	KIT_TEST(test_sni_fits),
	KIT_TEST(test_decisions),
	KIT_TEST(test_fingerprints),
	KIT_TEST(test_fragile_fingerprints),
	KIT_TEST(test_who_may_show_a_key),
	KIT_TEST(test_issuer_maps),
	KIT_TEST(test_no_name),
	KIT_TEST(test_names),
	KIT_TEST(test_bad_names),
	KIT_TEST(test_name_text),
	KIT_TEST(test_name_text_is_of_one_name),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, make_world, end_world);
}
