/* Policy delegation: the request to the letter, and replies at every split. */
#include "smtp/policyd.h"

#include <stdio.h>

#include "kit/kit.h"

static void
a_request_in_full(void **state)
{
	struct policyd_request r = { .protocol_state = SPAN("RCPT"), .protocol_name = SPAN("ESMTP"), .client_address = SPAN("192.0.2.1"),
		.client_name = SPAN("c.example"), .client_port = SPAN("4711"), .reverse_client_name = SPAN("r.example"),
		.server_address = SPAN("192.0.2.25"), .server_port = SPAN("25"), .helo_name = SPAN("helo"), .sender = SPAN("s@x"),
		.recipient = SPAN("r@y"), .recipient_count = 0, .queue_id = SPAN("Q1"), .instance = SPAN("1.2.3.4"), .size = 12345,
		.etrn_domain = SPAN("e.example"), .stress = true, .sasl_method = SPAN("PLAIN"), .sasl_username = SPAN("u"),
		.sasl_sender = SPAN("a@b"), .ccert_subject = SPAN("Some One+=\303\244"), .ccert_issuer = SPAN("The CA"),
		.ccert_fingerprint = SPAN("AB:CD"), .ccert_pubkey_fingerprint = SPAN("12:34"), .encryption_protocol = SPAN("TLSv1.3"),
		.encryption_cipher = SPAN("TLS_AES_256_GCM_SHA384"), .encryption_keysize = 256, .tls_sni = SPAN("mx.example"),
		.policy_context = SPAN("ctx"), .compatibility_level = SPAN("3.10"), .mail_version = SPAN("0.1") };
	struct buf out;

	(void)state;
	buf_init(&out, POLICYD_REQUEST_MAX);
	assert_true(policyd_request_write(&r, &out));
	assert_string_equal(buf_cstr(&out), "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
	    "client_address=192.0.2.1\nclient_name=c.example\nclient_port=4711\nreverse_client_name=r.example\n"
	    "server_address=192.0.2.25\nserver_port=25\nhelo_name=helo\nsender=s@x\nrecipient=r@y\nrecipient_count=0\n"
	    "queue_id=Q1\ninstance=1.2.3.4\nsize=12345\netrn_domain=e.example\nstress=yes\nsasl_method=PLAIN\n"
	    "sasl_username=u\nsasl_sender=a@b\nccert_subject=Some+20One+2B+3D+C3+A4\nccert_issuer=The+20CA\n"
	    "ccert_fingerprint=AB:CD\nccert_pubkey_fingerprint=12:34\nencryption_protocol=TLSv1.3\n"
	    "encryption_cipher=TLS_AES_256_GCM_SHA384\nencryption_keysize=256\ntls_sni=mx.example\npolicy_context=ctx\n"
	    "compatibility_level=3.10\nmail_version=0.1\n\n");
	buf_release(&out);
}

/* The thread about per-host TLS: "Empty unless TLS used" holds for the key size, too. */
static void
an_empty_request_names_everything(void **state)
{
	struct policyd_request r = { .protocol_state = SPAN("CONNECT") };
	struct buf out;

	(void)state;
	buf_init(&out, POLICYD_REQUEST_MAX);
	assert_true(policyd_request_write(&r, &out));
	assert_non_null(strstr(buf_cstr(&out), "\nccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n"
	    "encryption_protocol=\nencryption_cipher=\nencryption_keysize=\ntls_sni=\n"));
	assert_non_null(strstr(buf_cstr(&out), "\nrecipient_count=0\nqueue_id=\ninstance=\nsize=0\netrn_domain=\nstress=\n"));
	buf_release(&out);
}

