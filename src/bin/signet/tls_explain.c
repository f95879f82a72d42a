/*
 * signet tls explain: where mail for an address goes, what TLS policy each server must meet, and why. The facts are
 * gathered and decided on by the code that delivery uses (lib/route, lib/hop, lib/tls).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "conf/conf.h"
#include "maps/maps.h"
#include "route/route.h"
#include "signet/cli.h"
#include "signet/tls.h"

enum { FACTS_MAX = 8 << 20, OUT_MAX = 16 << 20, ARENA_MAX = 256 << 20 };

struct explain {
	struct cli *cli;
	struct conf *conf;
	struct arena *a;
	struct tls_asks asks;
	struct fault why;
	bool json, lmtp;
	const char *facts_in, *facts_out, *service;
	const char *what;
	struct explain_way way;
	struct route *route;
	struct route_answer answer;
	struct hop_service svc;
	struct hop_own own;
	struct hop hop;
	bool unreachable;               /* hop_gather answered ABSENT with `why` */
};

/* ---- the way */

static enum map_result
step_route(void *ctx)
{
	struct explain *e = ctx;

	return route_resolve(e->route, SPAN(""), e->way.recipient, 0, e->asks.asks, e->a, &e->answer, &e->why);
}

/* An address, or a bare domain: as its postmaster's. */
static bool
find_way(struct explain *e)
{
	struct span what = span_str(e->what);
	enum map_result r;

	e->way.what = what;
	if (what.n > 0 && (what.p[0] == '[' || span_starts(what, SPAN("unix:")) || (span_index(what, ':') >= 0 && span_index(what, '@') < 0))) {
		e->way.nexthop = what;          /* a next hop as it stands in tables */
		e->way.source = SPAN("the command line");
		return true;
	}
	e->way.recipient = span_index(what, '@') >= 0 ? what : arena_printf(e->a, "postmaster@%s", e->what);
	if (!route_open(e->conf->params, 0, &e->asks.env, &e->route, &e->why))
		return false;
	r = tls_asks_run(&e->asks, step_route, e);
	if (r != MAP_FOUND)
		return e->why.text[0] != '\0' || fault_set(&e->why, NULL, "%s has no route", e->what);
	e->way.recipient = e->answer.rcpt;
	e->way.transport = e->answer.transport;
	e->way.nexthop = e->answer.nexthop;
	e->way.source = e->answer.source;
	fault_clear(&e->why);
	return true;
}

/* The service of master.cf that would deliver. */
static const struct conf_service *
find_service(struct explain *e)
{
	const char *name = e->service != NULL ? e->service : e->way.transport.n > 0 ? arena_cstr(e->a, e->way.transport) : "smtp";
	const struct conf_service *cs = conf_find_service(e->conf, name, false);

	if (cs == NULL) {
		fault_set(&e->why, NULL, "master.cf has no service %s", name);
		return NULL;
	}
	if (strcmp(cs->command, "smtp") != 0 && strcmp(cs->command, "lmtp") != 0) {
		fault_set(&e->why, NULL, "%s is delivered by %s of master.cf (%s), not by SMTP or LMTP: TLS has no part in it",
		    e->way.recipient.n > 0 ? arena_cstr(e->a, e->way.recipient) : e->what, cs->name, cs->command);
		return NULL;
	}
	e->way.service = arena_printf(e->a, "%s (%s:%u)", cs->name, cs->file, cs->line);
	return cs;
}

/* ---- the facts */

static enum map_result
step_gather(void *ctx)
{
	struct explain *e = ctx;

	return hop_gather(&e->hop, e->way.nexthop, &e->why);
}

static bool
gather(struct explain *e)
{
	const struct conf_service *cs;

	tls_asks_open(&e->asks, e->conf);
	if (!find_way(e))
		return false;
	cs = find_service(e);
	if (cs == NULL || !hop_service_open(&e->svc, cs, &e->asks.env, &e->why))
		return false;
	hop_own_find(e->conf->params, &e->own);
	e->hop = (struct hop){ .svc = &e->svc, .own = &e->own, .arena = e->a, .asks = e->asks.asks,
		.native = tls_asks_native, .native_ctx = &e->asks };
	e->unreachable = tls_asks_run(&e->asks, step_gather, e) != MAP_FOUND;
	if (e->asks.asked_dns && !e->asks.connected)
		return fault_set(&e->why, NULL, "DNS is asked by the running daemon: %s (without it: next hops by address, or --facts FILE)",
		    e->asks.why.text);
	return e->unreachable || tls_look_at_files(e->conf, &e->hop, &e->why);
}

/* ---- files */

static bool
read_facts(struct explain *e, struct explain_recorded *r)
{
	struct buf text;
	int err;
	bool ok = false;

	buf_init(&text, FACTS_MAX);
	err = fd_read_file(AT_FDCWD, e->facts_in, &text);
	if (err < 0)
		fault_set(&e->why, NULL, "%s: %s", e->facts_in, fd_error(err));
	else
		ok = explain_facts_load(buf_span(&text), e->a, r, &e->why);
	if (err >= 0 && !ok)
		fault_prefix(&e->why, "%s", e->facts_in);
	buf_release(&text);
	return ok;
}

