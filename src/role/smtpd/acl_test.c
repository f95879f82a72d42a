/* Access control by configuration and facts, with DNS answers from a table. */
#include "role/smtpd/acl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/loop.h"
#include "conf/conf.h"
#include "dns/dns.h"
#include "kit/certs.h"
#include "kit/kit.h"
#include "maps/asks.h"
#include "maps/maps.h"
#include "tls/client_policy.h"
#include "tls/info.h"

#define MAIN_CF                                                                                        \
	"compatibility_level = 3.10\nmyhostname = mx.here.example\nmydomain = here.example\n"          \
	"mydestination = here.example, localhost\nmynetworks = 10.0.0.0/8\nmyorigin = here.example\n"  \
	"alias_maps =\nalias_database =\ninet_interfaces = 127.0.0.1\n"                               \
	"virtual_alias_domains = alias.example\nvirtual_alias_maps = inline:{ {a@alias.example=x@here.example} }\n"    \
	"virtual_mailbox_domains = box.example\nvirtual_mailbox_maps = inline:{ {u@box.example=u/} }\n"                \
	"relay_domains = relay.example\nrelay_recipient_maps = inline:{ {r@relay.example=x} }\n"       \
	"local_recipient_maps = inline:{ {joe=x} }\nrecipient_delimiter = +\n"
#define MASTER_CF "smtp inet n - n - - smtpd\n"
#define RCPT "smtpd_recipient_restrictions = "

/* --- DNS by table --- */

static const struct zone_row {
	const char *name;
	unsigned type;
	const char *data;       /* "" = no such record; "!" = failed; "?" = no such name */
} zone[] = {
	{ "4.3.2.1.bl.example", DNS_TYPE_A, "127.0.0.4" },
	{ "4.3.2.1.bl.example", DNS_TYPE_TXT, "listed, see http://bl.example/" },
	{ "4.3.2.1.down.example", DNS_TYPE_A, "!" },
	{ "4.3.2.1.wl.example", DNS_TYPE_A, "127.0.5.1" },
	{ "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example", DNS_TYPE_A, "127.0.0.2" },
	{ "bad.example.rhs.example", DNS_TYPE_A, "127.0.0.2" },
	{ "good.example", DNS_TYPE_MX, "mx.good.example" },
	{ "mx.good.example", DNS_TYPE_A, "9.9.9.9" },
	{ "null.example", DNS_TYPE_MX, "." },
	{ "tempfail.example", DNS_TYPE_MX, "!" },
	{ "host.example", DNS_TYPE_A, "8.8.8.8" },
	{ "good.example", DNS_TYPE_NS, "ns.evil.example" },
	{ "ns.evil.example", DNS_TYPE_A, "6.6.6.6" },
	{ "backup.example", DNS_TYPE_MX, "mx.here.example" },
};

#define PENDING 64
static struct { uint64_t id; char name[256]; uint16_t type; } pending[PENDING];
static size_t n_pending;

static bool
ask_dns(void *ctx, uint64_t id, struct span name, uint16_t type)
{
	(void)ctx;
	assert_true(n_pending < PENDING);
	pending[n_pending].id = id;
	pending[n_pending].type = type;
	snprintf(pending[n_pending++].name, 256, "%.*s", SPAN_ARG(name));
	return true;
}

static bool
ask_map(void *ctx, uint64_t id, struct span table, struct span key)
{
	(void)ctx;
	(void)id;
	(void)table;
	(void)key;
	return false;
}

static const struct asks_ops ops = { ask_map, ask_dns };

static void
add_record(struct arena *a, struct dns_answer *d, const struct zone_row *z)
{
	struct dns_record *rr = ARENA_NEW(a, struct dns_record);
	uint8_t bytes[16];
	size_t n;

	rr->type = (uint16_t)z->type;
	rr->pref = 10;
	rr->data = arena_dup(a, span_str(z->data));
	if (z->type == DNS_TYPE_A && dns_address_parse(span_str(z->data), bytes, &n))
		rr->data = arena_dup(a, span_of(bytes, n));
	d->records = rr;
	d->count = 1;
}

static void
answer_one(struct asks_link *link, size_t i)
{
	struct arena *a = asks_answer_arena(link, pending[i].id);
	struct dns_answer *d;

	if (a == NULL)
		return;
	d = ARENA_NEW(a, struct dns_answer);
	d->name = arena_dup(a, span_str(pending[i].name));
	d->type = pending[i].type;
	d->status = DNS_INSECURE;
	for (size_t z = 0; z < sizeof(zone) / sizeof(zone[0]); z++) {
		if (strcmp(zone[z].name, pending[i].name) != 0 || zone[z].type != pending[i].type)
			continue;
		if (strcmp(zone[z].data, "!") == 0)
			dns_answer_fail(d, a, d->name, (enum dns_type)d->type, "timeout");
		else
			add_record(a, d, &zone[z]);
	}
	asks_answer_dns(link, pending[i].id, d);
}

static void
ready(void *ctx)
{
	(void)ctx;
}

/* --- running --- */

struct rig {
	struct conf *conf;
	struct acl *acl;
	struct loop *loop;
	struct asks_link *link;
	struct asks *asks;
	struct arena *a;
	struct maps_env env;
};

static bool
rig_open(struct rig *g, const char *extra, struct fault *why)
{
	struct conf_report report;
	struct buf text, said;
	bool ok;

	conf_report_init(&report);
	buf_init(&text, 1 << 16);
	buf_addf(&text, "%s%s", MAIN_CF, extra);
	buf_init(&said, 1 << 16);
	ok = conf_parse(buf_span(&text), SPAN(MASTER_CF), &g->conf, &report);
	conf_report_print(&report, CONF_ERROR, &said);
	if (!ok)
		fault_set(why, "", "%.*s", SPAN_ARG(buf_span(&said)));
	conf_report_release(&report);
	buf_release(&text);
	buf_release(&said);
	if (!ok)
		return false;
	g->env = (struct maps_env){ .data_directory = "/nonexistent", .default_database_type = "hash", .alias_tables = "" };
	g->loop = loop_new();
	g->link = asks_link_new(g->loop, &ops, NULL, 10000);
	g->asks = asks_new(g->link, ready, NULL);
	g->a = arena_new(1 << 22);
	n_pending = 0;
	return acl_open(&g->conf->services[0], &g->env, &g->acl, why);
}

static void
rig_close(struct rig *g)
{
	acl_free(&g->acl);
	asks_free(&g->asks);
	asks_link_free(&g->link);
	loop_free(&g->loop);
	arena_free(&g->a);
	conf_unref(&g->conf);
}

