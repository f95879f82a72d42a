/*
 * signet tls explain: where mail for an address goes, what TLS policy each server must meet, and why. The facts are
 * gathered and decided on by the code that delivery uses (lib/route, lib/hop, lib/tls).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "maps/maps.h"
#include "route/route.h"
#include "signet/cli.h"
#include "signet/tls.h"

enum { FACTS_MAX = 8 << 20, OUT_MAX = 16 << 20, ARENA_MAX = 256 << 20, HOPS_MAX = 50 };

/* One next hop; a delivery tries several when the route names a list, or there are fallback relays. */
struct one_hop {
	struct hop hop;
	bool fallback;
	bool nowhere;                   /* it leads to no server: `why` */
	struct fault why;
	struct span mistake;            /* a parameter is to blame */
};

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
	struct hop_list list;
	struct one_hop *hops;
	size_t n_hops;
	char dnssec[200];               /* what is wrong with the way to DNS; "" = nothing is known to be */
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
		fault_set(&e->why, NULL, "%s is delivered by %s of master.cf (%s%s%.*s), not by SMTP or LMTP: TLS has no part in it",
		    e->way.recipient.n > 0 ? arena_cstr(e->a, e->way.recipient) : e->what, cs->name, cs->command,
		    e->way.nexthop.n > 0 ? ": " : "", SPAN_ARG(log_esc(span_slice(e->way.nexthop, 0, 200))));
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
	struct one_hop *one = &e->hops[e->n_hops];

	return hop_gather(&one->hop, e->list.hop[e->n_hops], &one->why);
}

/* The next one of the list, by the rules of a delivery that could not get rid of its message before. */
static bool
gather_one(struct explain *e)
{
	size_t i = e->n_hops;
	struct one_hop *one = &e->hops[i];

	*one = (struct one_hop){ .fallback = i >= e->list.given, .hop = { .svc = &e->svc, .own = &e->own, .arena = e->a,
		.asks = e->asks.asks, .native = tls_asks_native, .native_ctx = &e->asks } };
	one->nowhere = tls_asks_run(&e->asks, step_gather, e) != MAP_FOUND;
	if (e->asks.asked_dns && !e->asks.connected)
		return fault_set(&e->why, NULL, "DNS is asked by the running daemon: %s (without it: next hops by address, or --facts FILE)",
		    e->asks.why.text);
	hop_list_found(&e->list, i, &one->hop);
	if (one->nowhere) {
		one->mistake = hop_list_leads_nowhere(&e->list, i, &one->why, e->a);
		one->hop.count = 0;     /* a loop: those that are there are ourselves */
	}
	e->n_hops++;
	return one->nowhere || tls_look_at_files(e->conf, &one->hop, &e->why);
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
	hop_list(&e->svc, e->way.nexthop, e->a, &e->list);
	if (e->list.count == 0)
		return fault_set(&e->why, NULL, "there is no next hop");
	if (e->list.count > HOPS_MAX)
		return fault_set(&e->why, NULL, "more than %d next hops", HOPS_MAX);
	e->hops = ARENA_ARRAY(e->a, struct one_hop, e->list.count);
	while (e->n_hops < e->list.count)
		if (!gather_one(e))
			return false;
	if (e->asks.asked_dns)
		control_dnssec(&e->asks.control, e->dnssec);
	return true;
}

/* ---- files */

static bool
read_hop(struct explain *e, const json_t *o, struct fault *why)
{
	const json_t *facts = json_object_get(o, "facts");
	const char *dsn = json_string_value(json_object_get(o, "dsn")), *reason = json_string_value(json_object_get(o, "reason"));
	struct explain_recorded *r = ARENA_NEW(e->a, struct explain_recorded);
	struct one_hop *one = &e->hops[e->n_hops++];

	if (!explain_facts_read(facts != NULL ? facts : o, e->a, r, why))
		return false;
	*one = (struct one_hop){ .hop = r->hop, .fallback = json_is_true(json_object_get(o, "fallback")), .nowhere = dsn != NULL && reason != NULL };
	one->hop.svc = &r->svc;
	if (one->nowhere)
		fault_set(&one->why, dsn, "%.*s", SPAN_ARG(log_esc(span_str(reason))));
	return true;
}

static bool
read_hops(struct explain *e, struct span text, struct fault *why)
{
	json_error_t error;
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
	const json_t *more = json_object_get(j, "more");
	bool ok = j != NULL || fault_set(why, NULL, "line %d: %s", error.line, error.text);

	e->hops = ARENA_ARRAY(e->a, struct one_hop, HOPS_MAX);
	ok = ok && read_hop(e, j, why);
	if (ok && json_is_string(json_object_get(j, "dns_trouble")))
		snprintf(e->dnssec, sizeof(e->dnssec), "%.*s", SPAN_ARG(log_esc(span_str(json_string_value(json_object_get(j, "dns_trouble"))))));
	if (ok && json_array_size(more) >= HOPS_MAX)
		ok = fault_set(why, NULL, "facts: \"more\" has too many members");
	for (size_t i = 0; ok && i < json_array_size(more); i++)
		ok = read_hop(e, json_array_get(more, i), why);
	json_decref(j);
	return ok;
}

