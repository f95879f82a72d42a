/* Where addresses go, and which exist: rows over small configurations. */
#include "route/route.h"

#include <stdio.h>

#include "conf/conf.h"
#include "conf/params.h"
#include "kit/kit.h"
#include "maps/maps.h"
#include "route/rewrite.h"

static const struct maps_env env = { .data_directory = "", .default_database_type = "texthash",
	.alias_tables = "" };

struct world {
	struct conf *conf;
	struct conf_report report;
	struct route *route;
	struct arena *a;
};

#define BASE                                                                                       \
	"compatibility_level = 3.6\nmyhostname = mx.us.example\nmydomain = us.example\n"           \
	"myorigin = us.example\nmydestination = us.example, mx.us.example, localhost\n"            \
	"inet_interfaces = 127.0.0.1, 192.0.2.1\nproxy_interfaces = [2001:db8::25]\n"              \
	"recipient_delimiter = +\nalias_maps =\nlocal_recipient_maps =\n"

static struct world
begin(const char *extra)
{
	struct world w = { .a = arena_new(8 << 20) };
	struct fault why = { 0 };
	char text[8192];

	snprintf(text, sizeof(text), "%s%s", BASE, extra);
	conf_report_init(&w.report);
	conf_parse(span_str(text), SPAN(""), &w.conf, &w.report);
	if (w.conf == NULL)
		fail_msg("configuration: %s", w.report.count > 0 ? w.report.list[0].text : "?");
	if (!route_open(w.conf->params, ROUTE_RECIPIENTS, &env, &w.route, &why))
		fail_msg("route_open: %s", why.text);
	return w;
}

static void
end(struct world *w)
{
	route_close(&w->route);
	conf_unref(&w->conf);
	conf_report_release(&w->report);
	arena_free(&w->a);
}

/* "class transport:nexthop rcpt [routed|syntax]", or "defer" / "wait". */
static const char *
resolve(struct world *w, const char *sender, const char *rcpt, unsigned flags)
{
	static const char *const classes[] = { "local", "alias", "virtual", "relay", "default" };
	struct route_answer r;
	struct fault why = { 0 };

	switch (route_resolve(w->route, span_str(sender), span_str(rcpt), flags, NULL, w->a, &r, &why)) {
	case MAP_FOUND:
		break;
	case MAP_ABSENT:
		return "absent";
	case MAP_DEFER:
		return "defer";
	case MAP_WAIT:
		return "wait";
	}
	return arena_printf(w->a, "%s %.*s:%.*s %.*s%s%s", classes[r.class], SPAN_ARG(r.transport),
	    SPAN_ARG(r.nexthop), SPAN_ARG(r.rcpt), r.routed ? " routed" : "", r.bad_syntax ? " syntax" : "").p;
}

struct row {
	const char *name, *sender, *rcpt, *want;
};

static void
check_rows(const char *conf, const struct row *rows, size_t n)
{
	struct world w = begin(conf);

	for (size_t i = 0; i < n; i++) {
		const char *got = resolve(&w, rows[i].sender, rows[i].rcpt, 0);

		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: <%s> goes \"%s\", want \"%s\"", rows[i].name, rows[i].rcpt, got, rows[i].want);
	}
	end(&w);
}
#define CHECK_ROWS(conf, rows) check_rows(conf, rows, sizeof(rows) / sizeof(rows[0]))