static void
a_value_cannot_become_a_line(void **state)
{
	struct policyd_request r = { .helo_name = SPAN("x\naction=OK\n\nrequest=y\r"), .sender = SPAN("a\0b@c") };
	struct buf out;

	(void)state;
	buf_init(&out, POLICYD_REQUEST_MAX);
	assert_true(policyd_request_write(&r, &out));
	assert_non_null(strstr(buf_cstr(&out), "\nhelo_name=x?action=OK??request=y?\nsender=a?b@c\n"));
	buf_release(&out);
	buf_init(&out, 100);
	assert_false(policyd_request_write(&r, &out));
	buf_release(&out);
}

static const struct {
	const char *name;
	struct span bytes;
	const char *action;     /* NULL = no reply of this protocol */
} replies[] = {
	{ "the plain one", SPAN("action=OK\n\n"), "OK" },
	{ "with text", SPAN("action=DEFER_IF_PERMIT Greylisted, see =\n\n"), "DEFER_IF_PERMIT Greylisted, see =" },
	{ "blanks around", SPAN("action= DUNNO \n\n"), "DUNNO" },
	{ "CRLF", SPAN("action=DUNNO\r\n\r\n"), "DUNNO" },
	{ "nothing said is an action, too (and no access)", SPAN("action=\n\n"), "" },
	{ "UTF-8", SPAN("action=REJECT \303\244\n\n"), "REJECT \303\244" },
	{ "no action", SPAN("\n"), NULL },
	{ "two actions", SPAN("action=OK\naction=OK\n\n"), NULL },
	{ "another attribute behind it", SPAN("action=OK\nx=y\n\n"), NULL },
	{ "another attribute before it", SPAN("x=y\naction=OK\n\n"), NULL },
	{ "in capitals", SPAN("ACTION=OK\n\n"), NULL },
	{ "no attribute at all", SPAN("OK\n\n"), NULL },
	{ "a second reply behind it", SPAN("action=OK\n\naction=OK\n\n"), NULL },
	{ "a NUL", SPAN("action=O\0K\n\n"), NULL },
	{ "an escape", SPAN("action=REJECT \033[1m\n\n"), NULL },
	{ "bad UTF-8", SPAN("action=REJECT \377\n\n"), NULL },
};

/* A byte more each time: MORE until it is decided, and then what the whole says. */
static void
replies_at_every_split(void **state)
{
	struct fault why;
	struct span action;

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		enum policyd_result got = POLICYD_MORE;

		for (size_t n = 0; n <= replies[i].bytes.n; n++) {
			enum policyd_result now = policyd_reply_parse(span_slice(replies[i].bytes, 0, n), true, &action, &why);

			if (got == POLICYD_BAD && now != POLICYD_BAD)
				fail_msg("%s: good again after %zu bytes", replies[i].name, n);
			got = now;
		}
		if ((got == POLICYD_DONE) != (replies[i].action != NULL) ||
		    (got == POLICYD_DONE && !span_eq(action, span_str(replies[i].action))))
			fail_msg("%s: %d \"%.*s\"", replies[i].name, (int)got, SPAN_ARG(action));
	}
}

static void
bad_utf8_is_fine_without_smtputf8(void **state)
{
	struct span action;

	(void)state;
	assert_int_equal(policyd_reply_parse(SPAN("action=REJECT \377\n\n"), false, &action, NULL), POLICYD_DONE);
}

static void
a_reply_without_end(void **state)
{
	static char bytes[POLICYD_REPLY_MAX];
	struct span action;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "action=", 7);
	assert_int_equal(policyd_reply_parse(span_of(bytes, sizeof(bytes) - 1), true, &action, NULL), POLICYD_MORE);
	assert_int_equal(policyd_reply_parse(span_of(bytes, sizeof(bytes)), true, &action, NULL), POLICYD_BAD);
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(a_request_in_full),
	KIT_TEST(an_empty_request_names_everything),
	KIT_TEST(a_value_cannot_become_a_line),
	KIT_TEST(replies_at_every_split),
	KIT_TEST(bad_utf8_is_fine_without_smtputf8),
	KIT_TEST(a_reply_without_end),
};

KIT_MAIN(tests)
