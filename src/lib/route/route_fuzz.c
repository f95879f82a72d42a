/* Fuzz: "sender\nrecipient" through the resolver and the canonical form. */
#include "route/route.h"

#include "base/log.h"
#include "base/panic.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "maps/maps.h"
#include "route/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char main_cf[] =
    "compatibility_level = 3.6\nmyhostname = mx.us.example\nmydomain = us.example\nmyorigin = us.example\n"
    "mydestination = us.example, localhost\ninet_interfaces = 127.0.0.1\nrecipient_delimiter = +-\n"
    "alias_maps =\nlocal_recipient_maps = inline:{joe=x}\nvirtual_alias_domains = alias.example\nappend_dot_mydomain = yes\n"
    "virtual_alias_maps = inline:{a@alias.example=b}\nrelay_domains = relay.example\nresolve_numeric_domain = yes\n"
    "transport_maps = inline:{ {.t.example=x:y} {*=:z} } regexp:{ {/^(.*)@q\\.example$$/ error:5.1.1 $$1} }\n"
    "sender_dependent_relayhost_maps = inline:{@s.example=[r]}\nrelocated_maps = inline:{gone=away}\n";

static const struct maps_env env = { .data_directory = "", .default_database_type = "cdb", .alias_tables = "" };

static struct route *
setup(const struct params **p_r)
{
	static struct conf *conf;
	static struct route *route;

	if (route == NULL) {
		struct conf_report report;

		conf_report_init(&report);
		conf_parse(span_str(main_cf), SPAN(""), &conf, &report);
		ensure(conf != NULL);
		ensure(route_open(conf->params, ROUTE_RECIPIENTS, &env, &route, NULL));
		conf_report_release(&report);
	}
	*p_r = conf->params;
	return route;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct params *params;
	struct route *route = setup(&params);
	struct span sender, rcpt, once;
	struct route_unlisted u;
	struct route_answer r;
	struct arena *a;

	if (n > 2048)
		return 0;
	a = arena_new(16 << 20);
	span_cut(span_of(p, n), '\n', &sender, &rcpt);
	ensure(route_resolve(route, sender, rcpt, 0, NULL, a, &r, NULL) == MAP_FOUND);
	ensure(r.transport.n > 0 && r.nexthop.n > 0 && span_rindex(r.rcpt, '@') >= 0);
	ensure(span_index(r.transport, ':') < 0);
	(void)route_recipient_exists(route, sender, rcpt, false, NULL, a, &u, NULL);
	once = route_rewrite_local(params, rcpt, a);
	(void)route_rewrite_local(params, once, a);
	arena_free(&a);
	return 0;
}