static void
classes(void **state)
{
	static const struct row rows[] = {
		{ "our domain", "", "u@us.example", "local local:mx.us.example u@us.example" },
		{ "any case", "", "u@US.Example", "local local:mx.us.example u@US.Example" },
		{ "no domain", "", "u", "local local:mx.us.example u@mx.us.example" },
		{ "nobody", "", "", "local local:mx.us.example MAILER-DAEMON@mx.us.example" },
		{ "no user", "", "@us.example", "local local:mx.us.example MAILER-DAEMON@us.example" },
		{ "our address", "", "u@[192.0.2.1]", "local local:mx.us.example u@[192.0.2.1]" },
		{ "our address behind a translator", "", "u@[IPv6:2001:db8::25]",
		    "local local:mx.us.example u@[IPv6:2001:db8::25]" },
		{ "another address", "", "u@[192.0.2.2]", "default smtp:[192.0.2.2] u@[192.0.2.2]" },
		{ "final dot", "", "u@us.example.", "local local:mx.us.example u@us.example" },
		{ "alias domain", "", "u@alias.example", "alias error:5.1.1 User unknown in virtual alias table u@alias.example" },
		{ "mailbox domain", "", "u@box.example", "virtual virtual:box.example u@box.example" },
		{ "relay domain", "", "u@relay.example", "relay relay:relay.example u@relay.example" },
		{ "below a relay domain", "", "u@a.relay.example", "relay relay:a.relay.example u@a.relay.example" },
		{ "not below a mailbox domain", "", "u@a.box.example", "default smtp:a.box.example u@a.box.example" },
		{ "elsewhere", "", "u@x.example", "default smtp:x.example u@x.example" },
	};

	(void)state;
	CHECK_ROWS("virtual_alias_domains = alias.example\nvirtual_alias_maps = inline:{u@alias.example=v}\n"
	    "virtual_mailbox_domains = box.example\nrelay_domains = relay.example\n", rows);
}

static void
routing_operators(void **state)
{
	static const struct row rows[] = {
		{ "percent behind our domain", "", "u%x.example@us.example", "default smtp:x.example u@x.example" },
		{ "bang behind our domain", "", "x.example!u@us.example", "default smtp:x.example u@x.example" },
		{ "percent, ours in the end", "", "u%localhost@us.example", "local local:mx.us.example u@localhost" },
		{ "an at inside", "", "u@x.example@us.example", "default smtp:x.example u@x.example" },
		{ "two hops", "", "u%y.example%us.example@localhost", "default smtp:y.example u@y.example" },
		{ "for somebody else to obey", "", "u%y.example@x.example", "default smtp:x.example u%y.example@x.example routed" },
		{ "bang for somebody else", "", "y!u@x.example", "default smtp:x.example y!u@x.example routed" },
		{ "at for somebody else", "", "u@y.example@x.example", "default smtp:x.example u@y.example@x.example routed" },
		{ "bare percent", "", "u%x.example", "default smtp:x.example u@x.example" },
	};
	static const struct row off[] = {
		{ "percent off", "", "u%x.example@us.example", "local local:mx.us.example u%x.example@us.example routed" },
		{ "bang off", "", "x.example!u@us.example", "local local:mx.us.example x.example!u@us.example routed" },
	};
	static const struct row quoted[] = {
		{ "not looked into", "", "u@x.example@us.example", "local local:mx.us.example u@x.example@us.example routed" },
		{ "unquoted still", "", "u%x.example@us.example", "default smtp:x.example u@x.example" },
	};

	(void)state;
	CHECK_ROWS("", rows);
	CHECK_ROWS("allow_percent_hack = no\nswap_bangpath = no\n", off);
	CHECK_ROWS("resolve_dequoted_address = no\n", quoted);
}

/* Odd forms, with what Postfix 3.10.3's resolver answered under the same configuration. */
static void
as_postfix_says(void **state)
{
	static const struct row rows[] = {
		{ "", "", "u@x_y.example", "default smtp:x_y.example u@x_y.example" },
		{ "", "", "u@host", "default smtp:host u@host" },
		{ "", "", "a b@us.example", "local local:mx.us.example a b@us.example" },
		{ "", "", "a b%x.example@us.example", "default smtp:x.example a b@x.example" },
		{ "", "", ".@us.example", "local local:mx.us.example .@us.example" },
		{ "", "", "u.@us.example", "local local:mx.us.example u.@us.example" },
		{ "", "", "x!@us.example", "default smtp:x @x" },
		{ "", "", "@a.example:u@x.example", "default smtp:x.example @a.example:u@x.example routed" },
		{ "", "", "a:b@x.example", "default smtp:x.example a:b@x.example" },
		{ "", "", "u@x.example.@us.example", "default smtp:x.example u@x.example" },
		{ "", "", "u@@x.example", "default smtp:x.example u@@x.example routed" },
		{ "", "", "u%us.example%x.example@us.example", "default smtp:x.example u%us.example@x.example routed" },
		{ "", "", "+x@us.example", "local local:mx.us.example +x@us.example" },
		{ "", "", "u@us.example@us.example", "local local:mx.us.example u@us.example" },
	};
	static const char *const bad[] = {
		"u%@us.example", "!u@us.example", "u%.@us.example", "u@@us.example", "u@xn--.example", "u@x-.example",
		"\"u%x.example\"@us.example", "u@[2001:db8::25]",
	};
	struct world w = begin("");

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(strstr(resolve(&w, "", bad[i], 0), " syntax"));
	end(&w);
	CHECK_ROWS("", rows);
}