static void
rig_run(struct rig *g, enum acl_when when, const struct acl_facts *f, struct acl_result *res)
{
	unsigned rounds = 0;

	while (acl_run(g->acl, when, f, g->asks, g->a, res) == MAP_WAIT) {
		size_t n = n_pending;

		assert_true(n > 0 && rounds++ < 20);
		for (size_t i = 0; i < n; i++)
			answer_one(g->link, i);
		n_pending = 0;
	}
}

static struct acl_facts
facts(void)
{
	return (struct acl_facts){ .client_name = SPAN("mail.bad.example"), .reverse_name = SPAN("mail.bad.example"),
		.addr = SPAN("1.2.3.4"), .namaddr = SPAN("mail.bad.example[1.2.3.4]"), .helo = SPAN("c.example"),
		.sender = SPAN("a@good.example"), .recipient = SPAN("joe@here.example"), .have_sender = true,
		.have_recipient = true };
}

static void
check(const char *name, const char *extra, enum acl_when when, const struct acl_facts *f, const char *want)
{
	struct rig g = { .conf = NULL };
	struct fault why = { 0 };
	struct acl_result res;
	struct buf got;

	buf_init(&got, 8192);
	if (!rig_open(&g, extra, &why))
		fail_msg("%s: %s", name, why.text);
	rig_run(&g, when, f, &res);
	for (const struct acl_action *act = res.actions; act != NULL; act = act->next)
		buf_addf(&got, "[%s %.*s] ", acl_act_name(act->act), SPAN_ARG(act->text));
	if (res.reject)
		buf_addf(&got, "%u %s %.*s", res.code, res.dsn, SPAN_ARG(res.text));
	else
		buf_add_str(&got, "ok");
	if (!span_eq(buf_span(&got), span_str(want)))
		fail_msg("%s:\n got  %s\n want %s", name, buf_cstr(&got), want);
	buf_release(&got);
	rig_close(&g);
}

/* --- recipients --- */

