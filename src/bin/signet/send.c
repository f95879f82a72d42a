/* signet send: sendmail's options, for cron, PHP and people. */
#include "signet/send.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "conf/conf.h"
#include "conf/params.h"
#include "mail/address.h"
#include "mail/maildrop.h"
#include "signet/cli.h"
#include "signet/queue.h"

#define ARENA_MAX ((size_t)256 << 20)

enum mode { MODE_MESSAGE, MODE_SESSION, MODE_VERIFY, MODE_LIST, MODE_FLUSH };

struct options {
	struct cli *cli;
	struct arena *arena;
	enum mode mode;
	bool extract, dots_are_text;
	bool notify_given;
	enum queue_op flush;
	const char *flush_what;
	const char *sender, *full_name, *config;
	struct span envid, verp;
	unsigned notify;
	enum envelope_ret ret;
	char **rcpts;
	size_t n_rcpts;
};

/* ---- options */

/* Lower case words of -N, in any case. */
static bool
set_notify(struct options *o, const char *text)
{
	struct span upper = span_str(arena_cstr(o->arena, span_str(text)));
	char *p = arena_cstr(o->arena, upper);

	for (size_t i = 0; p[i] != '\0'; i++)
		p[i] = p[i] == ' ' ? ',' : ascii_upper(p[i]);
	return envelope_notify_parse(span_str(p), &o->notify);
}

static bool
set_ret(struct options *o, const char *text)
{
	struct span s = span_str(text);

	o->ret = span_eq_ci(s, SPAN("hdrs")) ? ENVELOPE_RET_HDRS : ENVELOPE_RET_FULL;
	return o->ret == ENVELOPE_RET_HDRS || span_eq_ci(s, SPAN("full"));
}

static void
set_envid(struct options *o, const char *text)
{
	struct buf b;

	buf_init(&b, 1024);
	text_xtext(&b, span_slice(span_str(text), 0, 100));
	o->envid = arena_dup(o->arena, buf_span(&b));
	buf_release(&b);
}

/* -XV or -XVxy: a return path for each recipient; which characters may be used is the server's to say. */
static bool
set_verp(struct options *o, const char *delimiters)
{
	size_t n = strlen(delimiters);

	if (n != 0 && n != 2) {
		cli_fail(o->cli, EX_USAGE, "-XV%s: two characters, or none", delimiters);
		return false;
	}
	o->verp = n == 0 ? MAILDROP_VERP_DEFAULT : span_str(delimiters);
	return true;
}

/* -b: what to do at all. False: refused by name. */
static bool
set_mode(struct options *o, char what)
{
	switch (what) {
	case 'm':
		return true;
	case 's':
		o->mode = MODE_SESSION;
		return true;
	case 'v':
		o->mode = MODE_VERIFY;
		return true;
	case 'p':
		o->mode = MODE_LIST;
		return true;
	case 'i':
		cli_fail(o->cli, EX_USAGE, "-bi: use `signet map build`");
		return false;
	case 'd':
	case 'l':
		cli_fail(o->cli, EX_USAGE, "-b%c: use signetd", what);
		return false;
	default:
		cli_fail(o->cli, EX_USAGE, "-b%c is not known", what);
		return false;
	}
}

/* -o: sendmail's options; only "i" means something here. Some take a value in the next argument. */
static void
set_option(struct options *o, const char *text)
{
	if (text[0] == 'i')
		o->dots_are_text = true;
}

/* -q, and -qIID and -qRDOMAIN as sendmail has them; an interval would ask for a daemon. */
static bool
set_flush(struct options *o, const char *what)
{
	o->mode = MODE_FLUSH;
	o->flush = *what == '\0' ? QUEUE_FLUSH_ALL : *what == 'I' ? QUEUE_FLUSH_ONE : QUEUE_FLUSH_SITE;
	o->flush_what = *what == '\0' ? "" : what + 1;
	if (*what == '\0' || ((*what == 'I' || *what == 'R') && what[1] != '\0'))
		return true;
	cli_fail(o->cli, EX_USAGE, "-q%s: -q, -qIID and -qRDOMAIN flush the queue; when it is tried by itself is queue_run_delay in main.cf", what);
	return false;
}