static void
broken_addresses(void **state)
{
	static const char *const bad[] = {
		"u@", "u@a..example", "u@.example", "u@-a.example", "u@1.2.3.4", "u@[1.2.3]", "u@[]", "u@a b.example",
		"-u@x.example", "u@x.example..", "u@\xff.example",
	};
	static const struct row numeric[] = {
		{ "a bare address", "", "u@198.51.100.1", "default smtp:[198.51.100.1] u@[198.51.100.1]" },
		{ "ours", "", "u@192.0.2.1", "local local:mx.us.example u@[192.0.2.1]" },
	};
	static const struct row dash[] = {
		{ "allowed", "", "-u@x.example", "default smtp:x.example -u@x.example" },
		{ "null domain", "", "u@", "local local:mx.us.example u@mx.us.example" },
	};
	struct world w = begin("");

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *got = resolve(&w, "", bad[i], 0);

		if (strstr(got, "error:5.1.3 bad address syntax") == NULL || strstr(got, " syntax") == NULL)
			fail_msg("<%s>: %s", bad[i], got);
	}
	end(&w);
	CHECK_ROWS("resolve_numeric_domain = yes\n", numeric);
	CHECK_ROWS("allow_min_user = yes\nresolve_null_domain = yes\n", dash);
}

static void
relays(void **state)
{
	static const struct row rows[] = {
		{ "default class by relayhost", "s@q.example", "u@x.example", "default smtp:[gw.example]:587 u@x.example" },
		{ "relay class by relayhost", "s@q.example", "u@relay.example", "relay relay:[gw.example]:587 u@relay.example" },
		{ "not the local class", "s@q.example", "u@us.example", "local local:mx.us.example u@us.example" },
		{ "not the mailbox class", "s@q.example", "u@box.example", "virtual virtual:box.example u@box.example" },
		{ "by sender", "s@special.example", "u@x.example", "default smtp:[sp.example] u@x.example" },
		{ "by sender with extension", "t+y@other.example", "u@x.example", "default smtp:[t.example] u@x.example" },
		{ "DUNNO means relayhost", "s@dunno.example", "u@x.example", "default smtp:[gw.example]:587 u@x.example" },
		{ "null sender key", "", "u@x.example", "default smtp:[null.example] u@x.example" },
		{ "transport by sender", "s@xport.example", "u@x.example", "default special:[gw.example]:587 u@x.example" },
		{ "transport and hop by sender", "s@both.example", "u@x.example", "default special:hop u@x.example" },
		{ "transport of the null sender", "s@dx.example", "u@x.example", "default smtp:[gw.example]:587 u@x.example" },
	};
	static const struct row fixed[] = {
		{ "hop in the parameter", "", "u@x.example", "default smtp:[fixed] u@x.example" },
		{ "local disabled", "", "u@us.example", "local error:local mail delivery is disabled u@us.example" },
	};

	(void)state;
	CHECK_ROWS("relayhost = [gw.example]:587\nrelay_domains = relay.example\nvirtual_mailbox_domains = box.example\n"
	    "sender_dependent_relayhost_maps = inline:{@special.example=[sp.example] @dunno.example=DUNNO "
	    "t@other.example=[t.example] <>=[null.example]}\n"
	    "sender_dependent_default_transport_maps = inline:{@xport.example=special @both.example=special:hop "
	    "@dx.example=DUNNO}\n", rows);
	CHECK_ROWS("default_transport = smtp:[fixed]\nrelayhost = [gw]\nlocal_transport = error:local mail delivery is disabled\n",
	    fixed);
}

