/* What does not work is refused with its place, unless somebody takes the responsibility. */
#include "conf/conf.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "conf/params.h"
#include "conf/words.h"
#include "kit/kit.h"

static struct conf_report report;

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

#define SMTPD "smtp inet n - n - - smtpd\n"
#define SMTP "smtp unix - - - - - smtp\n"
#define DNSSEC "smtp_dns_support_level = dnssec\n"
#define TEN "0123456789"
#define LONG TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define SAFE "compatibility_level = 3.10\n"

static const struct support_case {
	const char *name, *main_cf, *master_cf, *want;
	bool starts;
} cases[] = {
	{ "a milter", SAFE "smtpd_milters = inet:localhost:8891\n", SMTPD,
	    "main.cf:2: error: smtpd_milters: this does not work yet", false },
	{ "a milter that is accepted", SAFE "smtpd_milters = inet:localhost:8891\naccept_unsupported = smtpd_milters\n", SMTPD,
	    "main.cf:2: warning: smtpd_milters: this does not work yet", true },
	{ "a milter switched off", SAFE "smtpd_milters =\n", SMTPD, "", true },
	{ "a milter through a reference", SAFE "mine = inet:x:1\nsmtpd_milters = $mine\n", SMTPD,
	    "main.cf:3: error: smtpd_milters: this does not work yet", false },
	{ "a milter of one service", SAFE, SMTPD " -o smtpd_milters=inet:x:1\n",
	    "master.cf:1: error: smtpd_milters: this does not work yet", false },
	{ "MTA-STS", SAFE "smtp_mta_sts_enable = yes\n", SMTPD SMTP, "main.cf:2: error: smtp_mta_sts_enable: this does not work yet", false },
	{ "REQUIRETLS", SAFE "requiretls_enable = yes\n", SMTPD SMTP, "main.cf:2: error: requiretls_enable: this does not work yet", false },
	{ "TLSRPT without a collector", SAFE "smtp_tls_security_level = may\nsmtp_tlsrpt_enable = yes\n", SMTPD SMTP,
	    "main.cf:3: warning: smtp_tlsrpt_enable = yes: nothing is reported without smtp_tlsrpt_socket_name", true },
	{ "TLSRPT without a level", SAFE "smtp_tlsrpt_enable = yes\nsmtp_tlsrpt_socket_name = run/tlsrpt\n", SMTPD SMTP,
	    "main.cf:2: warning: smtp_tlsrpt_enable = yes: nothing is reported unless smtp_tls_security_level is set, to a level above none", true },
	{ "TLSRPT at level none", SAFE "smtp_tls_security_level = none\nsmtp_tlsrpt_enable = yes\nsmtp_tlsrpt_socket_name = run/tlsrpt\n", SMTPD SMTP,
	    "main.cf:3: warning: smtp_tlsrpt_enable = yes: nothing is reported unless smtp_tls_security_level is set, to a level above none", true },
	{ "a socket of TLSRPT that cannot be", SAFE "smtp_tls_security_level = may\nsmtp_tlsrpt_enable = yes\nsmtp_tlsrpt_socket_name = /" LONG "\n", SMTPD SMTP,
	    "main.cf:4: error: smtp_tlsrpt_socket_name: the path of a socket has at most 107 bytes, this one ", false },
	{ "TLSRPT", SAFE "smtp_tls_security_level = may\nsmtp_tlsrpt_enable = yes\nsmtp_tlsrpt_socket_name = run/tlsrpt\n", SMTPD SMTP, "", true },
	{ "TLSRPT of LMTP", SAFE "lmtp_tlsrpt_enable = yes\n", SMTPD "lmtp unix - - - - - lmtp\n",
	    "main.cf:2: warning: lmtp_tlsrpt_enable = yes: nothing is reported of LMTP", true },
	{ "TLSRPT of LMTP where there is none", SAFE "lmtp_tlsrpt_enable = yes\n", SMTPD SMTP, "", true },
	{ "cosmetic things are only mentioned", SAFE "milter_connect_timeout = 5s\n", SMTPD,
	    "main.cf:2: note: milter_connect_timeout: this does not work yet", true },
	{ "what has no meaning is mentioned", SAFE "max_use = 7\n", SMTPD, "main.cf:2: note: max_use: this has no effect", true },
	{ "set to the default it is nothing", SAFE "max_use = 100\n", SMTPD, "", true },
	/* spec 20.10: a configuration error at start, not a silent may */
	/* spec 20.17: told at the start with file and line */
	{ "dane without DNSSEC", SAFE "smtp_tls_security_level = dane\n", SMTPD SMTP,
	    "main.cf:2: error: smtp_tls_security_level = dane: it needs DNSSEC, but smtp_dns_support_level is not dnssec", false },
	{ "dane-only by native lookups", SAFE DNSSEC "smtp_tls_security_level = dane-only\nsmtp_host_lookup = native\n", SMTPD SMTP,
	    "main.cf:3: error: smtp_tls_security_level = dane-only: it needs DNSSEC, but smtp_host_lookup has no dns", false },
	{ "dane that ignores MX errors", SAFE DNSSEC "smtp_tls_security_level = dane\nignore_mx_lookup_error = yes\n", SMTPD SMTP,
	    "it needs DNSSEC, but ignore_mx_lookup_error is set", false },
	{ "dane without an anchor", SAFE DNSSEC "smtp_tls_security_level = dane\ndnssec_trust_anchor_files =\n", SMTPD SMTP,
	    "it needs DNSSEC, but there is no trust anchor", false },
	{ "dane of one service", SAFE, SMTPD "smtp unix - - - - - smtp -o smtp_tls_security_level=dane\n",
	    "master.cf:2: error: smtp_tls_security_level = dane: it needs DNSSEC", false },
	{ "dane of LMTP", SAFE "lmtp_tls_security_level = dane\nlmtp_dns_support_level = enabled\n",
	    SMTPD "lmtp unix - - - - - lmtp\n", "main.cf:2: error: lmtp_tls_security_level = dane: it needs DNSSEC", false },
	{ "dane with all it needs", SAFE DNSSEC "smtp_tls_security_level = dane\n", SMTPD SMTP, "", true },
	{ "dane that no service uses", SAFE "smtp_tls_security_level = dane\n", SMTPD, "", true },
	{ "address verification", SAFE "smtpd_recipient_restrictions = reject_unverified_recipient, permit\n", SMTPD,
	    "main.cf:2: error: smtpd_recipient_restrictions: restriction reject_unverified_recipient does not work yet", false },
	{ "a policy service by its word",
	    SAFE "smtpd_recipient_restrictions = reject_unverified_recipient\naccept_unsupported = reject_unverified_recipient\n",
	    SMTPD, "main.cf:2: warning: smtpd_recipient_restrictions: restriction reject_unverified_recipient", true },
	{ "a misspelt restriction", SAFE "smtpd_client_restrictions = permit_mynetwork\n", SMTPD,
	    "main.cf:2: error: smtpd_client_restrictions: \"permit_mynetwork\" is no restriction (did you mean permit_mynetworks?)", false },
	{ "an old restriction", SAFE "smtpd_client_restrictions = reject_maps_rbl\n", SMTPD,
	    "(write reject_rbl_client DOMAIN)", false },
	{ "an old name that works", SAFE "smtpd_client_restrictions = reject_unknown_client\n", SMTPD, "", true },
	{ "a class", SAFE "smtpd_restriction_classes = strict\nstrict = reject_unknown_sender_domain, reject\n"
	                  "smtpd_sender_restrictions = check_sender_access inline:{ {a@b = strict} }, strict\n", SMTPD, "", true },
	{ "a class with a bad word", SAFE "smtpd_restriction_classes = strict\nstrict = reject_nothing_at_all\n", SMTPD,
	    "main.cf:3: error: strict: \"reject_nothing_at_all\" is no restriction", false },
	{ "an argument is missing", SAFE "smtpd_client_restrictions = reject_rbl_client\n", SMTPD,
	    "main.cf:2: error: smtpd_client_restrictions: something is missing behind reject_rbl_client", false },
	{ "a table type", SAFE "virtual_alias_maps = hash:/a, proxy:ldap:people\n", SMTPD,
	    "main.cf:2: error: virtual_alias_maps: table type ldap does not work yet", false },
	{ "a table type that is accepted", SAFE "virtual_alias_maps = ldap:people\npeople_search_base = x\naccept_unsupported = ldap\n",
	    SMTPD, "main.cf:2: warning: virtual_alias_maps: table type ldap", true },
	{ "a table type inside a union", SAFE "transport_maps = unionmap:{hash:/a, mysql:/b}\n", SMTPD,
	    "main.cf:2: error: transport_maps: table type mysql does not work yet", false },
	{ "a table type in an access check", SAFE "smtpd_client_restrictions = check_client_access pgsql:/a\n", SMTPD,
	    "main.cf:2: error: smtpd_client_restrictions: table type pgsql does not work yet", false },
	{ "a table type in a list", SAFE "relay_domains = example.com, ldap:x\n", SMTPD,
	    "main.cf:2: error: relay_domains: table type ldap does not work yet", false },
	{ "a table type of nobody", SAFE "transport_maps = hsah:/a\n", SMTPD,
	    "main.cf:2: error: transport_maps: \"hsah\" is no table type", false },
	{ "inline tables with braces", SAFE "transport_maps = inline:{ {a.example = smtp:[h]:25}, {b = c:} } hash:/x\n", SMTPD, "", true },
	{ "an unknown name", SAFE "smtpd_tls_securty_level = may\n", SMTPD,
	    "main.cf:2: warning: smtpd_tls_securty_level: nobody knows a parameter of this name, and no value refers to it "
	    "(did you mean smtpd_tls_security_level?)", true },
	{ "an own name that is used", SAFE "mine = x\nsmtpd_banner = $mine\n", SMTPD, "", true },
	{ "a transport's parameter", SAFE "maildrop_destination_recipient_limit = 1\n",
	    SMTPD "maildrop unix - n n - - pipe flags= user=x argv=/bin/x\n", "", true },
	{ "a transport's parameter with a bad value", SAFE "maildrop_destination_recipient_limit = one\n",
	    SMTPD "maildrop unix - n n - - pipe flags= user=x argv=/bin/x\n",
	    "main.cf:2: error: maildrop_destination_recipient_limit: one: the value must be a whole number", false },
	{ "a parameter of no transport", SAFE "mailldrop_destination_recipient_limit = 1\n", SMTPD,
	    "main.cf:2: warning: mailldrop_destination_recipient_limit: no service of this name", true },
	{ "postscreen", SAFE, "smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n",
	    "master.cf:1: error: service smtp: the command postscreen does not work in Signet; it keeps unwanted clients", false },
	{ "postscreen switched off", SAFE "master_service_disable = smtp/inet\n", "smtp inet n - n - 1 postscreen\n", "", true },
	{ "an unknown command", SAFE, "x unix - - n - - frob\n",
	    "master.cf:1: error: service x: the command frob does not work in Signet", false },
	{ "an unknown command that is accepted", SAFE "accept_unsupported = frob\n", "x unix - - n - - frob\n",
	    "master.cf:1: warning: service x: the command frob", true },
	{ "logins without Dovecot", SAFE, "submission inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes\n",
	    "master.cf:1: error: service submission: smtpd_sasl_auth_enable is on, and smtpd_sasl_type = cyrus does not work in Signet", false },
	{ "logins with Dovecot", SAFE "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n",
	    "submission inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes\n", "", true },
	{ "logins over TCP", SAFE "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:[::1]:12345\nsmtpd_sasl_auth_enable = yes\n", SMTPD, "", true },
	{ "logins without a port", SAFE "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:dovecot.example\nsmtpd_sasl_auth_enable = yes\n", SMTPD,
	    "master.cf:1: error: service smtp: smtpd_sasl_path = inet:dovecot.example: no authentication service can be there", false },
	{ "logins at a named port", SAFE "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:h:auth\nsmtpd_sasl_auth_enable = yes\n", SMTPD,
	    "master.cf:1: error: service smtp: smtpd_sasl_path = inet:h:auth: no authentication service can be there", false },
	{ "an open relay", SAFE "smtpd_relay_restrictions =\n", SMTPD,
	    "master.cf:1: error: service smtp would relay mail for everybody", false },
	{ "an open relay in one service", SAFE, SMTPD "587 inet n - n - - smtpd -o smtpd_relay_restrictions=permit_mynetworks\n",
	    "master.cf:2: error: service 587 would relay mail for everybody", false },
	{ "a relay guarded in the recipient list", SAFE "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = reject_unauth_destination\n",
	    SMTPD, "", true },
	{ "a relay guarded by a class", SAFE "smtpd_relay_restrictions = guard\nsmtpd_restriction_classes = guard\nguard = reject\n", SMTPD, "", true },
	{ "a mailbox smaller than a message", SAFE "mailbox_size_limit = 5000000\n", "",
	    "main.cf:2: error: mailbox_size_limit: it is smaller than message_size_limit", false },
	{ "no message limit and a mailbox limit", SAFE "message_size_limit = 0\n", "",
	    "main.cf: error: mailbox_size_limit: it is smaller than message_size_limit", false },
	{ "backoff times the wrong way round", SAFE "minimal_backoff_time = 2h\n", "",
	    "error: maximal_backoff_time: it is shorter than minimal_backoff_time", false },
	{ "queue runs too rare", SAFE "queue_run_delay = 1h\n", "", "main.cf:2: warning: queue_run_delay: it is longer", true },
	{ "no compatibility level", "", SMTPD, "set compatibility_level = 3.10", false },
};