static const struct rcpt_case {
	const char *name, *extra, *rcpt, *want;
} rcpt_cases[] = {
	{ "a local user", "", "joe@here.example", "ok" },
	{ "a local user with extension", "", "joe+x@here.example", "ok" },
	{ "an unknown local user", "", "ann@here.example",
	    "550 5.1.1 <ann@here.example>: Recipient address rejected: User unknown in local recipient table" },
	{ "the table's name may be a secret", "show_user_unknown_table_name = no\n", "ann@here.example",
	    "550 5.1.1 <ann@here.example>: Recipient address rejected: User unknown" },
	{ "postmaster alone", "smtpd_client_restrictions = reject\n", "PostMaster", "ok" },
	{ "postmaster of a local domain", "", "postmaster@here.example", "ok" },
	{ "a bare name is local", "", "joe", "ok" },
	{ "virtual alias", "", "a@alias.example", "ok" },
	{ "no virtual alias", "", "b@alias.example",
	    "550 5.1.1 <b@alias.example>: Recipient address rejected: User unknown in virtual alias table" },
	{ "no virtual mailbox", "", "v@box.example",
	    "550 5.1.1 <v@box.example>: Recipient address rejected: User unknown in virtual mailbox table" },
	{ "no relay recipient", "", "s@sub.relay.example",
	    "550 5.1.1 <s@sub.relay.example>: Recipient address rejected: User unknown in relay recipient table" },
	{ "relay recipient", "", "r@relay.example", "ok" },
	{ "relaying is deferred by default", "", "x@else.example", "454 4.7.1 <x@else.example>: Relay access denied" },
	{ "relaying is refused", "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n", "x@else.example",
	    "554 5.7.1 <x@else.example>: Relay access denied" },
	{ "soft_bounce softens", "soft_bounce = yes\nsmtpd_relay_restrictions = reject_unauth_destination\n", "x@else.example",
	    "454 4.7.1 <x@else.example>: Relay access denied" },
	{ "percent hack does not open a relay", "", "x%else.example@here.example",
	    "454 4.7.1 <x%else.example@here.example>: Relay access denied" },
	{ "bang path does not open a relay", "", "else.example!x@here.example",
	    "454 4.7.1 <else.example!x@here.example>: Relay access denied" },
	{ "quoted at-sign does not open a relay", "", "x@else.example@here.example",
	    "454 4.7.1 <\"x@else.example\"@here.example>: Relay access denied" },
	{ "a PERMIT in one list does not skip the other", "smtpd_recipient_restrictions = permit\n", "x@else.example",
	    "454 4.7.1 <x@else.example>: Relay access denied" },
	{ "our own address literal is local", "", "joe@[127.0.0.1]", "ok" },
	{ "client list at RCPT", "smtpd_client_restrictions = reject\n", "joe@here.example",
	    "554 5.7.1 <mail.bad.example[1.2.3.4]>: Client host rejected: Access denied" },
	{ "warn_if_reject logs and goes on", RCPT "warn_if_reject reject, permit\n", "joe@here.example",
	    "[reject_warning 554 5.7.1 <joe@here.example>: Recipient address rejected: Access denied] ok" },
	{ "defer_if_permit waits for the end", RCPT "defer_if_permit, permit\n", "joe@here.example",
	    "450 4.7.0 <joe@here.example>: Recipient address rejected: defer_if_permit requested" },
	{ "its code", "access_map_defer_code = 455\n" RCPT "check_recipient_access inline:{ {joe@here.example=DEFER} }\n", "joe@here.example",
	    "455 4.7.1 <joe@here.example>: Recipient address rejected: Access denied" },
	{ "the code of defer", "defer_code = 451\n" RCPT "defer\n", "joe@here.example",
	    "451 4.3.2 <joe@here.example>: Recipient address rejected: Try again later" },
	{ "a routed address is not ours", "smtpd_relay_restrictions = reject_unauth_destination\n", "x%else.example@sub.relay.example",
	    "554 5.7.1 <x%else.example@sub.relay.example>: Relay access denied" },
	{ "but may be", "allow_untrusted_routing = yes\nsmtpd_relay_restrictions = reject_unauth_destination\n"
	    "relay_recipient_maps =\n", "x%else.example@sub.relay.example", "ok" },
	{ "backup MX in its networks", "smtpd_relay_restrictions = permit_mx_backup, reject_unauth_destination\n"
	    "permit_mx_backup_networks = 192.0.2.0/24\n", "x@backup.example", "554 5.7.1 <x@backup.example>: Relay access denied" },
	{ "defer_if_reject softens a later reject", "smtpd_helo_restrictions = defer_if_reject\n" RCPT "reject\n", "joe@here.example",
	    "450 4.7.0 <c.example>: Helo command rejected: defer_if_reject requested" },
	{ "a restriction class", "smtpd_restriction_classes = strict\nstrict = reject_unknown_client_hostname, permit\n" RCPT
	    "check_recipient_access inline:{ {joe@here.example=strict} }\n", "joe@here.example", "ok" },
	{ "the table's own words", RCPT "check_recipient_access inline:{ {here.example=REJECT go away} }\n", "joe@here.example",
	    "554 5.7.1 <joe@here.example>: Recipient address rejected: go away" },
	{ "code and enhanced code of a table", RCPT "check_recipient_access inline:{ {joe@=550 5.7.9 no mail} }\n", "joe@here.example",
	    "550 5.7.9 <joe@here.example>: Recipient address rejected: no mail" },
	{ "421 hangs up", RCPT "check_client_access inline:{ {1.2.3=421 later} }\n", "joe@here.example",
	    "421 4.7.1 <mail.bad.example[1.2.3.4]>: Client host rejected: later" },
	{ "actions on the message", RCPT "check_client_access inline:{ {bad.example=HOLD} }, check_sender_access "
	    "inline:{ {good.example=FILTER scan:localhost} }, check_helo_access inline:{ {c.example=PREPEND X-A: b} }\n",
	    "joe@here.example",
	    "[hold <mail.bad.example[1.2.3.4]>: Client host triggers HOLD action] "
	    "[filter <a@good.example>: Sender address triggers FILTER scan:localhost] "
	    "[prepend <c.example>: Helo command triggers PREPEND X-A: b] ok" },
	{ "DISCARD ends the list and skips the unknown user check", RCPT "check_recipient_access inline:{ {ann@here.example=DISCARD} }\n",
	    "ann@here.example", "[discard <ann@here.example>: Recipient address triggers DISCARD action] ok" },
	{ "all digits are OK", RCPT "check_recipient_access inline:{ {joe@here.example=12345} }, reject\n", "joe@here.example", "ok" },
	{ "nonsense is a server error", RCPT "check_recipient_access inline:{ {joe@here.example=FROB} }\n", "joe@here.example",
	    "[warning access table entry for \"joe@here.example\": unknown or unusable action \"FROB\": unknown restriction \"FROB\"] "
	    "451 4.3.5 Server configuration error" },
	{ "and no warning under warn_if_reject", RCPT "warn_if_reject check_recipient_access inline:{ {joe@here.example=FROB} }, permit\n",
	    "joe@here.example", "[warning access table entry for \"joe@here.example\": unknown or unusable action \"FROB\": unknown restriction \"FROB\"] "
	    "451 4.3.5 Server configuration error" },
	{ "a failing table defers", RCPT "check_recipient_access fail:x\n", "joe@here.example", NULL },
	{ "DNS list with reason", RCPT "reject_rbl_client bl.example\n", "joe@here.example",
	    "554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using bl.example; listed, see http://bl.example/" },
	{ "DNS list with pattern", RCPT "reject_rbl_client bl.example=127.0.0.[1..3;5]\n", "joe@here.example", "ok" },
	{ "DNS list with pattern that fits", RCPT "reject_rbl_client bl.example=127.[0;1].0.4\n", "joe@here.example",
	    "554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using bl.example; listed, see http://bl.example/" },
	{ "a dead list blocks nobody", RCPT "reject_rbl_client down.example\n", "joe@here.example",
	    "[warning 4.3.2.1.down.example: RBL lookup error: timeout] ok" },
	{ "white list", RCPT "permit_dnswl_client wl.example=127.0.5.[0..9], reject\n", "joe@here.example", "ok" },
	{ "a dead white list defers", RCPT "permit_dnswl_client down.example, reject\n", "joe@here.example",
	    "[warning 4.3.2.1.down.example: RBL lookup error: timeout] "
	    "450 4.3.0 <mail.bad.example[1.2.3.4]>: Client host rejected: temporary lookup error" },
	{ "sender's MX in a table", RCPT "check_sender_mx_access inline:{ {9.9=REJECT your mail server} }\n", "joe@here.example",
	    "554 5.7.1 <a@good.example>: Sender address rejected: your mail server" },
	{ "sender's NS in a table", RCPT "check_sender_ns_access inline:{ {evil.example=REJECT} }\n", "joe@here.example",
	    "554 5.7.1 <a@good.example>: Sender address rejected: Access denied" },
	{ "OK from a server table is refused", RCPT "check_sender_ns_access inline:{ {evil.example=OK} }\n", "joe@here.example",
	    "[warning check_sender_ns_access: an OK result is not allowed for security reasons; use DUNNO instead] "
	    "451 4.3.5 Server configuration error" },
	{ "unknown recipient domain", "smtpd_relay_restrictions = permit_mynetworks, reject\n" RCPT "reject_unknown_recipient_domain\n"
	    "smtpd_relay_before_recipient_restrictions = no\n", "x@nowhere.example",
	    "450 4.1.2 <x@nowhere.example>: Recipient address rejected: Domain not found" },
	{ "null MX", "smtpd_relay_restrictions = permit_mynetworks, reject\n" RCPT "reject_unknown_recipient_domain\n"
	    "smtpd_relay_before_recipient_restrictions = no\n", "x@null.example",
	    "556 5.1.10 <x@null.example>: Recipient address rejected: Domain null.example does not accept mail (nullMX)" },
	{ "backup MX", "smtpd_relay_restrictions = permit_mx_backup, reject_unauth_destination\n", "x@backup.example", "ok" },
	{ "recipient form", RCPT "reject_non_fqdn_recipient\n", "joe@localhost",
	    "504 5.5.2 <joe@localhost>: Recipient address rejected: need fully-qualified address" },
	{ "clear text", RCPT "reject_plaintext_session\n", "joe@here.example",
	    "450 4.7.1 Session encryption is required" },
	{ "the code of a list's reject", "reject_code = 521\n" RCPT "reject\n", "joe@here.example",
	    "521 5.7.1 <joe@here.example>: Recipient address rejected: Access denied" },
	{ "the code of a table's REJECT", "access_map_reject_code = 550\n" RCPT "check_recipient_access inline:{ {joe@here.example=REJECT} }\n",
	    "joe@here.example", "550 5.7.1 <joe@here.example>: Recipient address rejected: Access denied" },
	{ "the code of relay control", "relay_domains_reject_code = 550\n", "x@else.example",
	    "450 4.7.1 <x@else.example>: Relay access denied" },
	{ "the code of an unknown user", "unknown_local_recipient_reject_code = 450\n", "ann@here.example",
	    "450 4.1.1 <ann@here.example>: Recipient address rejected: User unknown in local recipient table" },
	{ "the code of an unknown virtual alias", "unknown_virtual_alias_reject_code = 551\n", "b@alias.example",
	    "551 5.1.1 <b@alias.example>: Recipient address rejected: User unknown in virtual alias table" },
	{ "the code of an unknown mailbox", "unknown_virtual_mailbox_reject_code = 552\n", "v@box.example",
	    "552 5.1.1 <v@box.example>: Recipient address rejected: User unknown in virtual mailbox table" },
	{ "the code of an unknown relay recipient", "unknown_relay_recipient_reject_code = 450\n", "s@relay.example",
	    "450 4.1.1 <s@relay.example>: Recipient address rejected: User unknown in relay recipient table" },
	{ "the code of clear text", "plaintext_reject_code = 554\n" RCPT "reject_plaintext_session\n", "joe@here.example",
	    "554 5.7.1 Session encryption is required" },
	{ "unknown users are let in", "smtpd_reject_unlisted_recipient = no\n", "ann@here.example", "ok" },
	{ "the same by receive_override_options", "receive_override_options = no_unknown_recipient_checks\n", "ann@here.example", "ok" },
	{ "the code of a form", "non_fqdn_reject_code = 550\n" RCPT "reject_non_fqdn_recipient\n", "joe@localhost",
	    "550 5.5.2 <joe@localhost>: Recipient address rejected: need fully-qualified address" },
	{ "the code of DNS lists", "maps_rbl_reject_code = 550\n" RCPT "reject_rbl_client bl.example\n", "joe@here.example",
	    "550 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using bl.example; listed, see http://bl.example/" },
	{ "a list's own reply, filtered", "rbl_reply_maps = inline:{ { bl.example = 571 5.7.9 No: $$rbl_reason $${rbl_txt?for $$client_address} } }\n"
	    "smtpd_expansion_filter = abcdefghijklmnopqrstuvwxyz:/.,1234\\40\n" RCPT "reject_rbl_client bl.example\n", "joe@here.example",
	    "571 5.7.9 No: listed, see http://bl.example/ for 1.2.3.4" },
	{ "a permit is logged", "smtpd_log_access_permit_actions = permit_auth_destination\n" RCPT "permit_auth_destination\n", "joe@here.example",
	    "[permit action=permit_auth_destination for Recipient address=joe@here.example] ok" },
	{ "a bare table is the list's own check", "smtpd_sender_restrictions = inline:{ {good.example=REJECT} }\n", "joe@here.example",
	    "554 5.7.1 <a@good.example>: Sender address rejected: Access denied" },
};