static void
transport_table(void **state)
{
	static const struct row rows[] = {
		{ "whole address with extension", "", "u+x@t.example", "default one:hop u+x@t.example" },
		{ "address without it", "", "u+y@t.example", "default two:t.example u+y@t.example" },
		{ "domain", "", "v@t.example", "default three:[h]:25 v@t.example" },
		{ "below, with the dot", "", "v@a.b.t.example", "default four:a.b.t.example v@a.b.t.example" },
		{ "hop alone keeps the transport", "", "v@hop.example", "default smtp:[other] v@hop.example" },
		{ "colon alone changes nothing", "", "v@noop.example", "default smtp:[gw.example] v@noop.example" },
		{ "transport without colon", "", "v@bare.example", "default five:bare.example v@bare.example" },
		{ "error without text", "", "v@err.example", "default error:Address is undeliverable v@err.example" },
		{ "error with text", "", "v@txt.example", "default error:5.1.2 no such domain v@txt.example" },
		{ "retry without text", "", "v@later.example", "default retry:Address is undeliverable v@later.example" },
		{ "local class too", "", "v@localhost", "local six:[box] v@localhost" },
		{ "alias class stays refused", "", "v@alias.example",
		    "alias error:5.1.1 User unknown in virtual alias table v@alias.example" },
		{ "a list of hops", "", "v@list.example", "default smtp:[a], [b]:26 v@list.example" },
		{ "everything else", "", "v@x.example", "default smtp:[star] v@x.example" },
	};
	static const struct row parents[] = {
		{ "below, without the dot", "", "v@a.t.example", "default three:a.t.example v@a.t.example" },
	};

	(void)state;
	CHECK_ROWS("relayhost = [gw.example]\nvirtual_alias_domains = alias.example\ntransport_maps = inline:{ "
	    "u+x@t.example=one:hop u@t.example=two: t.example=three:[h]:25 .t.example=four: hop.example=:[other] "
	    "noop.example=: bare.example=five err.example=error: {txt.example=error:5.1.2 no such domain} "
	    "later.example=retry: localhost=six:[box] alias.example=seven: {list.example=smtp:[a], [b]:26} *=:[star] }\n", rows);
	CHECK_ROWS("parent_domain_matches_subdomains = transport_maps\ntransport_maps = inline:{t.example=three:}\n", parents);
}

static void
failing_tables_defer(void **state)
{
	static const char *const confs[] = {
		"mydestination = fail:x\n", "virtual_alias_domains = fail:x\n", "virtual_mailbox_domains = fail:x\n",
		"relay_domains = fail:x\n", "transport_maps = fail:x\n", "sender_dependent_relayhost_maps = fail:x\n",
		"sender_dependent_default_transport_maps = fail:x\n", "relocated_maps = fail:x\n",
		"transport_maps = lmdb:/x\n", "sender_dependent_relayhost_maps = inline:{a=}, fail:x\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
		struct world w = begin(confs[i]);
		const char *got = resolve(&w, "s@y.example", "u@x.example", 0);

		if (strcmp(got, "defer") != 0)
			fail_msg("%s: %s", confs[i], got);
		end(&w);
	}
}

static void
moved_users(void **state)
{
	static const struct row rows[] = {
		{ "of ours", "", "gone+x@us.example", "local error:5.1.6 User has moved to new@y.example gone+x@us.example" },
		{ "by domain", "", "u@old.example", "default error:5.1.6 User has moved to elsewhere u@old.example" },
		{ "others", "", "u@us.example", "local local:mx.us.example u@us.example" },
	};

	(void)state;
	CHECK_ROWS("relocated_maps = inline:{gone=new@y.example @old.example=elsewhere}\n", rows);
}

