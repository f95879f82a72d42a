/* The configuration as a whole: values, overrides, sharing, complaints, canonical text. */
#include "conf/conf.h"

#include <stdio.h>

#include "base/arena.h"
#include "conf/params.h"
#include "conf/show.h"
#include "kit/kit.h"

static struct conf_report report;

static struct conf *
parse(const char *main_cf, const char *master_cf)
{
	struct conf *c = NULL;

	conf_report_init(&report);
	conf_parse(span_str(main_cf), span_str(master_cf), &c, &report);
	assert_non_null(c);
	return c;
}

static void
done(struct conf **c)
{
	conf_unref(c);
	conf_report_release(&report);
}

/* All findings, as `signet check` shows them. */
static const char *
findings(void)
{
	static char text[65536];
	struct buf b;

	buf_init(&b, sizeof(text) - 1);
	conf_report_print(&report, CONF_NOTE, &b);
	snprintf(text, sizeof(text), "%s", buf_cstr(&b));
	buf_release(&b);
	return text;
}

static void
an_empty_configuration_has_every_default(void **state)
{
	struct conf *c = parse("", "");
	const struct params *p = c->params;

	(void)state;
	assert_string_equal(findings(), "");
	assert_string_equal(p->myhostname, "mail.example.com");
	assert_string_equal(p->mydomain, "example.com");
	assert_string_equal(p->mydestination, "mail.example.com, localhost.example.com, localhost");
	assert_string_equal(p->mynetworks, "127.0.0.0/8 192.0.2.0/24 [::1]/128 [2001:db8::]/64");
	assert_string_equal(p->smtpd_banner, "mail.example.com ESMTP Signet");
	assert_string_equal(p->append_dot_mydomain ? "yes" : "no", "yes");
	assert_string_equal(p->smtp_tls_fingerprint_digest, "md5");
	assert_true(p->tls_match_subject_cn);
	assert_int_equal(p->smtpd_timeout_ms, 300000);
	assert_int_equal(p->maximal_queue_lifetime_ms, 432000000);
	assert_int_equal(p->message_size_limit, 10240000);
	assert_int_equal(p->smtp_mx_session_limit, 2);
	assert_string_equal(p->p_2bounce_notice_recipient, "postmaster");
	assert_string_equal(p->default_rbl_reply,
	    "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}");
	assert_string_equal(p->config_directory, "/etc/signet");
	done(&c);
}

static const struct expansion_case {
	const char *name, *text, *want;
} expansion_cases[] = {
	{ "a plain reference", "$mydomain", "example.com" },
	{ "braces", "x${mydomain}y", "xexample.comy" },
	{ "parentheses", "$(mydomain)", "example.com" },
	{ "a doubled dollar sign", "a$$b $$mydomain", "a$b $mydomain" },
	{ "an empty name with ?", "${relayhost?x}y", "y" },
	{ "a name with ?", "${mydomain?x}y", "xy" },
	{ "a name with ?{}", "${mydomain?{ x }}y", " x y" },
	{ "an empty name with :", "${relayhost:none}", "none" },
	{ "a name with :", "${mydomain:none}", "" },
	{ "both, first", "${mydomain?{a}:{b}}", "a" },
	{ "both, second", "${relayhost?{a}:{b}}", "b" },
	{ "second without braces", "${relayhost?{a}:b c}", "b c" },
	{ "blanks around braces", "${mydomain ? {a} : {b}}", "a" },
	{ "text is expanded too", "${mydomain?<$mydomain>}", "<example.com>" },
	{ "nested choice", "${relayhost?{a}:{${mydomain?{c}:{d}}}}", "c" },
	{ "equality", "${{$mydomain} == {example.com} ? {t} : {f}}", "t" },
	{ "inequality", "${{$mydomain} != {example.com} ? {t} : {f}}", "f" },
	{ "numbers are compared as numbers", "${{9} < {10} ? {t} : {f}}", "t" },
	{ "text is compared as text", "${{9a} < {10} ? {t} : {f}}", "f" },
	{ "<=", "${{10} <= {10} ? {t} : {f}}", "t" },
	{ ">", "${{10} > {9} ? {t} : {f}}", "t" },
	{ ">=", "${{10} >= {11} ? {t} : {f}}", "f" },
	{ "levels", "${{3.10} >=level {3.9} ? {t} : {f}}", "t" },
	{ "levels of different length", "${{3} <level {3.0.1} ? {t} : {f}}", "t" },
	{ "a comparison alone", "${{a} == {a}}", "bool:true" },
	{ "a false comparison alone", "${{a} == {b}}", "" },
	{ "only an else", "${{a} == {b} : {f}}", "f" },
	{ "nested comparison", "${{${mydomain?{1}}} == {1} ? {${{a} == {b} ? {x} : {y}}} : {z}}", "y" },
	{ "braces inside braces", "${mydomain?x{y}z}", "x{y}z" },
};