static void
test_recipients(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rcpt_cases) / sizeof(rcpt_cases[0]); i++) {
		struct acl_facts f = facts();

		f.recipient = span_str(rcpt_cases[i].rcpt);
		if (rcpt_cases[i].want != NULL)
			check(rcpt_cases[i].name, rcpt_cases[i].extra, ACL_AT_RCPT, &f, rcpt_cases[i].want);
	}
}

static void
test_failing_table(void **state)
{
	struct acl_facts f = facts();
	struct rig g = { .conf = NULL };
	struct acl_result res;
	struct fault why = { 0 };

	(void)state;
	assert_true(rig_open(&g, RCPT "check_recipient_access fail:x\n", &why));
	rig_run(&g, ACL_AT_RCPT, &f, &res);
	assert_true(res.reject);
	assert_int_equal(res.code, 451);
	assert_string_equal(res.dsn, "4.3.0");
	assert_span(res.text, "<joe@here.example>: Temporary lookup failure");
	rig_close(&g);
}

/* --- client, helo, sender --- */

static void
test_clients(void **state)
{
	struct acl_facts f = facts();

	(void)state;
	f.recipient = SPAN("x@else.example");
	f.addr = SPAN("10.1.2.3");
	check("a client in mynetworks relays", "", ACL_AT_RCPT, &f, "ok");
	f = facts();
	f.name_state = ACL_NAME_ABSENT;
	check("no host name", "smtpd_client_restrictions = reject_unknown_client_hostname\n", ACL_AT_RCPT, &f,
	    "450 4.7.25 Client host rejected: cannot find your hostname, [1.2.3.4]");
	f.reverse_state = ACL_NAME_ABSENT;
	check("no reverse name", "smtpd_client_restrictions = reject_unknown_reverse_client_hostname\n"
	    "unknown_client_reject_code = 550\n", ACL_AT_RCPT, &f,
	    "550 5.7.1 Client host rejected: cannot find your reverse hostname, [1.2.3.4]");
	f = facts();
	check("at once without delay", "smtpd_delay_reject = no\nsmtpd_client_restrictions = check_client_access inline:{ {example=REJECT} }\n",
	    ACL_AT_CONNECT, &f, "554 5.7.1 <mail.bad.example[1.2.3.4]>: Client host rejected: Access denied");
	check("later with delay", "smtpd_client_restrictions = reject\n", ACL_AT_CONNECT, &f, "ok");
	f.addr = SPAN("2001:db8::1");
	check("IPv6 in a DNS list", RCPT "reject_rbl_client bl.example\n", ACL_AT_RCPT, &f,
	    "554 5.7.1 Service unavailable; Client host [2001:db8::1] blocked using bl.example");
	check("IPv6 networks", RCPT "check_client_access inline:{ {2001:db8=REJECT} }\n", ACL_AT_RCPT, &f,
	    "554 5.7.1 <mail.bad.example[1.2.3.4]>: Client host rejected: Access denied");
	f.local = true;
	check("our own socket", "smtpd_client_restrictions = reject\n", ACL_AT_RCPT, &f, "ok");
}