/* What parameters change of the rules above. */
static void
parameters(void **state)
{
	static const struct row moved[] = {
		{ "without prefix", "", "gone@us.example", "local error:new@y.example gone@us.example" },
		{ "with a code of the table's own", "", "left@us.example", "local error:4.2.0 back soon left@us.example" },
	};
	static const struct row keys[] = {
		{ "relayhost of the null sender", "", "u@x.example", "default special:[null.example] u@x.example" },
		{ "of others", "s@y.example", "u@x.example", "default smtp:x.example u@x.example" },
	};
	static const struct row names[] = {
		{ "nobody is somebody else", "", "", "local local:mx.us.example nobody@mx.us.example" },
		{ "relay class", "", "u@relay.example", "relay back:[inside] u@relay.example" },
		{ "mailbox class", "", "u@box.example", "virtual boxes:box.example u@box.example" },
	};

	(void)state;
	CHECK_ROWS("relocated_prefix_enable = no\nrelocated_maps = inline:{ {gone=new@y.example}, {left=4.2.0 back soon} }\n", moved);
	CHECK_ROWS("empty_address_relayhost_maps_lookup_key = NOBODY\nempty_address_default_transport_maps_lookup_key = NONE\n"
	    "sender_dependent_relayhost_maps = inline:{ nobody=[null.example] <>=[wrong] }\n"
	    "sender_dependent_default_transport_maps = inline:{ none=special <>=wrong }\n", keys);
	CHECK_ROWS("empty_address_recipient = nobody\nrelay_domains = relay.example\nrelay_transport = back:[inside]\n"
	    "virtual_mailbox_domains = box.example\nvirtual_transport = boxes\n", names);
}

static void
probes(void **state)
{
	struct world w = begin("relayhost = [gw]\naddress_verify_relayhost =\naddress_verify_default_transport = direct\n");

	(void)state;
	assert_string_equal(resolve(&w, "", "u@x.example", 0), "default smtp:[gw] u@x.example");
	assert_string_equal(resolve(&w, "", "u@x.example", ROUTE_PROBE), "default direct:x.example u@x.example");
	end(&w);
}

static void
double_classes_warn_once(void **state)
{
	struct world w = begin("virtual_alias_domains = us.example\nrelay_domains = box.example\nvirtual_mailbox_domains = box.example\n");

	(void)state;
	expect_log("do not list domain us.example in BOTH mydestination and virtual_alias_domains");
	expect_log("do not list domain box.example in BOTH virtual_mailbox_domains and relay_domains");
	for (int i = 0; i < 3; i++) {
		resolve(&w, "", "u@us.example", 0);
		resolve(&w, "", "u@box.example", 0);
	}
	end(&w);
}

static void
refused_configurations(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "transport_maps = mysql:/x\n", "transport_maps: mysql:/x: table type" },
		{ "relay_domains = nope:/x\n", "relay_domains: nope:/x: unknown table type" },
		{ "local_transport = :x\n", "local_transport: \":x\" names no transport" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_report report;
		struct conf *conf = NULL;
		struct route *route;
		struct fault why = { 0 };
		char text[4096];

		snprintf(text, sizeof(text), "%s%s", BASE, rows[i].text);
		conf_report_init(&report);
		conf_parse(span_str(text), SPAN(""), &conf, &report);
		if (conf != NULL) {
			assert_false(route_open(conf->params, 0, &env, &route, &why));
			assert_null(route);
			if (strstr(why.text, rows[i].want) == NULL)
				fail_msg("%s: %s", rows[i].text, why.text);
		}
		conf_unref(&conf);
		conf_report_release(&report);
	}
}

