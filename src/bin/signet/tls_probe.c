/*
 * signet tls probe: connect to the servers of a destination as a delivery would, up to the point where the mail would go, and say
 * what TLS they offer and whether it is what the policy asks for. The facts, the decision, the connection and the verdict are those of
 * the SMTP client (lib/hop, lib/tls).
 */
#include "signet/tls_probe.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/params.h"
#include "role/common/confine.h"
#include "signet/cli.h"

enum { ARENA_MAX = 256 << 20, SESSIONS_MAX = 100 };

/* ---- configuration */

/* A mistake on the command line is one line; one in the files is shown as ever. */
static int
report_bad(struct probe *p, const struct conf_report *report)
{
	struct buf text;

	for (size_t i = 0; i < report->count; i++) {
		const struct conf_finding *f = &report->list[i];

		if (f->severity == CONF_ERROR && strcmp(f->file, "command line") == 0)
			return cli_fail(p->cli, CLI_USAGE, "probe: %s%s%s%s", f->text, f->fix[0] != '\0' ? " (" : "", f->fix,
			    f->fix[0] != '\0' ? ")" : "");
	}
	buf_init(&text, 1U << 20);
	conf_report_print(report, CONF_ERROR, &text);
	(void)fd_write_all(2, text.p, text.n);
	buf_release(&text);
	return CLI_NO;
}

static int
load(struct probe *p)
{
	struct conf_report report;
	int status = CLI_DONE;

	conf_report_init(&report);
	if (!conf_load_with(p->cli->dir, p->o.over, p->o.n_over, &p->conf, &report))
		status = report_bad(p, &report);
	conf_report_release(&report);
	return status;
}

/* The service of master.cf that would deliver. */
static int
find_service(struct probe *p)
{
	const char *command = p->o.lmtp ? "lmtp" : "smtp", *name = p->o.service;

	p->cs = name != NULL ? conf_find_service(p->conf, name, false) : conf_find_service(p->conf, command, false);
	if (name == NULL && (p->cs == NULL || strcmp(p->cs->command, command) != 0))
		for (p->cs = conf_next_command(p->conf, command, NULL); p->cs != NULL && p->cs->type == CONF_SERVICE_INET;)
			p->cs = conf_next_command(p->conf, command, p->cs);
	if (p->cs == NULL)
		return cli_fail(p->cli, CLI_NO, name != NULL ? "probe: master.cf has no service %s" : "probe: master.cf has no service that runs %s",
		    name != NULL ? name : command);
	if (strcmp(p->cs->command, command) != 0)
		return cli_fail(p->cli, CLI_USAGE, "probe: service %s runs %s, not %s%s", p->cs->name, p->cs->command, command,
		    strcmp(p->cs->command, "lmtp") == 0 ? ": add -S" : "");
	return CLI_DONE;
}

/* Held lines are about files; those of the command line must be there. */
static int
check_files(struct probe *p)
{
	const char *anchors = p->svc.tls.trust_anchor_file;
	struct tls_anchor_file list[16];
	struct tls_decision d = { .tafiles = list };
	struct span rest = span_str(anchors), path, line;
	struct fault why;

	while (d.n_tafiles < 16 && span_token(&rest, " ,\t", &path))
		list[d.n_tafiles++].path = path;
	if (p->o.anchors_given && !tls_client_ctx_usable(p->tls, &d, &why))
		return cli_fail(p->cli, CLI_USAGE, "probe: -A: %s", why.text);
	line = p->n_held > 0 ? p->held[0] : SPAN("");
	if (span_starts(line, SPAN("warning: ")))
		line = span_from(line, strlen("warning: "));
	if (line.n > 0 && p->o.files_given)
		return cli_fail(p->cli, CLI_USAGE, "probe: %.*s", SPAN_ARG(line));
	return CLI_DONE;
}

static int
open_service(struct probe *p)
{
	struct fault why;
	int status;

	tls_asks_open(&p->asks, p->conf);
	if (!hop_service_open(&p->svc, p->cs, &p->asks.env, &why))
		return cli_fail(p->cli, CLI_USAGE, "probe: %s", why.text);
	p->secure = p->svc;             /* the tables belong to the first */
	p->secure.tls.security_level = "secure";
	p->secure.level = TLS_LEVEL_SECURE;
	p->hold = true;
	p->tls = hop_tls_ctx_new(&p->svc, SESSIONS_MAX, &p->tls_fault);
	if (p->tls == NULL)
		return cli_fail(p->cli, CLI_NO, "probe: TLS cannot be used: %s", p->tls_fault.text);
	status = check_files(p);
	if (status != CLI_DONE)
		return status;
	probe_lines_release(p, true);
	if (p->svc.tls.enable_rpk && !tls_rpk_available())
		probe_say(p, "warning: raw public keys need OpenSSL 3.2 or later: the server shows a certificate");
	return CLI_DONE;
}