static void
references_are_expanded(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(expansion_cases) / sizeof(expansion_cases[0]); i++) {
		const struct expansion_case *t = &expansion_cases[i];
		char text[512];
		struct conf *c;

		snprintf(text, sizeof(text), "smtpd_helo_restrictions = $mine\nmine = |%s|", t->text);
		c = parse(text, "");
		snprintf(text, sizeof(text), "|%s|", t->want);
		if (strcmp(conf_get(c->none, "mine"), text) != 0)
			fail_msg("%s: got %s, want %s", t->name, conf_get(c->none, "mine"), text);
		done(&c);
	}
}

static void
lines_continue_and_comments_are_skipped(void **state)
{
	struct conf *c = parse("# first\n\nmydestination = a.example,\r\n  b.example\n# between\n\n   # indented\n\tc.example\n"
	                       "relayhost=[h.example]\n", "");

	(void)state;
	assert_string_equal(findings(), "");
	assert_string_equal(c->params->mydestination, "a.example,  b.example\tc.example");
	assert_string_equal(c->params->relayhost, "[h.example]");
	done(&c);
}

static const struct complaint_case {
	const char *name, *main_cf, *master_cf, *want;
} complaint_cases[] = {
	{ "no equal sign", "relayhost\n", "", "main.cf:1: error: \"=\" is missing: \"relayhost\"" },
	{ "a first line with blanks", " relayhost = x\n", "", "main.cf:1: error: the first line" },
	{ "a name with a blank", "relay host = x\n", "", "main.cf:1: error: this is no name: \"relay host\"" },
	{ "a number", "\nsmtpd_recipient_limit = many\n", "",
	    "main.cf:2: error: smtpd_recipient_limit = many: the value must be a whole number" },
	{ "a range", "smtpd_recipient_limit = 0\n", "",
	    "main.cf:1: error: smtpd_recipient_limit = 0: the value must be at least 1" },
	{ "a bool", "soft_bounce = maybe\n", "", "main.cf:1: error: soft_bounce = maybe: the value must be yes or no" },
	{ "a time", "queue_run_delay = 5x\n", "", "main.cf:1: error: queue_run_delay = 5x: the value must be a time" },
	{ "a word", "smtpd_tls_security_level = must\n", "",
	    "main.cf:1: error: smtpd_tls_security_level = must: \"must\" is not one of: (empty), none, may, encrypt" },
	{ "a list word", "inet_protocols = ipv4, ipv5\n", "",
	    "main.cf:1: error: inet_protocols = ipv4, ipv5: \"ipv5\" is not one of: all, ipv4, ipv6" },
	{ "a value that comes from another one", "a = 5x\nqueue_run_delay = $a\n", "",
	    "main.cf:2: error: queue_run_delay = 5x" },
	{ "a value that comes through a default", "default_destination_recipient_limit = x\n", "",
	    "main.cf:1: error: default_destination_recipient_limit = x" },
	{ "a bracket that is not closed", "relayhost = ${a\n", "", "main.cf:1: error: relayhost: the bracket is never closed" },
	{ "a dollar sign alone", "relayhost = a$\n", "", "main.cf:1: error: relayhost: a name is missing behind $" },
	{ "a loop", "relayhost = $a\na = $b\nb = $a\n", "", "refers to itself" },
	{ "a loop of one", "relayhost = $relayhost\n", "", "main.cf:1: error: relayhost: its value refers to itself" },
	{ "undefined", "relayhost = x$nothing\n", "", "main.cf:1: warning: relayhost: $nothing is not defined" },
	{ "twice", "relayhost = a\nrelayhost = b\n", "", "main.cf:2: warning: relayhost is already set in line 1" },
	{ "a level", "compatibility_level = 3.x\n", "", "main.cf:1: error: compatibility_level = 3.x: this is no compatibility level" },
	{ "an override that is wrong", "", "smtp inet n - n - - smtpd\n  -o smtpd_timeout=soon\n",
	    "master.cf:1: error: smtpd_timeout = soon: the value must be a time" },
	{ "few columns", "", "\nsmtp inet n - n -\n", "master.cf:2: error: columns are missing" },
	{ "a type", "", "smtp tcp n - n - - smtpd\n", "master.cf:1: error: this is no type of service: \"tcp\"" },
	{ "a flag", "", "smtp inet no - n - - smtpd\n", "master.cf:1: error: this is no flag: \"no\"" },
	{ "a wakeup", "", "smtp inet n - n x - smtpd\n", "master.cf:1: error: this is no wakeup time: \"x\"" },
	{ "an option", "", "smtp inet n - n - - smtpd -x\n", "master.cf:1: error: this option means nothing here: \"-x\"" },
	{ "an override without =", "", "smtp inet n - n - - smtpd -o foo\n", "master.cf:1: error: this is no override: \"foo\"" },
	{ "the same service twice", "", "smtp inet n - n - - smtpd\nsmtp inet n - n - - smtpd\n",
	    "master.cf:2: warning: service smtp is already defined in line 1" },
};