static bool
save_facts(struct explain *e)
{
	json_t *o = json_object();
	char *text = NULL;
	int fd, err;

	json_object_set_new(o, "way", explain_way_json(&e->way));
	json_object_set_new(o, "facts", explain_facts_json(&e->hop));
	text = json_dumps(o, JSON_INDENT(1));
	json_decref(o);
	fd = text == NULL ? -ENOMEM : fd_open(AT_FDCWD, e->facts_out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	err = fd < 0 ? fd : fd_write_all(fd, text, strlen(text));
	fd_close(&fd);
	free(text);
	return err >= 0 || fault_set(&e->why, NULL, "%s: %s", e->facts_out, fd_error(err));
}

/* ---- showing */

static int
show_text(struct explain *e, const struct hop *h)
{
	struct buf out;
	int status;

	buf_init(&out, OUT_MAX);
	explain_show_way(&out, &e->way);
	explain_show_hop(&out, h);
	if (e->unreachable)
		buf_addf(&out, "%-15s no server to go to: %s %s\n", "verdict", e->why.dsn, e->why.text);
	for (size_t i = 0; i < h->count; i++) {
		struct arena *a = arena_new(TLS_HOST_ARENA_MAX);

		explain_show_host(&out, h, &h->list[i], i + 1, a);
		arena_free(&a);
	}
	status = cli_print(e->cli, &out);
	buf_release(&out);
	return status;
}

static int
show_json(struct explain *e, const struct hop *h)
{
	json_t *o = json_object(), *servers = json_array();
	struct buf out;
	char *text;
	int status;

	json_object_set_new(o, "way", explain_way_json(&e->way));
	if (e->unreachable) {
		json_object_set_new(o, "dsn", json_string(e->why.dsn));
		json_object_set_new(o, "reason", explain_json_span(span_str(e->why.text)));
	}
	for (size_t i = 0; i < h->count; i++) {
		struct arena *a = arena_new(TLS_HOST_ARENA_MAX);

		json_array_append_new(servers, explain_host_json(h, &h->list[i], a));
		arena_free(&a);
	}
	json_object_set_new(o, "servers", servers);
	json_object_set_new(o, "facts", explain_facts_json(h));
	text = json_dumps(o, JSON_INDENT(1));
	json_decref(o);
	buf_init(&out, OUT_MAX);
	buf_add_str(&out, text != NULL ? text : "");
	buf_addc(&out, '\n');
	free(text);
	status = cli_print(e->cli, &out);
	buf_release(&out);
	return status;
}

static int
run(struct explain *e)
{
	struct explain_recorded recorded;

	if (e->facts_in != NULL) {
		if (!read_facts(e, &recorded))
			return cli_fail(e->cli, CLI_NO, "%s", e->why.text);
		e->way.nexthop = recorded.hop.nexthop;
		e->way.source = span_str(e->facts_in);
		return e->json ? show_json(e, &recorded.hop) : show_text(e, &recorded.hop);
	}
	e->conf = cli_conf(e->cli);
	if (e->conf == NULL)
		return CLI_NO;
	if (!gather(e) || (e->facts_out != NULL && !save_facts(e)))
		return cli_fail(e->cli, CLI_NO, "%s", e->why.text);
	return e->json ? show_json(e, &e->hop) : show_text(e, &e->hop);
}

static void
release(struct explain *e)
{
	hop_own_release(&e->own);
	if (e->svc.p != NULL)
		hop_service_release(&e->svc);
	if (e->route != NULL)
		route_close(&e->route);
	if (e->asks.loop != NULL)
		tls_asks_close(&e->asks);
	conf_unref(&e->conf);
	arena_free(&e->a);
}

/* "--name VALUE". False: that is not it. */
static bool
option(int argc, char **argv, int *i, const char *name, const char **value_r)
{
	if (strcmp(argv[*i], name) != 0 || *i + 1 >= argc)
		return false;
	*value_r = argv[++*i];
	return true;
}

int
tls_explain(struct cli *cli, int argc, char **argv)
{
	struct explain e = { .cli = cli };
	int status;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--client") == 0)
			return tls_explain_client(cli, argc, argv);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			e.json = true;
		else if (option(argc, argv, &i, "--facts", &e.facts_in) || option(argc, argv, &i, "--save-facts", &e.facts_out) ||
		    option(argc, argv, &i, "--service", &e.service))
			continue;
		else if (argv[i][0] == '-' && argv[i][1] != '\0')
			return cli_usage(cli, "unknown option, or one without its value: %s", argv[i]);
		else if (e.what != NULL)
			return cli_usage(cli, "one address, domain or next hop at a time");
		else
			e.what = argv[i];
	}
	if (e.what == NULL && e.facts_in == NULL)
		return cli_usage(cli, "explain needs an address, a domain or a next hop");
	e.a = arena_new(ARENA_MAX);
	status = run(&e);
	release(&e);
	return status;
}
