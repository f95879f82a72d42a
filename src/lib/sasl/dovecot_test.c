/* Dovecot's authentication protocol: what a real service said, whole and in every split; and what a bad one may say. */
#include "sasl/dovecot.h"

#include <stdio.h>

#include "kit/kit.h"
#include "sasl/mech.h"

#define HELLO "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\n"       \
	"MECH\tDIGEST-MD5\tdictionary\tactive\tmutual-auth\nMECH\tEXTERNAL\nSPID\t322\nCUID\t1\nCOOKIE\te0fa7e3e4505ecbe\nDONE\n"

/* Everything that comes out of `text`, one line an event, when it arrives in pieces of `step` bytes. */
static void
play(struct dovecot *d, struct span text, size_t step, struct buf *out)
{
	static const char *const names[] = { "READY", "CONT", "OK", "FAIL", "BROKEN" };
	struct dovecot_event ev;

	while (text.n > 0) {
		dovecot_feed(d, span_slice(text, 0, step));
		text = span_from(text, step);
		while (dovecot_next(d, &ev))
			buf_addf(out, "%s %u data=%.*s user=%.*s reason=%.*s%s\n", names[ev.kind], ev.id, SPAN_ARG(ev.data),
			    SPAN_ARG(ev.user), SPAN_ARG(ev.reason), ev.temporary ? " temporary" : "");
	}
}

static void
expect(struct span text, const char *want)
{
	for (size_t step = 1; step <= 9; step++) {
		struct dovecot *d = dovecot_new(7);
		struct buf got;

		buf_init(&got, 1u << 20);
		play(d, text, step == 9 ? DOVECOT_FEED_MAX : step, &got);
		assert_string_equal(buf_cstr(&got), want);
		buf_release(&got);
		dovecot_free(&d);
	}
}

static const struct {
	const char *name, *said, *want;
} rows[] = {
	{ "the handshake of 2.3", HELLO, "READY 0 data= user= reason=\n" },
	{ "a login", HELLO "OK\t1\tuser=joe\n", "READY 0 data= user= reason=\nOK 1 data= user=joe reason=\n" },
	{ "challenges, also an empty one", HELLO "CONT\t3\tVXNlcm5hbWU6\nCONT\t4\t\nCONT\t5\n",
	    "READY 0 data= user= reason=\nCONT 3 data=VXNlcm5hbWU6 user= reason=\nCONT 4 data= user= reason=\nCONT 5 data= user= reason=\n" },
	{ "failures with and without words", HELLO "FAIL\t2\tuser=joe\nFAIL\t6\nFAIL\t9\tcode=invalid_base64\treason=Invalid\001tdata\n",
	    "READY 0 data= user= reason=\nFAIL 2 data= user=joe reason=\nFAIL 6 data= user= reason=\nFAIL 9 data= user= reason=Invalid\tdata\n" },
	{ "failures that pass, in both spellings", HELLO "FAIL\t1\ttemp\nFAIL\t2\tuser=a\tcode=temp_fail\n",
	    "READY 0 data= user= reason=\nFAIL 1 data= user= reason= temporary\nFAIL 2 data= user=a reason= temporary\n" },
	{ "an unknown word is passed over", HELLO "NEWS\tx\n\nOK\t1\tnologin\tuser=j\tproxy\n",
	    "READY 0 data= user= reason=\nOK 1 data= user=j reason=\n" },
	{ "success without a name is no success", HELLO "OK\t1\nOK\t2\tuser=\nOK\t3\tuser=a\001nb\nOK\t4\tuser=\377\n",
	    "READY 0 data= user= reason=\n"
	    "FAIL 1 data= user= reason=the authentication service gave no usable user name temporary\n"
	    "FAIL 2 data= user= reason=the authentication service gave no usable user name temporary\n"
	    "FAIL 3 data= user= reason=the authentication service gave no usable user name temporary\n"
	    "FAIL 4 data= user= reason=the authentication service gave no usable user name temporary\n" },
	{ "no version", "MECH\tPLAIN\nDONE\nOK\t1\tuser=joe\n",
	    "BROKEN 0 data= user= reason=it did not say which version of the protocol it speaks\n" },
	{ "another version", "VERSION\t2\t0\nDONE\n", "BROKEN 0 data= user= reason=it speaks another version of the protocol\n" },
	{ "an answer before the handshake is none", "VERSION\t1\t2\nOK\t1\tuser=joe\n", "" },
	{ "an answer without an id", HELLO "OK\tx\tuser=joe\n",
	    "READY 0 data= user= reason=\nBROKEN 0 data= user= reason=its answer names no exchange\n" },
	{ "a challenge that would end the client's line", HELLO "CONT\t1\ta b\n",
	    "READY 0 data= user= reason=\nBROKEN 0 data= user= reason=its challenge is not base64\n" },
};