/* ---- facts */

static enum map_result
step_gather(void *ctx)
{
	struct probe *p = ctx;
	struct span to = span_str(p->o.destination);

	/* "inet:" keeps MX records out of a next hop; to posttls-finger it says nothing where SMTP is spoken */
	if (!p->o.lmtp && span_starts(to, SPAN("inet:")))
		to = span_from(to, strlen("inet:"));
	return hop_gather(&p->hop, to, &p->why);
}

/* False with p->why: there is no server to go to. */
static bool
gather(struct probe *p)
{
	bool ok;

	hop_own_find(p->conf->params, &p->own);
	hop_own_bind(&p->own, p->a, &p->bind);
	p->hop = (struct hop){ .svc = &p->svc, .arena = p->a, .asks = p->asks.asks, .native = tls_asks_native, .native_ctx = &p->asks };
	ok = tls_asks_run(&p->asks, step_gather, p) == MAP_FOUND;
	if (p->asks.asked_dns && !p->asks.connected) {
		fault_set(&p->why, "4.4.3", "DNS is asked by the running daemon: %s", p->asks.why.text);
		ok = false;
	}
	p->hop_secure = p->hop;
	p->hop_secure.svc = &p->secure;
	return ok;
}

/* What strangers send is for nobody with rights: from here on we are who delivers. Files, tables and the daemon's socket are open. */
static bool
become_nobody(struct probe *p)
{
	struct fault why;

	confine_no_dumps();
	if (geteuid() == 0) {
		p->user = confine_user_for(p->conf->params->mail_owner, "net");
		if (!confine_user(p->user, &why))
			return fault_set(&p->why, "4.3.5", "parameter mail_owner: %s", why.text);
		confine_no_dumps();     /* a change of ids resets it */
	}
	confine_no_new_privs();
	return true;
}

/* ---- one server */

/* -l dane that comes to less, for one of these reasons: posttls-finger then asks for `secure`. NULL: it stays as it is. */
static const char *
comes_down(const struct probe *p, const struct tls_decision *d)
{
	static const char *const rules[] = { "no TLSA records found", "TLSA records unusable", "non DNSSEC destination" };

	if (!p->o.finger || (d->asked != TLS_LEVEL_DANE && d->asked != TLS_LEVEL_DANE_ONLY))
		return NULL;
	for (size_t i = 0; i < d->n_trail; i++)
		for (size_t k = 0; k < sizeof(rules) / sizeof(rules[0]); k++)
			if (strcmp(d->trail[i].rule, rules[k]) == 0)
				return rules[k];
	return NULL;
}

static bool
decide(struct probe *p, struct probe_server *s)
{
	struct tls_decision *d = &s->decision, first;
	bool ok = hop_decide(&p->hop, s->addr, p->a, d);
	const char *why = comes_down(p, d);

	s->hop = &p->hop;
	if (why == NULL)
		return ok;
	first = *d;
	ok = hop_decide(&p->hop_secure, s->addr, p->a, d);
	s->hop = &p->hop_secure;
	d->tlsa = first.tlsa;
	d->n_tlsa = first.n_tlsa;
	probe_say(p, "%s, resorting to \"secure\"", why);
	return ok;
}

static bool
usable(struct probe *p, struct probe_server *s)
{
	struct tls_decision *d = &s->decision;

	if (!decide(p, s))
		s->why = d->fault;
	else if (d->skip_host)
		s->why = d->skip_fault;
	else if (!(d->try_tls || d->wrapper) || tls_client_ctx_usable(p->tls, d, &s->why))
		return true;
	else if (p->user != NULL)       /* whoever asks may be able to read what a delivery is not */
		fault_prefix(&s->why, "as user %s", p->user);
	s->result = PROBE_NOT_MET;
	return false;
}