/* One option with its value; for those that take none `value` is what follows. False: wrong or refused. */
static bool
take_option(struct options *o, char c, const char *value)
{
	switch (c) {
	case 't':
		o->extract = true;
		return true;
	case 'i':
		o->dots_are_text = true;
		return true;
	case 'f':
	case 'r':
		o->sender = value;
		return true;
	case 'F':
		o->full_name = value;
		return true;
	case 'C':
		o->config = value;
		return true;
	case 'V':
		set_envid(o, value);
		return true;
	case 'N':
		o->notify_given = true;
		return set_notify(o, value) || (cli_fail(o->cli, EX_USAGE, "-N %s is not known", value), false);
	case 'R':
		return set_ret(o, value) || (cli_fail(o->cli, EX_USAGE, "-R %s is not known", value), false);
	case 'X':
		/* -XV is VERP; any other value is sendmail's traffic log */
		return value[0] != 'V' || set_verp(o, value + 1);
	case 'b':
		return set_mode(o, value[0]);
	case 'o':
		set_option(o, value);
		return true;
	case 'q':
		return set_flush(o, value);
	case 'I':
		cli_fail(o->cli, EX_USAGE, "-I: use `signet map build`");
		return false;
	default:
		return true;    /* known and without meaning here */
	}
}

static const char with_value[] = "ABCFLNORVXbfhor";
static const char alone[] = "GIUimnqtv";

/* The options of one argument ("-oi", "-t", "-ti", "-fme@x", "-f me@x"); false when something is wrong. */
static bool
take_argument(struct options *o, char **argv, int argc, int *at)
{
	const char *p = argv[*at] + 1;

	while (*p != '\0') {
		char c = *p++;

		if (strchr(alone, c) != NULL) {
			if (!take_option(o, c, p))
				return false;
			if (c == 'q')
				return true;
			continue;
		}
		if (strchr(with_value, c) == NULL) {
			cli_usage(o->cli, "option -%c is not known", c);
			return false;
		}
		if (*p == '\0' && *at + 1 >= argc) {
			cli_usage(o->cli, "option -%c needs a value", c);
			return false;
		}
		return take_option(o, c, *p != '\0' ? p : argv[++*at]);
	}
	return true;
}

static bool
take_arguments(struct options *o, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (!take_argument(o, argv, argc, &i))
			return false;
	}
	o->rcpts = argv + i;
	o->n_rcpts = (size_t)(argc - i);
	return true;
}

/* ---- envelope */

/* An address as a person writes it, in internal form, completed with our domain. */
static struct span
address_of(struct send_mail *m, const char *text)
{
	struct span s = span_trim(span_str(text)), addr;
	ptrdiff_t open = span_rindex(s, '<');

	if (open >= 0 && span_ends(s, SPAN(">")))
		s = span_slice(s, (size_t)open + 1, s.n - 1);
	addr = address_internal(span_trim(s), m->arena);
	return addr.n > 0 ? address_complete(addr, m->p->myorigin, m->arena) : addr;
}

static bool
has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 32 || s.p[i] == 127)
			return true;
	return false;
}

/* Commas separate recipients in one argument, too, outside quotes. */
static void
add_argument(struct send_mail *m, const char *text)
{
	struct span rest = span_str(text);
	size_t start = 0;
	bool quoted = false;

	for (size_t i = 0; i <= rest.n; i++) {
		struct envelope_rcpt r = { 0 };

		if (i < rest.n && rest.p[i] == '"')
			quoted = !quoted;
		if (i < rest.n && (rest.p[i] != ',' || quoted))
			continue;
		r.addr = address_of(m, arena_cstr(m->arena, span_slice(rest, start, i)));
		if (r.addr.n > 0)
			envelope_add_rcpt(&m->env, m->arena, &r);
		start = i + 1;
	}
}

/* Recipients of header and arguments, completed, each once. */
static bool
finish_rcpts(struct send_mail *m, const struct options *o)
{
	struct envelope *e = &m->env;
	size_t n = 0;

	for (size_t i = 0; i < e->rcpt_count; i++) {
		struct envelope_rcpt r = e->rcpts[i];
		size_t j = 0;

		r.addr = address_complete(r.addr, m->p->myorigin, m->arena);
		if (has_control(r.addr) || r.addr.n > ADDRESS_MAX)
			return false;
		r.notify = o->notify;
		e->smtputf8 |= !span_is_ascii(r.addr);
		while (j < n && !address_same(e->rcpts[j].addr, r.addr))
			j++;
		if (j == n)
			e->rcpts[n++] = r;
	}
	e->rcpt_count = n;
	return true;
}

static void
set_sender(struct send_mail *m, const struct options *o)
{
	const char *name = getenv("NAME");

	m->sender_given = o->sender != NULL;
	m->env.sender = m->sender_given ? address_of(m, o->sender) : address_of(m, m->login);
	m->env.smtputf8 |= !span_is_ascii(m->env.sender);
	m->env.envid = o->envid;
	m->env.verp = o->verp;
	m->env.ret = o->ret;
	if (o->full_name != NULL)
		m->full_name = span_str(o->full_name);
	else if (name != NULL && *name != '\0')
		m->full_name = span_str(name);
	if (has_control(m->full_name))
		m->full_name = (struct span){ 0 };
}