static void
test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(span_str(rows[i].said), rows[i].want);
}

static void
test_endless(void **state)
{
	static char blanks[DOVECOT_FEED_MAX];
	struct dovecot *d = dovecot_new(7);
	struct dovecot_event ev = { 0 };
	unsigned n = 0;

	(void)state;
	memset(blanks, 'x', sizeof(blanks));
	for (; n < 10 && !dovecot_next(d, &ev); n++)
		dovecot_feed(d, span_of(blanks, sizeof(blanks)));
	assert_int_equal(ev.kind, DOVECOT_BROKEN);
	assert_true(n < 10);
	dovecot_feed(d, SPAN("x"));
	assert_false(dovecot_next(d, &ev));
	dovecot_free(&d);

	d = dovecot_new(7);
	for (n = 0; n < 2000 && !dovecot_next(d, &ev); n++)
		dovecot_feed(d, SPAN("MECH\tPLAIN\n"));
	assert_string_equal(ev.reason.p, "its handshake does not end");
	dovecot_free(&d);
}

static struct dovecot *
ready(void)
{
	struct dovecot *d = dovecot_new(77);
	struct dovecot_event ev;

	assert_string_equal(buf_cstr(&(struct buf){ .p = (char *)(uintptr_t)dovecot_output(d).p, .n = dovecot_output(d).n,
	    .cap = dovecot_output(d).n + 1, .max = 1000 }), "VERSION\t1\t1\nCPID\t77\n");
	dovecot_output_taken(d, dovecot_output(d).n);
	assert_false(dovecot_ready(d));
	dovecot_feed(d, SPAN(HELLO));
	assert_true(dovecot_next(d, &ev) && ev.kind == DOVECOT_READY && dovecot_ready(d));
	return d;
}

static void
said(struct dovecot *d, const char *want)
{
	struct span out = dovecot_output(d);

	assert_true(span_eq(out, span_str(want)));
	dovecot_output_taken(d, out.n);
	assert_int_equal(dovecot_output(d).n, 0);
}

static void
test_requests(void **state)
{
	struct dovecot *d = ready();
	struct dovecot_request r = { .mech = SPAN("PLAIN"), .service = SPAN("smtp"), .local_addr = SPAN("192.0.2.1"),
		.remote_addr = SPAN("2001:db8::1"), .local_port = SPAN("587"), .remote_port = SPAN("4000"), .secured = true,
		.has_initial = true, .initial = SPAN("AGpvZQBzZWNyZXQ=") };
	uint32_t a, b;

	(void)state;
	assert_true(dovecot_start(d, &r, &a));
	said(d, "AUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=192.0.2.1\trip=2001:db8::1\tlport=587\trport=4000\tsecured\t"
	    "resp=AGpvZQBzZWNyZXQ=\n");
	r = (struct dovecot_request){ .mech = SPAN("EXTERNAL"), .service = SPAN("smtp"), .secured = true, .valid_client_cert = true,
		.cert_username = SPAN("a\tb\nresp=c\001"), .has_initial = true };
	assert_true(dovecot_start(d, &r, &b));
	assert_true(a != b);
	said(d, "AUTH\t2\tEXTERNAL\tservice=smtp\tnologin\tsecured\tvalid-client-cert\tcert_username=a\001tb\001nresp=c\0011\tresp==\n");
	r = (struct dovecot_request){ .mech = SPAN("LOGIN"), .service = SPAN("smtp"), .cert_username = SPAN("nobody's") };
	assert_true(dovecot_start(d, &r, &a));
	said(d, "AUTH\t3\tLOGIN\tservice=smtp\tnologin\n");
	assert_true(dovecot_continue(d, a, SPAN("am9l")));
	assert_true(dovecot_continue(d, a, SPAN("")));
	dovecot_cancel(d, a);
	said(d, "CONT\t3\tam9l\nCONT\t3\t\nCANCEL\t3\n");
	dovecot_free(&d);
}