static void
what_does_not_work_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct support_case *t = &cases[i];
		struct conf *c = NULL;
		bool ok;

		conf_report_init(&report);
		ok = conf_parse(span_str(t->main_cf), span_str(t->master_cf), &c, &report);
		if (ok != t->starts || strstr(findings(), t->want) == NULL || (*t->want == '\0' && *findings() != '\0'))
			fail_msg("%s: %s, got \"%s\", want \"%s\"", t->name, ok ? "starts" : "refused", findings(), t->want);
		conf_unref(&c);
		conf_report_release(&report);
	}
}

static void
the_queue_of_a_postfix_is_left_alone(void **state)
{
	static const char *const folders[] = { "q", "q/incoming", "q/active", "q/deferred", "d" };       /* it need not have run yet */
	char path[600], text[1600];
	struct conf *c = NULL;
	bool ok;

	(void)state;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", kit_dir(), folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	kit_file("d/master.lock", "");
	kit_file("d/prng_exch", "");
	kit_file("master.cf", "");
	snprintf(text, sizeof(text), "\nqueue_directory = %s/q\ndata_directory = %s/d\n", kit_dir(), kit_dir());
	kit_file("main.cf", text);
	conf_report_init(&report);
	ok = conf_load(kit_dir(), &c, &report);
	assert_false(ok);
	assert_non_null(strstr(findings(), "main.cf:2: error: queue_directory"));
	assert_non_null(strstr(findings(), "main.cf:3: error: data_directory"));
	conf_unref(&c);
	conf_report_release(&report);
}