static void
test_helo(void **state)
{
	struct acl_facts f = facts();

	(void)state;
	f.helo = SPAN("a_b!");
	check("not a name", "smtpd_helo_restrictions = reject_invalid_helo_hostname\n", ACL_AT_RCPT, &f,
	    "501 5.5.2 <a_b!>: Helo command rejected: Invalid name");
	check("the old name", "smtpd_helo_restrictions = reject_invalid_hostname\n", ACL_AT_RCPT, &f,
	    "501 5.5.2 <a_b!>: Helo command rejected: Invalid name");
	f.helo = SPAN("short");
	check("not qualified, the old name", "smtpd_helo_restrictions = reject_non_fqdn_hostname\n", ACL_AT_RCPT, &f,
	    "504 5.5.2 <short>: Helo command rejected: need fully-qualified hostname");
	check("not qualified", "smtpd_helo_restrictions = reject_non_fqdn_helo_hostname\n", ACL_AT_RCPT, &f,
	    "504 5.5.2 <short>: Helo command rejected: need fully-qualified hostname");
	f.helo = SPAN("[192.0.2.1]");
	check("a literal is fine", "smtpd_helo_restrictions = reject_non_fqdn_helo_hostname reject_invalid_helo_hostname "
	    "reject_unknown_helo_hostname\n", ACL_AT_RCPT, &f, "ok");
	f.helo = SPAN("nowhere.example");
	check("not in DNS, the old name", "smtpd_helo_restrictions = reject_unknown_hostname\n", ACL_AT_RCPT, &f,
	    "450 4.7.1 <nowhere.example>: Helo command rejected: Host not found");
	check("not in DNS", "smtpd_helo_restrictions = reject_unknown_helo_hostname\n", ACL_AT_RCPT, &f,
	    "450 4.7.1 <nowhere.example>: Helo command rejected: Host not found");
	f.helo = SPAN("host.example");
	check("in DNS", "smtpd_helo_restrictions = reject_unknown_helo_hostname\n", ACL_AT_RCPT, &f, "ok");
	f.helo = SPAN("nowhere.example");
	check("its code", "unknown_hostname_reject_code = 550\nsmtpd_helo_restrictions = reject_unknown_helo_hostname\n", ACL_AT_RCPT, &f,
	    "550 5.7.1 <nowhere.example>: Helo command rejected: Host not found");
	f.helo = SPAN("-");
	check("the code of a bad name", "invalid_hostname_reject_code = 550\nsmtpd_helo_restrictions = reject_invalid_helo_hostname\n",
	    ACL_AT_RCPT, &f, "550 5.5.2 <->: Helo command rejected: Invalid name");
	f.helo = SPAN("tempfail.example");
	check("of this alone", "reject_tempfail_action = defer_if_permit\nunknown_helo_hostname_tempfail_action = defer\n"
	    "smtpd_helo_restrictions = reject_unknown_helo_hostname, reject\n", ACL_AT_RCPT, &f,
	    "450 4.7.1 <tempfail.example>: Helo command rejected: Host not found");
	check("DNS cannot say, and that is final", "reject_tempfail_action = defer\nsmtpd_helo_restrictions = reject_unknown_helo_hostname, reject\n",
	    ACL_AT_RCPT, &f, "450 4.7.1 <tempfail.example>: Helo command rejected: Host not found");
	check("DNS cannot say", "smtpd_helo_restrictions = reject_unknown_helo_hostname\n", ACL_AT_RCPT, &f,
	    "450 4.7.1 <tempfail.example>: Helo command rejected: Host not found");
}

static void
test_senders(void **state)
{
	struct acl_facts f = facts();

	(void)state;
	f.sender = SPAN("a@nowhere.example");
	check("unknown domain", "smtpd_sender_restrictions = reject_unknown_sender_domain\n", ACL_AT_RCPT, &f,
	    "450 4.1.8 <a@nowhere.example>: Sender address rejected: Domain not found");
	check("its code", "unknown_address_reject_code = 554\nsmtpd_sender_restrictions = reject_unknown_sender_domain\n", ACL_AT_RCPT, &f,
	    "554 5.1.8 <a@nowhere.example>: Sender address rejected: Domain not found");
	f.sender = SPAN("a@null.example");
	check("null MX", "smtpd_sender_restrictions = reject_unknown_sender_domain\n", ACL_AT_RCPT, &f,
	    "550 5.7.27 <a@null.example>: Sender address rejected: Domain null.example does not accept mail (nullMX)");
	f.sender = SPAN("x@bad.example");
	check("right-hand-side list", "smtpd_sender_restrictions = reject_rhsbl_sender rhs.example\n", ACL_AT_RCPT, &f,
	    "554 5.7.1 Service unavailable; Sender address [x@bad.example] blocked using rhs.example");
	f.sender = SPAN("nobody@here.example");
	check("unlisted sender", "smtpd_reject_unlisted_sender = yes\n", ACL_AT_RCPT, &f,
	    "550 5.1.0 <nobody@here.example>: Sender address rejected: User unknown in local recipient table");
	check("owned sender where nobody can log in", "smtpd_sender_restrictions = reject_sender_login_mismatch\nsmtpd_reject_unlisted_sender = no\n"
	    "smtpd_sender_login_maps = inline:{ {nobody@here.example=nobody} }\n", ACL_AT_RCPT, &f, "ok");
	check("owned sender", "smtpd_sender_restrictions = reject_sender_login_mismatch\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n"
	    "smtpd_sender_login_maps = inline:{ {nobody@here.example=nobody} }\n", ACL_AT_RCPT, &f,
	    "553 5.7.1 <nobody@here.example>: Sender address rejected: not logged in");
	f.sender = SPAN("");
	check("null sender key", "smtpd_sender_restrictions = check_sender_access inline:{ {<>=DEFER} }\n", ACL_AT_RCPT, &f,
	    "450 4.7.1 <>: Sender address rejected: Access denied");
	check("another null sender key", "smtpd_null_access_lookup_key = nobody\n"
	    "smtpd_sender_restrictions = check_sender_access inline:{ {nobody=REJECT} }\n", ACL_AT_RCPT, &f,
	    "554 5.7.1 <>: Sender address rejected: Access denied");
	f.rcpts = 2;
	check("its code", "multi_recipient_bounce_reject_code = 554\nsmtpd_data_restrictions = reject_multi_recipient_bounce\n", ACL_AT_DATA, &f,
	    "554 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce");
	check("at the end of the message", "smtpd_end_of_data_restrictions = check_client_access inline:{ {1.2.3.4=REJECT too late} }\n", ACL_AT_END,
	    &f, "554 5.7.1 <mail.bad.example[1.2.3.4]>: Client host rejected: too late");
	f.etrn = SPAN("site.example");
	check("ETRN", "smtpd_etrn_restrictions = check_etrn_access inline:{ {site.example=OK} }, reject\n", ACL_AT_ETRN, &f, "ok");
	check("ETRN of another", "smtpd_etrn_restrictions = permit_inet_interfaces, reject\n", ACL_AT_ETRN, &f,
	    "554 5.7.1 <site.example>: Etrn command rejected: Access denied");
	check("bounce to many", "smtpd_data_restrictions = reject_multi_recipient_bounce\n", ACL_AT_DATA, &f,
	    "550 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce");
	f.pipelined_early = true;
	check("early talker", "smtpd_data_restrictions = reject_unauth_pipelining\n", ACL_AT_DATA, &f,
	    "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining");
}

/* --- what does not start --- */

static const struct bad_case {
	const char *name, *extra, *want;
} bad_cases[] = {
	{ "an open relay", "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks\n", "would relay mail for everybody" },
	{ "an open relay that looks closed", "smtpd_relay_restrictions = warn_if_reject reject\n", "specify at least one of" },
	{ "a word nobody knows", RCPT "reject_unauth_destinations\n", "\"reject_unauth_destinations\" is no restriction" },
	{ "a word that does not work", RCPT "reject_unverified_recipient\n", "reject_unverified_recipient does not work yet" },
	{ "a policy service with a slip of the pen", RCPT "check_policy_service { unix:x, tiemout=1 }, reject\n",
	    "check_policy_service unix:x: unknown attribute \"tiemout\"" },
	{ "a missing argument", RCPT "check_client_access\n", "something is missing behind check_client_access" },
	{ "a class without content", "smtpd_restriction_classes = foo\n", "foo" },
	{ "a bad number", RCPT "sleep x\n", "sleep: bad number" },
	{ "a demand that demands nothing", RCPT "tls_require may\n", "tls_require may demands nothing" },
	{ "a demand that comes too late", RCPT "tls_require { encrypt ciphers=high }\n", "settled before the handshake" },
	{ "a demand that makes no sense", RCPT "tls_require { encrypt bit=3 }\n", "tls_require: unknown attribute \"bit\"" },
};