static void
try_server(struct probe *p, struct hop_address *addr)
{
	struct probe_server *s = &p->servers[p->n_servers++];
	const struct log l = { .tag = NULL };
	bool ok;

	*s = (struct probe_server){ .addr = addr };
	ok = usable(p, s);
	if (p->o.tell.matches)
		hop_log_unusable(&l, addr, &s->decision, p->a);
	/* what is wrong with a table was said with the policy */
	for (size_t i = 0; p->hop.table.state != TLS_ANSWER_FAILED && i < s->decision.n_warnings; i++)
		probe_say(p, "warning: %.*s", SPAN_ARG(s->decision.warnings[i]));
	probe_show_decision(p, s);
	if (ok)
		probe_talk(p, s);
	else if (addr->family == AF_UNIX)
		probe_say(p, "%.*s cannot be used: %s %s", SPAN_ARG(log_esc(addr->text)), s->why.dsn, s->why.text);
	else
		probe_say(p, "%.*s[%.*s]:%u cannot be used: %s %s", SPAN_ARG(log_esc(addr->host)), SPAN_ARG(addr->text), addr->port,
		    s->why.dsn, s->why.text);
	probe_show_chain(p, s);
}

/* The servers in their order, until one has something to say. */
static void
try_servers(struct probe *p)
{
	for (size_t i = 0; i < p->hop.count && p->n_servers < PROBE_SERVERS_MAX; i++) {
		struct probe_server *s;

		try_server(p, &p->hop.list[i]);
		s = &p->servers[p->n_servers - 1];
		if (s->result != PROBE_NONE || p->result == PROBE_NONE)
			p->why = s->why;
		if (s->result == PROBE_NOT_MET)
			p->result = PROBE_NOT_MET;
		if (s->connected && s->result != PROBE_NONE) {
			p->result = s->result;
			return;
		}
	}
}

static int
status_of(const struct probe *p)
{
	switch (p->result) {
	case PROBE_MET:
		return CLI_DONE;
	case PROBE_NOT_MET:
		return CLI_NO;
	case PROBE_NONE:
		return p->why.dsn[0] == '5' ? CLI_NO : CLI_TRY_AGAIN;
	}
	return CLI_NO;
}

/* What was given is no destination. */
static bool
is_mistake(const struct probe *p)
{
	return p->hop.n_hosts == 0 && p->hop.n_warnings > 0 && strcmp(p->why.dsn, "4.3.5") == 0;
}

static int
run(struct probe *p)
{
	int status = load(p);

	if (status == CLI_DONE)
		status = find_service(p);
	if (status == CLI_DONE)
		status = open_service(p);
	if (status != CLI_DONE)
		return status;
	if (gather(p)) {
		probe_show_policy(p);
		if (!become_nobody(p))
			return cli_fail(p->cli, CLI_NO, "probe: %s", p->why.text);
		try_servers(p);
	} else if (is_mistake(p)) {
		return cli_fail(p->cli, CLI_USAGE, "probe: %.*s", SPAN_ARG(p->hop.warnings[0]));
	}
	for (size_t i = 0; i < p->hop.n_warnings; i++)
		probe_say(p, "warning: %.*s", SPAN_ARG(p->hop.warnings[i]));
	status = status_of(p);
	if (p->o.json)
		status = probe_show_json(p, status);
	else
		probe_show_result(p);
	return p->broken ? cli_fail(p->cli, CLI_NO, "probe: cannot write to standard output") : status;
}

static void
release(struct probe *p)
{
	probe_lines_end();
	if (p->tls != NULL)
		tls_client_ctx_unref(&p->tls);
	hop_own_release(&p->own);
	if (p->svc.p != NULL)
		hop_service_release(&p->svc);
	if (p->asks.loop != NULL)
		tls_asks_close(&p->asks);
	conf_unref(&p->conf);
	json_decref(p->lines);
}

int
tls_probe_command(struct cli *cli, int argc, char **argv)
{
	struct arena *a = arena_new(ARENA_MAX);
	struct probe *p = ARENA_NEW(a, struct probe);
	int status;

	p->cli = cli;
	p->a = p->o.a = a;
	p->why.dsn[0] = '\0';
	(void)signal(SIGPIPE, SIG_IGN);
	status = probe_options_parse(&p->o, cli, argc, argv);
	if (status == CLI_DONE) {
		probe_lines_begin(p);
		status = run(p);
		release(p);
	}
	arena_free(&a);
	return status;
}
