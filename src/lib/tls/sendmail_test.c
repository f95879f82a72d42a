/* Sendmail's access database: values, row by row; what is written; that nothing written demands less. */
#include "tls/sendmail.h"

#include <stdio.h>

#include "kit/kit.h"
#include "tls/client_policy.h"
#include "tls/policy.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static void
test_values(void **state)
{
	static const struct {
		const char *value, *want;       /* "action verify bits cn_host cn cs ci citag"; NULL = ignored */
	} rows[] = {
		{ "VERIFY", "0 1 0 0 - - - -" },
		{ "verify:128", "0 1 128 0 - - - -" },
		{ "ENCR:112", "0 0 112 0 - - - -" },
		{ "PERM+VERIFY", "2 1 0 0 - - - -" },
		{ "TEMP+ENCR:256", "1 0 256 0 - - - -" },
		{ "VERIFY+CN", "0 1 0 1 - - - -" },
		{ "VERIFY:112+CN:mx.example++CI:/C=DE/O=a+20b/CN=c", "0 1 112 0 mx.example - /C=DE/O=a+20b/CN=c -" },
		{ "VERIFY+CS:/CN=a+2Bb++CITag:T", "0 1 0 0 - /CN=a+2Bb - T" },
		{ "PERM+", NULL },
		{ "OK", NULL },
		{ "", NULL },
		{ "ENCR", NULL },
		{ "ENCR:", NULL },
		{ "ENCR:x", NULL },
		{ "ENCR:99999", NULL },
		{ "VERIFYX", NULL },
		{ "VERIFY+", NULL },
		{ "VERIFY+XX", NULL },
		{ "VERIFY+CN:", NULL },
		{ "VERIFY+CN:a++CN:b", NULL },
		{ "VERIFY+CN++", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sendmail_demand d;
		bool ok = sendmail_demand_parse(span_str(rows[i].value), &d);
		char got[200];

		snprintf(got, sizeof(got), "%u %d %u %d %.*s %.*s %.*s %.*s", (unsigned)d.action, d.verify, d.bits, d.cn_host,
		    SPAN_ARG(d.cn.n > 0 ? d.cn : SPAN("-")), SPAN_ARG(d.cs.n > 0 ? d.cs : SPAN("-")), SPAN_ARG(d.ci.n > 0 ? d.ci : SPAN("-")),
		    SPAN_ARG(d.citag.n > 0 ? d.citag : SPAN("-")));
		if (ok != (rows[i].want != NULL) || (ok && strcmp(got, rows[i].want) != 0))
			fail_msg("%s: %d %s", rows[i].value, ok, got);
	}
}

/* Every line that is written can be read, and what is demanded of clear text is demanded here. */
static void
check_lines(struct span text, bool clients)
{
	struct arena *a = arena_new(4 << 20);
	struct span line, key;

	while (span_token(&text, "\n", &line)) {
		struct tls_client_policy c;
		struct tls_policy s;
		struct fault why = { 0 };

		assert_true(span_token(&line, " ", &key));
		if (clients ? !tls_client_policy_parse(line, "sha256", a, &c, &why) : !tls_policy_parse(line, a, &s, &why))
			fail_msg("%.*s %.*s: %s", SPAN_ARG(key), SPAN_ARG(line), why.text);
	}
	arena_free(&a);
}

static const struct {
	const char *name, *access, *clients, *servers, *others, *notes;
	unsigned left;
} tables[] = {
	{ "demands on clients", "TLS_Clt:partner.example  VERIFY:128+CN:mx.partner.example\nTLS_Clt:192.0.2\tPERM+ENCR:112\nTLS_Clt:\tENCR:56\n",
	    "partner.example verify bits=128 match=mx.partner.example\n.partner.example verify bits=128 match=mx.partner.example\n"
	    "192.0.2 encrypt bits=112 action=503\n* encrypt bits=56\n", "", "", "a:1: TLS_Clt:partner.example: the strength of a SASL layer", 0 },
	{ "names in certificates", "TLS_Clt:a.example TEMP+VERIFY+CN++CS:/C=DE/O=a+20b/CN=c++CI:/CN=CA\n",
	    "a.example verify action=403 match=hostname { subject = /C=DE/O=a+20b/CN=c } { issuer = /CN=CA }\n"
	    ".a.example verify action=403 match=hostname { subject = /C=DE/O=a+20b/CN=c } { issuer = /CN=CA }\n", "", "", "", 0 },
	{ "names that would end a brace", "TLS_Clt:192.0.2.1 VERIFY+CS:/CN=a } bits=1 {b, c\n", "192.0.2.1 verify { subject = /CN=a+20+7D+20bits=1+20+7Bb+2C+20c }\n",
	    "", "", "", 0 },
	{ "a table of issuers", "TLS_Clt:192.0.2.1 VERIFY+CITag:MyCA\nMyCA:/O=a+20b/CN=CA OK\nMyCA:/CN=other REJECT\nMyCA:x OK\n",
	    "192.0.2.1 verify issuer_maps=texthash:/d/issuers_myca\n", "", "myca: /O=a+20b/CN=CA OK\n", "a:3: MyCA:/CN=other: only OK", 2 },
	{ "a name that nobody vouches for", "TLS_Clt:192.0.2.1 ENCR:1+CN:x.example\n", "192.0.2.1 verify bits=1 match=x.example\n", "", "",
	    "a:1: TLS_Clt:192.0.2.1: converted to verify", 0 },
	{ "features", "Srv_Features:old.example S\nSrv_Features:192.0.2.9 V\nSrv_Features:v.example v\nSrv_Features:x.example A D\nSrv_Features:y s\n",
	    "old.example none\n.old.example none\n192.0.2.9 may ask_ccert=no\nv.example may ask_ccert=yes\n.v.example may ask_ccert=yes\n", "", "",
	    "a:4: Srv_Features:x.example: nothing in it is about TLS", 2 },
	{ "both about one client are one entry", "TLS_Clt:example ENCR:100\nSrv_Features:a.example V\nTLS_Clt:b.example ENCR:90\nSrv_Features:b.example V\n",
	    "example encrypt bits=100\n.example encrypt bits=100\nb.example encrypt bits=90 ask_ccert=no\n.b.example encrypt bits=90 ask_ccert=no\n"
	    "a.example encrypt bits=100 ask_ccert=no\n.a.example encrypt bits=100 ask_ccert=no\n", "", "", "", 0 },
	{ "a demand survives the switch", "TLS_Clt:a.example VERIFY\nSrv_Features:a.example S V\n", "a.example verify\n.a.example verify\n", "", "",
	    "the demand is kept", 0 },
	{ "addresses", "TLS_Clt:IPv6:2001:DB8:0:0:0:0:0:1 ENCR:1\nTLS_Clt:IPv6:2001:db8 ENCR:1\nSrv_Features:b.example V\n",
	    "2001:db8::1 encrypt bits=1\n2001:db8 encrypt bits=1\nb.example may ask_ccert=no\n.b.example may ask_ccert=no\n", "", "", "use a cidr: table", 0 },
	{ "zeros in a part of an IPv6 address", "TLS_Clt:IPv6:2001:0db8:00a0 ENCR:1\n", "2001:db8:a0 encrypt bits=1\n", "", "", "use a cidr: table", 0 },
	{ "a network with a dot behind it", "TLS_Clt:10.1.2. VERIFY\nTLS_Clt:10.1.3 VERIFY\nTLS_Clt:300.1 VERIFY\n", "10.1.3 verify\n", "", "",
	    "a:1: TLS_Clt:10.1.2.: no client is ever found by this key: no address or network begins like this", 2 },
	{ "demands on servers", "TLS_Srv:mx.example VERIFY\nTLS_Srv:192.0.2.5 ENCR:128\nTLS_Rcpt:dest.example VERIFY:112+CN:mail.dest.example\n",
	    "", "mx.example verify\n.mx.example verify\n[192.0.2.5] encrypt exclude=3DES\ndest.example verify match=mail.dest.example\n"
	    ".dest.example verify match=mail.dest.example\n", "", "domains whose MX it is need an entry each", 0 },
	{ "an entry beats DANE", "TLS_Srv:mx.example ENCR:1\n", "", "mx.example encrypt\n.mx.example encrypt\n", "", "where that is dane, TLSA records", 0 },
	{ "servers without TLS", "Try_TLS:broken.example NO\nTry_TLS:x.example YES\nTLS_Srv:y.example ENCR:1\nTry_TLS:y.example NO\n",
	    "", "y.example encrypt\n.y.example encrypt\nbroken.example none\n.broken.example none\n", "", "TLS_Srv (line 3) demands what this switches off", 2 },
	{ "no equivalent", "TLS_Srv: ENCR:128\nTLS_Rcpt:joe@x.example VERIFY\nTLS_Rcpt:joe@ VERIFY\nTLS_Srv:192.0.2 VERIFY\nTLS_Srv:x.example ENCR:256\n"
	    "TLS_Srv:y.example VERIFY+CI:/CN=CA\nTLS_Clt:z.example VERIFY+CN:John+20Doe\nTLS_Clt_Features:x Options=a\nFrom:x@y REJECT\n"
	    "TLS_Clt:r.example VERIFY+CS:nonsense\nCERTISSUER:x RELAY\n", "", "", "", "a:9: From:x@y: not about TLS", 11 },
	{ "who may relay", "CERTISSUER:/C=DE/CN=Our+20CA RELAY\nCERTISSUER:/CN=Other SUBJECT\nCERTSUBJECT:/CN=joe RELAY\nCERTSUBJECT:/CN=ann OK\n", "", "",
	    "/C=DE/CN=Our+20CA OK\n/CN=Other check_ccert_access { texthash:/d/cert_subjects { search_order = subject_dn } }\n|/CN=joe OK\n",
	    "a:4: CERTSUBJECT:/CN=ann: not RELAY", 1 },
	{ "what comes twice", "TLS_Clt:a.example ENCR:2\ntls_clt:A.example ENCR:1\nTLS_Srv:b.example ENCR:1\nTLS_Rcpt:b.example VERIFY\n",
	    "a.example encrypt bits=2\n.a.example encrypt bits=2\n", "b.example encrypt\n.b.example encrypt\n", "", "given before", 2 },
	{ "values that Sendmail does not understand", "TLS_Clt:example ENCR:1\nTLS_Clt:a.example OK\nTLS_Clt:b.example VERFIY\nSrv_Features:b.example V\nTLS_Srv:c NO\n",
	    "example encrypt bits=1\n.example encrypt bits=1\na.example may\n.a.example may\nb.example may ask_ccert=no\n.b.example may ask_ccert=no\n", "", "",
	    "a:3: TLS_Clt:b.example: Sendmail accepts the client whatever", 1 },
	{ "comments and blanks", "# TLS_Clt:x ENCR:1\n\n   \n", "", "", "", "", 0 },
};

static void
test_tables(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(tables); i++) {
		struct sendmail_tables t;
		struct fault why = { 0 };
		struct buf others;

		buf_init(&others, 10000);
		assert_true(sendmail_convert(span_str(tables[i].access), "a", "/d", &t, &why));
		for (size_t k = 0; k < t.n_tags; k++)
			buf_addf(&others, "%.*s: %s", SPAN_ARG(t.tags[k].name), buf_cstr(&t.tags[k].text));
		buf_add_span(&others, buf_span(&t.issuers));
		if (t.subjects.n > 0)
			buf_addf(&others, "|%s", buf_cstr(&t.subjects));
		if (strcmp(buf_cstr(&t.clients), tables[i].clients) != 0 || strcmp(buf_cstr(&t.servers), tables[i].servers) != 0 ||
		    strcmp(buf_cstr(&others), tables[i].others) != 0 || strstr(buf_cstr(&t.notes), tables[i].notes) == NULL ||
		    t.left != tables[i].left)
			fail_msg("%s:\n%s--\n%s--\n%s--\n%s-- %u left", tables[i].name, buf_cstr(&t.clients), buf_cstr(&t.servers), buf_cstr(&others),
			    buf_cstr(&t.notes), t.left);
		check_lines(buf_span(&t.clients), true);
		check_lines(buf_span(&t.servers), false);
		buf_release(&others);
		sendmail_release(&t);
	}
}

static void
test_limits(void **state)
{
	struct buf text;
	struct sendmail_tables t;
	struct fault why = { 0 };

	(void)state;
	buf_init(&text, 1 << 20);
	for (unsigned i = 0; i <= SENDMAIL_LINE_MAX; i++)
		buf_addc(&text, 'x');
	assert_false(sendmail_convert(buf_span(&text), "a", "/d", &t, &why));
	assert_non_null(strstr(why.text, "line 1 is longer"));
	sendmail_release(&t);
	buf_clear(&text);
	for (unsigned i = 0; i <= SENDMAIL_ROWS_MAX; i++)
		buf_addc(&text, '\n');
	assert_false(sendmail_convert(buf_span(&text), "a", "/d", &t, &why));
	sendmail_release(&t);
	buf_release(&text);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_values),
	KIT_TEST(test_tables),
	KIT_TEST(test_limits),
};
KIT_MAIN(tests)