static void
what_is_wrong_is_said_with_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(complaint_cases) / sizeof(complaint_cases[0]); i++) {
		const struct complaint_case *t = &complaint_cases[i];
		struct conf *c = parse(t->main_cf, t->master_cf);

		if (strstr(findings(), t->want) == NULL)
			fail_msg("%s: got %s, want %s", t->name, findings(), t->want);
		done(&c);
	}
}

static const char master_sample[] =
    "# service type private unpriv chroot wakeup maxproc command\n"
    "smtp      inet  n       -       n       -       -       smtpd\n"
    "127.0.0.1:2525 inet n   -       n       -       7       smtpd -v -v\n"
    "  -o syslog_name=inner\n"
    "# a comment\n"
    "  -o { smtpd_client_restrictions = permit_mynetworks, reject }\n"
    "  -o mydomain=inner.example\n"
    "qmgr      unix  n       -       n       300?    1       qmgr\n"
    "smtp      unix  -       -       n       -       -       smtp\n"
    "relay     unix  -       -       n       -       -       /usr/lib/postfix/sbin/smtp -o smtp_helo_timeout=5\n"
    "store     unix  -       -       n       -       -       lmtp -o lmtp_lhlo_timeout=7s -o lmtp_connect_timeout=2\n"
    "lmtp      unix  -       -       n       -       -       lmtp\n"
    "maildrop  unix  -       n       n       -       -       pipe flags=DRXhu user=vmail argv=/usr/bin/maildrop -o x\n";

static void
services_have_their_own_values(void **state)
{
	struct conf *c = parse("compatibility_level = 3.10\n", master_sample);
	const struct conf_service *s;

	(void)state;
	assert_string_equal(findings(), "");
	assert_int_equal(c->service_count, 8);
	s = conf_find_service(c, "smtp", true);
	assert_string_equal(s->command, "smtpd");
	assert_string_equal(s->log_tag, "signet/smtpd");
	assert_int_equal(s->maxproc, 100);
	assert_ptr_equal(s->params, c->params);
	assert_int_equal(s->stress->smtpd_timeout_ms, 10000);
	assert_int_equal(s->stress->smtpd_hard_error_limit, 1);
	s = conf_find_service(c, "127.0.0.1:2525", true);
	assert_int_equal(s->maxproc, 7);
	assert_int_equal(s->verbose, 2);
	assert_string_equal(s->log_tag, "inner/smtpd");
	assert_string_equal(s->params->smtpd_client_restrictions, "permit_mynetworks, reject");
	assert_string_equal(s->params->mydestination, "mail.example.com, localhost.inner.example, localhost");
	assert_string_equal(conf_get(s, "mydomain"), "inner.example");
	s = conf_find_service(c, "smtp", false);
	assert_ptr_equal(s->params, c->params);
	s = conf_find_service(c, "relay", false);
	assert_string_equal(s->command, "smtp");
	assert_int_equal(s->params->smtp_helo_timeout_ms, 5000);
	s = conf_find_service(c, "qmgr", false);
	assert_true(s->wakeup_if_used);
	assert_int_equal(s->wakeup_s, 300);
	s = conf_find_service(c, "maildrop", false);
	assert_string_equal(s->args, "flags=DRXhu user=vmail argv=/usr/bin/maildrop -o x");
	assert_false(s->unpriv);
	assert_null(conf_find_service(c, "nothing", false));
	s = conf_next_command(c, "smtpd", NULL);
	assert_string_equal(s->name, "smtp");
	s = conf_next_command(c, "smtpd", s);
	assert_string_equal(s->name, "127.0.0.1:2525");
	assert_null(conf_next_command(c, "smtpd", s));
	done(&c);
}