static void
test_refused_configurations(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
		struct rig g = { .conf = NULL };
		struct fault why = { 0 };

		if (rig_open(&g, bad_cases[i].extra, &why) || strstr(why.text, bad_cases[i].want) == NULL)
			fail_msg("%s: \"%s\"", bad_cases[i].name, why.text);
		rig_close(&g);
	}
}

/* --- client certificates (tls-server.md section 3.2) --- */

#define FP "AA:BB:CC"
#define PK "11:22:33"
#define NO_ENTRY "554 5.7.1 <joe@here.example>: Recipient address rejected: Access denied"
#define FRAGILE "[warning Fragile access policy: "
#define FRAGILE_END "; with smtpd_tls_enable_rpk = yes the client may show its key alone] "
#define NO_CERT "554 5.7.1 <client.example>: Client certificate rejected: Access denied"

static void
test_client_certificates(void **state)
{
	struct span names[] = { SPAN("client.example"), SPAN("*.client.example") };
	struct tls_info trusted = { .peer_cert = true, .peer_trusted = true, .asked = true, .peer_cn = SPAN("client.example"),
		.issuer_cn = SPAN("Our CA"), .cert_fp = SPAN(FP), .pkey_fp = SPAN(PK), .dns_names = names, .n_dns_names = 2 };
	struct tls_info untrusted = trusted, none = { .asked = true }, sly = trusted, rpk = { .peer_rpk = true, .asked = true,
		.key_would_do = true, .pkey_fp = SPAN(PK) }, fragile = trusted;
	const struct {
		const char *name, *conf;
		const struct tls_info *t;
		const char *want;
	} rows[] = {
		{ "by certificate", RCPT "check_ccert_access inline:{{" FP "=OK}}, reject\n", &untrusted, "ok" },
		{ "by key", RCPT "check_ccert_access inline:{{" PK "=OK}}, reject\n", &untrusted, "ok" },
		{ "the certificate comes first", RCPT "check_ccert_access inline:{{" PK "=OK},{" FP "=REJECT}}, reject\n", &trusted, NO_CERT },
		{ "DUNNO goes on to the next key", RCPT "check_ccert_access inline:{{" PK "=REJECT},{" FP "=DUNNO}}\n", &trusted, NO_CERT },
		{ "another order", RCPT "check_ccert_access { inline:{{" PK "=OK},{" FP "=REJECT}} { search_order = pubkey_fingerprint, cert_fingerprint } }, reject\n",
		    &trusted, "ok" },
		{ "only what the order names", RCPT "check_ccert_access { inline:{{" FP "=OK}} { search_order = pubkey_fingerprint } }, reject\n",
		    &trusted, NO_ENTRY },
		{ "no certificate, no lookup", RCPT "check_ccert_access inline:{{" FP "=OK}}, reject\n", &none, NO_ENTRY },
		{ "no TLS", RCPT "check_ccert_access inline:{{" FP "=OK}}, reject\n", NULL, NO_ENTRY },
		{ "a raw key", RCPT "check_ccert_access inline:{{" PK "=OK}}, reject\n", &rpk, "ok" },
		{ "a raw key that is refused", RCPT "check_ccert_access inline:{{" PK "=REJECT}}\n", &rpk,
		    "554 5.7.1 <" PK ">: Client certificate rejected: Access denied" },
		{ "a raw key has no names", RCPT "check_ccert_access { inline:{{client.example=OK}} { search_order = subject_cn san_dns issuer_cn } }, reject\n",
		    &rpk, NO_ENTRY },
		{ "nor is it trusted", "smtpd_tls_ask_ccert = yes\n" RCPT "permit_tls_all_clientcerts, reject\n", &rpk, NO_ENTRY },
		{ "a raw key that is listed", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{" PK "=x}}\n" RCPT "permit_tls_clientcerts, reject\n",
		    &rpk, "ok" },
		{ "a certificate's entry that the key does not have", RCPT "check_ccert_access inline:{{" FP "=OK}}, reject\n", &fragile,
		    FRAGILE "check_ccert_access inline:{{" FP "=OK}}: the certificate of this client (fingerprint " FP ") gets \"OK\", its key (fingerprint " PK
		    ") is not looked up or not there" FRAGILE_END "ok" },
		{ "that is another than the key's", RCPT "check_ccert_access inline:{{" FP "=REJECT},{" PK "=OK}}\n", &fragile,
		    FRAGILE "check_ccert_access inline:{{" FP "=REJECT},{" PK "=OK}}: the certificate of this client (fingerprint " FP
		    ") gets \"REJECT\", its key (fingerprint " PK ") would get \"OK\"" FRAGILE_END NO_CERT },
		{ "that is the key's as well", RCPT "check_ccert_access inline:{{" FP "=ok},{" PK "=OK }}, reject\n", &fragile, "ok" },
		{ "the key first", RCPT "check_ccert_access { inline:{{" FP "=REJECT},{" PK "=OK}} { search_order = pubkey_fingerprint cert_fingerprint } }, reject\n",
		    &fragile, "ok" },
		{ "a name, and no key", RCPT "check_ccert_access { inline:{{client.example=OK}} { search_order = subject_cn } }, reject\n", &fragile,
		    FRAGILE "check_ccert_access { inline:{{client.example=OK}} { search_order = subject_cn } }: the certificate of this client (fingerprint " FP
		    ") gets \"OK\", its key (fingerprint " PK ") is not looked up or not there" FRAGILE_END "ok" },
		{ "listed by certificate, which need not be shown", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{" FP "=x}}\n" RCPT
		    "permit_tls_clientcerts, reject\n", &fragile, FRAGILE "permit_tls_clientcerts: the certificate of this client (fingerprint " FP
		    ") is listed, its key (fingerprint " PK ") is not" FRAGILE_END "ok" },
		{ "listed by both", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{" FP "=x},{" PK "=x}}\n" RCPT
		    "permit_tls_clientcerts, reject\n", &fragile, "ok" },
		{ "by subject", RCPT "check_ccert_access { inline:{{client.example=OK}} { search_order = subject_cn } }, reject\n", &trusted, "ok" },
		{ "by subject, not trusted", RCPT "check_ccert_access { inline:{{client.example=OK}} { search_order = subject_cn } }, reject\n",
		    &untrusted, NO_ENTRY },
		{ "by issuer", RCPT "check_ccert_access { inline:{{Our CA=OK}} { search_order = issuer_cn } }, reject\n", &trusted, "ok" },
		{ "by issuer, not trusted", RCPT "check_ccert_access { inline:{{Our CA=OK}} { search_order = issuer_cn } }, reject\n", &untrusted,
		    NO_ENTRY },
		{ "by DNS name", RCPT "check_ccert_access { inline:{{*.client.example=OK}} { search_order = cert_fingerprint san_dns } }, reject\n",
		    &trusted, "ok" },
		{ "by DNS name, not trusted", RCPT "check_ccert_access { inline:{{client.example=OK}} { search_order = san_dns } }, reject\n",
		    &untrusted, NO_ENTRY },
		{ "a name like a fingerprint is none", RCPT "check_ccert_access { inline:{{" PK "=OK}} { search_order = subject_cn cert_fingerprint } }, reject\n",
		    &sly, NO_ENTRY },
		{ "a table that fails", RCPT "check_ccert_access fail:x, reject\n", &trusted,
		    "[warning fail:x: this table always fails] 451 4.3.0 <client.example>: Temporary lookup failure" },
		{ "listed by key", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{" PK "=x}}\n" RCPT "permit_tls_clientcerts, reject\n",
		    &untrusted, "ok" },
		{ "listed by certificate", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{" FP "=x}}\n" RCPT "permit_tls_clientcerts, reject\n",
		    &untrusted, "ok" },
		{ "trusted is not listed", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{x=x}}\n" RCPT "permit_tls_clientcerts, reject\n",
		    &trusted, NO_ENTRY },
		{ "all that are trusted", "smtpd_tls_ask_ccert = yes\n" RCPT "permit_tls_all_clientcerts, reject\n", &trusted, "ok" },
		{ "not those that are not", "smtpd_tls_ask_ccert = yes\n" RCPT "permit_tls_all_clientcerts, reject\n", &untrusted, NO_ENTRY },
		{ "but those that are listed", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = inline:{{" FP "=x}}\n" RCPT
		    "permit_tls_all_clientcerts, reject\n", &untrusted, "ok" },
		{ "nobody was asked", "relay_clientcerts = inline:{{" FP "=x}}\n" RCPT "permit_tls_clientcerts, reject\n", NULL,
		    "[warning permit_tls_clientcerts is requested, but \"smtpd_tls_ask_ccert = no\"] " NO_ENTRY },
		{ "relay_clientcerts fails", "smtpd_tls_ask_ccert = yes\nrelay_clientcerts = fail:x\n" RCPT "permit_tls_clientcerts, reject\n",
		    &trusted, "[warning fail:x: this table always fails] 451 4.3.0 <mail.bad.example[1.2.3.4]>: Temporary lookup failure" },
	};

	(void)state;
	untrusted.peer_trusted = false;
	sly.peer_cn = SPAN(PK);
	sly.pkey_fp = SPAN("44:55:66");
	fragile.key_would_do = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct acl_facts f = facts();

		f.tls_info = rows[i].t;
		f.tls = f.tls_info != NULL;
		check(rows[i].name, rows[i].conf, ACL_AT_RCPT, &f, rows[i].want);
	}
}