static void
our_own_queue_is_not_refused(void **state)
{
	static const char *const folders[] = { "q", "q/incoming", "q/active", "q/deferred" };
	char path[600], text[1600];
	struct conf *c = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", kit_dir(), folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	kit_file("q/.signet-spool", "");
	kit_file("master.cf", "");
	snprintf(text, sizeof(text), "queue_directory = %s/q\nmyorigin = %s/mailname\n", kit_dir(), kit_dir());
	kit_file("main.cf", text);
	kit_file("mailname", "name.example\n");
	conf_report_init(&report);
	if (!conf_load(kit_dir(), &c, &report))
		fail_msg("%s", findings());
	assert_string_equal(conf_get(c->none, "myorigin"), "name.example");
	conf_unref(&c);
	conf_report_release(&report);
}

static void
a_commands_definitions_win(void **state)
{
	static const struct conf_override over[] = { { "smtp_helo_timeout", "7s" }, { "smtp_tls_security_level", "$asked" }, { "asked", "may" } },
	    wrong[] = { { "smtp_helo_timeout", "soon" } };
	const struct conf_service *smtp;
	struct conf *c = NULL;

	(void)state;
	kit_file("main.cf", "smtp_helo_timeout = 9s\nsmtp_quit_timeout = 9s\n");
	kit_file("master.cf", "smtp unix - - n - - smtp\n -o smtp_helo_timeout=8s\n -o smtp_quit_timeout=8s\n");
	conf_report_init(&report);
	if (!conf_load_with(kit_dir(), over, 3, &c, &report))
		fail_msg("%s", findings());
	smtp = conf_find_service(c, "smtp", false);
	assert_int_equal(smtp->params->smtp_helo_timeout_ms, 7000);
	assert_int_equal(smtp->params->smtp_quit_timeout_ms, 8000);
	assert_int_equal(c->params->smtp_helo_timeout_ms, 7000);
	assert_string_equal(smtp->params->smtp_tls_security_level, "may");
	conf_unref(&c);
	conf_report_release(&report);
	conf_report_init(&report);
	assert_false(conf_load_with(kit_dir(), wrong, 1, &c, &report));
	assert_non_null(strstr(findings(), "command line: error: smtp_helo_timeout = soon"));
	conf_unref(&c);
	conf_report_release(&report);
}

static void
missing_files_are_said_by_name(void **state)
{
	struct conf *c = NULL;

	(void)state;
	conf_report_init(&report);
	assert_false(conf_load("/nowhere", &c, &report));
	assert_null(c);
	assert_string_equal(findings(), "/nowhere/main.cf: error: cannot read it: No such file or directory\n"
	                                "/nowhere/master.cf: error: cannot read it: No such file or directory\n");
	conf_report_release(&report);
}

static void
items_of_lists_keep_their_braces(void **state)
{
	struct span rest = SPAN("a, b\tinline:{ {k = v}, {x = y} },static:{a b} {c d}  "), item;
	static const char *const want[] = { "a", "b", "inline:{ {k = v}, {x = y} }", "static:{a b}", "{c d}" };

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_true(word_next(&rest, &item));
		assert_span(item, want[i]);
	}
	assert_false(word_next(&rest, &item));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(what_does_not_work_is_refused),
		KIT_TEST(the_queue_of_a_postfix_is_left_alone),
		KIT_TEST(our_own_queue_is_not_refused),
		KIT_TEST(a_commands_definitions_win),
	KIT_TEST(missing_files_are_said_by_name),
		KIT_TEST(items_of_lists_keep_their_braces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