static void
lmtp_services_read_lmtp_names(void **state)
{
	struct conf *c = parse("smtp_tls_security_level = encrypt\nlmtp_tls_security_level = may\n", master_sample);
	const struct conf_service *s = conf_find_service(c, "store", false);

	(void)state;
	assert_int_equal(s->params->smtp_helo_timeout_ms, 7000);
	assert_int_equal(s->params->smtp_connect_timeout_ms, 2000);
	assert_string_equal(s->params->smtp_tls_security_level, "may");
	assert_string_equal(s->params->smtp_tls_secure_cert_match, "nexthop");
	assert_string_equal(s->params->smtp_tcp_port, "24");
	assert_false(s->params->smtp_skip_quit_response);
	s = conf_find_service(c, "lmtp", false);
	assert_int_equal(s->params->smtp_connect_timeout_ms, 0);
	assert_string_equal(c->params->smtp_tls_security_level, "encrypt");
	assert_string_equal(c->params->smtp_tls_secure_cert_match, "nexthop, dot-nexthop");
	done(&c);
}

static void
transport_values_are_reached_by_name(void **state)
{
	struct conf *c = parse("default_destination_recipient_limit = 17\nmaildrop_destination_recipient_limit = 1\n"
	                       "default_destination_rate_delay = 2m\nmaildrop_time_limit = 5m\nmine = x\n", master_sample);
	int64_t ms;
	int n;

	(void)state;
	assert_true(conf_get_int(c->none, "maildrop_destination_recipient_limit", &n));
	assert_int_equal(n, 1);
	assert_true(conf_get_int(c->none, "relay_destination_recipient_limit", &n));
	assert_int_equal(n, 17);
	assert_true(conf_get_int(c->none, "store_destination_recipient_limit", &n));
	assert_int_equal(n, 17);
	assert_true(conf_get_ms(c->none, "store_destination_rate_delay", &ms));
	assert_int_equal(ms, 120000);
	assert_true(conf_get_ms(c->none, "maildrop_time_limit", &ms));
	assert_int_equal(ms, 300000);
	assert_string_equal(conf_get(c->none, "mine"), "x");
	assert_null(conf_get(c->none, "yours"));
	assert_false(conf_get_int(c->none, "mine", &n));
	done(&c);
}

static void
service_name_can_be_used_in_values(void **state)
{
	struct conf *c = parse("syslog_name = box\n",
	    "relay unix - - n - - smtp\n -o syslog_name=${multi_instance_name?{$multi_instance_name}:{postfix}}/$service_name\n"
	    "other unix - - n - - smtp\n");

	(void)state;
	assert_string_equal(conf_find_service(c, "relay", false)->log_tag, "postfix/relay/smtp");
	assert_string_equal(conf_find_service(c, "other", false)->log_tag, "box/smtp");
	done(&c);
}