static void
known_recipients(void **state)
{
	static const struct {
		const char *name, *rcpt;
		bool as_sender;
		const char *want;
	} rows[] = {
		{ "a local user", "joe@us.example", false, "yes" },
		{ "with extension", "joe+list@us.example", false, "yes" },
		{ "unknown local user", "jim@us.example", false, "550 5.1.1 User unknown in local recipient table" },
		{ "as sender", "jim@us.example", true, "550 5.1.0 User unknown in local recipient table" },
		{ "postmaster always", "Postmaster@us.example", false, "yes" },
		{ "the double bounce address", "double-bounce@us.example", false, "yes" },
		{ "alias domain, known", "a@alias.example", false, "yes" },
		{ "alias domain, unknown", "b@alias.example", false, "550 5.1.1 User unknown in virtual alias table" },
		{ "alias of any domain", "any@elsewhere.example", false, "yes" },
		{ "canonical", "canon@us.example", false, "yes" },
		{ "mailbox known", "m@box.example", false, "yes" },
		{ "mailbox unknown", "n@box.example", false, "551 5.1.1 User unknown in virtual mailbox table" },
		{ "relay known", "r@relay.example", false, "yes" },
		{ "relay by @domain", "x@all.relay.example", false, "yes" },
		{ "relay unknown", "q@relay.example", false, "550 5.1.1 User unknown in relay recipient table" },
		{ "elsewhere nobody knows", "q@x.example", false, "yes" },
		{ "an error transport", "u@err.example", false, "550 5.1.2 no such place" },
		{ "a retry transport", "u@later.example", false, "450 4.1.1 come back" },
		{ "routed: the next hop decides", "q%y.example@relay.example", false, "yes" },
	};
	struct world w = begin("local_recipient_maps = inline:{joe=x}\nvirtual_alias_maps = inline:{a@alias.example=b any@elsewhere.example=c}\n"
	    "virtual_alias_domains = alias.example\ncanonical_maps = inline:{canon=d}\nvirtual_mailbox_domains = box.example\n"
	    "virtual_mailbox_maps = inline:{m@box.example=m/}\nrelay_domains = relay.example\n"
	    "relay_recipient_maps = inline:{r@relay.example=x @all.relay.example=x}\nunknown_virtual_mailbox_reject_code = 551\n"
	    "transport_maps = inline:{ {err.example=error:5.1.2 no such place} {later.example=retry:4.1.1 come back} }\n");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct route_unlisted u;
		struct fault why = { 0 };
		enum map_result r = route_recipient_exists(w.route, SPAN(""), span_str(rows[i].rcpt), rows[i].as_sender,
		    NULL, w.a, &u, &why);
		const char *got = r == MAP_FOUND ? "yes" : r != MAP_ABSENT ? why.text :
		    arena_printf(w.a, "%d %.*s %.*s", u.code, SPAN_ARG(u.dsn), SPAN_ARG(u.text)).p;

		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s: \"%s\", want \"%s\"", rows[i].name, rows[i].rcpt, got, rows[i].want);
	}
	end(&w);
}

static void
canonical_form(void **state)
{
	static const struct {
		const char *addr, *want;
	} rows[] = {
		{ "", "" }, { "u", "u@us.example" }, { "u@h", "u@h" }, { "u@x.example.", "u@x.example" },
		{ "u@x.example..", "u@x.example.." }, { "u@.", "u@." }, { "x.example!u", "u@x.example" },
		{ "a!b!u", "b!u@a" }, { "u%x.example", "u@x.example" }, { "u%y%x.example", "u%y@x.example" },
		{ "u%x@y.example", "u%x@y.example" }, { "@a,@b:u@x.example", "u@x.example" }, { "@a:u@x.example", "u@x.example" },
		{ "@x.example", "@x.example" }, { "u@[192.0.2.1]", "u@[192.0.2.1]" }, { "@[IPv6:::1]", "@[IPv6:::1]" },
		{ "@a:u", "u@us.example" }, { "@", "" }, { "@[IPv6:::1]:u@x", "u@x" }, { "u@", "u@" },
	};
	struct world w = begin("");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span got = route_rewrite_local(w.conf->params, span_str(rows[i].addr), w.a);

		if (!span_eq(got, span_str(rows[i].want)))
			fail_msg("%s: %.*s, want %s", rows[i].addr, SPAN_ARG(got), rows[i].want);
		assert_span(route_rewrite_local(w.conf->params, got, w.a), arena_cstr(w.a, got));
	}
	end(&w);
	w = begin("append_dot_mydomain = yes\nappend_at_myorigin = no\n");
	assert_span(route_rewrite_local(w.conf->params, SPAN("u@h"), w.a), "u@h.us.example");
	assert_span(route_rewrite_local(w.conf->params, SPAN("u"), w.a), "u");
	assert_span(route_rewrite_local(w.conf->params, SPAN("h!u"), w.a), "u@h.us.example");
	end(&w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		KIT_TEST(classes), KIT_TEST(routing_operators), KIT_TEST(as_postfix_says), KIT_TEST(broken_addresses), KIT_TEST(relays),
		KIT_TEST(transport_table), KIT_TEST(failing_tables_defer), KIT_TEST(moved_users), KIT_TEST(parameters), KIT_TEST(probes),
		KIT_TEST(double_classes_warn_once), KIT_TEST(refused_configurations), KIT_TEST(known_recipients),
		KIT_TEST(canonical_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