static bool
read_facts(struct explain *e)
{
	struct fault why;
	struct buf text;
	int err;
	bool ok;

	buf_init(&text, FACTS_MAX);
	err = fd_read_file(AT_FDCWD, e->facts_in, &text);
	if (err < 0)
		fault_set(&why, NULL, "%s", fd_error(err));
	ok = (err >= 0 && read_hops(e, buf_span(&text), &why)) || fault_set(&e->why, NULL, "%s: %s", e->facts_in, why.text);
	buf_release(&text);
	return ok;
}

/* What is written down about one next hop. */
static void
put_hop(json_t *o, const struct one_hop *one)
{
	if (one->nowhere) {
		json_object_set_new(o, "dsn", json_string(one->why.dsn));
		json_object_set_new(o, "reason", explain_json_span(span_str(one->why.text)));
	}
	if (one->fallback)
		json_object_set_new(o, "fallback", json_true());
	json_object_set_new(o, "facts", explain_facts_json(&one->hop));
}

static json_t *
facts_json(const struct explain *e)
{
	json_t *o = json_object(), *more = json_array();

	json_object_set_new(o, "way", explain_way_json(&e->way));
	if (e->dnssec[0] != '\0')
		json_object_set_new(o, "dns_trouble", json_string(e->dnssec));
	put_hop(o, &e->hops[0]);
	for (size_t i = 1; i < e->n_hops; i++) {
		json_t *one = json_object();

		put_hop(one, &e->hops[i]);
		json_array_append_new(more, one);
	}
	if (e->n_hops > 1)
		json_object_set(o, "more", more);
	json_decref(more);
	return o;
}

static bool
save_facts(struct explain *e)
{
	json_t *o = facts_json(e);
	char *text = json_dumps(o, JSON_INDENT(1));
	int fd, err;

	json_decref(o);
	fd = text == NULL ? -ENOMEM : fd_open(AT_FDCWD, e->facts_out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	err = fd < 0 ? fd : fd_write_all(fd, text, strlen(text));
	fd_close(&fd);
	free(text);
	return err >= 0 || fault_set(&e->why, NULL, "%s: %s", e->facts_out, fd_error(err));
}

/* ---- showing */

/* Its servers go on counting from `n`. */
static size_t
show_hop(struct explain *e, size_t i, size_t n, struct buf *out)
{
	const struct one_hop *one = &e->hops[i];

	if (e->n_hops > 1)
		buf_addf(out, "\nnext hop %-6zu %.*s%s\n", i + 1, SPAN_ARG(log_esc(one->hop.nexthop)), one->fallback ?
		    " (fallback relay, for what no server before has taken)" : "");
	explain_show_hop(out, &one->hop);
	if (one->mistake.n > 0)
		buf_addf(out, "%-15s %.*s\n", "warning", SPAN_ARG(log_esc(one->mistake)));
	for (size_t k = 0; one->nowhere && strcmp(one->why.dsn, "4.3.5") == 0 && k < one->hop.n_warnings; k++)
		buf_addf(out, "%-15s %.*s\n", "warning", SPAN_ARG(one->hop.warnings[k]));
	if (one->nowhere)
		explain_show_nowhere(out, &one->why, i + 1 == e->n_hops);
	for (size_t k = 0; k < one->hop.count; k++) {
		struct arena *a = arena_new(TLS_HOST_ARENA_MAX);

		explain_show_host(out, &one->hop, &one->hop.list[k], n + k + 1, a);
		arena_free(&a);
	}
	return n + one->hop.count;
}

static int
show_text(struct explain *e)
{
	struct buf out;
	size_t n = 0;
	int status;

	buf_init(&out, OUT_MAX);
	explain_show_way(&out, &e->way);
	if (e->dnssec[0] != '\0')
		buf_addf(&out, "%-15s %s\n", "warning", e->dnssec);
	for (size_t i = 0; i < e->n_hops; i++)
		n = show_hop(e, i, n, &out);
	status = cli_print(e->cli, &out);
	buf_release(&out);
	return status;
}

static int
show_json(struct explain *e)
{
	json_t *o = facts_json(e), *servers = json_array();
	struct buf out;
	char *text;
	int status;

	for (size_t i = 0; i < e->n_hops; i++)
		for (size_t k = 0; k < e->hops[i].hop.count; k++) {
			struct arena *a = arena_new(TLS_HOST_ARENA_MAX);

			json_array_append_new(servers, explain_host_json(&e->hops[i].hop, &e->hops[i].hop.list[k], a));
			arena_free(&a);
		}
	json_object_set_new(o, "servers", servers);
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
	if (e->facts_in != NULL) {
		if (!read_facts(e))
			return cli_fail(e->cli, CLI_NO, "%s", e->why.text);
		e->way.nexthop = e->hops[0].hop.nexthop;
		e->way.source = span_str(e->facts_in);
		return e->json ? show_json(e) : show_text(e);
	}
	e->conf = cli_conf(e->cli);
	if (e->conf == NULL)
		return CLI_NO;
	if (!gather(e) || (e->facts_out != NULL && !save_facts(e)))
		return cli_fail(e->cli, CLI_NO, "%s", e->why.text);
	return e->json ? show_json(e) : show_text(e);
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