/* Login and, when nothing else was said, full name of whoever runs us. */
static void
find_user(struct send_mail *m)
{
	const struct passwd *pw = getpwuid(getuid());
	struct span gecos, rest;

	if (pw == NULL) {
		m->login = arena_printf(m->arena, "uid%lu", (unsigned long)getuid()).p;
		return;
	}
	m->login = arena_cstr(m->arena, span_str(pw->pw_name));
	span_cut(span_str(pw->pw_gecos), ',', &gecos, &rest);
	m->full_name = arena_dup(m->arena, gecos);
}

/* ---- the ways */

static int
exit_of(const struct cli *cli, enum send_result r, const struct fault *why)
{
	switch (r) {
	case SEND_DONE:
		return EX_OK;
	case SEND_LATER:
		return cli_fail(cli, EX_TEMPFAIL, "%s", why->text);
	case SEND_REFUSED:
		return cli_fail(cli, strcmp(why->dsn, "5.1.1") == 0 ? EX_NOUSER : EX_UNAVAILABLE, "%s", why->text);
	}
	return EX_SOFTWARE;
}

/* The daemon, or the maildrop when it cannot take it now: never lost, never refused for being busy. */
static int
send_message(struct send_mail *m, const struct options *o)
{
	struct fault why = { 0 }, drop_why = { 0 };
	enum send_result r;

	if (!send_read(m, STDIN_FILENO, o->dots_are_text, &why))
		return cli_fail(o->cli, why.dsn[0] == '5' ? EX_DATAERR : EX_TEMPFAIL, "%s", why.text);
	if (o->extract)
		send_extract(m);
	if (!finish_rcpts(m, o))
		return cli_fail(o->cli, EX_DATAERR, "a recipient address has control characters or is too long");
	if (m->env.rcpt_count == 0)
		return cli_fail(o->cli, EX_USAGE, o->extract ? "no recipient addresses found in the message header" :
		    "recipient addresses must be given as arguments or, with -t, in the message header");
	if (!send_add_from(m, &why))
		return cli_fail(o->cli, EX_TEMPFAIL, "%s", why.text);
	r = send_smtp(m, &why);
	if (r == SEND_LATER) {
		r = send_drop(m, &drop_why);
		if (r != SEND_DONE)
			return cli_fail(o->cli, EX_TEMPFAIL, "%s; %s", why.text, drop_why.text);
	}
	return exit_of(o->cli, r, &why);
}

static int
verify(struct send_mail *m, const struct options *o)
{
	struct fault why = { 0 };

	if (!finish_rcpts(m, o) || m->env.rcpt_count == 0)
		return cli_fail(o->cli, EX_USAGE, "-bv needs recipient addresses");
	return exit_of(o->cli, send_verify(m, &why), &why);
}

static int
flush(const struct options *o, const struct conf *conf)
{
	struct fault why = { 0 };
	uint32_t n;

	return queue_admin(conf, o->flush, o->flush_what, &n, &why) ? EX_OK : cli_fail(o->cli, EX_UNAVAILABLE, "-q: %s", why.text);
}

static int
run(struct options *o, const struct conf *conf)
{
	struct send_mail m = { .arena = o->arena, .p = conf->params, .fd = -1 };
	int status;

	if (o->mode == MODE_LIST)
		return queue_list(o->cli, conf, false);
	if (o->mode == MODE_SESSION)
		return send_session(m.p);
	if (o->mode == MODE_FLUSH)
		return flush(o, conf);
	find_user(&m);
	set_sender(&m, o);
	if (has_control(m.env.sender) || m.env.sender.n > ADDRESS_MAX)
		return cli_fail(o->cli, EX_USAGE, "the sender address has control characters or is too long");
	for (size_t i = 0; i < o->n_rcpts; i++)
		add_argument(&m, o->rcpts[i]);
	status = o->mode == MODE_VERIFY ? verify(&m, o) : send_message(&m, o);
	fd_close(&m.fd);
	return status;
}

int
verb_send(struct cli *cli, int argc, char **argv)
{
	struct options o = { .cli = cli, .arena = arena_new(ARENA_MAX) };
	struct conf *conf = NULL;
	int status = EX_USAGE;

	if (take_arguments(&o, argc, argv)) {
		if (o.config != NULL)
			cli->dir = o.config;
		conf = cli_conf_anyway(cli);    /* the daemon may run on the one before: mail goes on */
		status = conf == NULL ? EX_CONFIG : run(&o, conf);
	}
	conf_unref(&conf);
	arena_free(&o.arena);
	return status;
}