static void
test_bad_search_orders(void **state)
{
	static const struct {
		const char *arg, *why;
	} rows[] = {
		{ "{ inline:{{a=OK}} { search_order = favourite_colour } }", "search_order knows no \"favourite_colour\"" },
		{ "{ inline:{{a=OK}} { search_order = } }", "search_order names nothing" },
		{ "{ inline:{{a=OK}} { search_order = subject_cn subject_cn } }", "search_order names subject_cn twice" },
		{ "{ inline:{{a=OK}} { order = subject_cn } }", "expected { search_order = ... }" },
		{ "{ inline:{{a=OK}} search_order=subject_cn }", "expected { search_order = ... }" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rig g = { .conf = NULL };
		struct fault why = { 0 };
		char conf[512];

		snprintf(conf, sizeof(conf), RCPT "check_ccert_access %s, reject\n", rows[i].arg);
		assert_false(rig_open(&g, conf, &why));
		if (strstr(why.text, rows[i].why) == NULL)
			fail_msg("%s: %s", rows[i].arg, why.text);
		rig_close(&g);
	}
}

/* --- tls_require --- */

#define BY_SENDER "smtpd_sender_restrictions = check_sender_access inline:"
#define NOT_ASKED "authentication required, but no client certificate was requested (smtpd_tls_ask_ccert, or ask_ccert=yes in the client's " \
	"entry of smtpd_tls_policy_maps)"

static void
test_tls_require(void **state)
{
	struct kit_cert ca = kit_cert((struct kit_cert_spec){ .cn = "Our CA", .ca = true }), own = kit_cert((struct kit_cert_spec){ .cn = "x",
	    .issuer = &ca, .san = "DNS:mx.good.example,email:ops@good.example" });
	struct tls_client_shown weak = { .tls = true, .bits = 128, .name = SPAN("") }, plain = { .name = SPAN("") },
	    trusted = { .tls = true, .bits = 256, .asked = true, .trusted = true, .cert = own.cert, .name = SPAN("") };
	struct tls_info info = { .peer_cert = true, .peer_trusted = true, .asked = true };
	const char *table = kit_file("names", "/CN=Our+20CA OK\n/CN=x OK\n");
	const struct {
		const char *name, *conf;        /* "%s" is the table */
		const struct tls_client_shown *s;
		const char *want;
	} rows[] = {
		{ "in clear", BY_SENDER "{ {good.example = tls_require encrypt} }\n", &plain, "[info tls_require of a@good.example: encryption required: "
		    "the session is in clear text] 454 4.7.0 <a@good.example>: Sender address rejected: encryption required: issue STARTTLS first" },
		{ "nothing is known", BY_SENDER "{ {good.example = tls_require encrypt} }\n", NULL, "[info tls_require of a@good.example: encryption "
		    "required: the session is in clear text] 454 4.7.0 <a@good.example>: Sender address rejected: encryption required: issue STARTTLS first" },
		{ "another sender", BY_SENDER "{ {other.example = tls_require encrypt} }\n", &plain, "ok" },
		{ "encrypted", BY_SENDER "{ {good.example = tls_require encrypt} }\n", &weak, "ok" },
		{ "weak", BY_SENDER "{ {good.example = tls_require encrypt bits=256 action=5xx} }\n", &weak, "[info tls_require of a@good.example: encryption "
		    "too weak 128 less than 256] 554 5.7.0 <a@good.example>: Sender address rejected: encryption too weak 128 less than 256" },
		{ "not asked", BY_SENDER "{ {good.example = tls_require verify action=5xx} }\n", &weak, "[info tls_require of a@good.example: " NOT_ASKED
		    "] 454 4.7.0 <a@good.example>: Sender address rejected: authentication required, and no certificate was requested" },
		{ "verified", BY_SENDER "{ {good.example = tls_require verify match=mx.good.example} }\n", &trusted, "ok" },
		{ "verified, in braces", BY_SENDER "{ {good.example = tls_require { verify { issuer = CN=Our CA } } } }\n", &trusted, "ok" },
		{ "by a table of issuers", BY_SENDER "{ {good.example = tls_require { verify { issuer_maps = texthash:%s } } } }\n", &trusted, "ok" },
		{ "a table of issuers that fails", BY_SENDER "{ {good.example = tls_require verify issuer_maps=fail:x action=5xx} }\n", &trusted,
		    "[info tls_require of a@good.example: issuer_maps: fail:x: this table always fails] "
		    "454 4.7.0 <a@good.example>: Sender address rejected: authentication failed: temporary lookup failure" },
		{ "another name", BY_SENDER "{ {good.example = tls_require verify match=mx.else.example action=5xx} }\n", &trusted,
		    "[info tls_require of a@good.example: authentication failed: the client certificate has mx.good.example, wanted mx.else.example] "
		    "554 5.7.0 <a@good.example>: Sender address rejected: authentication failed: the client certificate is for another name" },
		{ "as a word of a list", RCPT "tls_require encrypt, permit_auth_destination, reject\n", &plain, "[info tls_require: encryption required: "
		    "the session is in clear text] 454 4.7.0 <joe@here.example>: Recipient address rejected: encryption required: issue STARTTLS first" },
		{ "with a policy in braces", "smtpd_client_restrictions = tls_require { encrypt bits=100 }, tls_require {verify}\n", &trusted, "ok" },
		{ "under warn_if_reject", "smtpd_client_restrictions = warn_if_reject tls_require encrypt\n", &plain, "[info tls_require: encryption required: "
		    "the session is in clear text] [reject_warning 454 4.7.0 <mail.bad.example[1.2.3.4]>: Client host rejected: encryption required: issue "
		    "STARTTLS first] ok" },
		{ "a value that makes no sense", BY_SENDER "{ {good.example = tls_require secure} }\n", &trusted, "[warning access table entry for "
		    "\"a@good.example\": unusable policy \"tls_require secure\": tls_require: \"secure\" is not one of none, may, encrypt, verify, fingerprint] 451 4.3.5 Server configuration error" },
		{ "by subject", RCPT "check_ccert_access { texthash:%s { search_order = subject_dn } }, reject\n", &trusted, "ok" },
		{ "by issuer, in full", RCPT "check_ccert_access { texthash:%s { search_order = issuer_dn } }, reject\n", &trusted, "ok" },
		{ "by mail address", RCPT "check_ccert_access { inline:{{ops@good.example=OK}} { search_order = san_email } }, reject\n", &trusted, "ok" },
		{ "by another mail address", RCPT "check_ccert_access { inline:{{ops@else.example=OK}} { search_order = san_email } }, reject\n", &trusted, NO_ENTRY },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct acl_facts f = facts();

		char conf[1024];
		size_t n = strcspn(rows[i].conf, "%");

		snprintf(conf, sizeof(conf), "%.*s%s%s", (int)n, rows[i].conf, rows[i].conf[n] != '\0' ? table : "",
		    rows[i].conf[n] != '\0' ? rows[i].conf + n + 2 : "");
		f.tls_shown = rows[i].s;
		f.tls = f.tls_shown != NULL && f.tls_shown->tls;
		f.tls_info = f.tls ? &info : NULL;
		check(rows[i].name, conf, ACL_AT_RCPT, &f, rows[i].want);
	}
	kit_cert_free(&own);
	kit_cert_free(&ca);
}

/* --- logins --- */

#define OWNERS "smtpd_sender_login_maps = inline:{ {joe@here.example=joe, ann} {@box.example=Ann} }\n"
#define SENDER "smtpd_sender_restrictions = "

static void
test_logins(void **state)
{
	static const struct {
		const char *name, *extra, *login, *sender, *want;
	} rows[] = {
		{ "who logged in may relay", "", "joe", "a@good.example", "ok" },
		{ "nobody else", "", "", "a@good.example", "454 4.7.1 <x@other.example>: Relay access denied" },
		{ "the owner", OWNERS SENDER "reject_sender_login_mismatch\n", "joe", "joe@here.example", "ok" },
		{ "names of owners in any case", OWNERS SENDER "reject_sender_login_mismatch\n", "aNN", "u@box.example", "ok" },
		{ "part of a name is another name", OWNERS SENDER "reject_sender_login_mismatch\n", "an", "u@box.example",
		    "553 5.7.1 <u@box.example>: Sender address rejected: not owned by user an" },
		{ "an address of nobody's, strictly", OWNERS SENDER "reject_authenticated_sender_login_mismatch\n", "joe", "a@good.example",
		    "553 5.7.1 <a@good.example>: Sender address rejected: not owned by user joe" },
		{ "an address of nobody's, known form", OWNERS SENDER "reject_known_sender_login_mismatch\n", "joe", "a@good.example", "ok" },
		{ "the null sender belongs to everybody", OWNERS SENDER "reject_sender_login_mismatch\n", "joe", "", "ok" },
		{ "a table of owners that fails", "smtpd_sender_login_maps = fail:x\n" SENDER "reject_known_sender_login_mismatch\n", "joe",
		    "joe@here.example", "[warning fail:x: this table always fails] 451 4.3.0 <joe@here.example>: Temporary lookup failure" },
		{ "an access table of logins", SENDER "check_sasl_access inline:{ {joe=DEFER later} }\n", "joe", "a@good.example",
		    "450 4.7.1 <joe>: SASL login name rejected: later" },
		{ "the same for somebody else", SENDER "check_sasl_access inline:{ {joe=DEFER later} }\n", "jo", "a@good.example", "ok" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct acl_facts f = facts();

		f.login = span_str(rows[i].login);
		f.sender = span_str(rows[i].sender);
		f.recipient = SPAN("x@other.example");
		check(rows[i].name, rows[i].extra, ACL_AT_RCPT, &f, rows[i].want);
	}
}

static const struct CMUnitTest tests[] = {
	KIT_TEST(test_client_certificates),
	KIT_TEST(test_bad_search_orders),
	KIT_TEST(test_tls_require),
	KIT_TEST(test_logins),
	KIT_TEST(test_recipients),
	KIT_TEST(test_failing_table),
	KIT_TEST(test_clients),
	KIT_TEST(test_helo),
	KIT_TEST(test_senders),
	KIT_TEST(test_refused_configurations),
};
KIT_MAIN(tests)