/* The password must not stay behind what was sent, and a line too long must not reach the service. */
static void
test_secrets(void **state)
{
	static char big[17000];
	struct dovecot *d = ready();
	struct dovecot_request r = { .mech = SPAN("PLAIN"), .has_initial = true };
	const char *memory = dovecot_output(d).p;
	uint32_t id;

	(void)state;
	memset(big, 'A', sizeof(big));
	r.initial = span_of(big, 8000);
	assert_true(dovecot_start(d, &r, &id));
	memory = dovecot_output(d).p;
	dovecot_output_taken(d, 4000);
	assert_true(dovecot_output(d).n > 4000);
	dovecot_output_taken(d, dovecot_output(d).n);
	for (size_t i = 0; i < 8000; i++)
		assert_int_equal(memory[i], 0);
	for (unsigned i = 0; i < 200 && !dovecot_full(d); i++)
		assert_true(dovecot_start(d, &r, &id));
	assert_true(dovecot_full(d));
	memory = dovecot_output(d).p;
	dovecot_output_taken(d, dovecot_output(d).n);
	r.initial = span_of(big, 17000);
	assert_false(dovecot_start(d, &r, &id));
	assert_false(dovecot_continue(d, id, span_of(big, 17000)));
	assert_int_equal(dovecot_output(d).n, 0);
	for (size_t i = 0; i < 8000; i++)
		assert_int_equal(memory[i], 0);
	dovecot_free(&d);
}

static void
test_mechs(void **state)
{
	struct dovecot *d = ready();
	const struct dovecot_mech *all;
	struct sasl_options o = sasl_options_parse(SPAN("noanonymous, noplaintext"));

	(void)state;
	assert_int_equal(dovecot_mechs(d, &all), 5);
	assert_string_equal(all[2].name, "CRAM-MD5");
	assert_int_equal(dovecot_mech(d, SPAN("digest-md5"))->properties, SASL_DICTIONARY | SASL_ACTIVE | SASL_MUTUAL_AUTH);
	assert_null(dovecot_mech(d, SPAN("ANONYMOUS")));
	assert_false(sasl_mech_fits(SASL_PLAINTEXT, o));
	assert_false(sasl_mech_fits(SASL_ANONYMOUS, o));
	assert_true(sasl_mech_fits(SASL_DICTIONARY | SASL_ACTIVE, o));
	assert_true(sasl_mech_fits(0, o));
	assert_false(sasl_mech_fits(SASL_PRIVATE, (struct sasl_options){ 0 }));
	assert_false(sasl_mech_fits(SASL_CHANNEL_BINDING, (struct sasl_options){ 0 }));
	o = sasl_options_parse(SPAN("mutual_auth nodictionary"));
	assert_false(sasl_mech_fits(0, o));
	assert_false(sasl_mech_fits(SASL_MUTUAL_AUTH | SASL_DICTIONARY, o));
	assert_true(sasl_mech_fits(SASL_MUTUAL_AUTH, o));
	dovecot_free(&d);
}

static void
test_words(void **state)
{
	static const char *const good[] = { "", "AAAA", "AA==", "AAA=", "ab+/", "VXNlcm5hbWU6" },
		*const bad[] = { "A", "AA", "AAA", "=", "====", "A===", "AA=A", "AA\tA", "AAA\n", "*", "AAAAA===" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(sasl_base64_valid(span_str(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(sasl_base64_valid(span_str(bad[i])));
	assert_true(sasl_mech_name_valid(SPAN("SCRAM-SHA-256-PLUS")));
	assert_true(sasl_mech_name_valid(SPAN("plain")));
	assert_false(sasl_mech_name_valid(SPAN("")));
	assert_false(sasl_mech_name_valid(SPAN("PLAIN\tX")));
	assert_false(sasl_mech_name_valid(SPAN("A23456789012345678901")));
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_answers),
	KIT_TEST(test_endless),
	KIT_TEST(test_requests),
	KIT_TEST(test_secrets),
	KIT_TEST(test_mechs),
	KIT_TEST(test_words),
};
KIT_MAIN(tests)