static void
networks_follow_their_style(void **state)
{
	static const struct { const char *conf, *want; } rows[] = {
		{ "mynetworks_style = host", "127.0.0.1/32 192.0.2.1/32 [::1]/128 [2001:db8::1]/128" },
		{ "mynetworks_style = class", "127.0.0.0/8 192.0.2.0/24 [::1]/128 [2001:db8::1]/128" },
		{ "compatibility_level = 3.10", "127.0.0.1/32 192.0.2.1/32 [::1]/128 [2001:db8::1]/128" },
		{ "inet_protocols = ipv4", "127.0.0.0/8 192.0.2.0/24" },
		{ "inet_interfaces = loopback-only", "127.0.0.0/8 [::1]/128" },
		{ "inet_interfaces = [2001:db8::1]", "[2001:db8::]/64" },
		{ "inet_interfaces = 192.0.2.1, localhost", "127.0.0.0/8 192.0.2.0/24 [::1]/128" },
		{ "mynetworks = 10.0.0.0/8", "10.0.0.0/8" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf *c = parse(rows[i].conf, "");

		assert_string_equal(c->params->mynetworks, rows[i].want);
		done(&c);
	}
}

static void
assert_same(const struct conf *a, const struct conf *b)
{
	assert_int_equal(a->service_count, b->service_count);
	assert_string_equal(a->dir, b->dir);
	assert_string_equal(a->params->mydestination, b->params->mydestination);
	for (size_t i = 0; i < a->service_count; i++) {
		const struct conf_service *x = &a->services[i], *y = &b->services[i];

		assert_string_equal(x->name, y->name);
		assert_string_equal(x->command, y->command);
		assert_string_equal(x->args, y->args);
		assert_string_equal(x->log_tag, y->log_tag);
		assert_int_equal(x->type, y->type);
		assert_int_equal(x->maxproc, y->maxproc);
		assert_int_equal(x->line, y->line);
		assert_int_equal(x->params->smtp_helo_timeout_ms, y->params->smtp_helo_timeout_ms);
		assert_int_equal(x->stress->smtpd_timeout_ms, y->stress->smtpd_timeout_ms);
		assert_string_equal(x->params->smtpd_client_restrictions, y->params->smtpd_client_restrictions);
	}
}

static void
canonical_text_reads_back_the_same(void **state)
{
	struct conf *c = parse("smtpd_banner = a$$b\nmine = x y\nrelayhost = ${mine?{[h]}:{}}\n", master_sample), *back;
	struct buf one, two;
	struct fault why;

	(void)state;
	buf_init(&one, 8U << 20);
	buf_init(&two, 8U << 20);
	conf_write(c, &one);
	if (!conf_read(buf_span(&one), &back, &why))
		fail_msg("%s", why.text);
	assert_same(c, back);
	assert_string_equal(back->params->smtpd_banner, "a$b");
	assert_string_equal(conf_get(back->none, "mine"), "x y");
	assert_string_equal(conf_get(conf_find_service(back, "127.0.0.1:2525", true), "mydomain"), "inner.example");
	assert_string_equal(conf_get(back->none, "store_destination_recipient_limit"), "50");
	conf_write(back, &two);
	assert_int_equal(one.n, two.n);
	assert_memory_equal(one.p, two.p, one.n);
	buf_release(&one);
	buf_release(&two);
	conf_unref(&back);
	done(&c);
}

/* Where compatibility_level chooses the default: was it set? Master knows, and so does who reads the text. */
static void
canonical_text_says_what_was_given(void **state)
{
	struct conf *c = parse("compatibility_level = 3.5\nsmtpd_tls_fingerprint_digest = md5\n",
	    "smtp inet n - n - - smtpd\n25 inet n - n - - smtpd\n -o smtp_tls_fingerprint_digest=md5\n"), *back;
	struct buf text;
	struct fault why;

	(void)state;
	buf_init(&text, 8U << 20);
	conf_write(c, &text);
	if (!conf_read(buf_span(&text), &back, &why))
		fail_msg("%s", why.text);
	for (int i = 0; i < 2; i++) {
		const struct conf *in = i == 0 ? c : back;
		const struct conf_service *plain = conf_find_service(in, "smtp", true), *own = conf_find_service(in, "25", true);

		assert_string_equal(plain->params->smtp_tls_fingerprint_digest, "md5");
		assert_true(conf_is_given(plain, "smtpd_tls_fingerprint_digest"));
		assert_true(conf_is_given(own, "smtpd_tls_fingerprint_digest"));
		assert_false(conf_is_given(plain, "smtp_tls_fingerprint_digest"));
		assert_true(conf_is_given(own, "smtp_tls_fingerprint_digest"));
		assert_false(conf_is_given(own, "lmtp_tls_fingerprint_digest"));
	}
	conf_unref(&back);
	assert_false(conf_read(SPAN("signet-conf 1\ndir /\nset\ngiven nothing\nend\n"), &back, &why));
	buf_release(&text);
	done(&c);
}

static void
canonical_text_cut_anywhere_is_refused(void **state)
{
	struct conf *c = parse("", "smtp inet n - n - - smtpd -o smtpd_timeout=5s\n"), *back;
	struct buf text;
	struct fault why;

	(void)state;
	buf_init(&text, 8U << 20);
	conf_write(c, &text);
	for (size_t n = 0; n < text.n - 1; n += n < 100 || text.n - n < 300 ? 1 : 997)
		if (conf_read(span_of(text.p, n), &back, &why))
			fail_msg("accepted after %zu bytes of %zu", n, text.n);
	buf_release(&text);
	done(&c);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(an_empty_configuration_has_every_default),
		KIT_TEST(references_are_expanded),
		KIT_TEST(lines_continue_and_comments_are_skipped),
		KIT_TEST(what_is_wrong_is_said_with_its_place),
		KIT_TEST(services_have_their_own_values),
		KIT_TEST(lmtp_services_read_lmtp_names),
		KIT_TEST(transport_values_are_reached_by_name),
		KIT_TEST(service_name_can_be_used_in_values),
		KIT_TEST(networks_follow_their_style),
		KIT_TEST(canonical_text_reads_back_the_same),
		KIT_TEST(canonical_text_says_what_was_given),
	KIT_TEST(canonical_text_cut_anywhere_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
